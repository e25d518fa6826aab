"""The shares of a batch: one for each device, of which some may have no samples."""
from typing import Any, List, NamedTuple, Optional, Sequence

import mxnet as mx
import numpy as np
from mxnet import gluon

from .. import door
from ..base import arithmetic
from ..compat import np_is_set

Arrays = Sequence[Optional[mx.nd.NDArray]]


class Share(NamedTuple):
    """The samples of one device."""

    pred: mx.nd.NDArray
    label: mx.nd.NDArray
    pixel_weight: Optional[mx.nd.NDArray] = None


def shares_of(preds: Any, labels: Any, pixel_weights: Any, check: bool = True) -> List[Share]:
    """The shares that have samples.

    check : False where ``preds`` holds something other than an array for each device.
    """
    given = {'preds': preds, 'labels': labels, 'pixel_weights': pixel_weights}
    lists = {name: [] if each is None and name == 'pixel_weights' else _list(name, each)
             for name, each in given.items()}
    number = max(map(len, lists.values()))
    for each in lists.values():
        each += [None] * (number - len(each))
    shares = []
    for index, share in enumerate(Share(*each) for each in zip(*lists.values())):
        missing = [name for name, each in zip(lists, share) if each is None]
        if pixel_weights is None:
            missing.remove('pixel_weights')
        if not missing:
            shares.append(_checked(share, index) if check else share)
        elif len(missing) < 2 + (pixel_weights is not None):
            raise ValueError('every device must have its preds, labels and, if given, '
                             'pixel_weights, or None of each where it has no samples; '
                             f'{missing[0]}[{index}] is missing')
    return shares


def _checked(share: Share, index: int) -> Share:
    """A share as the door lets it in."""
    others = {'labels': share.label, 'pixel_weights': share.pixel_weight}
    if share.pixel_weight is None:
        del others['pixel_weights']
    return Share(share.pred, *door.checked(
        {f'preds[{index}]': share.pred},
        {f'{name}[{index}]': each for name, each in others.items()}))


def _list(name: str, arrays: Any) -> List[Optional[mx.nd.NDArray]]:
    if not isinstance(arrays, (list, tuple)):
        raise TypeError(f'{name} must be a list of one array per device, for example '
                        f'gluon.utils.split_and_load(batch, devices); got {type(arrays).__name__}')
    return [*arrays]


def dtype_of(shares: List[Share]) -> str:
    return arithmetic(same('dtype', [np.dtype(share.pred.dtype).name for share in shares]))


def same(what: str, values: List[Any]) -> Any:
    if len(set(values)) > 1:
        raise ValueError(f'all preds must have the same {what}; got '
                         f'{", ".join(map(str, values))}')
    return values[0]


def nothing() -> mx.nd.NDArray:
    """A zero without a gradient that ``backward()`` can be called on."""
    zero = mx.nd.zeros((1,))
    zero.attach_grad()
    nothing = zero * 1
    return nothing.as_np_ndarray() if np_is_set() else nothing


def zero_gradients(params: gluon.ParameterDict, device: Optional[mx.Context] = None) -> None:
    """Gradients of zero, instead of those of ``backward()`` where there were no samples.

    Trainer adds up the gradients of all devices and workers, also of those that had no samples,
    whose gradients would still be those of the step before.

    Parameters
    ----------
    params : of the network, ``net.collect_params()``.
    device : the one without samples; None (default) is all.  Gradients that are added up
        (``grad_req='add'``) stay as they are.
    """
    for param in params.values():
        if param.grad_req == 'null':
            continue
        for data, grad in zip(param.list_data(), param.list_grad()):
            if device is None or data.context == device:
                if param.grad_req == 'write':
                    grad[:] = 0
                data._fresh_grad = True  # as backward() says it to Trainer
