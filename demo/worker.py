"""One worker of the distributed demo: trains on its share of every batch::

    python -m gluon_dice.launch --workers 2 -- python -m demo.worker FOLDER

writes FOLDER/worker-0.json and worker-1.json; the options must be the same for all workers.
"""
import argparse
import json
import time
from pathlib import Path
from typing import Any, List, NamedTuple

import mxnet as mx
from mxnet.gluon import nn

from gluon_dice import SoftDiceLoss
from gluon_dice.launch import positive
from gluon_dice.parallel import DistributedLoss, connect

from . import brain, gluon_training
from .training import UNET, progress
from .unet_gluon import UNet

GROUPS = 4
STEPS = 60


class Record(NamedTuple):
    """What a worker leaves behind.

    losses : one number per step, of all samples, or with the mean of shares of its own.
    seconds : of each step.
    samples : of each batch that it had.
    parameters : numbers that the network's gradient holds.
    loss_bytes : that the loss sends in each step, and gets back as many.
    loopback : bytes that this machine's processes have sent each other in each step, whoever they
        are; 0 where the system does not say.
    """

    losses: List[float]
    seconds: List[float]
    samples: int
    parameters: int
    loss_bytes: int
    loopback: float


def train(seed: int, steps: int, dtype: str, kvstore: Any = None, mean_of_shares: bool = False,
          name: str = '') -> Record:
    """Train the demo's U-Net on this worker's share, or without ``kvstore`` on whole batches.

    mean_of_shares : each worker's loss is the Dice over its own samples, as it is without
        DistributedLoss.
    name : of the progress bar; '' is none.
    """
    net = _network(seed, dtype)
    loss: Any = SoftDiceLoss(UNET.loss)
    if kvstore is not None and not mean_of_shares:
        loss = DistributedLoss(loss, kvstore)
    data = brain.load('train', seed)
    data = data._replace(image=data.image.astype(dtype))
    step = gluon_training.stepper(net, loss, data, UNET, seed, steps, kvstore)
    losses, seconds, sent = [], [], []
    with progress(name, steps) as bar:
        for _ in range(steps):
            start = time.monotonic()
            losses.append(step())
            seconds.append(time.monotonic() - start)
            sent.append(_loopback())
            bar.update()
    rank, workers = (0, 1) if kvstore is None else (kvstore.rank, kvstore.num_workers)
    parameters = sum(each.data().size for each in net.collect_params().values()
                     if each.grad_req != 'null')
    each_step = (sent[-1] - sent[0]) / max(1, steps - 1)  # the first hands out the weights
    return Record(losses, seconds, len(range(UNET.batch_size)[rank::workers]), parameters,
                  getattr(loss, 'bytes_per_call', 0), each_step)


def _loopback() -> int:
    """Bytes sent through the loopback interface since the system started."""
    try:
        lines = Path('/proc/net/dev').read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split(':')[1].split()[8]) for line in lines if line.strip()[:3] == 'lo:')


def _network(seed: int, dtype: str) -> UNet:
    """The demo's U-Net with GroupNorm: BatchNorm would take mean and variance of a share.

    It draws its weights in float32, as the KVStore hands them out to the workers in float32.
    """
    net = UNet(normalization=lambda: nn.GroupNorm(GROUPS))
    gluon_training.initialize(net, seed)
    net(mx.nd.zeros((1, 1) + brain.SHAPE)).wait_to_read()  # which learns the shapes, and draws
    net.cast(dtype)
    return net


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m demo.worker', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path, help='where worker-RANK.json goes')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--steps', type=positive, default=STEPS)
    parser.add_argument('--dtype', choices=('float32', 'float64'), default='float64')
    parser.add_argument('--mean-of-shares', action='store_true',
                        help='without DistributedLoss: the Dice over each share by itself')
    parser.add_argument('--name', default='', help='of the progress bar of worker 0 (none)')
    given = parser.parse_args()
    try:
        given.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f'cannot write into {given.folder}: {error.strerror}')
    kvstore = connect()
    record = train(given.seed, given.steps, given.dtype, kvstore, given.mean_of_shares,
                   given.name if kvstore.rank == 0 else '')
    (given.folder / f'worker-{kvstore.rank}.json').write_text(json.dumps(record._asdict()))


if __name__ == '__main__':
    main()
