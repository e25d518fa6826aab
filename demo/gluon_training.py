"""Trains a network in Gluon, hybridized, with SoftDiceLoss."""
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon

from gluon_dice import SoftDiceLoss

from . import brain
from .training import Decide, Outcome, Schedule, learning_rate, run


def initialize(net: gluon.HybridBlock, seed: int) -> None:
    """Random weights of the distribution that Caffe calls "msra"."""
    mx.random.seed(seed)
    net.initialize(mx.init.Xavier('gaussian', factor_type='in', magnitude=2))


def train(net: gluon.HybridBlock, data: Any, decide: Decide, label: np.ndarray,
          schedule: Schedule, seed: int, steps: int) -> Outcome:
    """Train an initialized net on ``data``, Slices or Blocks."""
    loss = SoftDiceLoss(schedule.loss)
    for block in (net, loss):
        block.hybridize(static_alloc=True, static_shape=True)
    trainer = gluon.Trainer(net.collect_params(), 'adam',
                            {'learning_rate': schedule.learning_rate})
    batches = brain.batches(len(data.image), schedule.batch_size, seed, shuffle=True)

    def step() -> float:
        trainer.set_learning_rate(learning_rate(schedule, trainer.optimizer.num_update, steps))
        batch = next(batches)
        image, target = mx.nd.array(data.image[batch]), mx.nd.array(data.label[batch])
        with autograd.record():
            each = loss(net(image), target)  # (N,)
        each.backward()
        trainer.step(len(batch))
        return float(each.mean().asscalar())

    def forward(image: np.ndarray) -> np.ndarray:
        return net(mx.nd.array(image)).asnumpy()

    return run('Gluon', step, lambda: decide(forward), label, steps, schedule.test_every)
