"""Loss and metric in an Estimator of MXNet, whose handlers want one number of a metric."""
import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon

from gluon_dice import DiceMetric, SoftDiceLoss, compat
from soft_dice import hard_dice

if compat.RELEASE >= (1, 5):  # older ones have none; version_matrix leaves these tests out there
    from mxnet.gluon.contrib.estimator import Estimator, event_handler

RNG = np.random.RandomState(0)
SCORE = RNG.standard_normal((6, 4, 5, 3)).astype('float32')
LABEL = RNG.randint(0, 4, (6, 5, 3)).astype('float32')
EXPECTED = hard_dice(SCORE, LABEL)  # of a network that does nothing


class Scaled(gluon.HybridBlock):
    """A network whose prediction is its input times a number, 1."""

    def __init__(self):
        super().__init__()
        self.scale = self.params.get('scale', shape=(1,), init=mx.init.One())

    def hybrid_forward(self, F, x, scale):
        return F.broadcast_mul(x, F.reshape(scale, shape=(1, 1, 1, 1)))


def train(metrics, handlers=lambda estimator: [], devices=1):
    """Two epochs, validated, with a learning rate that changes no decision; the Estimator."""
    devices = [mx.cpu(i) for i in range(devices)]
    net = Scaled()
    net.initialize(ctx=devices)
    trainer = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 1e-3})
    keyword = 'train_metrics' if hasattr(Estimator, 'train_metrics') else 'metrics'
    estimator = Estimator(net, SoftDiceLoss(), trainer=trainer, context=devices,
                          **{keyword: metrics})
    data = gluon.data.DataLoader(gluon.data.ArrayDataset(SCORE, LABEL), batch_size=2)
    estimator.fit(data, data, epochs=2, event_handlers=handlers(estimator) or None)
    return estimator


@pytest.mark.parametrize('devices', [1, 2])
def test_a_metric_per_class_is_trained_with_and_logged(capsys, devices):
    estimator = train(DiceMetric(per_class=True), devices=devices)
    said = capsys.readouterr().out
    assert f'training dice: {EXPECTED.mean():.4f}' in said
    assert f'validation dice: {EXPECTED.mean():.4f}' in said
    found = [value for _, value in estimator.train_metrics[0].get_name_value()]
    np.testing.assert_allclose(found, [EXPECTED.mean(), *EXPECTED], rtol=1e-12)


def test_every_class_is_logged(capsys):
    metric = DiceMetric(num_classes=4)
    train([metric, *metric.each_class()])
    said = capsys.readouterr().out
    for index, value in enumerate(EXPECTED):
        assert f'training dice_{index}: {value:.4f}' in said
        assert f'validation dice_{index}: {value:.4f}' in said


def test_handlers_that_watch_a_metric(tmp_path, capsys):
    def handlers(estimator):
        monitor = estimator.val_metrics[0]
        return [event_handler.CheckpointHandler(str(tmp_path), monitor=monitor, mode='max',
                                                save_best=True),
                event_handler.EarlyStoppingHandler(monitor, mode='max', patience=0),
                event_handler.LoggingHandler(1, metrics=estimator.train_metrics)]

    train(DiceMetric(per_class=True), handlers)
    said = capsys.readouterr().out
    assert (tmp_path / 'model-best.params').is_file()
    assert 'early stopping due to validation dice not improving' in said
