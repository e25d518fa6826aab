"""`add --replace`: whatever the loss, what it had is carried over or named as lost."""
import caffe
import numpy as np
import pytest
from backends import input_layer
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from tolerances import TOLERANCE

from caffe_layers.__main__ import main
from soft_dice import DiceCEOptions, DiceOptions, soft_dice_loss_vjp
from soft_dice.gradcheck import relative_error

PRED = (2, 4, 9, 8)
ONE = (2, 1, 9, 8)
THEIRS = '''import caffe
class DiceLoss(caffe.Layer):
    def setup(self, bottom, top): pass
    def reshape(self, bottom, top): top[0].reshape(1)
    def forward(self, bottom, top): top[0].data[...] = 0
    def backward(self, top, propagate_down, bottom): pass
'''


def net(loss, label=ONE, made_by='', outputs=4, more=''):
    """Scores by a Convolution, or, with ``made_by``, the layer prob of these, and a loss."""
    made = f'layer {{ name: "prob" type: "{made_by}" bottom: "score" top: "prob" }}\n'
    return (input_layer('data', (2, 3, 9, 8)) + input_layer('label', label) + more
            + 'layer { name: "score" type: "Convolution" bottom: "data" top: "score" '
            f'convolution_param {{ num_output: {outputs} kernel_size: 1 '
            'weight_filler { type: "xavier" } } }\n' + (made if made_by else '') + loss)


def loss(kind, bottoms=('score', 'label'), more='', name='loss'):
    names = ''.join(f'  bottom: "{bottom}"\n' for bottom in bottoms)
    return (f'layer {{\n  name: "{name}"\n  type: "{kind}"\n{names}  top: "{name}"\n{more}'
            '  # the end\n}\n')


def python(bottoms=('prob', 'label'), more='  loss_weight: 1\n', name='loss', layer='DiceLoss',
           param_str=''):
    return loss('Python', bottoms, f'  python_param {{\n    module: "theirs"  # it is\n'
                f'    layer: "{layer}"\n{param_str}  }}\n{more}', name)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'theirs.py').write_text(THEIRS + 'class Loss(DiceLoss): pass\n')
    return tmp_path


def add(folder, text, *arguments):
    (folder / 'net.prototxt').write_text(text)
    return main(['add', 'net.prototxt', '--force', *arguments])


def became(folder, text, *arguments, status=0):
    """The loss layer that a net has then; every other layer must be as before."""
    assert add(folder, text, *arguments) == status
    old, new = (text_format.Parse(each, caffe_pb2.NetParameter()) for each in (
        text, (folder / 'net_dice.prototxt').read_text()))
    at = [i for i, layer in enumerate(new.layer) if 'caffe_layers' in str(layer)]
    assert len(old.layer) == len(new.layer)
    assert [i for i in range(len(new.layer)) if old.layer[i] != new.layer[i]] == at
    return new.layer[at[0]]


def options(layer):
    kind = DiceCEOptions if layer.python_param.layer == 'DiceCELossLayer' else DiceOptions
    return kind.from_param_str(layer.python_param.param_str)


def computes(layer, label, **fields):
    """In the net that was written: loss and gradient are the reference's, times loss_weight."""
    made = caffe.Net('net_dice.prototxt', caffe.TRAIN)
    made.blobs['data'].data[...] = np.random.RandomState(0).standard_normal((2, 3, 9, 8))
    made.blobs['label'].data[...] = label
    made.forward()
    made.backward()
    pred = made.blobs[layer.bottom[0]]
    value, vjp = soft_dice_loss_vjp(pred.data.astype('float64'), label, DiceOptions(**fields))
    assert relative_error(made.blobs['loss'].data, value.mean()) <= TOLERANCE['loss, float32']
    assert relative_error(pred.diff, vjp(layer.loss_weight[0] / 2)) \
        <= TOLERANCE['gradient, float32']


def onehot():
    return np.eye(4)[np.random.RandomState(1).randint(0, 4, (2, 9, 8))].transpose(0, 3, 1, 2)


# Caffe's own losses.

def test_a_sigmoid_cross_entropy_is_found_and_implies_a_sigmoid(folder, capsys):
    text = net(loss('SigmoidCrossEntropyLoss', more='  loss_weight: 0.5\n'), PRED)
    layer = became(folder, text)
    out = capsys.readouterr().out
    assert options(layer) == DiceOptions(activation='sigmoid', sparse_label=False)
    assert "'loss', SigmoidCrossEntropyLoss, becomes SoftDiceLossLayer of score, label." in out
    assert "looks at each channel alone, so activation is 'sigmoid'" in out
    assert 'has a label of the shape of score, so sparse_label is false' in out
    assert "'loss' sums over pixels" in out and 'Proved: Caffe loads the net; ' in out
    computes(layer, onehot(), activation='sigmoid', sparse_label=False)
    layer = became(folder, net(loss('SigmoidCrossEntropyLoss', more='  loss_param { '
                                    'normalize: true ignore_label: -1 }\n'), ONE, outputs=1))
    assert options(layer) == DiceOptions(activation='sigmoid', sparse_label=False, ignore_label=-1)
    assert 'sums over pixels' not in capsys.readouterr().out
    layer = became(folder, text, '--option', 'activation=softmax', '--loss', 'dice_ce')
    assert options(layer) == DiceCEOptions(sparse_label=False)


def test_a_euclidean_loss_with_the_label_first(folder, capsys):
    text = net(loss('EuclideanLoss', ('label', 'prob'), '  propagate_down: false\n'
                    '  propagate_down: true\n'), PRED, 'Sigmoid')
    layer = became(folder, text, '--replace', 'loss')
    assert list(layer.bottom) == ['prob', 'label']
    assert list(layer.propagate_down) == [True, False] and list(layer.loss_weight) == [1]
    assert options(layer) == DiceOptions(activation='none', sparse_label=False)
    assert "'loss' sums over pixels" in capsys.readouterr().out
    computes(layer, onehot(), activation='none', sparse_label=False)


def test_a_multinomial_loss_takes_probabilities(folder, capsys):
    text = net(loss('MultinomialLogisticLoss', ('prob', 'label')), made_by='Softmax')
    assert options(became(folder, text, '--replace', 'loss')) == DiceOptions(activation='none')
    text = net(loss('MultinomialLogisticLoss', ('prob', 'label')), made_by='Power')
    assert options(became(folder, text, '--replace', 'loss')) == DiceOptions(activation='none')
    assert "MultinomialLogisticLoss takes probabilities, so activation is 'none'" \
        in capsys.readouterr().out
    text = net(loss('MultinomialLogisticLoss'))
    assert options(became(folder, text, '--replace', 'loss')) == DiceOptions()
    assert "takes probabilities, but score holds scores: activation 'softmax' is applied to them" \
        in capsys.readouterr().out


@pytest.mark.parametrize('kind, more, lost', [
    ('HingeLoss', '  hinge_loss_param { norm: L2 }\n', 'hinge_loss_param { norm: L2 }'),
    ('InfogainLoss', '  infogain_loss_param {\n    source: "H.binaryproto" }\n',
     'infogain_loss_param { source: "H.binaryproto" }'),
    ('SoftmaxWithLoss', '  softmax_param { engine: CAFFE }\n  loss_param { normalize: true }\n',
     ''),
    ('SoftmaxWithLoss', '  param { lr_mult: 0 }\n', 'param { lr_mult: 0 }')])
def test_what_is_lost_is_named(kind, more, lost, folder, capsys):
    layer = became(folder, net(loss(kind, more=more)), '--replace', 'loss')
    assert options(layer) == DiceOptions() and not layer.param
    said = [line for line in capsys.readouterr().out.splitlines() if 'carried over' in line]
    assert said == ([f'Not carried over: {lost}.'] if lost else [])
    assert '  # the end\n' in (folder / 'net_dice.prototxt').read_text()


def test_a_third_bottom_is_named(folder, capsys):
    text = net(loss('InfogainLoss', ('score', 'label', 'H'), '  propagate_down: [true, false, '
                    'false]\n'), more=input_layer('H', (1, 1, 4, 4)))
    layer = became(folder, text, '--replace', 'loss')
    assert list(layer.bottom) == ['score', 'label']
    assert list(layer.propagate_down) == [True, False]
    assert 'Not carried over: the bottom H.  If it holds pixel weights, --weights H takes it.' \
        in capsys.readouterr().out


WEIGHTS = '  loss_param {\n    weight_by_label_freqs: %s\n%s    ignore_label: 11\n  }\n'
EACH = ''.join(f'    class_weighting: {weight}\n' for weight in (0.5, 2, 1, 4))


@pytest.mark.parametrize('switch, written, arguments, wanted, says', [
    ('true', EACH, ['--loss', 'dice_ce'], dict(ce_class_weights=(0.5, 2, 1, 4)),
     'The class weights 0.5, 2, 1, 4 are carried over to the cross-entropy.'),
    ('true', '    class_weights: [1, 2, 3, 4]\n', ['--loss', 'dice_ce'],
     dict(ce_class_weights=(1, 2, 3, 4)), 'carried over to the cross-entropy.'),
    ('true', EACH, ['--loss', 'dice_ce', '--option', 'ce_class_weights=[1,1,1,2]'],
     dict(ce_class_weights=(1, 1, 1, 2)), 'The class weights were 0.5, 2, 1, 4; ce_class_weights'),
    ('true', EACH, [], {}, 'Not carried over: the class weights 0.5, 2, 1, 4.  They make up for '
                           'rare classes in a sum over pixels, and Dice counts every class alike.  '
                           'To use them in spite of that: --option class_weights=[0.5,2,1,4]\n'),
    ('true', EACH, ['--option', 'class_weights=[0.5,2,1,4]'], dict(class_weights=(0.5, 2, 1, 4)),
     'Not carried over: the class weights'),
    ('false', EACH, [], {}, '')])
def test_class_weights_of_a_fork(switch, written, arguments, wanted, says, folder, capsys):
    assert add(folder, net(loss('SoftmaxWithLoss', more=WEIGHTS % (switch, written))),
               *arguments) == 0
    out = capsys.readouterr().out
    made = text_format.Parse((folder / 'net_dice.prototxt').read_text(), caffe_pb2.NetParameter())
    kind = DiceCEOptions if 'dice_ce' in arguments else DiceOptions
    assert options(made.layer[-1]) == kind(ignore_label=11, **wanted)
    assert says in out and ('the class weights' in out.lower()) == bool(says)
    assert 'Proved: Caffe loads the net; ' in out  # in which no more is the fork's


# A Python layer.

def test_ones_own_dice_layer(folder, capsys):
    text = net(python(param_str='    param_str: "{\\"smooth\\": 1}"\n'), made_by='Softmax')
    layer = became(folder, text, '--replace', 'loss', '--option', 'smooth=1')
    out = capsys.readouterr().out
    assert "'loss', theirs.DiceLoss, becomes SoftDiceLossLayer of prob, label." in out
    assert 'Not carried over: python_param { param_str: "{\\"smooth\\": 1}" }.' in out
    assert "prob is the output of a softmax layer, so activation is 'none'." in out
    assert 'Proved: Caffe loads the net; ' in out
    assert options(layer) == DiceOptions(activation='none', smooth=1)
    assert list(layer.top) == ['loss'] and list(layer.loss_weight) == [1]
    new = (folder / 'net_dice.prototxt').read_text()
    assert new.count('python_param') == 1 and 'theirs' not in new
    assert new.endswith('  # the end\n}\n')
    computes(layer, np.random.RandomState(1).randint(0, 4, ONE), activation='none', smooth=1)


@pytest.mark.parametrize('text, says', [
    (net(python(('score', 'label'))), "score holds scores, to which activation 'softmax' is"),
    (net(python(('label', 'score'))), "score holds scores, to which activation 'softmax' is"),
    (net(python(('up', 'label')), more='layer { name: "up" type: "Deconvolution" bottom: "data" '
         'top: "up" convolution_param { num_output: 4 kernel_size: 1 } }\n'),
     "up holds scores, to which activation 'softmax' is"),
    (net(python(('unknown', 'label')), more='layer { name: "unknown" type: "Python" bottom: "data" '
         'top: "unknown" python_param { module: "theirs" layer: "Loss" } }\n'),
     "does not say what unknown holds: activation 'softmax' is applied to it; if these are")])
def test_what_nobody_said_of_a_layer_is_told(text, says, folder, capsys):
    status = add(folder, text, '--replace', 'loss')
    out = capsys.readouterr().out
    assert says in out and 'Class numbers are taken for granted; --option sparse_label=false' in out
    assert status == (2 if 'unknown' in says else 0)  # whose top has no channels


def test_a_label_in_another_shape_is_given_class_numbers(folder, capsys):
    """As in V-Net's nets: Caffe is run on labels, whatever layers they go through."""
    flat = ''.join(f'layer {{ name: "{name}_flat" type: "Reshape" bottom: "{name}" top: '
                   f'"{name}_flat" reshape_param {{ shape {{ dim: 0 dim: {channels} dim: -1 }} }} '
                   '}\n' for name, channels in (('score', 4), ('label', 1)))
    became(folder, net(flat + python(('score_flat', 'label_flat'))), '--replace', 'loss')
    assert 'Proved: Caffe loads the net; on random input the loss' in capsys.readouterr().out


def test_a_layer_without_a_loss_weight_gets_one(folder):
    layer = became(folder, net(python(('score', 'label'), more='', name='x', layer='Loss')),
                   '--replace', 'x', '--name', 'loss')
    assert list(layer.loss_weight) == [1] and list(layer.top) == ['x']


# What there is to replace.

def test_nothing_to_replace_lists_the_losses_that_are_there(folder, capsys):
    text = net(python(name='mine') + loss('EuclideanLoss', ('prob', 'score'), name='l2'),
               made_by='Softmax')
    assert add(folder, text) == 2
    assert capsys.readouterr().err.endswith(
        "has no SoftmaxWithLoss or SigmoidCrossEntropyLoss in its TRAIN net; its losses are 'mine' "
        "(prob, label), theirs.DiceLoss, 'l2' (prob, score), EuclideanLoss: --replace NAME takes "
        'one; to add the loss all the same, name prediction and label with --bottom and --label\n')
    assert add(folder, text, '--replace', 'prob') == 2
    assert "'prob' is of type Softmax, which is no loss; its losses are 'mine'" \
        in capsys.readouterr().err
    text = net(loss('SoftmaxWithLoss', name='a') + loss('SigmoidCrossEntropyLoss', name='b'))
    assert add(folder, text) == 2
    assert "several losses that may be meant: 'a' (score, label), SoftmaxWithLoss, 'b' (score" \
        in capsys.readouterr().err


def test_what_stays_is_told(folder, capsys):
    text = net(loss('SoftmaxWithLoss', name='ce') + python(layer='Loss', name='loss'),
               made_by='Softmax')
    became(folder, text)
    assert "becomes SoftDiceLossLayer of score, label.  theirs.Loss stays 'loss' (prob, label).\n" \
        in capsys.readouterr().out


# A second Dice.

FLAT = ('layer { name: "flat" type: "Reshape" bottom: "label" top: "flat" '
        'reshape_param { shape { dim: 0 dim: 1 dim: -1 } } }\n')


@pytest.mark.parametrize('dice, arguments', [
    (python(), []), (python(), ['--bottom', 'score', '--label', 'label']),
    (FLAT + python(('prob', 'flat')), []),
    (python(layer='Loss', name='dice_loss'), []),
    (loss('DiceLoss', ('prob', 'label')), []),
    (python().replace('"theirs"', '"soft_dice_layer"').replace('"DiceLoss"', '"SoftDiceLossLayer"'),
     [])])
def test_no_second_dice_without_being_asked_for(dice, arguments, folder, capsys):
    ce = '' if arguments else loss('SoftmaxWithLoss', name='ce')
    text = net(ce + dice, made_by='Softmax')
    assert add(folder, text, *arguments) == 2
    err = capsys.readouterr().err
    assert 'label has a Dice already, ' in err and '--beside adds ours to it' in err
    assert not (folder / 'net_dice.prototxt').exists()


def test_a_second_dice_that_is_asked_for(folder, capsys):
    text = net(loss('SoftmaxWithLoss', name='ce') + python(), made_by='Softmax')
    assert add(folder, text, '--beside') == 0
    assert "label has a Dice already, 'loss' (prob, label): the two losses add up." \
        in capsys.readouterr().out
    became(folder, text, '--replace', 'ce')
    assert 'the two losses add up' in capsys.readouterr().out
    became(folder, text, '--replace', 'loss')
    assert 'add up' not in capsys.readouterr().out
    of_test = python(more='  loss_weight: 1\n  include { phase: TEST }\n')
    became(folder, net(loss('SoftmaxWithLoss', name='ce') + of_test, made_by='Softmax'))


def test_the_layer_of_the_one_file_is_ours(folder, capsys):
    text = net(python(('score', 'label'), layer='SoftDiceLossLayer')).replace('theirs', '%s')
    for module in ('soft_dice_layer', 'digits_python_layers'):
        assert add(folder, text % module) == 0
        assert 'has the loss already' in capsys.readouterr().out
