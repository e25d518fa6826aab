"""The U-Net in Gluon, hybridized, trained with SoftDiceLoss.

It is the network of prototxt_examples/brain_unet/train_val.prototxt, layer by layer, with the same
batches, loss, Adam and schedule. The weights start from the same distribution, but not from the
same numbers: each framework draws its own.
"""
from typing import Any, Callable

from mxnet import gluon
from mxnet.gluon import nn

from . import brain, gluon_training
from .training import UNET, Outcome


class UNet(gluon.HybridBlock):
    """Scores (N, classes, H, W) of images (N, 1, H, W); H and W divisible by 2^levels.

    normalization : makes the layer after each convolution but the last.
    """

    def __init__(self, classes: int = len(brain.CLASSES), width: int = 8, levels: int = 2,
                 normalization: Callable[[], gluon.HybridBlock] = nn.BatchNorm) -> None:
        super().__init__()
        widths = [width * 2 ** level for level in range(levels)]
        with self.name_scope():
            self.down = nn.HybridSequential()
            self.twice = nn.HybridSequential()
            self.up = nn.HybridSequential()
            for channels in widths:
                self.down.add(_two_convolutions(channels, normalization))
                self.twice.add(nn.Conv2DTranspose(channels, kernel_size=2, strides=2))
                self.up.add(_two_convolutions(channels, normalization))
            self.bottom = _two_convolutions(width * 2 ** levels, normalization)
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


def _two_convolutions(channels: int, normalization: Callable[[], gluon.HybridBlock]
                      ) -> nn.HybridSequential:
    block = nn.HybridSequential()
    for _ in range(2):
        # The normalisation subtracts the mean, and a bias with it.
        block.add(nn.Conv2D(channels, kernel_size=3, padding=1, use_bias=False),
                  normalization(), nn.Activation('relu'))
    return block


def train(seed: int, steps: int) -> Outcome:
    """Train from scratch and predict the test slices."""
    test = brain.load('test', seed)
    net = UNet()
    gluon_training.initialize(net, seed)
    return gluon_training.train(
        net, brain.load('train', seed), lambda forward: forward(test.image).argmax(axis=1)[:, None],
        test.label, UNET, seed, steps)
