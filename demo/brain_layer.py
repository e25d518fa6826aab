"""The brain slices as a layer, so that plain `caffe train` can read them."""
import json
from typing import Any, Sequence

import caffe

from caffe_layers.errors import reported

from . import brain


class BrainSlicesLayer(caffe.Layer):
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

    @reported
    def setup(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        options = json.loads(self.param_str)
        self.slices = brain.load(options['part'], options['seed'])
        self.batch_size = options['batch_size']
        self.batches = brain.batches(options['part'], self.batch_size, options['seed'])

    def reshape(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        for i in range(2):
            top[i].reshape(self.batch_size, 1, *brain.SHAPE)

    @reported
    def forward(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        batch = next(self.batches)
        top[0].data[...] = self.slices.image[batch]
        top[1].data[...] = self.slices.label[batch]

    def backward(self, top: Sequence[Any], propagate_down: Sequence[bool],
                 bottom: Sequence[Any]) -> None:
        """Data has no gradient."""
