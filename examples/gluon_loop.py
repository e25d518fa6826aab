"""A training loop in Gluon over several devices, with a compound loss and a metric::

    python -m examples.gluon_loop

Devices here are two CPU contexts; give mx.gpu(0), mx.gpu(1) where there are any.
"""
from typing import Dict, List

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon
from mxnet.gluon import nn

from gluon_dice import DiceCELoss, DiceMetric

from .shapes import CLASSES, images

BATCH = 16


def network() -> nn.HybridSequential:
    """Class scores (N, 3, H, W) of images (N, 1, H, W)."""
    net = nn.HybridSequential()
    for _ in range(3):
        net.add(nn.Conv2D(16, kernel_size=5, padding=2, activation='relu'))
    net.add(nn.Conv2D(len(CLASSES), kernel_size=1))
    return net


def batches(number: int, seed: int, shuffle: bool) -> gluon.data.DataLoader:
    return gluon.data.DataLoader(gluon.data.ArrayDataset(*images(number, seed=seed)), BATCH,
                                 shuffle=shuffle)


def evaluate(net: nn.HybridSequential, loader: gluon.data.DataLoader,
             devices: List[mx.Context]) -> Dict[str, float]:
    """Hard Dice over all images: counts are added up, not ratios averaged."""
    metric = DiceMetric(per_class=True)
    for image, label in loader:
        shares = [gluon.utils.split_and_load(each, devices, even_split=False)
                  for each in (image, label)]
        metric.update(shares[1], [net(share) for share in shares[0]])
    return dict(metric.get_name_value())


def main(epochs: int = 6, train: int = 256, test: int = 64) -> float:
    """Train and return the mean hard Dice on images not trained on."""
    mx.random.seed(1)
    np.random.seed(1)
    devices = [mx.cpu(0), mx.cpu(1)]
    net = network()
    net.initialize(mx.init.Xavier(), ctx=devices)
    net.hybridize()
    loss = DiceCELoss()
    loss.hybridize()
    trainer = gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': 0.005})
    loader, held_out = batches(train, 1, True), batches(test, 2, False)
    scores: Dict[str, float] = {}
    for epoch in range(epochs):
        total = 0.0
        for image, label in loader:
            shares = zip(*(gluon.utils.split_and_load(each, devices, even_split=False)
                           for each in (image, label)))
            with autograd.record():
                losses = [loss(net(share), truth) for share, truth in shares]
            autograd.backward(losses)
            trainer.step(len(image))  # divides the sum over samples by their number
            total += sum(float(each.sum().asscalar()) for each in losses)
        scores = evaluate(net, held_out, devices)
        shown = '  '.join(f'{name} {value:.3f}' for name, value in scores.items())
        print(f'epoch {epoch + 1}  loss {total / train:.3f}  {shown}')
    return scores['dice']


if __name__ == '__main__':
    main()
