"""The Dice loss in a Symbol, trained by mx.mod.Module.fit, saved, and loaded again::

    python -m examples.module_fit

A Module minimises what its MakeLoss outputs give; what a metric is to see is another output, whose
gradient is blocked.
"""
import logging
import os
import tempfile
from typing import List

import mxnet as mx
import numpy as np

from gluon_dice import DiceMetric, SoftDiceLoss

from .shapes import CLASSES, images

BATCH = 16


def network() -> mx.sym.Symbol:
    """Class scores (N, 3, H, W) of images (N, 1, H, W), then two outputs: the loss (N,), and the
    scores for the metric."""
    features = mx.sym.var('data')
    for number in range(3):
        features = mx.sym.Convolution(features, kernel=(5, 5), pad=(2, 2), num_filter=16,
                                      name=f'convolution{number}')
        features = mx.sym.Activation(features, act_type='relu')
    score = mx.sym.Convolution(features, kernel=(1, 1), num_filter=len(CLASSES), name='score')
    loss = SoftDiceLoss(batch_dice=True)(score, mx.sym.var('label'))
    return mx.sym.Group([mx.sym.MakeLoss(loss, name='dice'),
                         mx.sym.BlockGrad(score, name='prediction')])


def data(number: int, seed: int) -> mx.io.NDArrayIter:
    image, label = images(number, seed=seed)
    return mx.io.NDArrayIter({'data': image}, {'label': label}, batch_size=BATCH, shuffle=False)


def module_of(symbol: mx.sym.Symbol) -> mx.mod.Module:
    return mx.mod.Module(symbol, data_names=['data'], label_names=['label'], context=mx.cpu())


def metrics() -> List[mx.metric.EvalMetric]:
    """Of the two outputs: the loss as it is, and the hard Dice of the prediction."""
    loss = mx.metric.Loss(output_names=['dice_output'], label_names=['label'])
    return [loss, DiceMetric(output_names=['prediction_output'], label_names=['label'])]


def main(epochs: int = 6, train: int = 256, test: int = 64) -> float:
    """Train, save, load, and return the loaded network's hard Dice on images not trained on."""
    mx.random.seed(1)
    np.random.seed(1)
    module = module_of(network())
    module.fit(data(train, seed=1), eval_data=data(test, seed=2),
               eval_metric=mx.metric.CompositeEvalMetric(metrics()),
               optimizer='adam', optimizer_params={'learning_rate': 0.005},
               initializer=mx.init.Xavier(), num_epoch=epochs)
    before = dict(module.score(data(test, seed=2), mx.metric.CompositeEvalMetric(metrics())))

    with tempfile.TemporaryDirectory() as folder:
        prefix = os.path.join(folder, 'shapes')
        module.save_checkpoint(prefix, epochs)
        symbol, arguments, auxiliary = mx.model.load_checkpoint(prefix, epochs)
    loaded = module_of(symbol)
    iterator = data(test, seed=2)
    loaded.bind(iterator.provide_data, iterator.provide_label, for_training=False)
    loaded.set_params(arguments, auxiliary)
    after = dict(loaded.score(iterator, mx.metric.CompositeEvalMetric(metrics())))
    print('trained:', before)
    print('loaded: ', after)
    assert before == after, 'what was loaded is not what was saved'
    return after['dice']


if __name__ == '__main__':
    logging.basicConfig(level=logging.INFO, format='%(message)s')  # how a Module reports
    main()
