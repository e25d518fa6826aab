"""A batch to be shared out, and a network that it trains: tests of gluon_dice.parallel."""
import mxnet as mx
import numpy as np
from mxnet import gluon
from releases import STATIC

IMAGE = np.random.RandomState(0).standard_normal((8, 3, 7, 6))
LABEL = np.repeat(np.arange(8), 42).reshape(8, 7, 6) // 2  # every share has other classes


def network(devices=None, dtype='float32'):
    """The same weights whenever it is called."""
    mx.random.seed(3)
    np.random.seed(3)
    net = gluon.nn.HybridSequential(prefix='net_')
    with net.name_scope():
        net.add(gluon.nn.Conv2D(5, 3, padding=1, in_channels=3, activation='relu'),
                gluon.nn.Conv2D(4, 1, in_channels=5))
    net.initialize(mx.init.Xavier(), ctx=devices)
    net.cast(dtype)
    net.hybridize(**STATIC)
    return net
