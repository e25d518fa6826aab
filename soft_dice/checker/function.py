"""A NumPy loss with a vjp as a Subject."""
from typing import Any, Callable, Optional, Tuple

import numpy as np

from .feed import Feed
from .subject import Evaluation, Refused, Subject
from .watch import Watch
from .words import described

Loss = Callable[..., Tuple[Any, Callable[..., np.ndarray]]]


class FunctionSubject(Subject):
    """``function(pred, label)``, or with a third input, gives the loss, () or (N,), and vjp, which
    takes an upstream of the loss's shape to the gradient.  What it raises for an input is its
    refusal of it."""

    dtype = 'float64'

    def __init__(self, function: Loss, feed: Feed = Feed(), watch: Optional[Watch] = None) -> None:
        self.function, self.feed, self.watch = function, feed, watch or Watch()
        self.name = getattr(function, '__name__', type(function).__name__)

    def value(self, pred: np.ndarray, label: np.ndarray) -> np.ndarray:
        inputs = self.feed.arrays(pred.copy(), label.copy())
        return self._called(lambda: np.asarray(self.function(*inputs)[0], float))

    def evaluate(self, pred: np.ndarray, label: np.ndarray, upstream: float = 1.0,
                 before: float = 0.0) -> Evaluation:
        def both() -> Evaluation:
            value, vjp = self.function(*self.feed.arrays(pred.copy(), label.copy()))
            gradient = np.array(vjp(np.full(np.shape(value), upstream)), float)
            return Evaluation(np.asarray(value, float), self.feed.gradient(gradient))
        return self._called(both)

    def _called(self, call: Callable[[], Any]) -> Any:
        self.watch.tick()
        try:
            with np.errstate(all='ignore'):  # what comes of it is judged, not how
                return call()
        except Exception as error:
            raise Refused(described(error)) from None
