"""mx.np arrays under npx.set_np(): every loss takes and gives them, the metric takes them."""
import mxnet as mx
import numpy as np
import pytest
from cases import CASES
from cases_ce import CE_CASES
from families import family
from mxnet import autograd, gluon
from releases import STATIC
from test_backends import expected
from tolerances import TOLERANCE

from gluon_dice import AuxLoss, DeepSupervision, DiceMetric, SoftDiceLoss
from gluon_dice.parallel import DataParallelLoss, zero_gradients
from soft_dice import hard_dice, soft_dice_loss
from soft_dice.gradcheck import relative_error

pytestmark = pytest.mark.usefixtures('implementation', 'np_semantics')
PRED = np.random.RandomState(0).standard_normal((2, 3, 8, 8)).astype('float32')
LABEL = np.random.RandomState(1).randint(0, 3, (2, 8, 8)).astype('float32')


@pytest.fixture
def np_semantics():
    mx.npx.set_np()
    yield
    mx.npx.reset_np()


def np_array(array):
    return mx.np.array(array, dtype=array.dtype)


def differentiate(loss, arrays):
    inputs = [np_array(each) for each in arrays[:3] if each is not None]
    inputs[0].attach_grad()
    with autograd.record():
        value = loss(*inputs)
    assert type(value) is mx.np.ndarray
    autograd.backward([value], [mx.np.array(arrays.upstream, dtype=value.dtype)])
    return value.asnumpy(), inputs[0].grad.asnumpy()


class NumpyNet(gluon.HybridBlock):
    """A network of mx.np's operators around the loss."""

    def __init__(self, options):
        super().__init__()
        with self.name_scope():
            self.loss = family(options).block(options)

    def hybrid_forward(self, F, pred, *others):
        return self.loss(F.np.multiply(pred, 1.0), *others)


def hybrid(options):
    loss = family(options).block(options)
    loss.hybridize(**STATIC)
    return loss


def nested(options):
    net = NumpyNet(options)
    net.hybridize(**STATIC)
    net.cast('float64')
    return net


@pytest.mark.parametrize('make', [lambda options: family(options).block(options), hybrid, nested],
                         ids=['imperative', 'hybridized', 'nested'])
def test_every_case(make):
    for case in CASES + CE_CASES:
        arrays = case.arrays()
        value, gradient = differentiate(make(case.options), arrays)
        expected_value, expected_gradient = expected(case)
        assert relative_error(value, expected_value) <= TOLERANCE['value, float64'], case.name
        assert relative_error(gradient, expected_gradient) <= TOLERANCE['gradient, float64'], \
            case.name


class Compared(gluon.HybridBlock):
    """A network in which a comparison makes the label."""

    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.loss = SoftDiceLoss()

    def hybrid_forward(self, F, pred, label):
        return self.loss(F.np.multiply(pred, 1.0), F.np.greater(label, 1))


@pytest.mark.parametrize('hybridize', [False, True])
def test_a_label_of_bool(hybridize):
    loss, net = SoftDiceLoss(), Compared()
    for each in (loss, net):
        each.hybridize(hybridize)
    label = np_array(LABEL)
    assert np.dtype((label > 1).dtype) == bool
    wanted = soft_dice_loss(PRED, LABEL > 1)
    for value in (loss(np_array(PRED), label > 1), net(np_array(PRED), label)):
        assert relative_error(value.asnumpy(), wanted) <= TOLERANCE['loss, float32']
    metric = DiceMetric()
    metric.update(label > 1, np_array(PRED))
    assert metric.get()[1] == pytest.approx(np.nanmean(hard_dice(PRED, LABEL > 1)), rel=1e-12)


@pytest.mark.parametrize('hybridize', [False, True])
def test_pixel_weight_of_one_call_and_deep_supervision(hybridize):
    loss = DeepSupervision(SoftDiceLoss(), weights=[1, 0.5])
    loss.hybridize(hybridize)
    weight = np.random.RandomState(2).uniform(0.5, 2, LABEL.shape).astype('float32')
    preds = [np_array(PRED), np_array(PRED[:, :, ::2, ::2])]
    for each in preds:
        each.attach_grad()
    with autograd.record():
        value = loss(preds, np_array(LABEL), np_array(weight))
    autograd.backward([value])
    coarse = np.s_[:, 1::2, 1::2]  # place i of 4 takes value floor(2 i + 1) of 8
    wanted = (soft_dice_loss(PRED, LABEL, pixel_weight=weight)
              + 0.5 * soft_dice_loss(PRED[:, :, ::2, ::2], LABEL[coarse],
                                     pixel_weight=weight[coarse]))
    assert type(value) is mx.np.ndarray
    assert relative_error(value.asnumpy(), wanted) <= TOLERANCE['loss, float32']
    found = AuxLoss(SoftDiceLoss(), 0.5)(*preds, np_array(LABEL))
    wanted = (soft_dice_loss(PRED, LABEL)
              + 0.5 * soft_dice_loss(PRED[:, :, ::2, ::2], LABEL[coarse]))
    assert type(found) is mx.np.ndarray
    assert relative_error(found.asnumpy(), wanted) <= TOLERANCE['loss, float32']
    assert all(each.grad.asnumpy().any() for each in preds)


def test_devices():
    """Two devices, one without samples, whose gradients become zeros."""
    devices = [mx.cpu(0), mx.cpu(1), mx.cpu(2)]
    net = gluon.nn.Dense(3, flatten=False)
    net.initialize(ctx=devices)
    loss = DataParallelLoss(SoftDiceLoss(axis=-1, batch_dice=True))
    loss.hybridize()
    image = PRED.transpose(0, 2, 3, 1)
    images = [mx.np.array(image[i:i + 1], ctx=devices[i]) for i in (0, 1)]
    labels = [mx.np.array(LABEL[i:i + 1], ctx=devices[i]) for i in (0, 1)]
    with autograd.record():
        value = loss([net(each) for each in images] + [None], labels + [None])
    autograd.backward([value])
    zero_gradients(net.collect_params(), devices[2])
    scores = net(mx.np.array(image)).asnumpy()
    wanted = soft_dice_loss(scores.transpose(0, 3, 1, 2), LABEL, loss.options.replace(axis=1))
    assert type(value) is mx.np.ndarray
    assert relative_error(value.asnumpy(), wanted) <= TOLERANCE['loss, float32']
    for device, some in zip(devices, (True, True, False)):
        assert net.weight.grad(device).asnumpy().any() == some


def test_metric():
    metric = DiceMetric()
    metric.update(np_array(LABEL), np_array(PRED))
    metric.update([np_array(LABEL)], [np_array(PRED)])
    assert metric.get() == ('dice', pytest.approx(hard_dice(PRED, LABEL).mean(), rel=1e-12))


def test_a_bad_shape_is_refused_as_of_other_arrays():
    with pytest.raises(ValueError, match='^label must have one value per pixel of pred'):
        SoftDiceLoss()(np_array(PRED), np_array(LABEL[:1]))
