"""What the reference accepts and refuses, and that it leaves its input alone."""
import numpy as np
import pytest
from tolerances import TOLERANCE

from soft_dice import DiceOptions, soft_dice_loss, soft_dice_loss_vjp, soft_dice_score
from soft_dice.gradcheck import relative_error

pytestmark = pytest.mark.usefixtures('implementation')

PRED = np.random.RandomState(0).standard_normal((2, 4, 9, 8))
LABEL = np.random.RandomState(1).randint(0, 4, (2, 9, 8))


def changed(array, index, value, dtype=float):
    array = array.astype(dtype)
    array[index] = value
    return array


@pytest.mark.parametrize('label, message', [
    (LABEL[:1], r'one value per pixel of pred: for pred of shape \(2, 4, 9, 8\) that is '
                r'\(2, 9, 8\) or \(2, 1, 9, 8\); got \(1, 9, 8\)'),
    (LABEL[:, :1], r'got \(2, 1, 8\)'),
    (LABEL.transpose(0, 2, 1), r'got \(2, 8, 9\)'),
    (LABEL.reshape(2, 72), r'got \(2, 72\)'),
    (LABEL[0], r'got \(9, 8\)'),
    (0, r'got \(\)'),
    (PRED, r'or sparse_label=False for one value per class; got \(2, 4, 9, 8\)'),
    (changed(LABEL, (1, 0, 3), 4), r'whole number in \[0, 4\), for example 3; got 4.0 in sample 1, '
                                   'pixel 3 of 72'),
    (changed(LABEL, (0, 0, 0), -1, int), 'got -1 in sample 0, pixel 0'),
    (changed(LABEL, (0, 0, 0), 255, np.uint8), 'got 255'),
    (changed(LABEL, (0, 0, 0), 1.7), 'got 1.7'),
    (changed(LABEL, (0, 0, 0), np.nan), 'got nan'),
    (changed(LABEL, (0, 0, 0), np.inf), 'got inf'),
    (LABEL.astype(str), 'label must be an array of numbers; got dtype'),
    (LABEL.astype(object), 'label must be an array of numbers; got dtype object'),
    (LABEL.astype(complex), 'label must be an array of numbers'),
])
def test_bad_index_label(label, message):
    for function in (soft_dice_loss, soft_dice_loss_vjp, soft_dice_score):
        with pytest.raises(ValueError, match=message):
            function(PRED, label)


def test_ignore_label_is_named_among_the_allowed():
    with pytest.raises(ValueError, match=r'in \[0, 4\) or ignore_label=255, .*got 254'):
        soft_dice_loss(PRED, changed(LABEL, (0, 0, 0), 254), DiceOptions(ignore_label=255))


def test_one_channel_takes_labels_0_and_1():
    options = DiceOptions(activation='sigmoid')
    with pytest.raises(ValueError, match=r'whole number in \[0, 2\), for example 1; got 2'):
        soft_dice_loss(PRED[:, :1], np.full((2, 9, 8), 2), options)


@pytest.mark.parametrize('label, message', [
    (LABEL, r'must have the shape of pred, \(2, 4, 9, 8\); got \(2, 9, 8\)'),
    (np.zeros((1, 4, 9, 8)), r'got \(1, 4, 9, 8\)'),
    (np.zeros((2, 1, 9, 8)), r'got \(2, 1, 9, 8\)'),
    (np.full(PRED.shape, 1.01), r'a dense label must lie in \[0, 1\], for example 0.5; got 1.01'),
    (np.full(PRED.shape, -0.1), 'got -0.1'),
    (np.full(PRED.shape, np.nan), 'got nan in sample 0, class 0, pixel 0 of 72'),
    (np.full(PRED.shape, 'a'), 'array of numbers'),
])
def test_bad_dense_label(label, message):
    with pytest.raises(ValueError, match=message):
        soft_dice_loss(PRED, label, DiceOptions(sparse_label=False))


@pytest.mark.parametrize('weight, message', [
    (np.ones((1, 9, 8)), r'pixel_weight must have one value per pixel.*got \(1, 9, 8\)'),
    (np.ones(PRED.shape), r'got \(2, 4, 9, 8\)$'),
    (np.ones(()), r'got \(\)'),
    (changed(np.ones((2, 9, 8)), (1, 1, 0), -1), 'finite and not negative, for example 0.5; '
                                                 'got -1.0 in sample 1, pixel 8 of 72'),
    (changed(np.ones((2, 9, 8)), (1, 1, 0), np.nan), 'got nan'),
    (changed(np.ones((2, 9, 8)), (1, 1, 0), np.inf), 'got inf'),
])
def test_bad_pixel_weight(weight, message):
    with pytest.raises(ValueError, match=message):
        soft_dice_loss(PRED, LABEL, pixel_weight=weight)


@pytest.mark.parametrize('pred, label, message', [
    (np.zeros((0, 4, 9, 8)), np.zeros((0, 9, 8)), 'at least one sample, class and pixel'),
    (np.zeros((2, 0, 9, 8)), LABEL, 'at least one sample, class and pixel'),
    (np.zeros((2, 4, 0, 8)), np.zeros((2, 0, 8)), 'at least one sample, class and pixel'),
    (np.zeros(4), np.zeros(4), 'a batch axis and a class axis'),
    (PRED.astype(int), LABEL, 'pred must be float32 or float64.*got int64'),
    (PRED.astype('float16'), LABEL, 'got float16'),
    (PRED.astype(complex), LABEL, 'got complex128'),
    (PRED.astype(str), LABEL, 'pred must be float32 or float64'),
    (None, LABEL, 'pred must be float32 or float64'),
])
def test_bad_pred(pred, label, message):
    with pytest.raises(ValueError, match=message):
        soft_dice_loss(pred, label)


@pytest.mark.parametrize('axis, message', [(4, 'axis of pred, which has 4; got axis=4'),
                                           (-5, 'got axis=-5'),
                                           (-4, 'must not be the batch axis, 0; axis=-4 is')])
def test_bad_axis(axis, message):
    with pytest.raises(ValueError, match=message):
        soft_dice_loss(PRED, LABEL, DiceOptions(axis=axis))


def test_negative_prediction_has_no_fractional_power():
    with pytest.raises(ValueError, match='a negative prediction has no power 1.5'):
        soft_dice_loss(PRED, LABEL, DiceOptions(activation='none', exponent=1.5))


@pytest.mark.parametrize('upstream', [np.ones(3), np.ones((2, 1)), np.ones((1,))])
def test_upstream_never_broadcasts(upstream):
    _, vjp = soft_dice_loss_vjp(PRED, LABEL)
    with pytest.raises(ValueError, match=r'a number or have the shape of the loss, \(2,\)'):
        vjp(upstream)


def test_upstream_is_required():
    _, vjp = soft_dice_loss_vjp(PRED, LABEL)
    with pytest.raises(TypeError):
        vjp()


def test_scalar_upstream_weighs_every_sample():
    _, vjp = soft_dice_loss_vjp(PRED, LABEL, DiceOptions(batch_dice=True))
    np.testing.assert_array_equal(vjp(2.0), vjp(np.full(2, 2.0)))


@pytest.mark.parametrize('dtype', [bool, np.uint8, np.int8, np.int32, np.int64, np.uint64,
                                   np.float16, np.float32, np.float64, '>f4', '>i2'])
def test_label_dtypes(dtype):
    label = LABEL % 2
    same = soft_dice_loss(PRED, label)
    np.testing.assert_array_equal(soft_dice_loss(PRED, label.astype(dtype)), same)
    np.testing.assert_array_equal(soft_dice_loss(PRED, label.astype(dtype)[:, None]), same)


@pytest.mark.parametrize('fields', [dict(), dict(activation='none'), dict(activation='sigmoid'),
                                    dict(ignore_label=255)])
def test_input_is_only_read(fields):
    dense = fields.get('activation') == 'sigmoid'
    options = DiceOptions(sparse_label=not dense, **fields)
    label = (PRED > 0).astype(float) if dense else changed(LABEL, (0, 0, 0), 255 if
                                                           'ignore_label' in fields else 0)
    inputs = [PRED.copy(), label.copy(), np.ones((2, 9, 8))]
    for array in inputs:
        array.setflags(write=False)
    before = [array.copy() for array in inputs]
    loss, vjp = soft_dice_loss_vjp(inputs[0], inputs[1], options, inputs[2])
    gradient = vjp(1.0)
    for array, copy in zip(inputs, before):
        np.testing.assert_array_equal(array, copy)
    assert gradient.flags.writeable and not np.shares_memory(gradient, inputs[0])


def test_layout_in_memory_does_not_matter():
    loss, vjp = soft_dice_loss_vjp(PRED, LABEL)
    wide = np.zeros((4, 4, 9, 16))
    wide[::2, :, :, ::2] = PRED
    for pred in (np.asfortranarray(PRED), wide[::2, :, :, ::2], PRED.astype('>f8'),
                 PRED[:, :, ::-1][:, :, ::-1]):
        other_loss, other_vjp = soft_dice_loss_vjp(pred, np.asfortranarray(LABEL))
        assert relative_error(other_loss, loss) <= TOLERANCE['value, float64']
        assert relative_error(other_vjp(1.0), vjp(1.0)) <= TOLERANCE['gradient, float64']
        assert other_vjp(1.0).flags.c_contiguous


def test_lists_are_arrays():
    assert soft_dice_loss([[[0.0, 0.0], [0.0, 0.0]]], [[0, 1]]).shape == (1,)


def test_dtypes_of_the_results():
    for dtype in (np.float32, np.float64):
        loss, vjp = soft_dice_loss_vjp(PRED.astype(dtype), LABEL)
        assert loss.dtype == np.float64 and vjp(1.0).dtype == dtype


def test_float32_sums_are_float64():
    """A sum of 20 million halves in float32 stops at 2^24 / 2 or drifts; here it is exact."""
    pixels = 1 << 21
    pred = np.full((1, 2, pixels), 0.1, np.float32)
    label = np.zeros((1, pixels), np.uint8)
    p = float(np.float32(0.1))
    expected = 1 - 0.5 * (2 * p * pixels + 1e-5) / (p * pixels + pixels + 1e-5) \
        - 0.5 * 1e-5 / (p * pixels + 1e-5)
    loss = soft_dice_loss(pred, label, DiceOptions(activation='none'))
    assert relative_error(loss, np.array([expected])) <= TOLERANCE['value, float64']
