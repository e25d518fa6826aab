"""Nets in the old format, "layers {", are converted by Caffe's own tool, and the original stays."""
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffe_layers import old_format
from caffe_layers.__main__ import main
from caffe_layers.gradcheck import check_net
from soft_dice.arrays import CannotRun

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'environment'))
runtime, wrappers = map(importlib.import_module, ['runtime', 'wrappers'])

INPUT = ('input: "data" input_dim: 2 input_dim: 3 input_dim: 9 input_dim: 8\n'
         'input: "label" input_dim: 2 input_dim: 1 input_dim: 9 input_dim: 8\n')
OF_2014 = INPUT + '''# of 2014
layers {
  name: "score" type: CONVOLUTION bottom: "data" top: "score" blobs_lr: 1 blobs_lr: 2
  convolution_param { num_output: 4 kernel_size: 1 weight_filler { type: "xavier" } }
}
layers { name: "loss" type: SOFTMAX_LOSS bottom: "score" bottom: "label" top: "loss" }
'''
OF_2013 = INPUT + '''
layers { layer { name: "score" type: "conv" num_output: 4 kernelsize: 1
                 weight_filler { type: "xavier" } } bottom: "data" top: "score" }
layers { layer { name: "loss" type: "softmax_loss" } bottom: "score" bottom: "label" top: "loss" }
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Here, with the commands of Caffe on PATH that `make env` writes."""
    here = Path(sys.executable).parent.parent
    made = runtime.Runtime(here.parent, 'source' if (here / 'caffe').exists() else 'debian')
    (tmp_path / 'runtime' / 'bin').mkdir(parents=True)
    for name in ('debian', 'caffe'):
        os.symlink(str(here / name), str(tmp_path / 'runtime' / name))
    for name, text in wrappers.wrappers(made).items():
        if name in wrappers.CAFFE_COMMANDS:
            (tmp_path / 'runtime' / 'bin' / name).write_text(text)
            (tmp_path / 'runtime' / 'bin' / name).chmod(0o755)
    path = os.pathsep.join([str(tmp_path / 'runtime' / 'bin'), os.environ['PATH']])
    monkeypatch.setenv('PATH', path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def add(folder, text, *arguments):
    (folder / 'net.prototxt').write_text(text)
    return main(['add', 'net.prototxt', *arguments])


def test_the_commands_of_caffe_start(folder):
    """Those that are in .runtime/bin, as a user starts them."""
    (folder / 'old').write_text(OF_2014)
    (folder / 'solver').write_text('net: "old" base_lr: 1 solver_type: ADAGRAD')
    for tool, old in [('upgrade_net_proto_text', 'old'), ('upgrade_solver_proto_text', 'solver')]:
        done = subprocess.run([tool, old, 'new'], stderr=subprocess.PIPE, env={
            **os.environ, 'GLOG_logtostderr': '1'})
        assert done.returncode == 0, done.stderr.decode()
        assert ('type: "AdaGrad"' if old == 'solver' else '"SoftmaxWithLoss"') in \
            (folder / 'new').read_text()


@pytest.mark.parametrize('text', [OF_2014, OF_2013], ids=['2014', '2013'])
def test_add_converts_and_goes_on(text, folder, capsys):
    assert add(folder, text) == 0
    out, err = capsys.readouterr()
    assert err == '' and out.startswith('net.prototxt is in the old format: upgrade_net_proto_text '
                                        'has converted it, without its comments.\n')
    assert "'loss', SoftmaxWithLoss, becomes SoftDiceLossLayer of score, label." in out
    assert 'Proved: Caffe loads the net; on random input the loss is' in out
    assert '-  type: "SoftmaxWithLoss"' in out and '+  type: "Python"' in out
    assert (folder / 'net.prototxt').read_text() == text
    net = text_format.Parse((folder / 'net_dice.prototxt').read_text(), caffe_pb2.NetParameter())
    assert [layer.type for layer in net.layer] == ['Input', 'Convolution', 'Python']
    assert not net.layers and not net.input
    assert main(['check', 'net_dice.prototxt']) == 0


def test_in_place_keeps_the_original(folder, capsys):
    assert add(folder, OF_2014, '--in-place') == 0
    assert 'what it was is in net.prototxt.bak' in capsys.readouterr().out
    assert (folder / 'net.prototxt.bak').read_text() == OF_2014
    assert 'layers {' not in (folder / 'net.prototxt').read_text()
    assert main(['add', 'net.prototxt']) == 0
    out = capsys.readouterr().out
    assert 'nothing to do' in out and 'old format' not in out


def test_check_converts_for_itself(folder):
    (folder / 'net.prototxt').write_text(OF_2014)
    findings = check_net('net.prototxt')
    assert findings['gradient'].verdict == 'correct'
    assert [name for name in os.listdir('.') if name != 'runtime'] == ['net.prototxt']


@pytest.mark.parametrize('text, message', [
    (OF_2014.replace('SOFTMAX_LOSS', 'DICE_LOSS'),
     'is in the old format ("layers"), and upgrade_net_proto_text cannot convert it: line 8:: '
     'Unknown enumeration value of "DICE_LOSS" for field "type"; what a fork of Caffe added, that '
     "fork's own tool converts"),
    (OF_2014 + 'layer { name: "new" type: "Silence" bottom: "data" }',
     'has both "layer" and "layers": Caffe heeds one of them alone'),
    (OF_2014[:-3], "is not the prototxt of a net: line 8:: '}' is expected; got the end")])
def test_what_cannot_be_converted(text, message, folder, capsys):
    for command in ('add', 'check'):
        (folder / 'net.prototxt').write_text(text)
        assert main([command, 'net.prototxt']) == 2
        err = capsys.readouterr().err
        assert message in re.sub(r'line 8:\d+', 'line 8:', err) and err.count('\n') == 1
    assert [name for name in os.listdir('.') if name != 'runtime'] == ['net.prototxt']


def test_without_the_tool(folder, monkeypatch):
    (folder / 'net.prototxt').write_text(OF_2014)
    monkeypatch.setattr(sys, 'executable', str(folder / 'python'))
    monkeypatch.setenv('PATH', str(folder))
    with pytest.raises(CannotRun, match='converts it, upgrade_net_proto_text, is not on PATH: '
                                        '`make env` puts it into .runtime/bin, and'):
        old_format.read_text('net.prototxt')
    (folder / 'upgrade_net_proto_text').write_text('#!/no/such/shell\n')
    (folder / 'upgrade_net_proto_text').chmod(0o755)
    with pytest.raises(CannotRun, match='upgrade_net_proto_text, which converts it, cannot run: '):
        old_format.read_text('net.prototxt')


@pytest.mark.parametrize('says, reason', [('true', 'it said nothing'),
                                          ('echo because; echo', 'because')])
def test_a_tool_that_fails(says, reason, folder, monkeypatch):
    (folder / 'net.prototxt').write_text(OF_2014)
    (folder / 'upgrade_net_proto_text').write_text(f'#!/bin/sh\n{says}\nexit 3\n')
    (folder / 'upgrade_net_proto_text').chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(folder / 'python'))
    with pytest.raises(CannotRun, match=f'cannot convert it: {reason}; what a fork'):
        old_format.read_text('net.prototxt')


def test_todays_nets_are_left_alone(folder):
    (folder / 'net.prototxt').write_text('layer { name: "layers" }  # layers {')
    written, today = old_format.read_text('net.prototxt')
    assert written == today == 'layer { name: "layers" }  # layers {'
