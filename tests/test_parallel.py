"""A batch over several devices of one process: value and gradients are those of one device."""
import mxnet as mx
import numpy as np
import pytest
import shared_batch
from cases import CASES, GENERALISED, Arrays
from cases_ce import CE_CASES
from families import family
from mxnet import autograd, gluon
from releases import STATIC
from shared_batch import LABEL, network
from tolerances import TOLERANCE

from gluon_dice import AuxLoss, DeepSupervision, DiceCELoss, SoftDiceLoss
from gluon_dice.parallel import DataParallelLoss, zero_gradients
from soft_dice import DiceCEOptions, DiceOptions
from soft_dice.gradcheck import relative_error

DEVICES = [mx.cpu(0), mx.cpu(1), mx.cpu(2)]
OPTIONS = [DiceOptions(batch_dice=True), DiceOptions(batch_dice=True, **GENERALISED),
           DiceOptions(include_background=False), DiceCEOptions(batch_dice=True),
           DiceCEOptions(ce_batch=True, ce_class_weights=[1, 2, 3, 4])]
NAMES = ['batch', 'generalised', 'samples', 'dice and entropy', 'entropy over the batch']
SPLITS = [(4, 4), (7, 1), (8, 0), (0, 8), (1, 2, 5), (3, 0, 5)]
RNG = np.random.RandomState(0)
IMAGE = shared_batch.IMAGE.astype('float32')

pytestmark = pytest.mark.usefixtures('implementation')


def shared(array, sizes):
    """One array per device, None for 0 samples."""
    ends = np.cumsum(sizes)
    return [mx.nd.array(array[end - size:end], ctx=device, dtype=array.dtype) if size else None
            for size, end, device in zip(sizes, ends, DEVICES)]


def step(net, trainer, loss, inputs, devices):
    """One step of training; returns the loss, and every parameter's gradient summed over devices.
    """
    images, labels = inputs
    with autograd.record():
        value = loss([None if each is None else net(each) for each in images], labels)
    value.backward()
    for image, device in zip(images, devices):
        if image is None:
            zero_gradients(net.collect_params(), device)
    params = net.collect_params().values()
    gradients = [sum(each.asnumpy() for each in param.list_grad()) for param in params]
    trainer.step(len(value))
    return value.asnumpy(), gradients, [param.data(devices[-1]).asnumpy() for param in params]


def train(options, sizes, hybridize, dtype):
    """Two steps of training over these shares."""
    devices = DEVICES[:len(sizes)]
    net = network(devices, dtype)
    loss = DataParallelLoss(family(options).block(options))
    loss.hybridize(hybridize, **STATIC)
    trainer = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.5})
    inputs = shared(IMAGE.astype(dtype), sizes), shared(LABEL, sizes)
    return [step(net, trainer, loss, inputs, devices) for _ in range(2)]


def on_one_device(options, dtype):
    """The same without gluon_dice.parallel."""
    net = network(DEVICES[:1], dtype)
    plain = family(options).block(options)
    trainer = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.5})
    inputs = shared(IMAGE.astype(dtype), (8,)), shared(LABEL, (8,))
    return [step(net, trainer, lambda preds, labels: plain(preds[0], labels[0]), inputs,
                 DEVICES[:1]) for _ in range(2)]


# The gradient of a bias is a sum over pixels that nearly cancels, and MXNet's own sums in float32
# depend on the shares by up to 1e-5 of it: there all parameters are compared as one vector, and
# in float64 each of them.
@pytest.mark.parametrize('dtype', ['float32', 'float64'])
@pytest.mark.parametrize('hybridize', [False, True], ids=['imperative', 'hybridized'])
@pytest.mark.parametrize('options', OPTIONS, ids=NAMES)
def test_training_is_that_of_one_device(options, hybridize, dtype):
    expected = on_one_device(options, dtype)
    of_loss = 'loss, float32' if dtype == 'float32' else 'value, float64'
    for sizes in SPLITS if dtype == 'float64' else SPLITS[-1:]:
        found = train(options, sizes, hybridize, dtype)
        for one, many in zip(expected, found):
            assert relative_error(one[0], many[0]) <= TOLERANCE[of_loss]
            for a, b in zip(comparable(one, dtype), comparable(many, dtype)):
                assert relative_error(a, b) <= TOLERANCE[f'gradient, {dtype}']


def comparable(result, dtype):
    """The gradients and the weights after the step."""
    _, gradients, weights = result
    if dtype == 'float64':
        return gradients + weights
    return [np.concatenate([each.ravel() for each in arrays]) for arrays in (gradients, weights)]


def test_the_mean_of_the_shares_is_another_loss():
    """What the whole is for; and proof that the comparison above can fail."""
    plain = SoftDiceLoss(batch_dice=True)
    images, labels = shared(IMAGE[:, :1].repeat(4, axis=1), (4, 4)), shared(LABEL, (4, 4))
    mean = np.concatenate([plain(*share).asnumpy() for share in zip(images, labels)])
    whole = DataParallelLoss(plain)(images, labels).asnumpy()
    assert relative_error(mean, whole) > 0.01


@pytest.mark.parametrize('case', CASES + CE_CASES, ids=lambda case: case.name)
def test_every_case(case):
    """All options, labels and weights, with another head gradient for each sample."""
    arrays = case.arrays('float64')
    block = family(case.options).block(case.options)
    sizes = (1, len(arrays.pred) - 1)
    shares = [None if each is None else shared(each, sizes) for each in arrays[:3]]
    whole = [None if each is None else shared(each, (len(each),)) for each in arrays[:3]]
    found = _differentiate(DataParallelLoss(block), shares, arrays)
    expected = _differentiate(lambda *lists: block(*(each[0] for each in lists)), whole, arrays)
    assert relative_error(found[0], expected[0]) <= TOLERANCE['value, float64']
    assert relative_error(found[1], expected[1]) <= TOLERANCE['gradient, float64']


def _differentiate(loss, lists, arrays: Arrays):
    preds = [each for each in lists[0] if each is not None]
    for pred in preds:
        pred.attach_grad()
    with autograd.record():
        value = loss(*(each for each in lists if each is not None))
    value.backward(mx.nd.array(arrays.upstream, dtype=value.dtype))
    return value.asnumpy(), np.concatenate([pred.grad.asnumpy() for pred in preds])


def test_the_loss_itself_stays_whole():
    plain = SoftDiceLoss(weight=2.0)
    pred, label = mx.nd.zeros((2, 4, 3, 3)), mx.nd.zeros((2, 3, 3))
    before = plain(pred, label).asnumpy()
    parallel = DataParallelLoss(plain)
    parallel.hybridize()
    np.testing.assert_array_equal(parallel([pred], [label]).asnumpy(), before)
    np.testing.assert_array_equal(plain(pred, label).asnumpy(), before)
    assert not plain._active


def test_classes_and_dtypes_may_change():
    loss = DataParallelLoss(DiceCELoss())
    loss.hybridize(**STATIC)
    for classes in (4, 7, 4):
        for dtype in ('float32', 'float64', 'float16'):
            pred = RNG.standard_normal((3, classes, 5, 5)).astype(dtype)
            shares = shared(pred, (1, 2)), shared(LABEL[:3, :5, :5], (1, 2))
            value = loss(*shares)
            expected = DiceCELoss()(mx.nd.array(pred, dtype=dtype), mx.nd.array(LABEL[:3, :5, :5]))
            assert value.dtype == expected.dtype
            np.testing.assert_array_equal(value.asnumpy(), expected.asnumpy())


def test_shares_left_out():
    loss = DataParallelLoss(SoftDiceLoss())
    preds, labels = shared(IMAGE, (8,)), shared(LABEL % 3, (8,))
    np.testing.assert_array_equal(loss(preds + [None], labels).asnumpy(),
                                  loss(preds, labels + [None, None]).asnumpy())


def coarse_of(pred):
    return pred[:, :, ::2, 1:]


@pytest.mark.parametrize('hybridize', [False, True], ids=['imperative', 'hybridized'])
@pytest.mark.parametrize('sizes', SPLITS[:5], ids=str)
@pytest.mark.parametrize('kind', [AuxLoss, DeepSupervision])
def test_several_outputs_over_several_devices(kind, sizes, hybridize):
    """Value and gradients are those of the whole batch on one device; the second output is smaller.
    """
    pred = np.random.RandomState(1).standard_normal((8, 3, 6, 5))
    label = np.random.RandomState(2).randint(0, 3, (8, 6, 5)).astype('float64')
    weight = np.random.RandomState(3).uniform(0.5, 2, (8, 6, 5))
    upstream = np.arange(1.0, 9.0)
    found = []
    for split in ((8,), sizes):
        loss = kind(DiceCELoss(batch_dice=True, ignore_label=2))
        whole = len(split) == 1
        loss = loss if whole else DataParallelLoss(loss)
        loss.hybridize(hybridize)
        preds, labels, weights = (shared(each, split) for each in (pred, label, weight))
        for each in filter(lambda each: each is not None, preds):
            each.attach_grad()
        with autograd.record():
            outputs = [None if each is None else (each * 1, coarse_of(each * 2)) for each in preds]
            value = loss(outputs[0], labels[0], weights[0]) if whole else \
                loss(outputs, labels, weights)
        value.backward(mx.nd.array(upstream, dtype='float64'))
        found.append((value.asnumpy(), np.concatenate(
            [each.grad.asnumpy() for each in preds if each is not None])))
    for one, several in zip(*found):
        assert relative_error(several, one) <= TOLERANCE['value, float64']


def test_outputs_must_be_as_many_on_each_device():
    loss = DataParallelLoss(AuxLoss(SoftDiceLoss()))
    with pytest.raises(ValueError, match='all preds must have the same number of predictions; got 2'
                                         ', 1'):
        loss([(P, P), (P,)], [Q, Q])
    with pytest.raises(TypeError, match='preds must be a list of predictions.*got NDArray'):
        loss([P, P], [Q, Q])
    with pytest.raises(TypeError, match=r'label must be an array of MXNet, .*; got numpy.ndarray'):
        loss([(P, P)], [Q.asnumpy()])


P, Q = mx.nd.zeros((2, 3, 4, 4)), mx.nd.zeros((2, 4, 4))


@pytest.mark.parametrize('error, inputs, message', [
    (TypeError, (P, Q), 'preds must be a list of one array per device.*got NDArray'),
    (ValueError, ([None], [None]), 'at least one device; got none'),
    (ValueError, ([], []), 'at least one device; got none'),
    (ValueError, ([P, P], [Q]), r'labels\[1\] is missing'),
    (ValueError, ([P], [Q, Q]), r'preds\[1\] is missing'),
    (ValueError, ([P, P], [Q, Q], [Q]), r'pixel_weights\[1\] is missing'),
    (ValueError, ([P, None], [Q, None], [Q, Q]), r'preds\[1\] is missing'),
    (ValueError, ([P, P.astype('float64')], [Q, Q]), 'same dtype; got float32, float64'),
    (ValueError, ([P, mx.nd.zeros((2, 4, 4, 4))], [Q, Q]), 'same number of classes; got 3, 4'),
    (ValueError, ([P, P], [Q, Q[:1]]), 'must have one value per pixel of pred'),
])
def test_bad_inputs(error, inputs, message):
    with pytest.raises(error, match=message):
        DataParallelLoss(SoftDiceLoss())(*inputs)


def test_another_loss_is_refused():
    with pytest.raises(TypeError, match='SoftDiceLoss or a DiceCELoss.*got L2Loss'):
        DataParallelLoss(gluon.loss.L2Loss())
    with pytest.raises(TypeError, match='SoftDiceLoss or a DiceCELoss.*got L2Loss'):
        DataParallelLoss(AuxLoss(gluon.loss.L2Loss()))


def test_zero_gradients():
    net = network(DEVICES[:2])
    params = net.collect_params()
    for device in DEVICES[:2]:
        with autograd.record():
            value = net(mx.nd.ones((1, 3, 4, 4), ctx=device))
        value.backward()
    zero_gradients(params, DEVICES[1])
    for param in params.values():
        assert param.grad(DEVICES[0]).asnumpy().any()
        assert not param.grad(DEVICES[1]).asnumpy().any()
    zero_gradients(params)
    assert not any(grad.asnumpy().any() for each in params.values() for grad in each.list_grad())
