"""python -m caffe_layers add, on prototxts of every manner, and in real Caffe."""
import contextlib
import difflib
import os
import pathlib
import pty
import re
import stat

import caffe
import numpy as np
import pytest
from backends import input_layer
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from tolerances import TOLERANCE

from caffe_layers import proof, spans
from caffe_layers.__main__ import main
from soft_dice import DiceCEOptions, DiceOptions, dice_ce_loss, soft_dice_loss_vjp
from soft_dice.gradcheck import relative_error

ROOT = pathlib.Path(__file__).resolve().parent.parent

DATA = input_layer('data', (2, 3, 9, 8)) + input_layer('label', (2, 1, 9, 8))


def scores(name='score', outputs=4, bottom='data'):
    return (f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" '
            f'convolution_param {{ num_output: {outputs} kernel_size: 1 '
            'weight_filler { type: "xavier" } } }\n')


def softmax_loss(more='', name='loss', bottoms=('score', 'label'), top='top: "loss"'):
    names = ' '.join(f'bottom: "{bottom}"' for bottom in bottoms)
    return f'layer {{ name: "{name}" type: "SoftmaxWithLoss" {names} {top} {more} }}\n'


NET = DATA + scores() + softmax_loss()
NO_DATA = ('layer { name: "data" type: "Data" top: "data" top: "label" '
           'data_param { source: "no/such/lmdb" batch_size: 1 backend: LMDB } }\n')
OURS = 'python_param { module: "caffe_layers" layer: "SoftDiceLossLayer"%s }'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text, name='net.prototxt'):
    with open(name, 'wb') as file:
        file.write(text if isinstance(text, bytes) else text.encode())


def read(name='net_dice.prototxt'):
    with open(name, 'rb') as file:
        return file.read()


def parse(data):
    return text_format.Parse(data.decode('utf-8', 'surrogateescape'), caffe_pb2.NetParameter())


def add(*arguments):
    return main(['add', 'net.prototxt', *arguments])


def added(text, *arguments, status=0):
    """What the command makes of a net; net.prototxt itself must stay as it is."""
    write(text)
    before = read('net.prototxt')
    assert add(*arguments) == status
    assert read('net.prototxt') == before
    new = read()
    only_the_loss_differs(parse(before), parse(new))
    return new


def only_the_loss_differs(old, new):
    """As Caffe reads the two nets, not as the command does."""
    before, after = ([layer.SerializeToString() for layer in net.layer] for net in (old, new))
    came = [i for i, layer in enumerate(after) if layer not in before]
    assert len(came) == 1 and 'caffe_layers' in str(new.layer[came[0]])
    del after[came[0]]
    assert after in (before, before[:came[0]] + before[came[0] + 1:])
    for net in (old, new):
        del net.layer[:]
    assert old == new


def layers_in(text):
    return [field for field in spans.parse(text, 'net.prototxt') if field.name == 'layer']


def changed_lines(old, new):
    """Lines that went and lines that came."""
    lines = list(difflib.ndiff(*(each.decode().split('\n') for each in (old, new))))
    return [[line[2:] for line in lines if line[:1] == mark] for mark in '-+']


def reference(net, layer, **fields):
    """Assert that the loss in this Caffe net is the reference's, and so is its gradient."""
    pred, label = (net.blobs[name].data.astype('float64') for name in layer.bottom[:2])
    loss, vjp = soft_dice_loss_vjp(pred, label, DiceOptions(**fields))
    gradient = net.blobs[net.bottom_names[layer.name][0]].diff
    weight = layer.loss_weight[0]
    assert relative_error(net.blobs[layer.top[0]].data, loss.mean()) <= TOLERANCE['loss, float32']
    assert relative_error(gradient, vjp(weight / len(loss))) <= TOLERANCE['gradient, float32']


def run(name='net_dice.prototxt'):
    net = caffe.Net(name, caffe.TRAIN)
    rng = np.random.RandomState(1)
    net.blobs['data'].data[...] = rng.standard_normal(net.blobs['data'].data.shape)
    net.blobs['label'].data[...] = rng.randint(0, 4, net.blobs['label'].data.shape)
    net.forward()
    net.backward()
    return net


# What is written.

EXPANDED = '''name: "net"  # a name, { not a layer
%slayer {
  name: "loss"     # keep me
  type: "SoftmaxWithLoss"
  bottom: "score"  # { "unbalanced
  bottom: "label"
  # between } the fields
  top: "loss"
  loss_param {     # goes
    ignore_label: 255
  }
  include { phase: TRAIN }
}  # after
# at the end, no line end'''


def test_only_the_layer_changes(folder, capsys):
    old = (EXPANDED % (DATA + scores())).encode()
    new = added(old)
    assert changed_lines(old, new) == [
        ['  type: "SoftmaxWithLoss"', '  loss_param {     # goes', '    ignore_label: 255'],
        ['  type: "Python"', '  loss_weight: 1', '  python_param {', '    module: "caffe_layers"',
         '    layer: "SoftDiceLossLayer"', '    param_str: \'{"ignore_label": 255}\'']]
    out, err = capsys.readouterr()
    assert err == '' and '\x1b' not in out
    assert "'loss', SoftmaxWithLoss, becomes SoftDiceLossLayer of score, label." in out
    assert 'ignore_label 255 is carried over.' in out
    assert '\n--- net.prototxt\n+++ net_dice.prototxt\n@@ ' in out
    assert '\n-  type: "SoftmaxWithLoss"\n+  type: "Python"\n' in out
    assert '\nWritten: net_dice.prototxt\nProved: Caffe loads the net; on random input the loss ' \
        'is 0.' in out
    reference(run(), parse(new).layer[-1], ignore_label=255)


def test_beside(folder):
    old = (EXPANDED % (DATA + scores())).encode()
    new = added(old, '--beside', '--loss-weight', '0.5')
    gone, came = changed_lines(old, new)
    assert gone == [] and came == [
        'layer {', '  name: "loss_dice"', '  type: "Python"', '  bottom: "score"',
        '  bottom: "label"', '  top: "loss_dice"', '  loss_weight: 0.5',
        '  include { phase: TRAIN }', '  python_param {', '    module: "caffe_layers"',
        '    layer: "SoftDiceLossLayer"', '    param_str: \'{"ignore_label": 255}\'', '  }', '}']
    assert new.index(b'# after') < new.index(b'loss_dice') < new.index(b'# at the end')
    net = run()
    reference(net, parse(new).layer[-1], ignore_label=255)
    split = net.blobs[net.bottom_names['loss'][0]].diff + \
        net.blobs[net.bottom_names['loss_dice'][0]].diff
    assert relative_error(net.blobs['score'].diff, split) <= TOLERANCE['gradient, float32']


def test_with_crlf_tabs_and_bytes_that_are_no_utf8(folder):
    text = ('layer {\n\tname: "loss"\n\ttype: "SoftmaxWithLoss"\n\tbottom: "score"\n'
            '\tbottom: "label"\n\ttop: "loss"\n}\n')
    old = (b'# \xb1\xea\xc7\xa9 in GBK, caf\xc3\xa9 in UTF-8\n'
           + (DATA + scores() + text).encode()).replace(b'\n', b'\r\n')
    new = added(old)
    assert new.count(b'\n') == new.count(b'\r\n') and new.startswith(b'# \xb1\xea\xc7\xa9 in GBK')
    assert new.endswith(b'\r\n\ttop: "loss"\r\n\tloss_weight: 1\r\n\tpython_param {\r\n\t\tmodule: '
                        b'"caffe_layers"\r\n\t\tlayer: "SoftDiceLossLayer"\r\n\t}\r\n}\r\n')
    os.remove('net_dice.prototxt')
    new = added(old, '--beside')
    assert new.startswith(old[:-2]) and new.count(b'\n') == new.count(b'\r\n')
    assert b'\r\n\tpython_param {\r\n\t\tmodule' in new


def test_one_line(folder):
    old = DATA + scores() + softmax_loss('loss_param { ignore_label: 7 }').strip()
    new = added(old + '  layer { name: "mute" type: "Silence" bottom: "data" }').decode()
    assert new == DATA + scores() + (
        'layer { name: "loss" type: "Python" bottom: "score" bottom: "label" top: "loss" '
        'loss_weight: 1 python_param { module: "caffe_layers" layer: "SoftDiceLossLayer" '
        'param_str: \'{"ignore_label": 7}\' } }  layer { name: "mute" type: "Silence" bottom: '
        '"data" }')
    assert added(old, '--beside', '--force').decode() == old + (
        '\nlayer { name: "loss_dice" type: "Python" bottom: "score" bottom: "label" '
        'top: "loss_dice" loss_weight: 1 python_param { module: "caffe_layers" layer: '
        '"SoftDiceLossLayer" param_str: \'{"ignore_label": 7}\' } }')


def test_two_lines_as_in_the_examples(folder):
    layer = ('layer { name: "loss"  type: "SoftmaxWithLoss"  bottom: "score"  bottom: "label"\n'
             '  top: "loss" }\n')
    new = added(DATA + scores() + layer, '--preset', 'smp').decode()
    assert new == DATA + scores() + (
        'layer { name: "loss"  type: "Python"  bottom: "score"  bottom: "label"\n'
        '  top: "loss" loss_weight: 1\n  python_param { module: "caffe_layers" '
        'layer: "SoftDiceLossLayer" param_str: \'{"preset": "smp"}\' } }\n')


@pytest.mark.parametrize('old, new', [
    ('layer{type:"SoftmaxWithLoss",name:\'l\';bottom:["score","label"],top:"l"softmax_param<>}',
     'layer{type:"Python",name:\'l\';bottom:["score","label"],top:"l" loss_weight: 1'),
    ('layer : < name: "lo" "ss" type: "Softmax"\n"WithLoss" bottom: "score" bottom: "label" >',
     'layer : < name: "lo" "ss" type: "Python" bottom: "score" bottom: "label" top: "loss"'),
    ('layer { name: "l" type: "SoftmaxWithLoss"\n  bottom: "score" bottom: "label"\n'
     '  loss_param { normalize: true } # on\n  softmax_param { engine: CAFFE }  # off\n'
     '\n  top: "x" loss_weight: 0.25\n}',
     'layer { name: "l" type: "Python"\n  bottom: "score" bottom: "label"\n'
     '  python_param {\n    module: "caffe_layers"\n    layer: "SoftDiceLossLayer"\n  } # on\n'
     '  # off\n\n  top: "x" loss_weight: 0.25\n}'),
    ('layer {\n  type: "SoftmaxWithLoss"\n  bottom: "score"\n  bottom: "label"\n'
     '  loss_param { normalize: true }\n  softmax_param {\n    engine: CAFFE\n  }\n  top: "x"\n'
     '  name: "x"\n}',
     'layer {\n  type: "Python"\n  bottom: "score"\n  bottom: "label"\n  python_param {\n'
     '    module: "caffe_layers"\n    layer: "SoftDiceLossLayer"\n  }\n  top: "x"\n'
     '  loss_weight: 1\n  name: "x"\n}'),
    ('layer { type: "SoftmaxWithLoss" bottom: "score" bottom: "label"\n# } loss_param {\n}',
     'layer { type: "Python" name: "loss" bottom: "score" bottom: "label" top: "loss"'),
    ('layer {\ntype: "SoftmaxWithLoss"\nbottom: "score"\nbottom: "label" name: "#\\"{" top: "y"}',
     'layer {\ntype: "Python"\nbottom: "score"\nbottom: "label" name: "#\\"{" top: "y"')])
def test_odd_ways_of_writing(old, new, folder):
    """Compared as text up to where the rest is told by what it means."""
    text = added(DATA + scores() + old).decode()
    assert text.startswith(DATA + scores())
    found = text[len(DATA + scores()):]
    assert found.startswith(new)
    before, after = parse((DATA + scores() + old).encode()), parse(text.encode())
    assert list(after.layer)[:-1] == list(before.layer)[:-1]
    layer = after.layer[-1]
    assert layer.type == 'Python' and list(layer.bottom) == ['score', 'label']
    assert layer.name == before.layer[-1].name or not before.layer[-1].name
    assert not layer.HasField('loss_param') and not layer.HasField('softmax_param')
    reference(run(), layer)


def test_spans_of_every_layer_of_the_examples():
    for path in sorted((ROOT / 'prototxt_examples').glob('**/*.prototxt')):
        text = path.read_text()
        if path.name == 'solver.prototxt':
            continue
        blocks = layers_in(text)
        net = parse(text.encode())
        assert len(blocks) == len(net.layer) > 2
        for block, layer in zip(blocks, net.layer):
            (one,) = parse(text[block.start:block.end].encode()).layer
            assert one == layer
            assert [field.name for field in block.fields if field.name == 'bottom'] \
                == ['bottom'] * len(layer.bottom)


@pytest.mark.parametrize('path', sorted((ROOT / 'prototxt_examples').glob('*.prototxt')),
                         ids=lambda path: path.stem)
def test_the_examples_have_it_already(path, folder, capsys):
    write(path.read_bytes())
    assert add('--loss', 'dice_ce' if path.stem == 'dice_ce' else 'dice') == 0
    assert 'net.prototxt has the loss already, \'loss\' (score, label): nothing to do.' \
        in capsys.readouterr().out
    assert os.listdir('.') == ['net.prototxt']


@pytest.mark.parametrize('stem', ['multiclass_softmax', 'volume_3d', 'ignore_label'])
def test_the_examples_from_softmax_with_loss(stem, folder):
    """Each example as it was before it had the loss."""
    text = (ROOT / 'prototxt_examples' / f'{stem}.prototxt').read_text()
    block = layers_in(text)[-1]
    ignored = 'loss_param { ignore_label: 255 }' if stem == 'ignore_label' else ''
    old = text[:block.start] + softmax_loss(ignored).strip() + text[block.end:]
    new = parse(added(old))
    assert list(new.layer)[:-1] == list(parse(text.encode()).layer)[:-1]
    assert main(['check', 'net_dice.prototxt']) == 0


def test_the_demo_net(folder, monkeypatch, capsys):
    """Its data comes from a Python layer, which gives real slices: no input is invented."""
    monkeypatch.syspath_prepend(str(ROOT))
    text = (ROOT / 'prototxt_examples/brain_unet/train_val.prototxt').read_text()
    block = layers_in(text)[-1]
    old = text[:block.start] + softmax_loss().strip() + text[block.end:]
    new = added(old, '--option', 'batch_dice=true', '--option', 'form=log')
    assert parse(new) == parse(text.encode())
    out = capsys.readouterr().out
    assert 'Proved: Caffe loads the net; the loss is ' in out and 'random' not in out


# What is carried over, and what is asked for.

def loss_in(text, *arguments, **keywords):
    return parse(added(text, *arguments, **keywords)).layer[-1]


def test_phase_rules_and_loss_weight_are_kept(folder):
    more = 'loss_weight: 0.3 include { phase: TRAIN not_stage: "x" } propagate_down: [true, false]'
    text = DATA + scores() + softmax_loss(more)
    layer = loss_in(text)
    assert [str(rule) for rule in layer.include] == ['phase: TRAIN\nnot_stage: "x"\n']
    assert list(layer.loss_weight) == [np.float32(0.3)]
    assert list(layer.propagate_down) == [True, False]
    layer = loss_in(text, '--beside', '--force')
    assert [str(rule) for rule in layer.include] == ['phase: TRAIN\nnot_stage: "x"\n']
    assert list(layer.loss_weight) == [np.float32(0.3)]
    assert b' loss_weight: 0.3 ' in read()
    assert loss_in(text, '--loss-weight', '-2.5', '--force').loss_weight == [-2.5]
    new = added(DATA + scores() + softmax_loss(), '--loss-weight', '1e-10', '--force')
    assert b' loss_weight: 1e-10 ' in new


def test_options_from_every_argument(folder):
    layer = loss_in(NET, '--option', 'class_weights=[1, 2, 3, 4]', '--option', 'absent=skip',
                    '--param-str', '{"smooth": 1}', '--option', 'include_background=False')
    assert layer.python_param.param_str == \
        '{"include_background": false, "smooth": 1.0, "class_weights": [1.0, 2.0, 3.0, 4.0], ' \
        '"absent": "skip"}'
    reference(run(), layer, class_weights=[1, 2, 3, 4], absent='skip', smooth=1,
              include_background=False)
    layer = loss_in(NET, '--preset', 'nnunet', '--option', 'batch_dice = true', '--force')
    assert layer.python_param.param_str == '{"preset": "nnunet", "batch_dice": true}'


def test_with_a_cross_entropy(folder, capsys):
    text = DATA + scores() + softmax_loss('loss_param { ignore_label: 3 }')
    data = added(text, '--loss', 'dice_ce', '--option', 'ce_weight=0.5')
    layer = parse(data).layer[-1]
    assert layer.python_param.layer == 'DiceCELossLayer'
    options = DiceCEOptions.from_param_str(layer.python_param.param_str)
    assert options == DiceCEOptions(ignore_label=3, ce_weight=0.5)
    net = run()
    pred, label = (net.blobs[name].data.astype('float64') for name in ('score', 'label'))
    loss = dice_ce_loss(pred, label, options).mean()
    assert relative_error(net.blobs['loss'].data, loss) <= TOLERANCE['loss, float32']
    write(data)
    assert add('--loss', 'dice_ce', '--option', 'ce_weight=0.5', '--force') == 0
    assert 'nothing to do' in capsys.readouterr().out
    assert add('--force') == 2
    assert 'another loss of ours already' in capsys.readouterr().err


def test_ignore_label_of_ones_own(folder, capsys):
    text = DATA + scores() + softmax_loss('loss_param { ignore_label: 255 }')
    assert loss_in(text, '--option', 'ignore_label=0').python_param.param_str \
        == '{"ignore_label": 0}'
    assert 'ignore_label was 255, and is 0 now.' in capsys.readouterr().out
    assert loss_in(text, '--option', 'ignore_label=null', '--force').python_param.param_str == ''
    assert 'ignore_label was 255, and is None now.' in capsys.readouterr().out


@pytest.mark.parametrize('more, warns', [
    ('normalize: false', True), ('normalization: NONE', True), ('normalization: BATCH_SIZE', True),
    ('normalize: true', False), ('normalization: FULL', False), ('ignore_label: 9', False),
    ('normalize: false normalization: VALID', False)])
def test_a_sum_over_pixels_is_another_scale(more, warns, folder, capsys):
    added(NO_DATA + softmax_loss(f'loss_param {{ {more} }}', bottoms=('data', 'label')), status=1)
    assert ("'loss' sums over pixels" in capsys.readouterr().out) == warns


def test_probabilities_are_not_activated_again(folder, capsys):
    """SoftmaxWithLoss on a Softmax is a mistake that a loss on probabilities repairs."""
    text = DATA + scores() + ('layer { name: "p" type: "Softmax" bottom: "score" top: "p" }\n'
                              + softmax_loss(bottoms=('p', 'label')))
    layer = loss_in(text, '--preset', 'smp')
    assert layer.python_param.param_str == '{"preset": "smp", "activation": "none"}'
    assert "p is the output of a softmax layer, so activation is 'none'." in capsys.readouterr().out
    assert main(['check', 'net_dice.prototxt']) == 0
    capsys.readouterr()
    layer = loss_in(text, '--option', 'activation=softmax', '--force')
    assert not layer.python_param.param_str
    assert 'Warning: p is the output of a softmax layer already' in capsys.readouterr().out


def test_pixel_weights(folder):
    asked = 'propagate_down: true propagate_down: false'
    text = input_layer('w', (2, 1, 9, 8)) + DATA + scores() + softmax_loss(asked)
    layer = loss_in(text, '--weights', 'w')
    assert list(layer.bottom) == ['score', 'label', 'w']
    assert list(layer.propagate_down) == [True, False, False]
    layer = loss_in(text, '--weights', 'w', '--beside', '--force')
    assert list(layer.bottom) == ['score', 'label', 'w'] and not layer.propagate_down


def test_name_and_other_bottoms(folder):
    text = DATA + scores() + scores('other') + softmax_loss()
    layer = loss_in(text, '--replace', 'loss', '--bottom', 'other', '--name', 'dice')
    assert (layer.name, list(layer.bottom), list(layer.top)) \
        == ('dice', ['other', 'label'], ['loss'])
    layer = loss_in(text, '--beside', '--name', 'dice', '--force')
    assert (layer.name, list(layer.top)) == ('dice', ['dice'])


def test_names_are_unique(folder):
    taken = 'layer { name: "loss_dice" type: "Silence" bottom: "data" }\n' \
        'layer { name: "x" type: "Power" bottom: "data" top: "loss_dice2" }\n'
    layer = loss_in(DATA + scores() + taken + softmax_loss(), '--beside')
    assert layer.name == 'loss_dice2' and list(layer.top) == ['loss_dice22']


def test_a_net_without_softmax_with_loss(folder):
    text = DATA + scores().strip()
    layer = loss_in(text, '--bottom', 'score', '--label', 'label')
    assert (layer.name, list(layer.top), list(layer.loss_weight)) == ('loss', ['loss'], [1])
    assert read().startswith(text.encode() + b'\nlayer {\n  name: "loss"\n')
    assert not read().endswith(b'\n')
    reference(run(), layer)


def test_inputs_in_the_older_way(folder):
    text = ('input: "data" input_dim: 2 input_dim: 3 input_dim: 9 input_dim: 8\n'
            + input_layer('label', (2, 1, 9, 8)) + 'layer { name: "score" type: "Power" '
            'bottom: "data" top: "score" }\n' + softmax_loss())
    write(text)
    assert add('--bottom', 'data', '--beside') == 2
    layer = loss_in(text, '--bottom', 'data', '--label', 'label', '--beside')
    assert list(layer.bottom) == ['data', 'label']


TWO = DATA + scores() + scores('aux', bottom='score') \
    + softmax_loss('loss_weight: 0.3', 'aux_loss', ('aux', 'label'), 'top: "aux_loss"') \
    + softmax_loss()


def test_several_losses(folder, capsys):
    write(TWO)
    assert add() == 2
    assert capsys.readouterr().err == (
        "caffe_layers add: net.prototxt has several losses that may be meant: 'aux_loss' (aux, "
        "label), SoftmaxWithLoss, 'loss' (score, label), SoftmaxWithLoss; choose with --replace "
        'NAME, or --bottom BLOB\n')
    for arguments, changed in [(['--replace', 'aux_loss'], 4), (['--bottom', 'score'], 5)]:
        new = parse(added(TWO, *arguments, '--force'))
        assert [i for i, layer in enumerate(new.layer) if layer.type == 'Python'] == [changed]
        assert 'SoftmaxWithLoss stays' in capsys.readouterr().out
    new = parse(added(TWO, '--beside', '--bottom', 'aux', '--force'))
    assert [layer.name for layer in new.layer][4:] == ['aux_loss', 'aux_loss_dice', 'loss']
    assert new.layer[5].loss_weight == [np.float32(0.3)]


def test_a_loss_for_each_phase(folder, capsys):
    """The TRAIN loss is the one; that of the TEST net can be named."""
    train, test = 'include { phase: TRAIN }', 'include { phase: TEST }'
    text = DATA + scores() + softmax_loss(train) + softmax_loss(test)
    new = parse(added(text))
    assert [layer.type for layer in new.layer][-2:] == ['Python', 'SoftmaxWithLoss']
    text = DATA + scores() + softmax_loss(train) + softmax_loss(test, 'test')
    capsys.readouterr()
    new = parse(added(text, '--replace', 'test', '--force'))
    assert [layer.type for layer in new.layer][-2:] == ['SoftmaxWithLoss', 'Python']
    assert 'Proved: Caffe loads the net' in capsys.readouterr().out
    write(read(), 'net.prototxt')
    assert add('--in-place') == 0  # and now the other
    assert [layer.type for layer in parse(read('net.prototxt')).layer][-2:] == ['Python'] * 2


# Files.

def test_in_place_keeps_every_backup(folder, capsys):
    write(NET)
    os.chmod('net.prototxt', 0o640)
    write('another', 'net.prototxt.bak')
    assert add('--in-place') == 0
    assert 'Written: net.prototxt; what it was is in net.prototxt.bak2\n' in capsys.readouterr().out
    assert read('net.prototxt.bak2') == NET.encode() and read('net.prototxt.bak') == b'another'
    assert parse(read('net.prototxt')).layer[-1].type == 'Python'
    assert stat.S_IMODE(os.stat('net.prototxt').st_mode) == 0o640
    assert sorted(os.listdir('.')) == ['net.prototxt', 'net.prototxt.bak', 'net.prototxt.bak2']
    assert main(['check', 'net.prototxt']) == 0


def test_in_place_through_a_link(folder):
    write(NET, 'real.prototxt')
    os.symlink('real.prototxt', 'net.prototxt')
    assert add('--in-place') == 0
    assert os.path.islink('net.prototxt') and b'Python' in read('real.prototxt')


def test_output_is_not_overwritten(folder, capsys):
    write(NET)
    write('mine', 'net_dice.prototxt')
    assert add() == 2
    assert 'net_dice.prototxt exists; name another with --output' in capsys.readouterr().err
    assert read() == b'mine'
    assert add('--output', 'other') == 0 and add('--output', 'other') == 2
    assert add('--force') == 0
    assert read() == read('other') != b'mine'


def test_twice_is_once(folder, capsys):
    write(NET)
    assert add('--in-place', '--option', 'smooth=1') == 0
    once = read('net.prototxt')
    for arguments in ([], ['--in-place'], ['--beside'], ['--option', 'smooth=1.0'],
                      ['--replace', 'loss'], ['--bottom', 'score', '--label', 'label'],
                      ['--preset', 'monai', '--option', 'smooth=1']):
        assert add(*arguments) == 0, arguments
        assert "has the loss already, 'loss' (score, label): nothing to do" \
            in capsys.readouterr().out
    assert sorted(os.listdir('.')) == ['net.prototxt', 'net.prototxt.bak']
    assert read('net.prototxt') == once
    assert add('--option', 'smooth=2') == 2
    assert 'with other options: change its param_str, {"smooth": 1.0}' in capsys.readouterr().err


def test_beside_twice_is_once(folder, capsys):
    write(NET)
    assert add('--in-place', '--beside') == add('--beside') == add() == 0
    assert capsys.readouterr().out.count('nothing to do') == 2


def test_colours_on_a_terminal_only(folder):
    write(NET)
    master, slave = pty.openpty()
    with os.fdopen(slave, 'w') as terminal, contextlib.redirect_stdout(terminal):
        assert add() == 0
        said = os.read(master, 65536)
    os.close(master)
    assert b'\x1b[31m-layer { name: "loss" type: "SoftmaxWithLoss"' in said
    assert b'\x1b[32m+layer { name: "loss" type: "Python"' in said and b'\x1b[0m' in said


def test_a_reader_that_leaves_does_not_keep_the_net_from_being_written(folder):
    write(NET)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, 'w') as pipe, contextlib.redirect_stdout(pipe):
        assert add() == 0
    assert b'SoftDiceLossLayer' in read()


def test_what_the_output_cannot_show_is_escaped(folder):
    net = NET.encode().replace(b'type: "SoftmaxWithLoss"', b'type: "SoftmaxWithLoss" # \xb1\xc3\n')
    write(net)
    with open('said', 'w', encoding='ascii') as file, contextlib.redirect_stdout(file):
        assert add() == 0
    assert b'# \\udcb1\\udcc3' in read('said') and b'# \xb1\xc3\n' in read()


# The proof.

def test_data_that_is_elsewhere(folder, capsys):
    text = NO_DATA + scores('a', 21) + (
        'layer { name: "r" type: "ReLU" bottom: "a" top: "a" }\n'
        'layer { name: "score" type: "Crop" bottom: "a" bottom: "data" top: "score" }\n')
    new = added(text + softmax_loss(), status=1)
    out = capsys.readouterr().out
    assert 'Not proved in the net, which Caffe could not load here before either: Check failed: ' \
        in out
    assert 'Of the layer by itself, on (2, 21, 5, 6), the loss is 0.9' in out
    assert parse(new).layer[-1].type == 'Python'
    os.remove('net_dice.prototxt')
    capsys.readouterr()
    assert add('--option', 'class_weights=[1, 2]') == 2
    assert 'score has 21 channels: class_weights must have' in capsys.readouterr().err
    assert not os.path.exists('net_dice.prototxt')


SOURCE = ('layer { name: "source" type: "Python" top: "data" top: "label" '
          'python_param { module: "our_source" layer: "Source" } }\n')


def test_a_data_layer_whose_module_is_missing(folder, monkeypatch, capsys):
    added(SOURCE + scores() + softmax_loss(), status=1)
    out = capsys.readouterr().out
    assert ("could not load here before either: layer 'source': the module our_source cannot be "
            "imported: ModuleNotFoundError: No module named 'our_source'; it was looked for in the "
            f'current directory, {folder}, and on PYTHONPATH.  Of the layer by itself, on ') in out
    (folder / 'elsewhere').mkdir()
    monkeypatch.chdir(folder / 'elsewhere')
    assert main(['add', '../net.prototxt', '--force']) == 1
    assert f"looked for in the net's folder, {folder}, the current" in capsys.readouterr().out


@pytest.mark.parametrize('code, status, says', [
    ('pass', 0, 'Proved: Caffe loads the net; the loss is '),
    ('import no_such_reader', 1, "before either: ModuleNotFoundError: No module named 'no_such_re"),
    ('open("no/such/list")', 1, 'before either: FileNotFoundError: [Errno 2] No such file or dir'),
    ('raise SystemExit(3)', 1, 'before either: ')])
def test_a_data_layer_in_the_folder_of_the_net(code, status, says, folder, monkeypatch, capsys):
    """Found though the command is run elsewhere; and where it fails, its own error is told."""
    (folder / 'our_source.py').write_text(
        'import caffe\n'
        'class Source(caffe.Layer):\n'
        f'    def setup(self, bottom, top): {code}\n'
        '    def reshape(self, bottom, top):\n'
        '        top[0].reshape(2, 3, 9, 8)\n'
        '        top[1].reshape(2, 1, 9, 8)\n'
        '    def forward(self, bottom, top): top[0].data[...] = top[1].data[...] = 1\n'
        '    def backward(self, top, propagate_down, bottom): pass\n')
    write(SOURCE + scores() + softmax_loss())
    (folder / 'elsewhere').mkdir()
    monkeypatch.chdir(folder / 'elsewhere')
    assert main(['add', '../net.prototxt']) == status
    out = capsys.readouterr().out
    assert says in out and 'SystemError' not in out
    if not status:
        assert main(['check', '../net_dice.prototxt']) == 0


def test_data_that_is_elsewhere_and_classes_unknown(folder, capsys):
    added(NO_DATA + softmax_loss(bottoms=('data', 'label')), status=1)
    assert 'How many classes data has is not said in it' in capsys.readouterr().out


# How many channels the slice has, Caffe alone knows.
UNKNOWN = DATA + scores(outputs=5) + (
    'layer { name: "cut" type: "Slice" bottom: "score" top: "rest" top: "few" '
    'slice_param { slice_point: 1 } }\n'
    'layer { name: "mute" type: "Silence" bottom: "rest" }\n') \
    + softmax_loss(bottoms=('few', 'label'))


@pytest.mark.parametrize('text, arguments, message', [
    (UNKNOWN.replace('slice_point: 1', 'slice_point: 4'), [], 'softmax.* over one class is'),
    (UNKNOWN, ['--option', 'class_weights=[1,2,3]'], 'one number per class of pred, here 4'),
    (NET.replace('dim: 2 dim: 1 dim: 9 dim: 8', 'dim: 2 dim: 72'), [],
     'label must have one value per pixel')])
def test_what_caffe_refuses_is_not_written(text, arguments, message, folder, capsys):
    write(text)
    assert add(*arguments) == add('--in-place', *arguments) == 2
    out, err = capsys.readouterr()
    assert 'nothing was written: Caffe cannot load the net with the loss: ValueError: ' in err
    assert re.search(message, err) and err.count('\n') == 2
    assert os.listdir('.') == ['net.prototxt'] and read('net.prototxt') == text.encode()


def test_a_failed_check_is_a_message(folder, capsys):
    """Caffe ends the process on it; what loads without our layer must load with it."""
    text = NET + 'layer { name: "end" type: "Eltwise" bottom: "loss" bottom: "c" top: "e" }\n'
    constant = 'layer { name: "c" type: "DummyData" top: "c" dummy_data_param { shape { } } }\n'
    write(constant + text)
    assert add('--option', 'class_reduction=none') == 2
    err = capsys.readouterr().err
    assert 'Caffe cannot load the net with the loss: Check failed: ' in err
    assert err.count('\n') == 1 and os.listdir('.') == ['net.prototxt']


def test_labels_that_the_options_do_not_know(folder, capsys):
    label = ('layer { name: "l" type: "DummyData" top: "label" dummy_data_param { shape { dim: 2 '
             'dim: 1 dim: 9 dim: 8 } data_filler { value: 255 } } }\n')
    text = DATA.split('\n')[0] + label + scores() + softmax_loss()
    write(text)
    assert add() == 2
    assert 'the net with the loss cannot run: ValueError: label must be a whole number in [0, 4)' \
        in capsys.readouterr().err
    assert os.listdir('.') == ['net.prototxt']
    assert add('--option', 'ignore_label=255') == 1  # but then no pixel is left
    assert 'the gradient of score is 0: nothing below it learns, or no pixel counts' \
        in capsys.readouterr().out


def test_a_loss_that_is_not_finite(folder, capsys):
    text = NET.replace('type: "xavier"', 'type: "constant" value: nan')
    added(text, status=1)
    assert 'Not proved: Caffe loads the net; on random input the loss is nan and the gradient of ' \
        'score not finite.' in capsys.readouterr().out


def test_a_gradient_that_nothing_asks_for(folder, capsys):
    frozen = NET.replace('top: "loss"', 'top: "loss" propagate_down: false propagate_down: false')
    added(frozen, status=1)
    assert 'the gradient of score is 0: nothing below it learns' in capsys.readouterr().out


def test_loss_weight_zero(folder, capsys):
    added(NET, '--loss-weight', '0')
    assert 'with loss_weight 0 nothing is learnt from it' in capsys.readouterr().out


def test_a_net_without_anything_to_learn(folder, capsys):
    text = input_layer('score', (2, 4, 9, 8)) + input_layer('label', (2, 1, 9, 8))
    added(text + softmax_loss())
    assert 'in which nothing learns; of the layer by itself the loss is' in capsys.readouterr().out


def test_a_layer_of_another_stage(folder, capsys):
    added(DATA + scores() + softmax_loss('include { stage: "x" }'), status=1)
    assert "the rules of 'loss' keep it out of the net" in capsys.readouterr().out


@pytest.mark.slow
def test_a_net_that_takes_too_long(folder, capsys, monkeypatch):
    (folder / 'slow.py').write_text(
        'import caffe, time\n'
        'class Slow(caffe.Layer):\n'
        '    def setup(self, bottom, top): pass\n'
        '    def reshape(self, bottom, top): top[0].reshape(1)\n'
        '    def forward(self, bottom, top): time.sleep(3600)\n'
        '    def backward(self, *_): pass\n')
    monkeypatch.setattr(proof, 'LIMIT', 10.0)
    added(NET + 'layer { name: "slow" type: "Python" top: "slow" '
          'python_param { module: "slow" layer: "Slow" } }', status=1)
    assert 'but one pass gave no answer within 10 seconds' in capsys.readouterr().out


# What cannot be done.

@pytest.mark.parametrize('text, arguments, message', [
    (NET, ['--bottom', 'scores'], 'has no SoftmaxWithLoss .* of scores; '
     r"its losses are 'loss' \(score, label\), SoftmaxWithLoss: --replace NAME takes one whatever"),
    (NET, ['--bottom', 'scores', '--label', 'label'], 'of scores, label; .*--beside with --bottom'),
    (NET, ['--replace', 'los'], "has no layer 'los'; its layers are data, label, score, loss"),
    (NET, ['--replace', 'score'], "'score' is of type Convolution, which is no "
     r"loss; its losses are 'loss' \(score, label\), SoftmaxWithLoss: --replace NAME takes one; "),
    (NET, ['--replace', 'loss', '--beside'], 'give --replace or --beside, not both'),
    (NET, ['--replace', 'loss', '--bottom', 'scor'], "no blob 'scor' above .*mean 'score'"),
    (NET, ['--weights', 'w'], "there is no blob 'w' above the loss\n"),
    (NET, ['--name', 'score'], "there is a layer 'score' already"),
    (NET, ['--beside', '--name', 'loss'], "there is a layer 'loss' already"),
    (NET, ['--option', 'smooth'], "--option must be NAME=VALUE, .* got 'smooth'"),
    (NET, ['--option', '=1'], '--option must be NAME=VALUE'),
    (NET, ['--option', 'smoth=1'], "unknown option 'smoth'; the options are activation"),
    (NET, ['--option', 'options=1'], "unknown option 'options'"),
    (NET, ['--option', 'smooth=-1'], 'smooth must be a finite number >= 0'),
    (NET, ['--option', 'form=logs'], "form must be one of .* got 'logs'"),
    (NET, ['--option', 'axis=2'], 'axis must be 1, the channels of Caffe; got 2'),
    (NET, ['--option', 'smooth=1', '--option', 'smooth=2'], 'the option smooth is given twice'),
    (NET, ['--option', 'smooth=1', '--param-str', '{"smooth": 1}'], 'smooth is given twice'),
    (NET, ['--preset', 'smp', '--param-str', '{"preset": "smp"}'], 'preset is given twice'),
    (NET, ['--preset', 'dice'], "preset must be one of .* got 'dice'"),
    (NET, ['--option', 'class_weights=[1,2,3]'], 'score has 4 channels: class_weights must have'),
    (DATA + scores(outputs=1) + softmax_loss(), [], 'score has 1 channels: .* over one class is'),
    (NET, ['--param-str', 'smooth'], '--param-str: param_str must be a JSON object'),
    (NET, ['--output', 'net.prototxt'], 'net.prototxt is the net itself; --in-place rewrites it'),
    (NET, ['--output', 'no/net.prototxt'], 'there is no folder for no/net.prototxt'),
    (NET, ['--output', '.', '--force'], '. cannot be written: it is a folder'),
    (NET, ['--in-place', '--output', 'x'], '--in-place writes the net itself: give no --output'),
    (NET, ['--in-place', '--force'], '--in-place writes the net itself'),
    (DATA + scores(), [], 'none of its layers is a loss of .*; to add .* --bottom and --label'),
    (DATA + scores(), ['--bottom', 'score'], 'name prediction and label with --bottom and --label'),
    (DATA + scores(), ['--bottom', 'score', '--label', 'labels'], "'labels' in the net; did you"),
    (DATA + scores() + softmax_loss('include { phase: TEST }'), [], 'none|has no SoftmaxWithLoss'),
    (DATA + scores() + softmax_loss(top='top: "loss" top: "p"'), [], "second top, .* 'p'"),
    (DATA + scores() + softmax_loss('softmax_param { axis: 2 }'), [], 'its classes on axis 2'),
    (DATA + scores() + softmax_loss(bottoms=['score']), [], "'loss' has 1 bottoms"),
    ('layer: [{ name: "a" }]' + NET, [], 'writes layers as a list'),
    ('net: "train.prototxt" base_lr: 1', [], 'a solver file; give the net .* train.prototxt\n'),
    ('net_param { } base_lr: 1', [], 'is a solver file; .* it holds itself'),
    ('layer { nome: "x" }', [],
     'This Caffe does not know the field nome, unless it is name .line 1., the layer type'),
    (b'\xef\xbb\xbf' + NET.encode(), [], 'begins with a byte order mark'),
    (b'layer { name: "\xb1" }', [], 'not the prototxt of a net: '),
    (b'\n\0caffemodel', [], 'cannot be read: it is not a text file'),
    (DATA + scores() + softmax_loss(OURS % ' param_str: "{1"').replace('SoftmaxWithLoss', 'Python'),
     [], 'but its param_str is wrong: param_str must be')])
def test_what_cannot_be_done(text, arguments, message, folder, capsys):
    write(text)
    assert add(*arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith('caffe_layers add: ') and err.count('\n') == 1
    assert re.search(message, err), err
    assert os.listdir('.') == ['net.prototxt'] and read('net.prototxt') == \
        (text if isinstance(text, bytes) else text.encode())


def test_no_such_net(folder, capsys):
    assert add() == 2
    assert capsys.readouterr().err == \
        'caffe_layers add: net.prototxt cannot be read: No such file or directory\n'


@pytest.mark.parametrize('weight', ['x', 'nan', 'inf', '1e39', ''])
def test_a_loss_weight_that_is_none(weight, folder, capsys):
    write(NET)
    with pytest.raises(SystemExit) as raised:
        add(f'--loss-weight={weight}')
    assert raised.value.code == 2
    assert 'a loss_weight is a finite number, for example 0.5' in capsys.readouterr().err
