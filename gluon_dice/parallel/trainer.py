"""The weights of all workers, which Trainer's first step would share too late."""
from typing import Any

import mxnet as mx
from mxnet import gluon

from .workers import bounded, checked_timeout, scheduler_state


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
    bounded(lambda: share_now(trainer), timeout, lambda: (
        f"a worker has waited {timeout:g} s for worker 0's weights; {scheduler_state()}"))


def share_now(trainer: gluon.Trainer) -> None:
    if not trainer._kv_initialized:
        trainer._init_kvstore()
    if trainer._params_to_init:
        trainer._init_params()
        mx.nd.waitall()


def refuse_other(trainer: gluon.Trainer, kvstore: Any) -> None:
    """A Trainer that would not add up the workers' gradients."""
    if not trainer._kv_initialized:
        trainer._init_kvstore()
    if trainer._kvstore is not kvstore or trainer._update_on_kvstore:
        raise ValueError("trainer must be made over the loss's KVStore, for example gluon.Trainer("
                         "params, 'adam', kvstore=kvstore, update_on_kvstore=False); got "
                         f'kvstore={getattr(trainer._kvstore, "type", None)!r}, '
                         f'update_on_kvstore={bool(trainer._update_on_kvstore)}')
