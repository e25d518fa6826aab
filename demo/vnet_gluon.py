"""A small V-Net in Gluon.

It is the network of prototxt_examples/vnet_3d/train.prototxt, layer by layer: with the weights of
one copied into the other (demo/vnet_caffe.py), both give the same scores, loss and gradients.

From Milletari, Navab, Ahmadi: V-Net, 3DV 2016, are the residual stages, the strided convolutions
that take the place of pooling, and the squared denominator of the loss. In small: 8, 16 and 32
channels, 3 x 3 x 3 filters, one convolution in each stage, skips added instead of concatenated.
Newer than the paper are batch normalisation and, where it has PReLU, ReLU: MXNet 1.9.1 without
oneDNN gets the gradient of a hybridized PReLU's slopes wrong.
"""
from typing import Any, Sequence

import mxnet as mx
from mxnet import gluon
from mxnet.gluon import nn

from . import blocks, brain, gluon_training
from .training import VNET, Forward, Outcome
from .vnet_prototxt import MOVING_AVERAGE, WIDTHS


class VNet(gluon.HybridBlock):
    """Scores (N, classes, D, H, W) of volumes (N, 1, D, H, W), each side divisible by 4.

    Parameters are named after the layers of train.prototxt: left1_weight, left1_norm_gamma, ...
    """

    def __init__(self, classes: int = len(brain.CLASSES), widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        with self.name_scope():
            for name in ('left', 'down', 'up', 'right'):
                setattr(self, name, nn.HybridSequential(prefix=''))
            for level, channels in enumerate(widths, start=1):
                self.left.add(_filters(f'left{level}_', channels, channels if level > 1 else 1))
                if level < len(widths):
                    below = widths[level]
                    self.down.add(_filters(f'down{level}_', below, channels, size=2))
                    self.up.add(_filters(f'up{level}_', channels, below, size=2, up=True))
                    self.right.add(_filters(f'right{level}_', channels, channels))
            self.score = nn.Conv3D(classes, 1, in_channels=widths[0], prefix='score_')
            self.width = widths[0]

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        skips = []
        x = F.relu(self.left[0](x) + F.tile(x, (1, self.width, 1, 1, 1)))
        for down, left in zip(self.down, self.left[1:]):
            skips.append(x)
            x = F.relu(down(x))
            x = F.relu(left(x) + x)
        for up, right, skip in reversed(list(zip(self.up, self.right, skips))):
            x = skip + F.relu(up(x))
            x = F.relu(right(x) + x)
        return self.score(x)


def _filters(prefix: str, channels: int, channels_in: int, size: int = 3, up: bool = False
             ) -> nn.HybridSequential:
    """Size 3 keeps a volume's size, size 2 halves it, or doubles it where ``up``."""
    kind = nn.Conv3DTranspose if up else nn.Conv3D
    steps = dict(strides=2) if size == 2 else dict(padding=1)
    block = nn.HybridSequential(prefix='')
    block.add(kind(channels, size, in_channels=channels_in, use_bias=False, prefix=prefix, **steps),
              VolumeNorm(in_channels=channels, momentum=MOVING_AVERAGE, prefix=f'{prefix}norm_'))
    return block


class VolumeNorm(nn.BatchNorm):
    """BatchNorm of (N, C, D, H, W), seen as (N, C, D, H W).

    Given five axes, the backward of MXNet 1.9.1 with oneDNN ends in "Check failed: !is_view"
    (https://github.com/apache/mxnet/issues/20858).
    """

    def hybrid_forward(self, F: Any, x: Any, **parameters: Any) -> Any:
        flat = super().hybrid_forward(F, F.reshape(x, (0, 0, 0, -1)), **parameters)
        return F.reshape_like(flat, x)


def initialized(seed: int) -> VNet:
    """A V-Net with random weights, the same for the same seed."""
    net = VNet()
    gluon_training.initialize(net, seed)
    return net


def train(seed: int, steps: int) -> Outcome:
    """Train from scratch and predict the test region."""
    def decide(forward: Forward) -> Any:
        return blocks.classes(lambda image: _softmax(forward(image)), seed)

    return gluon_training.train(initialized(seed), blocks.load('train', seed), decide,
                                blocks.region('test', seed).label, VNET, seed, steps)


def _softmax(scores: Any) -> Any:
    return mx.nd.softmax(mx.nd.array(scores), axis=1).asnumpy()
