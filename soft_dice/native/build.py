"""Compiles the kernels, and for gluon_dice its operator: the one place that calls a compiler.

A library is a file with a record beside it, ``kernels.so`` and ``kernels.json``.  The record of a
build that succeeded says from what, with what and when it was made, and the hash of the file, so
that a half-written or outdated library is never loaded.  That of one that failed says why, so that
it is not attempted again and again.  Both files are written elsewhere and moved into place under a
lock: a build can be killed at any moment, and of several that start at once one compiles.

Standard library only, and nothing of soft_dice: setup.py loads this file by its path.
"""
import contextlib
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

HERE = Path(__file__).resolve().parent
PACKAGED = HERE / '_kernels.so'
HOW_TO_BUILD = 'python -m soft_dice build'

COMMON_FLAGS = ('-O3', '-std=c++14', '-fPIC', '-fopenmp', '-fvisibility=hidden',
                '-fno-math-errno', '-fno-trapping-math')
# chunk.cpp is compiled once for each; the machine that runs it chooses.  No -march=native.
INSTRUCTION_SETS: Dict[str, Tuple[str, ...]] = {'baseline': ()}
HAVE_X86 = platform.machine() in ('x86_64', 'AMD64')
if HAVE_X86:
    INSTRUCTION_SETS.update({
        'avx2': ('-mavx2', '-mfma'),
        'avx512': ('-mavx512f', '-mavx512bw', '-mavx512dq', '-mavx512vl', '-mfma', '-mavx2',
                   '-mprefer-vector-width=512')})

COMPILERS = ('g++', 'c++', 'clang++')
TIME_LIMIT = 600.0  # seconds


class BuildError(Exception):
    """Why there is no library, in one sentence."""


class Unwritable(BuildError):
    """The library's folder cannot be written."""


class Part(NamedTuple):
    """One object file."""

    source: Path
    flags: Tuple[str, ...] = ()


class Recipe(NamedTuple):
    """A shared library: its objects, and the files these include."""

    name: str
    parts: Tuple[Part, ...]
    headers: Tuple[Path, ...] = ()

    def digest(self) -> str:
        """What identifies a build: contents, flags and kind of machine; not the compiler."""
        files = [*self.headers, *(part.source for part in self.parts)]
        values = [platform.system(), platform.machine(), self.name, COMMON_FLAGS,
                  [part.flags for part in self.parts],
                  [[file.name, hashlib.sha256(file.read_bytes()).hexdigest()] for file in files]]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def kernels() -> Recipe:
    """The recipe of the kernels."""
    parts = [Part(source, ('-DSOFT_DICE_HAVE_X86',) * HAVE_X86)
             for source in sorted(HERE.glob('*.cpp')) if source.name != 'chunk.cpp']
    if (HERE / 'chunk.cpp').exists():
        parts += [Part(HERE / 'chunk.cpp', (f'-DSOFT_DICE_ISA={name}', *flags))
                  for name, flags in INSTRUCTION_SETS.items()]
    return Recipe('kernels', tuple(parts), tuple(sorted(HERE.glob('*.h'))))


def kernels_digest() -> str:
    return kernels().digest()


# --- where libraries are -------------------------------------------------------------------------

def cache_folder() -> Path:
    """$SOFT_DICE_CACHE, or soft_dice in $XDG_CACHE_HOME or ~/.cache; it need not exist yet."""
    named = os.environ.get('SOFT_DICE_CACHE')
    if named:
        return Path(named).absolute()
    base = os.environ.get('XDG_CACHE_HOME')
    if base and os.path.isabs(base):
        return Path(base) / 'soft_dice'
    return Path(os.path.expanduser('~')).absolute() / '.cache' / 'soft_dice'


def cached(recipe: Recipe) -> Path:
    """The library's place in the cache; its name says what it was made from."""
    return cache_folder() / f'{recipe.name}-{recipe.digest()}.so'


def read_record(library: Path) -> Dict[str, Any]:
    """What is known about the library; empty where nothing is."""
    try:
        record = json.loads(library.with_suffix('.json').read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def why_unusable(library: Path, digest: str) -> str:
    """Why the library must not be loaded, in one sentence; empty where it may be."""
    record = read_record(library)
    if not record:
        return 'not built yet'
    if record.get('digest') != digest:
        return 'built from other sources or flags than those here'
    if 'error' in record:
        return _with_log(str(record['error']), library)
    try:
        whole = hashlib.sha256(library.read_bytes()).hexdigest() == record.get('sha256')
    except OSError as error:
        return f'{library} cannot be read ({error.strerror})'
    return '' if whole else f'{library} is damaged'


def _with_log(error: str, library: Path) -> str:
    log = library.with_suffix('.log')
    return f'{error} (all of it in {log})' if log.exists() else error


def locate_kernels() -> Tuple[Optional[Path], str]:
    """The library of the kernels beside the sources, else in the cache; or None.  And the reason.

    Never compiles and never raises.
    """
    try:
        recipe = kernels()
        digest = recipe.digest()
        places = (PACKAGED, cached(recipe))
    except OSError as error:
        return None, f'the sources of the kernels cannot be read ({error})'
    reasons = [why_unusable(place, digest) for place in places]
    for place, reason in zip(places, reasons):
        if not reason:
            return place, f'built with {read_record(place).get("compiler")}'
    # The cache is seldom used: it speaks only where it knows more than "not built yet".
    reason = reasons[0] if reasons[1] == 'not built yet' else reasons[1]
    return None, f'{reason.rstrip(".")}; `{HOW_TO_BUILD}` builds them'


# --- building ------------------------------------------------------------------------------------

def build_kernels(target: Path, force: bool = False) -> bool:
    """As :func:`build`, for the kernels."""
    return build(kernels(), target, force)


def install_kernels(force: bool = False) -> Path:
    """Build the kernels beside their sources, or in the cache where that is not writable.

    Raises
    ------
    BuildError
    """
    try:
        build_kernels(PACKAGED, force)
        return PACKAGED
    except Unwritable:
        target = cached(kernels())
        build_kernels(target, force)
        return target


def build(recipe: Recipe, target: Path, force: bool = False, retry: bool = True) -> bool:
    """Make sure that ``target`` is the library; returns whether it had to be compiled.

    force : compile even if it is there.
    retry : compile even if that failed before; otherwise the old failure is raised.

    Raises
    ------
    BuildError : also recorded beside ``target``, if that can be written.
    """
    target, digest = target.absolute(), recipe.digest()  # compilers run in another folder
    if not force and not why_unusable(target, digest):
        return False
    with _folder_lock(target) as folder:
        unusable = why_unusable(target, digest)  # another process may have built it meanwhile
        if not force and not unusable:
            return False
        known = read_record(target)
        if not retry and 'error' in known and known.get('digest') == digest:
            raise BuildError(unusable)
        record = {'digest': digest, 'time': time.strftime('%Y-%m-%d %H:%M:%S')}
        try:
            made, compiler = _compile(recipe, folder, target.with_suffix('.log'))
        except BuildError as error:
            if unusable:  # what works goes on working
                _write_record(target, folder, {**record, 'error': str(error)})
            raise BuildError(_with_log(str(error), target)) from None
        record.update(compiler=compiler, flags=' '.join(COMMON_FLAGS),
                      sha256=hashlib.sha256(made.read_bytes()).hexdigest())
        # Without the record first, so that at no moment one stands beside another build's library.
        _remove(target.with_suffix('.json'))
        os.replace(str(made), str(target))
        _write_record(target, folder, record)
        return True


@contextlib.contextmanager
def _folder_lock(target: Path) -> Iterator[Path]:
    """A temporary folder beside ``target``, while no other process builds it."""
    if fcntl is None:
        raise BuildError(f'{platform.system()} is not supported, only Linux and macOS are')
    prefix = f'.{target.stem}-'
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(str(target.with_suffix('.lock')), 'a') as lock:
            _take(lock, time.monotonic() + TIME_LIMIT)
            for leftover in target.parent.glob(prefix + '*'):  # of one that was killed
                shutil.rmtree(str(leftover), ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=prefix, dir=str(target.parent)) as folder:
                yield Path(folder)
    except OSError as error:
        raise Unwritable(f'{target.parent} cannot be written ({error.strerror or error}); '
                         'SOFT_DICE_CACHE can name another folder') from None


def _take(lock: Any, deadline: float) -> None:
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise BuildError(f'another process holds {lock.name} for {TIME_LIMIT:.0f} s'
                                 ) from None
            time.sleep(0.05)


def _compile(recipe: Recipe, folder: Path, log: Path) -> Tuple[Path, str]:
    """The library in ``folder``, and what made it."""
    with open(str(log), 'w', encoding='utf-8', errors='replace') as output:
        compiler = _compiler()
        output.write(f'{" ".join(compiler)}: {_version(compiler)}\n')
        output.flush()
        deadline = time.monotonic() + TIME_LIMIT
        extra = shlex.split(os.environ.get('CXXFLAGS', ''))
        objects = [str(folder / f'{number}.o') for number in range(len(recipe.parts))]
        _run([[*compiler, *COMMON_FLAGS, *part.flags, *extra, '-c', str(part.source), '-o', made]
              for part, made in zip(recipe.parts, objects)], folder, output, deadline)
        library = folder / 'library.so'
        _run([[*compiler, *COMMON_FLAGS, *extra, '-shared', *objects, '-o', str(library)]],
             folder, output, deadline)
        if not library.is_file():
            raise BuildError(f'the compiler {compiler[0]} wrote no library')
        return library, _version(compiler)


def _compiler() -> List[str]:
    named = shlex.split(os.environ.get('CXX', ''))
    if named:
        if shutil.which(named[0]) is None:
            raise BuildError(f'the compiler that CXX names, {named[0]}, is not there')
        return named
    for name in COMPILERS:
        if shutil.which(name):
            return [name]
    raise BuildError(f'there is no C++ compiler ({", ".join(COMPILERS)}); CXX can name one')


def _version(compiler: Sequence[str]) -> str:
    try:
        output = subprocess.run([*compiler, '--version'], stdout=subprocess.PIPE, timeout=20,
                                stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL).stdout
    except (OSError, subprocess.TimeoutExpired):
        output = b''
    return (output.decode(errors='replace').strip().splitlines() or [compiler[0]])[0]


def _run(commands: Sequence[Sequence[str]], folder: Path, log: Any, deadline: float) -> None:
    """Run the commands side by side, in groups of their own so that none outlives this."""
    environment = {**os.environ, 'TMPDIR': str(folder), 'LC_ALL': 'C'}
    running: List[subprocess.Popen] = []
    start = log.tell()
    try:
        for command in commands:
            log.write(' '.join(map(shlex.quote, command)) + '\n')
            log.flush()
            running.append(subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                cwd=str(folder), env=environment, start_new_session=True))
        for process, command in zip(running, commands):
            status = process.wait(timeout=max(0.0, deadline - time.monotonic()))
            if status != 0:
                raise BuildError(f'the compiler {command[0]} failed: '
                                 f'{_why(log.name, start, status)}')
    except subprocess.TimeoutExpired:
        raise BuildError(f'the compiler {commands[0][0]} was stopped after {TIME_LIMIT:.0f} s'
                         ) from None
    except OSError as error:
        raise BuildError(f'the compiler {commands[0][0]} cannot be run ({error.strerror})'
                         ) from None
    finally:
        for process in running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _why(log: str, start: int, status: int) -> str:
    """The decisive line of what the compiler said."""
    with open(log, 'rb') as file:
        file.seek(start)
        lines = [line.strip() for line in file.read().decode(errors='replace').splitlines()
                 if line.strip()]
    decisive = re.compile(r'\berror\b|undefined reference|cannot find|No space left', re.IGNORECASE)
    found = [line for line in lines if decisive.search(line) and ' -O3 ' not in line]
    return found[0] if found else f'exit status {status}'


def _write_record(target: Path, folder: Path, record: Dict[str, Any]) -> None:
    part = folder / 'record.json'
    part.write_text(json.dumps(record, indent=1) + '\n', encoding='utf-8')
    os.replace(str(part), str(target.with_suffix('.json')))


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


if __name__ == '__main__':  # for those who work on the kernels: no package need be importable
    try:
        print(install_kernels('--force' in sys.argv))
    except BuildError as error:
        print(f'The kernels cannot be built: {error}.', file=sys.stderr)
        sys.exit(2)
