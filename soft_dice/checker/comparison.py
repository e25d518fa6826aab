"""A gradient beside the numeric one, as a whole or in a part of the prediction."""
from typing import NamedTuple, Optional

import numpy as np

from . import numeric
from .trial import NEGLIGIBLE, Trial

# How far, relative to its size, a gradient may be from the numeric one, whatever the error bar:
# losses that compute in float64 may still keep parts of their gradient in float32.
TOLERANCE = {'float32': 1e-3, 'float64': 1e-5}
BARS = 4.0  # a gap of so many error bars is a fact


class Comparison(NamedTuple):
    """The gradient beside the numeric one, each element weighted by its room.

    error : relative norm of the difference, with its error ``bar``.
    slope : norm of the numeric gradient over the larger norm of the two.
    times : how many times too large the gradient is along itself; NaN where it is 0.
    cosine : of the angle between the two.
    wrong : the difference exceeds tolerance and error bar.
    step, noise : what they were measured with.
    """

    error: float
    bar: float
    slope: float
    times: float
    cosine: float
    wrong: bool
    step: float
    noise: float


def compare(trial: Trial, lines: int = 16, part: Optional[np.ndarray] = None,
            beside: Optional[Trial] = None) -> Comparison:
    """The numeric gradient, seen through a few lines.

    One line follows the gradient a itself and gives its scale s, numeric = s a + rest, to high
    accuracy.  The random ones give the size of the rest: ||rest||^2 = E (rest . line)^2.

    lines : as many random ones as this or, where a call of the loss is slow, fewer.
    part : 1 for the elements that are compared, 0 for the others; by default all are.
    beside : an ordinary input, beside whose gradient this one's may be rounding errors alone.
    """
    sizes = [number for number in (2, 4, 8, 16) if number <= lines]
    lines = trial.subject.watch.most(sizes, lambda number: 8 * (number + 2))
    part = np.ones_like(trial.pred) if part is None else part
    if not np.isfinite(trial.gradient[part > 0]).all():
        return Comparison(np.inf, 0.0, 0.0, np.nan, np.nan, True, 0.0, 0.0)
    a, random = trial.gradient_near * part, trial.lines(lines) * part
    noise = trial.near.noise(trial.lines(trial.subject.watch.most((1, 3), lambda n: 50 * n)))
    norm = float(np.linalg.norm(a))
    scale, scale_bar = 0.0, 0.0
    if norm:
        peak = np.abs(a).max()
        itself = trial.near.derivatives((a / peak)[None], noise)
        scale, scale_bar = itself.value[0] * peak / norm ** 2, itself.bar * peak / norm ** 2
    across = trial.near.derivatives(random, noise)
    rest = numeric.rms(across.value - scale * numeric.along(a, random))
    numeric_norm = np.hypot(scale * norm, rest)
    largest = max(norm, numeric_norm) or 1.0
    off, off_bar = abs(1 - scale) * norm, scale_bar * norm
    tolerance = TOLERANCE[trial.subject.dtype] * largest
    if beside is not None:
        tolerance = max(tolerance, NEGLIGIBLE * float(np.linalg.norm(beside.gradient_near)))
    wrong = (off > max(tolerance, BARS * off_bar) or rest > max(tolerance, BARS * across.bar))
    return Comparison(float(np.hypot(off, rest) / largest),
                      float(np.hypot(off_bar, across.bar) / largest), numeric_norm / largest,
                      1 / scale if norm and scale else float('nan'),
                      float(scale * norm / numeric_norm) if norm and numeric_norm else 0.0,
                      bool(wrong), across.step, noise)
