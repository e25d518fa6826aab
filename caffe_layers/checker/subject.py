"""A Caffe layer as the checks see it: in a process of its own, in float64 where it can."""
from typing import Any, Dict, Optional, Tuple

import numpy as np

from soft_dice.arrays import CannotRun
from soft_dice.checker.patience import Patience
from soft_dice.checker.subject import (PROBE, Died, Evaluation, Example, Hung, Refused, Shape,
                                       Subject)
from soft_dice.checker.watch import Watch

from .rig import Rig, Spec
from .worker import Session

PATIENCE = 5.0  # seconds for an answer, at least


class LayerSubject(Subject):
    """A layer under test, in a child process.  Use as a context manager.

    Raises CannotRun where the layer does not exist, or cannot be set up for ``example``.
    """

    def __init__(self, name: str, spec: Spec, example: Example, patience: float = PATIENCE,
                 float64: bool = True, watch: Optional[Watch] = None) -> None:
        self.name = name
        self.caffes_own = not spec.is_python
        self.watch = watch or Watch()
        self._patience = Patience(self.watch, patience)
        self._hangs: Dict[Tuple[Shape, Shape], str] = {}
        try:
            self._session = Session(Rig, spec)
        except Died as error:
            raise CannotRun(f'{name} cannot be imported: the process {error}') from None
        try:
            self._ask('prepare', example.pred, example.label)
            self._patience = Patience(self.watch, patience)  # forward may take longer than this
        except (Died, Refused) as error:
            hint = ''
            if str(error).endswith('IndexError: Index out of range'):  # Caffe's, of its blobs
                hint = ('; it asks for a bottom or a top that it was not given: --pixel-weight '
                        'gives a third bottom, and a net that has the layer gives it all')
            if self._session.call('reads_empty_param_str'):
                hint = '; it reads its param_str, which is empty: --class takes --param-str'
            self._session.close()
            raise CannotRun(f'Caffe cannot set {name} up for a prediction {example.pred} and a '
                            f'label {example.label}: {error}{hint}') from None
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
            return self._call('has_float64', *example.arrays(PROBE))
        except (Died, Refused):  # of which the checks tell
            return False

    def _call(self, method: str, pred: np.ndarray, label: np.ndarray, *arguments: Any) -> Any:
        shapes = (pred.shape, label.shape)
        if shapes in self._hangs:  # the time was spent once, there is no more to learn
            raise Died(self._hangs[shapes])
        try:
            return self._ask(method, pred, label, *arguments)
        except Hung as error:
            self._hangs[shapes] = str(error)
            raise
        except Died as error:
            if self.caffes_own and str(error).startswith('Check failed'):
                raise Refused(str(error)) from None  # the only way a layer in C++ has to refuse
            raise

    def _ask(self, method: str, *arguments: Any) -> Any:
        return self._patience.ask(self._session, method, *arguments)
