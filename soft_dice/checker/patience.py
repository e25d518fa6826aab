"""How long to wait for a loss that runs in another process."""
import collections
from typing import Any, Deque

from ..arrays import CannotRun
from .subject import Hung
from .watch import OutOfTime, Watch

FIRST = 120.0  # seconds for the first answer, where no budget says how long to wait
SLOWER = 20.0  # a call that takes so many times as long as any before it hangs


class Patience:
    """How long to wait for an answer from another process.

    A loss that is slow is not one that hangs: what is long is told from its last calls.  (The first
    one may have compiled something.)
    """

    def __init__(self, watch: Watch, least: float) -> None:
        self.watch, self.least = watch, least
        self._last: Deque[float] = collections.deque(maxlen=16)  # seconds

    def ask(self, process: Any, method: str, *arguments: Any) -> Any:
        """What ``process.call(method, *arguments)`` gives, which waits ``process.limit`` seconds at
        most and then raises Hung.

        Raises
        ------
        Hung : the loss hangs.
        OutOfTime : it may be slow, and there is no time to see.
        CannotRun : it never answered yet.
        """
        self.watch.tick()
        if self._last:
            patience = max(self.least, SLOWER * max(self._last))
        else:
            patience = FIRST if self.watch.seconds is None else self.watch.left
        started = self.watch.clock()
        try:
            process.limit = min(patience, self.watch.left)
            answer = process.call(method, *arguments)
        except Hung as error:
            if not self._last:
                raise CannotRun(f'the loss {error}: it hangs on an ordinary input, or is slow and '
                                'needs more time, which --seconds gives it') from None
            if self.watch.left <= 0:
                raise OutOfTime(self.watch.over()) from None
            raise
        self._last.append(self.watch.clock() - started)
        return answer
