"""The losses over several devices of one process, and over the workers of a dist_sync KVStore.

A Dice over the batch is not the mean of its shares' Dice.  Each device or worker does stage 1 of
its share; the sums over pixels, a few numbers per sample and class, are brought together; stage 2
is that of the whole batch.
"""
import zlib
from typing import Any, List, NamedTuple, Optional, Sequence

import mxnet as mx
import numpy as np
from mxnet import gluon

from soft_dice.options import Options
from soft_dice.plan import Plan, resolve

from .base import StagedLoss, arithmetic
from .stage_two import joined, loss_of, number_of_sums, parted
from .workers import Connection, bounded, checked_timeout, connect, scheduler_state

__all__ = ['DataParallelLoss', 'DistributedLoss', 'connect', 'share_weights', 'zero_gradients']

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

    Hybridized, stages 1 and 2 are a graph each.  Between the devices travel 3 C float64 per sample,
    with a cross-entropy 3 C + 2, and back as many of the gradient.

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
            self.stage_one = _StageOne(loss)
            self.stage_two = _StageTwo(loss)

    def forward(self, preds: Arrays, labels: Arrays, pixel_weights: Optional[Arrays] = None) -> Any:
        shares = _shares(preds, labels, pixel_weights)
        if not shares:
            raise ValueError('preds must hold the samples of at least one device; got none')
        plan, dtype = resolve(self.options, self._classes(shares)), _dtype(shares)
        return self.stage_two(self._sums(shares), plan).astype(dtype)

    def _sums(self, shares: List['_Share']) -> mx.nd.NDArray:
        """Stage 1 of every share, (N, M) on the first one's device."""
        sums = [self.stage_one(*(each for each in share if each is not None)) for share in shares]
        first = sums[0].context
        return mx.nd.concat(*(each.as_in_context(first) for each in sums), dim=0)

    def _classes(self, shares: List['_Share']) -> int:
        return _same('number of classes', [share.pred.shape[self.options.dice.axis]
                                           for share in shares])


class _StageOne(StagedLoss):
    """Stage 1 of a loss: it gives all sums side by side, (N, M) float64."""

    KIND = Options

    def __init__(self, loss: StagedLoss) -> None:
        super().__init__(loss.options, batch_axis=loss._batch_axis, num_classes=loss._num_classes)

    def _evaluate(self, F: Any, *inputs: Any) -> Any:
        assert self._stage_one is not None
        return joined(F, self._stage_one(F, *inputs))


class _StageTwo(gluon.HybridBlock):
    """Stage 2 of a loss, of all sums side by side, in float64."""

    def __init__(self, loss: StagedLoss) -> None:
        super().__init__()
        self._options, self._weight = loss.options, loss._weight
        self._plan: Optional[Plan] = None

    def forward(self, sums: Any, plan: Plan) -> Any:
        if plan != self._plan:
            self._clear_cached_op()
        self._plan = plan
        return super().forward(sums)

    def hybrid_forward(self, F: Any, sums: Any) -> Any:
        assert self._plan is not None
        loss = loss_of(F, parted(F, sums, self._plan), self._plan)
        return loss if self._weight is None else loss * self._weight


class _Share(NamedTuple):
    """The samples of one device."""

    pred: mx.nd.NDArray
    label: mx.nd.NDArray
    pixel_weight: Optional[mx.nd.NDArray]


class DistributedLoss(gluon.Block):
    """A loss of a batch that is shared out over the workers of a dist_sync KVStore: with a Trainer
    over the same KVStore, value and gradients are those of the whole batch on one device.

    Every worker must make it, and call it equally often; ``loss(None, None)`` where it has no
    samples.  The head gradient must be the same for all samples, as that of ``loss.backward()`` is:
    with ``batch_dice`` every worker's gradient is multiplied by (all samples) / (its own), so that
    the sum over workers that Trainer makes is right for ``trainer.step(loss.total_samples)``.

    Parameters
    ----------
    loss : SoftDiceLoss or DiceCELoss, of any options; the same on every worker.
    kvstore : of kind 'dist_sync', as from :func:`connect`.  Its servers must add up what is pushed,
        so Trainer must be made with ``update_on_kvstore=False``.
    timeout : seconds to wait for the other workers, in each call.

    Inputs
    ------
    As of the loss, or lists of them as of :class:`DataParallelLoss`, for this worker's samples.

    Outputs
    -------
    What the loss gives for these samples in the whole batch, (n,).  Without samples (1,), a zero,
    whose ``backward()`` does nothing; see :func:`zero_gradients`.

    Attributes
    ----------
    total_samples : of all workers in the last call, N.
    bytes_per_call : that a worker sends in each call, and gets back as many; 0 before the first.

    Raises
    ------
    TypeError : ``loss`` is another one.
    ValueError : another kind of KVStore, another number of classes than before, a timeout that is
        none; what the loss raises.
    RuntimeError : a worker has not called within ``timeout``: the message says which, as far as can
        be found out, and the process has to end (it does so with status 1).  The workers' losses
        differ.  The servers do not add up.

    With ``batch_dice`` the sums over pixels of each worker's share travel, 3 C + 1 numbers, with a
    cross-entropy 3 C + 3; else 1, as no sample needs another.  A number is 12 bytes, as the servers
    add up in float32: so every sum arrives to the last bit, and the workers' losses differ by no
    more than rounding in float64.

    Examples
    --------
    In a script that ``python -m gluon_dice.launch`` starts::

        kvstore = connect(timeout=60)
        loss = DistributedLoss(SoftDiceLoss(batch_dice=True), kvstore)
        trainer = gluon.Trainer(net.collect_params(), 'adam', kvstore=kvstore,
                                update_on_kvstore=False)
        with autograd.record():
            value = loss(net(image), label)
        value.backward()
        loss.step(trainer)
    """

    def __init__(self, loss: StagedLoss, kvstore: Any, timeout: float = 60.0, **block: Any) -> None:
        super().__init__(**block)
        self.timeout = checked_timeout(timeout)
        with self.name_scope():
            self.local = DataParallelLoss(loss)
        self._formula = repr(loss)
        self._connection = Connection.of(kvstore, self.timeout)
        self._agreement = self._connection.new_key(2, self.timeout)
        self._key: Optional[int] = None
        self._num_classes = 0
        self.total_samples = 0

    @property
    def bytes_per_call(self) -> int:
        return self._connection.bytes_of(HEADER + self._width) if self._num_classes else 0

    @property
    def _width(self) -> int:
        """How many sums travel."""
        if not self.local.options.dice.batch_dice:
            return 0
        return number_of_sums(self._plan)

    @property
    def _plan(self) -> Plan:
        return resolve(self.local.options, self._num_classes)

    def forward(self, preds: Any, labels: Any, pixel_weights: Any = None) -> Any:
        if not isinstance(preds, (list, tuple)):
            preds, labels = [preds], [labels]
            pixel_weights = None if pixel_weights is None else [pixel_weights]
        shares = _shares(preds, labels, pixel_weights)
        classes = self.local._classes(shares) if shares else 0
        self._agree(classes)
        if not shares:
            self._exchange(None)
            return _nothing()
        dtype = _dtype(shares)
        sums = self.local._sums(shares)
        others = self._exchange(sums)
        if not self.local.options.dice.batch_dice:
            return self.local.stage_two(sums, self._plan).astype(dtype)
        samples = len(sums)
        row = mx.nd.array(others[None], dtype='float64', ctx=sums.context)
        loss = self.local.stage_two(mx.nd.concat(sums, row, dim=0), self._plan)[:samples]
        scaled = loss * (self.total_samples / samples)
        return (scaled + mx.nd.BlockGrad(loss - scaled)).astype(dtype)

    def step(self, trainer: gluon.Trainer, batch_size: Optional[int] = None,
             timeout: Optional[float] = None) -> None:
        """``trainer.step`` for all samples of the last call, waited for no longer than the loss is.

        ``trainer.step(loss.total_samples)`` is the same but waits forever for a worker that dies in
        the middle of it, and needs :func:`share_weights` before it.

        Raises
        ------
        ValueError : no call before, without ``batch_size``; a Trainer that adds up no gradients.
        RuntimeError : as the loss.
        """
        samples = self.total_samples if batch_size is None else batch_size
        if not samples:
            raise ValueError('step must come after a call of the loss, which says how many samples '
                             'there are, or be given a batch_size, for example 8; '
                             f'got {samples} samples')

        def step() -> None:
            _refuse_other(trainer, self._connection.kvstore)
            _share_weights(trainer)
            trainer.step(samples)
            mx.nd.waitall()

        self._connection.wait(step, self.timeout if timeout is None else timeout,
                              "for the other workers' gradients")

    def _agree(self, classes: int) -> None:
        """Make sure, at the first call, that all workers compute the same."""
        if classes and self._num_classes and classes != self._num_classes:
            raise ValueError('preds must keep the number of classes of the first call, '
                             f'{self._num_classes}; got {classes}')
        if self._key is not None:
            return
        own = np.array([classes, zlib.crc32(self._formula.encode())], dtype='float64')
        found = self._connection.gather(self._agreement, lambda: own, self.timeout, WAITING)
        other = np.flatnonzero(found[:, 1] != own[1])
        if other.size:
            raise RuntimeError('the losses of all workers must be the same; here it is '
                               f'{self._formula}, and on worker {other[0]} another')
        known = sorted({int(number) for number in found[:, 0] if number})
        if len(known) != 1:
            raise ValueError('the predictions of all workers must have the same number of classes, '
                             f'and those of one be there in the first call; got {known}')
        self._num_classes = known[0]
        self._key = self._connection.new_key(HEADER + self._width, self.timeout)

    def _exchange(self, sums: Optional[mx.nd.NDArray]) -> np.ndarray:
        """The sums over all samples of the other workers."""
        def numbers() -> np.ndarray:
            if sums is None:
                return np.zeros(HEADER + self._width)
            each = sums.detach().asnumpy()
            return np.concatenate([[len(each)], each[:, :self._width].sum(axis=0)])

        assert self._key is not None
        found = self._connection.gather(self._key, numbers, self.timeout, WAITING)
        self.total_samples = int(found[:, 0].sum())
        return np.delete(found, self._connection.rank, axis=0).sum(axis=0)[HEADER:]


HEADER = 1  # number of samples
WAITING = "for the other workers' counts"


def share_weights(trainer: gluon.Trainer, timeout: float = 60.0) -> None:
    """Give every worker the weights of worker 0, as Trainer's first step would, and wait for them.

    In MXNet 1.9.1 the gradients of that step may overtake the weights: a worker then has the
    gradient of its last parameter where the weights should be, now and then and in silence.
    :meth:`DistributedLoss.step` calls this; who calls ``trainer.step`` must do so once before it.

    Parameters
    ----------
    trainer : over a KVStore; the parameters' shapes must be known.
    timeout : seconds to wait for the other workers.

    Raises
    ------
    RuntimeError : not all workers have called this in time.  The process has to end then.
    """
    timeout = checked_timeout(timeout)
    bounded(lambda: _share_weights(trainer), timeout, lambda: (
        f"a worker has waited {timeout:g} s for worker 0's weights; {scheduler_state()}"))


def _share_weights(trainer: gluon.Trainer) -> None:
    if not trainer._kv_initialized:
        trainer._init_kvstore()
    if trainer._params_to_init:
        trainer._init_params()
        mx.nd.waitall()


def _refuse_other(trainer: gluon.Trainer, kvstore: Any) -> None:
    """A Trainer that would not add up the workers' gradients."""
    if not trainer._kv_initialized:
        trainer._init_kvstore()
    if trainer._kvstore is not kvstore or trainer._update_on_kvstore:
        raise ValueError("trainer must be made over the loss's KVStore, for example gluon.Trainer("
                         "params, 'adam', kvstore=kvstore, update_on_kvstore=False); got "
                         f'kvstore={getattr(trainer._kvstore, "type", None)!r}, '
                         f'update_on_kvstore={bool(trainer._update_on_kvstore)}')


def _nothing() -> mx.nd.NDArray:
    """A zero without a gradient that ``backward()`` can be called on."""
    zero = mx.nd.zeros((1,))
    zero.attach_grad()
    return zero * 1


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
