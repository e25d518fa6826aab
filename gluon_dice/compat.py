"""What older releases of MXNet lack, and what is used in its place.  This is the only module that
asks; docs/versions.md says what was run on which release.
"""
from typing import Any

import mxnet as mx


def arange_like(F: Any, array: Any, axis: int, dtype: str) -> Any:
    """0, 1, 2, ... along an axis of ``array``, of that axis' length.

    Raises
    ------
    RuntimeError : this MXNet has no operator for it.
    """
    if hasattr(F.contrib, 'arange_like'):
        return F.contrib.arange_like(array, axis=axis)
    if not hasattr(F.contrib, 'index_array'):
        raise RuntimeError(f'mxnet {mx.__version__} has neither contrib.arange_like (since 1.6) '
                           'nor contrib.index_array (since 1.5), without which a graph cannot '
                           'count the classes of a prediction: give their number, for example '
                           'SoftDiceLoss(num_classes=4)')
    for each in range(axis):
        array = F.slice_axis(array, axis=each, begin=0, end=1)
    rows = F.reshape(F.swapaxes(array, dim1=0, dim2=axis), shape=(0, -1))
    line = F.reshape(F.slice_axis(rows, axis=1, begin=0, end=1), shape=(-1,))
    return F.cast(F.reshape(F.contrib.index_array(F.BlockGrad(line)), shape=(-1,)), dtype)
