"""The builder of the runtime refuses at once, in one sentence, what cannot work."""
import ctypes
import importlib
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ENVIRONMENT = Path(__file__).resolve().parent.parent / 'environment'
sys.path.insert(0, str(ENVIRONMENT))  # as for a script of that folder
build, machine, mirror, pypi, runtime = map(
    importlib.import_module, ['build', 'machine', 'mirror', 'pypi', 'runtime'])


@pytest.fixture
def good_machine(monkeypatch):
    monkeypatch.setattr(platform, 'system', lambda: 'Linux')
    monkeypatch.setattr(platform, 'machine', lambda: 'x86_64')
    monkeypatch.setattr(shutil, 'which', lambda tool: f'/usr/bin/{tool}')
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: shutil._ntuple_diskusage(9e9, 0, 9e9))
    monkeypatch.setattr(machine, 'KEYRING', __file__)
    monkeypatch.setattr(machine, 'output_of', lambda command, folder='/': '--argv0 STRING')
    monkeypatch.setattr(ctypes, 'CDLL', lambda name: None)
    monkeypatch.setattr(os, 'confstr', lambda name: 'glibc 2.36')
    return monkeypatch


def no_library(name):
    raise OSError(name)


def missing(*names):
    return lambda tool: None if tool in names else f'/usr/bin/{tool}'


def test_good_machine_is_accepted(good_machine, tmp_path):
    machine.check_machine(runtime.Runtime(tmp_path))


@pytest.mark.parametrize('change, message', [
    ((platform, 'machine', lambda: 'aarch64'), 'for Linux on x86-64, and this is Linux on aarch64'),
    ((platform, 'system', lambda: 'Darwin'), 'this is Darwin on x86_64: use environment/Docker'),
    ((shutil, 'which', missing('apt-get')), 'apt-get is missing.*make PYTHON=python3 test'),
    ((machine, 'KEYRING', '/nowhere'), 'keys .* are missing: get them with `apt-get install deb'),
    ((machine, 'output_of', lambda command, folder='/': ''), 'older than glibc 2.33'),
    ((os, 'confstr', lambda name: 'glibc 2.31'), 'older than glibc 2.33: use Debian 12 or newer'),
    ((ctypes, 'CDLL', no_library), 'libgomp.so.1 is missing: get it with'),
    ((shutil, 'disk_usage', lambda path: shutil._ntuple_diskusage(9e9, 8e9, 1e9)),
     'Only 1.0 GB of disk are free'),
])
def test_what_is_missing_is_named(good_machine, tmp_path, change, message):
    good_machine.setattr(*change)
    with pytest.raises(runtime.Problem, match=message) as raised:
        machine.check_machine(runtime.Runtime(tmp_path))
    assert '\n' not in str(raised.value)


@pytest.mark.parametrize('change, message', [
    ((shutil, 'which', missing('g++')), r'C\+\+ compiler is missing, .* `apt-get install g\+\+`'),
    ((os, 'confstr', lambda name: 'glibc 2.35'), 'older than glibc 2.36'),
])
def test_what_compiling_caffe_needs_is_named(good_machine, tmp_path, change, message):
    good_machine.setattr(*change)
    machine.check_machine(runtime.Runtime(tmp_path))
    with pytest.raises(runtime.Problem, match=message):
        machine.check_machine(runtime.Runtime(tmp_path, 'source'))


def test_mirror_is_that_of_the_machine(monkeypatch):
    answers = {'cat': 'VERSION_CODENAME=bookworm\n', 'apt-get': (
        'Packages|tools|main|https://other.example/tools\n'
        'Packages|bookworm|contrib|https://mirror.example/contrib\n'
        'Packages|bookworm|main|https://mirror.example/debian/\n'
        'Packages|bookworm-security|main|https://security.example/debian-security/\n')}
    monkeypatch.delenv('DEBIAN_MIRROR', raising=False)
    monkeypatch.setattr(mirror, 'output_of', lambda command: answers[command[0]])
    assert mirror.find_mirror() == 'https://mirror.example/debian/'
    monkeypatch.setenv('DEBIAN_MIRROR', 'https://named.example/debian')
    assert mirror.find_mirror() == 'https://named.example/debian'
    monkeypatch.delenv('DEBIAN_MIRROR')
    monkeypatch.setattr(mirror, 'output_of', lambda command: '')
    with pytest.raises(runtime.Problem, match='No Debian mirror .* DEBIAN_MIRROR=<address>'):
        mirror.find_mirror()


@pytest.fixture
def project(tmp_path):
    (tmp_path / 'setup.cfg').write_text('[metadata]\nname = x\n')
    (tmp_path / 'setup.py').write_text('')
    return tmp_path


def built(project, *options):
    """What the program does in this folder, with a mirror that does not exist.  With -I, as with
    PYTHONSAFEPATH, Python does not look for modules beside a script by itself.
    """
    return subprocess.run(
        [sys.executable, '-I', '-S', str(ENVIRONMENT / 'build.py'), '--project', str(project),
         *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
        env={**os.environ, 'DEBIAN_MIRROR': f'file:{project}/no-mirror'})


def test_mirror_without_the_release_is_one_sentence_and_status_2(project):
    done = built(project)
    message = done.stderr.strip()
    assert done.returncode == 2 and 'no-mirror does not give Debian 11 (bullseye): name' in message
    for other_way in ('DEBIAN_MIRROR=<address>', 'CAFFE=source', 'BUNDLE=<file>'):
        assert f'`make env {other_way}`' in message
    assert '\n' not in message and 'Traceback' not in message
    assert not (project / '.runtime' / 'bin').exists()


def test_every_step_is_looked_at(project):
    """With all stamps nothing is built; a step without its stamp takes those after it along."""
    folder = runtime.Runtime(project)
    folder.root.mkdir()
    steps = build.steps(folder)
    assert [name for name, _, _ in steps] == ['debian', 'python', 'proof', 'project']
    for name, _, key in steps:
        runtime.write_stamp(folder, name, key)
    done = built(project)
    assert (done.returncode, done.stdout, done.stderr) == (0, '.runtime/ is up to date.\n', '')
    (project / 'setup.py').write_text('# changed')
    assert [old == new for old, new in zip(steps, build.steps(folder))] == [True] * 3 + [False]
    (folder.stamps / 'debian').write_text('interrupted')
    assert built(project).returncode == 2 and not any(folder.stamps.iterdir())


def test_the_way_to_caffe_is_kept_until_another_is_asked_for(project):
    folder = runtime.Runtime(project)
    folder.root.mkdir()
    assert build.choose_way(folder, None, None) == 'debian'
    done = built(project, '--caffe', 'source')
    message = done.stderr.strip()
    assert done.returncode == 2 and 'does not give Debian 12 (bookworm): name one' in message
    assert 'BUNDLE=<file>' in message and 'CAFFE' not in message and '\n' not in message
    assert build.choose_way(folder, None, None) == 'source'
    folder.way = 'source'
    steps = build.steps(folder)
    assert [name for name, _, _ in steps] == ['debian', 'python', 'caffe', 'proof', 'project']
    for name, _, key in steps:
        runtime.write_stamp(folder, name, key)
    assert built(project).stdout == '.runtime/ is up to date.\n'
    assert built(project, '--caffe', 'source').stdout == '.runtime/ is up to date.\n'
    assert 'does not give Debian 11' in built(project, '--caffe', 'debian').stderr
    assert build.choose_way(folder, None, None) == 'debian'


def test_no_other_way(project):
    done = built(project, '--caffe', 'docker')
    assert done.returncode == 2 and done.stderr.count('\n') == 1
    assert "CAFFE is 'docker', but it must be one of debian, source" in done.stderr
    assert not (project / '.runtime/stamps').exists()


PINNED = [*sorted(set(ENVIRONMENT.glob('requirements*.txt'))
                  - {ENVIRONMENT / 'requirements-matrix.txt'}),  # which leaves the versions open
          ENVIRONMENT.parent / 'tests/originals/requirements.txt']


@pytest.mark.parametrize('file', PINNED, ids=lambda file: f'{file.parent.name}/{file.name}')
def test_every_pinned_package_has_its_hashes(file):
    text = re.sub(r'\s#.*|^#.*', '', file.read_text(), flags=re.MULTILINE).replace('\\\n', '')
    lines = list(filter(str.strip, text.splitlines()))
    assert len(lines) == len(pypi.pinned(file)) > 0
    for line in lines:
        assert re.fullmatch(r'[\w-]+==[\w.]+(\s+--hash=sha256:[0-9a-f]{64})+', line), line


def test_pip_takes_no_other_file_of_that_name(tmp_path):
    """From a bundle that somebody forged, here, but pip looks at the hashes of any file."""
    folder, pinned = runtime.Runtime(tmp_path), tmp_path / 'requirements.txt'
    folder.python, folder.bundle = Path(sys.executable), tmp_path / 'bundle'
    pinned.write_text(f'soft-dice-data==1.0 --hash=sha256:{"0" * 64}\n')
    (folder.bundle / 'wheels').mkdir(parents=True)
    (folder.bundle / 'wheels/soft_dice_data-1.0-py3-none-any.whl').write_bytes(b'another')
    with pytest.raises(runtime.Problem, match='DO NOT MATCH THE HASHES'):
        pypi.install(folder, [pinned])


def test_no_registry_is_named_in_the_project():
    root = ENVIRONMENT.parent
    own = re.findall(r'\./(\w+)/\*', (root / 'setup.cfg').read_text())  # and no user's files
    texts = [root / name for name in ('README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'setup.cfg')]
    texts += [path for folder in [*own, 'docs', 'prototxt_examples']
              for path in (root / folder).rglob('*')
              if path.suffix in ('.py', '.md', '.txt', '.prototxt') and path.is_file()]
    assert len(own) == 11 and len(texts) > 150
    for path in texts:
        for host in ('pypi' + '.org', 'deb.' + 'debian', 'python' + 'hosted'):
            assert host not in path.read_text(encoding='utf-8', errors='replace'), path
