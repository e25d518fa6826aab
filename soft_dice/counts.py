"""Stages 1 and 3: from pixels to counts, and from the counts' derivatives back to the pixels.

Everything here is linear in the number of pixels and knows nothing of how counts become a loss.
Each backward stands beside its forward.
"""
from typing import Callable, Tuple

import numpy as np

from .inputs import Pixels, written
from .options import DiceOptions
from .sums import Slopes, Sums

PixelsVJP = Callable[[Slopes], np.ndarray]


def count(pixels: Pixels, options: DiceOptions) -> Tuple[Sums, PixelsVJP]:
    """Stage 1 of the Dice term, and stage 3 as the closure ``vjp``.

    Returns
    -------
    counts : Sums, without those of a cross-entropy.
    vjp : Slopes, (N, C) -> d_pred (N, C, P) in pred's dtype

    Raises
    ------
    ValueError : a negative prediction under a fractional exponent, which has no real power.
    """
    pred, label, mask = pixels
    dtype = pred.dtype
    k = options.exponent
    z = without_ignored(pixels, options.activation)
    p = activate(z, options.activation)
    _check_power(p, k)
    g = label if label.ndim == 3 else one_hot(label, pred.shape[1], dtype)
    m = np.ones((1, 1, 1), dtype) if mask is None else mask

    overlap, overlap_derivative = overlap_of(p, g, options.overlap)
    counts = Sums(
        intersection=np.sum(m * overlap, axis=2, dtype=np.float64),
        pred_sum=np.sum(m * p ** k, axis=2, dtype=np.float64),
        label_sum=np.sum(m * g ** k, axis=2, dtype=np.float64))

    def vjp(slopes: Slopes) -> np.ndarray:
        d_intersection = slopes.intersection.astype(dtype)[:, :, None]
        d_pred_sum = slopes.pred_sum.astype(dtype)[:, :, None]
        d_p = m * (d_intersection * overlap_derivative + d_pred_sum * k * p ** (k - 1))
        return activate_vjp(p, d_p, options.activation)

    return counts, vjp


def activate(z: np.ndarray, activation: str) -> np.ndarray:
    """p of z, over the class axis 1.

    softmax : p_c = exp(z_c) / sum_j exp(z_j)
    sigmoid : p = 1 / (1 + exp(-z))
    none : p = z
    """
    if activation == 'softmax':
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)
    if activation == 'sigmoid':
        e = np.exp(-np.abs(z))  # never overflows
        return np.where(z >= 0, 1, e) / (1 + e)
    return z


def activate_vjp(p: np.ndarray, d_p: np.ndarray, activation: str) -> np.ndarray:
    """dz of dp, for p = activate(z).

    softmax : dz_c = p_c (dp_c - sum_j p_j dp_j)
    sigmoid : dz = p (1 - p) dp
    none : dz = dp
    """
    if activation == 'softmax':
        return p * (d_p - np.sum(p * d_p, axis=1, keepdims=True))
    if activation == 'sigmoid':
        return p * (1 - p) * d_p
    return d_p


def overlap_of(p: np.ndarray, g: np.ndarray, overlap: str) -> Tuple[np.ndarray, np.ndarray]:
    """How much of p and g coincides, and its derivative with respect to p.

    product : p g, g
    l1 : (p + g - |p - g|) / 2, (1 - sign(p - g)) / 2
    """
    if overlap == 'product':
        return p * g, g
    return (p + g - np.abs(p - g)) / 2, (1 - np.sign(p - g)) / 2


def one_hot(label: np.ndarray, num_classes: int, dtype: np.dtype) -> np.ndarray:
    """(N, P) indices as (N, C, P), all zero where -1; for one channel the label itself."""
    first = 1 if num_classes == 1 else 0
    classes = np.arange(first, first + num_classes).reshape(1, -1, 1)
    return (label[:, None, :] == classes).astype(dtype)


def without_ignored(pixels: Pixels, activation: str) -> np.ndarray:
    """The prediction with zeros where it counts nowhere, so that a NaN there has no effect."""
    pred, _, mask = pixels
    if mask is None:
        return pred
    void = mask == 0
    if activation == 'softmax':  # a pixel's classes stand or fall together
        void = void.all(axis=1, keepdims=True)
    return np.where(void, pred.dtype.type(0), pred)


def _check_power(p: np.ndarray, exponent: float) -> None:
    if exponent != int(exponent) and (p < 0).any():
        where = tuple(int(i) for i in np.argwhere(p < 0)[0])
        raise ValueError(f'a negative prediction has no power {exponent:g}: with activation='
                         "'none' use predictions in [0, 1] or a whole exponent, for example 2; "
                         f'got {written(p[where])} in sample {where[0]}, class {where[1]}, '
                         f'pixel {where[2]}')
