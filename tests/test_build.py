"""Compiling: what is built is whole and up to date, or there is a reason in one sentence."""
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from processes import HANG, ends

from soft_dice.native import build
from soft_dice.native.build import BuildError, Part, Recipe, read_record, why_unusable
from soft_dice.version import __version__

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / 'soft_dice/native/build.py'


@pytest.fixture(autouse=True)
def no_settings(monkeypatch, tmp_path):
    for name in ('CXX', 'CXXFLAGS', 'XDG_CACHE_HOME'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('SOFT_DICE_CACHE', str(tmp_path / 'cache'))


@pytest.fixture
def recipe(tmp_path):
    """Of a library that compiles in no time."""
    header, source = tmp_path / 'seven.h', tmp_path / 'seven.cpp'
    header.write_text('#define SEVEN 7\n')
    source.write_text('#include "seven.h"\nextern "C" __attribute__((visibility("default"))) '
                      'int seven() { return SEVEN + EXTRA; }\n')
    return Recipe('seven', (Part(source, ('-DEXTRA=0',)),), (header,))


@pytest.fixture
def target(tmp_path):
    return tmp_path / 'lib' / 'seven.so'


def compiler(tmp_path, script):
    """A program that behaves as no compiler should, as CXX."""
    path = tmp_path / 'fake compiler'
    path.write_text('#!/bin/sh\n' + script)
    path.chmod(0o755)
    return f"'{path}'"


def left_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix not in ('.lock', '.log'))


# --- the identity of a build ----------------------------------------------------------------------

def test_builds_once_and_records_it(recipe, target):
    assert why_unusable(target, recipe.digest()) == 'not built yet'
    assert build.build(recipe, target) is True
    assert ctypes.CDLL(str(target)).seven() == 7
    assert build.build(recipe, target) is False
    assert build.build(recipe, target, force=True) is True
    record = read_record(target)
    assert set(record) == {'digest', 'time', 'compiler', 'flags', 'sha256'}
    assert left_in(target.parent) == ['seven.json', 'seven.so']


def test_digest_changes_with_sources_headers_and_flags(recipe):
    digests = {recipe.digest(), recipe._replace(name='eight').digest()}
    digests.add(recipe._replace(parts=(recipe.parts[0]._replace(flags=('-DEXTRA=1',)),)).digest())
    for file in (*recipe.headers, recipe.parts[0].source):
        file.write_text(file.read_text() + '\n')
        digests.add(recipe.digest())
    assert len(digests) == 5


def test_is_built_anew_when_a_source_changes(recipe, target):
    build.build(recipe, target)
    recipe.headers[0].write_text('#define SEVEN 8\n')
    assert 'other sources' in why_unusable(target, recipe.digest())
    assert build.build(recipe, target) is True
    assert not why_unusable(target, recipe.digest())


@pytest.mark.parametrize('damage', [
    lambda library: library.write_bytes(library.read_bytes()[:5000]),
    lambda library: library.write_bytes(bytes(library.stat().st_size)),
    lambda library: library.unlink(),
    lambda library: library.with_suffix('.json').write_text('{"digest": '),
    lambda library: library.with_suffix('.json').write_text('[]'),
    lambda library: library.with_suffix('.json').unlink(),
], ids=['half a library', 'zeros', 'no library', 'half a record', 'no record in it', 'no record'])
def test_a_damaged_build_is_not_used_but_replaced(recipe, target, damage):
    build.build(recipe, target)
    damage(target)
    assert why_unusable(target, recipe.digest())
    assert build.build(recipe, target) is True
    assert ctypes.CDLL(str(target)).seven() == 7


def test_kernels_are_those_of_this_folder():
    sources = {part.source.name for part in build.kernels().parts}
    assert sources == {path.name for path in build.HERE.glob('*.cpp')}
    isas = [flag for part in build.kernels().parts for flag in part.flags if '_ISA=' in flag]
    assert isas == [f'-DSOFT_DICE_ISA={name}' for name in build.INSTRUCTION_SETS]
    assert not any('-march=native' in part.flags for part in build.kernels().parts)
    assert build.kernels_digest() == build.kernels().digest()


# --- what goes wrong ------------------------------------------------------------------------------

@pytest.mark.parametrize('script, message', [
    ('echo noise; echo "a.cpp:3: error: no such" >&2; exit 1', 'failed: a.cpp:3: error: no such'),
    ('exit 3', 'failed: exit status 3'),
    ('kill -9 $$', 'failed: exit status -9'),
    ('exit 0', 'wrote no library'),
    ('while [ "$1" != -o ]; do shift; done; echo half > "$2"; exit 1', 'failed: exit status 1'),
], ids=['error', 'status', 'killed', 'writes nothing', 'writes half'])
def test_a_failed_compile_is_one_sentence(recipe, target, tmp_path, monkeypatch, script, message):
    monkeypatch.setenv('CXX', compiler(tmp_path, script))
    with pytest.raises(BuildError, match=message) as raised:
        build.build(recipe, target)
    assert '\n' not in str(raised.value) and str(target.with_suffix('.log')) in str(raised.value)
    assert left_in(target.parent) == ['seven.json']


def test_a_failure_is_remembered_until_asked_for_or_changed(recipe, target, tmp_path, monkeypatch):
    count = tmp_path / 'count'
    monkeypatch.setenv('CXX', compiler(tmp_path, f'echo x >> "{count}"; exit 1'))

    def attempts(**keywords):
        with pytest.raises(BuildError, match='exit status 1'):
            build.build(recipe, target, **keywords)
        return count.read_text().count('x')

    first = attempts(retry=False)
    assert attempts(retry=False) == first
    second = attempts(retry=True)
    assert second > first
    recipe.headers[0].write_text('#define SEVEN 9\n')
    assert attempts(retry=False) > second
    monkeypatch.delenv('CXX')
    assert build.build(recipe, target, retry=True) is True


def test_a_failure_leaves_what_works(recipe, target, monkeypatch):
    build.build(recipe, target)
    monkeypatch.setenv('CXX', '/bin/false')
    with pytest.raises(BuildError):
        build.build(recipe, target, force=True)
    assert not why_unusable(target, recipe.digest())


@pytest.mark.slow
def test_a_hanging_compiler_is_stopped_with_what_it_started(recipe, target, tmp_path, monkeypatch):
    started = tmp_path / 'started'
    monkeypatch.setenv('CXX', compiler(tmp_path, f'sleep 3600 & echo $! > "{started}"; sleep 3600'))
    monkeypatch.setattr(build, '_version', lambda command: 'fake')
    monkeypatch.setattr(build, 'TIME_LIMIT', 3.0)
    with pytest.raises(BuildError, match='was stopped after 3 s'):
        build.build(recipe, target)
    assert ends(int(started.read_text()))


@pytest.mark.parametrize('name, value, message', [
    ('CXX', '/nowhere/g++', 'the compiler that CXX names, /nowhere/g\\+\\+, is not there'),
    ('PATH', '/nowhere', r'there is no C\+\+ compiler \(g\+\+, c\+\+, clang\+\+\)'),
])
def test_no_compiler(recipe, target, monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    with pytest.raises(BuildError, match=message):
        build.build(recipe, target)
    assert 'compiler' in read_record(target)['error']


def test_compiler_may_have_arguments(recipe, target, monkeypatch):
    monkeypatch.setenv('CXX', 'g++ -DUNUSED')
    monkeypatch.setenv('CXXFLAGS', '-UEXTRA "-DEXTRA=(1 + 1)"')
    build.build(recipe, target)
    assert ctypes.CDLL(str(target)).seven() == 9


def test_a_folder_that_cannot_be_written(recipe):
    with pytest.raises(BuildError, match='cannot be written .*SOFT_DICE_CACHE can name another'):
        build.build(recipe, Path('/proc/nowhere/seven.so'))


def test_leftovers_of_a_killed_build_are_removed(recipe, target):
    (target.parent / '.seven-left').mkdir(parents=True)
    build.build(recipe, target)
    assert left_in(target.parent) == ['seven.json', 'seven.so']


# --- several at once, and killed ones -------------------------------------------------------------

SCRIPT = '''
import sys
from pathlib import Path
from soft_dice.native import build
recipe = build.Recipe('seven', (build.Part(Path(sys.argv[1]), ('-DEXTRA=0',)),),
                      (Path(sys.argv[1]).with_suffix('.h'),))
print(build.build(recipe, Path(sys.argv[2])))
'''


def start(recipe, target, **environment):
    command = [sys.executable, '-c', SCRIPT, str(recipe.parts[0].source), str(target)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **environment})


@pytest.mark.slow
def test_of_four_processes_one_compiles(recipe, target):
    outputs = [process.communicate(timeout=HANG)[0].decode().strip()
               for process in [start(recipe, target) for _ in range(4)]]
    assert sorted(outputs) == ['False', 'False', 'False', 'True']
    assert not why_unusable(target, recipe.digest())


@pytest.mark.slow
def test_a_build_killed_half_way_is_in_nobodys_way(recipe, target, tmp_path):
    started = tmp_path / 'started'
    slow = compiler(tmp_path, f'case "$*" in *--version*) exit;; esac; touch "{started}"\n'
                    'exec sleep 30')
    process = start(recipe, target, CXX=slow)
    while not started.exists():
        time.sleep(0.05)
    process.kill()
    process.communicate()
    assert why_unusable(target, recipe.digest()) == 'not built yet'
    assert build.build(recipe, target) is True
    assert left_in(target.parent) == ['seven.json', 'seven.so']


# --- where libraries are --------------------------------------------------------------------------

def test_cache_folder(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    monkeypatch.setenv('SOFT_DICE_CACHE', '/named')
    assert build.cache_folder() == Path('/named')
    monkeypatch.setenv('SOFT_DICE_CACHE', '')
    assert build.cache_folder() == Path('/home/me/.cache/soft_dice')
    monkeypatch.setenv('XDG_CACHE_HOME', '/xdg')
    assert build.cache_folder() == Path('/xdg/soft_dice')


@pytest.fixture
def package(tmp_path):
    """The folder of the kernels before anything was built; one quick source stands for all."""
    folder = tmp_path / 'native'
    folder.mkdir()
    shutil.copy(str(BUILD), str(folder))
    (folder / 'kernels.h').write_text('')
    (folder / 'kernels.cpp').write_text('#include "kernels.h"\nint number = 7;\n')
    return folder


def run(package, *arguments, **environment):
    return subprocess.run([sys.executable, *arguments], stdout=subprocess.PIPE, cwd=str(package),
                          stderr=subprocess.PIPE, env={**os.environ, **environment}, timeout=HANG)


def located(package):
    code = 'import build; path, reason = build.locate_kernels(); print(path); print(reason)'
    return run(package, '-c', code).stdout.decode().strip().splitlines()


def test_kernels_are_found_beside_the_sources_then_in_the_cache(package, tmp_path):
    assert located(package) == ['None', 'not built yet; `python -m soft_dice build` builds them']
    assert run(package, 'build.py').returncode == 0
    path, reason = located(package)
    assert path == str(package / '_kernels.so') and reason.startswith('built with g++')
    cached = tmp_path / 'cache'
    cached.mkdir()
    digest = read_record(package / '_kernels.so')['digest']
    for suffix in ('.so', '.json'):
        shutil.move(str(package / f'_kernels{suffix}'), str(cached / f'kernels-{digest}{suffix}'))
    assert located(package)[0] == str(cached / f'kernels-{digest}.so')
    (package / 'kernels.cpp').write_text('int number = 8;\n')
    assert located(package)[0] == 'None'


def test_the_reason_of_a_failed_build_is_told_later(package):
    done = run(package, 'build.py', CXX='/bin/false')
    assert done.returncode == 2
    message = done.stderr.decode()
    assert message.count('\n') == 1 and 'the compiler /bin/false failed: exit status 1' in message
    path, reason = located(package)
    assert path == 'None' and 'the compiler /bin/false failed: exit status 1' in reason


def test_setup_builds_them_and_does_without_a_compiler(package, tmp_path):
    """What `pip install` runs; the package alone, as everything else in it takes no part."""
    project = tmp_path / 'project'
    (project / 'soft_dice').mkdir(parents=True)
    shutil.copytree(str(package), str(project / 'soft_dice/native'))
    for name in ('setup.py', 'soft_dice/version.py'):
        shutil.copy(str(ROOT / name), str(project / name))
    built = tmp_path / 'out/soft_dice/native'  # within the project it would be a package of it
    command = ['setup.py', '-q', 'build_ext', '--build-lib', str(tmp_path / 'out')]
    done = run(project, *command, CXX='/nowhere')
    assert done.returncode == 0 and b'kernels of soft_dice are left out' in done.stdout
    assert 'is not there' in json.loads((built / '_kernels.json').read_text())['error']
    assert run(project, *command).returncode == 0
    assert sorted(path.name for path in built.iterdir()) == ['_kernels.json', '_kernels.log',
                                                             '_kernels.so']
    assert run(project, 'setup.py', '-q', 'build_ext', '--inplace').returncode == 0
    assert (project / 'soft_dice/native/_kernels.so').exists()


def test_the_source_package_has_the_packages_and_no_tests(tmp_path):
    """Made without importing NumPy, which a new environment has not."""
    project = tmp_path / 'project'
    for name in ('soft_dice', 'gluon_dice', 'caffe_layers', 'tests'):
        shutil.copytree(str(ROOT / name), str(project / name),
                        ignore=shutil.ignore_patterns('__pycache__', '_kernels.*', 'originals'))
    others = ('setup.py', 'setup.cfg', 'MANIFEST.in', 'README.md', 'LICENSE', 'CHANGELOG.md')
    for name in others:
        shutil.copy(str(ROOT / name), str(project))
    sources = {str(path.relative_to(project)) for path in project.rglob('*/*')
               if path.is_file() and path.relative_to(project).parts[0] != 'tests'}
    code = ("import sys; sys.modules['numpy'] = None; sys.argv = ['setup.py', '-q', 'sdist']; "
            "exec(compile(open('setup.py').read(), 'setup.py', 'exec'), {'__name__': '__main__', "
            "'__file__': 'setup.py'})")
    done = run(project, '-c', code)
    assert done.returncode == 0, done.stderr
    assert b'deprecated' not in done.stderr.lower()
    (made,) = (project / 'dist').iterdir()
    with tarfile.open(str(made)) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()
                 if archive.getmember(name).isfile()}
    assert made.name.endswith(f'-{__version__}.tar.gz')
    assert {name for name in names if 'egg-info' not in name} \
        == {*sources, *others, 'PKG-INFO'}
