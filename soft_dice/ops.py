"""The array functions that stage 2 is written with, in NumPy.

Beside these it uses + - * / ** < > == between arrays of one shape, or an array and a number, as
every array library has them.  A plugin has a namespace of the same names over its own arrays.
An array is (N, K), a row for each sample and a column for each counted class, or (N,).
"""
from typing import Any, Sequence

import numpy as np

abs = np.abs
exp = np.exp
log = np.log
log1p = np.log1p
tanh = np.tanh
where = np.where  # (condition, array or number, array or number)
ones_like = np.ones_like


def row(numbers: Sequence[float], like: np.ndarray) -> Any:
    """(K,) numbers, the same for each sample, for arithmetic with ``like`` (N, K)."""
    return np.array(numbers)


def over_classes(array: np.ndarray) -> np.ndarray:
    """Each sample's sum, (N, K) -> (N,)."""
    return array.sum(axis=1)


def spread(array: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Each sample's number in every column, (N,) -> (N, K)."""
    return np.broadcast_to(array[:, None], like.shape)


def largest(array: np.ndarray) -> np.ndarray:
    """Each sample's largest number, (N, K) -> (N,)."""
    return array.max(axis=1)


def over_batch(array: np.ndarray) -> np.ndarray:
    """The sum over the samples, in every row: the shape stays."""
    return np.broadcast_to(array.sum(axis=0), array.shape)


def inverse_power(array: np.ndarray, exponent: int) -> np.ndarray:
    """1 / array^exponent, infinite where array is 0."""
    with np.errstate(divide='ignore', over='ignore'):
        return 1 / array ** exponent
