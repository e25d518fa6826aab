"""One run: which mutants, what becomes of each, and a record of it that a later run reads."""
import hashlib
import json
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from . import cpp_source, python_source
from .equivalents import Key, key_of, outdated
from .judge import Judge
from .mutant import Mutant, sample
from .table import Row, files_of
from .workspace import Broken, Workspace

# A mutant's tests may take this many times the processor time that they take without one, and some
# seconds for what they import.
PATIENCE, START = 4.0, 20.0
LONGEST = 600.0
LARGE = 40

KILLED, SURVIVED, EQUIVALENT = 'killed', 'survived', 'equivalent'
SAME, BROKEN = 'same code', 'does not compile'  # neither is a mutant, and another takes its place


class CannotRun(Exception):
    """Why, in one sentence."""


class Result(NamedTuple):
    """What became of a mutant.

    why : the test that killed it, or the reason why it is equivalent.
    """

    mutant: Mutant
    outcome: str
    why: str = ''


class Run:
    """rows : the files, each with its row of the table."""

    def __init__(self, root: Path, out: Path, table: Tuple[Row, ...], reasons: Dict[Key, str],
                 seed: int, per_file: int, words: Sequence[str] = ()) -> None:
        self.root, self.out, self.reasons = root, out, reasons
        self.seed, self.per_file = seed, per_file
        self.rows = files_of(root, table, list(words))
        self._mutants = {path: sample(_mutants_of(root, path), seed) for path in self.rows}
        self._workspace: Optional[Workspace] = None
        self._judge: Optional[Judge] = None
        self._limits: Dict[str, float] = {}
        self._record = Record(out, _digest(root))

    def sample(self, path: str) -> List[Mutant]:
        """The first mutants of the file, of which some may turn out to be none."""
        return self._mutants[path][:self._size(path)]

    def _size(self, path: str) -> int:
        """How many mutants of a file to judge: per_file, or one in LARGE of a large file."""
        every = len(self._mutants[path])
        return max(self.per_file, every // LARGE) if self.per_file else every

    def outdated(self) -> List[Key]:
        return outdated(self.reasons, [each for path in self.rows for each in self._mutants[path]])

    def judge_all(self) -> List[Result]:
        """The results of the sample of every file.

        Raises
        ------
        CannotRun : a test fails without a mutant, or the code does not compile.
        """
        results: List[Result] = []
        try:
            for number, path in enumerate(self.rows, 1):
                results += self._judge_file(path, f'file {number} of {len(self.rows)}')
        finally:
            self._close()
        return results

    def judge_survivors(self) -> List[Result]:
        """The results of those that survived the last run; the record stays as it is.

        Raises
        ------
        CannotRun : as :meth:`judge_all`; nothing is recorded.
        """
        survivors = self._record.last_survivors
        mutants = [each for path in self.rows for each in self._mutants[path]
                   if key_of(each) in survivors]
        if not mutants:
            raise CannotRun(f'{self.out} has no survivors of these files')
        results = []
        try:
            for number, mutant in enumerate(mutants, 1):
                results.append(self._result_of(mutant))
                _show(f'{number} of {len(mutants)}', results[-1])
        finally:
            self._close()
        return results

    def _judge_file(self, path: str, place: str) -> Iterator[Result]:
        counted, size = 0, self._size(path)
        for mutant in self._mutants[path]:
            if counted == size:
                return
            outcome = self._record.get(mutant)
            known = outcome is not None and key_of(mutant) not in self.reasons
            result = outcome if outcome and known else self._result_of(mutant)
            if not known:
                self._record.add(result)
            counted += result.outcome not in (SAME, BROKEN)
            _show(f'{place}, {counted} of {size}', result)
            yield result

    def _result_of(self, mutant: Mutant) -> Result:
        if key_of(mutant) in self.reasons:
            return Result(mutant, EQUIVALENT, self.reasons[key_of(mutant)])
        workspace = self._ready()
        try:
            if not workspace.apply(mutant):
                return Result(mutant, SAME)
            return self._tested(mutant)
        except Broken:
            return Result(mutant, BROKEN)
        finally:
            workspace.restore()

    def _tested(self, mutant: Mutant) -> Result:
        assert self._judge is not None
        for test in self.rows[mutant.path].tests:
            verdict = self._judge.run(test, self._limits[test])
            if verdict.test:
                return Result(mutant, KILLED, verdict.test)
        return Result(mutant, SURVIVED)

    def _ready(self) -> Workspace:
        """The workspace, compiled, in which every test passes."""
        if self._workspace is None:
            print('Copying and compiling the checkout', flush=True)
            self._workspace = Workspace(self.root)
            try:
                self._workspace.build()
            except Broken as error:
                raise CannotRun(f'without a mutant the code does not compile: {error}') from None
            self._judge = Judge(self._workspace)
            for test in dict.fromkeys(test for row in self.rows.values() for test in row.tests):
                self._limits[test] = START + PATIENCE * self._seconds(test)
        return self._workspace

    def _seconds(self, test: str) -> float:
        """What the test takes without a mutant."""
        assert self._judge is not None and self._workspace is not None
        seconds = self._record.seconds.get(test)
        if seconds is None:
            verdict = self._judge.run(test, LONGEST)
            print(f'{test}: {verdict.seconds:.1f} s', flush=True)
            if verdict.test:
                raise CannotRun(f'without a mutant {test} fails: {verdict.test}\n'
                                + self._workspace.output())
            self._record.add_seconds(test, verdict.seconds)
            seconds = verdict.seconds
        return seconds

    def _close(self) -> None:
        if self._judge:
            self._judge.close()
        if self._workspace:
            self._workspace.close()
        self._judge = self._workspace = None


class Record:
    """What is known of one state of code and tests, a line each in results.jsonl; the first line
    says of which.

    seconds : of the tests without a mutant.
    last_survivors : of the state that was recorded last.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self._file = folder / 'results.jsonl'
        self._results: Dict[Tuple[str, int, str], Result] = {}
        self.seconds: Dict[str, float] = {}
        lines = self._file.read_text().splitlines() if self._file.exists() else ['']
        for line in lines[1:]:
            kind, *fields = json.loads(line)
            if kind == 'test':
                self.seconds[fields[0]] = fields[1]
            else:
                self._keep(Result(_from_json(fields[0]), *fields[1:]))
        self.last_survivors = [key_of(each.mutant) for each in self._results.values()
                               if each.outcome == SURVIVED]
        self._is_new = lines[0] != json.dumps(digest)
        if self._is_new:
            self._results, self.seconds = {}, {}
        self._header = json.dumps(digest) + '\n'

    def get(self, mutant: Mutant) -> Optional[Result]:
        return self._results.get(_place(mutant))

    def add(self, result: Result) -> None:
        self._keep(result)
        mutant = result.mutant
        self._write('mutant', [*mutant[:2], mutant.old.decode(), mutant.new.decode(), *mutant[4:]],
                    result.outcome, result.why)

    def add_seconds(self, test: str, seconds: float) -> None:
        self.seconds[test] = seconds
        self._write('test', test, seconds)

    def _keep(self, result: Result) -> None:
        self._results[_place(result.mutant)] = result

    def _write(self, *fields: Any) -> None:
        if self._is_new:  # what is known of another state goes as late as can be
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(self._header)
            self._is_new = False
        with open(str(self._file), 'a') as file:
            file.write(json.dumps(fields) + '\n')


def _place(mutant: Mutant) -> Tuple[str, int, str]:
    return mutant.path, mutant.start, mutant.added


def _from_json(fields: List[Any]) -> Mutant:
    mutant = Mutant(*fields)
    return mutant._replace(old=fields[2].encode(), new=fields[3].encode())


def _mutants_of(root: Path, path: str) -> List[Mutant]:
    language = python_source if path.endswith('.py') else cpp_source
    return language.mutants(path, (root / path).read_bytes())


def _digest(root: Path) -> str:
    """Of the code and the tests."""
    digest = hashlib.sha256()
    for folder in ('soft_dice', 'gluon_dice', 'caffe_layers', 'tests'):
        for file in sorted((root / folder).rglob('*')):
            if file.suffix in ('.py', '.cpp', '.cc', '.h') and '__pycache__' not in file.parts:
                digest.update(str(file.relative_to(root)).encode() + file.read_bytes())
    return digest.hexdigest()


def _show(place: str, result: Result) -> None:
    mutant = result.mutant
    print(f'{time.strftime("%H:%M:%S")} {mutant.path}:{mutant.line} ({place}): {result.outcome}'
          f'{", " * bool(result.why)}{result.why[:70]}', flush=True)
