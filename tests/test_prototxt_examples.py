"""Every example net is loaded by real Caffe, stepped, and held to the reference."""
import re
from pathlib import Path

import caffe
import numpy as np
import pytest
from tolerances import TOLERANCE

from soft_dice import DiceOptions, soft_dice_loss_vjp
from soft_dice.gradcheck import relative_error

FOLDER = Path(__file__).resolve().parent.parent / 'prototxt_examples'
FRAGMENTS = sorted(FOLDER.glob('*.prototxt'))
NAMES = {'multiclass_softmax', 'binary_sigmoid', 'ignore_label', 'class_weights', 'volume_3d'}


def fill(net, options, classes, rng):
    for name in net.inputs:
        blob = net.blobs[name]
        if name != 'label':
            blob.data[...] = rng.standard_normal(blob.data.shape)
            continue
        blob.data[...] = rng.randint(0, max(classes, 2), blob.data.shape)
        if options.ignore_label is not None:
            blob.data[rng.uniform(size=blob.data.shape) < 0.2] = options.ignore_label


def test_all_are_there():
    assert {path.stem for path in FRAGMENTS} == NAMES


@pytest.mark.parametrize('path', FRAGMENTS, ids=lambda path: path.stem)
def test_example(path):
    text = path.read_text()
    param_str = re.search(r"param_str: '(.*?)'", text, flags=re.DOTALL)
    options = DiceOptions.from_param_str(param_str.group(1) if param_str else '')
    net = caffe.Net(str(path), caffe.TRAIN)
    bottom = re.search(r'type: "Python".*?bottom: "(\w+)"', text, flags=re.DOTALL).group(1)
    fill(net, options, net.blobs[bottom].shape[1], np.random.RandomState(0))
    net.forward()
    net.backward()
    pred, label = net.blobs[bottom].data, net.blobs['label'].data
    loss, vjp = soft_dice_loss_vjp(pred.astype('float64'), label, options)
    assert relative_error(net.blobs['loss'].data, loss.mean()) <= TOLERANCE['loss, float32']
    assert relative_error(net.blobs[bottom].diff, vjp(1 / len(loss))) \
        <= TOLERANCE['gradient, float32']
    weights = [blob for blobs in net.params.values() for blob in blobs]
    assert weights and all(np.abs(blob.diff).max() > 0 for blob in weights)
    for blob in weights:  # one step of gradient descent
        blob.data[...] -= 0.1 * blob.diff
    before = float(net.blobs['loss'].data)
    net.forward()
    assert float(net.blobs['loss'].data) < before
