"""A training in Gluon, with what the demo trains with."""
from typing import Any, Tuple

import gluon_dice
import mxnet as mx
import numpy as np
from mxnet import gluon
from mxnet.gluon import nn

from demo import gluon_training
from demo.unet_gluon import UNet

from . import wrong
from .losses import LOSSES, Loss, options
from .tasks import Task
from .training import Job, Predict, Step

CHANNELS = 8  # between the two layers


def begin(job: Job, task: Task) -> Tuple[Step, Predict]:
    net = network(task)
    gluon_training.initialize(net, job.seed)
    data = task.data('train', job.seed)
    step = gluon_training.stepper(net, block(LOSSES[job.loss], task, job.seed), data, task.schedule,
                                  job.seed, job.steps)

    def predict(image: np.ndarray) -> np.ndarray:
        return net(mx.nd.array(image)).asnumpy().argmax(axis=1)[:, None]

    return step, predict


def network(task: Task) -> gluon.HybridBlock:
    if task.network == 'unet':
        return UNet(classes=len(task.classes))
    net = nn.HybridSequential()
    net.add(nn.Conv2D(CHANNELS, kernel_size=3, padding=1, activation='relu'),
            nn.Conv2D(len(task.classes), kernel_size=1))
    return net


def block(loss: Loss, task: Task, seed: int) -> Any:
    """The loss as a Block."""
    if not loss.kind:
        return gluon.loss.SoftmaxCrossEntropyLoss(axis=1)
    module = wrong if loss.wrong else gluon_dice
    return getattr(module, loss.kind)(**options(loss, task, seed))
