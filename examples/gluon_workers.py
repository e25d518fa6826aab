"""A Dice over the batch of all workers of MXNet's parameter server::

    python -m gluon_dice.launch --workers 2 -- python -m examples.gluon_workers
"""
import os

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon

from gluon_dice import SoftDiceLoss
from gluon_dice.parallel import DistributedLoss, connect

from .gluon_loop import network
from .shapes import images


def main(steps: int = 25, batch: int = 8) -> float:
    """Train on this worker's share of every batch; returns the last loss, that of all workers."""
    kvstore = connect(timeout=60)
    mx.random.seed(1)
    np.random.seed(1)
    net = network()
    net.initialize(mx.init.Xavier())
    net.hybridize()
    loss = DistributedLoss(SoftDiceLoss(batch_dice=True), kvstore, timeout=60)
    loss.hybridize()
    trainer = gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': 0.005},
                            kvstore=kvstore, update_on_kvstore=False)
    image, label = (mx.nd.array(each[kvstore.rank::kvstore.num_workers], dtype='float32')
                    for each in images(batch, seed=1))
    for _ in range(steps):
        with autograd.record():
            value = loss(net(image), label)
        value.backward()
        loss.step(trainer)
    last = float(value[0].asscalar())
    os.write(1, f'worker {kvstore.rank}  loss {last:.4f}\n'.encode())  # in one piece
    return last


if __name__ == '__main__':
    main()
