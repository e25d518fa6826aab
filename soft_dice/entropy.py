"""The cross-entropy's part of stages 1 and 3: from pixels to two sums per sample, and back.

Beside soft_dice.counts, which is that of the Dice term.  Each backward stands by its forward.
Logarithms of probabilities come from the logits, never from a probability that was rounded.
"""
from typing import Callable, Tuple

import numpy as np

from .ce_options import DiceCEOptions
from .counts import one_hot, without_ignored
from .inputs import Pixels

Array = np.ndarray


EntropyVJP = Callable[[Array], Array]


def count(pixels: Pixels, options: DiceCEOptions) -> Tuple[Array, Array, EntropyVJP]:
    """E and W, each (N,), and stage 3 of E as the closure ``vjp``: d_E (N,) -> d_pred (N, C, P).

    W is the sum of the weights that E is a sum with; it depends on the label alone.
    """
    z = without_ignored(pixels, options.dice.activation)
    m = _weights(pixels, options)
    label = pixels.label
    g = label if label.ndim == 3 else one_hot(label, z.shape[1], z.dtype)
    if options.dice.activation == 'softmax':
        loss, d_z = softmax_entropy(z, _smoothed(g, options, z.shape[1]), options.ce_gamma)
        weight = m * g
    else:
        loss, d_z = sigmoid_entropy(z, _smoothed(g, options, 2), options.ce_gamma)
        weight = np.broadcast_to(m, z.shape)

    def vjp(d_entropy: Array) -> Array:
        return d_z(d_entropy.astype(z.dtype)[:, None, None] * m)

    return _total(m * loss), _total(weight), vjp


def softmax_entropy(z: Array, t: Array, gamma: float) -> Tuple[Array, EntropyVJP]:
    """t (1 - p)^gamma (-log p) of each class, p the softmax over axis 1, and its vjp.

    vjp : upstream (N, C, P) -> dz_c = q_c d_c - p_c sum_{j != c} d_j, with q = 1 - p and d the
        derivative with respect to log p
    """
    log_p = log_softmax(z)
    with np.errstate(invalid='ignore'):  # a NaN is none of its business, but expm1 warns of it
        q = -np.expm1(log_p)
    loss, derivative = focal(log_p, q, gamma)

    def vjp(upstream: Array) -> Array:
        d = upstream * t * derivative
        return q * d - np.exp(log_p) * (d.sum(axis=1, keepdims=True) - d)

    return t * loss, vjp


def sigmoid_entropy(z: Array, t: Array, gamma: float) -> Tuple[Array, EntropyVJP]:
    """t q^gamma (-log p) + (1 - t) p^gamma (-log q), p the sigmoid and q = 1 - p, and its vjp."""
    small = np.log1p(np.exp(-np.abs(z)))
    log_p, log_q = np.minimum(z, 0) - small, np.minimum(-z, 0) - small
    p, q = np.exp(log_p), np.exp(log_q)
    of_p, d_log_p = focal(log_p, q, gamma)
    of_q, d_log_q = focal(log_q, p, gamma)

    def vjp(upstream: Array) -> Array:
        return upstream * (t * q * d_log_p - (1 - t) * p * d_log_q)

    return t * of_p + (1 - t) * of_q, vjp


def log_softmax(z: Array) -> Array:
    """log p over the class axis 1, as exact near p = 1, where it is near 0, as elsewhere."""
    top = z.argmax(axis=1)[:, None] == np.arange(z.shape[1])[:, None]
    shifted = z - z.max(axis=1, keepdims=True)
    others = np.where(top, 0, np.exp(shifted))
    return shifted - np.log1p(others.sum(axis=1, keepdims=True))


def focal(log_p: Array, q: Array, gamma: float) -> Tuple[Array, Array]:
    """L = q^gamma (-log p), q = 1 - p, and its derivative with respect to log p.

    dL/d log p = gamma p q^gamma r - q^gamma, where r = log p / q, which is -1 at p = 1
    """
    if gamma == 0:
        return -log_p, np.full_like(log_p, -1)
    power = q ** gamma
    sure = q == 0
    r = np.where(sure, -1, log_p / np.where(sure, 1, q))
    return -power * log_p, power * (gamma * np.exp(log_p) * r - 1)


def _smoothed(g: Array, options: DiceCEOptions, outcomes: int) -> Array:
    epsilon = options.label_smoothing
    return g if epsilon == 0 else (1 - epsilon) * g + epsilon / outcomes


def _weights(pixels: Pixels, options: DiceCEOptions) -> Array:
    """m w, of a shape that broadcasts to (N, C, P)."""
    pred, _, mask = pixels
    weights = np.ones(1) if options.ce_class_weights is None else np.array(options.ce_class_weights)
    weights = weights.astype(pred.dtype).reshape(1, -1, 1)
    return weights if mask is None else mask * weights


def _total(array: Array) -> Array:
    return np.sum(array, axis=(1, 2), dtype=np.float64)
