"""A prediction interpolated to the size of its label, before anything else is done with it.

Linear along each axis, corners aligned: of S points, point i of D lies at x = i (S - 1) / (D - 1),
and its value is that of the straight line between the two points around x.  It is a linear map, so
its derivative is the transposed one, and with float32 or float64 it stays in that.
"""
import functools
from typing import Any, Callable, Dict, Optional, Tuple

import numpy as np

from .inputs import Shape, check_out, check_shapes, floating
from .options import Options

ResizeVJP = Callable[[np.ndarray], np.ndarray]


def resize(pred: np.ndarray, shape: Shape) -> Tuple[np.ndarray, ResizeVJP]:
    """pred interpolated to ``shape``, along every axis whose size is another.

    Returns
    -------
    resized : of that shape and pred's dtype; pred itself where the sizes are equal.  A NaN or an
        infinity spreads to all of its rows, columns and so on.
    vjp : (upstream, of ``shape``) -> gradient of sum(upstream * resized), of pred's shape.
    """
    matrices: Dict[int, np.ndarray] = {
        axis: interpolation(source, target).astype(pred.dtype)
        for axis, (source, target) in enumerate(zip(pred.shape, shape)) if source != target}
    resized = pred
    for axis, matrix in matrices.items():
        resized = _along(axis, matrix, resized)

    def vjp(upstream: np.ndarray) -> np.ndarray:
        for axis, matrix in reversed(list(matrices.items())):
            upstream = _along(axis, matrix.T, upstream)
        return upstream

    return resized, vjp


def nearest(array: np.ndarray, shape: Shape) -> np.ndarray:
    """The values that are nearest to the places of an array of ``shape``: along every axis place i
    of T takes number floor((i + 1/2) S / T) of S, that at its centre."""
    for axis, (source, target) in enumerate(zip(array.shape, shape)):
        if source != target:
            array = array.take((2 * np.arange(target) + 1) * source // (2 * target), axis)
    return array


def interpolation(source: int, target: int) -> np.ndarray:
    """M, (target, source) float64: M @ values is values interpolated, each row of M adding up to 1.

    M_ij = max(0, 1 - |x_i - j|), x_i = i (source - 1) / (target - 1); one target is the first.
    """
    x = np.arange(target) * (source - 1) / max(target - 1, 1)
    return np.maximum(0, 1 - np.abs(x[:, None] - np.arange(source)))


def _along(axis: int, matrix: np.ndarray, array: np.ndarray) -> np.ndarray:
    """The product of a matrix with every line of the array that lies along the axis."""
    before, after = array.shape[:axis], array.shape[axis + 1:]
    if not after:
        return np.matmul(array, matrix.T)
    lines = array.reshape(int(np.prod(before)), array.shape[axis], int(np.prod(after)))
    return np.matmul(matrix, lines).reshape(before + (len(matrix),) + after)


def at_label_size(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    """``evaluate`` for a prediction of another size than its label's, where options.resize says so.

    evaluate : (pred, label, options, pixel_weight) -> a NamedTuple with ``vjp``, which is
        (upstream, out=None) -> gradient of pred.
    """
    @functools.wraps(evaluate)
    def resizing(pred: np.ndarray, label: np.ndarray, options: Options,
                 pixel_weight: Optional[np.ndarray]) -> Any:
        dice = options.dice
        if dice.resize is None:
            return evaluate(pred, label, options, pixel_weight)
        pred = floating(pred)
        shape = check_shapes(dice, pred.shape, np.shape(label),
                             None if pixel_weight is None else np.shape(pixel_weight))
        if shape == pred.shape:
            return evaluate(pred, label, options, pixel_weight)
        resized, resize_vjp = resize(pred, shape)
        result = evaluate(resized, label, options, pixel_weight)

        def vjp(upstream: Any, out: Optional[np.ndarray] = None) -> np.ndarray:
            check_out(out, pred.shape)
            gradient = resize_vjp(result.vjp(upstream))
            if out is None:
                return gradient
            out[...] = gradient
            return out

        return result._replace(vjp=vjp)

    return resizing
