"""The memory of MXNet's arrays as NumPy arrays, for operators that Python computes."""
import contextlib
import ctypes
from typing import Any, Iterator, Sequence

import mxnet as mx
import numpy as np
from mxnet.base import _LIB, check_call

CPU = ('cpu', 'cpu_pinned', 'cpu_shared')
Arrays = Sequence[mx.nd.NDArray]


def known(shape: Sequence[int]) -> bool:
    """Whether MXNet knows these sizes, when it asks an operator for shapes."""
    return len(shape) > 0 and 0 not in shape


def on_cpu(array: mx.nd.NDArray) -> bool:
    return array.context.device_type in CPU


def numpy_of(array: mx.nd.NDArray) -> np.ndarray:
    """The values of an operator's operand: on the CPU its own memory, else a copy.

    Only inside an operator, where nobody else writes to it and no computation is to be waited for.
    """
    if not on_cpu(array):
        return array.asnumpy()
    if array.size == 0:
        return np.empty(array.shape, array.dtype)
    address, dtype = ctypes.c_void_p(), np.dtype(array.dtype)
    check_call(_LIB.MXNDArrayGetData(array.handle, ctypes.byref(address)))
    memory = (ctypes.c_char * (dtype.itemsize * array.size)).from_address(address.value)
    return np.frombuffer(memory, dtype).reshape(array.shape)


@contextlib.contextmanager
def written(array: mx.nd.NDArray, how: str) -> Iterator[np.ndarray]:
    """An array to be filled, whose values then go to an operator's result.

    how : 'write' or 'inplace', or 'add' to what is there, as MXNet tells the operator.
    """
    adds, shared = how == 'add', on_cpu(array)
    values = numpy_of(array) if shared and not adds else np.empty(array.shape, array.dtype)
    yield values
    if not shared:
        values = mx.nd.array(values, ctx=array.context, dtype=array.dtype)
        array[:] = array + values if adds else values
    elif adds:
        result = numpy_of(array)
        result += values


def write(array: mx.nd.NDArray, how: str, values: Any) -> None:
    """``values``, a number or an array, to an operator's result; 'null' is nowhere."""
    if how != 'null':
        with written(array, how) as result:
            result[...] = values
