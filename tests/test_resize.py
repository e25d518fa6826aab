"""resize='bilinear': the interpolation against torch's, and what each framework does with it."""
import json
import math
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from backends import ARRAY_BACKENDS, caffe_layer, loss_net
from cases import Arrays
from mxnet import gluon
from on_gluon import (Net, assert_only_the_prediction_learns, assert_survives_export, differentiate,
                      ndarray)
from releases import GRAPHS_ADD, STATIC, operators_only
from tolerances import TOLERANCE

import gluon_dice.gradcheck
from gluon_dice import SoftDiceLoss
from gluon_dice import native as operator
from gluon_dice.layout import Layout
from gluon_dice.resize import to_label_size
from soft_dice import DiceOptions, soft_dice_loss, soft_dice_loss_vjp, soft_dice_score
from soft_dice.gradcheck import assert_gradient, check_gradient, relative_error
from soft_dice.resize import interpolation, resize

with np.load(str(Path(__file__).with_name('originals') / 'resize.npz')) as data:
    DATA = dict(data)
ABOUT = json.loads(str(DATA['about']))
RESIZE = DiceOptions(resize='bilinear')

RNG = np.random.RandomState(0)
PRED = RNG.standard_normal((3, 4, 6, 5)).astype('float32')
LABEL = RNG.randint(0, 4, (3, 11, 13)).astype('float32')
WEIGHT = RNG.uniform(0.5, 2, (3, 11, 13)).astype('float32')


def original(number):
    """pred, upstream, resized and gradient as torch has them."""
    return [DATA[f'{name}{number}'] for name in ('pred', 'upstream', 'resized', 'gradient')]


each_original = pytest.mark.parametrize('number', range(ABOUT['interpolations']))


# --- the interpolation ----------------------------------------------------------------------------

@each_original
@pytest.mark.parametrize('dtype', ['float64', 'float32'])
def test_equals_torch(number, dtype):
    pred, upstream, expected, expected_gradient = original(number)
    resized, vjp = resize(pred.astype(dtype), expected.shape)
    gradient = vjp(upstream.astype(dtype))
    assert resized.dtype == gradient.dtype == dtype
    value = 'value, float64' if dtype == 'float64' else 'loss, float32'
    assert relative_error(resized, expected) <= TOLERANCE[value]
    assert relative_error(gradient, expected_gradient) <= TOLERANCE[f'gradient, {dtype}']


@operators_only
@pytest.mark.usefixtures('implementation')
@each_original
@pytest.mark.parametrize('dtype', ['float64', 'float32'])
@pytest.mark.parametrize('known', [True, False], ids=['known axes', 'unknown axes'])
def test_gluon_equals_torch(number, known, dtype):
    pred, upstream, expected, expected_gradient = (each.astype(dtype) for each in original(number))
    label = np.zeros(expected[:, 0].shape)
    frame = Layout(1, 0, pred.ndim if known else 0)

    def resized(array):
        return to_label_size(mx.nd, array, ndarray(label), None, RESIZE, frame, dtype).pred

    expected, upstream = (each.reshape(each.shape[:2] + (-1,)) for each in (expected, upstream))
    value, gradient = differentiate(resized, Arrays(pred, None, None, upstream))
    tolerance = 'value, float64' if dtype == 'float64' else 'loss, float32'
    assert relative_error(value, expected) <= TOLERANCE[tolerance]
    assert relative_error(gradient, expected_gradient) <= TOLERANCE[f'gradient, {dtype}']


@pytest.mark.parametrize('backend', [*ARRAY_BACKENDS, 'caffe'])
@pytest.mark.parametrize('number', range(len(ABOUT['losses'])))
def test_f_score_loss_of_the_u_nets(backend, number):
    """Their smooth stands beside (1 + beta^2) tp, ours beside 2 tp."""
    about = ABOUT['losses'][number]
    square = about['beta'] ** 2
    options = DiceOptions(resize='bilinear', sparse_label=False, batch_dice=True,
                          alpha=1 / (1 + square), beta=square / (1 + square),
                          smooth=2e-5 / (1 + square))
    pred = DATA[f'loss_pred{number}']
    label = DATA[f'loss_target{number}'][..., :-1].transpose(0, 3, 1, 2)  # the last are ignored
    dtype = 'float32' if backend == 'caffe' else 'float64'
    run = caffe_layer if backend == 'caffe' else ARRAY_BACKENDS[backend]
    arrays = Arrays(pred.astype(dtype), np.ascontiguousarray(label, dtype), None, np.full(2, 0.5))
    loss, gradient = run(arrays, options)
    value = 'value, float64' if dtype == 'float64' else 'loss, float32'
    assert relative_error(np.mean(loss), about['loss']) <= TOLERANCE[value]
    assert relative_error(gradient, DATA[f'loss_gradient{number}']) \
        <= TOLERANCE[f'gradient, {dtype}']


@pytest.mark.parametrize('source, target, rows', [
    (3, 5, [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]]),
    (2, 4, [[1, 0], [2 / 3, 1 / 3], [1 / 3, 2 / 3], [0, 1]]),
    (5, 3, [[1, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 1]]),
    (1, 3, [[1], [1], [1]]), (3, 1, [[1, 0, 0]]), (1, 1, [[1]]), (3, 3, np.eye(3))])
def test_interpolation_by_hand(source, target, rows):
    assert relative_error(interpolation(source, target), rows) <= TOLERANCE['value, float64']


def test_gradient_of_the_interpolation():
    x = RNG.standard_normal((2, 3, 4, 5, 4))
    result = check_gradient(lambda x: resize(x, (2, 3, 7, 2, 4)), x)
    assert_gradient(result, TOLERANCE['gradient against finite differences, float64'])


@pytest.mark.parametrize('backend', ['kernels', 'gluon imperative', 'gluon nested',
                                     'gluon native'])
def test_many_points(backend):
    """Places computed in float32, as by BilinearResize2D, are wrong by 1e-5 here."""
    pred = RNG.standard_normal((1, 2, 300, 20)).astype('float32')
    label = RNG.randint(0, 2, (1, 1000, 33))
    expected, vjp = soft_dice_loss_vjp(pred.astype('float64'), label, RESIZE)
    places = np.arange(1000) * 299 / 999
    column = np.interp(places, np.arange(300), pred[0, 1, :, 0].astype('float64'))
    assert relative_error(resize(pred, (1, 2, 1000, 20))[0][0, 1, :, 0], column) \
        <= TOLERANCE['loss, float32']
    loss, gradient = ARRAY_BACKENDS[backend](Arrays(pred, label, None, np.ones(1)), RESIZE)
    assert relative_error(loss, expected) <= TOLERANCE['loss, float32']
    assert relative_error(gradient, vjp(1.0)) <= TOLERANCE['gradient, float32']


@pytest.mark.parametrize('backend', [  # but graphs, which do not know that they are equal
    name for name in [*ARRAY_BACKENDS, 'caffe'] if not {'nested', 'symbol'} & set(name.split())])
def test_equal_sizes_change_no_bit(backend):
    label = LABEL[:, :6, :5]
    assert resize(PRED, PRED.shape)[0] is PRED
    arrays = Arrays(PRED, label, None, np.ones(3))
    run = caffe_layer if backend == 'caffe' else ARRAY_BACKENDS[backend]
    for found, expected in zip(run(arrays, RESIZE), run(arrays, DiceOptions())):
        np.testing.assert_array_equal(found, expected)


# --- where the gradient goes, and NaN; what is refused: refusals.py -------------------------------

def test_gradient_is_written_where_it_is_wanted():
    loss, vjp = soft_dice_loss_vjp(PRED, LABEL, RESIZE)
    out = np.full_like(PRED, 7)
    assert vjp(1.0, out=out) is out
    np.testing.assert_array_equal(out, vjp(1.0))


@pytest.mark.parametrize('backend', list(ARRAY_BACKENDS))
def test_prediction_that_is_not_finite_spoils_its_sample_alone(backend):
    pred = PRED.copy()
    pred[1, 2, 3, 3] = np.nan
    assert np.isnan(soft_dice_loss(pred, LABEL, RESIZE)).tolist() == [False, True, False]
    loss, gradient = ARRAY_BACKENDS[backend](Arrays(pred, LABEL, None, np.ones(3)), RESIZE)
    assert np.isnan(loss).tolist() == [False, True, False]
    assert np.isfinite(gradient[[0, 2]]).all()


# --- Gluon's own ----------------------------------------------------------------------------------

@pytest.fixture(params=['0', '1'], ids=['operators', 'native'])
def native(request, monkeypatch):
    monkeypatch.setenv('SOFT_DICE_NATIVE', request.param)


@pytest.mark.usefixtures('native')
def test_hybridized_with_changing_sizes():
    loss = SoftDiceLoss(RESIZE)
    loss.hybridize(**STATIC)
    for shape, size in [((3, 4, 6, 5), (11, 13)), ((3, 4, 6, 5), (6, 5)), ((1, 4, 9, 8), (11, 13)),
                        ((2, 3, 4, 5, 3), (5, 6, 7)), ((3, 4, 6, 5), (11, 13))]:
        pred = RNG.standard_normal(shape).astype('float32')
        label = RNG.randint(0, shape[1], shape[:1] + size)
        value = loss(ndarray(pred), ndarray(label)).asnumpy()
        assert relative_error(value, soft_dice_loss(pred, label, RESIZE)) \
            <= TOLERANCE['loss, float32']


@pytest.mark.usefixtures('native')
def test_batch_axis():
    """Time, batch, classes, more: the two times differ, the batches agree."""
    pred, label = PRED.transpose(2, 0, 1, 3), LABEL.transpose(1, 0, 2)
    expected = soft_dice_loss(PRED, LABEL, RESIZE)
    inputs = dict(pred=ndarray(np.ascontiguousarray(pred)),
                  label=ndarray(np.ascontiguousarray(label)))
    loss = SoftDiceLoss(RESIZE, axis=2, batch_axis=1)
    graph = loss(mx.sym.Variable('pred'), mx.sym.Variable('label'))
    for value in (loss(*inputs.values()), graph.eval(**inputs)[0]):
        assert relative_error(value.asnumpy(), expected) <= TOLERANCE['loss, float32']


@pytest.mark.usefixtures('native')
@pytest.mark.parametrize('axis', [1, 2, 3, -1, -2, -3])
def test_label_and_weight_with_a_class_axis_of_1(axis):
    """Inside a network their number of axes is not known."""
    options = RESIZE.replace(axis=axis)
    pred = np.ascontiguousarray(np.moveaxis(PRED, 1, axis))
    expected, vjp = soft_dice_loss_vjp(PRED.astype('float64'), LABEL, RESIZE, WEIGHT)
    net = Net(options)
    net.hybridize()
    for label in (LABEL, np.expand_dims(LABEL, axis)):
        for weight in (WEIGHT, np.expand_dims(WEIGHT, axis)):
            value, gradient = differentiate(net, Arrays(pred, label, weight, np.ones(3)))
            assert relative_error(value, expected) <= TOLERANCE['loss, float32']
            assert relative_error(np.moveaxis(gradient, axis, 1), vjp(1.0)) \
                <= TOLERANCE['gradient, float32']


@pytest.mark.usefixtures('native')
def test_float16():
    arrays = Arrays(PRED.astype('float16'), LABEL, None, np.full(3, 100.0))
    for loss in (SoftDiceLoss(RESIZE), Net(RESIZE)):
        loss.hybridize()
        value, gradient = differentiate(loss, arrays)
        expected, vjp = soft_dice_loss_vjp(arrays.pred.astype('float64'), LABEL, RESIZE)
        assert (value.dtype, gradient.dtype) == (np.float32, np.float16)
        assert relative_error(value, expected) <= TOLERANCE['loss, float16']
        assert relative_error(gradient, vjp(100.0)) <= TOLERANCE['gradient, float16']


class TwoLosses(gluon.HybridBlock):
    """Two losses that share a prediction and a label."""

    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.one, self.two = SoftDiceLoss(RESIZE), SoftDiceLoss(RESIZE, form='log')

    def hybrid_forward(self, F, pred, label):
        return self.one(pred, label) + 2 * self.two(pred, label)


@pytest.mark.usefixtures('native')
@pytest.mark.parametrize('grad_req', ['write', 'add'])
def test_gradients_of_two_losses_add_up(grad_req):
    expected = sum(factor * soft_dice_loss_vjp(PRED.astype('float64'), LABEL, options)[1](1.0)
                   for factor, options in ((1, RESIZE), (2, RESIZE.replace(form='log'))))
    net = TwoLosses()
    net.hybridize(grad_req == 'write' or GRAPHS_ADD, **STATIC)
    pred = ndarray(PRED)
    pred.attach_grad(grad_req)
    for times in (1, 2):
        with mx.autograd.record():
            value = net(pred, ndarray(LABEL))
        value.backward()
        total = expected * (times if grad_req == 'add' else 1)
        assert relative_error(pred.grad.asnumpy(), total) <= TOLERANCE['gradient, float32']


@pytest.mark.usefixtures('native')
def test_label_and_weight_receive_no_gradient():
    for loss in (SoftDiceLoss(RESIZE), Net(RESIZE)):
        loss.hybridize()
        assert_only_the_prediction_learns(loss, [ndarray(each) for each in (PRED, LABEL, WEIGHT)])


@pytest.mark.parametrize('dtype', ['uint8', 'int8', 'int32', 'float16', 'float64'])
def test_label_dtypes(dtype):
    """Places are counted in float64, whatever the label is of: uint8 would end at 255."""
    pred = RNG.standard_normal((1, 2, 20)).astype('float32')
    label = RNG.randint(0, 2, (1, 300))
    net = Net(RESIZE)
    net.hybridize()
    value = net(ndarray(pred), ndarray(label.astype(dtype))).asnumpy()
    assert relative_error(value, soft_dice_loss(pred, label, RESIZE)) <= TOLERANCE['loss, float32']


@pytest.mark.usefixtures('native')
def test_exported_graph_is_loaded_again(tmp_path):
    net = Net(RESIZE)
    net.hybridize()
    operator.unavailable()  # which loads it
    assert_survives_export(net, [ndarray(PRED), ndarray(LABEL)], tmp_path)


class OfALabelTwiceAsLarge(gluon.loss.Loss):
    """A loss with resize for the checker, whose labels have the prediction's size."""

    def __init__(self, **block):
        super().__init__(None, 0, **block)
        with self.name_scope():
            self.loss = SoftDiceLoss(RESIZE)

    def hybrid_forward(self, F, pred, label):
        return self.loss(F.identity(pred), F.repeat(F.repeat(label, 2, axis=1), 2, axis=2))


def test_checker_finds_what_is_wanted():
    """That a label of another size is taken, and nothing else."""
    found = gluon_dice.gradcheck.check_loss(OfALabelTwiceAsLarge, (2, 3, 4, 4), (2, 4, 4))
    assert [key for key, each in found.items() if not each.good] == ['shapes']
    assert found['shapes'].value['label of one sample'] == 'refused'


# --- Caffe's own ----------------------------------------------------------------------------------

def test_caffe_with_changing_sizes_and_a_score():
    net = loss_net(Arrays(PRED, LABEL[:, None], None, None), '{"resize": "bilinear"}', tops=2,
                   loss_weight=0.25)
    for shape, size in [((3, 4, 6, 5), (11, 13)), ((1, 4, 9, 8), (11, 13)), ((3, 4, 6, 5), (6, 5)),
                        ((2, 3, 4, 5, 3), (5, 6, 7))]:
        pred = RNG.standard_normal(shape).astype('float32')
        label = RNG.randint(0, shape[1], shape[:1] + (1,) + size).astype('float32')
        for name, each in (('pred', pred), ('label', label)):
            net.blobs[name].reshape(*each.shape)
            net.blobs[name].data[...] = each
        net.forward()
        net.blobs['pred'].diff[...] = 7  # all of it must be assigned
        net.backward()
        loss, vjp = soft_dice_loss_vjp(pred.astype('float64'), label, RESIZE)
        assert relative_error(net.blobs['loss'].data, loss.mean()) <= TOLERANCE['loss, float32']
        assert relative_error(net.blobs['pred'].diff, vjp(0.25 / len(loss))) \
            <= TOLERANCE['gradient, float32']
        score = soft_dice_score(pred, label, RESIZE)
        assert relative_error(net.blobs['score'].data, score) <= TOLERANCE['loss, float32']


def test_checker_finds_what_is_wanted_of_the_caffe_layer():
    from caffe_layers.gradcheck import check_layer  # here, as the other tests need no Caffe
    found = check_layer('caffe_layers:SoftDiceLossLayer', (2, 3, 4, 4), (2, 1, 4, 4),
                        '{"resize": "bilinear"}')
    assert [key for key, each in found.items() if not each.good] == ['shapes']
    assert found['shapes'].value['label of one sample'] == 'refused'


def test_a_signal_by_hand():
    """Two logits 0 and 2 at three places are 0, 1, 2 there."""
    pred = np.array([[[0.0, 2.0], [0.0, 0.0]]])
    p = [1 / (1 + math.exp(-z)) for z in (0.0, 1.0, 2.0)]
    expected = 1 - 2 * (p[1] + p[2]) / (sum(p) + 2)  # class 0, which has the last two places
    loss = soft_dice_loss(pred, np.array([[1, 0, 0]]), RESIZE.replace(classes=[0], smooth=0))
    assert relative_error(loss, [expected]) <= TOLERANCE['value, float64']
