"""What is run: a row is a Python, a NumPy and a release of MXNet, or none, with its tests.

A new row for MXNet is a line in RELEASES, which may name its Pythons and its NumPy; a new Python is
a word in PYTHONS, where the core runs with that Python's newest NumPy.
"""
import glob
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Pattern, Sequence, Tuple

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ('3.6', '3.7', '3.8', '3.9', '3.10', '3.11', '3.12', '3.13')
ALL_PYTHONS = ('2.7', '3.4', '3.5', *PYTHONS)  # of the one file
WITH_MXNET = PYTHONS[:-2]  # there is no NumPy before 1.24 for the others

IMPORTS_CAFFE = re.compile(r'^(?:import|from) \w*caffe', re.MULTILINE)
IMPORTS_GLUON = re.compile(r'^(?:import|from) (?:mxnet|gluon_dice|on_gluon|examples|long_run)\b',
                           re.MULTILINE)
LEFT_OUT = {'test_benchmarks.py': 'measures this machine',
            'test_caffe_source.py': 'is about building `.runtime/`',
            'test_demo_distributed.py': 'is about the demo, which is for `.runtime/`',
            'test_dist.py': 'is about packaging, which `.runtime/` does',
            'test_env_bundle.py': 'is about building `.runtime/`',
            'test_environment.py': 'is about building `.runtime/`',
            'test_gluoncv.py': 'trains a network of gluoncv, which `.runtime/` has',
            'test_mutation.py': 'is about `make mutants`, which runs in `.runtime/`',
            'test_sanitizers.py': 'runs the kernels without Python',
            'test_study.py': 'is about `make study`, which runs in `.runtime/`',
            'test_version_matrix.py': 'is about this command'}
# Loads a processor for a minute and is about the judge, not the losses.
CHECKER = 'test_check_gluon.py'


class Release(NamedTuple):
    """A release of MXNet.

    package : its version on PyPI.
    supported : all tests must pass.
    operator : the kernels must be usable as an external operator.
    amp : its amp can be tried on a CPU; before 1.9 it fails there by itself.
    np : it has mx.np, and an Estimator that takes metrics for training, as since 1.6.
    operators : it has those for stage 1, as since 1.5; else that is a Custom operator.
    pythons : on which it is tried; where none is named, on that of .runtime/ and on the machine's.
    numpy : what pip is asked for.  Before 2.0 each uses numpy.bool, which NumPy 1.24 removed.
    """

    version: str
    package: str
    supported: bool = True
    operator: bool = False
    amp: bool = False
    np: bool = True
    operators: bool = True
    pythons: Tuple[str, ...] = ()
    numpy: str = 'numpy<1.24'


OLD: Dict[str, Any] = dict(np=False, operators=False, pythons=('3.6',))
RELEASES = (Release('1.0.0', '1.0.0.post4', **OLD), Release('1.1.0', '1.1.0', **OLD),
            Release('1.2.1', '1.2.1.post1', **OLD), Release('1.3.1', '1.3.1', **OLD),
            Release('1.4.1', '1.4.1', **OLD),
            Release('1.5.1', '1.5.1', np=False), Release('1.6.0', '1.6.0'),
            Release('1.7.0', '1.7.0.post2'), Release('1.8.0', '1.8.0.post0'),
            Release('1.9.1', '1.9.1', operator=True, amp=True, pythons=WITH_MXNET),
            Release('2.0.0b1', '2.0.0b1', supported=False))
NEWEST = [release for release in RELEASES if release.supported][-1]


class Interpreter(NamedTuple):
    version: str
    command: str


class Job(NamedTuple):
    """A row.

    kind : 'gluon'; or, without an MXNet, 'core' or 'bundle', the one file.
    """

    python: Interpreter
    kind: str
    release: Optional[Release] = None

    @property
    def name(self) -> str:
        """What --only calls it, with the other rows of the release or the kind."""
        return self.release.version if self.release else self.kind

    @property
    def numpy(self) -> str:
        """What pip is asked for: without an MXNet, the newest for that Python."""
        return self.release.numpy if self.release else 'numpy'

    def __str__(self) -> str:
        return f'{describe(self.name)}, Python {self.python.version}'


def describe(name: str) -> str:
    """What --only calls by that name, in words."""
    return {'core': 'the core', 'bundle': 'the one file'}.get(name, f'MXNet {name}')


def own_python() -> Interpreter:
    """The one that runs this, that of .runtime/."""
    return Interpreter('{}.{}'.format(*sys.version_info), sys.executable)


def machine_python() -> Optional[Interpreter]:
    """``python3`` of the machine, if it is one for MXNet."""
    command = shutil.which('python3')
    found = [version for version in WITH_MXNET if command and _is(version, command)]
    return Interpreter(found[0], str(command)) if found else None


def find_pythons(versions: Sequence[str]) -> List[Interpreter]:
    """Those that are there: this one, the machine's, in PATH, or installed by pyenv."""
    found = {each.version: each for each in (machine_python(), own_python()) if each is not None}
    pyenv = os.environ.get('PYENV_ROOT', os.path.expanduser('~/.pyenv'))
    for version in versions:
        in_path = shutil.which(f'python{version}')
        commands = [in_path] * (in_path is not None)
        commands += sorted(glob.glob(f'{pyenv}/versions/{version}.*/bin/python{version}'))
        for command in commands:
            if version not in found and _is(version, str(command)):
                found[version] = Interpreter(version, str(command))
    return [found[version] for version in versions if version in found]


def _is(version: str, command: str) -> bool:
    """Whether it starts, has pip and is of this version."""
    code = 'import sys, pip; print("{}.{}".format(*sys.version_info))'
    done = subprocess.run([command, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          stdin=subprocess.DEVNULL)
    return done.stdout.decode().strip() == version


def jobs(names: Sequence[str], versions: Sequence[str]) -> List[Job]:
    """The rows of these names (``Job.name``) and Pythons that this machine has: each release on its
    Pythons, the core on every one."""
    pythons = find_pythons(versions)
    both = tuple(each.version for each in (own_python(), machine_python()) if each is not None)
    rows = [Job(python, 'gluon', release) for release in RELEASES for python in pythons
            if python.version in (release.pythons or both)]
    rows += [Job(python, 'core') for python in pythons if python.version in PYTHONS]
    return [each for each in rows if each.name in names]


def _tests(pattern: Pattern[str]) -> List[str]:
    """The names of the files of tests in which the pattern occurs."""
    return [path.name for path in sorted((ROOT / 'tests').glob('test_*.py'))
            if pattern.search(path.read_text(encoding='utf-8'))]


def why_left_out() -> Dict[str, str]:
    """The files of tests that none of the jobs runs, and why."""
    return {**LEFT_OUT, **{name: 'needs Caffe' for name in _tests(IMPORTS_CAFFE)}}


def arguments(job: Job) -> List[str]:
    """What pytest is to be told: the files, and which of their tests.

    Gluon's tests are those of a file that imports it, and those whose name, or whose backend's, has
    gluon or symbol in it; the core's are all others.  Those with caffe in their name need Caffe.
    """
    left_out = set(why_left_out())
    if job.python != own_python():
        left_out.add(CHECKER)
    files = [name for name in _tests(re.compile('')) if name not in left_out]
    importing = [name for name in _tests(IMPORTS_GLUON) if name in files]
    if job.release is None:
        return [*(f'tests/{name}' for name in files if name not in importing), 'soft_dice',
                '-k', 'not gluon and not symbol and not caffe']
    words = ['gluon', 'symbol', *(name[:-len('.py')] for name in importing if 'gluon' not in name)]
    chosen = f'({" or ".join(words)}) and not caffe'
    if not job.release.operators:
        chosen += (' and not test_gluon_native and not only_operators and not numpy_without_bool '
                   'and not long_run and not test_distributed')
    elif not job.release.operator:
        chosen += ' and not native and not kernels and not long_run'  # ids, or files
    if not job.release.np:
        chosen += ' and not test_gluon_np and not test_estimator'
    if not job.release.amp:
        chosen += ' and not under_amp'
    return [*(f'tests/{name}' for name in files), 'gluon_dice', '-k', chosen]
