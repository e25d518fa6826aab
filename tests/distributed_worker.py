"""What a worker of tests/test_distributed.py runs: python distributed_worker.py TASK [argument]."""
import os
import re
import signal
import sys
import time

import mxnet as mx
import numpy as np
from cases import GENERALISED
from families import family
from mxnet import autograd, gluon
from releases import STATIC
from shared_batch import IMAGE, LABEL, network
from tolerances import TOLERANCE

from gluon_dice import SoftDiceLoss, native
from gluon_dice.parallel import DistributedLoss, connect, share_weights, zero_gradients
from soft_dice import DiceCEOptions, DiceOptions
from soft_dice.gradcheck import relative_error

OPTIONS = [DiceOptions(batch_dice=True), DiceOptions(batch_dice=True, **GENERALISED),
           DiceCEOptions(batch_dice=True), DiceCEOptions(include_background=False),
           DiceCEOptions(ce_batch=True), DiceCEOptions(batch_dice=True, ce_batch=False)]
RATE = 0.5
SHORT, LONG = 10, 300  # seconds: for what is to end so, and for what must not
SETTINGS = '0' if native.unavailable() else '01'  # that there are kernels other tests demand


def say(text):
    """A line in one piece, also where several processes write."""
    os.write(1, f'{text}\n'.encode())


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
        for found, wanted in ((mine, a), (b, w)):
            error = relative_error(found, wanted)
            assert error <= TOLERANCE['gradient, added up in float32 by servers'], error
        assert relative_error(own, a) > 0.01 or sizes[rank] == 8


def equal(splits):
    """Splits such as 4,4:7,1 ."""
    kvstore = connect(LONG)
    net = network(dtype='float64')
    trainer = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': RATE}, kvstore=kvstore,
                            update_on_kvstore=False)
    start = weights(net)
    check_weights(net, start, trainer, kvstore.rank)
    for options in OPTIONS:
        loss = DistributedLoss(family(options).block(options), kvstore, timeout=LONG)
        loss.hybridize(**STATIC)
        for sizes in splits.split(':'):
            for setting in SETTINGS:
                os.environ['SOFT_DICE_NATIVE'] = setting
                check(net, start, options, loss, trainer, [*map(int, sizes.split(','))],
                      kvstore.rank)
        say(f'equal {kvstore.rank} {loss.bytes_per_call}')
    return kvstore, net, trainer


def check_weights(net, start, trainer, rank):
    """Worker 0's are there before there is a step, whatever the others had."""
    for param in net.collect_params().values():
        param.set_data(param.data() + rank)
    share_weights(trainer, timeout=LONG)
    for found, wanted in zip(weights(net), start):
        np.testing.assert_array_equal(found, wanted)


def optimizer_on_server(splits):
    """After all of that, a Trainer tells the servers to run an optimizer."""
    kvstore, net, _ = equal(splits)
    other = DistributedLoss(SoftDiceLoss(), kvstore, timeout=LONG)
    run(net, other, *share((4, 4), kvstore.rank))
    refused(lambda: other.step(gluon.Trainer(net.collect_params(), 'sgd')),
            "over the loss's KVStore.*got kvstore=None, update_on_kvstore=False")
    refused(lambda: other.step(gluon.Trainer(net.collect_params(), 'sgd', kvstore=kvstore)),
            "got kvstore='dist_sync', update_on_kvstore=True")  # which sets the optimizer
    kvstore._barrier()
    try:
        run(net, other, *share((4, 4), kvstore.rank))
    except RuntimeError as error:
        assert 'make the Trainer with update_on_kvstore=False' in str(error), error
        say('refused the optimizer')


def killed(splits):
    """After all of that, worker 1 is killed between a loss and the step."""
    kvstore, net, trainer = equal(splits)
    loss = DistributedLoss(SoftDiceLoss(batch_dice=True), kvstore, timeout=SHORT)
    run(net, loss, *share((3, 3, 2), kvstore.rank))
    if kvstore.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    lost(lambda: loss.step(trainer), SHORT)
    lost(lambda: run(net, loss, *share((3, 3, 2), kvstore.rank)), 0)


def raising():
    """Worker 1 has another number of classes, and with that an error of its own, later on."""
    kvstore = connect(LONG)
    refused(lambda: DistributedLoss(SoftDiceLoss(smooth=1 + kvstore.rank), kvstore)(
        *pair(3)), 'must be the same; here it is SoftDiceLoss')
    refused(lambda: DistributedLoss(SoftDiceLoss(), kvstore)(*pair(3 + kvstore.rank)),
            r'same number of classes.*got \[3, 4\]')
    refused(lambda: DistributedLoss(SoftDiceLoss(), kvstore)(None, None),
            r'be there in the first call; got \[\]')
    loss = DistributedLoss(SoftDiceLoss(), kvstore, timeout=SHORT)
    refused(lambda: loss.step(None), 'must come after a call of the loss.*got 0 samples')
    loss(*pair(3))
    if kvstore.rank == 1:
        loss(*pair(4))
    lost(lambda: loss(*pair(3)), SHORT)


def joining():
    """Not all come."""
    lost(lambda: connect(3), 3)


def orphaned():
    """The test kills the server, or the scheduler, once it has read the word of this worker."""
    kvstore = connect(LONG)
    loss = DistributedLoss(SoftDiceLoss(batch_dice=True), kvstore, timeout=SHORT)
    loss(*pair(3))
    say('ready')
    sys.stdin.readline()
    lost(lambda: loss(*pair(3)), SHORT)


def pair(classes):
    return mx.nd.zeros((2, classes, 4, 4)), mx.nd.zeros((2, 4, 4))


def refused(function, message):
    try:
        function()
    except (RuntimeError, ValueError) as error:
        assert re.search(message, str(error)), error
    else:
        raise AssertionError('not refused')


def lost(function, timeout):
    """It ends in an error in time."""
    begin = time.monotonic()
    try:
        function()
    except RuntimeError as error:
        took = time.monotonic() - begin
        assert timeout <= took < timeout + LONG, took
        say(f'lost: {error}')
    else:
        raise AssertionError('nothing was missing')


def main(task, *arguments):
    TASKS[task](*arguments)
    say(f'done {task}')


TASKS = {'optimizer': optimizer_on_server, 'killed': killed, 'raising': raising,
         'joining': joining, 'orphaned': orphaned}

if __name__ == '__main__':
    main(*sys.argv[1:])
