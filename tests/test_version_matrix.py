"""The version matrix: what it chooses, how it reads a run, what it calls a finding.  `make
test-matrix` is the real thing; no test here installs anything.
"""
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from processes import surroundings

from benchmarks.pages import row
from soft_dice.arrays import CannotRun
from version_matrix import install, one_file, plan, report
from version_matrix import run as run_module
from version_matrix.__main__ import main
from version_matrix.plan import RELEASES, Interpreter, Job, Release
from version_matrix.run import Facts, Record, Result

OWN = plan.own_python().version
OTHER = '3.11' if OWN != '3.11' else '3.9'
SUPPORTED = [release for release in RELEASES if release.supported]


def facts(release):
    return Facts(error='', mxnet=release.version, numpy='1.23.5',
                 lacks=(['contrib.arange_like (since 1.6): another'] * (release.version == '1.5.1')
                        + ['contrib.index_array (since 1.5): Python counts']
                        * (not release.operators)),
                 operator='' if release.operator else 'it has version 7 of the interface')


def result(release, python=OWN, passed=1200, **changes):
    made = Result(python, release.version, 'gluon', facts(release), passed, seconds=1.0)
    return made._replace(**changes)


def of_core(python=OWN, passed=3500, **changes):
    return Result(python, 'core', 'core', Facts('', numpy='2.0.2'), passed)._replace(**changes)


def of_one_file(python='2.7', passed=947, **changes):
    return Result(python, 'bundle', 'bundle', Facts('', numpy='1.16.6'), passed)._replace(**changes)


def record(*changed, static=()):
    """As promised, but for ``changed``, which replace the rows of their name and Python."""
    good = [result(release, python) for release in RELEASES for python in (OWN, OTHER)]
    good += [*map(of_core, (OWN, OTHER, '3.13')), of_one_file()]
    return Record(good, []).updated(Record(list(changed), list(static)))


def release(version):
    return [each for each in RELEASES if each.version == version][0]


# --- what is chosen -------------------------------------------------------------------------------

def test_the_releases_that_are_promised():
    assert [each.version for each in SUPPORTED] == [
        '1.0.0', '1.1.0', '1.2.1', '1.3.1', '1.4.1', '1.5.1', '1.6.0', '1.7.0', '1.8.0', '1.9.1']
    assert [each.version for each in SUPPORTED if each.operator] == ['1.9.1']
    assert [each.version for each in SUPPORTED if each.operators][0] == '1.5.1'
    assert [each.version for each in RELEASES if not each.supported] == ['2.0.0b1']


NAMES = [*(each.version for each in RELEASES), 'core', 'bundle']


@pytest.fixture
def all_pythons(monkeypatch):
    """A machine that has every Python; its python3 is OTHER."""
    pythons = [Interpreter(version, sys.executable if version == OWN else f'/python{version}')
               for version in plan.ALL_PYTHONS]
    machine = pythons[plan.ALL_PYTHONS.index(OTHER)]
    monkeypatch.setattr(plan, 'machine_python', lambda: machine)
    for module in (plan, one_file):
        monkeypatch.setattr(module, 'find_pythons',
                            lambda versions: [each for each in pythons if each.version in versions])


def rows(jobs):
    return {(job.name, job.python.version) for job in jobs}


def test_every_release_on_its_pythons_and_the_core_on_all(all_pythons):
    jobs = plan.jobs(NAMES, plan.ALL_PYTHONS)
    on = {name: {python for each, python in rows(jobs) if each == name} for name in NAMES}
    for each in RELEASES:
        newest = {'3.6', '3.7', '3.8', '3.9', '3.10', '3.11'}
        expected = newest if each == plan.NEWEST else {OWN, OTHER} if each.operators else {'3.6'}
        assert on[each.version] == expected
    assert on['core'] == {'3.6', '3.7', '3.8', '3.9', '3.10', '3.11', '3.12', '3.13'}
    assert len(jobs) == len(rows(jobs))
    assert {(job.kind, job.numpy) for job in jobs} == {('core', 'numpy'), ('gluon', 'numpy<1.24')}


def test_one_row_or_a_few(all_pythons):
    assert rows(plan.jobs(['1.9.1'], ['3.6'])) == {('1.9.1', '3.6')}
    assert rows(plan.jobs(['core', '1.6.0'], ['3.13', OWN])) == {
        ('core', '3.13'), ('core', OWN), ('1.6.0', OWN)}
    assert rows(one_file.jobs(['3.4', '3.13'])) == {('bundle', '3.4'), ('bundle', '3.13')}


def test_a_release_may_name_its_pythons_and_its_numpy(all_pythons, monkeypatch):
    old = Release('1.0.1', '1.0.1', pythons=('3.6',), numpy='numpy==1.13.3')
    monkeypatch.setattr(plan, 'RELEASES', (old, *RELEASES))
    job, = plan.jobs(['1.0.1'], plan.ALL_PYTHONS)
    assert (job.python.version, job.release, job.numpy) == ('3.6', old, 'numpy==1.13.3')
    assert str(job) == 'MXNet 1.0.1, Python 3.6'
    path = install.environment(job)['PYTHONPATH'].split(os.pathsep)
    assert [os.path.basename(each) for each in path[1:]] == [
        'mxnet-1.0.1', 'numpy-1.13.3-python3.6', 'python3.6']


def test_the_python_that_runs_this_is_found():
    assert plan.own_python() in plan.find_pythons(plan.PYTHONS)


def test_a_python_is_asked_for_its_version(tmp_path, monkeypatch):
    """Not one that calls itself 3.7 and is not, nor one that does not start."""
    for name, script in (('python3.7', 'echo 3.8'), ('python3.8', 'exit 1'),
                         ('python3.10', 'echo 3.10')):
        (tmp_path / name).write_text(f'#!/bin/sh\n{script}\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:/bin:/usr/bin')
    monkeypatch.setenv('PYENV_ROOT', str(tmp_path))
    found = {each.version: each.command for each in plan.find_pythons(plan.PYTHONS)}
    assert found['3.10'] == str(tmp_path / 'python3.10')
    assert OWN in found and not {'3.7', '3.8'} & set(found)


def test_files_that_need_caffe_are_left_out_and_nothing_else():
    left_out = plan.why_left_out()
    assert left_out['test_caffe.py'] == left_out['test_readme.py'] == 'needs Caffe'
    for name in ('test_backends.py', 'test_gluon.py', 'test_presets.py', 'test_loss.py'):
        assert name not in left_out
    assert all((plan.ROOT / 'tests' / name).exists() for name in left_out)


def test_which_tests_a_row_runs():
    own, other = plan.own_python(), Interpreter('3.10', '/python3.10')
    old, new = release('1.6.0'), plan.NEWEST
    gluon = plan.arguments(Job(own, 'gluon', new))[-1].split(' and ')[0]
    assert gluon.startswith('(gluon or symbol or test_') and gluon.endswith(')')
    words = gluon.strip('()').split(' or ')
    assert {'test_deep_supervision', 'test_examples', 'test_long_run', 'test_resize'} <= {*words}
    assert not {'test_loss', 'test_native', 'test_caffe'} & {*words}
    assert plan.arguments(Job(own, 'gluon', old))[-3:] == [
        'gluon_dice', '-k',
        f'{gluon} and not caffe and not native and not kernels and not long_run and not under_amp']
    assert plan.arguments(Job(own, 'gluon', new))[-1] == f'{gluon} and not caffe'
    assert f'tests/{plan.CHECKER}' in plan.arguments(Job(own, 'gluon', old))
    assert f'tests/{plan.CHECKER}' not in plan.arguments(Job(other, 'gluon', old))
    *files, package, _, chosen = plan.arguments(Job(own, 'core'))
    assert (package, chosen) == ('soft_dice', 'not gluon and not symbol and not caffe')
    assert {'tests/test_loss.py', 'tests/test_backends.py', 'tests/test_presets.py'} < {*files}
    assert not {f'tests/{word}.py' for word in words} & {*files}


def test_the_core_without_mxnet():
    environment = install.environment(Job(plan.own_python(), 'core'))
    assert environment['TEST_WITHOUT'] == 'caffe mxnet' and 'mxnet' not in environment['PYTHONPATH']
    gluon = install.environment(Job(plan.own_python(), 'gluon', plan.NEWEST))
    assert gluon['TEST_WITHOUT'] == 'caffe' and 'mxnet-1.9.1' in gluon['PYTHONPATH']


def test_debian_s_python_2_7_where_the_machine_has_none(monkeypatch):
    newer, debian = Interpreter('3.8', '/python3.8'), Interpreter('2.7', '/debian')
    monkeypatch.setattr(one_file, 'find_pythons', lambda versions: [newer])
    monkeypatch.setattr(one_file, 'debian_python', lambda: debian)
    assert one_file.jobs(plan.ALL_PYTHONS) == [Job(debian, 'bundle'), Job(newer, 'bundle')]
    assert one_file.jobs(['3.8']) == [Job(newer, 'bundle')]


@pytest.mark.slow
def test_the_one_file_on_this_python(monkeypatch, tmp_path):
    """And what a Python says that cannot run it."""
    folder = os.path.dirname(os.path.dirname(np.__file__))
    monkeypatch.setattr(install, 'numpy_folder', lambda job: folder)
    monkeypatch.setattr(install, 'tools_folder', lambda python: folder)
    job = Job(plan.own_python(), 'bundle')
    result = one_file.run(job)
    assert (result.good, result.facts.numpy, result.kind) == (True, np.__version__, 'bundle')
    (tmp_path / 'python').write_text('#!/bin/sh\necho no such thing >&2\nexit 3\n')
    (tmp_path / 'python').chmod(0o755)
    result = one_file.run(job._replace(python=Interpreter('2.7', str(tmp_path / 'python'))))
    assert result.ended == 'exit status 3: no such thing' and not result.good


# --- installing -----------------------------------------------------------------------------------

# Writes down what it is asked for, and makes the folder.
PIP = '''#!/bin/sh
echo "$PYTHONPATH; $*" >> {asked}
for last; do [ "$before" = --target ] && mkdir "$last"; before=$last; done
'''


def test_what_is_installed_stays_and_what_fails_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(install, 'FOLDER', tmp_path / 'matrix')
    pip = tmp_path / 'python'
    pip.write_text(PIP.format(asked=tmp_path / 'asked'))
    pip.chmod(0o755)
    python, one = Interpreter('3.9', str(pip)), release('1.7.0')
    assert install.install_mxnet(python, one) is True
    assert install.mxnet_folder(one) == tmp_path / 'matrix' / 'mxnet-1.7.0.post2'
    assert (tmp_path / 'asked').read_text().endswith('mxnet==1.7.0.post2.txt\n')
    pip.write_text('#!/bin/sh\necho "ERROR: no such thing"\nexit 1\n')
    assert install.install_mxnet(python, one) is False
    with pytest.raises(CannotRun, match='could not install .*mxnet==1.6.0.*ERROR: no such thing'):
        install.install_mxnet(python, release('1.6.0'))
    assert not install.mxnet_folder(release('1.6.0')).exists()


def test_python_3_6_gets_a_newer_pip_first(tmp_path, monkeypatch):
    monkeypatch.setattr(install, 'FOLDER', tmp_path / 'matrix')
    (tmp_path / 'python').write_text(PIP.format(asked=tmp_path / 'asked'))
    (tmp_path / 'python').chmod(0o755)
    for _ in range(2):
        install.install_tools(Interpreter('3.6', str(tmp_path / 'python')))
    first, second = (tmp_path / 'asked').read_text().splitlines()
    assert first.startswith('; -m pip') and first.endswith(' pip<22')
    assert second.startswith(f'{tmp_path}/matrix/pip-python3.6; -m pip')
    assert second.endswith(f' -r {install.REQUIREMENTS}')


def test_pins_are_for_the_pythons_that_have_them_all(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(install, 'FOLDER', tmp_path / 'matrix')
    monkeypatch.setattr(install, '_install',
                        lambda python, folder, what: asked.update({python.version: what}))
    for version in plan.PYTHONS:
        install.install_tools(Interpreter(version, 'python'))
    pins = tmp_path / 'matrix' / 'pins.txt'
    pinned = [version for version, what in asked.items() if what[-2:] == ['-c', str(pins)]]
    assert pinned == ['3.9', '3.10', '3.11']
    assert 'numpy==1.23.5\n' in pins.read_text() and '--hash' not in pins.read_text()


def test_every_release_is_installed_by_its_hash(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(install, 'FOLDER', tmp_path / 'matrix')
    monkeypatch.setattr(install, '_install', lambda python, folder, what: asked.append(what))
    for each in plan.RELEASES:
        install.install_mxnet(Interpreter('3.9', 'python'), each)
        assert re.fullmatch(rf'mxnet=={re.escape(each.package)} --hash=sha256:[0-9a-f]{{64}}\n',
                            Path(asked[-1][-1]).read_text())
        assert '--require-hashes' in asked[-1]


# --- running --------------------------------------------------------------------------------------

@pytest.mark.parametrize('kind', ['gluon', 'core'])
def test_probe_of_this_python(kind):
    done = subprocess.run([sys.executable, '-W', 'ignore', str(run_module.PROBE), kind],
                          stdout=subprocess.PIPE, cwd=str(plan.ROOT),
                          env=surroundings())
    found = Facts(**json.loads(done.stdout.decode().splitlines()[-1]))
    assert (found.error, found.numpy) == ('', np.__version__)
    assert found.mxnet == (mx.__version__ if kind == 'gluon' else '')
    assert found.lacks == [] or mx.__version__ < '1.6'


@pytest.mark.parametrize('script, message', [
    ('echo no such file >&2; exit 2', 'exit status 2: no such file'),
    ('kill -9 $$', 'ended by signal 9'), ('exit 0', 'exit status 0: ')])
def test_a_probe_that_fails(script, message, tmp_path):
    (tmp_path / 'python').write_text(f'#!/bin/sh\n{script}\n')
    (tmp_path / 'python').chmod(0o755)
    python = Interpreter(OWN, str(tmp_path / 'python'))
    assert run_module.probe(Job(python, 'core')).error == message


JUNIT = '''<testsuites><testsuite>
<testcase classname="tests.test_a" name="test_one"/>
<testcase classname="tests.test_a" name="test_two[x]"><failure message="no"/></testcase>
<testcase classname="tests.test_a" name="test_three"><skipped/></testcase>
<testcase classname="" name="tests.test_b"><error message="collection failure"/></testcase>
</testsuite></testsuites>'''


def test_skipped_and_broken_tests_have_not_passed():
    assert run_module.read_report(JUNIT) == {
        'passed': 1, 'failed': ['tests.test_a::test_two[x]', 'tests.test_a::test_three',
                                '::tests.test_b']}


def test_what_the_oldest_python_lacks(tmp_path, monkeypatch):
    """What vermin says is passed on, and its absence is no approval."""
    (tmp_path / 'vermin.py').write_text(textwrap.dedent('''
        import sys
        def main():
            print('walrus in', sys.argv[-1])
            sys.exit(1)
        '''))
    monkeypatch.setattr(run_module, 'tools_folder', lambda python: tmp_path)
    assert run_module.check_sources() == [f'walrus in {run_module.SOURCES[-1]}']
    monkeypatch.setattr(run_module, 'tools_folder', lambda python: tmp_path / 'empty')
    assert 'vermin' in run_module.check_sources()[-1]


# --- what is a finding ----------------------------------------------------------------------------

def test_as_promised_there_is_no_finding():
    assert report.findings(record()) == []


BAD = {
    'a test fails': (dict(passed=1199, failed=['tests.test_gluon::test_x']),
                     f'MXNet 1.6.0, Python {OWN}: 1 of 1200 tests fail'),
    'no test': (dict(passed=0), 'no test was run'),
    'crash': (dict(ended='ended by signal 11'), 'ended by signal 11'),
    'import': (dict(facts=Facts('ImportError: no')), 'does not import: ImportError: no'),
    'fewer tests': (dict(passed=1100), 'the numbers of tests differ'),
    'operator': (dict(facts=facts(release('1.6.0'))._replace(operator='')), 'can be used, against'),
}


@pytest.mark.parametrize('name', list(BAD))
def test_findings(name):
    changes, message = BAD[name]
    found = report.findings(record(result(release('1.6.0'), **changes)))
    assert len(found) == 1 and message in found[0]


def test_an_operator_that_is_promised():
    lost = result(release('1.9.1'), facts=facts(release('1.9.1'))._replace(operator='no g++'))
    assert report.findings(record(lost)) == [f'MXNet 1.9.1, Python {OWN}: the kernels as an '
                                             'operator cannot be used: no g++']


def test_the_core_and_sources_count_too():
    core = of_core('3.13', passed=3499, failed=['tests.test_loss::test_x'])
    assert report.findings(record(core)) == ['the core, Python 3.13: 1 of 3500 tests fail']
    assert report.findings(record(of_core('3.13', passed=3499))) == [
        f"the core: the numbers of tests differ: {{'{OWN}': 3500, '{OTHER}': 3500, '3.13': 3499}}"]
    assert report.findings(record(of_core('3.6', facts=Facts('ImportError: no')))) == [
        'the core, Python 3.6: does not import: ImportError: no']
    assert report.findings(record(static=['walrus'])) == ['Python 3.6 lacks: walrus']


def test_a_release_that_is_not_supported_promises_nothing():
    bad = result(release('2.0.0b1'), passed=0, failed=['tests.test_gluon::test_x'])
    assert report.findings(record(bad)) == []


def test_the_one_file_on_a_python():
    bad = record(of_one_file(passed=946, failed=['loss defaults: error 1']))
    assert report.findings(bad) == ['the one file, Python 2.7: 1 of 947 rows fail']
    assert report.findings(record(of_one_file(passed=0))) == [
        'the one file, Python 2.7: no row was run']


# --- tables ---------------------------------------------------------------------------------------

def test_table():
    bad = result(release('1.6.0'), passed=10, failed=['tests.test_gluon::test_x[1]',
                                                      'tests.test_gluon::test_x[2]'])
    dead = [result(release('2.0.0b1'), python, passed=0, facts=Facts('ImportError: none'))
            for python in (OWN, OTHER)]
    lines = report.table(record(bad, *dead)).split('\n')
    heads = {OWN: f'Python {OWN} (`.runtime/`)', OTHER: f'Python {OTHER}'}
    order = sorted(heads, key=plan.PYTHONS.index)
    assert lines[0] == row(['MXNet', *(heads[each] for each in order), 'kernels', 'what it lacks'])
    rows = {line.split(' | ')[0][2:]: line.split(' | ')[1:] for line in lines[2:2 + len(RELEASES)]}
    assert rows['1.6.0'][:3] == [
        '2 of 12 tests fail' if each == OWN else '1200 tests pass' for each in order] + ['no']
    assert rows['1.9.1'] == ['1200 tests pass', '1200 tests pass', 'yes', 'nothing |']
    assert rows['1.5.1'][2:] == ["no", "contrib.arange_like (since 1.6): another; external "
                                 "operators (as of 1.9): MXNet's own serve in place of the "
                                 "kernels |"]
    assert rows['1.4.1'][-1] == 'contrib.index_array (since 1.5): Python counts |'
    assert rows['2.0.0b1, not supported'] == ['does not import', 'does not import', 'no',
                                              'ImportError: none |']
    assert lines[2 + len(RELEASES):] == [
        '', '| Python | NumPy | core | the one file | NumPy with MXNet | Gluon, MXNet 1.9.1 |',
        row(['---'] * 6), row(['2.7', '1.16.6', '', '947 rows pass', '', '']),
        *(row([each, '2.0.2', '3500 tests pass', '', '1.23.5', '1200 tests pass'])
          for each in order),
        row(['3.13', '2.0.2', '3500 tests pass', '', '', ''])]
    page = report.page(record(bad))
    assert f'On MXNet 1.6.0 and Python {OWN} 2 of 12 tests fail:\n\n' \
        '- `test_gluon::test_x`, 2 times' in page
    assert '- `tests/test_caffe.py` needs Caffe' in page


def test_the_table_of_one_row():
    one = Record([of_core('3.13')], [])
    assert report.table(one).splitlines()[2:] == [row(['3.13', '2.0.2', '3500 tests pass', '', '',
                                                       ''])]
    assert report.findings(one) == []


def test_a_release_on_a_python_of_its_own(monkeypatch):
    old = Release('1.0.1', '1.0.1', pythons=('3.6',))
    monkeypatch.setattr(report, 'RELEASES', (old, *RELEASES))
    lines = report.table(record(result(old, '3.6'))).splitlines()
    assert lines[0].startswith('| MXNet | Python 3.6 | ')
    assert lines[2].startswith('| 1.0.1 | 1200 tests pass |  |  | no | ')
    assert lines[3].startswith('| 1.0.0 |  | 1200 tests pass | 1200 tests pass | ')


def pages(folder):
    paths = folder / 'README.md', folder / 'versions.md'
    for path in paths:
        path.write_text(f'before\n{report.BEGIN}\nold\n{report.END}\nafter\n')
    return paths


def test_the_pages_are_written_between_their_markers(tmp_path):
    paths = pages(tmp_path)
    report.write(*paths, record())
    for path in paths:
        text = path.read_text()
        assert text.startswith(f'before\n{report.BEGIN}\n| MXNet |') and '\nold' not in text
        assert text.endswith(f'{report.END}\nafter\n')
    first = [path.read_text() for path in paths]
    report.write(*paths, record())
    assert [path.read_text() for path in paths] == first


def test_the_page_of_the_project_has_the_markers():
    text = (plan.ROOT / 'docs' / 'versions.md').read_text(encoding='utf-8')
    assert text.count(report.BEGIN) == text.count(report.END) == 1


def test_the_pages_are_about_all_rows(tmp_path):
    few = record()
    few = few._replace(results=[each for each in few.results if each.name not in ('1.6.0', 'core')])
    with pytest.raises(ValueError, match='MXNet 1.6.0, the core was not run; leave out --only'):
        report.write(*pages(tmp_path), few)


# --- the command ----------------------------------------------------------------------------------

def saved(folder, record):
    path = folder / f'found{len(os.listdir(folder))}.json'
    path.write_text(json.dumps(record.to_json()))
    return str(path)


def test_status_0_and_a_record_that_is_read_as_it_was(tmp_path, capsys):
    copy = tmp_path / 'copy.json'
    assert main(['--load', saved(tmp_path, record()), '--json', str(copy)]) == 0
    assert Record.from_json(json.loads(copy.read_text())) == record()
    assert capsys.readouterr().out.startswith('| MXNet |')


def test_a_row_that_was_run_again_renews_what_was_found(tmp_path, capsys):
    bad = record(of_core('3.13', passed=0))
    assert main(['--load', saved(tmp_path, bad)]) == 1
    again = Record([of_core('3.13')], [])
    assert main(['--load', saved(tmp_path, bad), saved(tmp_path, again)]) == 0
    assert main(['--load', saved(tmp_path, again), saved(tmp_path, bad)]) == 1
    assert capsys.readouterr().out.count('FINDING') == 2


def test_status_1_for_a_finding(tmp_path, capsys):
    assert main(['--load', saved(tmp_path, record(result(release('1.6.0'), passed=0)))]) == 1
    assert f'FINDING  MXNet 1.6.0, Python {OWN}: no test was run' \
        in capsys.readouterr().out


@pytest.mark.parametrize('content, message', [
    ('{"results": [{}], "static": []}', 'was not written by --json'),
    ('[1]', 'was not written by --json'), ('not JSON', 'was not written by --json'),
    (None, 'cannot be read: No such file')])
def test_status_2_for_a_file_that_is_none(content, message, tmp_path, capsys):
    path = tmp_path / 'found.json'
    if content is not None:
        path.write_text(content)
    assert main(['--load', str(path)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1


@pytest.mark.parametrize('arguments, message', [
    (['--only', '1.6.0', '1.2'], '--only takes 1.0.0, 1.1.0, 1.2.1, 1.3.1, 1.4.1, 1.5.1, 1.6.0, '
     '1.7.0, 1.8.0, 1.9.1, 2.0.0b1, core, bundle; got 1.2'),
    (['--python', '3'], '--python takes 2.7, 3.4, 3.5, 3.6, 3.7, 3.8, 3.9, 3.10, 3.11, 3.12, 3.13; '
     'got 3'),
    (['--only', '1.6.0', 'core', '--python', '3.13'],
     '--only 1.6.0: its Pythons are not on this machine, or not among those of --python'),
    (['--only', 'core', '--python', '2.7', OWN],
     '--python 2.7: it is not on this machine, or not tried with what --only names')])
def test_status_2_for_a_row_that_there_is_not(arguments, message, all_pythons, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err == f'version_matrix: {message}\n'


def test_status_2_where_pip_fails(tmp_path, monkeypatch, capsys):
    def no_pip(python, folder, what):
        raise CannotRun('pip could not install it')
    monkeypatch.setattr(install, '_install', no_pip)
    assert main(['--only', '1.6.0', '--python', OWN]) == 2
    assert capsys.readouterr().err.endswith('version_matrix: pip could not install it\n')


def test_a_release_has_a_row_of_its_own():
    assert len({each.version for each in RELEASES}) == len(RELEASES)
    assert Release('1.0', '1.0').supported and not Release('1.0', '1.0').operator
