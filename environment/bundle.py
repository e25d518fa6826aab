"""One file with everything that `make env` takes from the network, for a machine without one.

It is a tar file, so `tar tf` lists it, and one line after that with the SHA-256 of all before:

    manifest.json    what it was made for
    debian/          a mirror of the packages that are needed, under Debian's own signature
    wheels/          the packages of PyPI that the requirement files pin, by their hashes too, and
                     for CAFFE=source the sources of Caffe

A file that was cut off or changed by accident is refused before anything is built. Against a file
that somebody forged, apt checks Debian's signature and pip the hashes, as they do with a network.
"""
import hashlib
import json
import os
import platform
import re
import shutil
import tarfile
from pathlib import Path
from typing import BinaryIO

import caffe_source
import debian
import pypi
from running import Progress
from runtime import Problem, Runtime, remove

MANIFEST = 'manifest.json'
FORMAT = 1
NAMES = re.compile(r'(debian/(dists|pool)/|wheels/)(?!.*\.\.)[^\\]+')
LAST_LINE = 'sha256 {}\n'
LAST_SIZE = len(LAST_LINE.format('0' * 64))
CHUNK = 1 << 20
NEEDED = 6e8  # bytes of disk: the packages, and the file


def manifest(runtime: Runtime) -> dict:
    """What a bundle made here is for; the same from one checkout to the next with the same pins."""
    contents = json.dumps([debian.inputs(runtime), pypi.pins(runtime), caffe_source.pins(runtime)])
    return {'format': FORMAT, 'machine': platform.machine(), 'caffe': runtime.way,
            'contents': hashlib.sha256(contents.encode()).hexdigest()}


# --- writing --------------------------------------------------------------------------------------

def check_target(file: Path) -> None:
    """Raise Problem where no bundle can be written."""
    if file.exists():
        raise Problem(f'{file} exists and is not overwritten: remove it, or name another file with '
                      '`make env-bundle OUT=<file>`.')
    if not os.access(str(file.parent), os.W_OK):
        raise Problem(f'The folder {file.parent} is not there or cannot be written to: name '
                      'another file with `make env-bundle OUT=<file>`.')


def write(runtime: Runtime, file: Path) -> None:
    """Download everything and write the file, all at once when it is whole.

    The runtime is built: its apt and its pip say what belongs into the bundle.
    """
    for folder in (runtime.root, file.parent):
        free = shutil.disk_usage(folder).free
        if free < NEEDED:
            raise Problem(f'Only {free / 1e9:.1f} GB of disk are free for {folder}, and a bundle '
                          f'takes {NEEDED / 1e9:.1f} GB: make room.')
    folder, part = runtime.root / 'bundle', file.with_name(file.name + '.part')
    remove(folder)
    try:
        debian.fetch_mirror(runtime, folder / 'debian')
        pypi.fetch_wheels(runtime, folder / 'wheels')
        if runtime.way == 'source':
            caffe_source.fetch(runtime, folder / 'wheels')
        (folder / MANIFEST).write_text(json.dumps(manifest(runtime)))
        with open(part, 'wb') as output:
            pack(folder, output)
            os.fsync(output.fileno())
        part.rename(file)
    finally:
        remove(folder)
        remove(part)
    print(f'Wrote {file}, {file.stat().st_size / 1e6:.0f} MB. On a machine without a network, in a '
          f'checkout like this one: `make env BUNDLE={file.name}`.')


class Hashed:
    """A file to write to, with the hash of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.hash, self.size = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self.hash.update(data)
        self.size += len(data)


def pack(folder: Path, output: BinaryIO) -> None:
    """The same files give the same bytes, wherever and whenever."""
    progress, hashed = Progress('Bundle'), Hashed(output)

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ''
        entry.mode = 0o644
        return entry

    files = sorted(path for path in folder.rglob('*') if path.is_file())
    files.sort(key=lambda path: path.name != MANIFEST)  # the first, as it is read alone
    with tarfile.open(fileobj=hashed, mode='w|', format=tarfile.PAX_FORMAT) as tar:
        for path in files:
            progress.update(f'{hashed.size / 1e6:.0f} MB')
            tar.add(str(path), str(path.relative_to(folder)), filter=plain)
    output.write(LAST_LINE.format(hashed.hash.hexdigest()).encode())
    progress.done(f'{hashed.size / 1e6:.0f} MB')


# --- reading --------------------------------------------------------------------------------------

def check(file: Path, runtime: Runtime) -> None:
    """Raise Problem for a file that is no bundle, not whole, or for another machine or checkout."""
    found, wanted = read_manifest(file), manifest(runtime)
    check_hash(file)
    if found.get('format') != FORMAT:
        raise Problem(f'{file} was written by another version of this project: write it anew with '
                      '`make env-bundle` in a checkout like this one.')
    if found.get('machine') != wanted['machine']:
        raise Problem(f'{file} is for a machine of the kind {found.get("machine")}, and this one '
                      f'is {wanted["machine"]}: write one with `make env-bundle` on such a '
                      'machine.')
    if found.get('caffe') != wanted['caffe']:
        raise Problem(f'{file} holds what `make env CAFFE={found.get("caffe")}` needs, and not '
                      f'what CAFFE={wanted["caffe"]} does: leave CAFFE out, or give another file.')
    if found.get('contents') != wanted['contents']:
        raise Problem(f'{file} holds other versions of packages than this checkout asks for: write '
                      'it anew with `make env-bundle` in a checkout like this one.')


def read_manifest(file: Path) -> dict:
    """What the file says it is for, if it is a bundle at all."""
    if not file.is_file():
        raise Problem(f'There is no file {file}: give one that `make env-bundle` wrote, with `make '
                      'env BUNDLE=<file>`.')
    try:
        with tarfile.open(str(file), 'r:') as tar:
            first = tar.next()
            if first is not None and first.name == MANIFEST:
                found = json.loads(tar.extractfile(first).read().decode())
                return found if isinstance(found, dict) else {}
    except (tarfile.TarError, ValueError):
        pass
    raise Problem(f'{file} is not a bundle: give one that `make env-bundle` wrote.')


def check_hash(file: Path) -> None:
    progress, found = Progress('Bundle: is it whole?'), hashlib.sha256()
    left = size = file.stat().st_size - LAST_SIZE
    with open(file, 'rb') as source:
        while left > 0:
            chunk = source.read(min(left, CHUNK))
            found.update(chunk)
            left -= len(chunk)
            progress.update(f'{(size - left) / 1e6:.0f} of {size / 1e6:.0f} MB')
        if source.read() != LAST_LINE.format(found.hexdigest()).encode():
            raise Problem(f'{file} was cut off or changed since it was written, as its last line '
                          'is not the SHA-256 of all before: copy it again.')
    progress.done(f'{size / 1e6:.0f} MB')


def unpack(file: Path, folder: Path) -> Path:
    """A bundle that passed :func:`check`, into the folder, which is returned."""
    progress = Progress('Bundle unpacking')
    remove(folder)
    with tarfile.open(str(file), 'r:') as tar:
        for number, entry in enumerate(tar, start=1):
            progress.update(f'{number} files')
            if entry.name == MANIFEST:
                continue
            if not entry.isreg() or not NAMES.fullmatch(entry.name):
                raise Problem(f'{file} is not a bundle, as it holds {entry.name}.')
            target = folder / entry.name
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, 'wb') as output:
                shutil.copyfileobj(tar.extractfile(entry), output, CHUNK)
    progress.done(f'{number} files')
    return folder
