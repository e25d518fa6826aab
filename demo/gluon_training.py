"""Trains a network in Gluon, hybridized, with SoftDiceLoss."""
from typing import Any, Callable

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon

from gluon_dice import SoftDiceLoss
from gluon_dice.parallel import DistributedLoss, share_weights

from . import brain
from .training import Decide, Outcome, Schedule, learning_rate, run


def initialize(net: gluon.HybridBlock, seed: int) -> None:
    """Random weights of the distribution that Caffe calls "msra"."""
    mx.random.seed(seed)
    net.initialize(mx.init.Xavier('gaussian', factor_type='in', magnitude=2))


def train(net: gluon.HybridBlock, data: Any, decide: Decide, label: np.ndarray,
          schedule: Schedule, seed: int, steps: int) -> Outcome:
    """Train an initialized net on ``data``, Slices or Blocks."""
    step = stepper(net, SoftDiceLoss(schedule.loss), data, schedule, seed, steps)

    def forward(image: np.ndarray) -> np.ndarray:
        return net(mx.nd.array(image)).asnumpy()

    return run('Gluon', step, lambda: decide(forward), label, steps, schedule.test_every)


def stepper(net: gluon.HybridBlock, loss: gluon.Block, data: Any, schedule: Schedule, seed: int,
            steps: int, kvstore: Any = None) -> Callable[[], float]:
    """What trains on the next batch and returns its loss.

    Parameters
    ----------
    loss : a SoftDiceLoss, or a DistributedLoss over ``kvstore``.
    kvstore : of kind 'dist_sync'; each of its workers then trains on its share of every batch.
        Without it (None) the batch is not shared out.
    """
    for block in (net, loss):
        block.hybridize(static_alloc=True, static_shape=True)
    rank, workers, where = 0, 1, {}
    if kvstore is not None:
        rank, workers = kvstore.rank, kvstore.num_workers
        where = dict(kvstore=kvstore, update_on_kvstore=False)
    trainer = gluon.Trainer(net.collect_params(), 'adam',
                            {'learning_rate': schedule.learning_rate}, **where)
    if kvstore is not None:
        share_weights(trainer)
    batches = brain.batches(len(data.image), schedule.batch_size, seed, shuffle=True)

    def step() -> float:
        trainer.set_learning_rate(learning_rate(schedule, trainer.optimizer.num_update, steps))
        batch = next(batches)
        share = batch[rank::workers]
        image, target = (mx.nd.array(each[share], dtype=each.dtype)
                         for each in (data.image, data.label))
        with autograd.record():
            each = loss(net(image), target)  # (n,)
        each.backward()
        if isinstance(loss, DistributedLoss):
            loss.step(trainer)
        else:
            trainer.step(len(batch))
        return float(each.mean().asscalar())

    return step
