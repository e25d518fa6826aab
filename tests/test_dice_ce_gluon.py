"""What is Gluon's own of DiceCELoss: hybridizing, dtypes, weight, refusals, and what F rounds."""
import mxnet as mx
import numpy as np
import pytest
from cases import Arrays
from mxnet import autograd, gluon
from on_gluon import (Net, assert_only_the_prediction_learns, assert_survives_export, differentiate,
                      ndarray)
from releases import STATIC, operators_only
from tolerances import TOLERANCE

from gluon_dice import DiceCELoss, SoftDiceLoss
from gluon_dice.gradcheck import assert_loss
from soft_dice import DiceCEOptions, DiceOptions, dice_ce_loss, dice_ce_loss_vjp
from soft_dice.gradcheck import relative_error

RNG = np.random.RandomState(0)
PRED = RNG.standard_normal((3, 4, 6, 5)).astype('float32')
LABEL = RNG.randint(0, 4, (3, 6, 5)).astype('float32')
WEIGHT = RNG.uniform(0.5, 2, (3, 6, 5)).astype('float32')
SIGMOID = dict(activation='sigmoid', sparse_label=False)


# All of this holds for F operators and for the kernels alike, but where it is marked.
pytestmark = pytest.mark.usefixtures('implementation')


def hybrid(**fields):
    loss = DiceCELoss(**fields)
    loss.hybridize(**STATIC)
    return loss


def nested(**fields):
    net = Net(DiceCEOptions(**fields))
    net.hybridize(**STATIC)
    return net


MODES = {'imperative': DiceCELoss, 'hybridized': hybrid, 'nested': nested}
each_mode = pytest.mark.parametrize('mode', list(MODES))


def assert_same(found, pred, label, upstream, weight=None, **fields):
    """The loss and the gradient are those of the reference in float64."""
    expected, vjp = dice_ce_loss_vjp(pred.astype('float64'), label, DiceCEOptions(**fields), weight)
    assert relative_error(found[0], expected) <= TOLERANCE['loss, float32']
    assert relative_error(found[1], vjp(upstream)) <= TOLERANCE['gradient, float32']


def test_is_a_gluon_loss():
    loss = DiceCELoss(DiceCEOptions(smooth=1), weight=2.0, ce_weight=3, prefix='dice_')
    assert isinstance(loss, gluon.loss.Loss)
    assert loss.prefix == 'dice_'
    assert loss.options == DiceCEOptions(smooth=1, ce_weight=3)
    assert repr(loss) == 'DiceCELoss(smooth=1.0, ce_weight=3.0, weight=2.0)'


@pytest.mark.parametrize('loss, error, keywords, message', [
    (DiceCELoss, TypeError, dict(smoth=1), "unknown option 'smoth'; .*, ce_normalization"),
    (DiceCELoss, ValueError, dict(activation='none'), 'without logits'),
    (DiceCELoss, TypeError, dict(options=DiceOptions()), 'got DiceOptions; DiceCEOptions'),
    (SoftDiceLoss, TypeError, dict(options=DiceCEOptions()), 'got DiceCEOptions; options.dice'),
    (SoftDiceLoss, TypeError, dict(ce_weight=1), "unknown option 'ce_weight'"),
    (DiceCELoss, ValueError, dict(batch_axis=-1), 'batch_axis must be a whole number >= 0'),
])
def test_bad_arguments(loss, error, keywords, message):
    with pytest.raises(error, match=message):
        loss(**keywords)


def test_weight_multiplies_the_loss():
    arrays = Arrays(PRED, LABEL, None, np.ones(3))
    plain, heavy = differentiate(DiceCELoss(), arrays), differentiate(hybrid(weight=-2.5), arrays)
    for a, b in zip(plain, heavy):
        assert relative_error(-2.5 * a, b) <= TOLERANCE['loss, float32']


@each_mode
def test_head_gradient_is_honoured(mode):
    upstream = np.array([1.0, 0.0, -2.0])
    found = differentiate(MODES[mode](), Arrays(PRED, LABEL, None, upstream))
    assert_same(found, PRED, LABEL, upstream)
    assert not found[1][1].any()


def test_hybridized_with_changing_inputs():
    loss = hybrid(label_smoothing=0.1)
    for shape in ((3, 4, 6, 5), (1, 4, 6, 5), (2, 3, 2, 3, 4)):
        for dtype in ('float32', 'float64'):
            for weighted in (False, True):
                pred = RNG.standard_normal(shape).astype(dtype)
                label = RNG.randint(0, shape[1], shape[:1] + shape[2:])
                weight = RNG.uniform(0, 2, label.shape).astype('float32') if weighted else None
                value = loss(*(ndarray(a) for a in (pred, label, weight) if a is not None))
                assert np.dtype(value.dtype) == dtype
                expected = dice_ce_loss(pred, label, DiceCEOptions(label_smoothing=0.1), weight)
                tolerance = 'loss, float32' if dtype == 'float32' else 'value, float64'
                assert relative_error(value.asnumpy(), expected) <= TOLERANCE[tolerance]


@pytest.mark.parametrize('fields', [dict(), dict(ce_gamma=2.0, ignore_label=0)])
def test_float16(fields):
    pred = PRED.astype('float16')
    arrays = Arrays(pred, LABEL, None, np.array([100.0, 50.0, -75.0]))  # as loss scaling does
    value, gradient = differentiate(hybrid(**fields), arrays)
    assert (value.dtype, gradient.dtype) == (np.float32, np.float16)
    expected, vjp = dice_ce_loss_vjp(pred.astype('float64'), LABEL, DiceCEOptions(**fields))
    assert relative_error(value, expected) <= TOLERANCE['loss, float16']
    assert relative_error(gradient, vjp(arrays.upstream)) <= TOLERANCE['gradient, float16']


def test_float16_does_not_overflow_past_65504_pixels():
    pred = mx.nd.zeros((1, 2, 300, 300), dtype='float16')
    value = DiceCELoss()(pred, mx.nd.zeros((1, 300, 300), dtype='float16'))
    expected = dice_ce_loss(np.zeros((1, 2, 300, 300)), np.zeros((1, 300, 300)))
    assert relative_error(value.asnumpy(), expected) <= TOLERANCE['loss, float32']


def test_label_and_weight_receive_no_gradient():
    soft = RNG.uniform(size=PRED.shape).astype('float32')
    for fields in (dict(sparse_label=False, label_smoothing=0.1), dict(SIGMOID, ce_gamma=0.5)):
        assert_only_the_prediction_learns(DiceCELoss(**fields),
                                          [ndarray(a) for a in (PRED, soft, WEIGHT)])


@pytest.mark.parametrize('fields', [dict(), dict(ce_normalization='pixels', label_smoothing=0.1)])
def test_batch_axis(fields):
    """Time, batch, classes: axis 2 holds the classes, axis 1 the batch."""
    pred, label = PRED[..., 0].transpose(2, 0, 1), LABEL[..., 0].T
    expected = dice_ce_loss(PRED[..., 0], LABEL[..., 0], DiceCEOptions(**fields))
    for loss in (DiceCELoss, hybrid):
        value = loss(batch_axis=1, axis=2, **fields)(ndarray(pred), ndarray(label)).asnumpy()
        assert relative_error(value, expected) <= TOLERANCE['loss, float32']


@each_mode
@pytest.mark.parametrize('size', [(600, 600), (449, 449)])
def test_sums_over_many_pixels(size, mode):
    """With a number of blocks that divides the pixels, and without."""
    rng = np.random.RandomState(0)
    pred = rng.standard_normal((1, 3) + size).astype('float32')
    label = rng.randint(0, 3, (1,) + size)
    fields = dict(ce_gamma=1.0, label_smoothing=0.1)
    found = differentiate(MODES[mode](**fields), Arrays(pred, label, None, np.ones(1)))
    assert_same(found, pred, label, 1.0, **fields)


# --- what F must not round away -------------------------------------------------------------------

@each_mode
@pytest.mark.parametrize('gamma', [0, 0.5, 2])
def test_sigmoid_of_sure_predictions(mode, gamma):
    """The loss is what sums of softplus(z) and of t z, each 10^4 times as large, differ by."""
    rng = np.random.RandomState(1)
    label = (rng.uniform(size=(2, 3, 40, 40)) < 0.5).astype('float32')
    pred = ((2 * label - 1) * rng.uniform(8, 12, label.shape)).astype('float32')
    options = DiceCEOptions(ce_gamma=gamma, dice_weight=0, **SIGMOID)
    value = MODES[mode](**options.to_dict())(ndarray(pred), ndarray(label)).asnumpy()
    expected = dice_ce_loss(pred.astype('float64'), label, options)
    assert relative_error(value, expected) <= TOLERANCE['loss, float32']


@each_mode
@pytest.mark.parametrize('fields', [dict(SIGMOID), dict(SIGMOID, ce_gamma=0.5),
                                    dict(SIGMOID, ce_gamma=2.0), dict(ce_gamma=0.5), dict()])
def test_gradient_where_logits_are_zero(mode, fields):
    """As from a network that starts with zeros; the derivatives of |z| and relu(z) jump there."""
    pred = np.zeros_like(PRED)
    label = RNG.uniform(size=PRED.shape).astype('float32') if 'sparse_label' in fields else LABEL
    found = differentiate(MODES[mode](**fields), Arrays(pred, label, None, np.ones(3)))
    assert_same(found, pred, label, 1.0, **fields)


@each_mode
@pytest.mark.parametrize('gamma', [0.25, 0.5, 1, 2])
@pytest.mark.parametrize('activation', ['softmax', 'sigmoid'])
def test_focal_is_right_where_p_is_0_and_1(activation, gamma, mode):
    fields = dict(activation=activation, sparse_label=False, ce_gamma=gamma, dice_weight=0)
    pred = 80 * PRED
    label = RNG.uniform(size=PRED.shape).astype('float32')
    found = differentiate(MODES[mode](**fields), Arrays(pred, label, None, np.ones(3)))
    assert_same(found, pred, label, 1.0, **fields)


# --- values that are not allowed, besides those in refusals.py ------------------------------------

@operators_only
@each_mode
def test_bad_label_value_makes_its_sample_nan(mode):
    label = LABEL.copy()
    label[1, 2, 3] = 4
    loss, gradient = differentiate(MODES[mode](dice_weight=0, label_smoothing=0.1),
                                   Arrays(PRED, label, None, np.ones(3)))
    assert np.isnan(loss).tolist() == [False, True, False]
    assert np.isnan(gradient[1]).all() and np.isfinite(gradient[[0, 2]]).all()
    assert np.isnan(MODES[mode](batch_dice=True)(ndarray(PRED), ndarray(label)).asnumpy()).all()


@each_mode
@pytest.mark.parametrize('fields', [dict(), dict(ce_gamma=0.5), dict(ce_gamma=2),
                                    dict(label_smoothing=0.1)])
def test_nan_in_the_prediction_stays_nan_except_where_ignored(fields, mode):
    pred, label = PRED.copy(), LABEL.copy()
    pred[1, 2, 3, 3] = np.nan
    loss = MODES[mode](ignore_label=255, dice_weight=0, **fields)
    value = loss(ndarray(pred), ndarray(label)).asnumpy()
    assert np.isnan(value).tolist() == [False, True, False]
    label[1, 3, 3] = 255
    value, gradient = differentiate(loss, Arrays(pred, label, None, np.ones(3)))
    assert np.isfinite(value).all() and np.isfinite(gradient).all()


# --- in use ---------------------------------------------------------------------------------------

def test_the_checker_finds_no_defect():
    assert_loss(DiceCELoss, pred=(2, 4, 9, 8), label=(2, 9, 8),
                kwargs=dict(ce_class_weights=[1, 2, 3, 4], label_smoothing=0.1, ce_gamma=0.5))


def test_trains_a_hybridized_network():
    mx.random.seed(0)
    net = gluon.nn.Conv2D(4, 1, in_channels=4)
    net.initialize(mx.init.Xavier())
    net.hybridize(**STATIC)
    loss = hybrid(ce_gamma=1)
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
    net = nested(ce_class_weights=[1, 2, 3, 4], ce_normalization='pixels', ce_gamma=0.5)
    assert_survives_export(net, [ndarray(PRED), ndarray(LABEL)], tmp_path)
