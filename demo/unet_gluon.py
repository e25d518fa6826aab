"""The U-Net in Gluon, hybridized, trained with SoftDiceLoss.

It is the network of prototxt_examples/brain_unet/train_val.prototxt, layer by layer, with the same
batches, loss, Adam and schedule. The weights start from the same distribution, but not from the
same numbers: each framework draws its own.
"""
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon
from mxnet.gluon import nn

from gluon_dice import SoftDiceLoss

from . import brain
from .training import BATCH_SIZE, LEARNING_RATE, LOSS, Outcome, learning_rate, run


class UNet(gluon.HybridBlock):
    """Scores (N, classes, H, W) of images (N, 1, H, W); H and W divisible by 2^levels."""

    def __init__(self, classes: int = len(brain.CLASSES), width: int = 8, levels: int = 2) -> None:
        super().__init__()
        widths = [width * 2 ** level for level in range(levels)]
        with self.name_scope():
            self.down = nn.HybridSequential()
            self.twice = nn.HybridSequential()
            self.up = nn.HybridSequential()
            for channels in widths:
                self.down.add(_two_convolutions(channels))
                self.twice.add(nn.Conv2DTranspose(channels, kernel_size=2, strides=2))
                self.up.add(_two_convolutions(channels))
            self.bottom = _two_convolutions(width * 2 ** levels)
            self.pool = nn.MaxPool2D(pool_size=2)
            self.score = nn.Conv2D(classes, kernel_size=1)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        skips = []
        for down in self.down:
            skips.append(down(x))
            x = self.pool(skips[-1])
        x = self.bottom(x)
        for twice, up, skip in reversed(list(zip(self.twice, self.up, skips))):
            x = up(F.concat(skip, twice(x), dim=1))
        return self.score(x)


def _two_convolutions(channels: int) -> nn.HybridSequential:
    block = nn.HybridSequential()
    for _ in range(2):
        # The normalisation subtracts the mean, and a bias with it.
        block.add(nn.Conv2D(channels, kernel_size=3, padding=1, use_bias=False),
                  nn.BatchNorm(), nn.Activation('relu'))
    return block


def train(train_slices: brain.Slices, test_slices: brain.Slices, seed: int, steps: int) -> Outcome:
    """Train from scratch and predict the test slices."""
    mx.random.seed(seed)
    net = UNet()
    net.initialize(mx.init.Xavier('gaussian', factor_type='in', magnitude=2))  # Caffe's "msra"
    loss = SoftDiceLoss(LOSS)
    for block in (net, loss):
        block.hybridize(static_alloc=True, static_shape=True)
    trainer = gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': LEARNING_RATE})
    batches = brain.batches('train', BATCH_SIZE, seed)
    test_image = mx.nd.array(test_slices.image)

    def step() -> float:
        trainer.set_learning_rate(learning_rate(trainer.optimizer.num_update, steps))
        batch = next(batches)
        image = mx.nd.array(train_slices.image[batch])
        label = mx.nd.array(train_slices.label[batch])
        with autograd.record():
            each = loss(net(image), label)  # (N,)
        each.backward()
        trainer.step(len(batch))
        return float(each.mean().asscalar())

    def predict() -> np.ndarray:
        return net(test_image).asnumpy().argmax(axis=1)[:, None]

    return run('Gluon', step, predict, test_slices.label, steps)
