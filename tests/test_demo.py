"""The demo's data, its two networks, and the whole of it in a few steps."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import caffe
import mxnet as mx
import numpy as np
import pytest
from processes import surroundings

from demo import brain, training, unet_gluon
from demo.__main__ import main
from soft_dice import DiceOptions, hard_dice

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
FILES = ROOT / 'prototxt_examples' / 'brain_unet'
EXAMPLES = {'brain_unet/train_val': training.UNET, 'vnet_3d/train': training.VNET}


def test_slices():
    train, test = brain.load('train'), brain.load('test')
    for part in (train, test):
        assert part.image.shape == part.label.shape == (len(part.z), 1) + brain.SHAPE
        assert set(np.unique(part.label)) == {0, 1, 2, 3}
        assert np.isfinite(part.image).all() and part.image.min() >= 0
    share = np.bincount(train.label.astype(int).ravel()) / train.label.size
    assert 0.4 < share[0] < 0.8 and (share[1:] > 0.03).all()


def test_test_slices_are_no_neighbours_of_training_slices():
    gaps = np.abs(np.subtract.outer(brain.TEST_Z, brain.TRAIN_Z))
    assert gaps.min() >= 4


def test_corruption_is_seeded_and_makes_intensity_alone_insufficient():
    train, test = brain.load('train'), brain.load('test')
    np.testing.assert_array_equal(train.image, brain.load.__wrapped__('train').image)
    assert (train.image != brain.load('train', 1).image).any()

    def baseline(train, test):
        prediction = brain.histogram_baseline(train, test)
        return brain.foreground(hard_dice(prediction, test.label, len(brain.CLASSES)))

    clean = baseline(train._replace(image=train.clean), test._replace(image=test.clean))
    assert clean > 0.95 and baseline(train, test) < 0.85


def test_both_networks_are_the_same():
    net = unet_gluon.UNet()
    net.initialize()
    net(mx.nd.zeros((1, 1) + brain.SHAPE))
    weights = sorted(p.shape for name, p in net.collect_params().items()
                     if name.endswith(('weight', 'bias')))
    for name in ('train_val', 'deploy'):
        caffe_net = caffe.Net(str(FILES / f'{name}.prototxt'), caffe.TEST)
        types = dict(zip(caffe_net._layer_names, (layer.type for layer in caffe_net.layers)))
        blobs = sorted(tuple(blob.shape) for layer, each in caffe_net.params.items()
                       if types[layer] in ('Convolution', 'Deconvolution') for blob in each)
        assert blobs == weights


@pytest.mark.parametrize('name', EXAMPLES)
def test_both_have_the_same_loss_and_schedule(name):
    path, schedule = ROOT / 'prototxt_examples' / f'{name}.prototxt', EXAMPLES[name]
    param_str = re.search(r'layer: "SoftDiceLossLayer"\s+param_str: \'(.*?)\'', path.read_text())
    assert DiceOptions.from_param_str(param_str.group(1)) == schedule.loss
    assert f'"part": "train", "batch_size": {schedule.batch_size}' in path.read_text()
    solver = path.with_name('solver.prototxt').read_text()
    said = dict(re.findall(r'^(\w+): (\S+)', solver, flags=re.MULTILINE))
    assert float(said['base_lr']) == schedule.learning_rate
    assert float(said['power']) == schedule.power
    assert int(said['max_iter']) == schedule.steps
    assert int(said['test_interval']) == schedule.test_every


def test_demo_runs(tmp_path, capsys):
    assert main(['--quick', '--out', str(tmp_path)]) == 0
    results = json.loads((tmp_path / 'results.json').read_text())
    for name in ('gluon', 'caffe', 'baseline'):
        assert set(results[name]['dice']) == {'background', 'other', 'grey', 'white'}
    for picture in ('slices.png', 'curves.png'):
        assert (tmp_path / picture).read_bytes().startswith(b'\x89PNG')
    out = capsys.readouterr().out
    assert re.search(r'class +Dice in Gluon +Dice in Caffe', out)
    assert all(re.search(rf'^{name} +0\.\d+ +0\.\d+ +0\.\d+$', out, re.M) for name in brain.CLASSES)


@pytest.mark.parametrize('name', EXAMPLES)
def test_plain_caffe_command(name, tmp_path):
    solver = (ROOT / 'prototxt_examples' / name).with_name('solver.prototxt').read_text()
    solver = re.sub(r'max_iter: \d+', 'max_iter: 3', solver)
    solver = re.sub(r'test_iter.*|test_interval.*|snapshot_prefix.*', '', solver)
    path = tmp_path / 'solver.prototxt'
    path.write_text(re.sub('display: .*', 'display: 1', solver)
                    + '\ntest_iter: 1 test_interval: 3 test_initialization: false '
                    'snapshot_after_train: false')
    command = os.path.join(os.path.dirname(sys.executable), 'caffe')
    done = subprocess.run([command if os.path.exists(command) else 'caffe', 'train', '-solver',
                           str(path)], cwd=str(ROOT), stderr=subprocess.STDOUT,
                          stdout=subprocess.PIPE,
                          env=surroundings(GLOG_logtostderr='1', GLOG_minloglevel='0'))
    assert done.returncode == 0, done.stdout.decode()
    assert re.search(r'Iteration 3, loss = \d', done.stdout.decode())


@pytest.mark.parametrize('arguments, message', [
    (['--out', '/proc/nowhere'], 'cannot write into /proc/nowhere'),
])
def test_bad_arguments(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_without_nilearn(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(brain.importlib.util, 'find_spec', lambda name: None)
    brain.load.cache_clear()
    brain.template.cache_clear()
    assert main(['--out', str(tmp_path)]) == 2
    assert 'nilearn, which is not installed' in capsys.readouterr().err.replace('\n', ' ')


@pytest.mark.parametrize('seed', ['-1', '1.5', 'x', str(2 ** 31)])
def test_bad_seed(seed, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([f'--seed={seed}'])
    assert stopped.value.code == 2 and 'must be a whole number' in capsys.readouterr().err
