"""The kernels' cross-entropy against the reference, exact arithmetic and finite differences."""
import itertools

import numpy as np
import pytest
from families import sums_of
from test_native import MEMORY, batch, run_program
from tolerances import TOLERANCE
from zoo_softmax import softmax

from soft_dice import DiceCEOptions, dice_ce_loss_vjp, native
from soft_dice.gradcheck import assert_gradient, check_gradient, relative_error
from soft_dice.sums import Slopes

KERNELS, REASON = native.load()
assert KERNELS, REASON
each_set = pytest.mark.parametrize('instruction_set', KERNELS.instruction_sets)
each_label = pytest.mark.parametrize('activation, sparse_label', [
    ('softmax', True), ('softmax', False), ('sigmoid', True), ('sigmoid', False)])
RNG = np.random.RandomState(0)
pytestmark = pytest.mark.usefixtures('kernels')


def both_of(arrays, options):
    """The sums, and the gradient of some sum of all of them."""
    sums, vjp = sums_of(arrays[0], arrays[1], options, arrays[2])
    size = sums.pred_sum.size
    d_counts = np.cos(np.arange(2.0 * size)).reshape(2, *sums.pred_sum.shape)
    return sums, vjp(Slopes(*d_counts, np.cos(np.arange(len(sums.entropy)) - 0.7)))


def assert_equals_reference(monkeypatch, arrays, options, value=TOLERANCE['loss, float32']):
    """The kernels on ``arrays`` (pred, label, weight), against the reference in float64.

    value : the tolerance of the sums in float32.
    """
    exact = [None if each is None else each.astype(np.float64) for each in arrays]
    monkeypatch.setenv('SOFT_DICE_NATIVE', '0')
    expected_sums, expected_gradient = both_of(exact, options)
    monkeypatch.setenv('SOFT_DICE_NATIVE', '1')
    sums, gradient = both_of(arrays, options)
    dtype = arrays[0].dtype.name
    value = TOLERANCE['value, float64'] if dtype == 'float64' else value
    for each, expected in zip(sums, expected_sums):
        assert relative_error(each, expected) <= value
    assert gradient.dtype == dtype and gradient.shape == arrays[0].shape
    assert relative_error(gradient, expected_gradient) <= TOLERANCE[f'gradient, {dtype}']


# ---- against the reference ----

def options_of(activation, sparse_label, **fields):
    return DiceCEOptions(activation=activation, sparse_label=sparse_label, **fields)


def arrays_of(shape, options, dtype, weighted=False):
    dice = options.dice
    return batch(shape, dice, dtype, 'int32' if dice.sparse_label else dtype, weighted,
                 ignore=dice.ignore_label is not None)


@each_set
@each_label
@pytest.mark.parametrize('gamma', [0, 0.5, 1, 2, 2.7])
@pytest.mark.parametrize('smoothing', [0, 0.2])
def test_every_setting(monkeypatch, using, instruction_set, activation, sparse_label, gamma,
                       smoothing):
    """With and without weights of classes and pixels, of the fast path and the other."""
    using(instruction_set)
    channels = 1 if activation == 'sigmoid' and sparse_label else 4
    for dtype, weights, weighted, ignore, exponent in itertools.product(
            ['float32', 'float64'], [None, [0.3, 1, 0, 2][:channels]], [False, True], [None, 255],
            [1, 2]):
        options = options_of(activation, sparse_label, label_smoothing=smoothing, ce_gamma=gamma,
                             ce_class_weights=weights, ignore_label=ignore, exponent=exponent)
        arrays = arrays_of((2, channels, 9, 31), options, dtype, weighted)
        assert_equals_reference(monkeypatch, arrays, options)


@pytest.mark.parametrize('axis', [1, 2, -1])
@pytest.mark.parametrize('shape', [(2, 3, 5, 7), (1, 2, 130, 67), (2, 9, 2, 300), (1, 70, 3, 64),
                                   (1, 4, 1, 1), (2, 2, 450, 2)])
def test_any_layout(monkeypatch, shape, axis):
    sparse = dict(sparse_label=True, activation='sigmoid' if shape[axis] == 1 else 'softmax')
    weights = RNG.uniform(size=shape[axis])
    for fields in (sparse, dict(sparse_label=False, activation='sigmoid'),
                   dict(sparse_label=False, activation='softmax')):
        if shape[axis] == 1 and fields['activation'] == 'softmax':
            continue
        options = DiceCEOptions(axis=axis, ignore_label=-1, label_smoothing=0.1,
                                ce_class_weights=weights, **fields)
        for weighted in (False, True):
            arrays = arrays_of(shape, options, 'float32', weighted)
            assert_equals_reference(monkeypatch, arrays, options)


@each_set
@pytest.mark.parametrize('pixels', [1, 15, 16, 64, 65, 257, 4097, 8191])
def test_any_number_of_pixels(monkeypatch, using, instruction_set, pixels):
    using(instruction_set)
    for dtype in ('float32', 'float64'):
        options = DiceCEOptions(ce_class_weights=[0.5, 1, 2])
        assert_equals_reference(monkeypatch, arrays_of((2, 3, pixels), options, dtype), options)


@pytest.mark.parametrize('classes', [2, 19, 129, 1500])
def test_any_number_of_classes(monkeypatch, classes):
    """Of many, each has a pixel or none, whose probability alone is then its sum: errors of several
    pixels do not level each other out."""
    options = DiceCEOptions(ce_gamma=2, ce_class_weights=RNG.uniform(size=classes))
    for dtype in ('float32', 'float64'):
        arrays = arrays_of((1, classes, 301), options, dtype)
        smallest = softmax(arrays[0].astype(np.float64), axis=1).min()
        value = -np.log(smallest) * TOLERANCE[
            'probability, float32, for each unit of its logarithm']
        assert_equals_reference(monkeypatch, arrays, options, value)


@pytest.mark.parametrize('label_dtype', ['bool', 'int8', 'uint8', 'int16', 'uint16', 'int32',
                                         'uint32', 'int64', 'uint64', 'float16', 'float32',
                                         'float64'])
def test_any_label_dtype(monkeypatch, label_dtype):
    options = DiceCEOptions(ignore_label=100, ce_class_weights=[1, 3])
    pred, label, _ = batch((2, 2, 300), options.dice)
    if label_dtype != 'bool':
        label[:, ::7] = 100
    assert_equals_reference(monkeypatch, (pred, label.astype(label_dtype), None), options)


@pytest.mark.parametrize('fields', [{}, {'ce_class_weights': [1, 2, 3]}, {'label_smoothing': 0.1},
                                    {'ce_gamma': 2, 'ignore_label': 1}, {'exponent': 2}])
def test_the_counts_are_those_of_the_dice_alone(fields):
    """And so is what they give the gradient, bit by bit."""
    options = DiceCEOptions(**fields)
    pred, label, _ = batch((2, 3, 5000), options.dice)
    sums, vjp = sums_of(pred, label, options)
    alone, dice_vjp = sums_of(pred, label, options.dice)
    np.testing.assert_array_equal(sums[:3], alone[:3])
    d_counts = RNG.standard_normal((2, 2, 3))
    np.testing.assert_array_equal(vjp(Slopes(*d_counts, np.zeros(2))),
                                  dice_vjp(Slopes(*d_counts)))
    assert sums.entropy.shape == sums.entropy_norm.shape == (2,)


# ---- against mathematics ----

def exact(x, gamma):
    """q^gamma (-log p) of p = 1 / (1 + exp(-x)), and its derivative by x, to 18 digits."""
    x = x.astype(np.longdouble)
    minus_log, log_q = np.logaddexp(0, -x), -np.logaddexp(0, x)
    p, q, power = np.exp(-minus_log), np.exp(log_q), np.exp(gamma * log_q)
    return power * minus_log, -power * (q + gamma * p * minus_log)


@each_set
@pytest.mark.parametrize('activation', ['softmax', 'sigmoid'])
@pytest.mark.parametrize('gamma', [0, 0.5, 1, 1.5, 2, 3.7])
@pytest.mark.parametrize('dtype, far, tolerance', [('float32', 80, 4e-7), ('float64', 690, 1e-15)])
def test_every_digit_is_right(using, instruction_set, activation, gamma, dtype, far, tolerance):
    """One pixel's loss and slope from certainly wrong to certainly right, where they are 1e-34."""
    using(instruction_set)
    x = np.linspace(-far, far / (1 + gamma), 20001).astype(dtype)
    pred = x[:, None, None]
    if activation == 'softmax':
        pred = np.concatenate([pred, 0 * pred], axis=1)
    label = np.full((len(x), 1), int(activation == 'sigmoid'))
    options = DiceCEOptions(activation=activation, ce_gamma=gamma)
    sums, vjp = sums_of(pred, label, options)
    none = np.zeros_like(sums.pred_sum)
    slope = vjp(Slopes(none, none, np.ones(len(x))))[:, 0, 0]
    expected, expected_slope = exact(x, gamma)
    assert np.max(np.abs(sums.entropy / expected - 1)) <= tolerance * (1 + gamma)
    assert np.max(np.abs(slope / expected_slope - 1)) <= tolerance * (1 + gamma)


@each_label
@pytest.mark.parametrize('gamma', [0, 0.5, 2])
@pytest.mark.parametrize('smoothing', [0, 0.2])
def test_finite_differences(activation, sparse_label, gamma, smoothing):
    channels = 1 if activation == 'sigmoid' and sparse_label else 3
    options = options_of(activation, sparse_label, ce_gamma=gamma, label_smoothing=smoothing,
                         ignore_label=255, ce_class_weights=[0.5, 1, 2][:channels])
    pred, label, weight = arrays_of((2, channels, 20), options, 'float64', weighted=True)
    result = check_gradient(lambda z: dice_ce_loss_vjp(z, label, options, weight), pred,
                            np.array([0.7, -1.3]), every_element=True)
    assert_gradient(result, TOLERANCE['gradient against finite differences, float64'])


def test_the_sum_of_a_million_pixels():
    """Of log 2 each; in float32 alone, sums of this length are wrong in the fourth digit."""
    pred = np.zeros((1, 2, 1 << 20), np.float32)
    sums, _ = sums_of(pred, np.zeros((1, 1 << 20), np.uint8), DiceCEOptions())
    assert relative_error(sums.entropy, (1 << 20) * np.log([2])) <= TOLERANCE['loss, float32']
    np.testing.assert_array_equal(sums.entropy_norm, [1 << 20])


# ---- values that are no numbers, and bad ones ----

@each_label
@pytest.mark.parametrize('gamma', [0, 0.5, 2])
@pytest.mark.parametrize('smoothing', [0, 0.2])
def test_nan(activation, sparse_label, gamma, smoothing):
    """A NaN that counts stays a NaN; one that is ignored or has weight 0 has no effect."""
    channels = 1 if activation == 'sigmoid' and sparse_label else 3
    options = options_of(activation, sparse_label, ce_gamma=gamma, label_smoothing=smoothing)
    pred, label, _ = arrays_of((2, channels, 301), options, 'float32')
    pred[1, channels // 2, 100] = np.nan
    sums, _ = sums_of(pred, label, options)
    assert np.isnan(sums.entropy).tolist() == [False, True] and np.isfinite(sums.entropy_norm).all()
    loss, vjp = dice_ce_loss_vjp(pred, label, options)
    assert np.isnan(vjp(1.0)[1, :, 100]).all() or not sparse_label
    weight = np.ones((2, 301), np.float32)
    weight[1, 100] = 0
    clean = np.where(np.isnan(pred), np.float32(0.5), pred)
    results = [both_of((each, label, weight), options) for each in (pred, clean)]
    for one, other in zip(*([*sums, gradient] for sums, gradient in results)):
        np.testing.assert_array_equal(one, other)
    assert (results[0][1][1, :, 100] == 0).all()


@each_label
@pytest.mark.parametrize('gamma', [0, 0.5, 2])
@pytest.mark.parametrize('smoothing', [0, 0.2])
def test_no_finite_logit_gives_a_nan_or_an_infinity(activation, sparse_label, gamma, smoothing):
    channels = 1 if activation == 'sigmoid' and sparse_label else 3
    options = options_of(activation, sparse_label, ce_gamma=gamma, label_smoothing=smoothing)
    values = np.array([1e30, -1e30, 3e4, -3e4, 0, 88, -88, 104, 1e-30, -1e-45], np.float32)
    pred = RNG.choice(values, (2, channels, 2000))
    arrays = (pred, RNG.randint(0, 2, pred.shape if not sparse_label else (2, 2000)), None)
    sums, gradient = both_of(arrays, options)
    assert np.isfinite(sums.entropy).all() and np.isfinite(gradient).all()


@pytest.mark.parametrize('fields', [{}, {'ce_gamma': 2}, {'ce_gamma': 0.5}, {'exponent': 2},
                                    {'ce_class_weights': [1, 2, 0]}])
def test_a_class_that_is_ruled_out(fields):
    """A logit of -inf, at pixels of other classes, is a class less."""
    options = DiceCEOptions(**fields)
    pred, label, _ = batch((2, 3, 301), options.dice)
    label %= 2
    pred[:, 2] = -np.inf
    sums, gradient = both_of((pred, label, None), options)
    pred[:, 2] = -200
    expected, slope = both_of((pred, label, None), options)
    for one, other in zip(sums, expected):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(gradient, slope)


@each_label
@pytest.mark.parametrize('normalization', ['valid', 'pixels'])
def test_all_ignored(activation, sparse_label, normalization):
    channels = 1 if activation == 'sigmoid' and sparse_label else 3
    options = options_of(activation, sparse_label, ignore_label=255, dice_weight=0.0,
                         ce_normalization=normalization, label_smoothing=0.1)
    pred, label, _ = arrays_of((2, channels, 301), options, 'float32')
    label[1] = 255
    loss, vjp = dice_ce_loss_vjp(pred, label, options)
    assert loss[0] > 0 and loss[1] == 0
    gradient = vjp(1.0)
    assert gradient[0].any() and not gradient[1].any()


# ---- threads and memory ----

PROGRAM = '''
import hashlib
import numpy as np
from soft_dice import DiceCEOptions, dice_ce_loss_vjp
rng = np.random.RandomState(0)
digest = hashlib.sha256()
for options in (DiceCEOptions(), DiceCEOptions(label_smoothing=0.1, ce_class_weights=[1, 2, 3]),
                DiceCEOptions(ce_gamma=1.5, exponent=2, ignore_label=1)):
    pred = rng.standard_normal((3, 3, 200, 123)).astype(np.float32)
    loss, vjp = dice_ce_loss_vjp(pred, rng.randint(0, 3, (3, 200, 123)), options)
    digest.update(loss.tobytes() + vjp(1.0).tobytes())
print(digest.hexdigest())
'''


def test_the_same_bits_on_any_number_of_threads():
    assert len({run_program(PROGRAM, OMP_NUM_THREADS=n)[0] for n in ('1', '2', '3', '7')}) == 1


@pytest.mark.parametrize('options', [{}, {'ce_gamma': 2, 'label_smoothing': 0.1},
                                     {'sparse_label': False, 'activation': 'sigmoid'}])
def test_nothing_of_the_size_of_the_logits_is_allocated(options):
    program = (MEMORY.replace('{options}', repr(options)).replace('DiceOptions', 'DiceCEOptions')
               .replace('soft_dice_loss_vjp', 'dice_ce_loss_vjp')
               .replace('options.sparse_label', 'options.dice.sparse_label'))
    assert float(run_program(program)[0]) < 0.05
