"""A NumPy loss with a vjp as a Subject."""
from typing import Any, Callable, Tuple

import numpy as np

from .subject import Evaluation, Refused, Subject

Loss = Callable[[np.ndarray, np.ndarray], Tuple[Any, Callable[..., np.ndarray]]]


class FunctionSubject(Subject):
    """``function(pred, label)`` gives the loss, () or (N,), and vjp, which takes an upstream of the
    loss's shape to the gradient.  What it raises for an input is its refusal of it."""

    dtype = 'float64'

    def __init__(self, function: Loss) -> None:
        self.function = function
        self.name = getattr(function, '__name__', type(function).__name__)

    def value(self, pred: np.ndarray, label: np.ndarray) -> np.ndarray:
        return self._called(lambda: np.asarray(self.function(pred.copy(), label.copy())[0], float))

    def evaluate(self, pred: np.ndarray, label: np.ndarray, upstream: float = 1.0,
                 before: float = 0.0) -> Evaluation:
        def both() -> Evaluation:
            value, vjp = self.function(pred.copy(), label.copy())
            gradient = vjp(np.full(np.shape(value), upstream))
            return Evaluation(np.asarray(value, float), np.array(gradient, float))
        return self._called(both)

    def _called(self, call: Callable[[], Any]) -> Any:
        try:
            with np.errstate(all='ignore'):  # what comes of it is judged, not how
                return call()
        except Exception as error:
            raise Refused(f'{type(error).__name__}: {error}') from None
