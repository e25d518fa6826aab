"""A copy of the checkout in a temporary folder, in which mutants live; the checkout stays as it is.

The kernels are compiled there for one instruction set and with little optimisation, which takes
seconds instead of a minute.  Objects that are the same as before to the last byte tell that the
change of a C++ file is none.
"""
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from .mutant import Mutant

LEFT_OUT = ('.git', '.runtime*', '__pycache__', '.mypy_cache', '.pytest_cache', '.hypothesis',
            'out', 'build', '_kernels.*')
FLAGS = ('-O1',)
ISA = '-DSOFT_DICE_ISA='
KERNELS, OPERATOR = 'soft_dice/native', 'gluon_dice/native'


class Broken(Exception):
    """What does not compile, in the compiler's words."""


class Workspace:
    """The copy.  Close it to delete it."""

    def __init__(self, root: Path) -> None:
        self._folder = tempfile.mkdtemp(prefix='mutants-')
        self.root, cache = Path(self._folder, 'checkout'), Path(self._folder, 'cache')
        cache.mkdir()
        shutil.copytree(str(root), str(self.root), ignore=shutil.ignore_patterns(*LEFT_OUT))
        self.environment = {
            **os.environ, 'PYTHONPATH': str(self.root), 'PYTHONDONTWRITEBYTECODE': '1',
            'SOFT_DICE_CACHE': str(cache), 'CXXFLAGS': ' '.join(FLAGS)}
        self._objects: Dict[Tuple[str, ...], bytes] = {}
        self._library = b''
        self._operators: List[Path] = []

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def build(self) -> None:
        """Compile what there is to compile, of the code as it is."""
        if (self.root / KERNELS).exists():
            self._build_kernels(remember=True)
            self._library = (self.root / KERNELS / '_kernels.so').read_bytes()
        if (self.root / OPERATOR).exists():
            self._build_operator()
            self._operators = self._all_operators()

    def apply(self, mutant: Mutant) -> bool:
        """Change the file; whether that changes the compiled code, which Python's always does.

        Raises
        ------
        Broken : it does not compile.
        """
        file = self.root / mutant.path
        self._before = file, file.read_bytes(), os.stat(str(file))
        file.write_bytes(mutant.applied(self._before[1]))
        if mutant.path.startswith(KERNELS) and not mutant.path.endswith('.py'):
            return self._build_kernels(changed=file)
        if mutant.path.startswith(OPERATOR) and not mutant.path.endswith('.py'):
            self._build_operator()
            old, new = self._operators, [each for each in self._all_operators()
                                         if each not in self._operators]
            return [each.read_bytes() for each in old] != [each.read_bytes() for each in new]
        return True

    def restore(self) -> None:
        """The file and the compiled code as they were before :meth:`apply`."""
        file, source, times = self._before
        file.write_bytes(source)
        os.utime(str(file), ns=(times.st_atime_ns, times.st_mtime_ns))  # its bytecode is valid
        if not file.name.endswith('.py'):
            self._install(self._library)
            for each in self._all_operators():
                if each not in self._operators:
                    each.unlink()

    def output(self) -> str:
        """What the last tests printed."""
        return Path(self._folder, 'cache', 'output').read_text(errors='replace')

    # --- the kernels ---

    def _build_kernels(self, changed: Optional[Path] = None, remember: bool = False) -> bool:
        """Compile what depends on the changed file; whether any object differs from before."""
        build = self._build_module()
        target = Path(self._folder, 'objects')
        target.mkdir(exist_ok=True)
        files, differs = [], False
        for number, (source, flags) in enumerate(self._parts(build)):
            file = target / f'{number}.o'
            key = (source, *flags)
            if changed is None or changed.suffix == '.h' or source == str(changed):
                self._compile([*build.COMMON_FLAGS, *flags, *FLAGS, '-c', source, '-o', str(file)])
                differs |= file.read_bytes() != self._objects.get(key)
                if remember:
                    self._objects[key] = file.read_bytes()
            else:
                file.write_bytes(self._objects[key])
            files.append(str(file))
        if differs:
            library = target / 'library.so'
            self._compile([*build.COMMON_FLAGS, *FLAGS, '-shared', *files, '-o', str(library)])
            self._install(library.read_bytes())
        return differs

    def _build_module(self) -> Any:
        """soft_dice/native/build.py of the copy, which needs no package, as setup.py loads it."""
        path = self.root / KERNELS / 'build.py'
        spec: Any = importlib.util.spec_from_file_location('mutated_build', str(path))
        module = importlib.util.module_from_spec(spec)
        sys.modules['mutated_build'] = module
        spec.loader.exec_module(module)
        return module

    def _parts(self, build: Any) -> List[Tuple[str, List[str]]]:
        """Sources and flags of a library with one instruction set, the machine's AVX2 if it can."""
        fast = 'avx2' if 'avx2' in build.INSTRUCTION_SETS and _has_avx2() else 'baseline'
        parts = []
        for source, flags in build.kernels().parts:
            sets = [flag[len(ISA):] for flag in flags if flag.startswith(ISA)]
            if not sets or sets == [fast]:
                others = [flag for flag in flags
                          if not flag.startswith(ISA) and flag != '-DSOFT_DICE_HAVE_X86']
                parts.append((str(source), [ISA + 'baseline'] * bool(sets) + others))
        return parts

    def _install(self, library: bytes) -> None:
        """Put the library where soft_dice looks, with the record that it asks for."""
        folder = self.root / KERNELS
        record = {'digest': self._build_module().kernels_digest(), 'compiler': 'python -m mutation',
                  'sha256': hashlib.sha256(library).hexdigest()}
        made = folder / 'made.so'  # never into a file that a process has mapped
        made.write_bytes(library)
        os.replace(str(made), str(folder / '_kernels.so'))
        (folder / '_kernels.json').write_text(json.dumps(record))

    # --- Gluon's operator ---

    def _build_operator(self) -> None:
        self._run([sys.executable, '-m', 'gluon_dice', 'build'])

    def _all_operators(self) -> List[Path]:
        return sorted(Path(self._folder, 'cache').glob('*operator*.so'))

    def _compile(self, arguments: List[str]) -> None:
        self._run(['g++', *arguments])

    def _run(self, command: List[str]) -> None:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              cwd=str(self.root), env=self.environment)
        if done.returncode:
            raise Broken(done.stdout.decode(errors='replace'))


def _has_avx2() -> bool:
    try:
        return ' avx2 ' in Path('/proc/cpuinfo').read_text()
    except OSError:
        return False
