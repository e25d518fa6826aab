"""The brain's slices and blocks as layers, so that plain `caffe train` can read them."""
import json
from typing import Any, Sequence

import caffe

from caffe_layers.errors import reported

from . import blocks, brain


class _Batches(caffe.Layer):
    """Batches of what ``load`` gives: those to train on in a new order every epoch."""

    load: Any

    @reported
    def setup(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        options = json.loads(self.param_str)
        part, self.batch_size = options['part'], options['batch_size']
        self.data = self.load(part, options['seed'])
        self.batches = brain.batches(len(self.data.image), self.batch_size, options['seed'],
                                     shuffle=part == 'train')

    def reshape(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        for i in range(2):
            top[i].reshape(self.batch_size, *self.data.image.shape[1:])

    @reported
    def forward(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        batch = next(self.batches)
        top[0].data[...] = self.data.image[batch]
        top[1].data[...] = self.data.label[batch]

    def backward(self, top: Sequence[Any], propagate_down: Sequence[bool],
                 bottom: Sequence[Any]) -> None:
        """Data has no gradient."""


class BrainSlicesLayer(_Batches):
    """Batches of slices::

        layer {
          name: "slices"  type: "Python"  top: "image"  top: "label"
          python_param { module: "demo.brain_layer"  layer: "BrainSlicesLayer"
                         param_str: '{"part": "train", "batch_size": 9, "seed": 0}' }
        }

    Training slices come in a new order every epoch, test slices always in the same one.

    Tops
    ----
    0 : image (batch_size, 1, 96, 80).
    1 : label (batch_size, 1, 96, 80), indices into demo.brain.CLASSES.

    Raises
    ------
    DemoError : nilearn, which contains the slices, is not installed.
    ValueError : a batch_size that does not fit.
    """

    load = staticmethod(brain.load)


class BrainBlocksLayer(_Batches):
    """Batches of blocks of the volume, used as BrainSlicesLayer is.

    Tops
    ----
    0 : image (batch_size, 1, 16, 16, 16); part "test": (batch_size, 1, 48, 32, 48).
    1 : label of the same shape, indices into demo.brain.CLASSES.

    Raises
    ------
    As BrainSlicesLayer.
    """

    load = staticmethod(blocks.load)
