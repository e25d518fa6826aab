"""Compiling Caffe: what is missing is named before anything is compiled.

`make env CAFFE=source` itself takes ten minutes, and no test does so.
"""
import importlib
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest

ENVIRONMENT = Path(__file__).resolve().parent.parent / 'environment'
sys.path.insert(0, str(ENVIRONMENT))  # as for a script of that folder
caffe_changes, caffe_source, runtime = map(importlib.import_module,
                                           ['caffe_changes', 'caffe_source', 'runtime'])


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where all that Caffe needs is, as far as headers and libraries without content can tell."""
    monkeypatch.setenv('CXX', 'g++ -nostdinc')  # whatever the machine has
    include, library = tmp_path / 'include', tmp_path / 'library'
    library.mkdir()
    empty = library / 'libempty.so'
    subprocess.run(['g++', '-shared', '-x', 'c++', '/dev/null', '-o', str(empty)], check=True)
    others = [('', 'boost/python.hpp', 'boost_python_here'), ('', 'Python.h', '')]
    for _, header, name in [*caffe_source.NEEDED, *others]:
        (include / header).parent.mkdir(parents=True, exist_ok=True)
        (include / header).write_text('')
        if name:
            (library / f'lib{name}.so').write_bytes(empty.read_bytes())
    return caffe_source.Place(sys.executable, tmp_path, (str(include),), (str(library),),
                              'boost_python_here', 'true')


def check(place, tmp_path):
    """As it is for a Python whose own headers are nowhere but in the place."""
    values = caffe_source.variables(place)
    own = sysconfig.get_paths()
    for folder in {own['include'], own['platinclude']}:
        values['CPPFLAGS'] = values['CPPFLAGS'].replace(f'-I{folder} ', '')
    caffe_source.check_needed(place, values, tmp_path / 'log')


def test_nothing_is_missing(place, tmp_path):
    check(place, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {'include', 'library', 'log'}


@pytest.mark.parametrize('change, packages', [
    (lambda place: Path(place.includes[0], 'lmdb.h').unlink(), 'liblmdb-dev'),
    (lambda place: Path(place.includes[0], 'Python.h').unlink(), 'python3-dev'),
    (lambda place: [Path(place.includes[0], name).unlink() for name in
                    ('boost/regex.hpp', 'glog/logging.h')],
     'libboost-regex-dev libgoogle-glog-dev'),
    (lambda place: place._replace(boost_python='boost_python27'), 'libboost-python-dev'),
    (lambda place: place._replace(protoc='/nowhere/protoc'), 'protobuf-compiler'),
], ids=['header', 'python', 'two', 'library', 'protoc'])
def test_what_is_missing_is_named_with_its_package(place, tmp_path, change, packages):
    changed = change(place)
    with pytest.raises(runtime.Problem, match=f'apt-get install {packages}`') as raised:
        check(changed if isinstance(changed, caffe_source.Place) else place, tmp_path)
    assert '\n' not in str(raised.value)


def test_a_missing_compiler_is_named(place, tmp_path, monkeypatch):
    monkeypatch.setenv('CXX', '/nowhere/g++')
    with pytest.raises(runtime.Problem, match='compiler /nowhere/g.. is missing.*install g..`'):
        check(place, tmp_path)


def command(*arguments):
    done = subprocess.run([sys.executable, str(ENVIRONMENT / 'caffe_source.py'),
                           *map(str, arguments)], stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 2 and done.stderr.count('\n') == 1, done.stderr
    return done.stderr


def test_a_change_of_other_sources_is_refused(tmp_path):
    """All at their places, they are made; a source that was changed otherwise says so."""
    for change in caffe_changes.CHANGES:
        file = tmp_path / change.file
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(str(file), 'a') as text:
            text.write(change.old * change.times)
    caffe_changes.apply_changes(tmp_path)
    assert all(change.new in (tmp_path / change.file).read_text()
               for change in caffe_changes.CHANGES)
    with pytest.raises(runtime.Problem, match='caffe.cpp of Caffe is not what .*caffe_changes.py'):
        caffe_changes.apply_changes(tmp_path)


@pytest.fixture
def archive(tmp_path):
    """Not the sources."""
    file = tmp_path / 'brocolli-caffe-9.0.2.tar.gz'
    with tarfile.open(str(file), 'w:gz') as tar:
        tar.add(str(ENVIRONMENT / 'caffe.mk'), 'brocolli-caffe-9.0.2/Makefile')
    return file


def test_other_sources_are_refused_by_their_hash(archive, tmp_path):
    with pytest.raises(runtime.Problem, match='is not the source package that requirements-caffe'
                                              '.txt names: its SHA-256 is [0-9a-f]{64}'):
        caffe_source.unpack(archive, tmp_path / 'sources')
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_a_folder_with_other_things_is_not_touched(archive, tmp_path):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/file').write_text('')
    assert 'mine holds what this program did not make: name another folder' in command(
        archive, tmp_path / 'mine', '--python', sys.executable)
    assert (tmp_path / 'mine/file').exists()


@pytest.mark.parametrize('python, message', [
    ('/nowhere/python', "No such file or directory: '/nowhere/python'"),
    ('/bin/true', '/bin/true is no Python that starts'),
])
def test_no_python(archive, tmp_path, python, message):
    assert message in command(archive, tmp_path / 'caffe', '--python', python)
    assert not (tmp_path / 'caffe').exists()
