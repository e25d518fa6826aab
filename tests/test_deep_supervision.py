"""DeepSupervision: each scale against the reference, in every way to run a Gluon loss."""
import mxnet as mx
import numpy as np
import pytest
from backends import input_layer, make_net
from mxnet import gluon
from on_gluon import assert_survives_export, ndarray
from releases import STATIC
from tolerances import TOLERANCE

from gluon_dice import DeepSupervision, SoftDiceLoss
from soft_dice import DiceOptions, soft_dice_loss_vjp
from soft_dice.gradcheck import relative_error

RNG = np.random.RandomState(0)
SIZES = {1: [(13,), (6,), (4,)], 2: [(12, 9), (6, 5), (3, 2)], 3: [(5, 6, 4), (3, 3, 2), (1, 2, 1)]}
WEIGHTS = [4 / 7, 2 / 7, 1 / 7]
DENSE = dict(sparse_label=False, activation='sigmoid')


def inputs_of(options, space=2, label_size=None):
    """Predictions of three scales, label and pixel weights, with the classes at options.axis."""
    preds = [RNG.standard_normal((2, 3) + size) for size in SIZES[space]]
    size = label_size or SIZES[space][0]
    label = RNG.randint(0, 3, (2,) + size).astype(float) if options.sparse_label \
        else RNG.uniform(size=(2, 3) + size)
    weight = RNG.uniform(0.5, 2, (2,) + size)
    if not options.sparse_label:
        label = np.moveaxis(label, 1, options.axis)
    preds = [np.ascontiguousarray(np.moveaxis(pred, 1, options.axis)) for pred in preds]
    return preds, np.ascontiguousarray(label), weight


def nearest(array, axes, sizes):
    """The value at the centre of each place, by whole numbers alone."""
    for axis, target in zip(axes, sizes):
        source = array.shape[axis]
        index = [(2 * i + 1) * source // (2 * target) for i in range(target)]
        array = np.take(array, index, axis=axis)
    return array


def by_hand(preds, label, weight, options, weights=WEIGHTS, upstream=1.0):
    """The weighted sum and its gradients, of the reference."""
    total, gradients = 0, []
    for factor, pred in zip(weights, preds):
        axis = options.axis % pred.ndim
        size = pred.shape[1:axis] + pred.shape[axis + 1:]
        at_scale = [label, weight]
        if options.resize is None:
            space = [each for each in range(1, pred.ndim) if each != axis]
            pixels = range(1, pred.ndim - 1)
            at_scale = [nearest(label, pixels if options.sparse_label else space, size),
                        None if weight is None else nearest(weight, pixels, size)]
        loss, vjp = soft_dice_loss_vjp(pred, at_scale[0], options, at_scale[1])
        total = total + factor * loss
        gradients.append(vjp(factor * upstream))
    return total, gradients


class Network(gluon.HybridBlock):
    """The loss inside a network."""

    def __init__(self, loss):
        super().__init__()
        with self.name_scope():
            self.loss = loss

    def hybrid_forward(self, F, fine, middle, coarse, *others):
        return self.loss([F.identity(fine), middle, coarse], *others)


def run_arrays(loss, preds, *others, upstream):
    preds = [ndarray(pred) for pred in preds]
    for pred in preds:
        pred.attach_grad()
    with mx.autograd.record():
        value = loss(preds, *(ndarray(each) for each in others))
    value.backward(mx.nd.array(upstream, dtype=value.dtype))
    return value.asnumpy(), [pred.grad.asnumpy() for pred in preds]


def imperative(loss, *inputs, **keywords):
    return run_arrays(loss, *inputs, **keywords)


def hybridized(loss, *inputs, **keywords):
    loss.hybridize(**STATIC)
    run_arrays(loss, *inputs, **keywords)
    return run_arrays(loss, *inputs, **keywords)


def nested(loss, preds, *others, upstream):
    net = Network(loss)
    net.cast(preds[0].dtype)
    net.hybridize(**STATIC)
    return run_arrays(lambda preds, *others: net(*preds, *others), preds, *others,
                      upstream=upstream)


def symbol(loss, preds, *others, upstream):
    loss.cast(preds[0].dtype)
    arrays = {f'pred{i}': ndarray(pred) for i, pred in enumerate(preds)}
    arrays.update({f'other{i}': ndarray(each) for i, each in enumerate(others)})
    variables = {name: mx.sym.Variable(name, dtype=each.dtype) for name, each in arrays.items()}
    graph = loss(*[[each for name, each in variables.items() if name[:4] == 'pred'],
                   *(each for name, each in variables.items() if name[:5] == 'other')])
    gradients = {name: mx.nd.zeros_like(each) for name, each in arrays.items() if 'pred' in name}
    executor = graph.bind(mx.cpu(), arrays, args_grad=gradients, grad_req={
        name: 'write' if name in gradients else 'null' for name in arrays})
    value = executor.forward(is_train=True)[0]
    executor.backward(mx.nd.array(upstream, dtype=value.dtype))
    return value.asnumpy(), [each.asnumpy() for each in gradients.values()]


MODES = {each.__name__: each for each in (imperative, hybridized, nested, symbol)}
each_mode = pytest.mark.parametrize('mode', list(MODES))
UPSTREAM = np.array([1.5, -0.5])


@pytest.fixture(params=['0', '1'], ids=['operators', 'native'])
def native(request, monkeypatch):
    monkeypatch.setenv('SOFT_DICE_NATIVE', request.param)


def assert_same(found, expected, dtype='float64'):
    value = 'value, float64' if dtype == 'float64' else 'loss, float32'
    assert relative_error(found[0], expected[0]) <= TOLERANCE[value]
    for gradient, wanted in zip(found[1], expected[1]):
        assert relative_error(gradient, wanted) <= TOLERANCE[f'gradient, {dtype}']


CASES = {
    'image': (dict(), 2, None), 'signal': (dict(), 1, None), 'volume': (dict(), 3, None),
    'label of another size': (dict(), 2, (17, 10)), 'dense': (DENSE, 2, None),
    'channels last': (dict(axis=-1), 2, None),
    'channels last dense': (dict(DENSE, axis=3), 2, None),
    'channels in the middle': (dict(axis=2), 2, None),
    'resize': (dict(resize='bilinear'), 2, None),
    'resize volume dense': (dict(DENSE, resize='bilinear'), 3, (6, 7, 5)),
    'per class': (dict(class_reduction='none'), 2, None),
}


@each_mode
@pytest.mark.parametrize('weighted', [False, True], ids=['plain', 'weighted'])
@pytest.mark.parametrize('name', list(CASES))
@pytest.mark.usefixtures('native')
def test_sum_of_the_scales(name, weighted, mode):
    fields, space, label_size = CASES[name]
    options = DiceOptions(**fields)
    preds, label, weight = inputs_of(options, space, label_size)
    upstream = UPSTREAM
    if options.class_reduction == 'none':
        upstream = np.repeat(UPSTREAM[:, None], 3, axis=1)
    found = MODES[mode](DeepSupervision(SoftDiceLoss(options)), preds, label,
                        *[weight] * weighted, upstream=upstream)
    assert_same(found, by_hand(preds, label, weight if weighted else None, options,
                               upstream=upstream))


@each_mode
@pytest.mark.usefixtures('native')
def test_float32_and_a_label_with_a_class_axis(mode):
    options = DiceOptions(ignore_label=2)
    preds, label, weight = inputs_of(options)
    single = [pred.astype('f') for pred in preds]
    found = MODES[mode](DeepSupervision(SoftDiceLoss(options)), single,
                        label[:, None].astype('uint8'), weight[:, None].astype('f'),
                        upstream=UPSTREAM)
    assert_same(found, by_hand(preds, label, weight, options, upstream=UPSTREAM), 'float32')


@each_mode
@pytest.mark.parametrize('sparse', [True, False], ids=['index', 'dense'])
@pytest.mark.parametrize('weighted', [False, True], ids=['plain', 'weighted'])
def test_mxnet_s_own_losses(mode, sparse, weighted):
    """Cross-entropy of each scale, and sample_weight per pixel, which has to be (N, 1, ...)."""
    options = DiceOptions(sparse_label=sparse, activation='softmax' if sparse else 'sigmoid')
    preds, label, weight = inputs_of(options)
    expected, gradients = 0, []
    for factor, pred in zip(WEIGHTS, preds):
        at_scale = nearest(label, (-2, -1), pred.shape[2:])
        w = nearest(weight, (1, 2), pred.shape[2:])[:, None] if weighted else np.ones(())
        if sparse:
            e = np.exp(pred - pred.max(1, keepdims=True))
            p = e / e.sum(1, keepdims=True)
            g = np.moveaxis(np.eye(3)[at_scale.astype(int)], -1, 1)
            each, share = -np.log((p * g).sum(1, keepdims=True)) * w, p[:, 0].size / len(p)
        else:
            p, g = 1 / (1 + np.exp(-pred)), at_scale
            each, share = -(g * np.log(p) + (1 - g) * np.log(1 - p)) * w, pred[0].size
        expected = expected + factor * each.reshape(len(p), -1).mean(axis=1)
        gradients.append(factor * UPSTREAM.reshape(-1, 1, 1, 1) * w * (p - g) / share)
    loss = DeepSupervision(gluon.loss.SoftmaxCrossEntropyLoss(axis=1)) if sparse else \
        DeepSupervision(gluon.loss.SigmoidBinaryCrossEntropyLoss(), sparse_label=False)
    found = MODES[mode](loss, [pred.astype('f') for pred in preds], label.astype('f'),
                        *[weight.astype('f')] * weighted, upstream=UPSTREAM)
    assert_same(found, (expected, gradients), 'float32')


@each_mode
def test_many_places_of_labels(mode):
    """More places than uint8, in which the label is, can count."""
    preds = [RNG.standard_normal((1, 2, size)) for size in (700, 301, 77)]
    label = RNG.randint(0, 2, (1, 700)).astype('uint8')
    found = MODES[mode](DeepSupervision(SoftDiceLoss()), preds, label, upstream=np.ones(1))
    assert_same(found, by_hand(preds, label, None, DiceOptions()))


# --- labels of each scale -------------------------------------------------------------------------

@pytest.mark.parametrize('hybridize', [False, True], ids=['imperative', 'hybridized'])
def test_lists_are_taken_as_they_are(hybridize):
    """A plain list of losses gives the same as one label does, and other labels are not changed."""
    preds, label, weight = inputs_of(DiceOptions())
    labels = [nearest(label, (1, 2), pred.shape[2:]) for pred in preds]
    weights = [nearest(weight, (1, 2), pred.shape[2:]) for pred in preds]
    loss = DeepSupervision(SoftDiceLoss())
    if hybridize:
        loss.hybridize()
    arrays = [ndarray(pred) for pred in preds]
    expected = by_hand(preds, label, weight, DiceOptions())[0]
    for given_label in (ndarray(label), [*map(ndarray, labels)]):
        for given_weight in (ndarray(weight), [*map(ndarray, weights)]):
            value = loss(arrays, given_label, given_weight).asnumpy()
            assert relative_error(value, expected) <= TOLERANCE['value, float64']
    labels[2] = 2 - labels[2]
    losses = [soft_dice_loss_vjp(pred, each)[0] for pred, each in zip(preds, labels)]
    value = loss(arrays, [*map(ndarray, labels)]).asnumpy()
    assert relative_error(value, np.dot(WEIGHTS, losses)) <= TOLERANCE['value, float64']


def test_hybridized_with_changing_inputs():
    """Other numbers of scales, sizes, dtypes, and with and without pixel weights, in turn."""
    loss = DeepSupervision(SoftDiceLoss(), weights='equal')
    loss.hybridize(**STATIC)
    for space, scales, weighted, dtype in [(2, 3, True, 'float64'), (2, 2, False, 'float32'),
                                           (3, 2, True, 'float32'), (2, 1, True, 'float64'),
                                           (2, 3, True, 'float64')]:
        preds, label, weight = inputs_of(DiceOptions(), space)
        arrays = [ndarray(pred.astype(dtype)) for pred in preds[:scales]]
        value = loss(arrays, ndarray(label), *[ndarray(weight)] * weighted)
        expected, _ = by_hand(preds[:scales], label, weight if weighted else None, DiceOptions(),
                              [1 / scales] * scales)
        assert np.dtype(value.dtype) == dtype
        assert relative_error(value.asnumpy(), expected) <= TOLERANCE[
            'value, float64' if dtype == 'float64' else 'loss, float32']


# --- weights --------------------------------------------------------------------------------------

@pytest.mark.parametrize('weights, expected', [
    (None, WEIGHTS), ('halving', WEIGHTS), ('equal', [1 / 3] * 3), ([1, 0.5, 0], [1, 0.5, 0]),
    (np.array([2.0, 3.0, 4.0]), [2, 3, 4])])
def test_weights(weights, expected):
    preds, label, _ = inputs_of(DiceOptions())
    found = imperative(DeepSupervision(SoftDiceLoss(), weights), preds, label, upstream=UPSTREAM)
    assert_same(found, by_hand(preds, label, None, DiceOptions(), expected, UPSTREAM))


@pytest.mark.parametrize('weights', ['thirds', '', [], [0, 0, 0], [1, -1], [1, float('nan')],
                                     [1, float('inf')], ['a'], 3, [[1, 2]]])
def test_bad_weights(weights):
    with pytest.raises(ValueError, match=r'weights must be .* for example \[1, 0.5, 0.25\]; got'):
        DeepSupervision(SoftDiceLoss(), weights)


def arrays_of(*shapes):
    return [mx.nd.zeros(shape) for shape in shapes]


TWO = arrays_of((2, 3, 8, 8), (2, 3, 4, 4))
LABEL = mx.nd.zeros((2, 8, 8))


@pytest.mark.parametrize('hybridize', [False, True], ids=['imperative', 'hybridized'])
@pytest.mark.parametrize('error, preds, others, message', [
    (TypeError, TWO[0], [LABEL], 'preds must be a list of predictions.*; got NDArray'),
    (TypeError, [], [LABEL], 'preds must be a list of predictions.*; got list of length 0'),
    (ValueError, TWO[:1], [LABEL], 'weights must have one number per prediction, here 1; got 2'),
    (ValueError, TWO, [[]], 'a list as label must have one entry per .*, here 2; got 0'),
    (ValueError, TWO, [[LABEL]], 'a list as label must have one entry per .*, here 2; got 1'),
    (ValueError, TWO, [LABEL, [LABEL] * 3], 'a list as pixel_weight must have .* here 2; got 3'),
    (ValueError, TWO[::-1], [LABEL], 'preds must go from the finest to the coarsest; got'),
    (ValueError, arrays_of((2, 3, 8, 8), (1, 3, 4, 4)), [LABEL], 'preds must have the same'),
    (ValueError, arrays_of((2, 3, 8, 8), (2, 2, 4, 4)), [LABEL], 'preds must have the same'),
    (ValueError, arrays_of((2, 3, 8, 8), (2, 3, 16)), [LABEL], 'preds must have the same'),
    (ValueError, TWO, [LABEL[:1]], r'label must have one value per pixel.*got \(1, 8, 8\)'),
    (ValueError, TWO, [mx.nd.zeros((2, 64))], r'label must have .* got \(2, 64\)'),
    (ValueError, TWO, [LABEL, LABEL[:, :4]], r'pixel_weight must have .* got \(2, 4, 8\)'),
    (ValueError, TWO, [mx.nd.zeros((2, 3, 8, 8))], 'or sparse_label=False for one value per class'),
])
def test_bad_inputs(error, preds, others, message, hybridize):
    loss = DeepSupervision(SoftDiceLoss(), [1, 0.5])
    loss.hybridize(hybridize)
    with pytest.raises(error, match=message):
        loss(preds, *others)


@pytest.mark.parametrize('loss', [None, SoftDiceLoss, lambda pred, label: pred])
def test_what_is_no_loss(loss):
    with pytest.raises(TypeError, match='loss must be a Gluon loss, for example SoftDiceLoss'):
        DeepSupervision(loss)


def test_is_a_gluon_loss():
    loss = DeepSupervision(SoftDiceLoss(smooth=1), [1, 2], prefix='deep_')
    assert isinstance(loss, gluon.loss.Loss) and loss.prefix == 'deep_'
    assert repr(loss) == 'DeepSupervision(SoftDiceLoss(smooth=1.0), weights=(1.0, 2.0))'


# --- in use ---------------------------------------------------------------------------------------

def test_equals_caffe_layers_with_loss_weights():
    """Three layers with resize against one DeepSupervision of a loss with resize."""
    preds, label, _ = inputs_of(DiceOptions())
    preds, label = [pred.astype('f') for pred in preds], label.astype('f')
    text = 'force_backward: true\n' + input_layer('label', label.shape)
    for i, (pred, weight) in enumerate(zip(preds, WEIGHTS)):
        text += input_layer(f'pred{i}', pred.shape)
        text += (f'layer {{ name: "loss{i}" type: "Python" bottom: "pred{i}" bottom: "label" '
                 f'top: "loss{i}" loss_weight: {weight!r} python_param {{ module: "caffe_layers" '
                 "layer: \"SoftDiceLossLayer\" param_str: '{\"resize\": \"bilinear\"}' } }\n")
    net = make_net(text)
    net.blobs['label'].data[...] = label
    for i, pred in enumerate(preds):
        net.blobs[f'pred{i}'].data[...] = pred
    net.forward()
    net.backward()
    total = sum(weight * net.blobs[f'loss{i}'].data for i, weight in enumerate(WEIGHTS))
    value, gradients = hybridized(DeepSupervision(SoftDiceLoss(resize='bilinear')), preds, label,
                                  upstream=np.full(2, 0.5))  # of the mean, as Caffe's
    assert relative_error(total, value.mean()) <= TOLERANCE['loss, float32']
    for i, gradient in enumerate(gradients):
        assert relative_error(net.blobs[f'pred{i}'].diff, gradient) \
            <= TOLERANCE['gradient, float32']


class ThreeScales(gluon.HybridBlock):
    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.heads = gluon.nn.HybridSequential()
            self.heads.add(*(gluon.nn.Conv2D(3, 1, in_channels=3) for _ in range(3)))

    def hybrid_forward(self, F, x):
        preds = []
        for head in self.heads:
            preds.append(head(x))
            x = F.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type='avg')
        return preds


@pytest.mark.parametrize('resize', [None, 'bilinear'])
def test_trains_a_hybridized_network(resize):
    mx.random.seed(0)
    net, loss = ThreeScales(), DeepSupervision(SoftDiceLoss(resize=resize))
    net.initialize(mx.init.Xavier())
    net.hybridize()
    loss.hybridize(**STATIC)
    trainer = gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': 0.1})
    label = np.zeros((2, 8, 8), int)
    label[0, :, 4:], label[1, 4:] = 1, 2
    x = ndarray(np.eye(3, dtype='f')[label].transpose(0, 3, 1, 2))
    values = []
    for _ in range(40):
        with mx.autograd.record():
            value = loss(net(x), ndarray(label))
        value.backward()
        trainer.step(2)
        values.append(value.mean().asscalar())
    assert values[-1] < values[0] * 2 / 3


def test_exported_graph_is_loaded_again(tmp_path):
    net = Network(DeepSupervision(SoftDiceLoss()))
    net.hybridize()
    preds, label, _ = inputs_of(DiceOptions())
    assert_survives_export(net, [ndarray(each.astype('f')) for each in (*preds, label)], tmp_path)
