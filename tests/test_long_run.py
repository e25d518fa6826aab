"""The long run, shortened, and that it can fail."""
import json

import long_run
import numpy as np
import pytest
from long_run import DICE, Mark, Plan, Subject, finding, growth, run

from soft_dice.arrays import CannotRun

pytestmark = pytest.mark.slow

SHORT = Plan(steps=60, shapes=6, every=2)


@pytest.mark.parametrize('name', list(long_run.SUBJECTS))
def test_every_subject_is_flat_and_right(name, monkeypatch):
    monkeypatch.setenv('SOFT_DICE_NATIVE', '1')  # that it is set back: a run sets it
    plan = Plan(steps=200, shapes=20)
    marks = run(name, long_run.SUBJECTS[name], plan, lambda *_: None)
    assert finding(name, marks, plan) is None
    assert [mark.step for mark in marks] == [*range(20, 201, 20)]
    assert all(0 < mark.gradient for mark in marks)  # it was compared


def test_command(tmp_path, capfd):
    figures = tmp_path / 'figures.json'
    arguments = ['--steps', '100', '--shapes', '10', '--only', 'gluon imperative',
                 '--json', str(figures)]
    assert long_run.main(arguments) == 0, capfd.readouterr().out
    found = json.loads(figures.read_text())
    assert found['plan']['steps'] == 100
    subject = found['subjects']['gluon imperative']
    assert subject['finding'] is None and subject['growth'] <= found['plan']['memory']
    assert [mark['step'] for mark in subject['marks']] == [*range(10, 101, 10)]
    assert capfd.readouterr().out.count(' step ') == 11  # with that of the verdict
    assert long_run.main([*arguments, '--memory', '-1000']) == 1
    assert 'gluon imperative: memory grew by' in capfd.readouterr().out


def test_a_process_that_ends_is_named(capfd):
    with pytest.raises(CannotRun, match='^nobody ended with exit status 1$'):
        long_run.run_alone('nobody', SHORT)
    assert "KeyError: 'nobody'" in capfd.readouterr().err


def run_wrong(monkeypatch, wrong):
    """What is found of a step of the imperative loss that ``wrong`` has changed."""
    monkeypatch.setenv('SOFT_DICE_NATIVE', '1')
    right = long_run.SUBJECTS['gluon imperative'].make
    numbers = iter(range(SHORT.steps))

    def make(options):
        step = right(options)
        return lambda arrays: wrong(next(numbers), *step(arrays))

    return finding('it', run('it', Subject(make, DICE, '1'), SHORT, lambda *_: None), SHORT)


def test_a_leak_is_found(monkeypatch):
    kept = []

    def wrong(number, loss, gradient):
        kept.append(np.ones(1 << 16))  # half a MB
        return loss, gradient

    assert 'memory grew by 2' in run_wrong(monkeypatch, wrong)


@pytest.mark.parametrize('what, factors', [('gradient', (1, 1.0001)), ('loss', (1.00001, 1)),
                                           ('gradient', (1, np.nan)), ('gradient', (1, 0))])
def test_drift_is_found(what, factors, monkeypatch):
    def wrong(number, loss, gradient):
        late = number > 50
        return (loss * (factors[0] if late else 1), gradient * (factors[1] if late else 1))

    assert f'the {what} differs from the reference' in run_wrong(monkeypatch, wrong)


def test_a_right_step_is_right(monkeypatch):
    assert run_wrong(monkeypatch, lambda number, *found: found) is None


def test_growth_is_to_the_highest_after_the_first_mark():
    assert growth([Mark(i, memory, 0, 0, 0) for i, memory in enumerate([100, 104, 99])]) == 4


@pytest.mark.parametrize('arguments', [['--steps', '0'], ['--steps', '105'], ['--only', 'torch'],
                                       ['--steps', '100', '--shapes', '11'], ['--shapes', '-1']])
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        long_run.main(arguments)
    assert stopped.value.code == 2
    assert 'Traceback' not in capsys.readouterr().err


def test_without_kernels_it_cannot_run(monkeypatch, capsys):
    monkeypatch.setattr(long_run.operator, 'unavailable', lambda: 'no compiler')
    assert long_run.main(['--steps', '1000']) == 2
    assert capsys.readouterr().err == 'long_run: there are no kernels to compare: no compiler\n'
