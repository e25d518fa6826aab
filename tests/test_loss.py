"""Closed-form values: what the formulas say, worked out without the code that is tested."""
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import TOLERANCE

from soft_dice import (DiceCEOptions, DiceOptions, dice_ce_loss_vjp, score, soft_dice_loss,
                       soft_dice_loss_vjp, soft_dice_score)
from soft_dice.gradcheck import relative_error

pytestmark = pytest.mark.usefixtures('implementation')

# One sample, three classes, four pixels; probabilities and label written out.
P = np.array([[[0.7, 0.2, 0.1, 0.3],
               [0.2, 0.5, 0.1, 0.3],
               [0.1, 0.3, 0.8, 0.4]]])
LABEL = np.array([[0, 1, 1, 0]])  # class 2 is absent
TP = [1.0, 0.6, 0.0]
P_SUM = [1.3, 1.1, 1.6]
P_SQUARED = [0.63, 0.39, 0.9]
N_LABEL = [2, 2, 0]
E = 0.1  # smooth


def loss_of(label=LABEL, pred=P, pixel_weight=None, **fields):
    options = DiceOptions(**{**dict(activation='none', smooth=E), **fields})
    return soft_dice_loss(pred, label, options, pixel_weight)


def assert_value(value, expected):
    expected = np.asarray(expected, dtype=float)
    assert np.shape(value) == expected.shape
    assert relative_error(value, expected) <= TOLERANCE['value, float64']


def dice(c, p_sum=P_SUM, smooth=E, smooth_dr=E):
    return (2 * TP[c] + smooth) / (p_sum[c] + N_LABEL[c] + smooth_dr)


def mean(*values):
    return [sum(values) / len(values)]


def tversky(c, alpha, beta):
    return (2 * TP[c] + E) / (2 * (TP[c] + alpha * (P_SUM[c] - TP[c])
                                   + beta * (N_LABEL[c] - TP[c])) + E)


S = [dice(c) for c in range(3)]
W = [0.5, 1, 3]


@pytest.mark.parametrize('fields, expected', [
    (dict(), mean(1 - S[0], 1 - S[1], 1 - S[2])),
    (dict(include_background=False), mean(1 - S[1], 1 - S[2])),
    (dict(classes=[-1]), [1 - S[2]]),
    (dict(alpha=1, beta=1), mean(*(1 - tversky(c, 1, 1) for c in range(3)))),
    (dict(alpha=0.3, beta=0.7), mean(*(1 - tversky(c, 0.3, 0.7) for c in range(3)))),
    (dict(exponent=2), mean(*(1 - dice(c, P_SQUARED) for c in range(3)))),
    (dict(smooth=0, smooth_dr=E), mean(*(1 - dice(c, smooth=0) for c in range(3)))),
    (dict(smooth=[1, 2, 3]), mean(*(1 - dice(c, smooth=c + 1, smooth_dr=c + 1)
                                    for c in range(3)))),
    (dict(class_weights=W), mean(*(W[c] * (1 - S[c]) for c in range(3)))),
    (dict(class_weights=W, weight_normalization='weights'),
     [sum(W[c] * (1 - S[c]) for c in range(3)) / sum(W)]),
    (dict(class_weights=W, weight_normalization='score'),
     [1 - sum(W[c] * S[c] for c in range(3)) / 3]),
    # class 2 is absent: its infinite weight becomes the largest finite one, 1/2 or 1/4
    (dict(class_weights='inverse'), mean(*(0.5 * (1 - S[c]) for c in range(3)))),
    (dict(class_weights='inverse_square'), mean(*(0.25 * (1 - S[c]) for c in range(3)))),
    (dict(pool_classes=True), [1 - (2 * sum(TP) + E) / (sum(P_SUM) + sum(N_LABEL) + E)]),
    (dict(pool_classes=True, class_weights=W),
     [1 - (2 * sum(np.multiply(W, TP)) + E)
      / (sum(np.multiply(W, P_SUM)) + sum(np.multiply(W, N_LABEL)) + E)]),
    (dict(pool_classes=True, absent='skip'),
     [1 - (2 * sum(TP[:2]) + E) / (sum(P_SUM[:2]) + sum(N_LABEL[:2]) + E)]),
    (dict(class_reduction='sum', class_weights=W), [sum(W[c] * (1 - S[c]) for c in range(3))]),
    (dict(class_reduction='none', class_weights=W), [[W[c] * (1 - S[c]) for c in range(3)]]),
    (dict(absent='zero'), mean(1 - S[0], 1 - S[1], 0)),
    (dict(absent='skip'), mean(1 - S[0], 1 - S[1])),
    (dict(absent='skip', class_weights=W, weight_normalization='weights'),
     [(W[0] * (1 - S[0]) + W[1] * (1 - S[1])) / (W[0] + W[1])]),
    (dict(absent='skip', class_weights=W, weight_normalization='score'),
     [1 - (W[0] * S[0] + W[1] * S[1]) / 2]),
    (dict(form='negative'), mean(*(-s for s in S))),
    (dict(form='log'), mean(*(-math.log(s) for s in S))),
    (dict(form='log', smooth=0), mean(*(-math.log(max(dice(c, smooth=0, smooth_dr=0), 1e-7))
                                        for c in range(3)))),
    (dict(form='log_cosh'), mean(*(math.log(math.cosh(1 - s)) for s in S))),
    (dict(gamma=2), mean(*((1 - s) ** 2 for s in S))),
    (dict(gamma=0.75), mean(*((1 - s) ** 0.75 for s in S))),
    (dict(ignore_label=1, smooth=0, smooth_dr=1),
     mean(1 - 2 * 1.0 / (1.0 + 2 + 1), 1 - 0, 1 - 0)),
])
def test_formula(fields, expected):
    assert_value(loss_of(**fields), expected)


def test_l1_counts_the_smaller_of_prediction_and_label():
    soft = np.array([[[0.5, 0.1, 0.1, 0.1], [0.3, 0.6, 0.9, 0.0], [0.2, 0.3, 0.0, 0.9]]])
    tp = np.minimum(P, soft).sum(axis=2)
    expected = 1 - (2 * tp + E) / (P.sum(axis=2) + soft.sum(axis=2) + E)
    assert_value(loss_of(soft, sparse_label=False, overlap='l1'), expected.mean(axis=1))


def test_l1_is_zero_at_a_perfect_soft_label_and_product_is_not():
    assert abs(loss_of(P, sparse_label=False, overlap='l1')[0]) < 1e-15
    assert loss_of(P, sparse_label=False)[0] > 0.2


def test_pixel_weights_are_repetitions():
    twice = np.concatenate([P, P[:, :, :2]], axis=2)
    assert_value(loss_of(pixel_weight=np.array([[2.0, 2, 1, 1]])),
                 loss_of(np.array([[0, 1, 1, 0, 0, 1]]), twice))
    assert_value(loss_of(pixel_weight=np.array([[1.0, 1, 0, 0]])), loss_of(LABEL[:, :2],
                                                                           P[:, :, :2]))


def test_ignored_pixels_are_as_if_cut_out():
    label = np.array([[0, 255, 1, 255]])
    assert_value(loss_of(label, ignore_label=255), loss_of(label[:, ::2], P[:, :, ::2]))
    assert_value(loss_of(label, ignore_label=255, exponent=1.5, overlap='l1'),
                 loss_of(label[:, ::2], P[:, :, ::2], exponent=1.5, overlap='l1'))


def test_batch_dice_is_the_dice_of_one_long_sample():
    rng = np.random.RandomState(0)
    pred, label = rng.standard_normal((3, 4, 5)), rng.randint(0, 4, (3, 5))
    long = np.concatenate(list(pred), axis=1)[None]
    expected = soft_dice_loss(long, label.reshape(1, -1))
    assert_value(soft_dice_loss(pred, label, DiceOptions(batch_dice=True)), np.repeat(expected, 3))


def test_score_of_each_class():
    assert_value(soft_dice_score(P, LABEL, DiceOptions(activation='none', smooth=E)), [S])
    pooled = soft_dice_score(P, LABEL, DiceOptions(activation='none', smooth=E, pool_classes=True))
    assert_value(pooled, [[(2 * sum(TP) + E) / (sum(P_SUM) + sum(N_LABEL) + E)]])
    batch = soft_dice_score(np.concatenate([P, P]), np.concatenate([LABEL, LABEL]),
                            DiceOptions(activation='none', smooth=2 * E, batch_dice=True))
    assert_value(batch, [S, S])


def test_jaccard_and_f_beta_relations():
    d = soft_dice_score(P, LABEL, DiceOptions(activation='none', smooth=0))
    j = soft_dice_score(P, LABEL, DiceOptions(activation='none', smooth=0, alpha=1, beta=1))
    assert_value(j, d / (2 - d))
    precision, recall = np.divide(TP, P_SUM)[:2], np.divide(TP, N_LABEL, where=[1, 1, 0])[:2]
    b2 = 4.0
    f2 = soft_dice_score(P, LABEL, DiceOptions(activation='none', smooth=0, alpha=1 / (1 + b2),
                                               beta=b2 / (1 + b2), classes=[0, 1]))
    assert_value(f2, [(1 + b2) * precision * recall / (b2 * precision + recall)])


def test_softmax_and_sigmoid_values():
    logits = np.log(P)
    assert_value(soft_dice_loss(logits, LABEL, DiceOptions(smooth=E)), loss_of())
    one = soft_dice_loss(np.log(P / (1 - P)), np.eye(3)[LABEL].transpose(0, 2, 1),
                         DiceOptions(activation='sigmoid', sparse_label=False, smooth=E))
    assert_value(one, loss_of())


def test_perfect_and_opposite_prediction():
    label = np.array([[0, 1, 2, 2]])
    perfect = 60 * np.eye(3)[label].transpose(0, 2, 1) - 30
    options = DiceOptions(smooth=0)
    loss, vjp = soft_dice_loss_vjp(perfect, label, options)
    assert abs(loss[0]) < 1e-15 and np.abs(vjp(1.0)).max() < 1e-15  # a minimum is flat
    assert soft_dice_loss(perfect, (label + 1) % 3, options)[0] > 1 - 1e-12


def test_nothing_to_find_and_nothing_found_is_a_score_of_1():
    label = np.full((1, 4), 255)
    options = DiceOptions(ignore_label=255, smooth=0)
    assert_value(soft_dice_loss(P, label, options), [0.0])
    loss, vjp = soft_dice_loss_vjp(P, label, options)
    assert not vjp(1.0).any()


def test_automatic_weights_of_a_sample_without_labels_give_loss_0():
    label = np.full((1, 4), 255)
    for form in ('one_minus', 'negative', 'log', 'log_cosh'):
        for pooled in (True, False):
            options = DiceOptions(ignore_label=255, class_weights='inverse', form=form,
                                  pool_classes=pooled, smooth=1, smooth_dr=2)
            assert_value(soft_dice_loss(P, label, options), [0.0])


def test_gradient_of_ignored_pixels_is_zero():
    label = np.array([[0, 255, 1, 255]])
    _, vjp = soft_dice_loss_vjp(P, label, DiceOptions(ignore_label=255))
    gradient = vjp(1.0)
    assert not gradient[:, :, 1::2].any() and gradient[:, :, ::2].all()


@pytest.mark.parametrize('fields', [dict(), dict(gamma=0.5), dict(form='log'),
                                    dict(form='log_cosh'), dict(overlap='l1'),
                                    dict(pool_classes=True), dict(absent='skip'),
                                    dict(activation='none')])
def test_nan_in_the_prediction_stays_nan(fields):
    pred = P.copy()
    pred[0, 1, 1] = np.nan
    assert np.isnan(soft_dice_loss(pred, LABEL, DiceOptions(**fields))).all()


@pytest.mark.parametrize('activation', ['softmax', 'none'])
def test_nan_at_an_ignored_pixel_has_no_effect(activation):
    label = np.array([[0, 255, 1, 0]])
    pred = P.copy()
    pred[0, :, 1] = np.nan
    options = DiceOptions(ignore_label=255, activation=activation)
    loss, vjp = soft_dice_loss_vjp(pred, label, options)
    expected, expected_vjp = soft_dice_loss_vjp(P, label, options)
    assert_value(loss, expected)
    np.testing.assert_array_equal(vjp(1.0), expected_vjp(1.0))


def test_nan_where_a_dense_label_is_ignored_has_no_effect():
    whole = np.tile(P, 64)  # as many pixels as whole vectors of the kernels hold
    label = np.array(whole > 0.4, dtype=float)
    pred = whole.copy()
    for c in range(3):  # each at a pixel of its own, which counts for the others
        label[0, c, c], pred[0, c, c] = 255, np.nan
    options = DiceOptions(ignore_label=255, activation='none', sparse_label=False)
    loss, vjp = soft_dice_loss_vjp(pred, label, options)
    expected, expected_vjp = soft_dice_loss_vjp(whole, label, options)
    assert_value(loss, expected)
    np.testing.assert_array_equal(vjp(1.0), expected_vjp(1.0))


def test_sum_of_softmax_gradients_over_classes_is_zero():
    """Softmax does not change when a constant is added to all logits of a pixel."""
    _, vjp = soft_dice_loss_vjp(P, LABEL, DiceOptions(exponent=2))
    gradient = vjp(1.0)
    assert np.abs(gradient.sum(axis=1)).max() < 1e-15 < np.abs(gradient).max()


@pytest.mark.parametrize('kind', ['inverse', 'inverse_square'])
@pytest.mark.parametrize('mass', [1e-8, 1e-16, 1e-23, 1e-38, 1e-300])
@pytest.mark.parametrize('pooled', [True, False])
def test_automatic_weights_of_almost_nothing_stay_finite(kind, mass, pooled):
    label = np.array([[[0.5, 0.4], [0.5, 0.6], [mass, mass]]])
    options = DiceOptions(sparse_label=False, class_weights=kind, smooth=0, pool_classes=pooled)
    loss, vjp = soft_dice_loss_vjp(P[:, :, :2].astype('float32'), label, options)
    assert np.isfinite(loss).all() and np.isfinite(vjp(1.0)).all()


# --- no option may ever give NaN or infinity for finite input -------------------------------------

def refusing_contradictions(fields):
    try:
        return DiceOptions(**fields)
    except ValueError:
        return None


SMOOTH = st.sampled_from([0.0, 1e-5, 1.0, 100.0])
OPTIONS = st.fixed_dictionaries(dict(
    activation=st.sampled_from(['softmax', 'none']),
    include_background=st.booleans(), batch_dice=st.booleans(),
    ignore_label=st.sampled_from([None, 255]),
    alpha=st.sampled_from([0.0, 0.3, 0.5, 1.0]), beta=st.sampled_from([0.5, 0.7, 1.0]),
    exponent=st.sampled_from([1.0, 1.5, 2.0]), overlap=st.sampled_from(['product', 'l1']),
    smooth=SMOOTH, smooth_dr=st.one_of(st.none(), SMOOTH),
    class_weights=st.sampled_from([None, (0.0, 1.0, 2.0), 'inverse', 'inverse_square']),
    pool_classes=st.booleans(),
    weight_normalization=st.sampled_from(['classes', 'weights', 'score']),
    class_reduction=st.sampled_from(['mean', 'sum', 'none']),
    absent=st.sampled_from(['count', 'zero', 'skip']),
    form=st.sampled_from(['one_minus', 'negative', 'log', 'log_cosh']),
    gamma=st.sampled_from([0.5, 1.0, 2.0]))).map(refusing_contradictions).filter(bool)


@settings(max_examples=500, derandomize=True)
@given(options=OPTIONS, seed=st.integers(0, 99), spread=st.sampled_from([0.0, 1.0, 50.0, 1e4]),
       label=st.sampled_from([0, 1, 2, 255, None]), dtype=st.sampled_from(['float32', 'float64']))
def test_finite_input_gives_finite_loss_and_gradient(options, seed, spread, label, dtype):
    rng = np.random.RandomState(seed)
    pred = spread * rng.standard_normal((2, 3, 5))
    if options.activation == 'none':
        pred = rng.choice([0.0, 1e-12, 0.5, 1.0], (2, 3, 5)) * (spread > 0)
    labels = rng.randint(0, 3, (2, 5)) if label is None else np.full((2, 5), label)
    if options.ignore_label is None:
        labels = labels % 3
    loss, vjp = soft_dice_loss_vjp(pred.astype(dtype), labels, options)
    assert np.isfinite(loss).all()
    assert np.isfinite(vjp(1.0)).all()


def test_the_score_is_computed_once(monkeypatch):
    """Loss, score and gradient of a call share it."""
    calls = []
    tversky = score.tversky

    def counted(*arguments):
        calls.append(1)
        return tversky(*arguments)

    monkeypatch.setattr(score, 'tversky', counted)
    _, vjp = soft_dice_loss_vjp(np.zeros((2, 3, 4)), np.zeros((2, 4)))
    vjp(1.0)
    soft_dice_score(np.zeros((2, 3, 4)), np.zeros((2, 4)))
    assert len(calls) == 2


def test_a_perfect_prediction_under_any_weights_is_exactly_1():
    """The three sums are of the same numbers, so that they are the same to the last bit."""
    rng = np.random.RandomState(0)
    label = rng.randint(0, 3, (2, 1000))
    pred = np.moveaxis(np.eye(3), -1, 1)[label].swapaxes(1, 2).astype('float32')
    weight = rng.uniform(0, 2, label.shape).astype('float32')
    options = DiceOptions(activation='none', smooth=0.0)
    assert (soft_dice_score(pred, label, options, weight) == 1).all()


@pytest.mark.parametrize('vjp_of', [soft_dice_loss_vjp, dice_ce_loss_vjp])
def test_upstream_may_be_of_any_dtype(vjp_of):
    """float16, whose own sum of the two is 2048, is read before it is added up."""
    options = {soft_dice_loss_vjp: DiceOptions, dice_ce_loss_vjp: DiceCEOptions}[vjp_of]
    pred = np.concatenate([P, P[:, ::-1]])
    _, vjp = vjp_of(pred, np.repeat(LABEL, 2, axis=0), options(batch_dice=True))
    upstream = np.array([2048, 1])
    assert (vjp(upstream.astype('float16')) == vjp(upstream.astype('float64'))).all()


def test_float16_is_computed_in_float32():
    rng = np.random.RandomState(0)
    pred = rng.standard_normal((1, 2, 300, 300)).astype('float16')  # more pixels than it can sum
    label = rng.randint(0, 2, (1, 300, 300)).astype('uint8')
    loss, vjp = soft_dice_loss_vjp(pred, label)
    expected, expected_vjp = soft_dice_loss_vjp(pred.astype('float32'), label)
    assert (loss == expected).all() and vjp(1.0).dtype == np.float32
    assert (vjp(1.0) == expected_vjp(1.0)).all() and vjp(1.0).any()
    half = np.empty(pred.shape, 'float16')
    assert vjp(2.0 ** 16, out=half) is half
    assert (half == expected_vjp(2.0 ** 16).astype('float16')).all()
