"""How arrays reach a loss: its own layout, and inputs beside prediction and label.

The checks know one layout, (N, C, ...), and labels that count from 0; a loss may have another.
"""
import zlib
from typing import List, NamedTuple, Optional, Tuple

import numpy as np

from .subject import Shape


class Further(NamedTuple):
    """An input beside prediction and label, which are weights of pixels, mostly.

    shape : for a prediction of shape ``pred``.
    held : its values, where somebody has some; else they are random from 0.5 to 1.5.
    """

    shape: Shape
    pred: Shape
    held: Optional[np.ndarray] = None

    def resized(self, pred: Shape) -> Shape:
        """Its shape for another prediction, whose samples and pixels it follows."""
        space = self.pred[2:]
        head = len(self.shape) - len(space)
        follows = space and head > 0 and self.shape[head:] == space
        shape = self.shape[:head] + pred[2:] if follows else self.shape
        return pred[:1] + shape[1:] if self._by_sample else shape

    def array(self, pred: Shape, label: np.ndarray) -> np.ndarray:
        """Its values.  A sample's go with its label, so that they are the same wherever the sample
        stands in a batch, and for an image and a volume of the same pixels."""
        shape = self.resized(pred)
        if not self._by_sample:
            return self._values(0, int(np.prod(shape))).reshape(shape)
        keys = [zlib.crc32(np.ascontiguousarray(each, np.float64).tobytes()) for each in label]
        each = [self._values(keys[n % len(keys)], int(np.prod(shape[1:])))
                for n in range(shape[0])]
        return np.reshape(each, shape)

    @property
    def _by_sample(self) -> bool:
        return self.shape[:1] == self.pred[:1]

    def _values(self, key: int, number: int) -> np.ndarray:
        if self.held is None:
            return np.random.RandomState(key).uniform(0.5, 1.5, number)
        held = self.held[key % len(self.held)] if self._by_sample else self.held
        return np.resize(held, number)


class Feed(NamedTuple):
    """What is done to the checks' arrays before a loss gets them.

    axis : of the classes; -1 is the last.
    signed : labels are -1 and 1, not 0 and 1.
    further : inputs after prediction and label.
    """

    axis: int = 1
    signed: bool = False
    further: Tuple[Further, ...] = ()

    def arrays(self, pred: np.ndarray, label: np.ndarray) -> List[np.ndarray]:
        """Prediction, label and what is further, as the loss wants them."""
        signed = 2 * label - 1 if self.signed else label
        further = [each.array(pred.shape, label) for each in self.further]
        return [moved(each, 1, self.axis, pred.ndim) for each in (pred, signed, *further)]

    def shapes(self, pred: Shape, label: Shape) -> List[Shape]:
        """Of ``arrays``."""
        further = [each.resized(pred) for each in self.further]
        return [moved_shape(each, 1, self.axis, len(pred)) for each in (pred, label, *further)]

    def gradient(self, gradient: np.ndarray) -> np.ndarray:
        """The loss's own, as the checks want it."""
        return moved(gradient, self.axis, 1, gradient.ndim)


def moved(array: np.ndarray, source: int, target: int, axes: int) -> np.ndarray:
    """The array with its class axis moved; one of other than so many axes has none."""
    if array.ndim != axes or source == target:
        return array
    return np.ascontiguousarray(np.moveaxis(array, source, target))


def moved_shape(shape: Shape, source: int, target: int, axes: int) -> Shape:
    """Of ``moved``."""
    if len(shape) != axes or source == target:
        return shape
    sizes = list(shape)
    sizes.insert(target % axes, sizes.pop(source))
    return tuple(sizes)
