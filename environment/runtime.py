"""The folder `.runtime/`: what is where in it, the stamps of the steps that are done, the lock."""
import fcntl
import os
import shutil
from pathlib import Path
from typing import Optional

from ways import WAYS, Release


class Problem(Exception):
    """What the user is told, in one sentence, when the runtime cannot be built."""


class Runtime:
    """Where everything is."""

    def __init__(self, project: Path, way: str = 'debian') -> None:
        self.project = project.resolve()
        self.root = self.project / '.runtime'
        self.way = way  # one of WAYS
        self.debian = self.root / 'debian'
        self.caffe = self.root / 'caffe'  # where it was compiled
        self.python = self.root / 'bin/python'
        self.downloads = self.root / 'downloads'
        self.logs = self.root / 'logs'
        self.stamps = self.root / 'stamps'
        self.lock = self.root / 'lock'
        # The folder of an unpacked bundle, from which everything comes in place of the network.
        self.bundle: Optional[Path] = None

    @property
    def release(self) -> Release:
        return WAYS[self.way]


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it; nothing may be there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()


def is_done(runtime: Runtime, name: str, key: str) -> bool:
    """Has the step of this name been done, and with this key?"""
    stamp = runtime.stamps / name
    return stamp.exists() and stamp.read_text() == key


def write_stamp(runtime: Runtime, name: str, key: str) -> None:
    """All at once, so that no interruption leaves half a stamp."""
    runtime.stamps.mkdir(exist_ok=True)
    part = runtime.stamps / (name + '.part')
    part.write_text(key)
    part.rename(runtime.stamps / name)


def take_lock(runtime: Runtime):
    """Wait for other runs in this folder. The lock is held while the returned file is open."""
    runtime.root.mkdir(exist_ok=True)
    lock = open(runtime.lock, 'a+')
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        print(f'Waiting for process {lock.read()}, or what it started: it is building .runtime/.',
              flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    os.set_inheritable(lock.fileno(), True)  # running.run says why
    return lock
