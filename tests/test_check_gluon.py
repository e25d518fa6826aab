"""The checker of Gluon losses is checked: by a zoo of right and wrong ones, and by Gluon's own."""
import ctypes
import functools
import inspect
import json
import os
import re
import subprocess
import sys
import time
from typing import Any, Dict, NamedTuple
from unittest import mock

import mxnet as mx
import pytest
import zoo_gluon as zoo
from mxnet import gluon
from mxnet.gluon import loss as gluon_loss
from processes import HANG, processor_time, surroundings

from gluon_dice import SoftDiceLoss
from gluon_dice.__main__ import main
from gluon_dice.checker.child import Child
from gluon_dice.checker.subject import GluonLoss
from gluon_dice.checker.target import read
from gluon_dice.gradcheck import assert_loss, check_loss
from soft_dice.arrays import CannotRun
from soft_dice.checker.asked import Asked
from soft_dice.checker.findings import CAFFE_KEYS
from soft_dice.checker.subject import Died, Refused

DENSE, INDEX, PROBABILITIES = zoo.SHAPES, zoo.INDEX, zoo.PROBABILITIES
BINARY = {**DENSE, 'label_kind': 'binary'}
SIGNED = {**DENSE, 'label_kind': 'signed'}


class Case(NamedTuple):
    """What to check, and the verdicts that must be found: those that are not good."""

    loss: Any
    expected: Dict[str, str]
    arguments: Dict[str, Any]
    environment: Dict[str, str] = {}


# Gluon's own losses of a prediction and its label, each with input and labels that suit it.
GLUON = [
    ('L1Loss', {}, PROBABILITIES),
    ('L2Loss', {}, PROBABILITIES),
    ('SigmoidBinaryCrossEntropyLoss', {}, BINARY),
    ('SigmoidBinaryCrossEntropyLoss', {'from_sigmoid': True}, {**BINARY, 'input': 'sigmoid'}),
    ('SoftmaxCrossEntropyLoss', {'axis': 1}, INDEX),
    ('SoftmaxCrossEntropyLoss', {'axis': 1, 'sparse_label': False}, DENSE),
    ('KLDivLoss', {'from_logits': False, 'axis': 1}, DENSE),
    ('HuberLoss', {'rho': 0.3}, PROBABILITIES),
    ('HingeLoss', {}, SIGNED),
    ('SquaredHingeLoss', {}, SIGNED),
    ('LogisticLoss', {}, SIGNED),
    ('LogisticLoss', {'label_format': 'binary'}, BINARY),
    ('PoissonNLLLoss', {}, DENSE),
    ('PoissonNLLLoss', {'compute_full': True}, DENSE),
]
# Losses of sequences, of pairs, of embeddings.
OTHER = {'Loss', 'CTCLoss', 'TripletLoss', 'CosineEmbeddingLoss', 'SDMLLoss'}
# What is so, and a user should know; all else of these is right.
TRUE = {'KLDivLoss(from_logits,axis)': {'shapes': 'broadcast'},
        'PoissonNLLLoss()': {'batch': 'not (N,)'},
        'PoissonNLLLoss(compute_full)': {'gradient': 'error'}}

OURS = [('0', {}, INDEX), ('1', {}, INDEX), ('1', {'batch_dice': True, 'weight': 2.0}, INDEX),
        ('1', {'overlap': 'l1', 'sparse_label': False, 'form': 'log'}, DENSE)]


def all_cases():
    # A seed for each right loss, another for each; ZOO_SEEDS=20 gives 20 to each.
    each = int(os.environ.get('ZOO_SEEDS', 0))
    for number, (name, animal) in enumerate(zoo.RIGHT.items()):
        for seed in range(each) if each else [number]:
            yield f'right: {name}, {seed}', Case(animal.loss, {}, {**animal.takes, 'seed': seed})
    for name, animal in zoo.WRONG.items():
        limit = 1.0 if name.startswith('hangs') else HANG
        yield f'wrong: {name}', Case(animal.loss, animal.defects, {**animal.takes, 'limit': limit})
    for name, kwargs, takes in GLUON:
        called = f'{name}({",".join(kwargs)})'
        yield called, Case(getattr(gluon_loss, name), TRUE.get(called, {}),
                           {**takes, 'kwargs': kwargs})
    for native, kwargs, takes in OURS:
        yield (f'ours({",".join(kwargs)}), native {native}',
               Case(SoftDiceLoss, {}, {**takes, 'kwargs': kwargs}, {'SOFT_DICE_NATIVE': native}))


CASES = dict(all_cases())


@functools.lru_cache(maxsize=None)
def judged(name):
    case = CASES[name]
    with mock.patch.dict(os.environ, case.environment):
        return check_loss(case.loss, **case.arguments)


@pytest.mark.parametrize('name', list(CASES))
def test_every_defect_is_found_and_no_other(name):
    bad = {key: each for key, each in judged(name).items() if not each.good}
    print(bad)
    assert {key: each.verdict for key, each in bad.items()} == CASES[name].expected


def test_none_of_gluon_s_losses_was_left_out():
    named = {each.__name__ for each in vars(gluon_loss).values()
             if inspect.isclass(each) and issubclass(each, gluon_loss.Loss)}
    assert named - OTHER == {name for name, *_ in GLUON}  # MXNet 1.5 has not all of OTHER


def test_what_is_said_of_gluon_s_own_is_true():
    two, one = mx.nd.zeros((2, 3)), mx.nd.ones((1, 3))
    assert gluon_loss.KLDivLoss()(two, one).shape == (2,)  # one label for two samples
    assert gluon_loss.PoissonNLLLoss()(two, two).shape == (1,)
    two.attach_grad()
    with mx.autograd.record(), pytest.raises(mx.base.MXNetError, match='inplace operations'):
        gluon_loss.PoissonNLLLoss(compute_full=True)(two, two)


# ---- findings ----

def test_keys_are_those_of_the_issue():
    findings = judged('right: function of arrays, 15')
    assert list(findings) == list(CAFFE_KEYS) + ['hybridize', 'weight', 'head_gradient']
    assert {findings[key].verdict for key in ('loss_weight', 'force_backward', 'hybridize',
                                              'weight')} == {'not applicable'}
    json.dumps({key: finding.value for key, finding in findings.items()})


def test_values_are_the_numbers_behind_the_verdicts():
    findings = judged('right: cross-entropy, 5')
    assert findings['batch'].value['output_shape'] == [2]
    assert findings['weight'].value['loss'] == pytest.approx(3)
    assert findings['weight'].value['gradient'] == pytest.approx(3)
    assert [findings['head_gradient'].value[key] for key in ('3', '-1', '1')] == \
        pytest.approx([3, -1, 1])
    assert max(findings['hybridize'].value.values()) < 1e-5


def test_messages_name_the_error_and_the_place():
    message = judged('wrong: needs .shape')['hybridize'].message
    assert 'the first call' in message and "'Symbol' object has no attribute 'shape'" in message
    assert 'ValueError: shapes of gradient and prediction do not match' in \
        judged('wrong: raises')['gradient'].message


def test_what_was_hybridized_stays_as_it_was():
    loss = zoo.Euclidean()
    loss.hybridize()
    assert_loss(loss, **DENSE)
    assert loss._active and loss._weight is None


def test_plain_block_around_hybrid_ones_is_hybridized_too():
    class Around(gluon.Block):
        def __init__(self):
            super().__init__()
            self.loss = zoo.NeedsShape()

        def forward(self, pred, label):
            return self.loss(pred, label)

    assert check_loss(Around, **DENSE)['hybridize'].verdict == 'raises'


# ---- how the loss is read ----

@pytest.mark.parametrize('given, assumed', [
    (zoo.Dice, 'a new gluon Loss'),
    (zoo.Dice(), 'a gluon Loss, taken as it is'),
    (zoo.OwnLoss, 'a new gluon HybridBlock'),
    (zoo.PlainBlock, 'a new gluon Block'),
    (zoo.function_of_F, 'a function of (F, pred, label), its first argument being F'),
    (zoo.function_of_arrays, 'a function of the arrays (pred, label)'),
    (zoo.Dice().score, 'a function of (F, pred, label), its first argument being F'),
])
def test_what_was_assumed_is_said(given, assumed):
    assert read(given).assumed == assumed


@pytest.mark.parametrize('error, message, given, keywords', [
    (TypeError, 'must be a gluon Block, a class of one, or a function', 3, {}),
    (TypeError, 'cannot be called', object, {}),
    (ValueError, "unknown option 'smoth'", SoftDiceLoss, {'kwargs': {'smoth': 1}}),
    (ValueError, 'kwargs are for a class', zoo.Dice(), {'kwargs': {'weight': 1}}),
    (ValueError, "input must be one of softmax, sigmoid, raw; got 'logits'", zoo.Dice,
     {'input': 'logits'}),
    (ValueError, 'label_kind must be one of', zoo.Dice, {'label_kind': 'dense'}),
    (ValueError, 'must have the shape', zoo.Dice, {'label': (2, 2, 9, 8)}),
    (ValueError, 'at least the axes .N, C., .* got .2,.', zoo.Dice, {'pred': (2,)}),
])
def test_mistakes_of_the_caller_raise(error, message, given, keywords):
    with pytest.raises(error, match=message):
        check_loss(given, **{**DENSE, **keywords})


def test_float64_unless_something_rounds():
    example, _ = Asked(**DENSE).read()
    for loss, dtype in ((zoo.Dice, 'float64'), (zoo.Margin, 'float64'), (zoo.Squared, 'float64'),
                        (zoo.Float32Inside, 'float32'), (zoo.Float64Refused, 'float32'),
                        (zoo.RoundsInTheMiddle, 'float32')):
        with GluonLoss(read(loss), example) as subject:
            assert subject.dtype == dtype, loss


# ---- one line of a test ----

def test_assert_loss():
    with pytest.raises(AssertionError, match='(?s)NeedsShape has defects: hybridize.*raises'):
        assert_loss(zoo.NeedsShape, **DENSE)
    assert_loss(zoo.NeedsShape, **DENSE, allow=['hybridize'])
    with pytest.raises(ValueError, match="allow takes gradient.*got hybridise"):
        assert_loss(zoo.Dice, **DENSE, allow=['hybridise'])


# ---- the child process ----

class Tool:
    """What may go wrong in a child."""

    def __init__(self):
        self.calls = 0

    def count(self):
        self.calls += 1
        return self.calls

    def end(self):
        os._exit(7)

    def abort(self):
        os.abort()

    def read_nothing(self):
        ctypes.string_at(0)

    def mismatch(self):
        mx.nd.elemwise_add(mx.nd.zeros((2, 3)), mx.nd.zeros((4,))).wait_to_read()

    def hang(self):
        time.sleep(3600)

    def fail(self):
        raise KeyError('no such thing')


def test_child_survives_errors_and_is_replaced_after_its_death():
    with Child(Tool(), limit=HANG) as child:
        assert [child.call('count'), child.call('count')] == [1, 2]
        with pytest.raises(Refused, match="KeyError: 'no such thing'"):
            child.call('fail')
        with pytest.raises(Refused, match=r'^MXNetError: Incompatible attr in node +at 1-th input: '
                                          r'expected \[2,3\], got \[4\]$'):
            child.call('mismatch')
        assert child.call('count') == 3
        with pytest.raises(Died, match='exit status 7'):
            child.call('end')
        with pytest.raises(Died, match='SIGABRT'):
            child.call('abort')
        with pytest.raises(Died, match='SIGSEGV'):
            child.call('read_nothing')
        child.limit = 0.5
        with pytest.raises(Died, match='no answer within 0.5 seconds'):
            child.call('hang')
        child.limit = HANG
        assert child.call('count') == 1


# ---- layouts ----

def test_a_loss_with_the_foreground_first_is_not_judged_as_a_score():
    findings = check_loss(zoo.ForegroundFirst, **INDEX)
    assert findings['direction'].verdict == findings['classes'].verdict == 'undecided'
    assert 'Say so with --background -1' in findings['direction'].message
    assert all(finding.good for finding in findings.values())


# ---- slow losses ----

def test_a_slow_loss_does_not_hang():
    example, _ = Asked(**DENSE).read()
    with GluonLoss(read(zoo.Slow), example, patience=0.05) as subject:
        for seed in range(3):
            assert subject.value(*example.arrays(seed)).shape == (2,)


def test_the_seconds_of_a_check_are_kept():
    started = time.monotonic()
    with pytest.raises(CannotRun, match='gave no answer within 1 seconds: it hangs .* or is slow'):
        check_loss(zoo.Hangs, **DENSE, seconds=1)
    with pytest.raises(CannotRun, match='2 seconds were over before the gradient'):
        check_loss(zoo.Slow, **DENSE, seconds=2)
    assert time.monotonic() - started > 2


@pytest.mark.slow
def test_the_command_says_what_it_left_out(capsys):
    status = main(['check', 'zoo_gluon:Slow', '--pred', '2,4,9,8', '--label', '2,4,9,8',
                   '--seconds', '6'])
    said = capsys.readouterr()
    if status == 2:  # on a machine that is slow itself
        assert '6 seconds were over before the gradient could be judged' in said.err
    else:
        assert status == 0 and 'Left out for want of time: ' in said.out


def test_an_autograd_function_is_made_anew_for_each_call():
    kwargs = {'too_large': 1.0}
    takes = {**PROBABILITIES, 'kwargs': kwargs}
    assert {each.verdict for each in check_loss(zoo.SquareFunction, **takes).values()
            if not each.good} == set()
    kwargs['too_large'] = 0.5
    assert check_loss(zoo.SquareFunction, **takes)['gradient'].verdict == 'wrong'
    assert 'a new one for each call' in read(zoo.SquareFunction, kwargs).assumed


# ---- what an error says ----

def wordy(pred, label):
    raise mx.base.MXNetError('Traceback (most recent call last):\n  File "../src/x.cc", line 7\n'
                             'MXNetError: \nthe operator\nfailed for [2,3]\n')


def wants_one_shape(pred, label):
    return mx.nd.where(label[0], pred, pred)


class RaisesBackward(zoo.SquareFunction):

    def __init__(self):
        super().__init__(1.0)

    def backward(self, head):
        return head * no_such_name  # noqa: F821


def no_message(pred, label):
    return mx.nd.transpose(pred, axes=(0, 1))


@pytest.mark.parametrize('loss, says', [
    (wordy, 'MXNetError: the operator failed for [2,3].'),
    (wants_one_shape, 'inferring shapes failed. input shapes: [4,9,8] [2,4,9,8] [2,4,9,8] output'),
    (RaisesBackward, "NameError: name 'no_such_name' is not defined."),
    (zoo.by_hand('raises'), 'ValueError: shapes of gradient and prediction do not match.'),
    (no_message, '== param.axes.ndim() (4 vs. 2).')])
def test_an_error_of_several_lines_is_told_in_one(loss, says):
    finding = check_loss(loss, **DENSE)['gradient']
    assert finding.verdict == 'error' and says in finding.message


# ---- the command ----

COMMAND = ['check', 'zoo_gluon:Euclidean', '--pred', '2,4,9,8', '--label', '2,4,9,8']


def test_command_says_that_all_is_good(capsys):
    assert main(COMMAND) == 0
    shown = capsys.readouterr().out
    assert 'zoo_gluon:Euclidean()' in shown and 'head_gradient' in shown


def test_command_finds_a_defect_and_writes_everything(tmp_path, capsys):
    files = {name: tmp_path / name for name in ('found.json', 'picture.png', 'page.html')}
    status = main(['check', 'zoo_gluon:WeightSwapped', '--pred', '2,4,9,8', '--label', '2,9,8',
                   '--kwargs', '{"batch_axis": 0}', '--seed', '1', '--json',
                   str(files['found.json']), '--plot', str(files['picture.png']), '--html',
                   str(files['page.html'])])
    assert status == 1
    found = json.loads(files['found.json'].read_text())
    assert list(found) == list(CAFFE_KEYS) + ['hybridize', 'weight', 'head_gradient']
    assert found['weight']['verdict'] == 'wrong' and set(found['weight']) == {'verdict', 'value',
                                                                              'message'}
    assert files['picture.png'].read_bytes()[:4] == b'\x89PNG'
    page = files['page.html'].read_text()
    assert 'data:image/png;base64,' in page and 'a new gluon Loss' in page


@pytest.mark.parametrize('arguments, message', [
    (['check', 'nowhere:Loss', *COMMAND[2:]], 'nowhere cannot be imported'),
    (['check', 'zoo_gluon', *COMMAND[2:]], 'write module:Class'),
    (['check', 'zoo_gluon:Euclid', *COMMAND[2:]], 'has no Euclid; did you mean Euclidean'),
    (['check', 'zoo_gluon:SHAPES', *COMMAND[2:]], 'must be a gluon Block'),
    ([*COMMAND, '--kwargs', '{"wait": 3}'], "cannot be made: TypeError"),
    ([*COMMAND[:4], '--label', '3,4,9,8'],
     r'must have the shape \(2, 9, 8\) or \(2, 1, 9, 8\); got \(3, 4, 9, 8\)'),
])
def test_command_says_in_one_sentence_why_it_cannot_run(arguments, message, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == '' and said.err.count('\n') == 1
    assert re.search(message, said.err)


@pytest.mark.parametrize('option', [['--pred', '2,x'], ['--kwargs', '{'], ['--kwargs', '[1]'],
                                    ['--input', 'logits'], ['--seconds', '0'],
                                    ['--seconds', 'long'],
                                    ['--background', 'first'], ['--axis', 'last']])
def test_command_refuses_bad_options(option, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*COMMAND, *option])
    assert stopped.value.code == 2 and option[0] in capsys.readouterr().err


def test_command_as_a_user_runs_it_is_quick(tmp_path):
    """A module in the current folder, at the size of the issue; JSON on standard output."""
    (tmp_path / 'mine.py').write_text(
        'print("hello")\n'
        'def loss(F, pred, label):\n'
        '    return F.mean(F.square(F.elemwise_sub(pred, label)), axis=0, exclude=True)\n')
    before = processor_time()
    done = subprocess.run([sys.executable, '-m', 'gluon_dice', 'check', 'mine:loss', '--pred',
                           '2,4,32,32', '--label', '2,4,32,32', '--json', '-'],
                          cwd=str(tmp_path), stdout=subprocess.PIPE, universal_newlines=True,
                          env=surroundings(OMP_NUM_THREADS='1'))
    assert done.returncode == 0
    assert json.loads(done.stdout)['gradient']['verdict'] == 'correct'
    assert processor_time() - before < 30
