"""The builder of the runtime refuses at once, in one sentence, what cannot work."""
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ENVIRONMENT = Path(__file__).resolve().parent.parent / 'environment'
SPEC = importlib.util.spec_from_file_location('build', str(ENVIRONMENT / 'build.py'))
build = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(build)


@pytest.fixture
def good_machine(monkeypatch):
    monkeypatch.setattr(platform, 'system', lambda: 'Linux')
    monkeypatch.setattr(platform, 'machine', lambda: 'x86_64')
    monkeypatch.setattr(shutil, 'which', lambda tool: f'/usr/bin/{tool}')
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: shutil._ntuple_diskusage(9e9, 0, 9e9))
    monkeypatch.setattr(build, 'KEYRING', __file__)
    monkeypatch.setattr(build, 'output_of', lambda command, folder='/': '--argv0 STRING')
    monkeypatch.setattr(build.ctypes, 'CDLL', lambda name: None)
    return monkeypatch


def no_library(name):
    raise OSError(name)


def missing(*names):
    return lambda tool: None if tool in names else f'/usr/bin/{tool}'


def test_good_machine_is_accepted(good_machine, tmp_path):
    build.check_machine(build.Runtime(tmp_path))


@pytest.mark.parametrize('change, message', [
    ((platform, 'machine', lambda: 'aarch64'), 'for Linux on x86-64, and this is Linux on aarch64'),
    ((platform, 'system', lambda: 'Darwin'), 'this is Darwin on x86_64: use environment/Docker'),
    ((shutil, 'which', missing('apt-get')), 'apt-get is missing.*make PYTHON=python3 test'),
    ((build, 'KEYRING', '/nowhere'), 'keys .* are missing: get them with `apt-get install debian'),
    ((build, 'output_of', lambda command, folder='/': ''), 'older than glibc 2.33'),
    ((build.ctypes, 'CDLL', no_library), 'libgomp.so.1 is missing: get it with'),
    ((shutil, 'disk_usage', lambda path: shutil._ntuple_diskusage(9e9, 8e9, 1e9)),
     'Only 1.0 GB of disk are free'),
])
def test_what_is_missing_is_named(good_machine, tmp_path, change, message):
    good_machine.setattr(*change)
    with pytest.raises(build.Problem, match=message) as raised:
        build.check_machine(build.Runtime(tmp_path))
    assert '\n' not in str(raised.value)


def test_mirror_is_that_of_the_machine(monkeypatch):
    answers = {'cat': 'VERSION_CODENAME=bookworm\n', 'apt-get': (
        'Packages|tools|main|https://other.example/tools\n'
        'Packages|bookworm|contrib|https://mirror.example/contrib\n'
        'Packages|bookworm|main|https://mirror.example/debian/\n'
        'Packages|bookworm-security|main|https://security.example/debian-security/\n')}
    monkeypatch.delenv('DEBIAN_MIRROR', raising=False)
    monkeypatch.setattr(build, 'output_of', lambda command: answers[command[0]])
    assert build.find_mirror() == 'https://mirror.example/debian/'
    monkeypatch.setenv('DEBIAN_MIRROR', 'https://named.example/debian')
    assert build.find_mirror() == 'https://named.example/debian'
    monkeypatch.delenv('DEBIAN_MIRROR')
    monkeypatch.setattr(build, 'output_of', lambda command: '')
    with pytest.raises(build.Problem, match='No Debian mirror .* DEBIAN_MIRROR=<address>'):
        build.find_mirror()


def test_mirror_without_the_release_is_one_sentence_and_status_2(tmp_path):
    (tmp_path / 'setup.cfg').write_text('[metadata]\nname = x\n')
    (tmp_path / 'setup.py').write_text('')
    done = subprocess.run([sys.executable, str(ENVIRONMENT / 'build.py'), '--project',
                           str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env={**os.environ, 'DEBIAN_MIRROR': f'file:{tmp_path}/no-mirror'})
    message = done.stderr.decode().strip()
    assert done.returncode == 2 and 'DEBIAN_MIRROR=<address>' in message
    assert '\n' not in message and 'Traceback' not in message
    assert not (tmp_path / '.runtime' / 'bin').exists()


def test_no_registry_is_named_in_the_project():
    root = ENVIRONMENT.parent
    own = re.findall(r'\./(\w+)/\*', (root / 'setup.cfg').read_text())  # and no user's files
    texts = [root / name for name in ('README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'setup.cfg')]
    texts += [path for folder in [*own, 'docs', 'prototxt_examples']
              for path in (root / folder).rglob('*')
              if path.suffix in ('.py', '.md', '.txt', '.prototxt') and path.is_file()]
    assert len(own) == 9 and len(texts) > 150
    for path in texts:
        for host in ('pypi' + '.org', 'deb.' + 'debian', 'python' + 'hosted'):
            assert host not in path.read_text(encoding='utf-8', errors='replace'), path
