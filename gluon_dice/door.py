"""What losses, metric and their wrappers ask of their inputs first: are these arrays at all?

An error of MXNet's own prints whole arrays, or names an attribute that an array of another library
lacks.  What is said here is what was given, and what to give.
"""
from typing import Any, Dict, List, Optional

import mxnet as mx

from .compat import numbers

ALL_OUTPUTS = ("for all of a network's outputs use AuxLoss(loss)(*outputs, label) or "
               'DeepSupervision(loss)(outputs, label)')


def checked(preds: Dict[str, Any], others: Dict[str, Any]) -> List[Any]:
    """Labels and pixel weights as every loss can take them: a bool is made a number.

    preds, others : the inputs by name, for one loss or for one device.

    Raises
    ------
    TypeError : one is no array or Symbol of MXNet, or not all are the same of the two.
    """
    for name, pred in preds.items():
        one_array(name, pred)
    first_name, first = next(iter(preds.items()))
    for name, array in {**preds, **others}.items():
        if not isinstance(array, (mx.nd.NDArray, mx.sym.Symbol)):
            raise TypeError(f'{name} must be an array of MXNet, for example mx.nd.array({name}); '
                            f'got {described(array)}')
        if isinstance(array, mx.sym.Symbol) != isinstance(first, mx.sym.Symbol):
            raise TypeError(f'{first_name} and {name} must both be arrays or both Symbols; got '
                            f'{described(first)} and {described(array)}')
    return [numbers(array) for array in others.values()]


def one_array(name: str, pred: Any, instead: str = ALL_OUTPUTS) -> None:
    """Refuse a list or tuple where a prediction belongs: some networks have several outputs.

    Raises
    ------
    TypeError
    """
    if isinstance(pred, (list, tuple)):
        raise TypeError(f'{name} must be one array, for example outputs[0]; {instead}; got '
                        f'{described(pred)}')


def counted(given: Dict[str, Any]) -> None:
    """Refuse what a metric cannot count, which takes arrays of NumPy, too.

    Raises
    ------
    TypeError
    """
    for name, array in given.items():
        one_array(name, array, 'a metric takes one output of a network')
        if not hasattr(array, 'dtype'):
            raise TypeError(f'{name} must be an array, for example of mx.nd or NumPy; got '
                            f'{described(array)}')


def not_outputs(pred: mx.nd.NDArray, label: mx.nd.NDArray, pixel_weight: Optional[mx.nd.NDArray],
                axis: int) -> None:
    """Refuse (pred, aux, label), which is how all of a network's outputs are given to a criterion;
    of a loss that takes index labels.

    Raises
    ------
    ValueError
    """
    one_channel = pred.shape[axis:][:1] == (1,)
    if pixel_weight is not None and label.shape == pred.shape and not one_channel:
        raise ValueError(f'a loss takes pred, label and pixel_weight; {ALL_OUTPUTS}; got the '
                         f'shapes {pred.shape}, {label.shape} and {pixel_weight.shape}')


def described(given: Any) -> str:
    """What something is, without its values."""
    if given is None:
        return 'None'
    name, module = type(given).__name__, type(given).__module__.split('.')[0]
    if isinstance(given, (list, tuple)):
        return f'{name} of length {len(given)}'
    shape = getattr(given, 'shape', None)
    return ((name if module in ('builtins', 'mxnet') else f'{module}.{name}')
            + (f' of shape {tuple(shape)}' if shape is not None else ''))
