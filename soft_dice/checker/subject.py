"""What is under test: any loss, whatever the framework, as a function of arrays.

Each plugin makes a Subject of its framework's losses; all else in this package knows only Subject.
"""
import dataclasses
from typing import List, NamedTuple, Optional, Tuple

import numpy as np

from .watch import Watch

Shape = Tuple[int, ...]

PROBE = 2 ** 32 - 1  # seed of an input that is looked at for its type alone, and by no finding
INPUTS = ('softmax', 'sigmoid', 'raw')
LABELS = ('index', 'onehot', 'binary')


class Refused(Exception):
    """The loss raised an error for this input; the message is the loss's own."""


class Died(Exception):
    """The process that ran the loss ended, or hung, at this input; the message says how."""


class Hung(Died):
    """It gave no answer in time."""


class Evaluation(NamedTuple):
    """value : float64, of the shape the loss gave it: () or (N,) or any other.
    gradient : float64, of pred's shape: d(sum(upstream * value)) / d(pred) as the loss has it.
    """

    value: np.ndarray
    gradient: np.ndarray


class Subject:
    """A loss of (pred, label), to be subclassed.

    name : how the user named it.
    dtype : 'float32' or 'float64', what the loss computes in.  In float32 finite differences are
        taken with a step chosen from the measured noise of its value.
    watch : on the time that its calls take.
    """

    name: str
    dtype: str
    watch: Watch = Watch()

    def value(self, pred: np.ndarray, label: np.ndarray) -> np.ndarray:
        """The loss, float64.  Raises Refused or Died."""
        raise NotImplementedError

    def total(self, pred: np.ndarray, label: np.ndarray) -> float:
        """What is differentiated: the sum over the loss's entries, of which Caffe has one."""
        return float(np.sum(self.value(pred, label)))

    def evaluate(self, pred: np.ndarray, label: np.ndarray, upstream: float = 1.0,
                 before: float = 0.0) -> Evaluation:
        """Loss and gradient.

        upstream : d(objective)/d(loss), the same for every entry of the loss: Caffe's loss_weight,
            Gluon's head gradient.
        before : what the gradient's buffer holds before backward, where a framework leaves writing
            it to the loss (Caffe); an entry that still holds it was not written.

        Raises Refused or Died.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Example:
    """The kind of input the loss takes, and how to make some.

    pred : (N, C, ...) of the prediction.
    label : of the label.
    input : what pred holds: 'softmax' or 'sigmoid' probabilities, or 'raw' numbers.
    label_kind : 'index' class numbers, 'onehot' 0 and 1 in pred's shape, or without the channel of
        the background, or 'binary' 0 and 1.
    background : the channel of class 0; None where pred has none.
    background_said : is it known, or only assumed?
    """

    pred: Shape
    label: Shape
    input: str = 'raw'
    label_kind: str = 'index'
    background: Optional[int] = 0
    background_said: bool = False

    @property
    def channels(self) -> int:
        """Of pred; 1 where it has no class axis."""
        return self.pred[1] if len(self.pred) > 1 else 1

    @property
    def multilabel(self) -> bool:
        """May a pixel be of several classes, or of none?"""
        return self.label_kind == 'binary' and self.label == self.pred and self.channels > 1

    @property
    def order(self) -> Tuple[Optional[int], ...]:
        """The channel of each class; None where the background has none, as of one channel."""
        every = tuple(range(self.channels))
        if self.background is None or self.channels == 1 or self.multilabel:
            return (None,) + every
        return (self.background,) + tuple(c for c in every if c != self.background)

    @property
    def foreground(self) -> List[int]:
        """The channels of the classes after the background."""
        return [c for c in self.order[1:] if c is not None]

    def arrays(self, seed: int = 0) -> Tuple[np.ndarray, np.ndarray]:
        """A random prediction and label, float64."""
        rng = np.random.RandomState(seed)
        if self.label_kind == 'index':
            label = rng.randint(0, len(self.order), self.label).astype(np.float64)
        elif self.label_kind == 'binary' or self.channels == 1:
            label = rng.randint(0, 2, self.label).astype(np.float64)
        else:
            label = self.label_of(rng.randint(0, len(self.order), self.pred[:1] + self.pred[2:]))
        return self.prediction(2 * rng.standard_normal(self.pred)), label

    def prediction(self, logits: np.ndarray) -> np.ndarray:
        """What the loss gets for these logits."""
        if self.input == 'raw':
            return logits
        if self.input == 'sigmoid' or self.channels == 1:
            return 1 / (1 + np.exp(-logits))
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def towards(self, label: np.ndarray, confidence: float = 8.0) -> np.ndarray:
        """The prediction of a network that is right everywhere, this many logits sure."""
        truth = self.truth(label)
        if self.input == 'softmax' and self.channels > 1:
            return self.prediction(confidence * truth)
        return self.prediction(confidence * (2 * truth - 1))

    def truth(self, label: np.ndarray) -> np.ndarray:
        """The label in pred's shape: 1 in the channel that is right, 0 elsewhere."""
        if self.label == self.pred:
            return label.reshape(self.pred)
        if self.label_kind != 'onehot':
            return self._one_hot(label.reshape(self.pred[:1] + self.pred[2:]).astype(int))
        truth = np.empty(self.pred)
        truth[:, self.order[0]] = 1 - label.sum(axis=1)
        truth[:, self.foreground] = label
        return truth

    def label_of(self, index: np.ndarray) -> np.ndarray:
        """The label, in its shape and kind, whose pixels are of these classes, (N,) + space."""
        if self.label_kind == 'onehot' or self.label == self.pred and self.channels > 1:
            truth = self._one_hot(index)
            return truth if self.label == self.pred else truth[:, self.foreground]
        return index.reshape(self.label).astype(np.float64)

    @property
    def classes(self) -> int:
        """How many classes the label can name."""
        binary = self.label_kind == 'binary' and self.label != self.pred
        return 2 if binary else len(self.order)

    def _one_hot(self, index: np.ndarray) -> np.ndarray:
        """(N, C, ...), 0 and 1, of the class of each pixel."""
        rows = np.zeros((len(self.order), self.channels))
        for row, channel in zip(rows, self.order):
            if channel is not None:
                row[channel] = 1
        return np.moveaxis(rows[index], -1, 1)

    def replace(self, **changes: object) -> 'Example':
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]
