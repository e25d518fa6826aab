"""What a worker of tests/test_distributed.py runs: python distributed_worker.py TASK [argument]."""
import os
import signal
import sys
import time

import mxnet as mx
import numpy as np
from backends import family
from cases import GENERALISED
from mxnet import autograd, gluon
from tolerances import TOLERANCE

from gluon_dice.parallel import DistributedLoss, connect, zero_gradients
from soft_dice import DiceCEOptions, DiceOptions
from soft_dice.gradcheck import relative_error

OPTIONS = [DiceOptions(batch_dice=True), DiceOptions(batch_dice=True, **GENERALISED),
           DiceCEOptions(batch_dice=True), DiceCEOptions(include_background=False)]
RNG = np.random.RandomState(0)
IMAGE = RNG.standard_normal((8, 3, 7, 6))
LABEL = np.repeat(np.arange(8), 42).reshape(8, 7, 6) // 2  # every share has other classes
RATE = 0.5


def network():
    mx.random.seed(3)
    np.random.seed(3)
    net = gluon.nn.HybridSequential(prefix='net_')
    with net.name_scope():
        net.add(gluon.nn.Conv2D(5, 3, padding=1, in_channels=3, activation='relu'),
                gluon.nn.Conv2D(4, 1, in_channels=5))
    net.initialize(mx.init.Xavier())
    net.cast('float64')
    net.hybridize(static_alloc=True, static_shape=True)
    return net


def share(sizes, rank):
    """Image and label of this worker; None where there are none."""
    begin, size = sum(sizes[:rank]), sizes[rank]
    if not size:
        return None, None
    return (mx.nd.array(array[begin:begin + size], dtype='float64') for array in (IMAGE, LABEL))


def run(net, loss, image, label):
    """Loss and gradients of these samples; without samples what the documentation says."""
    with autograd.record():
        value = loss(None, None) if image is None else loss(net(image), label)
    value.backward()
    if image is None:
        zero_gradients(net.collect_params())
    return value.asnumpy()


def gradients(net):
    return [param.grad().copy().asnumpy() for param in net.collect_params().values()]


def weights(net):
    return [param.data().copy().asnumpy() for param in net.collect_params().values()]


def check(net, start, options, loss, trainer, sizes, rank):
    """One step of all workers is one of a single device with the whole batch.

    All is float64, but MXNet's servers add up gradients in float32.
    """
    for param, value in zip(net.collect_params().values(), start):
        param.set_data(mx.nd.array(value, dtype='float64'))
    whole = run(net, family(options).block(options), *share((8,), 0))
    of_whole = gradients(net)
    value = run(net, loss, *share(sizes, rank))
    alone = gradients(net)
    assert loss.total_samples == 8
    begin = sum(sizes[:rank])
    expected = whole[begin:begin + sizes[rank]] if sizes[rank] else np.zeros(1)
    assert relative_error(value, expected) <= TOLERANCE['value, float64']
    loss.step(trainer)
    after = [w - RATE / 8 * g for w, g in zip(start, of_whole)]
    for mine, own, a, b, w in zip(gradients(net), alone, of_whole, weights(net), after):
        assert relative_error(mine, a) <= TOLERANCE['sum in float32, all but its last bit']
        assert relative_error(b, w) <= TOLERANCE['sum in float32, all but its last bit']
        assert relative_error(own, a) > 0.01 or sizes[rank] == 8


def equal(splits):
    """Splits such as 4,4:7,1 ."""
    kvstore = connect(30)
    net = network()
    trainer = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': RATE}, kvstore=kvstore,
                            update_on_kvstore=False)
    start = weights(net)
    for options in OPTIONS:
        loss = DistributedLoss(family(options).block(options), kvstore, timeout=30)
        loss.hybridize(static_alloc=True, static_shape=True)
        for sizes in splits.split(':'):
            for setting in '01':
                os.environ['SOFT_DICE_NATIVE'] = setting
                check(net, start, options, loss, trainer, [*map(int, sizes.split(','))],
                      kvstore.rank)
        print(f'equal {kvstore.rank} {loss.bytes_per_call}', flush=True)
    return kvstore, net, trainer


def main(task, *arguments):
    TASKS[task](*arguments)
    print(f'done {task}', flush=True)


TASKS = {'equal': equal}

if __name__ == '__main__':
    main(*sys.argv[1:])
