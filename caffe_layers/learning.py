"""Says once that nothing is learnt from a loss, because the prototxt gives it no loss_weight.

Caffe then prints ``loss = 0``, trains nothing, and ends well.  A layer is not told its loss_weight,
but Caffe writes it into the diff of the top before the first forward.  Where another layer takes
the top, the diff comes with the first backward.  A weight of 0 looks like none, hence "or 0".
"""
import warnings
from typing import Any, Sequence

import caffe

from .runs import called_from_python

ADVICE = ('learns nothing: the prototxt gives it no loss_weight, or 0, so Caffe never asks for a '
          'gradient; add loss_weight: 1 to the layer.  (If it is only there to be looked at, that '
          'is as it should be.)')


class Learning:
    """Does Caffe learn from this layer?

    passes : of a solver that trains, as long as no weight was seen.
    known : need nobody look any more?
    """

    def __init__(self) -> None:
        self.passes = 0
        self.known = False

    def forward(self, layer: Any, top: Sequence[Any]) -> None:
        """To be called in every forward.  Warns in the second of a solver, without a weight yet."""
        # before 2016 a layer is not told its phase; lists come from whoever calls a layer himself
        training = vars(layer).get('phase') == caffe.TRAIN and not isinstance(top, list)
        if self.known or not training or called_from_python():
            return
        self.look(top)
        self.passes += 1
        if self.passes == 2 and not self.known:
            self.known = True
            warnings.warn(f'{type(layer).__name__} {ADVICE}')

    def look(self, top: Sequence[Any]) -> None:
        """To be called in every backward, too."""
        self.known = self.known or bool(top[0].diff.any())
