"""DiceScoreLayer in real nets, and what the caffe command prints of it."""
import json
import re

import caffe
import h5py
import numpy as np
import pytest
from backends import caffe_command, input_layer, make_net, temporary_prototxt
from tolerances import TOLERANCE

from soft_dice import DiceOptions, hard_counts, hard_dice

RNG = np.random.RandomState(0)
CLASSES, BATCH, TEST_ITER = 5, 2, 4
DATA = RNG.standard_normal((BATCH * TEST_ITER, 3, 6, 5)).astype('float32')
# Class 1 is in the first batch only, class 3 in the last only, class 4 nowhere.
LABEL = RNG.choice([0, 2], (BATCH * TEST_ITER, 1, 6, 5)).astype('float32')
LABEL[0, 0, :3], LABEL[-1, 0, 4:] = 1, 3
LABEL[2, 0, 1] = 255
IGNORING = DiceOptions(ignore_label=255)
PRINTED = TOLERANCE['six digits, as Caffe prints them']
FLOAT32 = TOLERANCE['loss, float32']


def score_layer(param_str='{"ignore_label": 255}', tops=2, include='', extra=''):
    names = ' '.join(f'top: "{name}"' for name in ('dice', 'per_class', 'third')[:tops])
    param_str = param_str.replace("'", "\\'")
    return (f'layer {{ name: "dice" type: "Python" bottom: "score" bottom: "label" {names} '
            f'{include} {extra} python_param {{ module: "caffe_layers" layer: "DiceScoreLayer" '
            f"param_str: '{param_str}' }} }}\n")


def inputs(score=(BATCH, CLASSES, 6, 5), label=(BATCH, 1, 6, 5)):
    return input_layer('score', score) + input_layer('label', label)


def score_net(param_str='{"ignore_label": 255}', phase=caffe.TEST, **keywords):
    return make_net(inputs() + score_layer(param_str, **keywords), phase)


SCORE = np.concatenate([DATA, DATA[:, :2]], axis=1) * [[[1]], [[2]], [[1]], [[1]], [[-9]]] \
    - [[[0]], [[0]], [[0]], [[1]], [[99]]]
SCORE = SCORE.astype('float32')


def feed(net, batches=range(TEST_ITER)):
    """The outputs of the forwards, (T, 1 + K) float32."""
    outputs = []
    for batch in batches:
        rows = slice(BATCH * batch, BATCH * (batch + 1))
        net.blobs['score'].data[...], net.blobs['label'].data[...] = SCORE[rows], LABEL[rows]
        found = net.forward()
        outputs.append(np.append(found['dice'], found.get('per_class', [])))
    return np.array(outputs, 'float32')


def caffe_mean(outputs):
    """As Solver::Test does it: a sum in float32, divided once."""
    total = np.zeros_like(outputs[0])
    for each in outputs:
        total = total + each
    return total / np.float32(len(outputs))


def expected(score=SCORE, label=LABEL, options=IGNORING, **keywords):
    """Mean and classes of the whole set; -1 where there is nothing."""
    dice = hard_dice(score, label[:, 0], options=options, **keywords)
    return np.nan_to_num(np.append(np.nanmean(dice), dice), nan=-1)


# --- from Python ---------------------------------------------------------------------------------

def test_the_mean_of_the_outputs_is_that_of_all_batches_so_far():
    outputs = feed(score_net())
    for t in range(1, TEST_ITER + 1):
        np.testing.assert_allclose(caffe_mean(outputs[:t]),
                                   expected(SCORE[:BATCH * t], LABEL[:BATCH * t]), rtol=FLOAT32)
    assert (caffe_mean(outputs) == -1).tolist() == [False] * 5 + [True]
    batches = [expected(SCORE[i:i + BATCH], LABEL[i:i + BATCH])[0] for i in (0, 2, 4, 6)]
    assert abs(np.mean(batches) - caffe_mean(outputs)[0]) > 1e-2


def test_float32_sums_of_many_batches_stay_exact():
    net = score_net()
    net.layer_dict['dice'].reset()
    outputs = feed(net, list(range(TEST_ITER)) * 500)
    np.testing.assert_allclose(caffe_mean(outputs), expected(),
                               rtol=TOLERANCE['sum in float32, all but its last bit'])


@pytest.mark.parametrize('param_str, options, keywords', [
    ('{"ignore_label": 255, "empty": 1}', IGNORING, dict(empty=1)),
    ('{"ignore_label": 255, "metric": "iou"}', IGNORING, dict(metric='iou')),
    ('{"ignore_label": 255, "empty_by": "label", "empty": 0}', IGNORING,
     dict(empty_by='label', empty=0)),
    ('{"ignore_label": 255, "empty": 0, "beta": 2}', IGNORING, dict(empty=0, beta=2)),
    ("{'ignore_label': 255, 'include_background': False}",
     IGNORING.replace(include_background=False), {}),
    ('{"preset": "nnunet", "ignore_label": 255}', IGNORING.replace(include_background=False), {}),
    ('{"ignore_label": 255, "classes": [2, 1]}', IGNORING.replace(classes=[2, 1]), {}),
])
def test_options(param_str, options, keywords):
    outputs = feed(score_net(param_str))
    np.testing.assert_allclose(caffe_mean(outputs), expected(options=options, **keywords),
                               rtol=FLOAT32)


def test_per_image():
    outputs = feed(score_net('{"ignore_label": 255, "per_image": true}'))
    dice = hard_dice(SCORE, LABEL[:, 0], options=IGNORING, per_image=True)
    known = ~np.isnan(dice)
    per_class = np.where(known, dice, 0).sum(axis=0)[:4] / known.sum(axis=0)[:4]
    np.testing.assert_allclose(caffe_mean(outputs), [per_class.mean(), *per_class, -1],
                               rtol=FLOAT32)


@pytest.mark.parametrize('average', ['micro', 'weighted'])
def test_average(average):
    outputs = feed(score_net(json.dumps({'ignore_label': 255, 'average': average})))
    value = hard_dice(SCORE, LABEL[:, 0], options=IGNORING, average=average)
    np.testing.assert_allclose(caffe_mean(outputs), [value, *expected()[1:]], rtol=FLOAT32)


def test_one_top_is_the_mean():
    outputs = feed(score_net(tops=1))
    np.testing.assert_allclose(caffe_mean(outputs), expected()[:1], rtol=FLOAT32)
    assert score_net(tops=1).blobs['dice'].data.shape == ()


def test_counts_and_reset_from_python():
    net = score_net()
    layer = net.layer_dict['dice']
    assert layer.counts is None
    feed(net)
    assert layer.counts == hard_counts(SCORE, LABEL[:, 0], IGNORING).total()
    layer.reset()
    assert layer.counts is None
    np.testing.assert_allclose(caffe_mean(feed(net)), expected(), rtol=FLOAT32)


def test_test_iter_starts_anew():
    net = score_net(f'{{"ignore_label": 255, "test_iter": {TEST_ITER}}}')
    first = feed(net)
    np.testing.assert_array_equal(feed(net), first)
    np.testing.assert_array_equal(feed(net), first)


def test_in_phase_train_each_batch_stands_alone():
    outputs = feed(score_net(phase=caffe.TRAIN))
    for t, output in enumerate(outputs):
        rows = slice(BATCH * t, BATCH * (t + 1))
        np.testing.assert_allclose(output, expected(SCORE[rows], LABEL[rows]), rtol=FLOAT32)


def test_training_in_between_starts_anew():
    net, training = score_net(), score_net(phase=caffe.TRAIN)
    first = feed(net)
    feed(training, [0])
    np.testing.assert_array_equal(feed(net), first)


def test_the_number_of_images_may_change():
    net = score_net()
    feed(net, [0])
    for name, array in (('score', SCORE[2:]), ('label', LABEL[2:])):
        net.blobs[name].reshape(*array.shape)
        net.blobs[name].data[...] = array
    net.forward()
    assert net.layer_dict['dice'].counts == hard_counts(SCORE, LABEL[:, 0], IGNORING).total()


def test_force_backward_gets_zeros_and_a_loss_weight_is_refused():
    net = make_net('force_backward: true\n' + inputs() + score_layer(), caffe.TRAIN)
    feed(net, [0])
    for name in ('score', 'label'):
        net.blobs[name].diff[...] = 7
    net.backward()
    assert not net.blobs['score'].diff.any() and not net.blobs['label'].diff.any()
    weight = 'loss_weight: 1 loss_weight: 0'
    net = make_net('force_backward: true\n' + inputs() + score_layer(extra=weight), caffe.TRAIN)
    net.forward()
    with pytest.raises(ValueError, match='a decision has no gradient: leave out the loss_weight'):
        net.backward()


@pytest.mark.parametrize('param_str, error, message', [
    ('{"smooth": 1}', TypeError, 'smooth is an option of the loss alone; the hard Dice takes act'),
    ('{"test_iters": 1}', TypeError, "unknown option 'test_iters'"),
    ('{"test_iter": 0}', ValueError, 'test_iter must be a whole number >= 1.*got 0'),
    ('{"test_iter": true}', ValueError, 'got True'),
    ('{"empty": "zero"}', ValueError, "must be 'nan', 0 or 1; got 'zero'"),
    ('{"axis": 2}', ValueError, 'axis must be 1, the channels of Caffe'),
    ('{"preset": "no"}', ValueError, 'preset'),
    ('{"classes": [7]}', ValueError, 'classes must lie in'),
    ('{"activation": "sigmoid"}', ValueError, 'needs a prediction of one channel'),
    ('[1]', ValueError, 'param_str must hold named options'),
])
def test_bad_param_str(param_str, error, message):
    with pytest.raises(error, match=message):
        score_net(param_str)


def test_bad_nets():
    with pytest.raises(ValueError, match='label must have one value per pixel'):
        make_net(inputs(label=(1, 1, 6, 5)) + score_layer())
    with pytest.raises(ValueError, match='takes the bottoms prediction and label; got 3'):
        make_net(inputs() + score_layer(extra='bottom: "label"'))
    with pytest.raises(ValueError, match='the tops mean and, if wanted, Dice per class; got 3'):
        score_net(tops=3)


def test_bad_values():
    net = score_net()
    feed(net, [0])
    net.blobs['score'].data[0, 1, 2, 3] = np.nan
    with pytest.raises(ValueError, match='got nan in sample 0, class 1, pixel 13 of 30'):
        net.forward()
    net.blobs['score'].data[...], net.blobs['label'].data[...] = 0, 7
    with pytest.raises(ValueError, match=r'label must be a whole number in \[0, 5\)'):
        net.forward()
    assert net.layer_dict['dice'].counts == hard_counts(SCORE[:2], LABEL[:2, 0], IGNORING).total()


# --- what the caffe command prints ---------------------------------------------------------------

DICE_LOSS = ('layer { name: "loss" type: "Python" bottom: "score" bottom: "label" top: "loss" '
             'loss_weight: 1 include { phase: TRAIN } python_param { module: "caffe_layers" '
             'layer: "SoftDiceLossLayer" param_str: \'{"ignore_label": 255}\' } }\n')
FOREIGN_LOSS = ('layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" '
                'top: "loss" include { phase: TRAIN } loss_param { ignore_label: 255 } }\n')
TEST_ONLY = 'include { phase: TEST }'
BACKBONE = ('layer { name: "score" type: "Convolution" bottom: "data" top: "score" '
            f'convolution_param {{ num_output: {CLASSES} kernel_size: 1 }} }}\n')


@pytest.fixture
def folder(tmp_path):
    """The set in HDF5, in test batches one after the other, and weights to start from."""
    with h5py.File(str(tmp_path / 'set.h5'), 'w') as file:
        file['data'], file['label'] = DATA, LABEL
    (tmp_path / 'list.txt').write_text(str(tmp_path / 'set.h5') + '\n')
    net = make_net(input_layer('data', DATA.shape) + BACKBONE)
    weights, bias = net.params['score']
    weights.data[...] = RNG.standard_normal(weights.data.shape)
    bias.data[...] = [0, 0, 0, -1, -99]
    net.save(str(tmp_path / 'start.caffemodel'))
    return tmp_path


def write_net(folder, loss, score):
    """A Dice's gradient is small: at a base_lr of 0.5 two steps often change no pixel's class."""
    data = ('layer { name: "data" type: "HDF5Data" top: "data" top: "label" '
            f'hdf5_data_param {{ source: "{folder / "list.txt"}" batch_size: {BATCH} }} }}\n')
    (folder / 'net.prototxt').write_text(data + BACKBONE + loss + score)
    (folder / 'solver.prototxt').write_text(
        f'net: "{folder / "net.prototxt"}" base_lr: 20 lr_policy: "fixed" max_iter: 6 '
        f'test_iter: {TEST_ITER} test_interval: 2 snapshot: 2 snapshot_prefix: "at" '
        'random_seed: 1')


def train(folder, loss, score):
    write_net(folder, loss, score)
    return caffe_command('train', '-solver', 'solver.prototxt', '-weights', 'start.caffemodel',
                         folder=str(folder))


def whole_set(folder, weights):
    """What must be printed for these weights, by the reference on the whole set at once."""
    with temporary_prototxt(input_layer('data', DATA.shape) + BACKBONE) as path:
        net = caffe.Net(path, str(folder / weights), caffe.TEST)
    net.blobs['data'].data[...] = DATA
    return expected(net.forward()['score'])


def printed(output, kind='Test net output #'):
    values = re.findall(kind + r'\d+: (?:dice|per_class) = (\S+)', output)
    return np.array(values, float).reshape(-1, 1 + CLASSES)


WAYS = {'our loss': (DICE_LOSS, score_layer(include=TEST_ONLY)),
        'test_iter': (FOREIGN_LOSS, score_layer('{"ignore_label": 255, "test_iter": 4}',
                                                include=TEST_ONLY)),
        'in both phases': (FOREIGN_LOSS, score_layer())}


@pytest.mark.parametrize('way', list(WAYS))
def test_caffe_train_prints_the_whole_set_at_every_test_run(way, folder):
    output, status = train(folder, *WAYS[way])
    assert status == 0, output
    found = printed(output)
    weights = ['start.caffemodel'] + [f'at_iter_{i}.caffemodel' for i in (2, 4, 6)]
    np.testing.assert_allclose(found, [whole_set(folder, each) for each in weights], rtol=PRINTED)
    assert len({*found[:, 0]}) == 4  # it did learn, so a stale value would be seen
    assert (found[:, 5] == -1).all() and (found[:, 1:5] >= 0).all()


@pytest.mark.parametrize('param_str', ['{"ignore_label": 255}',
                                       '{"ignore_label": 255, "test_iter": 3}'],
                         ids=['plain', 'another test_iter'])
def test_caffe_test_is_one_run(param_str, folder):
    write_net(folder, FOREIGN_LOSS, score_layer(param_str, include=TEST_ONLY))
    output, status = caffe_command('test', '-model', 'net.prototxt', '-weights', 'start.caffemodel',
                                   '-iterations', str(TEST_ITER), folder=str(folder))
    assert status == 0, output
    values = re.findall(r'caffe.cpp:\d+\] (?:dice|per_class) = (\S+)', output)
    np.testing.assert_allclose(np.array(values, float), whole_set(folder, 'start.caffemodel'),
                               rtol=PRINTED)


@pytest.mark.parametrize('loss, param_str, message', [
    (FOREIGN_LOSS, '{"ignore_label": 255}', "test_iter must be the solver's, for example"),
    (DICE_LOSS, '{"ignore_label": 255, "test_iter": 3}',
     "test_iter must be the solver's; it is 3, but a test run has more than 3 forwards"),
    (DICE_LOSS, '{"ignore_label": 255, "test_iter": 5}',
     "test_iter must be the solver's; it is 5, but a test run has 4 forwards"),
], ids=['not given', 'too small', 'too large'])
def test_caffe_train_stops_where_runs_cannot_be_told_apart(loss, param_str, message, folder):
    output, status = train(folder, loss, score_layer(param_str, include=TEST_ONLY))
    assert status != 0
    assert f'DiceScoreLayer.forward: {message}' in output


def test_a_solver_in_python(folder):
    write_net(folder, *WAYS['our loss'])
    solver = caffe.get_solver(str(folder / 'solver.prototxt'))
    solver.net.copy_from(str(folder / 'start.caffemodel'))
    solver.step(3)  # tests at 0 and 2, trains once more
    layer = solver.test_nets[0].layer_dict['dice']
    net = solver.test_nets[0]
    for _ in range(TEST_ITER):
        net.forward()
    assert layer.counts.tp.sum() + layer.counts.fn.sum() == (LABEL != 255).sum()
