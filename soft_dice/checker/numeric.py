"""Numeric derivatives of a function near a point, along lines, and gradients compared with them.

There is one way to take a derivative.  The central difference of the values a step up and a step
down a line has an error that falls as the square of the step.  Two of them, with different steps,
are extrapolated to a step of 0 (Richardson), and the error falls as the fourth power.

- ``Point.stencil`` extrapolates from the steps 2h and h: this is the 4-point stencil.  It suits a
  function that is exact to float64.
- ``Point.derivatives`` tries one pair of steps after the other.  It suits a function whose value
  carries rounding noise, and returns an error bar.

Nothing here knows what a loss is.
"""
import itertools
from typing import Any, Callable, Iterable, NamedTuple, Optional, Tuple

import numpy as np

Index = Tuple[int, ...]
Derivative = Callable[[np.ndarray], np.ndarray]  # of lines, (K,) + shape: the derivatives, (K,)

# From large, where truncation rules, to small, where noise does.
STEPS = {'float32': 2.0 ** -np.arange(1, 10), 'float64': 4.0 ** -np.arange(3, 11)}
# Error bars, relative to the derivative, that need no smaller steps.
ENOUGH = {'float32': 1e-4, 'float64': 1e-7}


def relative_error(a: np.ndarray, b: np.ndarray) -> float:
    """||a - b|| / max(||a||, ||b||); 0 where both are zero, inf where one is not finite."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f'a and b must have one shape; got {a.shape} and {b.shape}')
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float('inf')
    size = max(np.linalg.norm(a), np.linalg.norm(b))
    return float(np.linalg.norm(a - b) / size) if size else 0.0


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


def quantum(size: float, dtype: str) -> float:
    """The distance between neighbouring numbers of this size."""
    return float(np.spacing(np.dtype(dtype).type(max(abs(size), 1e-30))))


class Central(NamedTuple):
    """The values a step up and a step down each of K lines, (K,)."""

    up: np.ndarray
    down: np.ndarray
    step: float

    @property
    def derivative(self) -> np.ndarray:
        return (self.up - self.down) / (2 * self.step)

    def bend(self, middle: float) -> np.ndarray:
        return self.up - 2 * middle + self.down


class Derivatives(NamedTuple):
    """value : (K,), derivative along each line.  bar : its error, root mean square over lines.
    step : the step it was taken with."""

    value: np.ndarray
    bar: float
    step: float


class Point:
    """A function near one point.

    function : of a move away from the point, an array, to a number.
    dtype : 'float32' or 'float64', what the function computes in.
    size : of the numbers that the function's value comes from, where it may be smaller itself.
    evaluations : how often it was called so far.

    ``lines`` are moves, (K,) + the shape of one.
    """

    def __init__(self, function: Callable[[np.ndarray], float], dtype: str = 'float64',
                 size: float = 0.0) -> None:
        self.dtype, self.size = dtype, size
        self.evaluations = 0
        self._function = function
        self._noise: Optional[float] = None

    def at(self, move: np.ndarray) -> float:
        self.evaluations += 1
        return self._function(move)

    def _values(self, moves: Iterable[np.ndarray]) -> np.ndarray:
        """Infinity becomes NaN, as the difference of two would, which would also warn."""
        values = np.array([self.at(move) for move in moves])
        return np.where(np.isfinite(values), values, np.nan)

    def central(self, lines: np.ndarray, step: float) -> Central:
        return Central(self._values(step * line for line in lines),
                       self._values(-step * line for line in lines), step)

    def stencil(self, lines: np.ndarray, step: float) -> np.ndarray:
        """(f(-2h) - 8 f(-h) + 8 f(h) - f(2h)) / 12 h along each line, where h is ``step``."""
        return _extrapolated(self.central(lines, 2 * step), self.central(lines, step))

    def noise(self, lines: np.ndarray) -> float:
        """Standard deviation of the rounding errors in the function's value, measured once.

        Third differences of 8 values a hair apart hold no trend any more, only noise, whose
        variance they multiply by 20; a kink among the values spoils one line and not the median
        (Moré and Wild: Estimating computational noise, SIAM J. Sci. Comput. 2011).
        """
        if self._noise is not None:
            return self._noise
        hair = 2.0 ** -12 if self.dtype == 'float32' else 2.0 ** -24
        values = [self._values(t * hair * line for t in range(8)) for line in lines]
        found = [rms(np.diff(each, 3)) / np.sqrt(20) for each in values]
        size = max(abs(values[0][0]), self.size)
        self._noise = max(float(np.median(found)), 0.3 * quantum(size, self.dtype))
        return self._noise

    def derivatives(self, lines: np.ndarray, noise: float) -> Derivatives:
        """The derivative along each line, with an error bar.

        The step is the one where the extrapolation moves least from the step before, over all
        lines together, as over one alone it may stand still by accident.  That and ``noise`` make
        the error bar.  Kinks (max, relu, abs) inside a step show in the second difference; they
        widen the bar or call for a smaller step, and so are not taken for a wrong gradient.
        """
        steps = STEPS[self.dtype]
        best = Derivatives(np.full(len(lines), np.nan), float('inf'), float(steps[-1]))
        middle = self.at(np.zeros_like(lines[0]))
        coarse, previous = self.central(lines, steps[0]), None
        for step in steps[1:]:
            fine = self.central(lines, step)
            value = _extrapolated(coarse, fine)
            if previous is not None:
                bar = float(np.linalg.norm([rms(value - previous), _kink(coarse, fine, middle),
                                            noise / step]))
                if bar < best.bar:  # never where the bar is NaN
                    best = Derivatives(value, bar, float(step))
            if noise / step > best.bar or best.bar < ENOUGH[self.dtype] * rms(best.value):
                break  # noise rules from here on, or it is good enough
            coarse, previous = fine, value
        return best

    def piecewise_constant(self, lines: np.ndarray) -> bool:
        """Does the value stand still and jump, as an argmax or a threshold does?

        On the shortest stretch over which it changes by 64 float32 roundings, a smooth function
        changes from each of 12 points to the next, and a staircase at a few.
        """
        start = self.at(np.zeros_like(lines[0]))
        least = 64 * quantum(start, 'float32')
        still = []
        for line in lines:
            for length in 2.0 ** np.arange(-20, 1):
                if abs(self.at(length * line) - start) > least:
                    values = [self.at(t * length * line) for t in np.linspace(0, 1, 12)]
                    still.append(np.mean(np.diff(values) == 0))
                    break
        return not still or bool(np.mean(still) > 0.4)


def _extrapolated(coarse: Central, fine: Central) -> np.ndarray:
    q = coarse.step / fine.step
    return (q ** 2 * fine.derivative - coarse.derivative) / (q ** 2 - 1)


def _kink(coarse: Central, fine: Central, middle: float) -> float:
    """How far kinks may move the derivative: of a smooth function bends are as the squares of the
    steps; a kink's are not."""
    q = coarse.step / fine.step
    return rms(coarse.bend(middle) - q ** 2 * fine.bend(middle)) / (2 * coarse.step)


def along(gradient: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """The derivative along each line, (K,), that a gradient claims."""
    with np.errstate(invalid='ignore'):  # inf - inf, of a gradient that holds both
        return lines.reshape(len(lines), -1) @ gradient.ravel()


def unit(shape: Index, index: Index) -> np.ndarray:
    """The line along one element, as the only one of lines: (1,) + shape."""
    line = np.zeros((1,) + shape)
    line[(0,) + index] = 1.0
    return line


def element_by_element(derivative: Derivative, shape: Index, number: Optional[int] = None
                       ) -> np.ndarray:
    """The derivative with respect to each element, or to the first ``number``, flat."""
    return np.array([derivative(unit(shape, index))[0]
                     for index in itertools.islice(np.ndindex(*shape), number)])


def largest_element(gradient: np.ndarray) -> Index:
    """The element of largest size; a NaN if there is one."""
    return _index(np.argmax(np.abs(gradient)), gradient.shape)


def worst_element(gradient: np.ndarray, derivative: Derivative, rng: np.random.RandomState,
                  tries: int = 3) -> Index:
    """The element where a wrong gradient is most wrong; the first that is not finite, if any is.

    By bisection: of two halves of the elements, the one over which gradient and ``derivative`` are
    farther apart, along ``tries`` random lines, until one element is left.
    """
    finite = np.isfinite(gradient)
    if not finite.all():
        return _index(np.argmin(finite), gradient.shape)

    def gap(some: np.ndarray) -> float:
        lines = np.zeros((tries, gradient.size))
        lines[:, some] = rng.choice([-1.0, 1.0], (tries, len(some)))
        lines = lines.reshape((tries,) + gradient.shape)
        found = rms(along(gradient, lines) - derivative(lines))
        return found if np.isfinite(found) else float('inf')

    candidates = np.arange(gradient.size)
    while len(candidates) > 1:
        first, second = np.array_split(candidates, 2)
        candidates = second if gap(first) < gap(second) else first
    return _index(candidates[0], gradient.shape)


def _index(flat: Any, shape: Index) -> Index:
    return tuple(int(i) for i in np.unravel_index(flat, shape))
