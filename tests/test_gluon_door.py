"""What losses, metric and wrappers say of inputs that are no arrays for them; and bool labels."""
import mxnet as mx
import numpy as np
import pytest
from cases import Arrays
from on_gluon import MODES, Around, differentiate, in_mode, ndarray
from releases import STATIC
from tolerances import TOLERANCE

from gluon_dice import DeepSupervision, DiceCELoss, DiceMetric, SoftDiceLoss, compat
from gluon_dice.parallel import DataParallelLoss
from soft_dice import DiceCEOptions, DiceOptions, dice_ce_loss_vjp, soft_dice_loss_vjp
from soft_dice.gradcheck import relative_error

RNG = np.random.RandomState(0)
P, Q = mx.nd.zeros((2, 3, 4, 5)), mx.nd.zeros((2, 4, 5))
NUMPY = np.zeros((2, 4, 5), 'int64')
USE = (r"for all of a network's outputs use AuxLoss\(loss\)\(\*outputs, label\) or "
       r'DeepSupervision\(loss\)\(outputs, label\); got ')


# --- what is no input -----------------------------------------------------------------------------

NO_ARRAYS = [
    (TypeError, ((P, P), Q), rf'pred must be one array, for example outputs\[0\]; {USE}tuple of '
                             'length 2'),
    (TypeError, ([P], Q), rf'pred must be one array, for example outputs\[0\]; {USE}list of length '
                          '1'),
    (TypeError, (P, NUMPY), r'label must be an array of MXNet, for example mx.nd.array\(label\); '
                            r'got numpy.ndarray of shape \(2, 4, 5\)'),
    (TypeError, (P.asnumpy(), Q), r'pred must be an array of MXNet, .*; got numpy.ndarray of shape'
                                  r' \(2, 3, 4, 5\)'),
    (TypeError, (P, Q, NUMPY), r'pixel_weight must be an array of MXNet, .*; got numpy.ndarray of'),
    (TypeError, (P, None), 'label must be an array of MXNet, .*; got None$'),
    (TypeError, (P, [Q]), 'label must be an array of MXNet, .*; got list of length 1'),
    (TypeError, (P, 1), 'label must be an array of MXNet, .*; got int'),
    (TypeError, (P, mx.sym.Variable('label')), 'pred and label must both be arrays or both Symbols;'
                                               r' got NDArray of shape \(2, 3, 4, 5\) and Symbol$'),
    (TypeError, (mx.sym.Variable('pred'), Q), 'pred and label must both be arrays or both Symbols'),
    (ValueError, (P, P, Q), rf'a loss takes pred, label and pixel_weight; {USE}the shapes '
                            r'\(2, 3, 4, 5\), \(2, 3, 4, 5\) and \(2, 4, 5\)'),
]


@pytest.mark.parametrize('error, inputs, message', NO_ARRAYS)
@pytest.mark.parametrize('kind', [SoftDiceLoss, DiceCELoss])
@pytest.mark.usefixtures('stage_one')
def test_a_loss_says_what_it_was_given(kind, error, inputs, message):
    for hybridize in (False, True):
        loss = kind()
        loss.hybridize(hybridize)
        with pytest.raises(error, match=f'^{message}'):
            loss(*inputs)


def test_a_label_of_the_shape_of_pred_is_no_second_output():
    assert SoftDiceLoss(sparse_label=False)(P, P, Q + 1).shape == (2,)
    pred, label = mx.nd.zeros((2, 1, 4, 5)), mx.nd.ones((2, 1, 4, 5))
    assert SoftDiceLoss(activation='sigmoid')(pred, label, label).shape == (2,)


@pytest.mark.parametrize('inputs, message', [
    (([P, P], NUMPY), r'label must be an array of MXNet, .*; got numpy.ndarray'),
    (([P, P], [Q, NUMPY]), r'label\[1\] must be an array of MXNet, .*; got numpy.ndarray'),
    (([P, P], Q, NUMPY), 'pixel_weight must be an array of MXNet, .*; got numpy.ndarray'),
    (([P, P.asnumpy()], Q), r'preds\[1\] must be an array of MXNet, .*; got numpy.ndarray'),
    (([(P, P), P], Q), r'preds\[0\] must be one array, .*; got tuple of length 2'),
    (([P, mx.sym.Variable('coarse')], Q), r'preds\[0\] and preds\[1\] must both be arrays or both'),
    (([P, P], None), 'label must be an array of MXNet, .*; got None$'),
])
def test_deep_supervision_says_what_it_was_given(inputs, message):
    with pytest.raises(TypeError, match=f'^{message}'):
        DeepSupervision(SoftDiceLoss())(*inputs)


@pytest.mark.parametrize('inputs, message', [
    (([P, (P, P)], [Q, Q]), r'preds\[1\] must be one array, .*; got tuple of length 2'),
    (([P, P], [Q, NUMPY]), r'labels\[1\] must be an array of MXNet, .*; got numpy.ndarray'),
    (([P], [Q], [NUMPY]), r'pixel_weights\[0\] must be an array of MXNet, .*; got numpy.ndarray'),
])
def test_several_devices_say_what_they_were_given(inputs, message):
    with pytest.raises(TypeError, match=f'^{message}'):
        DataParallelLoss(SoftDiceLoss())(*inputs)


@pytest.mark.parametrize('error, labels, preds, message', [
    (TypeError, [Q], [(P, P)], r'preds\[0\] must be one array, for example outputs\[0\]; a metric '
                               'takes one output of a network; got tuple of length 2'),
    (TypeError, [Q, Q], [P, [P, P]], r'preds\[1\] must be one array, .*; got list of length 2'),
    (TypeError, [[Q]], [P], r'labels\[0\] must be one array, .*; got list of length 1'),
    (ValueError, Q, (P, P), r"labels and preds must have as many .* \(of a network's outputs the "
                            r'first, outputs\[0\]\); got 1 and 2'),
    (TypeError, [None], [P], r'labels\[0\] must be an array, .*; got None$'),
])
def test_the_metric_says_what_it_was_given(error, labels, preds, message):
    with pytest.raises(error, match=f'^{message}'):
        DiceMetric().update(labels, preds)


# --- bool -----------------------------------------------------------------------------------------

BINARY = RNG.standard_normal((2, 1, 4, 5)).astype('float32')
SCORE = RNG.standard_normal((2, 3, 4, 5)).astype('float32')
MASK = RNG.uniform(size=(2, 4, 5)) < 0.5
WEIGHT = RNG.uniform(size=(2, 4, 5)) < 0.7
SOFT = RNG.uniform(size=SCORE.shape) < 0.5
SIGMOID = dict(activation='sigmoid')
DENSE = dict(SIGMOID, sparse_label=False)
BOOL = {'one channel': (BINARY, MASK, None, SIGMOID), 'classes': (SCORE, MASK, None, {}),
        'class axis': (SCORE, MASK[:, None], None, dict(include_background=False)),
        'weight': (SCORE, MASK, WEIGHT, {}), 'dense': (SCORE, SOFT, WEIGHT, DENSE),
        'ignored': (BINARY, MASK, None, dict(SIGMOID, ignore_label=255)),
        'resize': (SCORE[:, :, :3, :2], MASK, WEIGHT, dict(resize='bilinear')),
        'entropy': (SCORE, MASK, WEIGHT, dict(ce_weight=0.5)),
        'dense entropy': (SCORE, SOFT, None, dict(DENSE, ce_weight=0.5))}
UPSTREAM = np.array([1.5, -0.5])
# MXNet has arrays of bool since 1.6.
dtypes = pytest.mark.parametrize('dtype', ['bool'] if compat.NP else ['uint8'])


def expected(pred, label, weight, options):
    vjp_of = dice_ce_loss_vjp if isinstance(options, DiceCEOptions) else soft_dice_loss_vjp
    value, vjp = vjp_of(pred, label.astype('uint8'), options,
                        None if weight is None else weight.astype('uint8'))
    return value, vjp(UPSTREAM)


@dtypes
@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('name', list(BOOL))
@pytest.mark.usefixtures('stage_one')
def test_bool(name, mode, dtype):
    pred, label, weight, fields = BOOL[name]
    options = (DiceCEOptions if 'ce_weight' in fields else DiceOptions)(**fields)
    arrays = Arrays(pred, *(each if each is None else each.astype(dtype)
                            for each in (label, weight)), UPSTREAM)
    found = differentiate(in_mode(mode, options), arrays)
    for each, wanted, what in zip(found, expected(pred, label, weight, options),
                                  ('loss, float32', 'gradient, float32')):
        assert relative_error(each, wanted) <= TOLERANCE[what]


@dtypes
@pytest.mark.parametrize('told', [False, True], ids=['', 'told'])
@pytest.mark.usefixtures('stage_one')
def test_bool_in_a_symbol(told, dtype):
    pred, label = (mx.sym.Variable('pred'),
                   mx.sym.Variable('label', **(dict(dtype=dtype) if told else {})))
    arrays = {'pred': ndarray(SCORE), 'label': ndarray(MASK.astype(dtype))}
    found = SoftDiceLoss()(pred, label).bind(mx.cpu(), arrays).forward()[0].asnumpy()
    assert relative_error(found, soft_dice_loss_vjp(SCORE, MASK)[0]) <= TOLERANCE['loss, float32']


class TwoScales(Around):
    """A loss of two predictions."""

    def hybrid_forward(self, F, pred, *others):
        return self.loss([F.identity(pred), F.slice_axis(pred, axis=2, begin=0, end=2)], *others)


@dtypes
@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('fields', [{}, DENSE, dict(resize='bilinear'), dict(axis=-1)],
                         ids=['index', 'dense', 'resize', 'channels last'])
@pytest.mark.usefixtures('stage_one')
def test_bool_of_several_scales(fields, mode, dtype):
    """As other labels: tests/test_deep_supervision.py holds these to the reference."""
    label = SOFT if fields == DENSE else MASK
    pred = np.moveaxis(SCORE, 1, -1).copy() if 'axis' in fields else SCORE
    values = []
    for kind in ('float32', dtype):
        loss = DeepSupervision(SoftDiceLoss(**fields))
        net = TwoScales(loss)
        if mode != 'imperative':
            (net if mode == 'nested' else loss).hybridize(**STATIC)
        values.append(net(*(ndarray(each) for each in (
            pred, label.astype(kind), WEIGHT.astype(kind)))).asnumpy())
    np.testing.assert_array_equal(values[1], values[0])


@dtypes
def test_bool_of_several_devices(dtype):
    inputs = ([ndarray(each)] * 2 for each in (SCORE, MASK.astype(dtype), WEIGHT.astype(dtype)))
    found = DataParallelLoss(SoftDiceLoss())(*inputs)
    value = soft_dice_loss_vjp(SCORE, MASK, DiceOptions(), WEIGHT)[0]
    assert relative_error(found.asnumpy(), np.concatenate([value, value])) \
        <= TOLERANCE['loss, float32']


@dtypes
def test_bool_in_the_metric(dtype):
    metric = DiceMetric()
    metric.update(ndarray(MASK.astype(dtype)), ndarray(SCORE))
    other = DiceMetric()
    other.update(MASK.astype(int), SCORE)
    assert metric.counts == other.counts


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('kind', [SoftDiceLoss, DiceCELoss, DeepSupervision])
@pytest.mark.usefixtures('stage_one')
def test_a_soft_label_receives_no_gradient(kind, mode):
    """What the documentation says of every loss."""
    fields = dict(sparse_label=False)
    loss = kind(SoftDiceLoss(**fields)) if kind is DeepSupervision else kind(**fields)
    net = TwoScales(loss) if kind is DeepSupervision else Around(loss)
    if mode != 'imperative':
        (net if mode == 'nested' else loss).hybridize(**STATIC)
    student, teacher = (ndarray(RNG.standard_normal(SCORE.shape).astype('f')) for _ in range(2))
    for each in (student, teacher):
        each.attach_grad()
    with mx.autograd.record():
        value = net(student, mx.nd.softmax(teacher, axis=1))
    value.backward()
    assert student.grad.asnumpy().any() and not teacher.grad.asnumpy().any()
    assert 'no gradient' in ' '.join(kind.__doc__.split()) or kind is DiceCELoss


@dtypes
@pytest.mark.usefixtures('stage_one')
def test_a_bool_label_receives_no_gradient(dtype):
    """Also where it could: in a network with a gradient attached to the label."""
    net = in_mode('nested', DiceOptions())
    pred, label = ndarray(SCORE), ndarray(MASK.astype(dtype))
    for array in (pred, label):
        array.attach_grad()
    with mx.autograd.record():
        value = net(pred, label)
    value.backward()
    assert pred.grad.asnumpy().any() and not label.grad.asnumpy().any()
