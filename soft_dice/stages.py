"""Stages 1 and 3 of arrays as the caller has them, by the implementation in use.

That is the kernels (``soft_dice.native``, which decides) or plain NumPy (``soft_dice.counts`` and
``soft_dice.entropy``, which are the truth that the kernels are held to).
"""
from typing import Callable, Optional, Tuple

import numpy as np

from . import counts, entropy, native
from .inputs import Batch, prepare, restore
from .plan import Plan
from .sums import Slopes, Sums

SumsVJP = Callable[..., np.ndarray]


def count(batch: Batch, plan: Plan) -> Tuple[Sums, SumsVJP]:
    """Stage 1, and stage 3 as the closure ``vjp``.

    Returns
    -------
    sums : Sums, of all classes, with those of a cross-entropy where the plan has one.
    vjp : (Slopes, out=None) -> d_pred, of pred's shape and dtype; written into ``out`` where that
        is given.  The kernels read the arrays again for it: they must still be what they were.

    Raises
    ------
    ValueError : a value that is not allowed, as of :func:`soft_dice.soft_dice_loss`.
    """
    kernels = native.kernels()
    sums, vjp = _by_numpy(batch, plan) if kernels is None else kernels.count(batch, plan)
    if plan.ce is not None and plan.ce.ce_normalization == 'pixels':
        sums = sums._replace(entropy_norm=np.full(len(batch.pred), terms(batch.pred.shape, plan)))
    return sums, vjp


def sums_vjp(batch: Batch, plan: Plan) -> SumsVJP:
    """Stage 3 alone, of a batch that :func:`count` has accepted."""
    kernels = native.kernels()
    return _by_numpy(batch, plan)[1] if kernels is None else kernels.vjp(batch, plan)


def terms(shape: Tuple[int, ...], plan: Plan) -> float:
    """How many terms the cross-entropy of a sample has: pixels, or for a sigmoid elements."""
    elements = float(np.prod(shape[1:]))
    return elements / shape[plan.dice.axis] if plan.dice.activation == 'softmax' else elements


def _by_numpy(batch: Batch, plan: Plan) -> Tuple[Sums, SumsVJP]:
    pixels = prepare(batch, plan.dice)
    sums, dice_vjp = counts.count(pixels, plan.dice)
    if plan.ce is not None:
        loss, weight, entropy_vjp = entropy.count(pixels, plan.ce)
        sums = sums._replace(entropy=loss, entropy_norm=weight)

    def vjp(slopes: Slopes, out: Optional[np.ndarray] = None) -> np.ndarray:
        flat = dice_vjp(slopes)
        if slopes.entropy is not None:
            flat = flat + entropy_vjp(slopes.entropy)
        gradient = restore(flat, batch.pred.shape, plan.dice.axis)
        if out is None:
            return gradient
        out[...] = gradient
        return out

    return sums, vjp
