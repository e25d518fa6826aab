"""Stages 1 and 3 of arrays as the caller has them, by the implementation in use.

That is the kernels (``soft_dice.native``, which decides) or plain NumPy (``soft_dice.counts``,
which is the truth that the kernels are held to).
"""
from typing import Callable, Optional, Tuple

import numpy as np

from . import counts, native
from .counts import Counts
from .inputs import prepare, restore
from .options import DiceOptions

PixelsVJP = Callable[..., np.ndarray]


def count(pred: np.ndarray, label: np.ndarray, options: DiceOptions,
          pixel_weight: Optional[np.ndarray] = None) -> Tuple[Counts, PixelsVJP]:
    """Stage 1, and stage 3 as the closure ``vjp``.

    Returns
    -------
    counts : Counts
    vjp : (d_intersection (N, C), d_pred_sum (N, C), out=None) -> d_pred, of pred's shape and dtype;
        written into ``out`` where that is given.  The kernels read the arrays again for it: they
        must still be what they were.

    Raises
    ------
    ValueError : as :func:`soft_dice.soft_dice_loss`.
    """
    kernels = native.kernels()
    if kernels is not None:
        return kernels.count(pred, label, options, pixel_weight)
    sums, pixels_vjp = counts.count(prepare(pred, label, options, pixel_weight), options)
    shape = np.shape(pred)

    def vjp(d_intersection: np.ndarray, d_pred_sum: np.ndarray,
            out: Optional[np.ndarray] = None) -> np.ndarray:
        gradient = restore(pixels_vjp(d_intersection, d_pred_sum), shape, options.axis)
        if out is None:
            return gradient
        out[...] = gradient
        return out

    return sums, vjp
