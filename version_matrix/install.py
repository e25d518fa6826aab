"""Installs what is missing into .runtime-matrix/: each MXNet in a folder, and for each Python its
NumPys and what the tests need.  Nothing is installed anywhere else.
"""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from soft_dice.arrays import CannotRun

from .plan import ROOT, Interpreter, Job, Release

FOLDER = ROOT / '.runtime-matrix'
REQUIREMENTS = ROOT / 'environment' / 'requirements-matrix.txt'
PINS = ROOT / 'environment' / 'requirements.txt'
MXNETS = ROOT / 'environment' / 'requirements-mxnet.txt'
NEWER_PIP = {'3.6': 'pip<22'}  # what comes with it knows no wheel of today
PINNED = ('3.9', '3.10', '3.11')  # the Pythons that have all of them


def mxnet_folder(release: Release) -> Path:
    return FOLDER / f'mxnet-{release.package}'


def tools_folder(python: Interpreter) -> Path:
    return FOLDER / f'python{python.version}'


def install_mxnet(python: Interpreter, release: Release) -> bool:
    """Whether there was something to do.  Its wheels hold no code for one Python only.

    Raises
    ------
    CannotRun : pip failed.
    """
    return _install(python, mxnet_folder(release),
                    ['--no-deps', '--require-hashes', '-r', str(_one_mxnet(release))])


def install_tools(python: Interpreter) -> bool:
    """As :func:`install_mxnet`, of what the tests need."""
    pins = ['-c', str(_pins())] if python.version in PINNED else []
    return _install(python, tools_folder(python), ['-r', str(REQUIREMENTS), *pins])


def _one_mxnet(release: Release) -> Path:
    """A requirements file with this release alone, and the hash of its wheel."""
    package = f'mxnet=={release.package}'
    [line] = [line for line in MXNETS.read_text().splitlines() if line.split()[:1] == [package]]
    return _written(f'{package}.txt', line)


def _pins() -> Path:
    """PINS without the hashes, which are those of the wheels for Python 3.9 and 3.11."""
    return _written('pins.txt', '\n'.join(re.findall(r'^[^#\s]+', PINS.read_text(), re.MULTILINE)))


def _written(name: str, text: str) -> Path:
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / name).write_text(text + '\n')
    return FOLDER / name


def numpy_folder(job: Job) -> Path:
    name = job.numpy.replace('<', '-before-').replace('==', '-')
    return FOLDER / f'{name}-python{job.python.version}'


def install_numpy(job: Job) -> bool:
    """As :func:`install_mxnet`, of the NumPy of a row.  A Python without pip is that of Debian 11,
    for which this one's takes the wheel.
    """
    has_pip = subprocess.run([job.python.command, '-c', 'import pip'], stdin=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL).returncode == 0
    if has_pip:
        return _install(job.python, numpy_folder(job), [job.numpy])
    own = Interpreter(job.python.version, sys.executable)
    return _install(own, numpy_folder(job),
                    ['--python-version', '2.7', '--implementation', 'cp', '--abi', 'cp27mu',
                     '--platform', 'manylinux1_x86_64', '--only-binary=:all:', 'numpy'])


def unpack_debian(packages: Sequence[str], folder: Path) -> None:
    """Packages of Debian 11, verified by apt, without what they depend on.

    Raises
    ------
    CannotRun : they cannot be had.
    """
    done = subprocess.run([sys.executable, str(Path(__file__).parent / 'unpack_debian.py'),
                           str(folder), *packages], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode:
        raise CannotRun(done.stderr.decode(errors='replace').strip().splitlines()[-1])


def environment(job: Job) -> Dict[str, str]:
    """In which the Python of a row imports its NumPy and its MXNet."""
    mxnet = [mxnet_folder(job.release)] if job.release else []
    return {**environment_with(ROOT, *mxnet, numpy_folder(job), tools_folder(job.python)),
            'TEST_WITHOUT': 'caffe' if job.release else 'caffe mxnet',
            'SOFT_DICE_CACHE': str(FOLDER / 'cache')}


def environment_with(*path: Path) -> Dict[str, str]:
    """In which Python imports from these folders."""
    return {**_clean(), 'PYTHONPATH': os.pathsep.join(map(str, path))}


def _clean() -> Dict[str, str]:
    """The environment without what would lead Python to other folders, or the kernels astray."""
    return {name: value for name, value in os.environ.items()
            if not name.startswith(('PYTHON', 'SOFT_DICE'))}


def _install(python: Interpreter, folder: Path, what: List[str]) -> bool:
    if python.version not in NEWER_PIP:
        return _install_with(None, python, folder, what)
    pip = FOLDER / f'pip-python{python.version}'
    _install_with(None, python, pip, [NEWER_PIP[python.version]])
    return _install_with(pip, python, folder, what)


def _install_with(pip: Optional[Path], python: Interpreter, folder: Path, what: List[str]) -> bool:
    stamp = folder / 'installed'
    key = '\n'.join(what) + ''.join(Path(word).read_text() for word in what
                                    if word.endswith('.txt'))
    if stamp.exists() and stamp.read_text() == key:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    part = folder.with_name(folder.name + '.part')
    shutil.rmtree(part, ignore_errors=True)
    FOLDER.mkdir(exist_ok=True)
    log = folder.with_name(folder.name + '.log')
    with open(log, 'wb') as output:
        done = subprocess.run(
            [python.command, '-m', 'pip', 'install', '--disable-pip-version-check',
             '--no-warn-conflicts', '--no-compile', '--target', str(part), *what],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            env={**_clean(), 'PIP_USER': '0', **({'PYTHONPATH': str(pip)} if pip else {})}, cwd='/')
    if done.returncode:
        lines = [line for line in log.read_text(errors='replace').splitlines() if 'ERROR' in line]
        raise CannotRun(f'pip could not install {" ".join(what)} for Python {python.version}: '
                        f'{(lines or ["it gave no reason"])[0]}; all it said is in {log}')
    (part / 'installed').write_text(key)
    part.rename(folder)
    return True
