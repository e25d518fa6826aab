"""Stages 1 and 3 of arrays as the caller has them, by the implementation in use.

That is the kernels (``soft_dice.native``, which decides) or plain NumPy (``soft_dice.counts`` and
``soft_dice.entropy``, which are the truth that the kernels are held to).
"""
from typing import Callable, Optional, Tuple

import numpy as np

from . import counts, entropy, native
from .ce_options import DiceCEOptions
from .counts import Counts
from .entropy import EntropySums
from .inputs import check_batch, prepare, restore
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
        return _into(out, pixels_vjp(d_intersection, d_pred_sum), shape, options.axis)

    return sums, vjp


def count_both(pred: np.ndarray, label: np.ndarray, options: DiceCEOptions,
               pixel_weight: Optional[np.ndarray] = None
               ) -> Tuple[Counts, EntropySums, PixelsVJP]:
    """As :func:`count`, with the sums of the cross-entropy.

    Returns
    -------
    counts : Counts
    sums : EntropySums
    vjp : (d_intersection (N, C), d_pred_sum (N, C), d_entropy (N,), out=None) -> d_pred

    Raises
    ------
    ValueError : as :func:`soft_dice.dice_ce_loss`.
    """
    kernels = native.kernels()
    if kernels is not None:
        return kernels.count_both(pred, label, options, pixel_weight)
    dice = options.dice
    pred, label, pixel_weight = check_batch(pred, label, dice, pixel_weight)
    options.resolve(pred.shape[dice.axis])
    pixels = prepare(pred, label, dice, pixel_weight)
    sums, counts_vjp = counts.count(pixels, dice)
    entropy_sums, entropy_vjp = entropy.count(pixels, options)
    shape = pred.shape

    def vjp(d_intersection: np.ndarray, d_pred_sum: np.ndarray, d_entropy: np.ndarray,
            out: Optional[np.ndarray] = None) -> np.ndarray:
        flat = counts_vjp(d_intersection, d_pred_sum) + entropy_vjp(d_entropy)
        return _into(out, flat, shape, dice.axis)

    return sums, entropy_sums, vjp


def _into(out: Optional[np.ndarray], flat: np.ndarray, shape: Tuple[int, ...], axis: int
          ) -> np.ndarray:
    """The gradient (N, C, P) in the shape of pred, written into ``out`` where that is given."""
    gradient = restore(flat, shape, axis)
    if out is None:
        return gradient
    out[...] = gradient
    return out
