"""The V-Net in Caffe: prototxt_examples/vnet_3d/."""
from pathlib import Path
from typing import Any, Iterator, Tuple

import caffe

from . import blocks, caffe_training
from .training import VNET, Outcome
from .vnet_gluon import VNet, initialized
from .vnet_prototxt import MOVING_AVERAGE

# A layer of Caffe's and, in the order of its blobs, what Gluon calls its parameters.
NAMES = {'Convolution': ('weight', 'bias'), 'Deconvolution': ('weight', 'bias'),
         'BatchNorm': ('running_mean', 'running_var'), 'Scale': ('gamma', 'beta')}


def train(seed: int, steps: int, folder: Path) -> Outcome:
    """Train from the weights that Gluon starts from; predict the test region."""
    return caffe_training.train(
        'vnet_3d', lambda forward: blocks.classes(forward, seed),
        blocks.region('test', seed).label, VNET, seed, steps, folder,
        fill=lambda net: copy_weights(initialized(seed), net))


def copy_weights(source: VNet, target: caffe.Net) -> None:
    """Give a Caffe net of the files in vnet_3d/ the weights and statistics of a Gluon one."""
    for parameter, blob in pairs(source, target):
        blob.data[...] = parameter.data().asnumpy()
    for name, layer in zip(target._layer_names, target.layers):
        if layer.type == 'BatchNorm':
            # Caffe stores sums, and here the weight that they add up to; this one is that of
            # very many steps, so that the next step's share is the one it has in Gluon.
            total = 1 / (1 - MOVING_AVERAGE)
            for blob in target.params[name][:2]:
                blob.data[...] *= total
            target.params[name][2].data[...] = total


def pairs(source: VNet, target: caffe.Net) -> Iterator[Tuple[Any, Any]]:
    """Each parameter of the Gluon net and the Caffe blob that holds the same."""
    parameters = source.collect_params()
    for name, layer in zip(target._layer_names, target.layers):
        for gluon_name, blob in zip(NAMES.get(layer.type, ()), target.params.get(name, ())):
            yield parameters[f'{source.prefix}{name.replace("scale", "norm")}_{gluon_name}'], blob
