"""The rows of the kind 'bundle': the one file that `python -m caffe_layers bundle` makes, held to
what the package computes, on every Python from 2.7 on that there is.

Nothing of the package is imported there.  tests/bundle_table.py computes the values in this Python,
tests/bundle_runner.py compares them in that one.
"""
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import List, Optional, Sequence

from . import install
from .plan import ROOT, Interpreter, Job, find_pythons, own_python
from .run import LIMIT, Facts, Result, how_it_ended

# Debian 11's last Python 2.7, and what it needs beside what every machine has.
DEBIAN = ('python2.7-minimal', 'libpython2.7-minimal', 'libpython2.7-stdlib', 'libffi7',
          'libssl1.1')
START = '''#!/bin/sh
root={root}/usr
LD_LIBRARY_PATH=$root/lib/x86_64-linux-gnu PYTHONHOME=$root exec $root/bin/python2.7 "$@"
'''


def jobs(versions: Sequence[str]) -> List[Job]:
    """One for each of these Pythons that is there; a 2.7 that is not is taken from Debian 11.

    Raises
    ------
    CannotRun : Debian 11 cannot be had.
    """
    found = find_pythons(versions)
    if '2.7' in versions and '2.7' not in [each.version for each in found]:
        found.insert(0, debian_python())
    return [Job(python, 'bundle') for python in found]


def debian_python() -> Interpreter:
    """Debian 11's Python 2.7, unpacked into .runtime-matrix/; it has no pip."""
    folder = install.FOLDER / 'debian-python2.7'
    start = folder / 'python2.7'
    if not start.exists():
        part = folder.with_name(folder.name + '.part')
        shutil.rmtree(part, ignore_errors=True)
        install.unpack_debian(DEBIAN, part)
        (part / 'python2.7').write_text(START.format(root=folder))
        (part / 'python2.7').chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    return Interpreter('2.7', str(start))


def run(job: Job) -> Result:
    """Make the file and the table anew, and compare."""
    begin = time.monotonic()
    result = Result(job.python.version, job.name, job.kind, Facts(''))
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        ended = _make(folder)
        if ended:
            return result._replace(ended=ended)
        try:
            done = subprocess.run(
                [job.python.command, '-W', 'ignore', str(ROOT / 'tests' / 'bundle_runner.py'),
                 str(folder)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, timeout=LIMIT, cwd='/',
                env=install.environment_with(install.numpy_folder(job)))
        except subprocess.TimeoutExpired:
            return result._replace(ended=f'the comparison took more than {LIMIT} s')
    if done.returncode:
        return result._replace(ended=how_it_ended(done.returncode, done.stderr.decode()))
    found = json.loads(done.stdout.decode().splitlines()[-1])
    return result._replace(facts=Facts('', numpy=found['numpy']), passed=found['passed'],
                           failed=found['failed'], seconds=round(time.monotonic() - begin, 1))


def _make(folder: Path) -> Optional[str]:
    """The file and the table in the folder; why that was not possible."""
    environment = install.environment_with(ROOT, ROOT / 'tests',
                                           install.tools_folder(own_python()))
    for command in ([str(ROOT / 'tests' / 'bundle_table.py'), str(folder)],
                    ['-m', 'caffe_layers', 'bundle', '--out', str(folder / 'soft_dice_layer.py')]):
        done = subprocess.run([sys.executable, *command], stdin=subprocess.DEVNULL, cwd=str(ROOT),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        if done.returncode:
            return how_it_ended(done.returncode, done.stderr.decode())
    return None
