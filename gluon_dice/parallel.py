"""The losses over several devices of one process, and over the workers of a dist_sync KVStore.

A Dice over the batch is not the mean of its shares' Dice.  Each device does stage 1 of its share;
the sums over pixels, a few numbers per sample and class, are brought together; stage 2 is that of
the whole batch.
"""
from typing import Any, List, NamedTuple, Optional, Sequence

import mxnet as mx
import numpy as np
from mxnet import gluon

from .base import StagedLoss, arithmetic

Arrays = Sequence[Optional[mx.nd.NDArray]]


class DataParallelLoss(gluon.Block):
    """A loss of a batch that is shared out over the devices of one process: value and gradients are
    those of the whole batch on one device, whatever the shares.

    Parameters
    ----------
    loss : SoftDiceLoss or DiceCELoss, of any options.

    Inputs
    ------
    preds, labels, pixel_weights : lists of the loss's inputs, one per device, such as
        ``gluon.utils.split_and_load`` makes them.  None, or leaving out the last ones, is a share
        without samples; see :func:`zero_gradients`.

    Outputs
    -------
    What the loss gives for the whole batch, (N,), in the order of the shares, on the device of the
    first that has samples.  One ``backward()`` gives every device its gradient.

    Raises
    ------
    TypeError : ``loss`` is another one, or inputs are no lists.
    ValueError : lists that do not match, no samples at all, predictions whose classes or dtypes
        differ; what the loss raises.

    Hybridized, stages 1 and 2 are a graph each.  Between the devices travel (3 C + 1) float64 per
    sample, with a cross-entropy (3 C + 3), and back as many of the gradient.

    Examples
    --------
    >>> from gluon_dice import SoftDiceLoss
    >>> loss = DataParallelLoss(SoftDiceLoss(batch_dice=True))
    >>> loss.hybridize()
    >>> devices = [mx.cpu(0), mx.cpu(1)]
    >>> preds = [mx.nd.zeros((n, 3, 4, 4), ctx) for n, ctx in zip((3, 1), devices)]
    >>> loss(preds, [mx.nd.zeros((n, 4, 4), ctx) for n, ctx in zip((3, 1), devices)]).shape
    (4,)
    """

    def __init__(self, loss: StagedLoss, **block: Any) -> None:
        super().__init__(**block)
        if not isinstance(loss, StagedLoss):
            raise TypeError('loss must be a SoftDiceLoss or a DiceCELoss, for example '
                            f'SoftDiceLoss(batch_dice=True); got {type(loss).__name__}')
        self.options = loss.options
        with self.name_scope():
            self.stage_one = loss.stage_one()
            self.stage_two = _StageTwo(loss)

    def forward(self, preds: Arrays, labels: Arrays, pixel_weights: Optional[Arrays] = None) -> Any:
        shares = _shares(preds, labels, pixel_weights)
        if not shares:
            raise ValueError('preds must hold the samples of at least one device; got none')
        classes, dtype = self._classes(shares), _dtype(shares)
        return self.stage_two(self._sums(shares), classes).astype(dtype)

    def _sums(self, shares: List['_Share']) -> mx.nd.NDArray:
        """Stage 1 of every share, (N, M) on the first one's device."""
        sums = [self.stage_one(*(each for each in share if each is not None)) for share in shares]
        first = sums[0].context
        return mx.nd.concat(*(each.as_in_context(first) for each in sums), dim=0)

    def _classes(self, shares: List['_Share']) -> int:
        return _same('number of classes', [share.pred.shape[self.options.dice.axis]
                                           for share in shares])


class _StageTwo(gluon.HybridBlock):
    """Stage 2 of a loss, which is not to be a child: it would be hybridized along with this."""

    def __init__(self, loss: StagedLoss) -> None:
        super().__init__()
        self._stage_two = loss.stage_two
        self._num_classes = 0

    def forward(self, sums: Any, num_classes: int) -> Any:
        if num_classes != self._num_classes:
            self._clear_cached_op()
        self._num_classes = num_classes
        return super().forward(sums)

    def hybrid_forward(self, F: Any, sums: Any) -> Any:
        return self._stage_two(F, sums, self._num_classes)


class _Share(NamedTuple):
    """The samples of one device."""

    pred: mx.nd.NDArray
    label: mx.nd.NDArray
    pixel_weight: Optional[mx.nd.NDArray]


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


def _shares(preds: Any, labels: Any, pixel_weights: Any) -> List[_Share]:
    """The shares that have samples."""
    given = {'preds': preds, 'labels': labels, 'pixel_weights': pixel_weights}
    lists = {name: [] if each is None and name == 'pixel_weights' else _list(name, each)
             for name, each in given.items()}
    number = max(map(len, lists.values()))
    for each in lists.values():
        each += [None] * (number - len(each))
    shares = []
    for index, share in enumerate(_Share(*each) for each in zip(*lists.values())):
        missing = [name for name, each in zip(lists, share) if each is None]
        if pixel_weights is None:
            missing.remove('pixel_weights')
        if not missing:
            shares.append(share)
        elif len(missing) < 2 + (pixel_weights is not None):
            raise ValueError('every device must have its preds, labels and, if given, '
                             'pixel_weights, or None of each where it has no samples; '
                             f'{missing[0]}[{index}] is missing')
    return shares


def _list(name: str, arrays: Any) -> List[Optional[mx.nd.NDArray]]:
    if not isinstance(arrays, (list, tuple)):
        raise TypeError(f'{name} must be a list of one array per device, for example '
                        f'gluon.utils.split_and_load(batch, devices); got {type(arrays).__name__}')
    return [*arrays]


def _dtype(shares: List[_Share]) -> str:
    return arithmetic(_same('dtype', [np.dtype(share.pred.dtype).name for share in shares]))


def _same(what: str, values: List[Any]) -> Any:
    if len(set(values)) > 1:
        raise ValueError(f'all preds must have the same {what}; got '
                         f'{", ".join(map(str, values))}')
    return values[0]
