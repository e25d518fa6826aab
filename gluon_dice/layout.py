"""How the axes of a prediction stand, and ways from there to the order that a stage works in.

A Symbol has no shape, not even a number of axes.  So there is a way for arrays, which knows all
axes, and one for graphs, which names only those of samples and classes.
"""
from typing import Any, NamedTuple


class Layout(NamedTuple):
    """The axes of a prediction.

    axis, batch_axis : of its classes and samples; axis is negative only where ndim is 0.
    ndim : how many there are; 0 where that is not known.
    """

    axis: int
    batch_axis: int
    ndim: int = 0


def swapped(F: Any, array: Any, one: int, other: int) -> Any:
    return array if one == other else F.swapaxes(array, dim1=one, dim2=other)


def without_axis(F: Any, array: Any, axis: int) -> Any:
    """The array without an axis of size 1, which is not its first."""
    if axis > 0:  # -3 makes one axis of two; squeeze is new in MXNet 1.2
        return F.reshape(array, shape=(0,) * (axis - 1) + (-3, -2))
    return F.reshape(array, shape=(-2, -3) + (0,) * (-axis - 1), reverse=True)


def classes_last(F: Any, array: Any, layout: Layout, channels: int) -> Any:
    """(N, P, C) of an array that stands as pred does.

    channels : C; 0 where it is not known, which it is where ndim is.
    """
    axis, batch_axis, ndim = layout
    if ndim:  # one pass; to reshape before it, or to swap axes one by one, would be another
        pixels = [each for each in range(ndim) if each not in (batch_axis, axis)]
        if [batch_axis, *pixels, axis] != [*range(ndim)]:
            array = F.transpose(array, axes=(batch_axis, *pixels, axis))
        return F.reshape(array, shape=(0, -1, channels))
    array = swapped(F, array, 0, batch_axis)
    if axis < 0:
        return _from_the_end(F, array, axis)
    array = swapped(F, array, 1, axis)
    return F.transpose(F.reshape(array, shape=(0, 0, -1)), axes=(0, 2, 1))


def _from_the_end(F: Any, array: Any, axis: int) -> Any:
    """(N, P, C) of (N, ..., C, ...); swapaxes accepts a negative axis only since MXNet 1.6."""
    samples_pixels = F.reshape(F.slice_axis(array, axis=axis, begin=0, end=1), shape=(0, -1))
    rows = F.reshape(array, shape=(-1,) + (0,) * -axis, reverse=True)  # (N A, C, ...)
    rows = F.transpose(F.reshape(rows, shape=(0, 0, -1)), axes=(0, 2, 1))
    return F.reshape_like(F.reshape(rows, shape=(-3, 0)), samples_pixels, lhs_begin=0, lhs_end=1,
                          rhs_begin=0, rhs_end=2)
