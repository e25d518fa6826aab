"""A loss over the workers of a dist_sync KVStore."""
import zlib
from typing import Any, Optional

import mxnet as mx
import numpy as np
from mxnet import gluon

from soft_dice.plan import Plan, resolve

from .. import compat
from ..base import StagedLoss
from ..compat import takes_np
from ..stage_two import HUGE, number_of_sums
from .devices import DataParallelLoss, staged
from .shares import dtype_of, nothing, shares_of
from .trainer import refuse_other, share_now
from .workers import Connection, checked_timeout

HEADER = 1  # the number of samples travels before the sums
WAITING = "for the other workers' counts"


class DistributedLoss(gluon.Block):
    """A loss of a batch that is shared out over the workers of a dist_sync KVStore: with a Trainer
    over the same KVStore, value and gradients are those of the whole batch on one device.

    Every worker must make it, and call it equally often; ``loss(None, None)`` where it has no
    samples.  The head gradient must be the same for all samples, as that of ``loss.backward()`` is:
    the gradient of sums over the batch is multiplied by (all samples) / (the worker's), so that the
    sum over workers that Trainer makes is right for ``trainer.step(loss.total_samples)``.

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
        differ.  The servers do not add up.  MXNet is older than 1.5.

    With ``batch_dice`` or ``ce_batch`` the sums over pixels of each worker's share travel, 3 C + 1
    numbers, with a cross-entropy 3 C + 3; else 1, as no sample needs another.  A number is 12
    bytes, as the servers add up in float32: so every sum arrives to the last bit, and the workers'
    losses differ by no more than rounding in float64.

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
        if compat.RELEASE < (1, 5):
            raise RuntimeError('DistributedLoss needs MXNet 1.5 or newer, as older ones add up in '
                               f'other ways; this is {mx.__version__}')
        self.timeout = checked_timeout(timeout)
        with self.name_scope():
            self.local = DataParallelLoss(staged(loss))
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
        plan = self._plan
        return number_of_sums(plan) if plan.dice.batch_dice or plan.ce_batch else 0

    @property
    def _plan(self) -> Plan:
        return resolve(self.local.options, self._num_classes)

    @takes_np
    def forward(self, preds: Any, labels: Any, pixel_weights: Any = None) -> Any:
        if not isinstance(preds, (list, tuple)):
            preds, labels = [preds], [labels]
            pixel_weights = None if pixel_weights is None else [pixel_weights]
        shares = shares_of(preds, labels, pixel_weights)
        classes = self.local.classes(shares) if shares else 0
        self._agree(classes)
        if not shares:
            self._exchange(None)
            return nothing()
        dtype = dtype_of(shares)
        sums = self.local.sums(shares)
        others = self._exchange(sums)
        samples = len(sums)
        if self._width:
            row = mx.nd.array(others[None], dtype='float64', ctx=sums.context)
            sums = mx.nd.concat(self._scaled(sums), row, dim=0)
        return self.local.stage_two(sums, self._plan)[:samples].astype(dtype)

    def _scaled(self, sums: mx.nd.NDArray) -> mx.nd.NDArray:
        """The sums, with larger gradients of those that are added up over the batch."""
        plan = self._plan
        factor = self.total_samples / len(sums)
        factors = [factor if plan.dice.batch_dice else 1.0] * (3 * plan.num_classes)
        if plan.ce is not None:
            factors += [factor if plan.ce_batch else 1.0] * 2
        finite = mx.nd.minimum(sums, HUGE)  # an infinite sum minus itself would be a NaN
        constant = finite.detach()
        row = mx.nd.array([factors], dtype='float64', ctx=sums.context)
        return constant + mx.nd.broadcast_mul(row, finite - constant)

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
            refuse_other(trainer, self._connection.kvstore)
            share_now(trainer)
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
