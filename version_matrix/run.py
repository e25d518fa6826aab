"""Runs the rows, each in a process of its own, and collects what came of them."""
import json
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

from .install import environment, tools_folder
from .plan import PYTHONS, ROOT, Job, arguments, own_python

SOURCES = ('soft_dice', 'gluon_dice', 'caffe_layers', 'examples', 'demo', 'benchmarks')
# Behind a check of the version, in `caffe_layers bundle`; only in the Python that has torch.
NEWER = ('ast.unparse', 'importlib.metadata')
LIMIT = 3600  # seconds for the tests of one job
PROBE = ROOT / 'version_matrix' / 'probe.py'


class Facts(NamedTuple):
    """What probe.py finds."""

    error: str
    mxnet: str = ''
    numpy: str = ''
    lacks: List[str] = []
    operator: str = ''


class Result(NamedTuple):
    """What came of a row, of ``Job.name`` and ``Job.kind``.

    passed : how many tests; failed : the names of those that did not.
    ended : why there is no result of the tests, in words; empty where there is.
    """

    python: str
    name: str
    kind: str
    facts: Facts
    passed: int = 0
    failed: List[str] = []
    ended: str = ''
    seconds: float = 0.0

    @property
    def tests(self) -> int:
        return self.passed + len(self.failed)

    @property
    def good(self) -> bool:
        return bool(self.passed) and not (self.facts.error or self.failed or self.ended)


class Record(NamedTuple):
    """A whole run.

    static : what vermin objects to in our sources; empty where they are for the oldest Python.
    """

    results: List[Result]
    static: List[str]

    def to_json(self) -> Dict[str, Any]:
        results = [dict(each._asdict(), facts=each.facts._asdict()) for each in self.results]
        return {'results': results, 'static': self.static}

    @classmethod
    def from_json(cls, data: Dict[str, Any]) -> 'Record':
        results = [Result(**dict(each, facts=Facts(**each['facts']))) for each in data['results']]
        return cls(results, data['static'])

    def updated(self, newer: 'Record') -> 'Record':
        """With the rows of the newer one in place of its own."""
        rows = {(each.python, each.name): each for each in self.results + newer.results}
        return Record(list(rows.values()), newer.static)


def probe(job: Job) -> Facts:
    done = subprocess.run([job.python.command, '-W', 'ignore', str(PROBE), job.kind],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          cwd=str(ROOT), env=environment(job))
    lines = done.stdout.decode(errors='replace').splitlines()
    if done.returncode or not lines:
        return Facts(how_it_ended(done.returncode, done.stderr.decode(errors='replace')))
    return Facts(**json.loads(lines[-1]))


def run(job: Job) -> Result:
    """Run the tests of a row, on every core; not where the import fails already."""
    begin = time.monotonic()
    result = Result(job.python.version, job.name, job.kind, probe(job))
    if result.facts.error:
        return result
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / 'report.xml'
        command = [job.python.command, '-m', 'pytest', *arguments(job), '-q', '--tb=no',
                   '-n', 'auto', '--dist', 'loadfile', '-p', 'no:cacheprovider',
                   '--junitxml', str(report)]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=LIMIT, cwd=str(ROOT),
                                  env=environment(job))
        except subprocess.TimeoutExpired:
            return result._replace(ended=f'the tests took more than {LIMIT} s')
        result = result._replace(seconds=round(time.monotonic() - begin, 1))
        if done.returncode not in (0, 1) or not report.exists():
            output = done.stdout.decode(errors='replace')
            return result._replace(ended=how_it_ended(done.returncode, output))
        return result._replace(**read_report(report.read_text(encoding='utf-8')))


def read_report(text: str) -> Dict[str, Any]:
    """``passed`` and ``failed`` of a JUnit report.  A test that was skipped has not passed."""
    passed, failed = 0, []
    for case in ElementTree.fromstring(text).iter('testcase'):
        if any(case.find(name) is not None for name in ('failure', 'error', 'skipped')):
            failed.append(f'{case.get("classname")}::{case.get("name")}')
        else:
            passed += 1
    return {'passed': passed, 'failed': failed}


def check_sources() -> List[str]:
    """What vermin finds in our sources that the oldest Python does not have."""
    tools = tools_folder(own_python())
    code = f'import sys; sys.path.insert(0, {str(tools)!r}); from vermin import main; main()'
    command = [sys.executable, '-c', code, f'-t={PYTHONS[0]}-', '--violations', '--no-tips',
               '--backport', 'dataclasses']
    for name in NEWER:
        command += ['--exclude', name]
    done = subprocess.run([*command, *SOURCES], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          cwd=str(ROOT))
    lines = done.stdout.decode(errors='replace').splitlines()
    return lines or ['vermin said nothing'] if done.returncode else []


def how_it_ended(status: int, output: str) -> str:
    """A process, in words: its status and the last line of what it said."""
    if status < 0:
        return f'ended by signal {-status}'
    last = [line for line in output.splitlines() if line.strip()][-1:]
    return f'exit status {status}: {"".join(last)}'
