#!/usr/bin/env python3
"""Compiles Caffe from its source package on PyPI, for the Python, Boost and NumPy that it is told.

`make env CAFFE=source` does so with Debian packages that debian.py unpacked. By hand, with those
that are installed on the machine or lie anywhere else:

    pip download --no-deps --no-build-isolation brocolli-caffe==9.0.2
    python3 environment/caffe_source.py brocolli-caffe-9.0.2.tar.gz FOLDER --python PYTHON

FOLDER holds afterwards bin/caffe, lib/libcaffe.so, and in python/ the module for PYTHONPATH. What
is missing is named with its Debian package, before anything is compiled. The recipe itself is
caffe.mk.
"""
import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

if __name__ == '__main__':  # -I and PYTHONSAFEPATH leave out the folder of a script
    sys.path.insert(0, str(Path(__file__).resolve().parent))

from caffe_changes import CHANGES, apply_changes
from pypi import pinned, pip
from running import Progress, clean_environment, output_of, run, why
from runtime import Problem, Runtime, remove

HERE = Path(__file__).resolve().parent
MAKEFILE = HERE / 'caffe.mk'
REQUIREMENTS = HERE / 'requirements-caffe.txt'
KEY = 'key'  # a file that says what a folder was made from

# What Caffe includes and links with, beside Python and Boost's library for it: (package of Debian,
# header, library).
NEEDED = [('libboost-thread-dev', 'boost/thread.hpp', 'boost_thread'),
          ('libboost-filesystem-dev', 'boost/filesystem.hpp', 'boost_filesystem'),
          ('libboost-system-dev', 'boost/system/error_code.hpp', 'boost_system'),
          ('libboost-regex-dev', 'boost/regex.hpp', 'boost_regex'),
          ('libgflags-dev', 'gflags/gflags.h', 'gflags'),
          ('libgoogle-glog-dev', 'glog/logging.h', 'glog'),
          ('libprotobuf-dev', 'google/protobuf/message.h', 'protobuf'),
          ('libhdf5-dev', 'hdf5.h', 'hdf5'),
          ('liblmdb-dev', 'lmdb.h', 'lmdb'),
          ('libleveldb-dev', 'leveldb/db.h', 'leveldb'),
          ('libsnappy-dev', 'snappy.h', 'snappy'),
          ('libopenblas-dev', 'cblas.h', 'openblas')]

# Run by the Python that Caffe is for. A Python without a shared library, as pyenv builds it, is put
# whole into the commands.
ASK_PYTHON = '''
import json, sys, sysconfig
try:
    import numpy
except ImportError:
    numpy = None
name = sysconfig.get_config_var
paths = sysconfig.get_paths()
version = "%d.%d" % sys.version_info[:2]
if name("Py_ENABLE_SHARED"):
    link = ["-L" + name("LIBDIR"), "-lpython" + (name("LDVERSION") or version)]
else:
    link = ["-Wl,--export-dynamic", "-Wl,--whole-archive",
            name("LIBDIR") + "/" + name("LIBRARY"), "-Wl,--no-whole-archive"]
    link += (name("LIBS") + " " + name("SYSLIBS")).split()
print(json.dumps({"version": version, "include": sorted({paths["include"], paths["platinclude"]}),
                  "link": link, "numpy": numpy and [numpy.__version__, numpy.get_include()]}))
'''


class Place(NamedTuple):
    """What Caffe is compiled for, and where what it needs is."""
    python: str                     # command of the Python that is to import it
    root: Path = Path('/')          # a tree of folders such as a Debian has
    includes: Tuple[str, ...] = ()  # further folders of headers, which come first
    libraries: Tuple[str, ...] = ()  # further folders of libraries, which come first
    boost_python: str = ''          # name of Boost's library for it; '' is boost_python311 for 3.11
    protoc: str = ''                # command; '' is that of the root

    def include_folders(self) -> List[str]:
        include = self.root / 'usr/include'
        return [*self.includes, *map(str, [
            include, include / 'hdf5/serial', include / 'x86_64-linux-gnu',
            include / 'x86_64-linux-gnu/openblas-pthread'])]

    def library_folders(self) -> List[str]:
        library = self.root / 'usr/lib/x86_64-linux-gnu'
        return [*self.libraries, *map(str, [library / 'openblas-pthread', library / 'hdf5/serial',
                                            library, self.root / 'usr/lib'])]

    def protoc_command(self) -> List[str]:
        """Its own libraries are those of the root."""
        if self.protoc or self.root == Path('/'):
            return [self.protoc or 'protoc']
        return ['env', 'LD_LIBRARY_PATH=' + ':'.join(self.library_folders()),
                str(self.root / 'usr/bin/protoc')]


def build(runtime: Runtime) -> None:
    """The step of `make env CAFFE=source`: what was compiled before and would be the same stays."""
    if runtime.bundle:
        archives = runtime.bundle / 'wheels'
    else:
        archives = runtime.downloads
        fetch(runtime, archives)
    [archive] = archives.glob('brocolli-caffe-*.tar.gz')
    compile_caffe(archive, runtime.caffe, Place(str(runtime.python), runtime.debian),
                  runtime.logs / 'caffe.log')
    remove(runtime.downloads)


def fetch(runtime: Runtime, folder: Path) -> None:
    """The source package; pip starts its setup.py for the name, when the hash is right."""
    pip(runtime, 'Caffe: sources', runtime.logs / 'caffe-pip.log', 0, 'download', '--no-deps',
        '--no-binary', ':all:', '--no-build-isolation', '--require-hashes', '--dest', folder,
        '-r', REQUIREMENTS)


def pins(runtime: Runtime) -> list:
    """The source package, where there is one."""
    return pinned(REQUIREMENTS) if runtime.way == 'source' else []


def inputs() -> list:
    """What the step depends on, beside Place."""
    return [MAKEFILE.read_text(), REQUIREMENTS.read_text(), CHANGES]


def variables(place: Place) -> Dict[str, str]:
    """Those of caffe.mk."""
    answer = output_of([place.python, '-c', ASK_PYTHON])
    if not answer:
        raise Problem(f'{place.python} is no Python that starts.')
    facts = json.loads(answer)
    if not facts['numpy']:
        raise Problem(f'{place.python} has no NumPy, with which Caffe is compiled: install it '
                      'there.')
    includes = [*facts['include'], facts['numpy'][1], *place.include_folders()]
    folders = place.library_folders()
    boost_python = place.boost_python or 'boost_python' + facts['version'].replace('.', '')
    return {'CPPFLAGS': shell(f'-I{folder}' for folder in includes),
            'LDFLAGS': shell(['-Wl,--disable-new-dtags',  # rpath is for the libraries' own, too
                              *(flag for folder in folders
                                for flag in (f'-L{folder}', f'-Wl,-rpath,{folder}'))]),
            'CXX': os.environ.get('CXX') or 'g++', 'BOOST_PYTHON': boost_python,
            'LIBPYTHON': shell(facts['link']),
            'PROTOC': shell(place.protoc_command()), 'NUMPY': facts['numpy'][0]}


def shell(words) -> str:
    return ' '.join(map(shlex.quote, words))


def check_needed(place: Place, values: Dict[str, str], log: Path) -> None:
    """Raise Problem that names the packages of what is missing."""
    progress, compiler = Progress('Caffe: what it needs'), shlex.split(values['CXX'])
    if not shutil.which(compiler[0]):
        raise Problem(f'The C++ compiler {compiler[0]} is missing, with which Caffe is compiled: '
                      'get it with `apt-get install g++`.')
    source, out = log.with_name('needed.cpp'), log.with_name('needed.out')

    def compiles(text: str, *flags: str) -> bool:
        source.write_text(text)
        return run([*compiler, '-std=c++14', *flags, source, '-o', out], log, progress) == 0

    def has(header: str, library: str) -> bool:
        asked = f'#if !__has_include(<{header}>)\n#error <{header}>\n#endif'
        return (compiles(asked, '-E', *headers)
                and (not library or compiles('', '-shared', *libraries, '-l' + library)))

    headers, libraries = shlex.split(values['CPPFLAGS']), shlex.split(values['LDFLAGS'])
    needed = [('python3-dev', 'Python.h', ''),
              ('libboost-python-dev', 'boost/python.hpp', values['BOOST_PYTHON']), *NEEDED]
    missing = [package for package, header, library in needed if not has(header, library)]
    if run(['sh', '-c', values['PROTOC'] + ' --version'], log, progress) != 0:
        missing.append('protobuf-compiler')
    for path in (source, out):
        remove(path)
    if missing:
        raise Problem(f'Caffe cannot be compiled for {place.python} without what these packages '
                      f'hold: get them with `apt-get install {" ".join(missing)}` (all in {log}).')
    progress.done('')


def unpack(archive: Path, folder: Path) -> None:
    """The sources, whose hash must be that of REQUIREMENTS, straight into the folder."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found not in re.findall(r'sha256:(\w+)', REQUIREMENTS.read_text()):
        raise Problem(f'{archive} is not the source package that {REQUIREMENTS.name} names: its '
                      f'SHA-256 is {found}.')
    part = folder.with_name(folder.name + '.part')
    for path in (part, folder):
        remove(path)
    with tarfile.open(str(archive)) as sources:
        sources.extractall(str(part))
    next(part.iterdir()).rename(folder)
    part.rmdir()


def compile_caffe(archive: Path, folder: Path, place: Place, log: Path) -> None:
    """Fill the folder, unless it holds already what would be made.  A run that was interrupted goes
    on where it was.

    Raises
    ------
    Problem : something is missing, or the compiler fails.
    """
    values, work = variables(place), folder / 'work'
    key = hashlib.sha256(json.dumps([inputs(), values], sort_keys=True).encode()).hexdigest()
    if is_made(folder, key):
        return
    ours = work.exists() or (folder / KEY).exists()
    if folder.exists() and any(folder.iterdir()) and not ours:
        raise Problem(f'{folder} holds what this program did not make: name another folder.')
    folder.mkdir(parents=True, exist_ok=True)
    remove(log)
    check_needed(place, values, log)
    for path in folder.iterdir():
        if path != work or not is_made(work, key):
            remove(path)
    if not work.exists():
        unpack(archive, work)
        apply_changes(work)
        (work / KEY).write_text(key)
    make(work, values, log)
    for path in (work / 'out').iterdir():
        path.rename(folder / path.name)
    (folder / KEY).write_text(key)
    remove(work)


def is_made(folder: Path, key: str) -> bool:
    return (folder / KEY).exists() and (folder / KEY).read_text() == key


def make(work: Path, values: Dict[str, str], log: Path) -> None:
    progress = Progress('Caffe from source')
    command = ['make', '-f', MAKEFILE, *(f'{name}={text.replace("$", "$$")}'
                                         for name, text in sorted(values.items()))]
    # That of the `make` above would be taken for this one's.
    environment = {name: text for name, text in clean_environment().items()
                   if name not in ('MAKEFLAGS', 'MAKELEVEL', 'MFLAGS')}
    total = int(output_of([*map(str, command), '--no-print-directory', 'count'], str(work)))

    def compiled() -> str:
        return f'{sum(1 for _ in (work / "build").rglob("*.o"))} of {total} files'

    if run([*command, f'-j{os.cpu_count()}'], log, progress, compiled, cwd=work,
           env=environment) != 0:
        raise Problem(f'Caffe could not be compiled ({why(log)}; all in {log}).')
    progress.done(f'{total} files')


def main() -> int:
    parser = argparse.ArgumentParser(description='Compile Caffe from its source package on PyPI.')
    parser.add_argument('archive', type=Path,
                        help='the source package, brocolli-caffe-9.0.2.tar.gz')
    parser.add_argument('folder', type=Path, help='where to')
    parser.add_argument('--python', default='python3', help='the Python that is to import it')
    parser.add_argument('--root', type=Path, default=Path('/'), metavar='FOLDER',
                        help='take what Debian packages hold from FOLDER/usr')
    parser.add_argument('--include', action='append', default=[], metavar='FOLDER',
                        help='look here first for headers; may be repeated')
    parser.add_argument('--library', action='append', default=[], metavar='FOLDER',
                        help='look here first for libraries; may be repeated')
    parser.add_argument('--boost-python', default='', metavar='NAME',
                        help="Boost's library for that Python; for 3.6 the default is "
                             'boost_python36')
    parser.add_argument('--protoc', default='', help="protobuf's compiler")
    given = parser.parse_args()
    folder = given.folder.absolute()
    place = Place(given.python, given.root.absolute(), tuple(given.include), tuple(given.library),
                  given.boost_python, given.protoc)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        compile_caffe(given.archive, folder, place, folder.with_name(folder.name + '.log'))
    except (Problem, OSError) as problem:
        print(problem, file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
