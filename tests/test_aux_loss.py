"""AuxLoss: the losses of all outputs, called as gluoncv's criterion is."""
import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon
from on_gluon import MODES, Around, assert_survives_export, ndarray, put_in_mode
from tolerances import TOLERANCE

from gluon_dice import AuxLoss, DiceCELoss, SoftDiceLoss
from soft_dice import DiceCEOptions, DiceOptions, dice_ce_loss_vjp, soft_dice_loss_vjp
from soft_dice.gradcheck import relative_error

RNG = np.random.RandomState(0)
PREDS = [RNG.standard_normal((2, 3, 6, 5)).astype('float32') for _ in range(3)]
LABEL = RNG.randint(-1, 3, (2, 6, 5)).astype('float32')  # -1 is what gluoncv ignores
UPSTREAM = np.array([1.5, -0.5])
CE = DiceCEOptions(ignore_label=-1)


pytestmark = pytest.mark.usefixtures('stage_one')


def run(loss, preds, *others, ctx=None):
    """Value and gradients on a device."""
    preds, others = ([ndarray(each).as_in_context(ctx or mx.cpu()) for each in some]
                     for some in (preds, others))
    for pred in preds:
        pred.attach_grad()
    with autograd.record():
        value = loss(*preds, *others)
    value.backward(mx.nd.array(UPSTREAM, ctx=ctx, dtype=value.dtype))
    return value.asnumpy(), [pred.grad.asnumpy() for pred in preds]


def assert_sum(found, preds, weights, label=LABEL):
    """As the sum of the reference's losses with these weights."""
    value, gradients = found
    losses, vjps = zip(*(dice_ce_loss_vjp(pred, label, CE) for pred in preds))
    assert relative_error(value, np.dot(weights, losses)) <= TOLERANCE['loss, float32']
    for gradient, weight, vjp in zip(gradients, weights, vjps):
        assert relative_error(gradient, vjp(weight * UPSTREAM)) <= TOLERANCE['gradient, float32']


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('keywords, weights', [
    (dict(), [1, 0.2]), (dict(aux_weight=0.5), [1, 0.5]), (dict(aux_weight=0.5), [1, 0.5, 0.5]),
    (dict(aux_weight=0.5), [1])], ids=['default', 'half', 'two heads', 'no head'])
def test_is_the_sum_of_the_outputs_losses(mode, keywords, weights):
    loss = put_in_mode(mode, AuxLoss(DiceCELoss(CE), **keywords))
    preds = PREDS[:len(weights)]
    for _ in range(2):  # the second pass reuses the buffers of the first
        assert_sum(run(loss, preds, LABEL), preds, weights)


def test_equals_what_gluoncv_adds_up():
    """By hand: a cross-entropy of MXNet in place of the Dice."""
    each = gluon.loss.SoftmaxCrossEntropyLoss(axis=1)
    pred, aux, label = ndarray(PREDS[0]), ndarray(PREDS[1]), ndarray(np.maximum(LABEL, 0))
    expected = each(pred, label) + 0.2 * each(aux, label)
    found = AuxLoss(each)(pred, aux, label)
    assert relative_error(found.asnumpy(), expected.asnumpy()) <= TOLERANCE['loss, float32']


def test_dense_labels_with_channels_last():
    """Which MXNet's loss does not say of itself; the second output is smaller than the label."""
    pred = RNG.standard_normal((2, 6, 5, 3)).astype('float32')
    label = RNG.uniform(size=pred.shape).astype('float32')
    each = gluon.loss.SigmoidBinaryCrossEntropyLoss()
    found = AuxLoss(each, 0.5, sparse_label=False, axis=-1)(
        ndarray(pred), ndarray(pred[:, ::2].copy()), ndarray(label))
    whole, half = (each(*map(ndarray, some)).asnumpy() for some in (
        (pred, label), (pred[:, ::2].copy(), label[:, 1::2].copy())))
    assert relative_error(found.asnumpy(), whole + 0.5 * half) <= TOLERANCE['loss, float32']


def test_a_loop_over_devices():
    loss = AuxLoss(DiceCELoss(CE), 0.5)
    loss.hybridize()
    for i, label in enumerate((LABEL, LABEL[:, ::-1].copy())):
        assert_sum(run(loss, PREDS[i:i + 2], label, ctx=mx.cpu(i)), PREDS[i:i + 2], [1, 0.5], label)


def test_an_output_that_is_smaller_than_the_label():
    """The label at its size is that of each second place's centre."""
    coarse = PREDS[1][:, :, ::2]
    value, gradients = run(AuxLoss(SoftDiceLoss(ignore_label=-1), 0.5), [PREDS[0], coarse], LABEL)
    options = DiceOptions(ignore_label=-1)
    (whole, _), (half, vjp) = (soft_dice_loss_vjp(pred, label, options) for pred, label in (
        (PREDS[0], LABEL), (coarse, LABEL[:, 1::2])))
    assert relative_error(value, whole + 0.5 * half) <= TOLERANCE['loss, float32']
    assert relative_error(gradients[1], vjp(0.5 * UPSTREAM)) <= TOLERANCE['gradient, float32']


def test_outputs_in_a_list_with_pixel_weights():
    weight = RNG.uniform(0.5, 2, LABEL.shape).astype('float32')
    found = AuxLoss(DiceCELoss(CE), 0.5)([*map(ndarray, PREDS[:2])], ndarray(LABEL),
                                         ndarray(weight)).asnumpy()
    losses = [dice_ce_loss_vjp(pred, LABEL, CE, weight)[0] for pred in PREDS[:2]]
    assert relative_error(found, np.dot([1, 0.5], losses)) <= TOLERANCE['loss, float32']


def test_exported_graph_is_loaded_again(tmp_path):
    net = Around(AuxLoss(DiceCELoss(CE)))
    net.hybridize()
    assert_survives_export(net, [ndarray(each) for each in (*PREDS[:2], LABEL)], tmp_path)


# --- what must be refused -------------------------------------------------------------------------

@pytest.mark.parametrize('aux_weight', [-1, float('nan'), '0.5', None, [0.5]])
def test_bad_weight(aux_weight):
    with pytest.raises(ValueError, match='^aux_weight must be a finite number >= 0, for example'):
        AuxLoss(SoftDiceLoss(), aux_weight)


P, Q = mx.nd.zeros((2, 3, 4, 5)), mx.nd.zeros((2, 4, 5))


@pytest.mark.parametrize('error, inputs, message', [
    (TypeError, (P,), r'a label must follow the predictions, for example criterion\(pred, aux, '
                      r'label\); got NDArray of shape \(2, 3, 4, 5\) alone'),
    (TypeError, (P, P, Q.asnumpy()), 'label must be an array of MXNet, .*; got numpy.ndarray of'),
    (TypeError, (P, P.asnumpy(), Q), r'preds\[1\] must be an array of MXNet, .*; got numpy.ndarr'),
    (TypeError, (P, (P, P), Q), r'preds\[1\] must be one array, .*; got tuple of length 2'),
    (ValueError, (P, P, Q, Q), 'preds must have the same samples, classes and number of axes; got'),
    (ValueError, (P, P), r'label must have one value per pixel'),
    (TypeError, ([P, P],), 'label'),
])
def test_bad_inputs(error, inputs, message):
    with pytest.raises(error, match=message):
        AuxLoss(SoftDiceLoss())(*inputs)


def test_what_it_says_of_itself():
    assert repr(AuxLoss(SoftDiceLoss(smooth=1))) \
        == 'AuxLoss(SoftDiceLoss(smooth=1.0), aux_weight=0.2)'
    with pytest.raises(TypeError, match='loss must be a Gluon loss, for example SoftDiceLoss'):
        AuxLoss(lambda pred, label: pred)
