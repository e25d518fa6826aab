"""How long a check may take, and what a terminal shows meanwhile."""
import time
from typing import Any, Callable, Optional, Sequence, TextIO

from ..arrays import CannotRun


class OutOfTime(CannotRun):
    """The seconds that a check may take are over."""


class Watch:
    """Counts the calls of a loss, and the seconds.

    seconds : the budget; by default as long as it takes.
    stream : a terminal that shows what is going on, and nothing after the end.
    """

    def __init__(self, seconds: Optional[float] = None, stream: Optional[TextIO] = None,
                 clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds, self.clock = seconds, clock
        self.calls = 0
        self._pace = 0.0
        self._started: Optional[float] = None  # with the first call
        self._shown = float('-inf')
        self._stream = stream if stream is not None and stream.isatty() else None
        self._doing = 'a first call'

    @property
    def left(self) -> float:
        """Seconds."""
        return float('inf') if self.seconds is None else self.seconds - self.spent

    @property
    def spent(self) -> float:
        return 0.0 if self._started is None else self.clock() - self._started

    @property
    def pace(self) -> float:
        """Seconds that a call took, on average."""
        return self.spent / self.calls if self.calls else self._pace

    def affords(self, calls: int) -> bool:
        return calls * self.pace < self.left

    def look(self, doing: str) -> None:
        """From now on this is being looked at."""
        self._doing = doing

    def tick(self) -> None:
        """A call begins.  Raises OutOfTime."""
        if self.left <= 0:
            raise OutOfTime(self.over())
        now = self.clock()
        self._started = now if self._started is None else self._started
        self.calls += 1
        if self._stream is not None and now - self._shown > 0.2:
            self._shown = now
            budget = '' if self.seconds is None else f' of {self.seconds:g}'
            self._show(f'{self._doing}: {self.calls} calls, {self.spent:.0f}{budget} seconds')

    def over(self) -> str:
        enough = 10 ** len(str(int(500 * self.pace)))
        return (f'{self.seconds:g} seconds were over before the gradient could be judged, and a '
                f'call of the loss took {self.pace:.2g} seconds: give it more time, for example '
                f'--seconds {enough}')

    def most(self, sizes: Sequence[int], calls: Callable[[int], int]) -> int:
        """The largest of the sizes, else the smallest, of which the calls take half of the time."""
        return next((size for size in sorted(sizes, reverse=True)
                     if self.affords(2 * calls(size))), min(sizes))

    def again(self) -> None:
        """The same budget once more, for something else."""
        self._pace, self.calls, self._started = self.pace, 0, None

    def __enter__(self) -> 'Watch':
        return self

    def __exit__(self, *_: Any) -> None:
        self._show('')

    def _show(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write('\r\033[K' + text)
            self._stream.flush()
