"""Our losses say once that nothing is learnt from them, and only where that is so."""
import caffe
import numpy as np
import pytest
from backends import caffe_command

from caffe_layers.checker.rig import Blob
from caffe_layers.learning import Learning

SAID = 'learns nothing: the prototxt gives it no loss_weight, or 0'
DATA = ('layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param { '
        'shape { dim: 2 dim: 3 dim: 4 dim: 4 } shape { dim: 2 dim: 1 dim: 4 dim: 4 } '
        'data_filler { type: "gaussian" } data_filler { type: "constant" value: 1 } } }\n'
        'layer { name: "pred" type: "Convolution" bottom: "data" top: "pred" convolution_param { '
        'num_output: 3 kernel_size: 1 weight_filler { type: "xavier" } } }\n')
CROSS_ENTROPY = ('layer { name: "ce" type: "SoftmaxWithLoss" bottom: "pred" bottom: "label" '
                 'top: "ce" %s }\n')
SUM = 'layer { name: "sum" type: "Power" bottom: "loss" top: "sum" loss_weight: 2 }\n'


def dice(more='', layer='SoftDiceLossLayer', module='caffe_layers'):
    return ('layer { name: "loss" type: "Python" bottom: "pred" bottom: "label" top: "loss" '
            f'{more} python_param {{ module: "{module}" layer: "{layer}" }} }}\n')


NETS = {
    'none': (dice(), 1), 'zero': (dice('loss_weight: 0'), 1),
    'with a cross-entropy': (dice(layer='DiceCELossLayer'), 1),
    'another trains': (dice() + CROSS_ENTROPY % '', 1),
    'force_backward': ('force_backward: true ' + dice(), 1),
    'one': (dice('loss_weight: 1'), 0), 'minus': (dice('loss_weight: -1e-3'), 0),
    'taken by another layer': (dice() + SUM, 0),
    'only tested': (dice('include { phase: TEST }') + CROSS_ENTROPY % '', 0),
    'the one file': (dice(module='soft_dice_layer'), 1)}


def train(folder, net, **more):
    (folder / 'net.prototxt').write_text(DATA + net)
    (folder / 'solver.prototxt').write_text(
        'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 5 test_iter: 3 '
        'test_interval: 2 iter_size: 2 snapshot_after_train: false')
    return caffe_command('train', '-solver', 'solver.prototxt', folder=str(folder), **more)


@pytest.mark.parametrize('name', NETS)
def test_the_caffe_command_warns_once(name, tmp_path):
    net, times = NETS[name]
    output, status = train(tmp_path, net)
    assert status == 0, output
    assert output.count(SAID) == times, output
    if times:
        layer = 'DiceCELossLayer' if 'DiceCE' in net else 'SoftDiceLossLayer'
        assert f'{layer} {SAID}' in output and 'add loss_weight: 1 to the layer.' in output


def test_a_net_that_is_only_run_is_not_trained(tmp_path, recwarn):
    """From Python, too: a solver that trains warns, a forward alone does not."""
    train(tmp_path, dice())
    (tmp_path / 'solver.prototxt').write_text(
        f'net: "{tmp_path / "net.prototxt"}" base_lr: 0.1 lr_policy: "fixed" max_iter: 5 '
        'test_iter: 3 test_interval: 100 snapshot_after_train: false')
    solver = caffe.SGDSolver(str(tmp_path / 'solver.prototxt'))
    for _ in range(3):
        solver.net.forward()
        solver.net.backward()
    assert not [each for each in recwarn if SAID in str(each.message)]
    solver.step(4)
    assert [SAID in str(each.message) for each in recwarn].count(True) == 1


class Layer:
    """What Learning asks of a layer: whether it is told its phase."""

    def __init__(self, **attributes):
        vars(self).update(attributes)


@pytest.mark.parametrize('layer, tops, warns', [
    (Layer(phase=caffe.TRAIN), tuple, 1), (Layer(phase=caffe.TEST), tuple, 0),
    (Layer(), tuple, 0),  # a Caffe from before 2016
    (Layer(phase=caffe.TRAIN), list, 0)])
def test_whom_it_watches(layer, tops, warns, recwarn):
    learning, top = Learning(), tops([Blob(())])
    for _ in range(4):
        learning.forward(layer, top)
    assert len(recwarn) == warns


def test_a_weight_that_comes_with_the_first_backward(recwarn):
    learning, top = Learning(), (Blob((3,)),)
    learning.forward(Layer(phase=caffe.TRAIN), top)
    top[0].diff[...] = np.array([0, 0, -1])
    learning.look(top)
    top[0].diff[...] = 0
    for _ in range(3):
        learning.forward(Layer(phase=caffe.TRAIN), top)
    assert not len(recwarn)


def test_a_weight_that_comes_with_the_second_forward(recwarn):
    learning, top = Learning(), (Blob(()),)
    for _ in range(3):
        learning.forward(Layer(phase=caffe.TRAIN), top)
        top[0].diff[...] = 1
    assert not len(recwarn)


def test_the_warning_is_one_of_pythons(tmp_path, monkeypatch):
    """So that who sets a weight of 0 on purpose can silence it."""
    monkeypatch.setenv('PYTHONWARNINGS', 'ignore')
    output, status = train(tmp_path, dice('loss_weight: 0'))
    assert status == 0 and SAID not in output and 'Iteration 4' in output
