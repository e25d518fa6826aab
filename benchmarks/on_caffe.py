"""The contestants of Caffe: this project's layer, and Caffe's own SoftmaxWithLoss."""
import os
import tempfile
from typing import Dict, Tuple

import caffe
import numpy as np

from .contestants import Shape, Subject

# The logits are a parameter, so that the loss has something to send its gradient to: nothing is
# computed or copied but the loss. force_backward would do the same to the label, for which no
# training computes a gradient.
NET = '''
layer {{ name: "pred" type: "Parameter" top: "pred" parameter_param {{ shape {{ {pred} }} }} }}
layer {{ name: "label" type: "Input" top: "label" input_param {{ shape {{ {label} }} }} }}
layer {{ name: "loss" bottom: "pred" bottom: "label" top: "loss" loss_weight: 1 {loss} }}
'''
SOFTMAX = 'type: "SoftmaxWithLoss"'
DICE = ('type: "Python" '
        'python_param { module: "caffe_layers" layer: "SoftDiceLossLayer" }')


def build(name: str, pred: np.ndarray, label: np.ndarray) -> Subject:
    net = _net(name, pred.shape)
    logits = net.params['pred'][0]
    logits.data[...] = pred
    logits.diff[...] = 0
    net.blobs['label'].data[...] = label[:, None]

    def step() -> None:
        net.forward()
        net.backward()

    def result() -> Tuple[float, np.ndarray]:
        return float(net.blobs['loss'].data), logits.diff

    return Subject(step, result)


def _net(name: str, shape: Shape) -> caffe.Net:
    def dims(shape: Shape) -> str:
        return ' '.join(f'dim: {size}' for size in shape)

    text = NET.format(pred=dims(shape), label=dims(shape[:1] + (1,) + shape[2:]),
                      loss=SOFTMAX if name == 'caffe-softmax' else DICE)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'net.prototxt')
        with open(path, 'w') as file:
            file.write(text)
        return caffe.Net(path, caffe.TRAIN)


def versions() -> Dict[str, str]:
    return {'Caffe': caffe.__version__}
