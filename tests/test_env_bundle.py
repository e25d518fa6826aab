"""`make env-bundle` and `make env BUNDLE=...`: one file from which all is built without a network.
What is wrong with such a file is said before anything is built.
"""
import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from processes import HANG, copy_checkout, without_network

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / 'environment'
sys.path.insert(0, str(ENVIRONMENT))  # as for a script of that folder
build, bundle, runtime = map(importlib.import_module, ['build', 'bundle', 'runtime'])
HERE = runtime.Runtime(ROOT)


@pytest.fixture
def project(tmp_path):
    """A folder in which all was built, by its stamps."""
    folder = tmp_path / 'a checkout'
    folder.mkdir()
    (folder / 'setup.cfg').write_text('[metadata]\nname = x\n')
    (folder / 'setup.py').write_text('')
    place = runtime.Runtime(folder)
    place.root.mkdir()
    for name, _, key in build.steps(place):
        runtime.write_stamp(place, name, key)
    return folder


@pytest.fixture
def whole(tmp_path):
    """A bundle with little in it."""
    return written(tmp_path / 'bundle.tar')


def written(file, members=(('wheels/x.whl', b'x' * 30000), ('debian/pool/main/y.deb', b'y')),
            **changes):
    """A bundle whose manifest is changed."""
    folder = file.with_suffix('.folder')
    for name, content in [*members, (bundle.MANIFEST,
                                     json.dumps({**bundle.manifest(HERE), **changes}).encode())]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    with open(str(file), 'wb') as output:
        bundle.pack(folder, output)
    shutil.rmtree(str(folder))
    return file


def build_env(project, *options, prefix=(), **more):
    """Status, output and the error of environment/build.py, which has no mirror but a wrong one."""
    done = subprocess.run(
        [*prefix, sys.executable, '-I', '-S', str(ENVIRONMENT / 'build.py'), '--project',
         str(project), *map(str, options)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        universal_newlines=True, timeout=HANG,
        env={**os.environ, 'DEBIAN_MIRROR': f'file:{project}/no-mirror', **more})
    return done.returncode, done.stdout, done.stderr


# --- refused files --------------------------------------------------------------------------------

def test_a_whole_bundle_is_accepted_and_unpacked(whole, tmp_path):
    bundle.check(whole, HERE)
    folder = bundle.unpack(whole, tmp_path / 'unpacked')
    assert (folder / 'wheels/x.whl').read_bytes() == b'x' * 30000
    assert (folder / 'debian/pool/main/y.deb').read_bytes() == b'y'
    with tarfile.open(str(whole)) as tar:  # and other programs can read it
        assert tar.getnames() == [bundle.MANIFEST, 'debian/pool/main/y.deb', 'wheels/x.whl']


def cut(size):
    return lambda file: file.write_bytes(file.read_bytes()[:size])


def flipped(place):
    def flip(file):
        content = bytearray(file.read_bytes())
        content[place] ^= 1
        file.write_bytes(content)
    return flip


def longer(file):
    file.write_bytes(file.read_bytes() + b'\n')


DAMAGED = 'was cut off or changed since it was written, .* copy it again'
REFUSED = [
    (lambda file: file.unlink(), 'There is no file .*bundle.tar: give one that'),
    (cut(0), 'is not a bundle: give one'),
    (cut(500), 'is not a bundle: give one'),
    (cut(20000), DAMAGED), (cut(-1), DAMAGED), (cut(-72), DAMAGED), (cut(-5000), DAMAGED),
    (longer, DAMAGED),
    (flipped(0), 'is not a bundle: give one'),
    (flipped(8), 'is not a bundle: give one'),
    (flipped(550), '(is not a bundle|was cut off)'),  # in the manifest
    (flipped(1000), DAMAGED),  # between two files
    (flipped(9000), DAMAGED), (flipped(-80), DAMAGED), (flipped(-20), DAMAGED),
    (lambda file: file.write_text('{"format": 1}'), 'is not a bundle: give one'),
    (lambda file: written(file, machine='aarch64'),
     'for a machine of the kind aarch64, and this one is x86_64: write one with `make env-bundle`'),
    (lambda file: written(file, caffe='source'),
     'holds what `make env CAFFE=source` needs, and not what CAFFE=debian does: leave CAFFE out'),
    (lambda file: written(file, contents='0' * 64), 'holds other versions of packages than this'),
    (lambda file: written(file, format=0), 'was written by another version of this project'),
]
IDS = ['none', 'empty', 'half a header', 'cut', 'one byte less', 'no last line', 'cut late',
       'longer', 'name', 'name of the manifest', 'manifest', 'gap', 'content', 'end', 'last line',
       'other file', 'machine', 'caffe', 'versions', 'format']


@pytest.mark.parametrize('change, message', REFUSED, ids=IDS)
def test_what_is_no_good_bundle_is_one_sentence(whole, change, message):
    change(whole)
    with pytest.raises(runtime.Problem, match=message) as raised:
        bundle.check(whole, HERE)
    assert '\n' not in str(raised.value) and str(whole) in str(raised.value)


@pytest.mark.parametrize('change, message', [REFUSED[0], REFUSED[3], REFUSED[12], REFUSED[16]],
                         ids=['none', 'cut', 'content', 'machine'])
def test_a_refused_bundle_ends_with_status_2_before_anything_is_built(
        project, whole, change, message):
    """Stamps and all, as they were; up to date or not."""
    change(whole)
    for _ in range(2):
        before = sorted((project / '.runtime/stamps').iterdir())
        status, _, error = build_env(project, '--bundle', whole)
        assert status == 2 and error.count('\n') == 1 and 'Traceback' not in error
        assert re.search(message, error)
        assert sorted((project / '.runtime/stamps').iterdir()) == before
        assert {path.name for path in (project / '.runtime').iterdir()} == {'stamps', 'lock'}
        (project / '.runtime/stamps/debian').unlink(missing_ok=True)


@pytest.mark.parametrize('name', ['../outside', 'debian/pool/../../../outside', '/outside', 'x'])
def test_no_file_leaves_the_folder(tmp_path, name):
    file = tmp_path / 'bundle.tar'
    with tarfile.open(str(file), 'w') as tar:
        entry = tarfile.TarInfo(name)
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b'x'))
    with pytest.raises(runtime.Problem, match='is not a bundle, as it holds'):
        bundle.unpack(file, tmp_path / 'folder' / 'in it')
    assert [path.name for path in tmp_path.iterdir()] == ['bundle.tar']


def test_a_link_is_no_part_of_a_bundle(tmp_path):
    file = tmp_path / 'bundle.tar'
    with tarfile.open(str(file), 'w') as tar:
        entry = tarfile.TarInfo('wheels/x.whl')
        entry.type, entry.linkname = tarfile.SYMTYPE, '/etc'
        tar.addfile(entry)
    with pytest.raises(runtime.Problem, match='is not a bundle, as it holds wheels/x.whl'):
        bundle.unpack(file, tmp_path / 'folder')


# --- writing --------------------------------------------------------------------------------------

def test_the_same_files_give_the_same_bundle(tmp_path):
    first, second = written(tmp_path / 'first.tar'), written(tmp_path / 'second.tar')
    assert first.read_bytes() == second.read_bytes()


def test_a_bundle_that_cannot_be_made_leaves_nothing(project, tmp_path):
    file = tmp_path / 'bundle.tar'
    status, output, error = build_env(project, '--write-bundle', file)
    assert status == 2 and error.count('\n') == 1 and 'does not give Debian 11' in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a checkout']
    assert not (project / '.runtime/bundle').exists()


@pytest.mark.parametrize('name, message', [
    ('bundle.tar', 'exists and is not overwritten: remove it, or name another file with .*OUT='),
    ('nowhere/bundle.tar', 'is not there or cannot be written to: name another file'),
])
def test_nothing_is_overwritten(project, tmp_path, name, message):
    (tmp_path / 'bundle.tar').write_text("a user's")
    status, _, error = build_env(project, '--write-bundle', tmp_path / name)
    assert status == 2 and error.count('\n') == 1
    with pytest.raises(runtime.Problem, match=message):
        bundle.check_target(tmp_path / name)
    assert (tmp_path / 'bundle.tar').read_text() == "a user's"


def forge(file, other):
    """A bundle that is whole, but one of Debian's packages in it is another."""
    folder = bundle.unpack(file, other.with_suffix('.folder'))
    package = next(folder.glob('debian/pool/main/c/caffe/*.deb'))
    package.write_bytes(b'x' * package.stat().st_size)
    (folder / bundle.MANIFEST).write_text(json.dumps(bundle.manifest(HERE)))
    with open(str(other), 'wb') as output:
        bundle.pack(folder, output)
    return other


# --- all of it ------------------------------------------------------------------------------------

@pytest.mark.slow
def test_a_clean_checkout_is_built_from_a_bundle_without_a_network(tmp_path, cannot_show):
    file, checkout = tmp_path / 'bundle.tar', tmp_path / 'a checkout'
    subprocess.run(['make', 'env-bundle', f'OUT={file}'], check=True, cwd=str(ROOT), timeout=HANG,
                   stdout=subprocess.DEVNULL)
    copy_checkout(checkout)

    def make(*arguments):
        return without_network(cannot_show, 'make', '--no-print-directory', *arguments,
                               cwd=checkout)

    forged = forge(file, tmp_path / 'forged.tar')
    refused = make('env', f'BUNDLE={forged}')
    assert refused.returncode == 2 and 'Hash Sum mismatch' in refused.stderr, refused.stderr
    without = make('env')
    assert without.returncode == 2 and 'does not give Debian 11' in without.stderr
    done = make('env', f'BUNDLE={file}')
    assert done.returncode == 0, done.stderr
    assert 'Caffe 1.0.0, MXNet 1.9.1' in done.stdout
    assert not (checkout / '.runtime/bundle').exists()
    assert make('env').stdout == '.runtime/ is up to date.\n'
    code = 'import soft_dice, caffe, mxnet; print(soft_dice.__file__)'
    found = subprocess.run([str(checkout / '.runtime/bin/python'), '-I', '-c', code], cwd='/',
                           stdout=subprocess.PIPE, check=True, universal_newlines=True)
    assert found.stdout.strip() == str(checkout / 'soft_dice/__init__.py')
