"""One input to a Subject, and what it answered; inputs of other shapes."""
import dataclasses
from typing import Optional, Tuple

import numpy as np

from .numeric import Point
from .subject import Evaluation, Example, Shape, Subject


NEGLIGIBLE = 1e-6  # a gradient or effect smaller than this, relative to its neighbours, is none


class CannotResize(ValueError):
    """The label's shape does not say how it would follow the prediction's."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """A Subject at one input.

    room : how far each element of pred is moved by a step of 1; 1 for raw numbers, and for
        probabilities little enough that they stay inside (0, 1).
    near : the loss at pred + room * move, as a function of the move.
    """

    subject: Subject
    example: Example
    seed: int
    pred: np.ndarray
    label: np.ndarray
    room: np.ndarray
    answer: Evaluation
    near: Point

    @property
    def gradient(self) -> np.ndarray:
        return self.answer.gradient

    @property
    def gradient_near(self) -> np.ndarray:
        """The gradient with respect to the move of ``near``."""
        return self.room * self.gradient

    @property
    def usable(self) -> bool:
        """Is there a gradient to judge: finite and somewhere other than zero?"""
        return bool(np.isfinite(self.gradient).all() and self.gradient.any())

    @property
    def size(self) -> float:
        """Of the loss."""
        return abs(float(np.sum(self.answer.value)))

    def loss(self, pred: np.ndarray) -> float:
        return self.subject.total(pred, self.label)

    def lines(self, number: int, seed: int = 0) -> np.ndarray:
        """Random +-1 lines to move along."""
        rng = np.random.RandomState([self.seed, seed])
        return rng.choice([-1.0, 1.0], (number,) + self.pred.shape)


def begin(subject: Subject, example: Example, seed: int,
          arrays: Optional[Tuple[np.ndarray, np.ndarray]] = None, size: float = 0.0) -> Trial:
    """A trial at random arrays, or at these.

    size : of an ordinary loss, the rounding errors of which a smaller one may have, too.

    Raises
    ------
    Refused, Died : the loss does not take them.
    """
    pred, label = inputs(subject, example, seed, arrays)
    room = np.ones_like(pred) if example.input == 'raw' else \
        np.minimum(np.minimum(pred, 1 - pred), 0.1)
    near = Point(lambda move: subject.total(pred + room * move, label), subject.dtype, size)
    return Trial(subject, example, seed, pred, label, room, subject.evaluate(pred, label), near)


def inputs(subject: Subject, example: Example, seed: int,
           arrays: Optional[Tuple[np.ndarray, np.ndarray]] = None
           ) -> Tuple[np.ndarray, np.ndarray]:
    """The example's arrays, or these, rounded to what the loss computes in."""
    pred, label = arrays or example.arrays(seed)
    return pred.astype(subject.dtype).astype(np.float64), label


def resized(example: Example, samples: int, space: Shape) -> Example:
    """The example with another batch and other axes after the class axis.

    Raises CannotResize.
    """
    head = len(example.label) - (len(example.pred) - 2)
    if head < 1 or example.label[head:] != example.pred[2:]:
        raise CannotResize(f'a label of shape {example.label} does not lie over a prediction of '
                           f'shape {example.pred}')
    return example.replace(pred=(samples,) + example.pred[1:2] + space,
                           label=(samples,) + example.label[1:head] + space)
