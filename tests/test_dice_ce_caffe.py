"""What is Caffe's own of DiceCELossLayer; what SoftDiceLossLayer shares with it: test_caffe."""
import functools

import numpy as np
import pytest
from backends import loss_net, loss_prototxt, make_net
from cases import Arrays
from tolerances import TOLERANCE

from caffe_layers import DiceCELossLayer
from caffe_layers.gradcheck import assert_layer
from soft_dice import DiceCEOptions, dice_ce_loss_vjp, soft_dice_score
from soft_dice.gradcheck import relative_error

pytestmark = pytest.mark.usefixtures('implementation')

RNG = np.random.RandomState(0)
PRED = RNG.standard_normal((2, 4, 9, 8)).astype('float32')
LABEL = RNG.randint(0, 4, (2, 1, 9, 8)).astype('float32')
WEIGHT = RNG.uniform(0, 2, (2, 1, 9, 8)).astype('float32')
ARRAYS = Arrays(PRED, LABEL, None, np.ones(2))

net_of = functools.partial(loss_net, layer='DiceCELossLayer')


def run(net):
    net.forward()
    net.backward()
    return net.blobs['loss'].data.copy(), net.blobs['pred'].diff.copy()


def assert_same(found, weight=None, loss_weight=1.0, **fields):
    loss, vjp = dice_ce_loss_vjp(PRED.astype('float64'), LABEL, DiceCEOptions(**fields), weight)
    assert found[0].shape == ()
    assert relative_error(found[0], loss.mean()) <= TOLERANCE['loss, float32']
    assert relative_error(found[1], vjp(loss_weight / len(loss))) <= TOLERANCE['gradient, float32']


@pytest.mark.parametrize('loss_weight', [1.0, -3.0, 1e-3])
def test_loss_weight(loss_weight):
    assert_same(run(net_of(ARRAYS, loss_weight=loss_weight)), loss_weight=loss_weight)


def test_pixel_weights():
    assert_same(run(net_of(ARRAYS._replace(pixel_weight=WEIGHT), '{"ce_gamma": 2}')), WEIGHT,
                ce_gamma=2)


@pytest.mark.parametrize('param_str, fields', [
    ('', {}), ('{"preset": "nnunet", "ce_weight": 0.5}',
               dict(include_background=False, form='negative', ce_weight=0.5)),
    ("{'ce_class_weights': [1, 2, 3, 4], 'label_smoothing': 0.1, 'class_weights': 'inverse'}",
     dict(ce_class_weights=[1, 2, 3, 4], label_smoothing=0.1, class_weights='inverse')),
])
def test_param_str(param_str, fields):
    assert_same(run(net_of(ARRAYS, param_str)), **fields)


def test_the_whole_diff_is_assigned():
    """Caffe does not clear a bottom's diff: what backward does not write is left from before."""
    net = net_of(ARRAYS._replace(label=np.full_like(LABEL, 255)), '{"ignore_label": 255}')
    net.forward()
    for name in ('pred', 'label'):
        net.blobs[name].diff[...] = 7
    net.backward()
    assert not net.blobs['pred'].diff.any() and not net.blobs['label'].diff.any()


@pytest.mark.parametrize('fields', [dict(), dict(include_background=False, ce_weight=3)])
def test_second_top_is_the_score_of_the_dice(fields):
    options = DiceCEOptions(**fields)
    net = net_of(ARRAYS, options.to_json(), tops=2)
    assert_same(run(net), **fields)
    score = soft_dice_score(PRED, LABEL, options.dice)
    assert net.blobs['score'].data.shape == score.shape
    assert relative_error(net.blobs['score'].data, score) <= TOLERANCE['loss, float32']


@pytest.mark.parametrize('param_str, error, message', [
    ('{"ce_wieght": 1}', TypeError, "unknown option 'ce_wieght'; .*ce_normalization"),
    ('{"ce_weight": -1}', ValueError, 'ce_weight must be a finite number >= 0'),
    ('{"class_reduction": "none"}', ValueError, "class_reduction='none' gives a Dice loss per"),
    ('{"axis": -1}', ValueError, 'axis must be 1, the channels of Caffe; got -1'),
    ('{"preset": "nnUNet"}', ValueError, 'preset must be one of'),
])
def test_bad_param_str(param_str, error, message):
    with pytest.raises(error, match=message):
        net_of(ARRAYS, param_str)


def test_errors_name_the_layer():
    text = functools.partial(loss_prototxt, layer='DiceCELossLayer')
    with pytest.raises(ValueError, match='DiceCELossLayer takes the bottoms prediction, label'):
        make_net(text({'pred': PRED.shape}))
    with pytest.raises(ValueError, match='DiceCELossLayer has the tops loss and, if wanted'):
        make_net(text({'pred': PRED.shape, 'label': LABEL.shape}, tops=3))


@pytest.mark.parametrize('param_str', ['', '{"ce_gamma": 0.5, "label_smoothing": 0.1}'])
def test_the_checker_finds_no_defect(param_str):
    assert_layer(DiceCELossLayer, pred=(2, 4, 9, 8), label=(2, 1, 9, 8), param_str=param_str)
