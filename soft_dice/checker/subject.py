"""What is under test: any loss, whatever the framework, as a function of arrays.

Each plugin makes a Subject of its framework's losses; all else in this package knows only Subject.
"""
import dataclasses
from typing import NamedTuple, Optional, Tuple

import numpy as np

Shape = Tuple[int, ...]

INPUTS = ('softmax', 'sigmoid', 'raw')
LABELS = ('index', 'onehot', 'binary')


class Refused(Exception):
    """The loss raised an error for this input; the message is the loss's own."""


class Died(Exception):
    """The process that ran the loss ended, or hung, at this input; the message says how."""


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
    """

    name: str
    dtype: str

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
    label_kind : 'index' class numbers, 'onehot' 0 and 1 in pred's shape, or 'binary' 0 and 1.
    """

    pred: Shape
    label: Shape
    input: str = 'raw'
    label_kind: str = 'index'

    @property
    def classes(self) -> int:
        """The channels of pred; 1 where it has no class axis."""
        return self.pred[1] if len(self.pred) > 1 else 1

    def channel(self, c: int) -> int:
        """The channel of pred that is for class c of the label."""
        return c if self.classes > 1 else 0

    def arrays(self, seed: int = 0) -> Tuple[np.ndarray, np.ndarray]:
        """A random prediction and label, float64."""
        rng = np.random.RandomState(seed)
        if self.label_kind == 'index':
            index = rng.randint(0, max(self.classes, 2), self.label)
            return self.prediction(2 * rng.standard_normal(self.pred)), index.astype(np.float64)
        if self.label_kind == 'binary' or self.classes == 1:
            label = rng.randint(0, 2, self.label).astype(np.float64)
        else:
            label = self.one_hot(rng.randint(0, self.classes, self.label[:1] + self.label[2:]))
        return self.prediction(2 * rng.standard_normal(self.pred)), label

    def prediction(self, logits: np.ndarray) -> np.ndarray:
        """What the loss gets for these logits."""
        if self.input == 'raw':
            return logits
        if self.input == 'sigmoid' or self.classes == 1:
            return 1 / (1 + np.exp(-logits))
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def towards(self, label: np.ndarray, confidence: float = 8.0) -> np.ndarray:
        """The prediction of a network that is right everywhere, this many logits sure."""
        truth = self.truth(label)
        if self.input == 'softmax' and self.classes > 1:
            return self.prediction(confidence * truth)
        return self.prediction(confidence * (2 * truth - 1))

    def truth(self, label: np.ndarray) -> np.ndarray:
        """The label in pred's shape: 1 in the channel that is right, 0 elsewhere."""
        if self.label == self.pred or self.classes == 1:
            return label.reshape(self.pred)
        return self.one_hot(label.reshape(self.pred[:1] + self.pred[2:]).astype(int))

    def one_hot(self, index: np.ndarray) -> np.ndarray:
        """(N, C, ...), 0 and 1, of the class of each pixel, (N, ...)."""
        return np.moveaxis(np.eye(self.classes)[index], -1, 1)

    def replace(self, **changes: object) -> 'Example':
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


def default_label(pred: Shape, label: Optional[Shape], label_kind: str) -> Shape:
    """The label's shape where the user gave none."""
    if label is not None:
        return label
    return pred if label_kind == 'onehot' else pred[:1] + (1,) + pred[2:]
