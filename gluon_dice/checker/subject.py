"""A Gluon loss as the checks see it: in float64 where it can, and always in a child process."""
from typing import Any, Optional

import numpy as np

from soft_dice.checker.patience import Patience
from soft_dice.checker.subject import PROBE, Died, Evaluation, Example, Refused, Subject
from soft_dice.checker.watch import Watch

from .child import Child
from .target import Call, Outcome, Target

PATIENCE = 20.0  # seconds for an answer, at least; a call may compile an operator


class GluonLoss(Subject):
    """A target, called in a child process, so that no crash or hang of it ends the check.

    dtype : 'float64' unless the loss refuses that or rounds to float32 on the way.
    """

    def __init__(self, target: Target, example: Example, patience: float = PATIENCE,
                 watch: Optional[Watch] = None) -> None:
        self.name, self.target = target.name, target
        self.watch = watch or Watch()
        self._child, self._patience = Child(target), Patience(self.watch, patience)
        self._undo = target.as_it_was()
        self.dtype = 'float64'
        self.dtype = self._find_dtype(example)

    def __enter__(self) -> 'GluonLoss':
        return self

    def __exit__(self, *_: Any) -> None:
        self.renew()

    def ask(self, method: str, *arguments: Any) -> Any:
        """A method of the target, in the child process."""
        return self._patience.ask(self._child, method, *arguments)

    def renew(self) -> None:
        """Undo what was done to the target: the next call forks it anew, where there are forks."""
        self._child.close()
        self._undo()

    def run(self, pred: np.ndarray, label: np.ndarray, **fields: Any) -> Outcome:
        """As Target.run, in this loss's dtype or the one named."""
        return self.ask('run', Call(pred, label, **{'dtype': self.dtype, **fields}))

    def value(self, pred: np.ndarray, label: np.ndarray) -> np.ndarray:
        return self.run(pred, label, upstream=None).value

    def evaluate(self, pred: np.ndarray, label: np.ndarray, upstream: float = 1.0,
                 before: float = 0.0) -> Evaluation:
        outcome = self.run(pred, label, upstream=upstream, before=before)
        return Evaluation(outcome.value, outcome.gradient)

    def _find_dtype(self, example: Example) -> str:
        pred, label = example.arrays(PROBE)
        try:
            if self.run(pred, label, dtype='float64').dtype == 'float64' \
                    and not self._rounds(pred, label):
                return 'float64'
        except (Refused, Died):
            pass
        try:
            self.run(pred, label, dtype='float32')
            return 'float32'
        except (Refused, Died):
            return 'float64'  # it takes neither, as the first check is about to say

    def _rounds(self, pred: np.ndarray, label: np.ndarray) -> bool:
        """Does something on the way round to float32?

        A hair's step changes a smooth loss in float64 by 1e-10 of it or so, evenly: the second
        difference is 1e-14.  What rounds to float32 either stands still or jumps by 1e-8.  A kink
        can be in the way of one line, not of most.
        """
        stands, jumps = [], []
        for seed in range(self.watch.most((1, 5), lambda lines: 30 * lines)):
            line = 1e-7 * np.random.RandomState(seed).choice([-1.0, 1.0], pred.shape)
            before, here, after = (np.sum(self.run(pred + t * line, label, dtype='float64',
                                                   upstream=None).value) for t in (-1, 0, 1))
            size = max(abs(here), 1e-30)
            stands.append(abs(after - here) / size < 1e-14)
            jumps.append(abs(before - 2 * here + after) / size > 1e-11)
        return bool(np.median(stands) or np.median(jumps))
