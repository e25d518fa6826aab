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
                 lacks=['contrib.arange_like (since 1.6): another'] * (release.version == '1.5.1'),
                 operator='' if release.operator else 'it has version 7 of the interface')


def result(release, python=OWN, kind='gluon', passed=1200, **changes):
    made = Result(python, release.version, kind, facts(release), passed, seconds=1.0)
    return made._replace(**changes)


def record(*changed, static=()):
    """As promised, but for ``changed``, which replace what has their release, Python and kind."""
    good = [result(release, python) for release in RELEASES for python in (OWN, OTHER)]
    good += [result(plan.NEWEST, python, 'core') for python in (OWN, OTHER)]
    key = {(each.release, each.python, each.kind): each for each in good}
    key.update({(each.release, each.python, each.kind): each for each in changed})
    return Record(list(key.values()), list(static))


def release(version):
    return [each for each in RELEASES if each.version == version][0]


# --- what is chosen -------------------------------------------------------------------------------

def test_the_releases_that_are_promised():
    assert [each.version for each in SUPPORTED] == ['1.5.1', '1.6.0', '1.7.0', '1.8.0', '1.9.1']
    assert [each.version for each in SUPPORTED if each.operator] == ['1.9.1']
    assert {'1.3.1', '1.4.1', '2.0.0b1'} < {each.version for each in RELEASES}


def test_jobs(monkeypatch):
    pythons = [Interpreter(version, sys.executable if version == OWN else f'/python{version}')
               for version in plan.PYTHONS]
    machine = pythons[plan.PYTHONS.index(OTHER)]
    monkeypatch.setattr(plan, 'find_pythons', lambda: pythons)
    monkeypatch.setattr(plan, 'machine_python', lambda: machine)
    jobs = plan.jobs(RELEASES)
    for each in RELEASES:
        on = {job.python.version for job in jobs if job.release == each and job.kind == 'gluon'}
        assert on == (set(plan.PYTHONS) if each == plan.NEWEST else {OWN, OTHER})
    assert {job.python.version for job in jobs if job.kind == 'core'} == set(plan.PYTHONS)
    assert plan.jobs((release('1.6.0'),)) == [Job(python, release('1.6.0'), 'gluon')
                                              for python in pythons if python.version
                                              in (OWN, OTHER)]


def test_the_python_that_runs_this_is_found():
    assert plan.own_python() in plan.find_pythons()


def test_a_python_is_asked_for_its_version(tmp_path, monkeypatch):
    """Not one that calls itself 3.7 and is not, nor one that does not start."""
    for name, script in (('python3.7', 'echo 3.8'), ('python3.8', 'exit 1'),
                         ('python3.10', 'echo 3.10')):
        (tmp_path / name).write_text(f'#!/bin/sh\n{script}\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:/bin:/usr/bin')
    monkeypatch.setenv('PYENV_ROOT', str(tmp_path))
    found = {each.version: each.command for each in plan.find_pythons()}
    assert found['3.10'] == str(tmp_path / 'python3.10')
    assert OWN in found and not {'3.7', '3.8'} & set(found)


def test_files_that_need_caffe_are_left_out_and_nothing_else():
    left_out = plan.why_left_out()
    assert left_out['test_caffe.py'] == left_out['test_readme.py'] == 'needs Caffe'
    for name in ('test_backends.py', 'test_gluon.py', 'test_presets.py', 'test_loss.py'):
        assert name not in left_out
    assert all((plan.ROOT / 'tests' / name).exists() for name in left_out)


def test_which_tests_a_job_runs():
    own, other = plan.own_python(), Interpreter('3.10', '/python3.10')
    old, new = release('1.6.0'), plan.NEWEST
    gluon = plan.arguments(Job(own, new, 'gluon'))[-1].split(' and ')[0]
    assert gluon.startswith('(gluon or symbol or test_') and gluon.endswith(')')
    words = gluon.strip('()').split(' or ')
    assert {'test_deep_supervision', 'test_examples', 'test_resize'} <= {*words}
    assert not {'test_loss', 'test_native', 'test_caffe'} & {*words}
    assert plan.arguments(Job(own, old, 'gluon'))[-3:] == [
        'gluon_dice', '-k',
        f'{gluon} and not caffe and not native and not kernels and not long_run and not under_amp']
    assert plan.arguments(Job(own, new, 'gluon'))[-1] == f'{gluon} and not caffe'
    assert plan.arguments(Job(own, new, 'core'))[-3:] == [
        'soft_dice', '-k', f'not {gluon} and not caffe']
    assert f'tests/{plan.CHECKER}' in plan.arguments(Job(own, old, 'gluon'))
    assert f'tests/{plan.CHECKER}' not in plan.arguments(Job(other, old, 'gluon'))


def test_the_one_file_is_tried_on_every_python(monkeypatch):
    """Where the machine has no Python 2.7, on that of Debian."""
    newer, debian = Interpreter('3.8', '/python3.8'), Interpreter('2.7', '/debian')
    monkeypatch.setattr(one_file, 'find_pythons', lambda versions: [newer])
    monkeypatch.setattr(one_file, 'debian_python', lambda: debian)
    assert one_file.jobs() == [Job(python, plan.NEWEST, 'bundle') for python in (debian, newer)]
    assert {'2.7', '3.4', '3.6', '3.13'} < {*one_file.ALL_PYTHONS}


@pytest.mark.slow
def test_the_one_file_on_this_python(monkeypatch, tmp_path):
    """And what a Python says that cannot run it."""
    folder = os.path.dirname(os.path.dirname(np.__file__))
    monkeypatch.setattr(install, 'numpy_folder', lambda python: folder)
    monkeypatch.setattr(install, 'tools_folder', lambda python: folder)
    job = Job(plan.own_python(), plan.NEWEST, 'bundle')
    result = one_file.run(job)
    assert (result.good, result.facts.numpy, result.kind) == (True, np.__version__, 'bundle')
    (tmp_path / 'python').write_text('#!/bin/sh\necho no such thing >&2\nexit 3\n')
    (tmp_path / 'python').chmod(0o755)
    result = one_file.run(job._replace(python=Interpreter('2.7', str(tmp_path / 'python'))))
    assert result.ended == 'exit status 3: no such thing' and not result.good


# --- installing -----------------------------------------------------------------------------------

def test_what_is_installed_stays_and_what_fails_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(install, 'FOLDER', tmp_path / 'matrix')
    pip = tmp_path / 'python'
    pip.write_text('#!/bin/sh\nfor last; do [ "$before" = --target ] && mkdir "$last"; '
                   'before=$last; done\n')
    pip.chmod(0o755)
    python, one = Interpreter('3.9', str(pip)), release('1.7.0')
    assert install.install_mxnet(python, one) is True
    assert install.mxnet_folder(one) == tmp_path / 'matrix' / 'mxnet-1.7.0.post2'
    pip.write_text('#!/bin/sh\necho "ERROR: no such thing"\nexit 1\n')
    assert install.install_mxnet(python, one) is False
    with pytest.raises(CannotRun, match='could not install .*mxnet==1.6.0.*ERROR: no such thing'):
        install.install_mxnet(python, release('1.6.0'))
    assert not install.mxnet_folder(release('1.6.0')).exists()


def test_pins_are_for_python_3_9_and_newer(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(install, 'FOLDER', tmp_path / 'matrix')
    monkeypatch.setattr(install, '_install', lambda python, folder, what: asked.append(what))
    for version in ('3.7', '3.10'):
        install.install_tools(Interpreter(version, 'python'))
    pins = tmp_path / 'matrix' / 'pins.txt'
    assert '-c' not in asked[0] and asked[1][-2:] == ['-c', str(pins)]
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

def test_probe_of_this_mxnet():
    done = subprocess.run([sys.executable, '-W', 'ignore', str(run_module.PROBE)],
                          stdout=subprocess.PIPE, cwd=str(plan.ROOT),
                          env=surroundings())
    found = Facts(**json.loads(done.stdout.decode().splitlines()[-1]))
    assert (found.error, found.mxnet) == ('', mx.__version__)
    assert found.lacks == [] or mx.__version__ < '1.6'


@pytest.mark.parametrize('script, message', [
    ('echo no such file >&2; exit 2', 'exit status 2: no such file'),
    ('kill -9 $$', 'ended by signal 9'), ('exit 0', 'exit status 0: ')])
def test_a_probe_that_fails(script, message, tmp_path):
    (tmp_path / 'python').write_text(f'#!/bin/sh\n{script}\n')
    (tmp_path / 'python').chmod(0o755)
    python = Interpreter(OWN, str(tmp_path / 'python'))
    assert run_module.probe(python, plan.NEWEST).error == message


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


def test_sources_that_python_3_7_lacks(tmp_path, monkeypatch):
    """What vermin says is passed on, and its absence is no approval."""
    (tmp_path / 'vermin.py').write_text(textwrap.dedent('''
        import sys
        def main():
            print('walrus in', sys.argv[-1])
            sys.exit(1)
        '''))
    monkeypatch.setattr(run_module, 'tools_folder', lambda python: tmp_path)
    assert run_module.check_sources() == ['walrus in caffe_layers']
    monkeypatch.setattr(run_module, 'tools_folder', lambda python: tmp_path / 'empty')
    assert 'vermin' in run_module.check_sources()[-1]


# --- what is a finding ----------------------------------------------------------------------------

def test_as_promised_there_is_no_finding():
    assert report.findings(record()) == []


BAD = {
    'a test fails': (dict(passed=1199, failed=['tests.test_gluon::test_x']),
                     f'MXNet 1.6.0, Python {OWN}, gluon tests: 1 of 1200 tests fail'),
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


def test_core_tests_and_sources_count_too():
    core = result(plan.NEWEST, kind='core', passed=3, failed=['tests.test_loss::test_x'])
    assert 'core tests: 1 of 4 tests fail' in report.findings(record(core))[0]
    assert report.findings(record(static=['walrus'])) == ['Python 3.7 lacks: walrus']


def test_a_release_that_is_not_supported_promises_nothing():
    bad = result(release('1.3.1'), passed=0, failed=['tests.test_gluon::test_x'])
    assert report.findings(record(bad)) == []


def of_one_file(python, **changes):
    return Result(python, plan.NEWEST.version, 'bundle', Facts('', numpy='1.16.6'), 947,
                  seconds=1.0)._replace(**changes)


def test_the_one_file_on_a_python():
    assert report.findings(record(of_one_file('2.7'))) == []
    bad = record(of_one_file('2.7', passed=946, failed=['loss defaults: error 1']))
    assert report.findings(bad) == ['the one file, Python 2.7: 1 of 947 rows fail']
    assert report.findings(record(of_one_file('2.7', passed=0))) == [
        'the one file, Python 2.7: no row was run']
    assert '| 2.7 | 1.16.6 | 947 rows pass |' in report.table(record(of_one_file('2.7')))
    assert 'NumPy 1.16.6' not in report.page(record(of_one_file('2.7')))


# --- tables ---------------------------------------------------------------------------------------

def test_table():
    bad = result(release('1.3.1'), passed=10, failed=['tests.test_gluon::test_x[1]',
                                                      'tests.test_gluon::test_x[2]'])
    dead = [result(release('2.0.0b1'), python, passed=0, facts=Facts('ImportError: none'))
            for python in (OWN, OTHER)]
    lines = report.table(record(bad, *dead)).split('\n')
    heads = {OWN: f'Python {OWN} (`.runtime/`)', OTHER: f'Python {OTHER}'}
    order = sorted(heads, key=plan.PYTHONS.index)
    assert lines[0] == row(['MXNet', *(heads[each] for each in order), 'kernels', 'what it lacks'])
    rows = {line.split(' | ')[0][2:]: line.split(' | ')[1:] for line in lines[2:10]}
    assert rows['1.3.1, not supported'][:3] == [
        '2 of 12 tests fail' if each == OWN else '1200 tests pass' for each in order] + ['no']
    assert rows['1.9.1'] == ['1200 tests pass', '1200 tests pass', 'yes', 'nothing |']
    assert rows['1.5.1'][2:] == ["no", "contrib.arange_like (since 1.6): another; external "
                                 "operators (as of 1.9): MXNet's own serve in place of the "
                                 "kernels |"]
    assert rows['2.0.0b1, not supported'] == ['does not import', 'does not import', 'no',
                                              'ImportError: none |']
    assert '| 3.7 | not on this machine; vermin finds nothing that it lacks | not on this ' \
        'machine |' in lines
    assert f'| {OTHER} | 1200 tests pass | 1200 tests pass |' in lines
    page = report.page(record(bad))
    assert f'On MXNet 1.3.1 and Python {OWN} 2 of 12 tests fail:\n\n' \
        '- `test_gluon::test_x`, 2 times' in page
    assert '- `tests/test_caffe.py` needs Caffe' in page
    assert f'NumPy 1.23.5 on Python {OWN}, {OTHER}.' in page


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
        assert text.startswith(f'before\n{report.BEGIN}\n| MXNet |') and 'old' not in text
        assert text.endswith(f'{report.END}\nafter\n')
    first = [path.read_text() for path in paths]
    report.write(*paths, record())
    assert [path.read_text() for path in paths] == first


def test_the_page_of_the_project_has_the_markers():
    text = (plan.ROOT / 'docs' / 'versions.md').read_text(encoding='utf-8')
    assert text.count(report.BEGIN) == text.count(report.END) == 1


def test_the_pages_are_about_all_releases(tmp_path):
    few = record()
    few = few._replace(results=[each for each in few.results if each.release != '1.6.0'])
    with pytest.raises(ValueError, match='1.6.0 was not run; leave out --only'):
        report.write(*pages(tmp_path), few)


# --- the command ----------------------------------------------------------------------------------

def saved(folder, record):
    path = folder / 'found.json'
    path.write_text(json.dumps(record.to_json()))
    return str(path)


def test_status_0_and_a_record_that_is_read_as_it_was(tmp_path, capsys):
    copy = tmp_path / 'copy.json'
    assert main(['--load', saved(tmp_path, record()), '--json', str(copy)]) == 0
    assert Record.from_json(json.loads(copy.read_text())) == record()
    assert capsys.readouterr().out.startswith('| MXNet |')


def test_status_1_for_a_finding(tmp_path, capsys):
    assert main(['--load', saved(tmp_path, record(result(release('1.6.0'), passed=0)))]) == 1
    assert f'FINDING  MXNet 1.6.0, Python {OWN}, gluon tests: no test was run' \
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


def test_status_2_for_a_release_that_is_not_known(capsys):
    assert main(['--only', '1.6.0', '1.2']) == 2
    assert capsys.readouterr().err == ('version_matrix: --only takes 1.3.1, 1.4.1, 1.5.1, 1.6.0, '
                                       '1.7.0, 1.8.0, 1.9.1, 2.0.0b1, bundle; got 1.2\n')


def test_status_2_where_pip_fails(tmp_path, monkeypatch, capsys):
    def no_pip(python, folder, what):
        raise CannotRun('pip could not install it')
    monkeypatch.setattr(install, '_install', no_pip)
    monkeypatch.setattr(plan, 'find_pythons', lambda: [plan.own_python()])
    assert main(['--only', '1.6.0']) == 2
    assert capsys.readouterr().err.endswith('version_matrix: pip could not install it\n')


def test_a_release_has_a_row_of_its_own():
    assert len({each.version for each in RELEASES}) == len(RELEASES)
    assert Release('1.0', '1.0').supported and not Release('1.0', '1.0').operator
