"""A Caffe layer as the checks see it: in a process of its own, in float64 where it can."""
import time
from typing import Any, Dict, Tuple

import numpy as np

from soft_dice.arrays import CannotRun
from soft_dice.checker.subject import Died, Evaluation, Example, Refused, Shape, Subject

from .rig import Rig, Spec
from .worker import Hung, Session

FIRST, PATIENCE = 30.0, 5.0  # seconds for the first answer, and at least for each later one


class LayerSubject(Subject):
    """A layer under test, in a child process.  Use as a context manager.

    Raises CannotRun where the layer does not exist, or cannot be set up for ``example``.
    """

    def __init__(self, name: str, spec: Spec, example: Example, patience: float = PATIENCE,
                 float64: bool = True) -> None:
        self.name = name
        self.caffes_own = not spec.is_python
        self._patience, self._longest = patience, 0.0
        self._hangs: Dict[Tuple[Shape, Shape], str] = {}
        try:
            self._session = Session(Rig, spec, limit=FIRST)
        except Died as error:
            raise CannotRun(f'{name} cannot be imported: the process {error}') from None
        try:
            self._session.call('prepare', example.pred, example.label)
        except (Died, Refused) as error:
            self._session.close()
            raise CannotRun(f'Caffe cannot set {name} up for a prediction {example.pred} and a '
                            f'label {example.label}: {error}') from None
        self.dtype = 'float64' if float64 and self._has_float64(example) else 'float32'

    def __enter__(self) -> 'LayerSubject':
        return self

    def __exit__(self, *_: Any) -> None:
        self._session.close()

    def value(self, pred: np.ndarray, label: np.ndarray) -> np.ndarray:
        return self._call('value', pred, label, self.dtype == 'float64')

    def evaluate(self, pred: np.ndarray, label: np.ndarray, upstream: float = 1.0,
                 before: float = 0.0) -> Evaluation:
        return self._call('evaluate', pred, label, upstream, before, self.dtype == 'float64')

    def forced(self, pred: np.ndarray, label: np.ndarray, before: float = 0.0) -> Evaluation:
        """As ``evaluate``, in a net with force_backward: true."""
        return self._call('evaluate', pred, label, 1.0, before, False, True)

    def _has_float64(self, example: Example) -> bool:
        try:
            return self._call('has_float64', *example.arrays())
        except (Died, Refused):  # of which the checks tell
            return False

    def _call(self, method: str, pred: np.ndarray, label: np.ndarray, *arguments: Any) -> Any:
        shapes = (pred.shape, label.shape)
        if shapes in self._hangs:  # the time was spent once, there is no more to learn
            raise Died(self._hangs[shapes])
        started = time.perf_counter()
        try:
            answer = self._session.call(method, pred, label, *arguments)
            self._longest = max(self._longest, time.perf_counter() - started)
            self._session.limit = max(self._patience, 20 * self._longest)
            return answer
        except Hung as error:
            self._hangs[shapes] = str(error)
            raise
        except Died as error:
            if self.caffes_own and str(error).startswith('Check failed'):
                raise Refused(str(error)) from None  # the only way a layer in C++ has to refuse
            raise
