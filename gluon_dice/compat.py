"""What older releases of MXNet lack, and what serves in its place; no other module asks for it.

docs/versions.md says what was run on which release.
"""
import functools
import re
from typing import Any, Callable, List

import mxnet as mx
import numpy as np

from .precision import without_amp

RELEASE = tuple(int(re.match('[0-9]*', each).group() or 0)  # type: ignore[union-attr]
                for each in mx.__version__.split('.')[:2])


def lacking(contrib: Any = mx.sym.contrib) -> List[str]:
    """A sentence for each operator that is not there, which begins with its name."""
    if not hasattr(contrib, 'index_array'):
        return ['contrib.index_array (since 1.5): Python counts the pixels, in a Custom operator']
    if not hasattr(contrib, 'arange_like'):
        return ['contrib.arange_like (since 1.6): contrib.index_array serves in its place']
    return []


def has_operators() -> bool:
    """Whether MXNet has the operators that stage 1 in its operators needs; since 1.5."""
    return hasattr(mx.sym.contrib, 'index_array')


def gpus() -> int:
    """How many GPUs MXNet sees; 0 before 1.3, which does not say."""
    return getattr(mx.context, 'num_gpus', int)()


def arange_like(F: Any, array: Any, axis: int, dtype: str) -> Any:
    """0, 1, 2, ... along an axis of ``array``, of that axis' length; axis >= 0.

    dtype : that of ``array``.
    """
    if hasattr(F.contrib, 'arange_like'):
        return F.contrib.arange_like(array, axis=axis)
    for each in range(axis):
        array = F.slice_axis(array, axis=each, begin=0, end=1)
    first = F.swapaxes(array, dim1=0, dim2=axis) if axis else array
    rows = F.reshape(first, shape=(0, -1))
    line = F.reshape(F.slice_axis(rows, axis=1, begin=0, end=1), shape=(-1,))
    return F.cast(F.reshape(F.contrib.index_array(F.BlockGrad(line)), shape=(-1,)), dtype)


# What a metric says of itself that has two tallies, as since 1.5.
GLOBAL_STATS = {'has_global_stats': True} if hasattr(mx.metric.EvalMetric, 'reset_local') else {}

# Arrays and Symbols of mx.np, which MXNet has since 1.6.  The operators of mx.nd and mx.sym refuse
# them.
NP = (mx.np.ndarray, mx.sym.np._Symbol) if hasattr(mx, 'np') else ()


def nd_array(array: Any) -> Any:
    """``array`` for the operators of mx.nd and mx.sym; of a list, each of its arrays."""
    if isinstance(array, (list, tuple)):
        return [nd_array(each) for each in array]
    return array.as_nd_ndarray() if isinstance(array, NP) else array


def numbers(array: Any) -> Any:
    """``array``, but one of bool, which MXNet has since 1.6, as numbers: most operators refuse it.

    A Symbol does not say whether it is one.  A sum with 0 keeps every dtype but bool, of which it
    makes int64; in MXNet 1.6 there is none of bool.
    """
    if isinstance(array, mx.nd.NDArray):
        return array.astype('uint8') if np.dtype(array.dtype) == bool else array
    if RELEASE >= (1, 7):
        return without_amp(mx.sym, lambda given: given + 0, array)
    return mx.sym.cast(array, dtype='float64') if NP else array


def np_is_set() -> bool:
    """Whether npx.set_np() is in force, so that blocks must give arrays of mx.np."""
    return bool(NP) and mx.util.is_np_array()


def takes_np(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Let a ``forward`` that is written in mx.nd and mx.sym take mx.np arrays and give one back."""
    def holds_np(array: Any) -> bool:
        of_list = isinstance(array, (list, tuple))
        return any(map(holds_np, array)) if of_list else isinstance(array, NP)

    @functools.wraps(forward)
    def converting(block: Any, *inputs: Any, **keywords: Any) -> Any:
        if not holds_np([*inputs, *keywords.values()]):
            return forward(block, *inputs, **keywords)
        keywords = {name: nd_array(each) for name, each in keywords.items()}
        with mx.util.np_array(False):  # else MXNet refuses what blocks inside this one give
            return forward(block, *map(nd_array, inputs), **keywords).as_np_ndarray()

    return converting
