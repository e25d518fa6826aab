"""Predictions and labels of different sizes, in F operators, after soft_dice.resize.

A Symbol has no shape, not even a number of axes.  What is done to each space axis is therefore done
to arrays that were given a fixed number of them, by axes of size 1.  BilinearResize2D is not used:
it computes places in float32, and is wrong by 1e-5 from 300 to 1000 points.
"""
from typing import Any, NamedTuple, Optional

from soft_dice.options import DiceOptions

SPACE_AXES = 4  # of a graph that does not know; an array may have any number


class Frame(NamedTuple):
    """How the axes of a prediction stand.

    axis, batch_axis : of its classes and samples.
    ndim : of all its axes; 0 where that is not known.
    """

    axis: int
    batch_axis: int
    ndim: int = 0

    @property
    def space_axes(self) -> int:
        return self.ndim - 2 if self.ndim else SPACE_AXES


class Sized(NamedTuple):
    """pred (N, P, C) of the label's pixels; label (N, P), or (N, P, C) dense; weight (N, P)."""

    pred: Any
    label: Any
    pixel_weight: Optional[Any]


def to_label_size(F: Any, pred: Any, label: Any, pixel_weight: Optional[Any],
                  options: DiceOptions, frame: Frame, dtype: str) -> Sized:
    """What the loss takes with ``axis=2`` and batch axis 0, of a prediction of any size.

    dtype : of pred, 'float32' or 'float64', and of the result.
    """
    if options.sparse_label:
        one_class = pixels_like(F, label, pred, frame.axis)
        label = F.reshape_like(label, one_class)
    else:
        one_class = F.slice_axis(label, axis=frame.axis, begin=0, end=1)
        one_class = F.zeros_like(F.cast(one_class, 'float64'))
    if pixel_weight is not None:
        pixel_weight = _pixels(F, F.reshape_like(pixel_weight, one_class), frame)
    label = _pixels(F, label, frame, dense=not options.sparse_label)
    pred = _linear(F, spread(F, pred, frame), spread(F, one_class, frame), frame.space_axes, dtype)
    return Sized(pred, label, pixel_weight)


def pixels_like(F: Any, array: Any, pred: Any, axis: int) -> Any:
    """Zeros, float64, of the sizes of ``array`` and as many axes as pred, of size 1 at ``axis``.

    array : one value per pixel, without the class axis or with one of size 1.
    """
    if axis < 0:
        back = pixels_like(F, F.transpose(array), F.transpose(pred), -1 - axis)
        return F.transpose(back)
    # Operators that broadcast align the last axes, so those after the classes fall into place, and
    # a class axis of size 1 appears where there is none.  Those before it are then copied.
    after = array
    for each in range(axis):
        after = F.slice_axis(after, axis=each, begin=0, end=1)
    one = F.ones_like(F.sum(F.slice_axis(pred, axis=0, begin=0, end=1), keepdims=True))
    after = F.zeros_like(F.broadcast_mul(F.cast(after, 'float64'), F.cast(one, 'float64')))
    if axis == 0:
        return after
    before = tuple(range(axis))
    return F.broadcast_like(after, array, lhs_axes=before, rhs_axes=before)


def spread(F: Any, array: Any, frame: Frame) -> Any:
    """(N, C, ...) with ``frame.space_axes`` axes of space, the last of size 1 if it has fewer."""
    array = _ordered(F, array, frame)
    if frame.ndim:
        return array
    array = F.reshape(array, shape=(-2,) + (1,) * SPACE_AXES)
    return F.reshape(array, shape=(0,) * (2 + SPACE_AXES))


def _ordered(F: Any, array: Any, frame: Frame, back: bool = False) -> Any:
    """(N, C, ...), by two swaps; or ``back`` from that."""
    swaps = [(0, frame.batch_axis), (1, frame.axis)]
    for each, other in reversed(swaps) if back else swaps:
        if each != other:
            array = F.swapaxes(array, dim1=each, dim2=other)
    return array


def _pixels(F: Any, array: Any, frame: Frame, dense: bool = False) -> Any:
    """(N, P), or (N, P, C), in the order of pixels that ``_linear`` has."""
    array = _ordered(F, array, frame)
    if not dense:
        return F.reshape(array, shape=(0, -1))
    return F.transpose(F.reshape(array, shape=(0, 0, -1)), axes=(0, 2, 1))


def _linear(F: Any, array: Any, like: Any, space_axes: int, dtype: str) -> Any:
    """(N, P, C): the array (N, C, ...) interpolated to the sizes of ``like`` (N, 1, ...)."""
    resized = array
    for axis in range(1 + space_axes, 1, -1):
        matrix = F.cast(_interpolation(F, array, like, axis), dtype)
        # The last axis goes, and what comes of it is the first: after all of them (..., N, C).
        resized = F.dot(F.BlockGrad(matrix), resized, transpose_b=True)
    return F.transpose(F.reshape(resized, shape=(-1, 0, 0), reverse=True), axes=(1, 0, 2))


def _interpolation(F: Any, array: Any, like: Any, axis: int) -> Any:
    """M, (target, source) float64, of ``soft_dice.resize.interpolation``."""
    source, target = (F.cast(F.contrib.arange_like(each, axis=axis), 'float64')
                      for each in (array, like))
    x = F.broadcast_mul(target, F.max(source, keepdims=True))
    x = F.broadcast_div(x, F.maximum(F.max(target, keepdims=True), 1))
    distance = F.broadcast_sub(F.expand_dims(x, axis=1), F.expand_dims(source, axis=0))
    return F.relu(1 - F.abs(distance))


def to_pred_size(F: Any, array: Any, pred: Any, frame: Frame, dense: bool) -> Any:
    """The values of a label, or of pixel weights, that are nearest to the pixels of pred.

    Of S values, place i of T takes number floor((i + 1/2) S / T), that at its centre.

    array : one value per pixel, without the class axis or with one of size 1; with ``dense`` one
        per class.
    Returns : pred's shape, but without ``dense`` of size 1 at ``frame.axis``.
    """
    array = F.BlockGrad(array)
    if not dense:
        array = F.reshape_like(array, pixels_like(F, array, pred, frame.axis))
        pred = F.slice_axis(pred, axis=frame.axis, begin=0, end=1)
    index = _nearest(F, spread(F, array, frame), spread(F, pred, frame), frame.space_axes)
    pixels = F.reshape(_ordered(F, array, frame), shape=(0, 0, -1))
    pixels = F.reshape_like(F.take(pixels, index, axis=2), _ordered(F, pred, frame))
    return _ordered(F, pixels, frame, back=True)


def _nearest(F: Any, array: Any, like: Any, space_axes: int) -> Any:
    """(P,) float64: which of the pixels of the array, one after the other, each of ``like`` takes.

    Both (N, C, ...).
    """
    index = F.zeros(shape=(1,), dtype='float64')
    for axis in range(2, 2 + space_axes):
        source, target = (F.cast(F.contrib.arange_like(each, axis=axis), 'float64')
                          for each in (array, like))
        sources, targets = (F.max(each, keepdims=True) + 1 for each in (source, target))
        place = F.broadcast_div(F.broadcast_mul(2 * target + 1, sources), 2 * targets)
        before = F.expand_dims(F.broadcast_mul(index, sources), axis=1)
        index = F.reshape(F.broadcast_add(before, F.expand_dims(F.floor(place), axis=0)),
                          shape=(-1,))
    return index
