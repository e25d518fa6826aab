"""`add` and `check` on nets of forks of Caffe, whose fields, values and layers this Caffe lacks.

The nets are our own, each with what the fork that it is named after has.
"""
import re
import shutil
from pathlib import Path

import caffe
import pytest
from backends import input_layer

from caffe_layers import caffe_proto, spans
from caffe_layers.__main__ import main
from caffe_layers.checker.cases import net_cases
from caffe_layers.gradcheck import check_net
from soft_dice.arrays import CannotRun
from soft_dice.checker.asked import Asked

ROOT = Path(__file__).resolve().parent.parent
DATA = input_layer('data', (2, 3, 9, 8)) + input_layer('label', (2, 1, 9, 8))


def convolution(name='score', outputs=5, bottom='data', more=''):
    return (f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}"\n'
            f'  convolution_param {{ num_output: {outputs} kernel_size: 1 {more} }} }}\n')


def layer(kind, name, bottom, more=''):
    return f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{name}" {more} }}\n'


def loss(more='', bottom='score', kind='SoftmaxWithLoss'):
    return (f'layer {{\n  name: "loss"  # a comment\n  type: "{kind}"\n  bottom: "{bottom}"\n'
            f'  bottom: "label"\n  top: "loss"\n{more}}}\n')


SEGNET = ('layer { name: "data" type: "DenseImageData" top: "data" top: "label"\n'
          '  dense_image_data_param { source: "no/such/list.txt" batch_size: 2 shuffle: true } }\n'
          + convolution('conv', 8, more='bias_filler { } bias_filler { type: "constant" }')
          + layer('BN', 'norm', 'conv', 'bn_param { scale_filler { type: "constant" value: 1 } }')
          + 'layer { name: "pool" type: "Pooling" bottom: "norm" top: "pool" top: "mask"\n'
          '  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }\n'
          'layer { name: "up" type: "Upsample" bottom: "pool" bottom: "mask" top: "up"\n'
          '  upsample_param { scale: 2 upsample_w: 8 upsample_h: 9 } }\n'
          + convolution('score', 5, 'up')
          + loss('  loss_param: {\n    weight_by_label_freqs: true\n    ignore_label: 11\n'
                 '    class_weighting: 0.5 class_weighting: 2\n  }\n'))
DEEPLAB = ('layer { name: "data" type: "ImageSegData" top: "data" top: "label" image_data_param {\n'
           '  source: "no/such/list.txt" label_type: PIXEL batch_size: 2 } }\n'
           + convolution('fc8', 21)
           + layer('Interp', 'fc8_interp', 'fc8', 'interp_param { zoom_factor: 8 }')
           + loss('  loss_param { ignore_label: 255 normalization: POLY }\n', 'fc8_interp'))
PSPNET = (DATA + convolution('conv', 19)
          + layer('SyncBN', 'norm', 'conv', 'bn_param { slope_filler { type: "constant" } }')
          + layer('Interp', 'score', 'norm', 'interp_param { height: 9 width: 8 }') + loss())
VOLUMES = ('layer { name: "data" type: "PatchData3D" top: "data" top: "label"\n'
           '  patch_param { size: 16 size: 16 size: 16 file: "no.h5" } }\n'
           'layer { name: "score" type: "Conv3D" bottom: "data" top: "score" conv3d_param { '
           'num_output: 3 } }\n' + loss())
INTEL = (DATA + convolution(more='engine: MKL2017')
         + 'engine: "MKL2017" compile_net_state { bn_scale_remove: true }\n' + loss())
# Only its TEST net has what is the fork's.
DEEPDETECT = (DATA + convolution(more='weight_filler { type: "xavier" }') + loss()
              + layer('Interp', 'final', 'score', 'interp_param { width: 480 } '
                      'include { phase: TEST }'))
FORKS = {
    'segnet': (SEGNET, (5, 6), ['the field dense_image_data_param (line 2)',
                                'the field bn_param (line 5)', 'a second bias_filler (line 4)',
                                'the layer type DenseImageData (line 1)',
                                'the layer type Upsample (line 8)']),
    'deeplab': (DEEPLAB, (5, 6), ['the field label_type (line 2)',
                                  'the layer type ImageSegData (line 1)',
                                  'the layer type Interp (line 5)']),
    'pspnet': (PSPNET, (5, 6), ['the layer type SyncBN (line 5)', 'the field bn_param (line 5)']),
    'intel': (INTEL, (5, 6), ['the value MKL2017 of engine (line 4)', 'the field engine (line 5)',
                              'the field compile_net_state (line 5)']),
    'volumes': (VOLUMES, (4, 5, 6), ['the layer type PatchData3D (line 1)',
                                     'the field conv3d_param (line 3)'])}
CLASSES = {'segnet': 5, 'deeplab': 21, 'pspnet': 19, 'intel': 5, 'volumes': 3}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def add(folder, text, *arguments):
    (folder / 'net.prototxt').write_text(text)
    return main(['add', 'net.prototxt', *arguments])


def others(text):
    """What a net says, but for the layer called loss."""
    return [field.meaning() for field in spans.parse(text, 'net')
            if ('name', ('"loss"',)) not in [each.meaning() for each in field.fields]]


@pytest.mark.parametrize('fork', FORKS)
def test_a_net_of_a_fork_is_edited_and_what_is_foreign_is_named(fork, folder, capsys):
    text, sizes, foreign = FORKS[fork]
    arguments = ['--shape', f'2,{CLASSES[fork]},4,5,6'] if fork == 'volumes' else []
    assert add(folder, text, *arguments) == 1
    out, err = capsys.readouterr()
    new = (folder / 'net_dice.prototxt').read_text()
    assert err == '' and (folder / 'net.prototxt').read_text() == text
    assert others(new) == others(text) and 'layer: "SoftDiceLossLayer"' in new
    assert "'loss', SoftmaxWithLoss, becomes SoftDiceLossLayer of" in out
    proof = out.splitlines()[-1]
    assert proof.startswith('Not proved in the net: this Caffe does not know ')
    for each in foreign:
        assert each in proof
    assert "run this command with that fork's own Python" in proof
    shape = ', '.join(map(str, (2, CLASSES[fork], *sizes)))
    assert re.search(rf'Of the layer by itself, on \({shape}\), the loss is [\d.]+, the gradient '
                     r'of \w+ finite, of norm', proof)


def test_what_a_fork_has_in_another_phase_does_not_matter(folder, capsys):
    assert add(folder, DEEPDETECT) == 0
    assert 'Proved: Caffe loads the net; on random input the loss is' in capsys.readouterr().out
    assert 'interp_param { width: 480 }' in (folder / 'net_dice.prototxt').read_text()
    assert check_net(str(folder / 'net_dice.prototxt'))['gradient'].verdict == 'correct'


def test_the_shape_of_the_prediction(folder, capsys):
    assert add(folder, VOLUMES) == 1
    assert 'How many classes score has is not said in it, so the layer was not run by itself: ' \
        'give the shape of the prediction, for example --shape 2,21,9,8.' in capsys.readouterr().out
    # a template, for a number that comes later
    assert add(folder, SEGNET.replace('num_output: 5', ''), '--force') == 1
    assert 'How many classes score has is not said in it' in capsys.readouterr().out
    (folder / 'net_dice.prototxt').unlink()
    assert add(folder, SEGNET, '--shape', '2,4,9,8') == 2
    assert capsys.readouterr().err.endswith(
        'nothing was written: score has 5 channels, but --shape is (2, 4, 9, 8)\n')
    assert not (folder / 'net_dice.prototxt').exists()
    assert add(folder, VOLUMES, '--shape', '2,1,4,5,6') == 2  # and a softmax over one class is 1
    assert 'nothing was written: ' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        add(folder, VOLUMES, '--shape', '2,x')
    assert 'a shape is numbers from 1 upwards, for example 2,4,9,8' in capsys.readouterr().err


def test_a_fork_does_not_hide_a_mistake(folder, capsys):
    """What no Caffe can read is refused; what may be misspelt is said."""
    for wrong, message in [('convolution_param { num_output: many }', 'must be a whole number'),
                           ('name: "twice"', 'name is there 2 times')]:
        assert add(folder, SEGNET + f'layer {{ name: "x" type: "Convolution" {wrong} }}') == 2
        assert message in capsys.readouterr().err
    assert add(folder, SEGNET + 'layer { name: "x" type: "Silence" botom: "up" }') == 1
    assert 'the field botom, unless it is bottom (line ' in capsys.readouterr().out
    assert not (folder / 'net.prototxt.bak').exists()


@pytest.mark.parametrize('fork', FORKS)
def test_the_loss_of_a_net_of_a_fork_is_checked(fork, folder, capsys):
    text, sizes, foreign = FORKS[fork]
    add(folder, text, *(['--shape', '2,3,4,5,6'] if fork == 'volumes' else []))
    capsys.readouterr()
    assert main(['check', 'net_dice.prototxt']) == 2
    err = capsys.readouterr().err
    assert 'net_dice.prototxt cannot be loaded here: this Caffe does not know ' in err
    assert foreign[0] in err and 'which --pred and --label give' in err and err.count('\n') == 1
    sizes = ','.join(map(str, sizes))
    assert main(['check', 'net_dice.prototxt', '--pred', f'2,{CLASSES[fork]},{sizes}',
                 '--label', f'2,1,{sizes}', '--seconds', '600']) == 0
    assert 'No defect found' in capsys.readouterr().out


def test_what_a_fork_adds_to_the_loss_itself_is_said(folder):
    """Caffe's own loss is looked at, without it."""
    (folder / 'net.prototxt').write_text(DEEPLAB)
    (case,) = net_cases('net.prototxt', None, Asked((2, 21, 5, 6), (2, 1, 5, 6)))
    assert case.assumed[-1] == 'the loss is looked at as this Caffe has it, without ' \
        'the value POLY of normalization (line 12)'
    assert 'POLY' not in case.spec.layer and 'ignore_label: 255' in case.spec.layer


@pytest.mark.parametrize('kind', ['SoftmaxWithLossV2', 'DiceLoss'])
def test_a_loss_that_only_the_fork_has(kind, folder):
    (folder / 'net.prototxt').write_text(DATA + convolution() + loss(kind=kind))
    with pytest.raises(CannotRun, match=f"'loss' of net.prototxt is of type {kind}, which this "
                                        'Caffe does not have: run this command with the Python of '
                                        'the fork that has it$'):
        check_net('net.prototxt', pred=(2, 5, 9, 8), label=(2, 1, 9, 8))
    (folder / 'net.prototxt').write_text(DATA + convolution() + loss(kind=kind)
                                         + loss().replace('"loss"', '"plain"'))
    with pytest.raises(CannotRun, match='or look at another loss with --layer plain'):
        check_net('net.prototxt')


def test_a_caffe_that_does_not_tell_its_types(folder, monkeypatch):
    """One from before 2015, as some forks are: what it can read, it may well have."""
    monkeypatch.delattr(caffe, 'layer_type_list')
    assert [each.what for each in caffe_proto.read_net(INTEL + SEGNET, 'net').unknown
            if 'type' in each.what] == []


def test_a_fork_that_has_the_one_file(folder, monkeypatch, capsys):
    """On Python 2.7, for example: the layer is proved here as the file has it."""
    assert add(folder, SEGNET, '--module', 'renamed') == 2
    assert 'the module renamed cannot be imported' in capsys.readouterr().err
    shutil.copy(str(ROOT / 'soft_dice_layer.py'), str(folder))
    assert add(folder, SEGNET, '--module', 'soft_dice_layer') == 1
    assert 'Of the layer by itself, on (2, 5, 5, 6), the loss is ' in capsys.readouterr().out
    assert 'module: "soft_dice_layer"' in (folder / 'net_dice.prototxt').read_text()
    assert main(['check', 'net_dice.prototxt', '--pred', '2,5,5,6', '--label', '2,1,5,6']) == 0
    (folder / 'renamed.py').write_text((folder / 'soft_dice_layer.py').read_text())
    assert add(folder, DEEPDETECT, '--module', 'renamed', '--force') == 0
    again = (folder / 'net_dice.prototxt').read_text()
    capsys.readouterr()
    assert add(folder, again, '--module', 'renamed', '--force') == 0
    assert 'nothing to do' in capsys.readouterr().out
    again = again.replace('renamed', 'caffe_layers')
    assert add(folder, again, '--module', 'renamed', '--force') == 2
    assert 'of module caffe_layers: change that to renamed' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        add(folder, SEGNET, '--module', 'soft_dice_layer.py!')
    assert 'a module is written as Python imports it' in capsys.readouterr().err


def test_many_things_of_a_fork_are_listed_in_short():
    unknown = [caffe_proto.Unknown(f'the field {name}', line, None)
               for line, name in enumerate('abcdefghijabc', 1)]
    said = caffe_proto.listed(unknown)
    assert said.startswith('the field a (line 1 and 1 more), the field b (line 2 and 1 more)')
    assert said.endswith(', the field h (line 8) and 2 more')
