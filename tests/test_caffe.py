"""What is Caffe's own: loss_weight, propagate_down, reshaping, tops and bottoms, param_str."""
import re

import caffe
import numpy as np
import pytest
from backends import (caffe_command, input_layer, loss_net, loss_prototxt, make_net,
                      temporary_prototxt)
from cases import Arrays
from tolerances import TOLERANCE

from soft_dice import DiceOptions, soft_dice_loss, soft_dice_loss_vjp, soft_dice_score
from soft_dice.gradcheck import relative_error

pytestmark = pytest.mark.usefixtures('implementation')

RNG = np.random.RandomState(0)
PRED = RNG.standard_normal((2, 4, 9, 8)).astype('float32')
LABEL = RNG.randint(0, 4, (2, 1, 9, 8)).astype('float32')
WEIGHT = RNG.uniform(0, 2, (2, 1, 9, 8)).astype('float32')
ARRAYS = Arrays(PRED, LABEL, None, np.ones(2))


def run(net):
    net.forward()
    net.backward()
    return net.blobs['loss'].data.copy(), net.blobs['pred'].diff.copy()


def expected(pred=PRED, label=LABEL, weight=None, loss_weight=1.0, **fields):
    loss, vjp = soft_dice_loss_vjp(pred.astype('float64'), label, DiceOptions(**fields), weight)
    return loss.mean(), vjp(loss_weight / len(loss))


def assert_same(found, wanted):
    assert relative_error(found[0], wanted[0]) <= TOLERANCE['loss, float32']
    assert relative_error(found[1], wanted[1]) <= TOLERANCE['gradient, float32']


@pytest.mark.parametrize('loss_weight', [1.0, 3.0, -1.0, 0.25, 1e-3])
def test_loss_weight(loss_weight):
    assert_same(run(loss_net(ARRAYS, loss_weight=loss_weight)), expected(loss_weight=loss_weight))


def test_loss_is_a_scalar():
    assert loss_net(ARRAYS).blobs['loss'].data.shape == ()


def test_the_whole_diff_is_assigned():
    """Caffe does not clear a bottom's diff: what backward does not write is left from before."""
    net = loss_net(ARRAYS._replace(label=np.full_like(LABEL, 255)), '{"ignore_label": 255}')
    net.forward()
    net.blobs['pred'].diff[...] = 7
    net.blobs['label'].diff[...] = 7
    net.backward()
    assert not net.blobs['pred'].diff.any() and not net.blobs['label'].diff.any()


def test_force_backward_writes_zeros_for_label_and_weights():
    net = loss_net(ARRAYS._replace(pixel_weight=WEIGHT))
    net.forward()
    for name in ('label', 'pixel_weight'):
        net.blobs[name].diff[...] = 7
    net.backward()
    assert net.blobs['pred'].diff.any()
    assert not net.blobs['label'].diff.any() and not net.blobs['pixel_weight'].diff.any()


def convolution(bottom, top, outputs):
    return (f'layer {{ name: "{top}" type: "Convolution" bottom: "{bottom}" top: "{top}" '
            f'convolution_param {{ num_output: {outputs} kernel_size: 1 '
            'weight_filler { type: "xavier" } } }\n')


def test_only_where_propagate_down_asks():
    """Backward is called for the pixel weights alone; the prediction's diff is not its to write."""
    text = input_layer('data', PRED.shape) + convolution('data', 'pred', 4)
    text += convolution('data', 'weight', 1) + input_layer('label', LABEL.shape)
    text += loss_prototxt({}, force_backward=False).replace(
        'top: "loss"', 'bottom: "pred" bottom: "label" bottom: "weight" top: "loss" '
        'propagate_down: false propagate_down: false propagate_down: true')
    net = make_net(text)
    net.params['weight'][0].data[...], net.params['weight'][1].data[...] = 0, 1
    net.blobs['data'].data[...], net.blobs['label'].data[...] = PRED, LABEL
    net.forward()
    net.blobs['pred'].diff[...] = net.blobs['weight'].diff[...] = 7
    net.backward()
    assert (net.blobs['pred'].diff == 7).all() and not net.blobs['weight'].diff.any()


def test_gradient_reaches_the_weights_below():
    """A 1x1 convolution under the loss, without force_backward: the ordinary way of training."""
    text = input_layer('data', PRED.shape) + convolution('data', 'pred', 4)
    text += loss_prototxt({'label': LABEL.shape}, force_backward=False).replace(
        'bottom: "label"', 'bottom: "pred" bottom: "label"')
    net = make_net(text)
    net.blobs['data'].data[...], net.blobs['label'].data[...] = PRED, LABEL
    net.forward()
    net.backward()
    _, d_pred = expected(net.blobs['pred'].data)
    weights = np.einsum('nihw,nohw->oi', PRED.astype('float64'), d_pred)
    assert relative_error(net.params['pred'][0].diff[:, :, 0, 0], weights) \
        <= TOLERANCE['gradient, float32']


def test_one_step_along_the_gradient_lowers_the_loss():
    net = loss_net(ARRAYS)
    before, gradient = run(net)
    net.blobs['pred'].data[...] -= 10 * gradient
    assert run(net)[0] < before


def test_pixel_weights():
    found = run(loss_net(ARRAYS._replace(pixel_weight=WEIGHT)))
    assert_same(found, expected(weight=WEIGHT))


def test_label_without_channel_axis():
    assert_same(run(loss_net(ARRAYS._replace(label=LABEL[:, 0]))), expected())


def test_volume():
    pred = RNG.standard_normal((2, 3, 4, 5, 6)).astype('float32')
    label = RNG.randint(0, 3, (2, 1, 4, 5, 6)).astype('float32')
    assert_same(run(loss_net(Arrays(pred, label, None, np.ones(2)))), expected(pred, label))


def test_one_sample():
    arrays = Arrays(PRED[:1], LABEL[:1], None, np.ones(1))
    assert_same(run(loss_net(arrays)), expected(PRED[:1], LABEL[:1]))


def test_all_ignored():
    label = np.full_like(LABEL, 255)
    for param_str in ('{"ignore_label": 255}', '{"ignore_label": 255, "smooth": 0}'):
        loss, gradient = run(loss_net(ARRAYS._replace(label=label), param_str))
        assert loss == 0 and not gradient.any()


def test_batch_and_image_size_change_between_passes():
    net = loss_net(ARRAYS, tops=2)
    for shape in ((2, 4, 9, 8), (1, 4, 9, 8), (3, 4, 5, 5), (2, 6, 9, 8), (2, 4, 9, 8)):
        pred = RNG.standard_normal(shape).astype('float32')
        label = RNG.randint(0, shape[1], shape[:1] + (1,) + shape[2:]).astype('float32')
        net.blobs['pred'].reshape(*pred.shape)
        net.blobs['label'].reshape(*label.shape)
        net.blobs['pred'].data[...], net.blobs['label'].data[...] = pred, label
        assert_same(run(net), expected(pred, label))
        assert net.blobs['score'].data.shape == shape[:2]


@pytest.mark.parametrize('fields', [dict(), dict(include_background=False),
                                    dict(pool_classes=True), dict(batch_dice=True)])
def test_second_top_is_the_score(fields):
    options = DiceOptions(**fields)
    net = loss_net(ARRAYS, options.to_json(), tops=2)
    assert_same(run(net), expected(**fields))
    score = soft_dice_score(PRED, LABEL, options)
    assert net.blobs['score'].data.shape == score.shape
    assert relative_error(net.blobs['score'].data, score) <= TOLERANCE['loss, float32']


def test_loss_weight_on_the_score_is_refused():
    text = loss_prototxt({'pred': PRED.shape, 'label': LABEL.shape}, tops=2)
    net = make_net(text.replace('loss_weight: 0', 'loss_weight: 1'))
    net.blobs['pred'].data[...], net.blobs['label'].data[...] = PRED, LABEL
    net.forward()
    with pytest.raises(ValueError, match='score .second top. has no gradient'):
        net.backward()


def test_loss_per_class():
    net = loss_net(ARRAYS, '{"class_reduction": "none"}', loss_weight=2.0)
    net.forward()
    net.backward()
    loss, vjp = soft_dice_loss_vjp(PRED.astype('float64'), LABEL,
                                   DiceOptions(class_reduction='none'))
    assert relative_error(net.blobs['loss'].data, loss.mean(axis=0)) <= TOLERANCE['loss, float32']
    assert relative_error(net.blobs['pred'].diff, vjp(2.0 / 2)) <= TOLERANCE['gradient, float32']


@pytest.mark.parametrize('param_str', ['', ' ', '{}', '{"smooth": 1e-05}', "{'smooth': 1e-05}"])
def test_param_str(param_str):
    assert_same(run(loss_net(ARRAYS, param_str)), expected())


@pytest.mark.parametrize('param_str, error, message', [
    ('{"smoth": 1}', TypeError, "unknown option 'smoth'"),
    ('{"smooth": -1}', ValueError, 'smooth must be a finite number >= 0'),
    ('__import__("os").abort()', ValueError, 'param_str must be a JSON object'),
    ('{"axis": 2}', ValueError, 'axis must be 1, the channels of Caffe; got 2'),
])
def test_bad_param_str(param_str, error, message):
    with pytest.raises(error, match=message):
        loss_net(ARRAYS, param_str)


@pytest.mark.parametrize('shapes, message', [
    ({'pred': (2, 4, 9, 8)}, 'takes the bottoms prediction, label'),
    ({'pred': (2, 4, 9, 8), 'label': (2, 1, 9, 8), 'w': (2, 1, 9, 8), 'x': (1,)}, 'got 4'),
    ({'pred': (2, 4, 9, 8), 'label': (2, 1, 9, 7)}, 'label must have one value per pixel'),
    ({'pred': (2, 4, 9, 8), 'label': (2, 1, 9, 8), 'w': (2, 1, 9, 7)}, 'pixel_weight must have'),
])
def test_bad_bottoms(shapes, message):  # which the making of a net refuses
    with pytest.raises(ValueError, match=message):
        make_net(loss_prototxt(shapes))


def test_too_many_tops():
    with pytest.raises(ValueError, match='the tops loss and, if wanted, score; got 3'):
        make_net(loss_prototxt({'pred': PRED.shape, 'label': LABEL.shape}, tops=3))


def caffe_train(tmp_path, label_value):
    """What the caffe command prints, and its exit status, for a net that Caffe fills itself."""
    net = tmp_path / 'net.prototxt'
    net.write_text(
        'layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param { '
        'shape { dim: 2 dim: 3 dim: 4 dim: 4 } shape { dim: 2 dim: 1 dim: 4 dim: 4 } '
        'data_filler { type: "gaussian" } '
        f'data_filler {{ type: "constant" value: {label_value} }} }} }}\n'
        + convolution('data', 'pred', 3)
        + loss_prototxt({}, force_backward=False).replace('top: "loss"',
                                                          'bottom: "pred" bottom: "label" '
                                                          'top: "loss"'))
    solver = tmp_path / 'solver.prototxt'
    solver.write_text(f'net: "{net}" base_lr: 1 lr_policy: "fixed" max_iter: 9 display: 1 '
                      'random_seed: 1 snapshot_after_train: false')
    return caffe_command('train', '-solver', str(solver), folder=str(tmp_path))


def test_caffe_command_trains(tmp_path):
    output, status = caffe_train(tmp_path, label_value=1)
    losses = [float(value) for value in re.findall(r'Iteration \d+.*, loss = ([\d.e-]+)', output)]
    assert status == 0, output
    assert len(losses) >= 9 and losses[-1] < losses[0]


def test_caffe_command_shows_the_error(tmp_path):
    output, status = caffe_train(tmp_path, label_value=7)
    assert status != 0
    assert 'SoftDiceLossLayer.forward: label must be a whole number in [0, 3)' in output


def test_in_a_test_net_and_a_solver(tmp_path):
    """The layer under Caffe's own solver: the loss falls, and the TEST net computes the same."""
    layers = input_layer('data', PRED.shape) + input_layer('label', LABEL.shape)
    layers += convolution('data', 'pred', 4) + (
        'layer { name: "loss" type: "Python" bottom: "pred" bottom: "label" top: "loss" '
        'loss_weight: 1 python_param { module: "caffe_layers" layer: "SoftDiceLossLayer" } }\n')
    with temporary_prototxt(layers) as net:
        solver_file = tmp_path / 'solver.prototxt'
        solver_file.write_text(f'net: "{net}" base_lr: 0.1 lr_policy: "fixed" type: "Adam" '
                               'momentum: 0.9 test_iter: 1 test_interval: 1000 random_seed: 1 '
                               'max_iter: 60 snapshot_after_train: false')
        solver = caffe.get_solver(str(solver_file))
    data = np.eye(4, dtype='float32')[LABEL[:, 0].astype(int)].transpose(0, 3, 1, 2)
    for each in (solver.net, solver.test_nets[0]):
        each.blobs['data'].data[...], each.blobs['label'].data[...] = data, LABEL
    solver.step(1)
    first = float(solver.net.blobs['loss'].data)
    solver.step(50)
    solver.test_nets[0].share_with(solver.net)
    test_loss = solver.test_nets[0].forward()['loss']
    pred = solver.test_nets[0].blobs['pred'].data
    assert float(test_loss) < first / 3
    assert relative_error(test_loss, soft_dice_loss(pred, LABEL).mean()) \
        <= TOLERANCE['loss, float32']
