"""A process in which amp.init() was called, which is for good: prints what it found as JSON.

    python tests/amp_session.py float16

On the CPU MXNet has no float16 convolution, so amp for float16 is told to cast pooling instead,
which it has; for bfloat16 it casts convolutions, as it does by itself.
"""
import json
import os
import sys

import mxnet as mx
import numpy as np
from mxnet.contrib import amp

TARGET = sys.argv[1]
LISTS = {'float16': dict(target_precision_ops=['Pooling']), 'bfloat16': {}}
amp.init(target_dtype=TARGET, **LISTS[TARGET])  # before anything else takes operators from MXNet

from cases import Arrays  # noqa: E402
from families import FAMILIES, reference, with_native  # noqa: E402
from on_gluon import MODES, differentiate, in_mode, symbol  # noqa: E402

from gluon_dice import DeepSupervision, DiceCELoss, SoftDiceLoss, native  # noqa: E402
from soft_dice import DiceCEOptions, DiceOptions  # noqa: E402
from soft_dice.gradcheck import relative_error  # noqa: E402

SETTINGS = '0' if native.unavailable() else '01'  # that there are kernels other tests demand
SCALE = 2.0 ** 16  # what amp starts with
SMALL = [dict(), dict(resize='bilinear'), dict(class_weights='inverse', pool_classes=True),
         dict(exponent=2.0, ignore_label=1), dict(form='log', include_background=False)]


def half(size):
    rng = np.random.RandomState(0)
    return Arrays(rng.standard_normal((1, 3, size, size)).astype('float16'),
                  rng.randint(0, 3, (1, size, size)).astype('float16'), None, np.array([SCALE]))


def errors(arrays, options, modes):
    """What each mode is away from the reference, in loss and gradient, and its dtypes."""
    wide = arrays._replace(pred=arrays.pred.astype('float64'))
    expected = with_native('0', reference)(wide, options)
    for mode in modes:
        for setting in SETTINGS:
            os.environ['SOFT_DICE_NATIVE'] = setting
            if mode == 'symbol':
                found = symbol(arrays, options)
            else:
                found = differentiate(in_mode(mode, options), arrays)
            yield dict(name=f'{options!r} {arrays.pred.shape} {mode} {setting}',
                       errors=[relative_error(each.astype('float64'), truth)
                               for each, truth in zip(found, expected)],
                       dtypes=[str(each.dtype) for each in found])


class Net(mx.gluon.HybridBlock):
    """A network and its loss in one graph, which amp puts its casts into."""

    def __init__(self, loss):
        super().__init__()
        with self.name_scope():
            self.features = mx.gluon.nn.Conv2D(8, 3, padding=1, activation='relu', in_channels=3)
            self.pool = mx.gluon.nn.MaxPool2D(2)
            self.score = mx.gluon.nn.Conv2D(3, 1, in_channels=8)
            self.loss = loss

    def hybrid_forward(self, F, image, label):
        score = self.pool(self.score(self.features(image)))  # float16, where pooling is
        if isinstance(self.loss, DeepSupervision):
            score = [score, self.pool(score)]
        return self.loss(score, label)


def train(make_loss, hybridize):
    """First and last loss of a training as MXNet's documents have it, or the error it ends in."""
    mx.random.seed(0)
    label = np.random.RandomState(0).randint(0, 3, (4, 8, 8))
    image = np.eye(3, dtype='float32')[label].transpose(0, 3, 1, 2).repeat(2, 2).repeat(2, 3)
    image, label = mx.nd.array(image), mx.nd.array(label, dtype='float16')
    net = Net(make_loss())
    net.initialize(mx.init.Xavier())
    net.hybridize(hybridize)
    trainer = mx.gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': 0.05})
    amp.init_trainer(trainer)
    losses, name = [], f'{net.loss!r} {hybridize}'
    try:
        for _ in range(25):
            with mx.autograd.record():
                value = net(image, label)
                with amp.scale_loss(value, trainer) as scaled:
                    mx.autograd.backward(scaled)
            trainer.step(len(label))
            losses.append(float(value.mean().asscalar()))
    except mx.MXNetError as error:
        return dict(name=name, error=str(error))
    return dict(name=name, error='', first=losses[0], last=losses[-1])


def main():
    found = []
    for options, modes in ((DiceOptions(), [*MODES, 'symbol']), (DiceCEOptions(), ['nested'])):
        found += errors(half(1024), options, ['nested'])
        for fields in SMALL:
            found += errors(half(24), options.replace(**fields), modes)
    trained = []
    for setting in SETTINGS:
        os.environ['SOFT_DICE_NATIVE'] = setting
        trained += [train(make, hybridize) for hybridize in (False, True)
                    for make in (SoftDiceLoss, DiceCELoss, lambda: DeepSupervision(SoftDiceLoss()))]
    graph = Net(FAMILIES[DiceOptions].block())(mx.sym.var('x'), mx.sym.var('y'))
    casts = graph.tojson(remove_amp_cast=False).count('"amp_cast"')
    print(json.dumps(dict(errors=found, trained=trained, casts=casts)))


if __name__ == '__main__':
    main()
