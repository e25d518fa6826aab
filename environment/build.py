#!/usr/bin/env python3
"""Builds `.runtime/`: real Caffe and real MXNet in one Python, without root.

The last Debian that packages Caffe is 11 (bullseye). Its packages are downloaded and verified by
the machine's own apt, into folders of this project, and unpacked there; nothing is installed on
the machine. pip then adds MXNet and the rest from PyPI. With CAFFE=source the packages are those of
Debian 12 that Caffe needs, and Caffe is compiled. `.runtime/` holds afterwards

    bin/python, bin/pip, bin/caffe    what to run, and Caffe's other commands
    debian/                           Debian's packages, unpacked
    caffe/                            Caffe, if it was compiled
    lib/                              what pip installed
    downloads/, logs/, stamps/, lock  this program's own

`.runtime/` is a virtual environment whose base is the unpacked Python. bin/python hands that
Python to the system's dynamic loader together with the folders of its libraries. LD_LIBRARY_PATH
and PYTHONHOME would do as well, but every program started from that Python, a compiler for
instance, would inherit them.

The work is cut into steps. Each one has a key, the hash of everything it depends on, which is
written to `.runtime/stamps/` when the step is done. A step whose stamp is missing or different,
because it was interrupted or because something changed, is done again from nothing, and so are
the steps after it.

    debian     debian.py, with mirror.py
    python     pypi.py, with wrappers.py
    caffe      caffe_source.py, with caffe.mk: for CAFFE=source alone
    proof      proof.py, which the new Python runs
    project    project.py

ways.py says what Debian and PyPI give. bundle.py writes and reads one file with all that comes
from the network. machine.py says what the machine must have, runtime.py where everything is,
running.py runs commands. All of it needs the standard library alone.
"""
import argparse
import hashlib
import json
import signal
import sys
import time
from pathlib import Path
from typing import Optional

if __name__ == '__main__':  # -I and PYTHONSAFEPATH leave out the folder of a script
    sys.path.insert(0, str(Path(__file__).resolve().parent))

import bundle
import caffe_source
import debian
import project
import pypi
from machine import check_machine
from running import Progress, clean_environment, run, why
from runtime import Problem, Runtime, is_done, remove, take_lock, write_stamp
from ways import WAYS

HERE = Path(__file__).resolve().parent
PROOF = HERE / 'proof.py'
WAY = 'way'  # name of a stamp


def build_proof(runtime: Runtime) -> None:
    """The frameworks at work in the new Python."""
    log, progress = runtime.logs / 'proof.log', Progress('Both in one process')
    remove(log)
    if run([runtime.python, PROOF], log, progress, env=clean_environment(), cwd=runtime.root) != 0:
        raise Problem(f'The frameworks do not work together ({why(log)}; all in {log}).')
    progress.done(log.read_text().strip().splitlines()[-1])


def steps(runtime: Runtime) -> list:
    """(name, function, key) of each step in order; each key covers the steps before it too."""
    inputs = [('debian', debian.build, debian.inputs(runtime)),
              ('python', pypi.build, pypi.inputs(runtime)),
              ('proof', build_proof, [PROOF.read_text()]),
              ('project', project.build, project.inputs(runtime))]
    if runtime.way == 'source':
        inputs.insert(2, ('caffe', caffe_source.build, caffe_source.inputs()))
    result, key = [], ''
    for name, function, values in inputs:
        text = json.dumps([key, name, values], sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()
        result.append((name, function, key))
    return result


def build(runtime: Runtime, file: Optional[Path] = None) -> None:
    """Do the steps that are not done yet, from a bundle if one is given."""
    start, todo = time.monotonic(), steps(runtime)
    if file:
        bundle.check(file, runtime)
    while todo and is_done(runtime, todo[0][0], todo[0][2]):
        del todo[0]
    if not todo:
        print('.runtime/ is up to date.')
        return
    check_machine(runtime)
    minutes = 'three' if runtime.way == 'debian' else 'ten'
    print(f'Building {runtime.root}; all of it takes about {minutes} minutes.', flush=True)
    remember_way(runtime)
    # Later stamps go first: what they stand for is wiped or outdated from here on.
    for name, _, _ in reversed(todo):
        remove(runtime.stamps / name)
    try:
        if file:
            runtime.bundle = bundle.unpack(file, runtime.root / 'bundle')
        for name, function, key in todo:
            function(runtime)
            write_stamp(runtime, name, key)
    finally:
        remove(runtime.root / 'bundle')
    print(f'Built in {time.monotonic() - start:.0f} s.')


def choose_way(runtime: Runtime, asked: Optional[str], file: Optional[Path]) -> str:
    """How to have Caffe: as asked; else as the bundle does; else as last time."""
    if asked not in (None, *WAYS):
        raise Problem(f'CAFFE is {asked!r}, but it must be one of {", ".join(WAYS)}: `make env '
                      'CAFFE=source` compiles Caffe, and CAFFE=debian takes that of Debian 11.')
    last = runtime.stamps / WAY
    return (asked or (file and bundle.read_manifest(file).get('caffe'))
            or (last.read_text() if last.exists() else 'debian'))


def remember_way(runtime: Runtime) -> None:
    """So that `make test` builds nothing else."""
    if runtime.way == 'debian':
        remove(runtime.stamps / WAY)
    else:
        write_stamp(runtime, WAY, runtime.way)


def write_bundle(runtime: Runtime, file: Path) -> None:
    """Build what is not built, and write the bundle from which it can be built again."""
    bundle.check_target(file)
    build(runtime)
    bundle.write(runtime, file)


def full_path(text: str) -> Path:
    return Path(text).expanduser().absolute()


def interrupted(signal_number, frame) -> None:
    raise KeyboardInterrupt


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description='Build .runtime/: Caffe and MXNet in one Python.')
    parser.add_argument('--project', type=Path, default=HERE.parent,
                        help='the folder to build it in; the default is the one this program is in')
    parser.add_argument('--caffe', metavar='WAY',
                        help='debian: that of Debian 11; source: compiled from its sources; '
                             'without this the way of the last time, and first debian')
    parser.add_argument('--bundle', type=full_path, metavar='FILE',
                        help='take everything from this file, which --write-bundle wrote, and '
                             'nothing from the network')
    parser.add_argument('--write-bundle', type=full_path, metavar='FILE',
                        help='write such a file')
    given = parser.parse_args(arguments)
    runtime = Runtime(given.project)
    signal.signal(signal.SIGTERM, interrupted)
    try:
        lock = take_lock(runtime)
        runtime.way = choose_way(runtime, given.caffe, given.bundle)
        if given.write_bundle:
            write_bundle(runtime, given.write_bundle)
        else:
            build(runtime, given.bundle)
        lock.close()
    except Problem as problem:
        print(f'\n{problem}' if sys.stdout.isatty() else problem, file=sys.stderr)
        return 2
    except OSError as error:
        what = 'The bundle cannot be written' if given.write_bundle else '.runtime/ cannot be built'
        print(f'{what}: {error}.', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('\nInterrupted; no bundle was written.' if given.write_bundle else
              '\nInterrupted; the next `make env` goes on from here.', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
