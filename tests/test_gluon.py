"""What is Gluon's own: hybridizing, dtypes, weight, NaN."""
import mxnet as mx
import numpy as np
import pytest
from cases import CASES, Arrays
from cases_ce import CE_CASES
from families import FAMILIES, over_batch
from mxnet import autograd, gluon
from on_gluon import (Net, assert_only_the_prediction_learns, assert_survives_export, differentiate,
                      ndarray)
from releases import STATIC, operators_only
from tolerances import TOLERANCE

from gluon_dice import DiceCELoss, SoftDiceLoss
from gluon_dice.counts import BLOCK, blocks_for
from soft_dice import (DiceCEOptions, DiceOptions, preset, soft_dice_loss,
                       soft_dice_loss_vjp)
from soft_dice.gradcheck import relative_error

RNG = np.random.RandomState(0)
PRED = RNG.standard_normal((3, 4, 6, 5)).astype('float32')
LABEL = RNG.randint(0, 4, (3, 6, 5)).astype('float32')
WEIGHT = RNG.uniform(0.5, 2, (3, 6, 5)).astype('float32')


# All of this holds for F operators and for the kernels alike, but where it is marked.
pytestmark = pytest.mark.usefixtures('implementation')


def hybrid(**fields):
    loss = SoftDiceLoss(**fields)
    loss.hybridize(**STATIC)
    return loss


def both(**fields):
    return {'imperative': SoftDiceLoss(**fields), 'hybridized': hybrid(**fields)}


def test_is_a_gluon_loss():
    loss = SoftDiceLoss(DiceOptions(smooth=1), weight=2.0, batch_dice=True, prefix='dice_')
    assert isinstance(loss, gluon.loss.Loss)
    assert loss.prefix == 'dice_'
    assert loss.options == DiceOptions(smooth=1, batch_dice=True)
    assert repr(loss) == 'SoftDiceLoss(batch_dice=True, smooth=1.0, weight=2.0)'
    assert repr(SoftDiceLoss(batch_axis=2)) == 'SoftDiceLoss(batch_axis=2)'
    assert repr(SoftDiceLoss(num_classes=4)) == 'SoftDiceLoss(num_classes=4)'


@pytest.mark.parametrize('loss, options', [
    (lambda: SoftDiceLoss('nnunet'), preset('nnunet')),
    (lambda: SoftDiceLoss(preset='nnunet', ignore_label=255),
     preset('nnunet').replace(ignore_label=255)),
    (lambda: DiceCELoss('nnunet', weight=2.0, ce_weight=0.5),
     DiceCEOptions(include_background=False, form='negative', ce_weight=0.5)),
    (lambda: DiceCELoss(preset='nnunet_dice_ce'), preset('nnunet_dice_ce'))])
def test_a_loss_starts_from_a_preset(loss, options):
    assert loss().options == options


@pytest.mark.parametrize('error, keywords, message', [
    (TypeError, dict(options='monai', preset='monai'), 'give options or preset, not both'),
    (ValueError, dict(options='nnunet_dice_ce'), 'has a cross-entropy: use DiceCELoss'),
    (ValueError, dict(preset='nnUNet'), "preset must be one of .*, nnunet, .*; got 'nnUNet'"),
    (TypeError, dict(smoth=1), "unknown option 'smoth'; the options are activation"),
    (ValueError, dict(gamma=0), 'gamma must be'),
    (TypeError, dict(options={'smooth': 1}), 'options must be a soft_dice.DiceOptions.*got dict'),
    (ValueError, dict(batch_axis=-1), 'batch_axis must be a whole number >= 0'),
])
def test_bad_arguments(error, keywords, message):
    with pytest.raises(error, match=message):
        SoftDiceLoss(**keywords)


@pytest.mark.parametrize('mode', ['imperative', 'hybridized'])
def test_weight_multiplies_the_loss(mode):
    plain = differentiate(both()[mode], Arrays(PRED, LABEL, None, np.ones(3)))
    heavy = differentiate(both(weight=-2.5)[mode], Arrays(PRED, LABEL, None, np.ones(3)))
    for a, b in zip(plain, heavy):
        assert relative_error(-2.5 * a, b) <= TOLERANCE['loss, float32']


def test_head_gradient_is_honoured():
    arrays = Arrays(PRED, LABEL, None, np.array([1.0, 0.0, -2.0]))
    _, gradient = differentiate(hybrid(), arrays)
    _, ones = differentiate(hybrid(), arrays._replace(upstream=np.ones(3)))
    assert not gradient[1].any()
    assert relative_error(gradient[2], -2 * ones[2]) <= TOLERANCE['gradient, float32']


def test_hybridized_with_and_without_pixel_weights_in_turn():
    loss = hybrid()
    for weight in (None, WEIGHT, None, WEIGHT):
        value = loss(*(ndarray(a) for a in (PRED, LABEL, weight) if a is not None))
        expected = soft_dice_loss(PRED, LABEL, pixel_weight=weight)
        assert relative_error(value.asnumpy(), expected) <= TOLERANCE['loss, float32']


def test_hybridized_with_changing_shapes_and_dtypes():
    loss = hybrid()
    for shape in ((3, 4, 6, 5), (1, 4, 6, 5), (2, 3, 9, 4), (2, 3, 2, 3, 4), (3, 4, 6, 5)):
        for dtype in ('float32', 'float64', 'float32'):
            pred = RNG.standard_normal(shape).astype(dtype)
            label = RNG.randint(0, shape[1], shape[:1] + shape[2:])
            value = loss(ndarray(pred), ndarray(label))
            assert np.dtype(value.dtype) == dtype
            tolerance = 'loss, float32' if dtype == 'float32' else 'value, float64'
            assert relative_error(value.asnumpy(), soft_dice_loss(pred, label)) \
                <= TOLERANCE[tolerance]


@pytest.mark.parametrize('mode', ['imperative', 'hybridized'])
@pytest.mark.parametrize('case', [case for case in CASES if case.name in (
    'defaults', 'volume', 'ignored', 'pixel weights', 'channels last', 'generalised', 'squared')],
    ids=lambda case: case.name)
def test_float16(case, mode):
    arrays = case.arrays('float16')
    arrays = arrays._replace(upstream=100 * arrays.upstream)  # as loss scaling does
    loss = SoftDiceLoss(case.options)
    loss.hybridize(mode == 'hybridized')
    value, gradient = differentiate(loss, arrays)
    assert (value.dtype, gradient.dtype) == (np.float32, np.float16)
    wide = arrays._replace(pred=arrays.pred.astype('float64'))
    if arrays.pixel_weight is not None:
        wide = wide._replace(pixel_weight=arrays.pixel_weight.astype('float64'))
    expected, expected_gradient = differentiate(SoftDiceLoss(case.options), wide)
    assert relative_error(value, expected) <= TOLERANCE['loss, float16']
    assert relative_error(gradient, expected_gradient) <= TOLERANCE['gradient, float16']


def test_float16_does_not_overflow_past_65504_pixels():
    pred = mx.nd.zeros((1, 2, 300, 300), dtype='float16')
    value = SoftDiceLoss()(pred, mx.nd.zeros((1, 300, 300), dtype='float16'))
    expected = soft_dice_loss(np.zeros((1, 2, 300, 300)), np.zeros((1, 300, 300)))
    assert relative_error(value.asnumpy(), expected) <= TOLERANCE['loss, float32']


@pytest.mark.parametrize('dtype', ['uint8', 'int8', 'int32', 'int64', 'float16', 'float64'])
def test_label_dtypes(dtype):
    expected = soft_dice_loss(PRED, LABEL)
    for loss in both().values():
        for label in (LABEL, LABEL[:, None]):
            value = loss(ndarray(PRED), ndarray(label.astype(dtype)))
            assert relative_error(value.asnumpy(), expected) <= TOLERANCE['loss, float32']


def test_label_and_weight_receive_no_gradient():
    soft = RNG.uniform(size=PRED.shape).astype('float32')
    for loss in both(sparse_label=False).values():
        assert_only_the_prediction_learns(loss, [ndarray(a) for a in (PRED, soft, WEIGHT)])


def test_batch_axis():
    """Time, batch, classes: axis 2 holds the classes, axis 1 the batch."""
    pred, label = PRED[..., 0].transpose(2, 0, 1), LABEL[..., 0].T
    for loss in both(batch_axis=1, axis=2).values():
        value = loss(ndarray(pred), ndarray(label)).asnumpy()
        expected = soft_dice_loss(PRED[..., 0], LABEL[..., 0])
        assert relative_error(value, expected) <= TOLERANCE['loss, float32']
    with pytest.raises(ValueError, match='^axis must not be the batch axis, 1, .*; got axis=1$'):
        SoftDiceLoss(batch_axis=1)
    message = r'^axis must not be the batch axis, 1; axis=-2 is, for pred of shape \(6, 3, 4\)$'
    with pytest.raises(ValueError, match=message):
        SoftDiceLoss(batch_axis=1, axis=-2)(ndarray(pred), ndarray(label))


@pytest.mark.parametrize('size', [(1024, 1024), (1031, 1031), (97, 89), (128, 128, 130)])
def test_sums_over_many_pixels(size):
    """float32 over a million pixels, with a number of blocks that divides them and without."""
    rng = np.random.RandomState(0)
    pred = rng.standard_normal((1, 3) + size).astype('float32')
    label = rng.randint(0, 3, (1,) + size)
    arrays = Arrays(pred, label, None, np.ones(1))
    expected, vjp = soft_dice_loss_vjp(pred.astype('float64'), label)
    nested = Net(DiceOptions())
    nested.hybridize()
    for loss in (hybrid(), nested):
        value, gradient = differentiate(loss, arrays)
        assert relative_error(value, expected) <= TOLERANCE['loss, float32']
        assert relative_error(gradient, vjp(1.0)) <= TOLERANCE['gradient, float32']


@pytest.mark.parametrize('pixels', [1, 5, 16384, 16385, 65536, 9216, 1024 * 1024, 1031 * 1031,
                                    16411, 128 * 128 * 130, 3 * 16411])
def test_blocks_divide_the_pixels(pixels):
    blocks = blocks_for(pixels)
    assert blocks == 0 or (pixels % blocks == 0 and pixels // blocks <= BLOCK)
    assert blocks <= 1 or pixels // blocks >= BLOCK // 32
    assert blocks_for(16411) == 0 and blocks_for(16384) == 1  # a prime, and one block


def test_symbol_arithmetic_is_not_that_of_the_last_array():
    loss = SoftDiceLoss()
    loss(ndarray(PRED.astype('float64')), ndarray(LABEL))
    assert 'float64' not in str(loss(mx.sym.Variable('p'), mx.sym.Variable('l')).infer_type(
        p='float32', l='float32')[1])


# --- values that are not allowed, besides those in refusals.py ------------------------------------

@operators_only
def test_a_bad_value_makes_a_batch_nan_with_batch_dice():
    label = LABEL.copy()
    label[1, 2, 3] = 4
    for loss in both(batch_dice=True).values():
        assert np.isnan(loss(ndarray(PRED), ndarray(label)).asnumpy()).all()


def test_nan_in_the_prediction_stays_nan_except_where_ignored():
    pred, label = PRED.copy(), LABEL.copy()
    pred[1, 2, 3, 3] = np.nan
    for fields in (dict(), dict(gamma=0.5), dict(form='log'), dict(form='log_cosh')):
        for loss in both(ignore_label=255, **fields).values():
            value = loss(ndarray(pred), ndarray(label)).asnumpy()
            assert np.isnan(value).tolist() == [False, True, False]
    label[1, 3, 3] = 255
    for loss in both(ignore_label=255).values():
        value, gradient = differentiate(loss, Arrays(pred, label, None, np.ones(3)))
        assert np.isfinite(value).all() and np.isfinite(gradient).all()


# --- in use ---------------------------------------------------------------------------------------

def test_trains_a_hybridized_network():
    mx.random.seed(0)
    net = gluon.nn.Conv2D(4, 1, in_channels=4)
    net.initialize(mx.init.Xavier())
    net.hybridize(**STATIC)
    loss = hybrid()
    trainer = gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': 0.05})
    x = ndarray(np.eye(4, dtype='float32')[LABEL.astype(int)].transpose(0, 3, 1, 2))
    first = last = None
    for _ in range(40):
        with autograd.record():
            value = loss(net(x), ndarray(LABEL))
        value.backward()
        trainer.step(len(x))
        last = value.mean().asscalar()
        first = last if first is None else first
    assert last < first / 3


def test_exported_graph_is_loaded_again(tmp_path):
    net = Net(DiceOptions(include_background=False, class_weights=[1, 2, 3, 4], smooth=[1, 2, 3]))
    net.hybridize()
    assert_survives_export(net, [ndarray(PRED), ndarray(LABEL)], tmp_path)


# ---- the slopes of stage 2, which autograd takes as constants ----

@pytest.mark.parametrize('loss', [SoftDiceLoss, DiceCELoss])
@pytest.mark.parametrize('fields', [
    dict(), dict(sparse_label=False, activation='sigmoid'),
    dict(sparse_label=False, activation='sigmoid', batch_dice=True, pool_classes=True)])
@pytest.mark.parametrize('hybridize', [False, True])
def test_a_second_derivative_is_refused(hybridize, fields, loss):
    """It would be wrong, as slopes are constants; MXNet has none of an operator on the way."""
    loss = loss(**fields)
    loss.hybridize(hybridize)
    pred = ndarray(PRED)
    label = ndarray(LABEL if loss.options.dice.sparse_label else np.ones_like(PRED))
    pred.attach_grad()
    with pytest.raises(mx.base.MXNetError):
        with autograd.record():
            value = loss(pred, label)
            gradient = autograd.grad(value, [pred], create_graph=True, retain_graph=True)[0]
            total = (gradient * gradient).sum()
        total.backward()


@pytest.mark.parametrize('make', [SoftDiceLoss, hybrid, Net])
def test_an_infinite_sum_is_a_class_not_found(make):
    """Class 0 has a prediction whose square overflows, so its score is 0; class 1 is perfect."""
    options = DiceOptions(activation='none', sparse_label=False, exponent=2, smooth=0)
    label = np.array([[[1.0, 0.0], [0.5, 0.5]]])
    pred = np.array([[[1e200, 0.0], [0.5, 0.5]]])
    loss = make(options) if make is not hybrid else hybrid(**options.to_dict())
    loss.cast('float64')
    value, gradient = differentiate(loss, Arrays(pred, label, None, np.ones(1)))
    assert value == [0.5]
    assert (np.abs(gradient[0, 0]) < 1e-290).all() and np.isfinite(gradient).all()


@operators_only
@pytest.mark.parametrize('make', [SoftDiceLoss, Net])
def test_a_bad_label_is_a_nan_under_every_option(make):
    """Also where the classes that are there would not count, or have a weight of 0."""
    for case in CASES + CE_CASES:
        arrays = case.arrays()
        label = arrays.label.astype('float64')
        label[(-1,) + (0,) * (label.ndim - 1)] = -7
        loss = (make if make is Net else FAMILIES[type(case.options)].block)(case.options)
        loss.cast('float64')
        value, gradient = differentiate(loss, arrays._replace(label=label))
        assert np.isnan(value[-1]).all(), case.name
        if over_batch(case.options):
            assert np.isnan(value).all(), case.name
        else:
            assert np.isfinite(value[:-1]).all(), case.name
        assert np.isnan(gradient[-1]).any(), case.name
