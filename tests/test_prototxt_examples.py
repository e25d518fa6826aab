"""Every example net is loaded by real Caffe, stepped, and held to the reference."""
from pathlib import Path

import caffe
import mxnet as mx
import numpy as np
import pytest
from tolerances import TOLERANCE

from caffe_layers import caffe_proto, params
from gluon_dice import DeepSupervision, SoftDiceLoss
from soft_dice import DiceOptions, dice_ce_loss_vjp, hard_dice, soft_dice_loss_vjp
from soft_dice.gradcheck import relative_error

FOLDER = Path(__file__).resolve().parent.parent / 'prototxt_examples'
FRAGMENTS = sorted(FOLDER.glob('*.prototxt'))
NAMES = {'multiclass_softmax', 'binary_sigmoid', 'ignore_label', 'class_weights', 'volume_3d',
         'deep_supervision', 'dice_ce'}


def fill(net, options, classes, rng):
    for name in net.inputs:
        blob = net.blobs[name]
        if name != 'label':
            blob.data[...] = rng.standard_normal(blob.data.shape)
            continue
        blob.data[...] = rng.randint(0, max(classes, 2), blob.data.shape)
        if options.dice.ignore_label is not None:
            blob.data[rng.uniform(size=blob.data.shape) < 0.2] = options.dice.ignore_label


def test_all_are_there():
    assert {path.stem for path in FRAGMENTS} == NAMES


def losses_of(path):
    """(score, top, weight, options) of each loss layer."""
    for layer in caffe_proto.read(str(path)).net.layer:
        if layer.python_param.layer in params.LOSSES:
            yield layer.bottom[0], layer.top[0], layer.loss_weight[0], params.of_layer(layer)


@pytest.mark.parametrize('path', FRAGMENTS, ids=lambda path: path.stem)
def test_example(path):
    losses = list(losses_of(path))
    caffe.set_random_seed(0)  # of 300 others two saturate, and float32 loses digits
    net = caffe.Net(str(path), caffe.TRAIN)
    fill(net, losses[0][-1], net.blobs[losses[0][0]].shape[1], np.random.RandomState(0))
    net.forward()
    net.backward()
    for score, top, weight, options in losses:
        pred, label = net.blobs[score].data, net.blobs['label'].data
        reference = soft_dice_loss_vjp if options is options.dice else dice_ce_loss_vjp
        loss, vjp = reference(pred.astype('float64'), label, options)
        assert relative_error(net.blobs[top].data, loss.mean()) <= TOLERANCE['loss, float32']
        assert relative_error(net.blobs[score].diff, vjp(weight / len(loss))) \
            <= TOLERANCE['gradient, float32']
    weights = [blob for blobs in net.params.values() for blob in blobs]
    assert weights and all(np.abs(blob.diff).max() > 0 for blob in weights)
    for blob in weights:  # one step of gradient descent
        blob.data[...] -= 0.1 * blob.diff
    before = total(net, losses)
    net.forward()
    assert total(net, losses) < before


def total(net, losses):
    return sum(weight * float(net.blobs[top].data) for _, top, weight, _ in losses)


def test_metric_of_the_test_net():
    net = caffe.Net(str(FOLDER / 'dice_ce.prototxt'), caffe.TEST)
    fill(net, DiceOptions(ignore_label=255), 4, np.random.RandomState(0))
    net.forward()
    dice = hard_dice(net.blobs['score'].data, net.blobs['label'].data,
                     options=DiceOptions(ignore_label=255, include_background=False))
    assert relative_error(net.blobs['dice'].data, dice.mean()) <= TOLERANCE['loss, float32']


def test_deep_supervision_is_gluon_s():
    path = FOLDER / 'deep_supervision.prototxt'
    losses = list(losses_of(path))
    net = caffe.Net(str(path), caffe.TRAIN)
    fill(net, DiceOptions(), 3, np.random.RandomState(0))
    net.forward()
    loss = DeepSupervision(SoftDiceLoss(resize='bilinear'))
    value = loss([mx.nd.array(net.blobs[score].data) for score, *_ in losses],
                 mx.nd.array(net.blobs['label'].data))
    assert len(losses) == 3 and losses[0][-1] == DiceOptions()  # the finest has the label's size
    assert relative_error(total(net, losses), value.mean().asscalar()) \
        <= TOLERANCE['loss, float32']
