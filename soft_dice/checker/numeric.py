"""Derivatives of a function whose value carries rounding noise, each with an error bar.

The noise is measured (the high differences of Moré and Wild: Estimating computational noise, SIAM
J. Sci. Comput. 2011) and so is the truncation error, by comparing steps.  Central differences at
steps h and q h are extrapolated (Richardson); the step is the one where the extrapolation moves
least between neighbours, over all lines together, as over one alone it may stand still by accident.
Kinks (max, relu, abs) inside a step show in the second difference; they widen the bar or call for a
smaller step, and so are not taken for a wrong gradient.
"""
from typing import Callable, NamedTuple

import numpy as np

Function = Callable[[np.ndarray], float]

# From large, where truncation rules, to small, where noise does.
STEPS = {'float32': 2.0 ** -np.arange(1, 10), 'float64': 4.0 ** -np.arange(3, 11)}
# Error bars, relative to the slope, that need no smaller steps.
ENOUGH = {'float32': 1e-4, 'float64': 1e-7}


class Slopes(NamedTuple):
    """value : (K,), derivative along each line.  bar : its error, root mean square over lines.
    step : the step it was taken with."""

    value: np.ndarray
    bar: float
    step: float


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


def quantum(size: float, dtype: str) -> float:
    """The distance between neighbouring numbers of this size."""
    return float(np.spacing(np.dtype(dtype).type(max(abs(size), 1e-30))))


def noise(function: Function, x: np.ndarray, lines: np.ndarray, dtype: str) -> float:
    """Standard deviation of the rounding errors in the function's value.

    Third differences of 8 values a hair apart hold no trend any more, only noise, whose variance
    they multiply by 20; a kink among the values spoils one line and not the median.
    """
    hair = 2.0 ** -12 if dtype == 'float32' else 2.0 ** -24
    found = []
    for line in lines:
        values = np.array([function(x + t * hair * line) for t in range(8)])
        found.append(rms(np.diff(values, 3)) / np.sqrt(20))
    return max(float(np.median(found)), 0.3 * quantum(values[0], dtype))


def slopes(function: Function, x: np.ndarray, lines: np.ndarray, dtype: str, noise: float
           ) -> Slopes:
    """The derivative of ``function`` at x along each of ``lines``, (K,) + x's shape."""
    steps = STEPS[dtype]
    q = steps[0] / steps[1]
    best = Slopes(np.full(len(lines), np.nan), float('inf'), float(steps[-1]))
    middle = function(x)
    coarse = coarse_bend = previous = None
    for step in steps:
        up = np.array([function(x + step * line) for line in lines])
        down = np.array([function(x - step * line) for line in lines])
        fine, bend = (up - down) / (2 * step), up - 2 * middle + down
        if coarse is not None:
            extrapolated = (q ** 2 * fine - coarse) / (q ** 2 - 1)
            # Of a smooth function bends are as the squares of the steps; a kink's are not.
            kink = rms(coarse_bend - q ** 2 * bend) / (2 * q * step)
            if previous is not None:
                bar = float(np.linalg.norm([rms(extrapolated - previous), kink, noise / step]))
                if bar < best.bar:  # never where the bar is NaN
                    best = Slopes(extrapolated, bar, float(step))
            if noise / step > best.bar or best.bar < ENOUGH[dtype] * rms(best.value):
                break  # noise rules from here on, or it is good enough
            previous = extrapolated
        coarse, coarse_bend = fine, bend
    return best


def piecewise_constant(function: Function, x: np.ndarray, lines: np.ndarray) -> bool:
    """Does the value stand still and jump, as an argmax or a threshold does?

    On the shortest stretch over which it changes by 64 float32 roundings, a smooth function changes
    from each of 12 points to the next, and a staircase at a few.
    """
    start = function(x)
    least = 64 * quantum(start, 'float32')
    still = []
    for line in lines:
        for length in 2.0 ** np.arange(-20, 1):
            if abs(function(x + length * line) - start) > least:
                values = [function(x + t * length * line) for t in np.linspace(0, 1, 12)]
                still.append(np.mean(np.diff(values) == 0))
                break
    return not still or bool(np.mean(still) > 0.4)


def worst_element(gradient: np.ndarray, difference: Callable[[np.ndarray], float],
                  rng: np.random.RandomState, tries: int = 3) -> int:
    """Descend into the half of the elements that disagrees more, until one is left: its index
    into the flat array.  ``difference`` is the numeric derivative along a line."""
    candidates = np.arange(gradient.size)
    while len(candidates) > 1:
        halves = np.array_split(candidates, 2)
        gaps = []
        for half in halves:
            lines = np.zeros((tries, gradient.size))
            lines[:, half] = rng.choice([-1.0, 1.0], (tries, len(half)))
            gap = [np.dot(line, gradient.ravel()) - difference(line.reshape(gradient.shape))
                   for line in lines]
            gaps.append(rms(np.nan_to_num(gap, nan=np.inf)))
        candidates = halves[int(gaps[1] > gaps[0])]
    return int(candidates[0])
