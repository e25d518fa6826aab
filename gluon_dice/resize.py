"""Predictions and labels of different sizes, in F operators, after soft_dice.resize.

A Symbol has no shape, not even a number of axes.  What is done to each space axis is then done to
arrays that were brought to a fixed number of axes by some of size 1.  BilinearResize2D is not used:
it computes places in float32, and is wrong by 1e-5 from 300 to 1000 points.
"""
from typing import Any, List, NamedTuple, Optional

from soft_dice.options import DiceOptions

from . import compat, nearest
from .layout import Layout, swapped

SPACE_AXES = 4  # in a graph; MXNet's operators in MKL-DNN take no more than six axes


class Sized(NamedTuple):
    """pred (N, C, P) of the label's pixels; label (N, P), or (N, C, P) dense; weight (N, P)."""

    pred: Any
    label: Any
    pixel_weight: Optional[Any]


def to_label_size(F: Any, pred: Any, label: Any, pixel_weight: Optional[Any],
                  options: DiceOptions, layout: Layout, dtype: str) -> Sized:
    """What the loss takes with ``axis=1`` and batch axis 0, of a prediction of any size.

    dtype : of pred, 'float32' or 'float64', and of the result.
    """
    # What only lends its sizes is cut off first: MXNet crashes over a gradient of nothing that goes
    # back through transpose and swapaxes.
    small = F.BlockGrad(F.slice_axis(pred, axis=layout.batch_axis, begin=0, end=1))
    label = F.BlockGrad(label)
    if options.sparse_label:
        one_class = pixels_like(F, label, small, layout.axis)
        label = F.reshape_like(label, one_class)
    else:
        one_class = F.slice_axis(label, axis=layout.axis, begin=0, end=1)
    resized = _space_first(F, pred, layout)
    for source, target in zip(_lines(F, small, layout), _lines(F, one_class, layout)):
        matrix = F.BlockGrad(F.cast(_interpolation(F, source, target), dtype))
        # The first axis goes, and what comes of it is the last: after all of them (N, C, ...).
        resized = F.dot(resized, matrix, transpose_a=True)
    flat = (0, -1) if options.sparse_label else (0, 0, -1)
    label = F.reshape(_ordered(F, label, layout), shape=flat)
    if pixel_weight is not None:
        pixel_weight = F.reshape_like(F.BlockGrad(pixel_weight), one_class)
        pixel_weight = F.reshape(_ordered(F, pixel_weight, layout), shape=(0, -1))
    return Sized(F.reshape(resized, shape=(0, 0, -1)), label, pixel_weight)


def to_pred_size(F: Any, array: Any, pred: Any, layout: Layout, dense: bool) -> Any:
    """The values of a label, or of pixel weights, that are nearest to the pixels of pred.

    Of S values, place i of T takes number floor((i + 1/2) S / T), that at its centre.

    array : one value per pixel, without the class axis or with one of size 1; with ``dense`` one
        per class.
    Returns : pred's shape, but without ``dense`` of size 1 at ``layout.axis``.
    """
    if not compat.has_operators():
        return nearest.to_pred_size(F, array, pred, layout, dense)
    if not dense:
        pred = F.slice_axis(pred, axis=layout.axis, begin=0, end=1)
    array, pred = F.BlockGrad(array), F.BlockGrad(pred)  # see above
    if not dense:
        array = F.reshape_like(array, pixels_like(F, array, pred, layout.axis))
    index = _nearest(F, _lines(F, array, layout), _lines(F, pred, layout))
    pixels = F.reshape(_ordered(F, array, layout), shape=(0, 0, -1))
    pixels = F.reshape_like(F.take(pixels, index, axis=2), _ordered(F, pred, layout))
    return _ordered(F, pixels, layout, back=True)


def pixels_like(F: Any, array: Any, pred: Any, axis: int) -> Any:
    """Zeros, float64, of the sizes of ``array`` and as many axes as pred, of size 1 at ``axis``.

    array : one value per pixel, without the class axis or with one of size 1.
    """
    if axis < 0:
        back = pixels_like(F, F.transpose(array), F.transpose(pred), -1 - axis)
        return F.BlockGrad(F.transpose(back))  # as in to_label_size
    # Operators that broadcast align the last axes, so those after the classes fall into place, and
    # a class axis of size 1 appears where there is none.  Those before it are then copied.
    after = array = F.cast(array, 'float64')  # in MXNet 1.5 broadcast_like takes equal types only
    for each in range(axis):
        after = F.slice_axis(after, axis=each, begin=0, end=1)
    one = F.ones_like(F.sum(pred, keepdims=True))
    after = F.zeros_like(F.broadcast_mul(after, F.cast(one, 'float64')))
    if axis == 0:
        return after
    before = tuple(range(axis))
    return F.broadcast_like(after, array, lhs_axes=before, rhs_axes=before)


def _ordered(F: Any, array: Any, layout: Layout, back: bool = False) -> Any:
    """(N, C, ...), or ``back`` from that."""
    if back:
        return swapped(F, _class_axis_back(F, array, layout.axis), 0, layout.batch_axis)
    return _class_axis_second(F, swapped(F, array, 0, layout.batch_axis), layout.axis)


def _space_axes(layout: Layout) -> int:
    return layout.ndim - 2 if layout.ndim else SPACE_AXES


def _class_axis_second(F: Any, array: Any, axis: int) -> Any:
    """(N, C, ...) of (N, ..., C, ...).  A negative axis swapaxes takes from MXNet 1.6 only."""
    if axis >= 0:
        return swapped(F, array, 1, axis)
    rows = F.reshape(array, shape=(-1,) + (0,) * -axis, reverse=True)  # (N A, C, ...)
    rows = F.reshape_like(F.swapaxes(rows, dim1=0, dim2=1), F.BlockGrad(array), lhs_begin=1,
                          lhs_end=2, rhs_begin=0, rhs_end=axis)  # (C, N, A ..., ...)
    return F.swapaxes(rows, dim1=0, dim2=1)


def _class_axis_back(F: Any, array: Any, axis: int) -> Any:
    """What :func:`_class_axis_second` came from."""
    if axis >= 0:
        return swapped(F, array, 1, axis)
    array = F.swapaxes(array, dim1=0, dim2=1)  # (C, N, A ..., ...)
    before = F.BlockGrad(array)
    for each in range(axis + 1, 0):
        before = F.slice_axis(before, axis=each, begin=0, end=1)
    rows = F.reshape(array, shape=(-1,) + (0,) * (-axis - 1), reverse=True)  # (C N A, ...)
    rows = F.reshape_like(rows, F.reshape(before, shape=(0, -1)), lhs_begin=0, lhs_end=1,
                          rhs_begin=0, rhs_end=2)  # (C, N A, ...)
    end = {} if axis == -1 else {'rhs_end': axis + 1}
    return F.reshape_like(F.swapaxes(rows, dim1=0, dim2=1), F.BlockGrad(array), lhs_begin=0,
                          lhs_end=1, rhs_begin=1, **end)


def _space_first(F: Any, array: Any, layout: Layout) -> Any:
    """(..., N, C) with as many axes of space as _space_axes() says, the last of size 1 if need be.
    """
    array = _ordered(F, array, layout)
    if layout.ndim:
        return F.transpose(array, axes=(*range(2, layout.ndim), 0, 1))
    # Where the number of axes is not known, they can be turned round, and ones put before them.
    array = F.transpose(F.swapaxes(array, dim1=0, dim2=1))
    # (Not F.ones(shape=...): amp.init() for bfloat16 breaks operators without an input.)
    one = F.ones_like(F.slice_axis(F.reshape(F.BlockGrad(array), shape=(-1,)), axis=0, begin=0,
                                   end=1))
    array = F.broadcast_mul(array, F.reshape(one, shape=(1,) * (SPACE_AXES + 2)))
    return F.transpose(array, axes=(*reversed(range(SPACE_AXES)), SPACE_AXES, SPACE_AXES + 1))


def _lines(F: Any, array: Any, layout: Layout) -> List[Any]:
    """0, 1, 2, ... float64 for each axis of space, as long as it is."""
    for axis in (layout.axis, layout.batch_axis):
        array = F.slice_axis(array, axis=axis, begin=0, end=1)
    array = _space_first(F, F.cast(array, 'float64'), layout)
    return [compat.arange_like(F, array, axis, 'float64') for axis in range(_space_axes(layout))]


def _interpolation(F: Any, source: Any, target: Any) -> Any:
    """(source, target) float64, transposed, of ``soft_dice.resize.interpolation``."""
    x = F.broadcast_mul(target, F.max(source, keepdims=True))
    x = F.broadcast_div(x, F.maximum(F.max(target, keepdims=True), 1))
    distance = F.broadcast_sub(F.expand_dims(x, axis=0), F.expand_dims(source, axis=1))
    return F.relu(1 - F.abs(distance))


def _nearest(F: Any, sources: List[Any], targets: List[Any]) -> Any:
    """(P,) float64: which of the pixels, one after the other, each of the target's takes."""
    index = F.zeros_like(F.slice_axis(sources[0], axis=0, begin=0, end=1))
    for source, target in zip(sources, targets):
        size, target_size = (F.max(each, keepdims=True) + 1 for each in (source, target))
        place = F.broadcast_div(F.broadcast_mul(2 * target + 1, size), 2 * target_size)
        before = F.expand_dims(F.broadcast_mul(index, size), axis=1)
        index = F.reshape(F.broadcast_add(before, F.expand_dims(F.floor(place), axis=0)),
                          shape=(-1,))
    return index
