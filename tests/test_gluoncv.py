"""A network of gluoncv with an auxiliary head, trained as gluoncv trains it, with our criterion."""
import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon
from on_gluon import ndarray
from tolerances import TOLERANCE

from gluon_dice import AuxLoss, DiceCELoss, DiceMetric
from soft_dice import DiceCEOptions, dice_ce_loss
from soft_dice.gradcheck import relative_error

SIZE, STEPS = 32, 5
DEVICES = [mx.cpu(0), mx.cpu(1)]
OPTIONS = DiceCEOptions(ignore_label=-1)
pytestmark = pytest.mark.slow


@pytest.fixture
def gluoncv():
    """Imported here, as it takes two seconds."""
    import gluoncv
    import gluoncv.utils.parallel
    return gluoncv


def data():
    """Two images for each device, whose colours are those of their three classes."""
    label = np.zeros((4, SIZE, SIZE), 'float32')
    label[:, :SIZE // 2, 8:], label[:, SIZE // 2:, :20] = 1, 2
    image = np.eye(3)[label.astype(int)].transpose(0, 3, 1, 2)
    label[:, 0] = -1  # which gluoncv ignores
    return (image + 0.1 * np.random.RandomState(0).standard_normal(image.shape)).astype('f'), label


@pytest.mark.filterwarnings('ignore:Parameter .* is already initialized')
def test_trains_a_fcn_with_an_auxiliary_head(gluoncv):
    mx.random.seed(0)
    net = gluoncv.model_zoo.FCN(nclass=3, aux=True, pretrained_base=False, crop_size=SIZE,
                                ctx=DEVICES)
    net.initialize(mx.init.Xavier(), ctx=DEVICES)
    net.hybridize()
    criterion = AuxLoss(DiceCELoss(OPTIONS), aux_weight=0.5)
    criterion.hybridize()
    parallel = gluoncv.utils.parallel
    model = parallel.DataParallelModel(net, DEVICES)
    losses_of = parallel.DataParallelCriterion(criterion, DEVICES)
    trainer = gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': 1e-4})
    image, label = map(ndarray, data())
    values = []
    for _ in range(STEPS):
        with autograd.record():
            outputs = model(image)
            losses = losses_of(outputs, label)
        autograd.backward(losses)
        trainer.step(len(label))
        values.append(np.concatenate([each.asnumpy() for each in losses]))
    assert values[-1].mean() < values[0].mean() * 0.75
    # The last step's losses are those of the reference of what the network has given.
    found = [[each.asnumpy() for each in device] for device in outputs]
    expected = [dice_ce_loss(pred, half, OPTIONS) + 0.5 * dice_ce_loss(aux, half, OPTIONS)
                for (pred, aux), half in zip(found, np.split(label.asnumpy(), 2))]
    assert relative_error(values[-1], np.concatenate(expected)) <= TOLERANCE['loss, float32']
    for heads in (net.head, net.auxlayer):
        assert all(param.grad(DEVICES[0]).asnumpy().any()
                   for param in heads.collect_params('.*weight').values())
    metric = DiceMetric(ignore_label=-1)
    metric.update(gluon.utils.split_and_load(label, DEVICES), [each[0] for each in outputs])
    assert metric.get()[1] > 1 / 3


def test_is_called_and_weighed_as_gluoncv_s_own_loss(gluoncv):
    """With MXNet's cross-entropy inside, it gives the numbers of MixSoftmaxCrossEntropyLoss."""
    rng = np.random.RandomState(0)
    outputs = [ndarray(rng.standard_normal((2, 3, 6, 5)).astype('f')) for _ in range(2)]
    label = ndarray(rng.randint(0, 3, (2, 6, 5)).astype('f'))
    for weight in ({}, {'aux_weight': 0.5}):
        theirs = gluoncv.loss.MixSoftmaxCrossEntropyLoss(aux=True, **weight)(*outputs, label)
        ours = AuxLoss(gluon.loss.SoftmaxCrossEntropyLoss(axis=1), **weight)(*outputs, label)
        assert relative_error(ours.asnumpy(), theirs.asnumpy()) <= TOLERANCE['loss, float32']
