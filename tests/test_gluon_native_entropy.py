"""DiceCELoss over the kernels inside MXNet: where its gradient goes."""
import mxnet as mx
import numpy as np
import pytest
from cases import Arrays
from mxnet import autograd
from mxnet.base import MXNetError
from on_gluon import MODES, Net, assert_survives_export, differentiate, in_mode, ndarray
from test_gluon_native import in_a_new_process
from tolerances import TOLERANCE

from gluon_dice import DiceCELoss, SoftDiceLoss
from soft_dice import DiceCEOptions, dice_ce_loss, dice_ce_loss_vjp
from soft_dice.gradcheck import relative_error

RNG = np.random.RandomState(0)
PRED = RNG.standard_normal((3, 4, 6, 5)).astype('float32')
LABEL = RNG.randint(0, 4, (3, 6, 5)).astype('float32')
WEIGHT = RNG.uniform(0.5, 2, (3, 6, 5)).astype('float32')
WRONG_LABEL = LABEL.copy()
WRONG_LABEL[1, 2, 3] = 4
FIELDS = dict(ce_class_weights=[1, 2, 3, 1e-3], label_smoothing=0.1, dice_weight=0.5)


pytestmark = pytest.mark.usefixtures('kernels')
each_mode = pytest.mark.parametrize('mode', MODES)


def make(mode, **fields):
    return in_mode(mode, DiceCEOptions(**fields))


def test_the_graph_follows_the_environment(monkeypatch):
    """NaN is the answer of the F operators to a bad label, an error that of the kernels."""
    loss = make('hybridized')
    for setting in ('0', '1', '0'):
        monkeypatch.setenv('SOFT_DICE_NATIVE', setting)
        if setting == '0':
            value = loss(ndarray(PRED), ndarray(WRONG_LABEL)).asnumpy()
            assert np.isnan(value).tolist() == [False, True, False]
        else:
            with pytest.raises(MXNetError, match='label must be'):
                loss(ndarray(PRED), ndarray(WRONG_LABEL)).asnumpy()


@each_mode
def test_grad_req_add(mode):
    loss = make(mode, **FIELDS)
    _, vjp = dice_ce_loss_vjp(PRED, LABEL, DiceCEOptions(**FIELDS))
    pred = ndarray(PRED)
    pred.attach_grad('add')
    for times in (1, 2, 3):
        with autograd.record():
            value = loss(pred, ndarray(LABEL))
        value.backward()
        gradient = pred.grad.asnumpy()
        assert relative_error(gradient, times * vjp(1.0)) <= TOLERANCE['gradient, float32']


@each_mode
@pytest.mark.parametrize('normalization', ['valid', 'pixels'])
def test_label_and_weight_receive_zeros(mode, normalization):
    """Also from what the cross-entropy is divided by."""
    loss = make(mode, sparse_label=False, activation='sigmoid', ce_normalization=normalization)
    inputs = [ndarray(a) for a in (PRED, RNG.uniform(size=PRED.shape).astype('float32'), WEIGHT)]
    for array in inputs:
        array.attach_grad()
        array.grad[:] = 0
    with autograd.record():
        value = loss(*[2 * inputs[0], 1 * inputs[1], 1 * inputs[2]])
    value.backward()
    assert inputs[0].grad.asnumpy().any()
    assert not inputs[1].grad.asnumpy().any() and not inputs[2].grad.asnumpy().any()


@each_mode
def test_with_a_dice_loss_of_the_same_prediction(mode):
    """Two operators, with and without a cross-entropy, whose gradients MXNet adds up."""
    entropy, dice = make(mode, dice_weight=0.0), SoftDiceLoss()
    both = make(mode, dice_weight=1.0)

    def apart(pred, label):
        pred = mx.nd.sin(pred)
        return entropy(pred, label) + dice(pred, label)

    inputs = Arrays(PRED, LABEL, None, np.array([1.0, -0.5, 2.0]))
    value, gradient = differentiate(apart, inputs)
    same, same_gradient = differentiate(lambda pred, label: both(mx.nd.sin(pred), label), inputs)
    assert relative_error(value, same) <= TOLERANCE['loss, float32']
    assert relative_error(gradient, same_gradient) <= TOLERANCE['gradient, float32']


@each_mode
@pytest.mark.parametrize('dtype', ['uint8', 'int32', 'float16', 'float64'])
def test_dtypes(mode, dtype):
    """Of the label; the prediction is float16."""
    half = PRED.astype('float16')
    value = make(mode, **FIELDS)(ndarray(half), mx.nd.array(LABEL, dtype=dtype))
    expected = dice_ce_loss(half.astype('float32'), LABEL, DiceCEOptions(**FIELDS))
    assert value.dtype == np.float32
    assert relative_error(value.asnumpy(), expected) <= TOLERANCE['loss, float32']


@pytest.mark.parametrize('normalization', ['valid', 'pixels'])
@each_mode
def test_batch_axis(mode, normalization):
    """(7, batch 3, 4 classes, 5): the axes in an order that only batch_axis tells apart."""
    pred, label = RNG.standard_normal((7, 3, 4, 5)).astype('float32'), RNG.randint(0, 4, (7, 3, 5))
    if mode == 'nested':
        loss = Net(DiceCEOptions(axis=2, ce_normalization=normalization))
        loss.loss._batch_axis = 1
    else:
        loss = DiceCELoss(axis=2, batch_axis=1, ce_normalization=normalization)
    loss.hybridize(mode != 'imperative')
    value = loss(ndarray(pred), ndarray(label)).asnumpy()
    options = DiceCEOptions(axis=2, ce_normalization=normalization)
    expected = dice_ce_loss(pred.swapaxes(0, 1), label.swapaxes(0, 1), options)
    assert relative_error(value, expected) <= TOLERANCE['loss, float32']


def test_a_graph_whose_shapes_are_not_known_yet():
    graph = DiceCELoss(**FIELDS)(mx.sym.Variable('pred'), mx.sym.Variable('label'))
    assert graph.infer_shape_partial(pred=(2, 4, 4, 4))[1] == [(2,)]
    assert graph.infer_shape(pred=(2, 4, 4, 4), label=(2, 4, 4))[1] == [(2,)]
    assert graph.infer_type(pred='float32')[1] == [np.float32]


def test_an_exported_graph(tmp_path):
    net = Net(DiceCEOptions(ce_gamma=2.0, **FIELDS))
    net.hybridize()
    assert_survives_export(net, [ndarray(PRED), ndarray(LABEL)], tmp_path)


def test_takes_no_memory_besides_the_gradient():
    """For a prediction that a network has computed: its gradient is one array of its size."""
    code = '''
import mxnet as mx
from processes import peak_memory
from gluon_dice import DiceCELoss
loss = DiceCELoss(label_smoothing=0.1)
def run(size):
    x = mx.nd.ones((4, 8, size, size)); label = mx.nd.ones((4, size, size))
    x.attach_grad(); x.grad.wait_to_read()
    with mx.autograd.record():
        pred = 2 * x
        pred.wait_to_read()
        before = peak_memory()
        value = loss(pred, label)
    value.backward(); x.grad.wait_to_read()
    return (peak_memory() - before) / pred.size / 4
run(8)
print(run(512))
'''
    done = in_a_new_process(code, SOFT_DICE_NATIVE='1')
    assert 0.95 <= float(done.stdout) <= 1.05, done.stderr.decode()
