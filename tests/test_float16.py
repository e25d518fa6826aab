"""Mixed precision: float16 predictions and labels, loss scaling, and mx.contrib.amp."""
import json
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest
from cases import Arrays
from families import FAMILIES, reference, with_native
from mxnet import autograd, gluon
from on_gluon import MODES, differentiate, in_mode, ndarray
from processes import TESTS, surroundings
from releases import STATIC
from tolerances import TOLERANCE

from gluon_dice import DeepSupervision, DiceCELoss, DiceMetric, SoftDiceLoss
from soft_dice import DiceCEOptions, DiceOptions, hard_dice, soft_dice_loss
from soft_dice.gradcheck import relative_error

SCALE = 2.0 ** 16  # what amp starts with
each_path = pytest.mark.parametrize('native', ['0', '1'], ids=['operators', 'native'])


@pytest.fixture(scope='module')
def million():
    """A million pixels in float16, and what a loss of them is in float64."""
    rng = np.random.RandomState(0)
    pred = rng.standard_normal((1, 3, 1024, 1024)).astype('float16')
    label = rng.randint(0, 3, (1, 1024, 1024)).astype('float16')
    label[:, :10] = 255
    arrays = Arrays(pred, label, None, np.ones(1))
    wide = arrays._replace(pred=pred.astype('float64'))
    return arrays, {kind: with_native('0', reference)(wide, kind(ignore_label=255))
                    for kind in FAMILIES}


def assert_right(found, expected, scale):
    value, gradient = found
    assert value.dtype == np.float32 and gradient.dtype == np.float16
    assert np.isfinite(value).all() and np.isfinite(gradient).all()
    assert relative_error(value, expected[0]) <= TOLERANCE['loss, float16']
    assert relative_error(gradient.astype('float64') / scale, expected[1]) \
        <= TOLERANCE['gradient, float16']


@each_path
@pytest.mark.parametrize('kind, mode', [(DiceOptions, mode) for mode in MODES]
                         + [(DiceCEOptions, 'imperative'), (DiceCEOptions, 'nested')])
def test_a_million_pixels(kind, mode, native, million, monkeypatch):
    monkeypatch.setenv('SOFT_DICE_NATIVE', native)
    arrays, expected = million
    loss = in_mode(mode, kind(ignore_label=255))
    loss.cast('float16')
    found = differentiate(loss, arrays._replace(upstream=np.full(1, SCALE)))
    assert_right(found, expected[kind], SCALE)


def test_without_loss_scaling_the_gradient_underflows(million):
    """Its elements are about 1e-7, and float16 has nothing between 0 and 6e-8."""
    arrays, expected = million
    _, gradient = differentiate(SoftDiceLoss(ignore_label=255), arrays)
    error = relative_error(gradient.astype('float64'), expected[DiceOptions][1])
    assert error > 50 * TOLERANCE['gradient, float16']
    lost = (gradient == 0) & (expected[DiceOptions][1] != 0)
    assert lost.mean() > 0.1


class Scores(gluon.HybridBlock):
    """A network that has float16 on the CPU, where MXNet multiplies no matrices in it."""

    def __init__(self, loss):
        super().__init__()
        with self.name_scope():
            self.factor = self.params.get('factor', shape=(1, 3, 1, 1), init=mx.init.One())
            self.loss = loss

    def hybrid_forward(self, F, image, label, factor):
        score = F.broadcast_mul(image, factor)
        if isinstance(self.loss, DeepSupervision):
            score = [score, F.Pooling(score, kernel=(2, 2), stride=(2, 2), pool_type='avg')]
        return self.loss(score, label)


MAKERS = {'dice': SoftDiceLoss, 'dice ce': DiceCELoss,
          'deep supervision': lambda: DeepSupervision(SoftDiceLoss())}


@each_path
@pytest.mark.parametrize('mode', ['imperative', 'hybridized', 'static'])
@pytest.mark.parametrize('name', list(MAKERS))
def test_a_network_cast_to_float16_trains(name, mode, native, monkeypatch):
    """As it does in float32, step by step, with float16 weights and a loss scale."""
    monkeypatch.setenv('SOFT_DICE_NATIVE', native)
    rng = np.random.RandomState(0)
    label = rng.randint(0, 3, (2, 16, 16))
    image = np.eye(3)[label].transpose(0, 3, 1, 2) + 0.5 * rng.standard_normal((2, 3, 16, 16))
    losses = {}
    for dtype in ('float32', 'float16'):
        net = Scores(MAKERS[name]())
        net.initialize()
        net.cast(dtype)
        if mode != 'imperative':
            net.hybridize(**STATIC if mode == 'static' else {})
        trainer = gluon.Trainer(net.collect_params(), 'sgd', {
            'learning_rate': 2.0, 'multi_precision': True, 'rescale_grad': 1.0})
        inputs = [ndarray(each.astype(dtype)) for each in (image, label)]
        losses[dtype] = []
        for _ in range(8):
            with autograd.record():
                value = net(*inputs)
                scaled = 1024 * value
            scaled.backward()
            trainer.step(1024 * len(label))
            losses[dtype].append(value.mean().asscalar())
        assert net.factor.grad().dtype == np.dtype(dtype) and value.dtype == np.float32
    assert losses['float16'][-1] < 0.9 * losses['float16'][0]
    assert relative_error(np.array(losses['float16']), np.array(losses['float32'])) \
        <= TOLERANCE['loss, float16']


@each_path
@pytest.mark.parametrize('mode', ['imperative', 'hybridized'])
def test_deep_supervision(mode, native, monkeypatch):
    monkeypatch.setenv('SOFT_DICE_NATIVE', native)
    rng = np.random.RandomState(0)
    label = rng.randint(0, 3, (2, 16, 16))
    preds = [rng.standard_normal((2, 3, size, size)).astype('float16') for size in (16, 8)]
    found = {}
    for dtype in ('float16', 'float64'):
        loss = DeepSupervision(DiceCELoss())
        loss.hybridize(mode == 'hybridized')
        scores = [ndarray(pred.astype(dtype)) for pred in preds]
        for score in scores:
            score.attach_grad()
        with autograd.record():
            value = loss(scores, ndarray(label.astype('float16')))
        value.backward(mx.nd.full(2, 256.0, dtype=value.dtype))
        found[dtype] = [value.asnumpy()] + [score.grad.asnumpy() for score in scores]
        assert [each.dtype for each in found[dtype][1:]] == [dtype] * 2
    for half, wide in zip(found['float16'], found['float64']):
        assert relative_error(half.astype('float64'), wide) <= TOLERANCE['gradient, float16']


# --- labels ---------------------------------------------------------------------------------------

UNHELD = [(dict(ignore_label=65535), 3, 'holds ignore_label=65535'),
          (dict(ignore_label=2049), 3, 'holds ignore_label=2049'),
          (dict(ignore_label=-70000, sparse_label=False), 3, 'holds ignore_label=-70000'),
          (dict(), 2050, 'holds 2050 classes')]


@pytest.mark.parametrize('fields, classes, message', UNHELD)
def test_values_that_a_float16_label_does_not_hold(fields, classes, message, implementation):
    pred = np.zeros((1, classes, 2, 2), 'float32')
    label = np.zeros(pred.shape if 'sparse_label' in fields else (1, 2, 2), 'float16')
    # What else refuses them: refusals.py.
    for call in (lambda: DiceMetric(**fields).update(ndarray(label), ndarray(pred)),
                 lambda: DiceCELoss(**fields)(ndarray(pred), ndarray(label))):
        with pytest.raises(ValueError, match=f'label must be made in a dtype that {message}'):
            call()


@pytest.mark.parametrize('ignored', [255, -1, 2048, 4096, 65504])
def test_values_that_a_float16_label_holds(ignored, implementation):
    pred = np.random.RandomState(0).standard_normal((1, 3, 4, 5)).astype('float32')
    label = np.random.RandomState(1).randint(0, 3, (1, 4, 5))
    label[:, 0] = ignored
    expected = soft_dice_loss(pred, label, DiceOptions(ignore_label=ignored))
    half = label.astype('float16')
    assert soft_dice_loss(pred, half, DiceOptions(ignore_label=ignored)) == expected
    value = SoftDiceLoss(ignore_label=ignored)(ndarray(pred), ndarray(half)).asnumpy()
    assert relative_error(value, expected) <= TOLERANCE['loss, float32']


def test_the_last_class_that_a_float16_label_holds(implementation):
    pred = np.random.RandomState(0).standard_normal((1, 2049, 6)).astype('float32')
    label = np.array([[2048, 2047, 2046, 1, 0, 1025]])
    expected = soft_dice_loss(pred, label)
    assert soft_dice_loss(pred, label.astype('float16')) == expected
    value = SoftDiceLoss()(ndarray(pred), ndarray(label.astype('float16'))).asnumpy()
    assert relative_error(value, expected) <= TOLERANCE['loss, float32']


def test_metric():
    rng = np.random.RandomState(0)
    pred = rng.standard_normal((1, 3, 300, 300)).astype('float16')
    label = rng.randint(0, 3, (1, 300, 300))
    label[:, :9] = 255
    metric = DiceMetric(ignore_label=255)
    metric.update(ndarray(label.astype('float16')), ndarray(pred))
    expected = hard_dice(pred.astype('float64'), label, ignore_label=255)
    assert metric.get()[1] == pytest.approx(np.mean(expected), rel=TOLERANCE['value, float64'])


# --- automatic mixed precision --------------------------------------------------------------------

BFLOAT16 = np.dtype([('bfloat16', np.uint16)])  # as MXNet has it from 1.8 on
NO_CONVOLUTION = 'could not create a primitive descriptor iterator'  # of oneDNN


def convolves(dtype):
    """Whether MXNet has a convolution in this dtype on this machine."""
    arrays = [mx.nd.amp_cast(mx.nd.ones(shape), dtype=dtype) for shape in ((1, 1, 4, 4),) * 2]
    try:
        mx.nd.Convolution(*arrays, kernel=(4, 4), num_filter=1, no_bias=True).wait_to_read()
    except mx.MXNetError as error:
        assert NO_CONVOLUTION in str(error)
        return False
    return True


@pytest.mark.parametrize('target, casts', [('float16', 1), ('bfloat16', 6)])
def test_under_amp(target, casts, cannot_show):
    """In a process of its own, as amp.init() is for good.  ``casts`` of the network's graph, 1 of
    the pooling, or data, weight and bias of two convolutions: amp is on, and not in the loss."""
    done = subprocess.run([sys.executable, str(TESTS / 'amp_session.py'), target],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=surroundings())
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    found = json.loads(done.stdout.decode())
    assert found['casts'] == casts
    for each in found['errors']:
        assert each['dtypes'] == ['float32', 'float16'], each['name']
        assert each['errors'][0] <= TOLERANCE['loss, float16'], each['name']
        assert each['errors'][1] <= TOLERANCE['gradient, float16'], each['name']
    trains = target == 'float16' or convolves(BFLOAT16)
    if not trains:
        cannot_show('bfloat16 convolution (no AVX-512)')
    for each in found['trained']:
        if trains:
            assert not each['error'] and each['last'] < each['first'] / 3, each
        else:  # docs/training.md, "Mixed precision"
            assert NO_CONVOLUTION in each['error'], each
