"""The checker is checked: right losses are found right, and of a defect that one is found alone."""
import argparse
import io
import json
import os
import pty
import re
import subprocess
import sys

import numpy as np
import pytest
import zoo_numpy as zoo
from zoo_numpy import BROKEN, RIGHT, Animal

from soft_dice import soft_dice_loss_vjp
from soft_dice.arrays import CannotRun
from soft_dice.checker import activation, checks, command, report
from soft_dice.checker.checks import KEYS, check, evidence
from soft_dice.checker.findings import Finding
from soft_dice.checker.subject import Example
from soft_dice.checker.trial import begin
from soft_dice.checker.watch import OutOfTime, Watch
from soft_dice.gradcheck import assert_loss, check_loss

DTYPES = ['float32', 'float64']
# What a right loss does with batch and classes, where that is not 'separate'.
POOLED_BATCH = {'batch Dice', 'soft_dice batch', 'pooled batch and classes'}
POOLED_CLASSES = {'pooled Dice', 'pooled batch and classes', 'soft_dice pooled', 'cross-entropy',
                  'cross-entropy of probabilities', 'Euclidean', 'Euclidean of raw numbers',
                  'absolute', 'hinge'}


def defects(findings):
    return {key: finding.verdict for key, finding in findings.items() if not finding.good}


# The zoo ------------------------------------------------------------------------------------------

@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('name', RIGHT)
def test_a_right_loss_is_found_right(name, dtype):
    loss = RIGHT[name]
    for seed in range(int(os.environ.get('ZOO_SEEDS', 2))):
        findings = check(Animal(loss, dtype), loss.example, seed)
        assert defects(findings) == {}, (seed, findings)
        assert findings['gradient'].verdict == findings['direction'].verdict == 'correct'
        assert findings['relative_error'].verdict == 'correct'
        assert findings['loss_weight'].verdict == 'honoured'
        assert findings['empty'].verdict == 'finite' and findings['shapes'].verdict == 'works'
        assert findings['batch'].verdict == ('pooled' if name in POOLED_BATCH else 'separate')
        assert findings['classes'].verdict == ('pooled' if name in POOLED_CLASSES else 'separate')


@pytest.mark.parametrize('options, classes', [
    (dict(pool_classes=True, gamma=2.0), 'pooled'), (dict(gamma=2.0), 'separate'),
    (dict(pool_classes=True, class_weights='inverse_square'), 'separate'),
    (dict(exponent=2.0, smooth=1.0), 'separate'), (dict(include_background=False), 'separate'),
    (dict(form='log'), 'separate'), (dict(alpha=0.3, beta=0.7), 'separate'),
    (dict(class_weights=[1, 1, 5], weight_normalization='weights'), 'separate')],
    ids=str)
def test_options_of_soft_dice_are_found_right(options, classes):
    findings = check(Animal(zoo.SoftDice(**options)), zoo.RAW)
    assert defects(findings) == {} and findings['gradient'].verdict == 'correct'
    assert findings['classes'].verdict == classes


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('name', BROKEN)
def test_a_defect_is_found_and_nothing_else(name, dtype):
    make, expected = BROKEN[name]
    for seed in range(2):
        subject = make(dtype)
        findings = check(subject, subject.loss.example, seed)
        assert tuple(findings) == KEYS
        assert defects(findings) == expected, (seed, findings)
        for finding in findings.values():
            assert finding.message.endswith('.') and 'None' not in finding.message


def test_every_defect_is_in_the_zoo():
    """A broken loss that is written and not listed would not be tested."""
    written = {each for each in vars(zoo).values() if isinstance(each, type)
               and issubclass(each, Animal) and each is not Animal}
    assert written == {type(make('float64')) for make, _ in BROKEN.values()} - {Animal}


@pytest.mark.parametrize('name, seed', [
    ('slow running mean', 18),  # two random losses of nearly the same size moved it by little
    ('stale buffer, hinge', 8),  # of which the margin is met at the only pixel of a class
    ('first label remembered', 3)])  # in which a class that is looked at has no pixel
@pytest.mark.parametrize('dtype', DTYPES)
def test_inputs_at_which_a_defect_was_taken_for_another(name, seed, dtype):
    make, expected = BROKEN[name]
    subject = make(dtype)
    assert defects(check(subject, subject.loss.example, seed)) == expected


@pytest.mark.parametrize('name', ['one pixel wrong', '1 % too large', 'zero gradient',
                                  'sign flipped'])
@pytest.mark.parametrize('size', [4, 32])
def test_a_wrong_gradient_is_found_at_any_size(name, size):
    subject = BROKEN[name][0]('float32')
    subject.where = (0, 1, 9)
    example = Example((2, 4, size, size), (2, size, size), input='softmax')
    assert defects(check(subject, example))['gradient'] == 'wrong'


def finding_of(name, key='gradient', dtype='float64', seed=0):
    subject = BROKEN[name][0](dtype)
    return check(subject, subject.loss.example, seed)[key]


# The numbers behind the verdicts ------------------------------------------------------------------

@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('name, error, times, cosine', [
    ('factor 2', 0.5, 2, 1), ('1 % too large', 0.01 / 1.01, 1.01, 1), ('sign flipped', 2, -1, -1)])
def test_how_wrong(name, error, times, cosine, dtype):
    value = finding_of(name, dtype=dtype).value
    assert value['relative_error'] == pytest.approx(error, rel=0.02)
    assert value['times_too_large'] == pytest.approx(times, rel=0.001)
    assert value['cosine'] == pytest.approx(cosine, abs=1e-4)
    assert value['error_bar'] < 0.001
    assert value['analytic'] == pytest.approx(times * value['numeric'], rel=0.01)
    assert finding_of(name, 'relative_error', dtype).value == value['relative_error']


@pytest.mark.parametrize('dtype', DTYPES)
def test_the_wrong_pixel_is_named(dtype):
    for seed in range(5):
        finding = finding_of('one pixel wrong', dtype=dtype, seed=seed)
        assert finding.value['worst'] == [0, 1, 3, 2]  # pixel 26 of 8 x 8
        assert finding.value['analytic'] == pytest.approx(
            -finding.value['numeric'], rel=0.3 if dtype == 'float32' else 1e-5)
        assert '(0, 1, 3, 2)' in finding.message


def test_a_right_gradient_is_shown_where_it_is_largest():
    """In a softmax prediction that is with respect to moves that keep it between 0 and 1."""
    loss = RIGHT['linear Dice']
    trial = begin(Animal(loss), loss.example, 0)
    largest = np.abs(trial.gradient * np.minimum(np.minimum(trial.pred, 1 - trial.pred), 0.1))
    value = check(Animal(loss), loss.example, 0)['gradient'].value
    assert tuple(value['worst']) == np.unravel_index(largest.argmax(), largest.shape)
    assert value['analytic'] == pytest.approx(value['numeric'], rel=1e-6)


def test_zero_gradient_says_so():
    finding = finding_of('zero gradient')
    assert finding.value['analytic'] == 0 and finding.value['numeric'] != 0
    assert finding.value['relative_error'] == 1 and 'gives 0 everywhere' in finding.message


@pytest.mark.parametrize('name, three, minus', [
    ('upstream ignored', 1, 1), ('upstream squared', 9, 1), ('upstream absolute', 3, 1),
    ('upstream added', 2, 0), ('small class dropped', 3, -1)])
def test_ratios_of_upstream(name, three, minus):
    value = finding_of(name, 'loss_weight').value
    assert value == pytest.approx({'3': three, '-1': minus, '1': 1})


@pytest.mark.parametrize('name, given, expected, applies', [
    ('softmax twice', 'softmax', 'raw', 'softmax'), ('sigmoid twice', 'sigmoid', 'raw', 'sigmoid'),
    ('softmax of a sigmoid', 'sigmoid', 'raw', 'softmax'),
    ('Dice of logits', 'raw', 'softmax', ''), ('binary Dice of logits', 'raw', 'sigmoid', ''),
    ('softmax over samples', 'raw', 'raw', 'softmax over samples')])
def test_what_is_given_and_what_is_expected(name, given, expected, applies):
    value = finding_of(name, 'activation').value
    assert (value['given'], value['expected'], value['applies']) == (given, expected, applies)


def test_the_range_that_logits_leave():
    finding = finding_of('Dice of logits', 'activation')
    low, high = finding.value['probabilities']
    assert 0 < low < high < 1
    low, high = finding.value['raw']
    assert (low < 0 or high > 1) and f'between {low:.3g} and {high:.3g}' in finding.message
    assert finding.message.startswith("input='raw' gives raw scores")


@pytest.mark.parametrize('name, why', [
    ('Euclidean of raw numbers', 'takes numbers as they are'), ('hinge', 'takes numbers'),
    ('cross-entropy', 'expects logits, to which it applies a softmax'),
    ('linear Dice', 'expects probabilities')])
def test_what_fits(name, why):
    finding = check(Animal(RIGHT[name]), RIGHT[name].example)['activation']
    assert finding.good and why in finding.message


@pytest.mark.parametrize('loss', [
    lambda p, g: -(p * g).sum((1, 2, 3)),                            # of log-probabilities
    lambda p, g: 1 - (p * g).sum((1, 2, 3)) / np.sqrt((p * p).sum((1, 2, 3))),  # of any scale
    lambda p, g: (np.exp(p) - p * g).sum((1, 2, 3)),                 # Poisson
    lambda p, g: np.log(np.cosh(np.clip(p - g, -50, 50))).sum((1, 2, 3)),
    lambda p, g: 0 * p.sum((1, 2, 3))])
@pytest.mark.parametrize('input', ['raw', 'softmax'])
def test_losses_of_which_nothing_can_be_said(loss, input):
    class Free(zoo.Euclidean):
        def each(self, pred, label):
            return loss(pred, label)
    example = zoo.ONEHOT.replace(input=input)
    for seed in range(5):
        assert activation.wants(Animal(Free()), example, seed).input is None


@pytest.mark.parametrize('temperature', [0.3, 4.0])
@pytest.mark.parametrize('input', ['raw', 'softmax'])
def test_a_sigmoid_of_another_temperature(temperature, input):
    class Warm(zoo.Dice):
        def each(self, pred, label):
            return super().each(1 / (1 + np.exp(-pred / temperature)), label)
    for seed in range(5):
        wanted = activation.wants(Animal(Warm()), zoo.RAW.replace(input=input), seed)
        assert (wanted.input, wanted.applies) == ('raw', 'sigmoid')


def test_an_empty_image_of_which_one_prediction_fails_and_others_teach_nothing():
    findings = check(Animal(zoo.NoSmoothAbove(example=zoo.BINARY, eps=0.0)), zoo.BINARY)
    assert findings['empty'].verdict == 'not finite'
    assert findings['empty'].message.endswith(
        'For other predictions the gradient is 0: what is found where nothing is, is never '
        'unlearnt.')
    assert 'the gradient is 0' not in finding_of('NaN on an empty image', 'empty').message


def test_every_class_that_gets_no_gradient_is_named():
    class NoMatter(Animal):
        def backward(self, pred, label, upstream, out):
            super().backward(pred, label, upstream, out)
            out[:, [2, 4]] = 0

    example = zoo.FIVE.replace(input='softmax')
    finding = check(NoMatter(zoo.Dice(example=example)), example)['classes']
    assert finding.message == 'The classes 2, 4 get no gradient: they are never learnt.'


def test_which_prediction_of_an_empty_image_fails():
    value = finding_of('infinite gradient on an empty image', 'empty').value
    assert set(value) == {'perfect', 'imperfect', 'other', 'exact'}
    for each in value.values():
        assert np.isfinite(each['value']) and each['gradient'] == np.inf
    finding = finding_of('NaN on an empty image', 'empty')
    assert all(np.isnan(each['value']) for each in finding.value.values())
    assert 'loss nan' in finding.message


def test_a_label_that_the_backward_refuses_is_refused():
    findings = check(zoo.BackwardRefuses(zoo.Dice()), zoo.INDEX)
    assert defects(findings) == {} and 'are refused' in findings['shapes'].message


def test_empty_image_without_smoothing():
    """0 / 0 only where the prediction is exactly 0."""
    loss = zoo.Dice(eps=0.0, example=zoo.BINARY)
    value = check(Animal(loss), loss.example)['empty'].value
    assert np.isnan(value['exact']['value']) and np.isfinite(value['perfect']['value'])


def test_share_of_a_stale_gradient():
    finding = finding_of('stale buffer')
    assert finding.value['unwritten'] == pytest.approx(2 / 3)  # of 3 classes one has a gradient
    assert finding.value['relative_error'] < 1e-5
    assert finding_of('adds to the buffer').value['unwritten'] == 1


def test_pixels_at_which_a_class_is_dropped():
    finding = finding_of('small class dropped', 'classes')
    effects = finding.value['effect_by_pixels']['1']
    assert list(effects) == ['1', '9', '16'] and effects['9'] < 0.1 * effects['16']
    assert '9 pixels' in finding.message
    assert finding_of('last class dropped', 'classes').value == {'without_gradient': [2]}


def test_classes_that_never_count_are_named():
    finding = finding_of('two classes of five', 'classes')
    assert finding.message.startswith('The classes 3, 4 do not count: ')
    assert max(finding.value['effect_by_pixels']['3'].values()) < 1e-12
    assert 'Class 18 does not count' in finding_of('class 18 of 21', 'classes').message


def test_exponent_of_pixels():
    """A class's share is as n^0 where classes are separate, and as n^1 where pixels are counted."""
    separate, pooled = (check(Animal(RIGHT[name]), RIGHT[name].example)['classes'].value['exponent']
                        for name in ('linear Dice', 'cross-entropy'))
    assert abs(separate) < 0.25 and pooled == pytest.approx(1, abs=0.25)


def test_gradient_norms_of_samples():
    norms = finding_of('only sample 0', 'batch').value['gradient_norms']
    assert norms[0] > 0 and norms[1] == 0


def test_a_second_sample_is_looked_at_where_one_is_given():
    example = zoo.INDEX.replace(pred=(1, 3, 8, 8), label=(1, 1, 8, 8))
    finding = check(zoo.OnlySample0(zoo.Dice()), example)['batch']
    assert finding.verdict == 'sample ignored'
    assert finding.message == 'Sample 1 of a batch of two gets no gradient.'
    assert check(Animal(zoo.Dice()), example)['batch'].verdict == 'separate'


def test_samples_of_which_rounding_hides_whether_they_are_pooled():
    class Rounded(Animal):
        def forward(self, pred, label):
            return np.round(super().forward(pred, label), 3)

    finding = check(Rounded(RIGHT['pooled batch and classes']), zoo.ONEHOT)['batch']
    assert finding.verdict == 'undecided' and finding.good
    assert finding.value['dependence'] > 0.01  # of the gradient, which is not rounded
    assert 'the loss has no derivative that could tell' in finding.message


def test_how_one_sample_differs_from_the_same_twice():
    finding = finding_of('rows of one are samples', 'batch')
    assert finding.value['alone_error'] > 0.01 and 'the same sample twice' in finding.message
    assert finding_of('small class dropped', 'batch').value['alone_error'] < 1e-12


@pytest.mark.parametrize('options', [
    # its weights are of the sizes of both samples together, and not normalised
    dict(batch_dice=True, class_weights='inverse_square', class_reduction='sum'),
    dict(batch_dice=True, smooth=1.0, gamma=2.0)], ids=str)
def test_pooled_losses_whose_size_depends_on_the_batch(options):
    for seed in range(3):
        findings = check(Animal(zoo.SoftDice(**options)), zoo.RAW, seed)
        assert defects(findings) == {} and findings['batch'].verdict == 'pooled'


def test_a_sample_with_nothing_to_learn_from_is_not_ignored():
    loss = zoo.SoftDice(Example((3, 4), (3,)), include_background=False, absent='skip')
    background = [seed for seed in range(20) if 0 in loss.example.arrays(seed)[1]]
    for seed in background[:5]:
        assert check(Animal(loss), loss.example, seed)['batch'].verdict == 'separate'


# Of other kinds and shapes ------------------------------------------------------------------------

@pytest.mark.parametrize('example', [
    Example((2, 3, 4, 4), (2, 4, 4)), Example((1, 3, 8, 8), (1, 1, 8, 8)),
    Example((2, 3, 30), (2, 30)), Example((2, 3, 3, 4, 5), (2, 1, 3, 4, 5)),
    Example((3, 4), (3,)), Example((2, 21, 12, 12), (2, 12, 12)), Example((3, 2, 9, 8), (3, 9, 8))],
    ids=lambda example: str(example.pred))
def test_any_shape(example):
    findings = check(Animal(zoo.CrossEntropy()), example)
    assert defects(findings) == {} and findings['gradient'].verdict == 'correct'
    if len(example.pred) < 4:
        assert findings['shapes'].value['volume'] == 'not applicable'


@pytest.mark.parametrize('input, label_kind', [('softmax', 'index'), ('sigmoid', 'binary'),
                                               ('raw', 'onehot'), ('raw', 'binary')])
def test_examples_of_two_classes(input, label_kind):
    label = (2, 2, 9, 8) if label_kind == 'onehot' else (2, 1, 9, 8)
    example = Example((2, 2, 9, 8), label, input, label_kind)
    pred, made = example.arrays()
    assert pred.shape == example.pred and made.shape == label and set(np.unique(made)) == {0, 1}
    truth = example.truth(made)
    np.testing.assert_array_equal(truth.argmax(axis=1), example.towards(made).argmax(axis=1))
    np.testing.assert_array_equal(truth.sum(axis=1), 1)


def test_a_label_of_its_own_shape():
    """Where it is not known how a label would follow the prediction, other shapes do not apply."""
    findings = check(Animal(zoo.CrossEntropy()), Example((2, 3, 8, 8), (2, 64)))
    assert defects(findings) == {} and findings['gradient'].verdict == 'correct'
    assert findings['shapes'].verdict == 'not applicable'
    assert '(2, 64) does not lie over a prediction of shape (2, 3, 8, 8)' in (
        findings['shapes'].message)


def test_a_loss_that_wants_probabilities_to_add_up():
    class Fussy(Animal):
        def forward(self, pred, label):
            if not np.allclose(pred.sum(axis=1), 1, atol=1e-12):
                raise zoo.Refused('probabilities must add up to 1')
            return super().forward(pred, label)

    finding = check(Fussy(zoo.Dice()), zoo.INDEX)['gradient']
    assert finding.verdict == 'error' and 'must add up to 1.' in finding.message


# Layouts ------------------------------------------------------------------------------------------

def undecided(loss, example, seeds=3):
    """The direction's messages, where nothing is found to be wrong and the layout is not known."""
    for dtype in DTYPES:
        for seed in range(seeds):
            findings = check(Animal(loss, dtype), example, seed)
            assert defects(findings) == {}, (dtype, seed, findings)
            assert findings['direction'].verdict == findings['classes'].verdict == 'undecided'
            yield findings['direction'].message


@pytest.mark.parametrize('loss, example', [
    (zoo.ForegroundFirst(), zoo.INDEX), (zoo.ForegroundFirst(exponent=2), zoo.INDEX),
    (zoo.ForegroundFirst(), zoo.TWO), (zoo.ForegroundFirst(exponent=2), zoo.TWO),
    (zoo.FirstChannelOnly(), zoo.TWO)], ids=lambda each: type(each).__name__)
def test_a_loss_with_the_foreground_first_is_no_score(loss, example):
    for message in undecided(loss, example):
        assert 'Say so with --background -1' in message and 'score' not in message


def test_a_loss_of_two_channels_that_may_be_a_score():
    """Cross-entropy counts pixels: the one of turned channels looks like a score of the others."""
    class Turned(zoo.ProbabilityCrossEntropy):
        def each(self, pred, label):
            return super().each(pred, 1 - label)

        def each_backward(self, pred, label):
            return super().each_backward(pred, 1 - label)

    for message in undecided(Turned(), zoo.TWO):
        assert '--background -1, and if it is channel 0 (it then is a score' in message
    findings = check(Animal(Turned()), zoo.SAID_OF_TWO)
    assert defects(findings) == {} and findings['direction'].verdict == 'correct'
    score = check(zoo.ScoreReturned(zoo.ProbabilityCrossEntropy()),
                  zoo.TWO.replace(background_said=True))
    assert score['direction'].verdict == 'rises'


def channels_last(pred, label):
    value, vjp = soft_dice_loss_vjp(np.moveaxis(pred, -1, 1), label)
    return value, lambda upstream: np.moveaxis(vjp(upstream), 1, -1)


@pytest.mark.parametrize('axis', [-1, 3])
def test_channels_last(axis):
    arguments = dict(pred=(2, 9, 8, 3), label=(2, 9, 8))
    findings = check_loss(channels_last, axis=axis, **arguments)
    assert defects(findings) == {} and findings['classes'].verdict == 'separate'
    assert findings['shapes'].value['volume'] == 'works'
    with pytest.raises(ValueError, match='; got .2, 9, 8.; if the classes are the last axis, say '
                                         'axis -1'):
        check_loss(channels_last, **arguments)


def test_a_one_hot_label_with_channels_last():
    def loss(pred, label):
        if pred.shape != label.shape:
            raise ValueError(f'label must have the shape of pred; got {label.shape}')
        residual = pred - label
        return 0.5 * (residual ** 2).sum(axis=(1, 2, 3)), lambda upstream: residual * upstream[
            :, None, None, None]
    assert defects(check_loss(loss, (2, 9, 8, 3), (2, 9, 8, 3), 'softmax', axis=-1)) == {}
    with pytest.raises(ValueError, match='axis must be one of 1 to 3, or -1 for the last; got 0'):
        check_loss(loss, (2, 9, 8, 3), (2, 9, 8, 3), axis=0)


def test_a_background_that_is_none():
    with pytest.raises(ValueError, match="background must be a channel of the prediction, 0 to 2 "
                                         "or -1 for the last, or 'none'; got 3"):
        check_loss(soft_dice_loss_vjp, (2, 3, 9, 8), (2, 9, 8), background=3)
    with pytest.raises(ValueError, match='without the channel of the background goes with a '
                                         'prediction that has it'):
        check_loss(soft_dice_loss_vjp, (2, 3, 9, 8), (2, 2, 9, 8), background='none')


def test_a_gradient_below_the_noise_is_not_uphill():
    class Noisy(Animal):
        """Far from the label it hardly changes, and what it changes is lost in noise."""

        def forward(self, pred, label):
            dice = super().forward(pred, label)
            noise = np.sin(1e11 * (pred ** 2).reshape(len(pred), -1).sum(axis=1))
            return np.minimum(dice, 0.1) + 1e-6 * dice + 1e-5 * noise

        def backward(self, pred, label, upstream, out):
            super().backward(pred, label, 1e-6 * upstream, out)

    for seed in range(8):
        finding = check(Noisy(zoo.Dice()), zoo.INDEX, seed)['direction']
        assert finding.verdict == 'undecided', seed
        assert 'no more than its rounding errors' in finding.message


# Slow losses --------------------------------------------------------------------------------------

class Slow(Animal):
    """A second a call, by a clock of its own."""

    def __init__(self, loss, seconds, dtype='float64', stream=None):
        super().__init__(loss, dtype)
        self.now = 0.0
        self.watch = Watch(seconds, stream, lambda: self.now)

    def forward(self, pred, label):
        self.watch.tick()
        self.now += 1
        return super().forward(pred, label)


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('seconds, least', [
    (60, {'gradient', 'relative_error', 'activation'}),
    (120, {'gradient', 'relative_error', 'activation', 'loss_weight', 'empty', 'batch'}),
    (300, set(KEYS))])
def test_what_tells_most_is_looked_at_first(seconds, least, dtype):
    names = ['linear Dice', 'cross-entropy'] + ['relu inside'] * (seconds == 300)  # with kinks
    for loss in map(RIGHT.get, names):
        subject = Slow(loss, seconds, dtype)
        findings = check(subject, loss.example)
        left_out = {key for key, finding in findings.items() if finding.verdict == 'left out'}
        assert subject.now <= seconds and defects(findings) == {}
        assert least <= set(KEYS) - left_out
        summary = report.summary(findings)
        assert summary == 'No defect found.' + (
            f' Left out for want of time: {", ".join(sorted(left_out, key=KEYS.index))}.'
            if left_out else '')


def test_a_defect_is_found_in_little_time():
    for name in ('one pixel wrong', '1 % too large', 'sign flipped', 'zero gradient'):
        broken = BROKEN[name][0]('float64')
        slow = type('Slow', (Slow, type(broken)), {})(broken.loss, 60)
        assert check(slow, broken.loss.example)['gradient'].verdict == 'wrong'


def test_no_time_to_compare_classes():
    finding = check(Slow(RIGHT['linear Dice'], 300), zoo.INDEX)['classes']
    assert finding.verdict == 'separate' and 'no time to compare the gradient' in finding.message


def test_no_time_at_all():
    with pytest.raises(OutOfTime, match='20 seconds were over before the gradient could be judged, '
                                        'and a call of the loss took 1 seconds: .* --seconds 1000'):
        check(Slow(RIGHT['linear Dice'], 20), zoo.INDEX)


def test_a_picture_for_which_there_is_no_time_is_smaller():
    subject, example = Slow(RIGHT['soft_dice'], 200), Example((1, 4, 64, 60), (1, 64, 60))
    subject.value(*example.arrays())  # as the findings do: its pace is known
    assert evidence(subject, example).analytic.size <= 64


def test_a_terminal_shows_what_is_going_on():
    terminal, end = pty.openpty()
    with open(end, 'w') as stream:
        with Slow(RIGHT['linear Dice'], 60, stream=stream).watch as watch:
            watch.look('gradient')
            watch.tick()
        shown = os.read(terminal, 1000).decode()
    os.close(terminal)
    assert shown == '\r\033[Kgradient: 1 calls, 0 of 60 seconds\r\033[K'


def test_what_is_no_terminal_shows_nothing():
    stream = io.StringIO()
    with Slow(RIGHT['linear Dice'], 600, stream=stream).watch as watch:
        watch.tick()
    assert stream.getvalue() == ''


# In tests of one's own ----------------------------------------------------------------------------

def vjp_of(loss):
    def function(pred, label):
        return loss.forward(pred, label), lambda upstream: np.mean(upstream) * loss.backward(
            pred, label)
    return function


def test_one_line_of_a_test():
    assert_loss(soft_dice_loss_vjp, pred=(2, 4, 9, 8), label=(2, 9, 8))
    findings = check_loss(soft_dice_loss_vjp, (2, 4, 9, 8), (2, 9, 8))
    assert tuple(findings) == KEYS and findings['relative_error'].value < 1e-8


def test_one_line_of_a_test_that_fails():
    def doubled(pred, label):
        value, vjp = soft_dice_loss_vjp(pred, label)
        return value, lambda upstream: 2 * vjp(upstream)

    with pytest.raises(AssertionError, match='(?s)doubled has defects: gradient, relative_error\n'
                                             '.*2 times as large as it should be'):
        assert_loss(doubled, (2, 4, 9, 8), (2, 9, 8))
    assert_loss(doubled, (2, 4, 9, 8), (2, 9, 8), allow=['gradient', 'relative_error'])
    with pytest.raises(ValueError, match='allow takes gradient, .*; got slope'):
        assert_loss(doubled, (2, 4, 9, 8), (2, 9, 8), allow=['slope'])


def test_what_a_function_raises_is_its_refusal():
    def broken(pred, label):
        raise IndexError('too many indices')
    finding = check_loss(broken, (2, 4, 9, 8), (2, 9, 8))['gradient']
    assert finding.verdict == 'error' and 'IndexError: too many indices' in finding.message


# The report ---------------------------------------------------------------------------------------

FINDINGS = {'gradient': Finding('wrong', {'worst': [0, 1], 'x': np.float64('nan')}, 'A <b> & "c".'),
            'relative_error': Finding('wrong', float('inf'), 'Relative error inf.'),
            'batch': Finding('pooled', [np.int64(1), -np.inf], 'Over the batch.'),
            'shapes': Finding('not applicable', None, 'No pixels.')}


def test_table():
    text = report.table(FINDINGS, 'my:Loss')
    lines = text.split('\n')
    assert lines[0] == 'my:Loss' and '\033' not in text
    assert lines[2].split() == ['WRONG', 'gradient', 'wrong', 'A', '<b>', '&', '"c".']
    assert lines[4].split()[:3] == ['ok', 'batch', 'pooled']
    assert lines[5].split()[0] == '-'
    assert lines[-1] == '2 of 4 findings are defects: gradient, relative_error.'
    coloured = report.table(FINDINGS, 'my:Loss', colour=True)
    assert re.sub('\033\\[[0-9]+m', '', coloured) == text and '\033[31mWRONG' in coloured


def test_table_keeps_to_the_width():
    long = {'gradient': Finding('correct', 0, 'word ' * 50)}
    assert max(len(line) for line in report.table(long, 'my:Loss', width=80).split('\n')) <= 80


def test_json_is_valid_without_nan():
    def refuse(constant):
        raise AssertionError(constant)
    read = json.loads(report.to_json(FINDINGS), parse_constant=refuse)
    assert list(read) == list(FINDINGS)
    assert read['gradient'] == {'verdict': 'wrong', 'value': {'worst': [0, 1], 'x': 'nan'},
                                'message': 'A <b> & "c".'}
    assert read['relative_error']['value'] == 'inf' and read['batch']['value'] == [1, '-inf']


def test_exit_status():
    assert report.exit_status(FINDINGS) == 1
    assert report.exit_status({key: FINDINGS[key] for key in ('batch', 'shapes')}) == 0


@pytest.fixture(scope='module')
def seen():
    subject = BROKEN['one pixel wrong'][0]('float32')
    return evidence(subject, subject.loss.example)


def test_evidence_shows_the_pixel(seen):
    assert seen.pred.shape == seen.analytic.shape == seen.numeric.shape == (3, 8, 8)
    gap = np.abs(seen.analytic - seen.numeric)
    assert np.unravel_index(gap.argmax(), gap.shape) == (1, 3, 2)
    gap[1, 3, 2] = 0
    assert gap.max() < 0.01 * np.abs(seen.numeric).max()


@pytest.mark.parametrize('shape, drawn', [((1, 4, 64, 60), (4, 32, 30)), ((1, 2, 40), (2, 40)),
                                          ((2, 3, 5, 5, 5), (3, 5, 5, 5)), ((2, 5), (5,))])
def test_evidence_of_large_samples_is_taken_from_smaller_ones(shape, drawn):
    example = Example(shape, shape[:1] + shape[2:])
    seen = evidence(Animal(zoo.CrossEntropy()), example)
    assert seen.analytic.shape == drawn
    assert np.linalg.norm(seen.analytic - seen.numeric) < 1e-5 * np.linalg.norm(seen.numeric)


def test_the_picture_is_of_what_the_loss_expects_which_is_asked_once():
    subject = Slow(zoo.fed(zoo.SoftDice(), 'softmax'), None)
    findings = check(subject, subject.loss.example)
    drawn = command.picture(argparse.Namespace(plot='a.png', html=None, seed=0), subject,
                            subject.loss.example, findings)
    assert drawn.pred.min() < -0.5 and drawn.pred.max() > 1  # scores, not probabilities
    assert subject.watch.calls == 2 * drawn.pred.size + 1


PNG = b'\x89PNG\r\n\x1a\n'


def test_plot(tmp_path, seen):
    from matplotlib import image
    path = tmp_path / 'a.png'
    report.plot(str(path), seen, 'my:Loss')
    assert path.read_bytes().startswith(PNG) and list(tmp_path.iterdir()) == [path]
    picture = image.imread(str(path))[..., :3]
    assert picture.shape[1] > 700
    # The wrong pixel is the one strong colour among the panels of the difference.
    right = picture[:-100, 2 * picture.shape[1] // 3 + 10:]
    strong = np.argwhere(right.max(axis=2) - right.min(axis=2) > 0.3)
    assert 0 < len(strong) and np.ptp(strong, axis=0).max() < 60


@pytest.mark.parametrize('shape', [(3,), (3, 7), (3, 4, 5, 6), (9, 4, 5)])
def test_plot_of_any_shape_and_of_nan(tmp_path, shape):
    array = np.random.RandomState(0).standard_normal(shape)
    array.flat[0] = np.nan
    seen = checks.Evidence(array, array[0], array, np.zeros(shape), 0)
    report.plot(str(tmp_path / 'a.png'), seen, 'my:Loss')
    assert (tmp_path / 'a.png').read_bytes().startswith(PNG)


def test_html_is_one_page_that_needs_nothing_else(tmp_path, seen):
    path = tmp_path / 'a.html'
    report.html(str(path), FINDINGS, seen, 'my:<Loss>', ['Caffe 1.0 & Python'])
    page = path.read_text(encoding='utf-8')
    for text in ('my:&lt;Loss&gt;', 'A &lt;b&gt; &amp; &quot;c&quot;.', 'Caffe 1.0 &amp; Python',
                 'src="data:image/png;base64,iVBORw0KGgo', 'findings are defects'):
        assert text in page
    assert '<b>' not in page and '<Loss>' not in page and '<script' not in page
    assert set(re.findall(r'(?:src|href)="(\w+:)', page)) == {'data:'}
    report.html(str(path), FINDINGS, None, 'no picture')
    assert '<img' not in path.read_text(encoding='utf-8')


def parsed(*words):
    parser = argparse.ArgumentParser()
    command.add_output_arguments(parser)
    return parser.parse_args(words)


def test_emit(tmp_path, seen, capsys):
    names = [str(tmp_path / name) for name in ('a.json', 'a.png', 'a.html')]
    arguments = parsed('--json', names[0], '--plot', names[1], '--html', names[2])
    command.check_output_arguments(arguments)
    assert command.emit(arguments, FINDINGS, seen, 'my:Loss') == 1
    out = capsys.readouterr().out
    assert out.startswith('my:Loss\n') and f'Written: {", ".join(names)}\n' in out
    assert list(json.loads((tmp_path / 'a.json').read_text())) == list(FINDINGS)
    assert sorted(each.name for each in tmp_path.iterdir()) == ['a.html', 'a.json', 'a.png']


@pytest.mark.parametrize('words', [['--json'], ['--json', '-']])
def test_json_to_the_terminal_is_json_alone(words, capsys):
    arguments = parsed(*words)
    assert command.emit(arguments, FINDINGS, None, 'my:Loss') == 1
    assert json.loads(capsys.readouterr().out)['batch']['verdict'] == 'pooled'


def test_emit_without_evidence_says_so(tmp_path, capsys):
    path = str(tmp_path / 'a.png')
    command.emit(parsed('--plot', path), FINDINGS, None, 'my:Loss')
    assert 'was not drawn' in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize('words, message', [
    (['--plot', 'a.jpg'], 'must name a file that ends in .png; got a.jpg'),
    (['--html', 'no/such/a.html'], 'there is no folder for no/such/a.html')])
def test_what_cannot_be_written_is_refused_at_once(words, message):
    with pytest.raises(CannotRun, match=re.escape(message)):
        command.check_output_arguments(parsed(*words))


def test_a_failed_write_leaves_what_was_there(tmp_path, seen, monkeypatch):
    path = tmp_path / 'a.html'
    path.write_text('before')

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.replace', full)
    with pytest.raises(CannotRun, match='a.html cannot be written: No space left on device'):
        report.html(str(path), FINDINGS, seen, 'my:Loss')
    assert path.read_text() == 'before' and list(tmp_path.iterdir()) == [path]


def test_a_folder_is_no_file(tmp_path, seen):
    with pytest.raises(CannotRun, match='cannot be written: it is a folder'):
        report.plot(str(tmp_path), seen, 'my:Loss')


def test_the_checker_needs_numpy_alone():
    code = 'import sys, soft_dice.gradcheck, soft_dice.checker.report; print(*sys.modules)'
    output = subprocess.run([sys.executable, '-c', code], check=True, stdout=subprocess.PIPE)
    assert not {'matplotlib', 'mxnet', 'caffe', 'scipy'} & set(output.stdout.decode().split())
