"""DiceMetric in MXNet's hands: loops, devices, Module.fit, registry, workers."""
import json
import logging
import pickle

import mxnet as mx
import numpy as np
import pytest
from on_gluon import ndarray
from tolerances import TOLERANCE

from gluon_dice import DiceMetric, compat, metric as module
from soft_dice import DiceOptions, HardCounts, hard_counts, hard_dice

RNG = np.random.RandomState(0)
PRED = RNG.standard_normal((6, 4, 5, 3)).astype('float32')
LABEL = RNG.randint(0, 4, (6, 5, 3))
LABEL[:2][LABEL[:2] == 2] = 0  # batches of two: class 2 is only in the later ones
BATCHES = [slice(0, 2), slice(2, 4), slice(4, 6)]


def fed(metric, pred=PRED, label=LABEL):
    for batch in BATCHES:
        metric.update([ndarray(label[batch])], [ndarray(pred[batch])])
    return metric


def test_is_that_of_the_whole_set_and_no_mean_of_batches():
    whole = hard_dice(PRED, LABEL)
    name, value = fed(DiceMetric()).get()
    assert name == 'dice' and value == pytest.approx(whole.mean(), rel=TOLERANCE['value, float64'])
    ratios = np.mean([hard_dice(PRED[batch], LABEL[batch]).mean() for batch in BATCHES])
    assert abs(value - ratios) > 1e-3


def test_names_and_values_per_class():
    metric = fed(DiceMetric(DiceOptions(include_background=False, smooth=1.0), per_class=True,
                            name='val'))
    values = dict(metric.get_name_value())
    assert list(values) == ['val', 'val_1', 'val_2', 'val_3']
    np.testing.assert_array_equal([values['val_1'], values['val_2'], values['val_3']],
                                  hard_dice(PRED, LABEL)[1:])
    assert str(metric).startswith("EvalMetric: {'val': 0.")


@pytest.mark.parametrize('fields', [
    dict(per_image=True), dict(beta=2.0), dict(empty=1, classes=[0, 2]), dict(empty=0),
    dict(ignore_label=2), dict(ignore_label=2, per_image=True, empty=1),
    dict(metric='iou', average='micro'), dict(average='weighted', classes=[3, 1]),
    dict(empty_by='label', empty=0)])
def test_the_options_of_the_metric(fields):
    rules = {name: fields[name] for name in ('beta', 'empty', 'per_image', 'metric', 'average',
                                             'empty_by') if name in fields}
    options = DiceOptions(**{name: fields[name] for name in fields if name not in rules})
    expected = hard_dice(PRED, LABEL, options=options, **rules)
    if 'per_image' in rules:  # each class over its images, then over the classes
        expected = np.nanmean(expected, axis=0)
    value = fed(DiceMetric(**fields)).get()[1]
    assert value == pytest.approx(np.nanmean(expected), rel=TOLERANCE['value, float64'])


@pytest.mark.parametrize('dtype', ['float16', 'float32', 'float64'])
@pytest.mark.parametrize('label_dtype', ['uint8', 'int32', 'float32'])
def test_dtypes(dtype, label_dtype):
    pred, label = PRED.astype(dtype), LABEL[:, None].astype(label_dtype)
    counts = fed(DiceMetric(), pred, label).counts
    assert counts == hard_counts(pred.astype('float64'), LABEL).total()


def test_multilabel_with_a_threshold():
    label = RNG.uniform(size=PRED.shape).astype('float32')
    options = DiceOptions(activation='sigmoid', sparse_label=False)
    metric = fed(DiceMetric(options, threshold=0.3), label=label)
    assert metric.counts == hard_counts(PRED, label, options, threshold=0.3).total()


def test_a_list_of_arrays_from_several_devices():
    devices = [mx.cpu(0), mx.cpu(1), mx.cpu(2)]
    metric = DiceMetric()
    metric.update([ndarray(LABEL[batch]).as_in_context(device)
                   for batch, device in zip(BATCHES, devices)],
                  [ndarray(PRED[batch]).as_in_context(device)
                   for batch, device in zip(BATCHES, devices)])
    assert metric.counts == hard_counts(PRED, LABEL).total()


def test_arrays_of_other_kinds():
    for make in [np.asarray] + ([mx.np.array] if hasattr(mx, 'np') else []):  # not before 1.6
        metric = DiceMetric()
        metric.update(make(LABEL), make(PRED))
        assert metric.counts == hard_counts(PRED, LABEL).total()


@pytest.mark.parametrize('axis', [1, -1])
def test_decided_where_the_prediction_is(axis, monkeypatch):
    """What a GPU would do, done on the CPU: argmax by MXNet."""
    monkeypatch.setattr(module, 'on_cpu', lambda array: False)
    pred, label = np.moveaxis(PRED, 1, axis).copy(), LABEL.copy()
    metric = fed(DiceMetric(axis=axis, ignore_label=255), pred, label)
    assert metric.counts == hard_counts(PRED, LABEL).total()
    pixel = (1, slice(None), 2, 2) if axis == 1 else (1, 2, 2)
    pred[pixel] = [0, 9, 9, np.nan]
    with pytest.raises(ValueError, match='got nan in sample 1, class 3, pixel 8 of 15'):
        metric.update(ndarray(label), ndarray(pred))
    label[1, 2, 2] = 255
    assert fed(DiceMetric(axis=axis, ignore_label=255), pred, label).counts \
        == hard_counts(PRED, label, DiceOptions(ignore_label=255)).total()
    found = module.decide(ndarray(pred), axis).asnumpy()
    assert found[1, 2, 2] == -1 and (found >= 0).sum() == found.size - 1
    pred[pixel] = [0, 9, 9, np.inf]
    np.testing.assert_array_equal(module.decide(ndarray(pred), axis).asnumpy(), pred.argmax(axis))
    pred[pixel] = [0, 9, 9, 9]
    assert module.decide(ndarray(pred), axis).asnumpy()[1, 2, 2] == 1


# --- MXNet's protocol ----------------------------------------------------------------------------

def test_before_the_first_update():
    name, value = DiceMetric().get()
    assert name == 'dice' and np.isnan(value)
    names, values = zip(*DiceMetric(num_classes=3, per_class=True).get_name_value())
    assert names == ('dice', 'dice_0', 'dice_1', 'dice_2') and np.isnan(values).all()


def test_reset_and_reset_local():
    metric = fed(DiceMetric())
    whole = metric.get()
    metric.reset_local()
    assert np.isnan(metric.get()[1]) and metric.get_global() == whole
    metric.update([ndarray(LABEL[:2])], [ndarray(PRED[:2])])
    assert metric.counts == hard_counts(PRED[:2], LABEL[:2]).total()
    if compat.GLOBAL_STATS:  # MXNet's own since 1.5
        assert metric.get_global_name_value() == [('dice', metric.get_global()[1])]
    metric.reset()
    assert metric.counts is None and np.isnan(metric.get_global()[1])
    metric.update(ndarray(LABEL % 3), ndarray(PRED[:, :3]))  # of another number of classes
    assert metric.counts == hard_counts(PRED[:, :3], LABEL % 3).total()


def test_registry_and_config():
    metric = mx.metric.create('dice', num_classes=4, ignore_label=3, classes=[0, 1], empty=1,
                              per_class=True, name='d')
    assert isinstance(metric, DiceMetric) and isinstance(mx.metric.create('DiceMetric'), DiceMetric)
    config = metric.get_config()
    for again in (mx.metric.create(**config), mx.metric.create(json.dumps(config))):
        assert again.get_config() == config and again.options == metric.options
        assert fed(again).get() == fed(mx.metric.create(**config)).get()


def test_the_name_is_that_of_the_metric():
    assert [name for name, _ in DiceMetric(metric='iou').get_name_value()] == ['iou']
    assert DiceMetric(metric='iou', name='jaccard').get()[0] == 'jaccard'


def test_in_a_composite():
    """It takes one number from each metric."""
    metric = DiceMetric(num_classes=4, per_class=True)
    both = mx.metric.create([metric, *metric.each_class(), 'acc'])
    both.update([ndarray(LABEL)], [ndarray(PRED)])
    names, values = both.get()
    assert names == ['dice', 'dice_0', 'dice_1', 'dice_2', 'dice_3', 'accuracy']
    np.testing.assert_array_equal(values[1:5], hard_dice(PRED, LABEL))
    assert both.get_name_value() == list(zip(names, values))
    assert not compat.GLOBAL_STATS or both.get_global()[0] == names


@pytest.mark.parametrize('fields, counted', [
    (dict(include_background=False), [1, 2, 3]), (dict(classes=[3, -3], beta=2.0), [3, 1]),
    (dict(ignore_label=2, per_image=True, empty=1), [0, 1, 2, 3])])
def test_a_metric_for_each_class(fields, counted):
    whole = fed(DiceMetric(per_class=True, name='val', **fields))
    each = [fed(metric) for metric in whole.each_class()]
    assert [metric.get() for metric in each] == whole.get_name_value()[1:]
    assert [metric.name for metric in each] == [f'val_{index}' for index in counted]


def test_a_metric_for_each_class_wants_their_number():
    with pytest.raises(ValueError, match=r'num_classes must be given, for example .*; got None'):
        DiceMetric().each_class()


def test_speedometer_logs_each_class(caplog):
    metric = fed(DiceMetric(per_class=True))
    expected = dict(metric.get_name_value())
    meter = mx.callback.Speedometer(batch_size=2, frequent=1, auto_reset=False)
    with caplog.at_level(logging.INFO):
        for batch in (0, 1):  # the first only starts its clock
            meter(mx.model.BatchEndParam(epoch=0, nbatch=batch, eval_metric=metric, locals=None))
    for name, value in expected.items():
        assert f'{name}={value:f}' in caplog.text


def test_update_dict_takes_the_named_outputs():
    metric = DiceMetric(output_names=['score_output'], label_names=['label'])
    metric.update_dict({'label': ndarray(LABEL), 'other': ndarray(LABEL * 0)},
                       {'loss_output': mx.nd.zeros(3), 'score_output': ndarray(PRED)})
    assert metric.counts == hard_counts(PRED, LABEL).total()


def test_in_module_fit(caplog):
    """A softmax network over two devices."""
    data = mx.io.NDArrayIter({'data': PRED}, {'softmax_label': LABEL.astype('float32')},
                             batch_size=2)
    score = mx.sym.Convolution(mx.sym.Variable('data'), kernel=(1, 1), num_filter=4, no_bias=True,
                               name='conv')
    net = mx.sym.SoftmaxOutput(score, name='softmax', multi_output=True)
    network = mx.mod.Module(net, context=[mx.cpu(0), mx.cpu(1)])
    identity = {'conv_weight': ndarray(np.eye(4, dtype='float32').reshape(4, 4, 1, 1))}
    with caplog.at_level(logging.INFO):
        network.fit(data, eval_metric=DiceMetric(per_class=True), num_epoch=1, arg_params=identity,
                    optimizer_params={'learning_rate': 0.0}, eval_data=data,
                    validation_metric=DiceMetric(name='held_out'))
    for index, value in enumerate(hard_dice(PRED, LABEL)):
        assert f'Epoch[0] Train-dice_{index}={value:f}' in caplog.text
    assert f'Epoch[0] Validation-held_out={hard_dice(PRED, LABEL).mean():f}' in caplog.text


# --- workers --------------------------------------------------------------------------------------

def test_metrics_of_several_workers_merge():
    workers = [DiceMetric(per_class=True) for _ in BATCHES]
    for worker, batch in zip(workers, BATCHES):
        worker.update([ndarray(LABEL[batch])], [ndarray(PRED[batch])])
        worker.reset_local()
        worker.update([ndarray(LABEL[batch])], [ndarray(PRED[batch])])
    workers = pickle.loads(pickle.dumps(workers))  # as from another process
    total = DiceMetric(per_class=True)
    for worker in workers:
        total.merge(worker)
    assert total.get_name_value() == fed(DiceMetric(per_class=True)).get_name_value()
    twice = hard_counts(PRED, LABEL).total() + hard_counts(PRED, LABEL)
    found = [value for _, value in total.get_global_name_value()]
    assert found[1:] == twice.total().per_class().tolist()
    total.merge(DiceMetric(per_class=True))  # one that has seen nothing


@pytest.mark.parametrize('per_image', [False, True])
def test_counts_merge(per_image):
    metric = DiceMetric(per_image=per_image)
    metric.merge(hard_counts(PRED[:4], LABEL[:4]))
    metric.update(ndarray(LABEL[4:]), ndarray(PRED[4:]))
    whole = hard_counts(PRED, LABEL)
    assert metric.counts == (whole if per_image else whole.total())


# --- what must be refused -------------------------------------------------------------------------

@pytest.mark.parametrize('error, keywords, message', [
    (TypeError, dict(smoth=1), "unknown option 'smoth'; the hard Dice takes activation"),
    (TypeError, dict(alpha=0.3), 'alpha is an option of the loss alone'),
    (TypeError, dict(options={'axis': 1}), 'options must be a soft_dice.DiceOptions.*got dict'),
    (ValueError, dict(beta=0), 'beta of F-beta'),
    (ValueError, dict(threshold=2), 'threshold must be'),
    (ValueError, dict(empty=2), "empty, what a class gives"),
    (ValueError, dict(per_class=1), 'per_class must be True or False'),
    (ValueError, dict(num_classes=2, classes=[5]), 'classes must lie in'),
    (ValueError, dict(num_classes=1), "use activation='sigmoid'"),
])
def test_bad_arguments(error, keywords, message):
    with pytest.raises(error, match=message):
        DiceMetric(**keywords)


@pytest.mark.parametrize('labels, preds, message', [
    ([LABEL], [PRED, PRED], 'as many arrays, .*; got 1 and 2'),
    ([LABEL[:1]], [PRED], 'label must have one value per pixel'),
    ([LABEL[:, :1, :1]], [PRED], 'label must have one value per pixel'),
    ([LABEL % 3], [PRED[:, :3]], 'pred must have 4 classes, as num_classes or the first predic'),
    ([LABEL + 1], [PRED], r'label must be a whole number in \[0, 4\)'),
    ([LABEL], [PRED * np.nan], 'got nan in sample 0'),
    ([LABEL, LABEL + 1], [PRED, PRED], r'label must be a whole number'),
])
def test_bad_batch_is_refused_and_not_counted(labels, preds, message):
    metric = fed(DiceMetric())
    with pytest.raises(ValueError, match=message):
        metric.update([ndarray(label) for label in labels], [ndarray(pred) for pred in preds])
    assert metric.counts == hard_counts(PRED, LABEL).total()


def test_metrics_of_other_options_do_not_merge():
    with pytest.raises(ValueError, match='must have the same options'):
        DiceMetric().merge(DiceMetric(ignore_label=3))
    with pytest.raises(TypeError, match='other must be a DiceMetric or HardCounts; got Accuracy'):
        DiceMetric().merge(mx.metric.Accuracy())
    with pytest.raises(ValueError, match='must be of the same classes; got 2 and 4'):
        fed(DiceMetric()).merge(HardCounts([[1, 1]], [[0, 0]], [[0, 0]]))
