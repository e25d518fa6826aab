"""What the reference accepts, and that it leaves its input alone; what it refuses: refusals.py."""
import numpy as np
import pytest
from tolerances import TOLERANCE

from soft_dice import DiceOptions, soft_dice_loss, soft_dice_loss_vjp
from soft_dice.gradcheck import relative_error

pytestmark = pytest.mark.usefixtures('implementation')

PRED = np.random.RandomState(0).standard_normal((2, 4, 9, 8))
LABEL = np.random.RandomState(1).randint(0, 4, (2, 9, 8))


def changed(array, index, value, dtype=float):
    array = array.astype(dtype)
    array[index] = value
    return array


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


PROBABILITY = np.full(PRED.shape, 0.5)
SHAPES = dict(pred=PRED.shape, label=LABEL.shape, dense=PRED.shape, weight=LABEL.shape)
BAD = {'label': (9, 'label must be a whole number'), 'dense': (2, 'a dense label must lie'),
       'weight': (-1, 'pixel_weight must be finite'), 'pred': (-0.5, 'a negative prediction')}


def loss_of(pred=PROBABILITY, label=LABEL, dense=None, weight=None):
    options = DiceOptions(activation='none', exponent=1.5, sparse_label=dense is None)
    return soft_dice_loss(pred, label if dense is None else dense, options, weight)


@pytest.mark.parametrize('at, where', [(0, 'sample 0, (class 0, )?pixel 0'),
                                       (-1, 'sample 1, (class 3, )?pixel 71')])
@pytest.mark.parametrize('name', list(BAD))
def test_the_first_and_the_last_value_are_looked_at(name, at, where):
    value, message = BAD[name]
    array = np.zeros(SHAPES[name])
    array.flat[at] = value
    with pytest.raises(ValueError, match=rf'{message}.* in {where}\b'):
        loss_of(**{name: array})


@pytest.mark.parametrize('label', ['label', 'dense'])
def test_what_lies_behind_an_array_is_no_part_of_it(label):
    def before_a_bad_one(name):
        longer = np.ones(np.prod(SHAPES[name]) + 1)
        longer[-1] = BAD[name][0]
        return longer[:-1].reshape(SHAPES[name])

    arrays = {name: before_a_bad_one(name) for name in (label, 'weight', 'pred')}
    assert np.isfinite(loss_of(**arrays)).all()
    arrays['pred'].flat[-1] = -0.5  # after all others have been looked at
    with pytest.raises(ValueError, match='a negative prediction has no power 1.5'):
        loss_of(**arrays)
