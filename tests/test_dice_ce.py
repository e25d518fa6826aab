"""The reference with a cross-entropy: what the formulas say, worked out without the code."""
import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import TOLERANCE

from soft_dice import (DiceCEOptions, DiceOptions, dice_ce_loss, dice_ce_loss_vjp, soft_dice_loss,
                       soft_dice_loss_vjp)
from soft_dice.gradcheck import assert_gradient, check_gradient, relative_error

pytestmark = pytest.mark.usefixtures('implementation')

# Two samples, three classes, four pixels; probabilities and labels written out.
P = np.array([[[0.7, 0.2, 0.1, 0.3], [0.2, 0.5, 0.1, 0.3], [0.1, 0.3, 0.8, 0.4]],
              [[0.6, 0.1, 0.4, 0.2], [0.3, 0.1, 0.5, 0.7], [0.1, 0.8, 0.1, 0.1]]])
LOGITS = np.log(P)
LABEL = np.array([[0, 1, 1, 0], [2, 2, 0, 1]])
WEIGHT = np.array([[1.0, 0.5, 2.0, 0.0], [0.25, 3.0, 1.0, 1.0]])
CLASS_WEIGHTS = [0.5, 1.0, 3.0]
ACCEPT = TOLERANCE['gradient against finite differences, float64']
NO_DICE = dict(dice_weight=0)


def assert_value(value, expected):
    expected = np.asarray(expected, dtype=float)
    assert np.shape(value) == expected.shape
    assert relative_error(value, expected) <= TOLERANCE['value, float64']


def loss_of(pred=LOGITS, label=LABEL, pixel_weight=None, **fields):
    return dice_ce_loss(pred, label, DiceCEOptions(**fields), pixel_weight)


def entropy_of(*arguments, **fields):
    return loss_of(*arguments, **{**NO_DICE, **fields})


def by_hand(sigmoid, soft, weighted, epsilon, gamma, weights, pixels, batch):
    """The cross-entropy, one pixel and class at a time."""
    label = soft_label() if soft else np.eye(3)[LABEL].transpose(0, 2, 1)
    entropy, norm = [0.0, 0.0], [0.0, 0.0]
    for n, c, i in itertools.product(range(2), range(3), range(4)):
        m, w = (WEIGHT[n, i] if weighted else 1), (weights[c] if weights else 1)
        p, g = P[n, c, i], label[n, c, i]
        if sigmoid:
            t = (1 - epsilon) * g + epsilon / 2
            term = (t * (1 - p) ** gamma * -math.log(p) + (1 - t) * p ** gamma * -math.log(1 - p))
            norm[n] += 1 if pixels else m * w
        else:
            t = (1 - epsilon) * g + epsilon / 3
            term = t * (1 - p) ** gamma * -math.log(p)
            norm[n] += (c == 0) if pixels else m * w * g
        entropy[n] += m * w * term
    if batch:
        return [sum(entropy) / sum(norm)] * 2
    return [entropy[n] / norm[n] for n in range(2)]


def soft_label():
    return np.random.RandomState(0).dirichlet(np.ones(3), (2, 4)).transpose(0, 2, 1)


@pytest.mark.parametrize('sigmoid, soft', [(False, False), (False, True), (True, True)],
                         ids=['softmax', 'softmax soft label', 'sigmoid'])
def test_formula(sigmoid, soft):
    pred = np.log(P / (1 - P)) if sigmoid else LOGITS
    for weighted, epsilon, gamma, weights, pixels, (dice_batch, ce_batch) in itertools.product(
            (False, True), (0, 0.3), (0, 0.5, 1, 2), (None, CLASS_WEIGHTS), (False, True),
            ((False, None), (True, None), (False, True), (True, False))):
        batch = dice_batch if ce_batch is None else ce_batch
        options = dict(activation='sigmoid' if sigmoid else 'softmax', sparse_label=not soft,
                       label_smoothing=epsilon, ce_gamma=gamma, ce_class_weights=weights,
                       ce_normalization='pixels' if pixels else 'valid', batch_dice=dice_batch,
                       ce_batch=ce_batch)
        found = entropy_of(pred, soft_label() if soft else LABEL, WEIGHT if weighted else None,
                           **options)
        assert_value(found, by_hand(sigmoid, soft, weighted, epsilon, gamma, weights, pixels,
                                    batch))


def test_default_is_the_mean_of_minus_log_p():
    expected = [-math.log(0.7 * 0.5 * 0.1 * 0.3) / 4, -math.log(0.1 * 0.8 * 0.4 * 0.7) / 4]
    assert_value(entropy_of(), expected)
    assert_value(loss_of(), soft_dice_loss(LOGITS, LABEL) + expected)


def test_the_two_terms_are_weighed():
    dice, entropy = soft_dice_loss(LOGITS, LABEL, DiceOptions(alpha=0.3)), entropy_of()
    assert_value(loss_of(alpha=0.3, dice_weight=0.25, ce_weight=3), 0.25 * dice + 3 * entropy)
    assert_value(loss_of(alpha=0.3, ce_weight=0), dice)


def test_without_entropy_the_gradient_is_that_of_the_dice():
    _, vjp = dice_ce_loss_vjp(LOGITS, LABEL, DiceCEOptions(ce_weight=0, dice_weight=2))
    _, expected = soft_dice_loss_vjp(LOGITS, LABEL)
    assert relative_error(vjp(1.0), expected(2.0)) <= TOLERANCE['gradient, float64']


def test_gradient_of_the_entropy_is_p_minus_g():
    _, vjp = dice_ce_loss_vjp(LOGITS, LABEL, DiceCEOptions(**NO_DICE))
    expected = (P - np.eye(3)[LABEL].transpose(0, 2, 1)) / 4
    assert relative_error(vjp(1.0), expected) <= TOLERANCE['gradient, float64']


@pytest.mark.parametrize('fields', [
    dict(include_background=False), dict(classes=[1]), dict(class_weights=[0, 0, 1]),
    dict(exponent=2, overlap='l1'), dict(absent='skip'), dict(form='negative', smooth=7)])
def test_options_of_the_dice_do_not_change_the_entropy(fields):
    assert_value(entropy_of(**fields), entropy_of())


def test_ignored_pixels_are_as_if_cut_out():
    label = np.array([[0, 255, 1, 255], [255, 2, 255, 1]])
    kept = label != 255
    rows = [loss_of(LOGITS[n:n + 1, :, kept[n]], label[n:n + 1, kept[n]], label_smoothing=0.1,
                    ce_gamma=0.5)[0] for n in range(2)]
    fields = dict(label_smoothing=0.1, ce_gamma=0.5)
    assert_value(loss_of(LOGITS, label, ignore_label=255, **fields), rows)
    assert_value(loss_of(pixel_weight=kept.astype(float), label=np.where(kept, label, 0),
                         **fields), rows)
    _, vjp = dice_ce_loss_vjp(LOGITS, label, DiceCEOptions(ignore_label=255, **fields))
    gradient = vjp(1.0)
    assert not gradient.transpose(0, 2, 1)[~kept].any() and gradient[0, :, 0].all()


def test_batch_is_one_long_sample():
    long = np.concatenate(list(LOGITS), axis=1)[None], LABEL.reshape(1, -1), WEIGHT.reshape(1, -1)
    fields = dict(ce_class_weights=CLASS_WEIGHTS, label_smoothing=0.1)
    found = loss_of(LOGITS, LABEL, WEIGHT, batch_dice=True, **fields)
    assert_value(found, np.repeat(loss_of(*long, **fields), 2))


def test_dice_and_entropy_are_each_over_the_batch_or_not():
    dice = {batch: soft_dice_loss(LOGITS, LABEL, DiceOptions(batch_dice=batch))
            for batch in (False, True)}
    entropy = {batch: entropy_of(batch_dice=batch) for batch in (False, True)}
    for of_dice, of_entropy in itertools.product((False, True), (False, True)):
        assert_value(loss_of(batch_dice=of_dice, ce_batch=of_entropy),
                     dice[of_dice] + entropy[of_entropy])


def test_pixel_weights_are_relative():
    assert_value(entropy_of(LOGITS, LABEL, 100 * WEIGHT), entropy_of(LOGITS, LABEL, WEIGHT))
    assert_value(entropy_of(LOGITS, LABEL, 100 * WEIGHT, ce_normalization='pixels'),
                 100 * entropy_of(LOGITS, LABEL, WEIGHT, ce_normalization='pixels'))


@pytest.mark.parametrize('fields', [
    dict(), dict(ce_gamma=0.5), dict(label_smoothing=0.1), dict(ce_normalization='pixels')])
def test_nothing_to_learn_from_is_0(fields):
    label = np.array([[255] * 4, LABEL[1]])
    options = DiceCEOptions(ignore_label=255, **NO_DICE, **fields)
    loss, vjp = dice_ce_loss_vjp(LOGITS, label, options)
    assert loss[0] == 0 and loss[1] > 0
    gradient = vjp(1.0)
    assert not gradient[0].any() and gradient[1].all()


def test_classes_without_weight_are_nothing_to_learn_from():
    """Sample 0 has only classes 0 and 1."""
    loss, vjp = dice_ce_loss_vjp(LOGITS, LABEL, DiceCEOptions(
        ce_class_weights=[0, 0, 1], label_smoothing=0.1, **NO_DICE))
    assert loss[0] == 0 < loss[1] and not vjp(1.0)[0].any()


# --- near p = 0 and p = 1 -------------------------------------------------------------------------

@pytest.mark.parametrize('gap', [1e-9, 1.0, 30.0, 50.0, 700.0])
@pytest.mark.parametrize('activation', ['softmax', 'sigmoid'])
def test_minus_log_p_keeps_its_digits(activation, gap):
    pred = np.array([[[gap]]] if activation == 'sigmoid' else [[[0.0], [gap]]])
    for label, expected in ((1, math.log1p(math.exp(-gap))),
                            (0, gap + math.log1p(math.exp(-gap)))):
        assert_value(entropy_of(pred, [[label]], activation=activation), [expected])


@pytest.mark.parametrize('spread', [1.0, 10.0, 40.0])
@pytest.mark.parametrize('gamma', [0, 0.25, 0.5, 1, 2])
@pytest.mark.parametrize('fields', [
    dict(), dict(label_smoothing=0.1, ce_class_weights=CLASS_WEIGHTS),
    dict(activation='sigmoid', sparse_label=False, label_smoothing=0.1)],
    ids=['softmax', 'smoothed', 'sigmoid'])
def test_every_element_of_the_gradient(fields, gamma, spread):
    """With a spread of 40 hardly a p is further than 1e-9 from 0 or 1."""
    rng = np.random.RandomState(0)
    pred = spread * rng.standard_normal((2, 3, 4))
    label = LABEL if fields.get('sparse_label', True) else soft_label()
    options = DiceCEOptions(ce_gamma=gamma, dice_weight=float(spread == 1), **fields)
    result = check_gradient(lambda x: dice_ce_loss_vjp(x, label, options, WEIGHT), pred,
                            every_element=True)
    assert_gradient(result, ACCEPT)


@pytest.mark.parametrize('gamma', [0.25, 0.5, 1, 2])
def test_a_sure_and_right_prediction_has_a_gradient_that_vanishes_but_is_right(gamma):
    """All p = 1 - 1e-13: L = q^gamma (-log p), which is nearly q^(1 + gamma)."""
    pred = np.array([[[30.0], [0.0]]])
    result = check_gradient(lambda x: dice_ce_loss_vjp(
        x, np.array([[0]]), DiceCEOptions(ce_gamma=gamma, **NO_DICE)), pred, every_element=True)
    assert_gradient(result, ACCEPT)
    assert 0 < abs(result.analytic) < 1e-15


def choosing(**lists):
    return st.fixed_dictionaries({name: st.sampled_from(values) for name, values in lists.items()})


OPTIONS = choosing(
    activation=['softmax', 'sigmoid'], batch_dice=[False, True], ignore_label=[None, 255],
    ce_batch=[None, False, True],
    label_smoothing=[0, 0.1, 0.9], ce_gamma=[0, 0.01, 0.5, 1.0, 1.5, 2.0],
    ce_normalization=['valid', 'pixels'], ce_class_weights=[None, (0.0, 1.0, 2.0)],
    dice_weight=[0.0, 1.0], form=['one_minus', 'log'], smooth=[0.0, 1e-5])


@settings(max_examples=200, derandomize=True)
@given(fields=OPTIONS, seed=st.integers(0, 99), spread=st.sampled_from([0.0, 1.0, 50.0, 1e4, 1e30]),
       label=st.sampled_from([0, 1, 255, None]), dtype=st.sampled_from(['float32', 'float64']))
def test_finite_input_gives_finite_loss_and_gradient(fields, seed, spread, label, dtype):
    rng = np.random.RandomState(seed)
    options = DiceCEOptions(sparse_label=fields['activation'] == 'softmax', **fields)
    pred = spread * rng.standard_normal((2, 3, 5))
    labels = rng.randint(0, 3, (2, 5)) if label is None else np.full((2, 5), label)
    if options.dice.ignore_label is None:
        labels = labels % 3
    if not options.dice.sparse_label:
        labels = np.where(labels[:, None] == 255, 255, rng.randint(0, 2, pred.shape))
    loss, vjp = dice_ce_loss_vjp(pred.astype(dtype), labels, options)
    assert np.isfinite(loss).all() and (loss >= 0).all()
    assert np.isfinite(vjp(1.0)).all()


@pytest.mark.parametrize('fields', [dict(), dict(ce_gamma=0.5), dict(ce_gamma=2),
                                    dict(label_smoothing=0.1)])
@pytest.mark.parametrize('activation', ['softmax', 'sigmoid'])
def test_nan_in_the_prediction_stays_nan_except_where_ignored(activation, fields):
    options = DiceCEOptions(activation=activation, sparse_label=False, ignore_label=255,
                            **NO_DICE, **fields)
    pred, label = LOGITS.copy(), soft_label()
    pred[0, :, 1] = np.nan
    assert np.isnan(dice_ce_loss(pred, label, options)).tolist() == [True, False]
    label[0, :, 1] = 255
    loss, vjp = dice_ce_loss_vjp(pred, label, options)
    expected, expected_vjp = dice_ce_loss_vjp(LOGITS, label, options)
    np.testing.assert_array_equal(loss, expected)
    np.testing.assert_array_equal(vjp(1.0), expected_vjp(1.0))


# --- arguments ------------------------------------------------------------------------------------

def test_vjp_writes_into_out():
    loss, vjp = dice_ce_loss_vjp(LOGITS, LABEL)
    out = np.full_like(LOGITS, 7)
    assert vjp(np.ones(2), out=out) is out
    np.testing.assert_array_equal(out, vjp(1.0))
    with pytest.raises(TypeError):
        vjp()


def test_options_of_the_other_loss_are_refused():
    with pytest.raises(TypeError, match=r'must be a soft_dice.DiceCEOptions.*got DiceOptions; '
                                        r'DiceCEOptions\(\*\*options.to_dict\(\)\) adds'):
        dice_ce_loss(LOGITS, LABEL, DiceOptions())
    with pytest.raises(TypeError, match='must be a soft_dice.DiceOptions.*got DiceCEOptions; '
                                        'options.dice are those of its Dice term'):
        soft_dice_loss(LOGITS, LABEL, DiceCEOptions())


# --- DiceCEOptions --------------------------------------------------------------------------------

OWN = {'dice_weight': 1.0, 'ce_weight': 1.0, 'ce_class_weights': None, 'label_smoothing': 0.0,
       'ce_gamma': 0.0, 'ce_normalization': 'valid', 'ce_batch': None}


def test_fields_and_defaults():
    assert DiceCEOptions().to_dict() == {**DiceOptions().to_dict(), **OWN}
    assert DiceCEOptions().dice == DiceOptions()


def test_fields_of_the_dice_stand_in_dice():
    options = DiceCEOptions(smooth=1, axis=-1, ce_gamma=2)
    assert options.dice == DiceOptions(smooth=1, axis=-1) and options.ce_gamma == 2.0
    assert repr(options) == 'DiceCEOptions(axis=-1, smooth=1.0, ce_gamma=2.0)'
    assert eval(repr(options)) == options
    assert DiceCEOptions(**options.dice.to_dict(), ce_gamma=2) == options


def test_frozen_hashable_and_equal_by_value():
    options = DiceCEOptions(ce_class_weights=np.array([1.0, 2.0]))
    assert options == DiceCEOptions(ce_class_weights=[1, 2]) != DiceCEOptions()
    assert hash(options) == hash(DiceCEOptions(ce_class_weights=(1, 2)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.ce_weight = 2.0
    with pytest.raises(TypeError):
        DiceCEOptions(DiceOptions())


def test_replace_checks_again():
    options = DiceCEOptions(smooth=1.0, ce_weight=2).replace(alpha=1, ce_gamma=1)
    assert options == DiceCEOptions(smooth=1.0, alpha=1, ce_weight=2, ce_gamma=1)
    with pytest.raises(ValueError, match='ce_gamma must be'):
        options.replace(ce_gamma=-1)


def test_json_round_trip():
    options = DiceCEOptions(class_weights=[1, 2], ce_class_weights=[1, 2], ignore_label=255)
    assert DiceCEOptions.from_param_str(options.to_json()) == options
    assert DiceCEOptions.from_param_str("{'ce_weight': 2}") == DiceCEOptions(ce_weight=2)
    assert DiceCEOptions.from_param_str('') == DiceCEOptions()


def test_preset_in_a_param_str():
    options = DiceCEOptions.from_param_str('{"preset": "nnunet", "ce_weight": 2, "smooth": 1}')
    assert options == DiceCEOptions(include_background=False, form='negative', smooth=1,
                                    ce_weight=2)


@pytest.mark.parametrize('fields, message', [
    (dict(dice_weight=-1), 'dice_weight must be a finite number >= 0'),
    (dict(ce_weight='1'), 'ce_weight must be a finite number >= 0'),
    (dict(dice_weight=0, ce_weight=0), 'dice_weight and ce_weight must not both be 0'),
    (dict(ce_class_weights=[0, 0]), 'ce_class_weights must have one number above 0'),
    (dict(ce_class_weights=[1, -1]), 'ce_class_weights must be a finite number >= 0'),
    (dict(ce_class_weights='inverse'), 'ce_class_weights must be a list'),
    (dict(ce_class_weights=[]), 'ce_class_weights must not be empty'),
    (dict(label_smoothing=1), r'label_smoothing must be a number in \[0, 1\), .*got 1'),
    (dict(label_smoothing=-0.1), r'label_smoothing must be a number in \[0, 1\)'),
    (dict(label_smoothing=float('nan')), r'label_smoothing must be a number in \[0, 1\)'),
    (dict(label_smoothing=True), r'label_smoothing must be a number in \[0, 1\)'),
    (dict(ce_gamma=-1), 'ce_gamma must be a finite number >= 0'),
    (dict(ce_gamma=float('inf')), 'ce_gamma must be a finite number >= 0'),
    (dict(ce_batch=1), 'ce_batch must be True or False'),
    (dict(ce_normalization='mean'), "ce_normalization must be one of 'valid', 'pixels'"),
    (dict(activation='none'), "activation='none' leaves the cross-entropy without logits"),
    (dict(class_reduction='none'), "class_reduction='none' gives a Dice loss per class"),
    (dict(alpha=0, beta=0), 'alpha and beta must not both be 0'),
])
def test_bad_options(fields, message):
    with pytest.raises(ValueError, match=message):
        DiceCEOptions(**fields)


def test_unknown_option_lists_the_known_ones():
    with pytest.raises(TypeError, match="unknown option 'ce_wieght'; .*activation, .*ce_weight"):
        DiceCEOptions(ce_wieght=1)
