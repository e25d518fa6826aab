"""The demo in three dimensions: its data, its two networks, and the whole of it in a few steps."""
import json

import caffe
import mxnet as mx
import nibabel
import numpy as np
import pytest
from mxnet import autograd
from tolerances import TOLERANCE

from demo import blocks, brain, training, vnet_caffe, vnet_gluon, vnet_prototxt
from demo.__main__ import main
from gluon_dice import SoftDiceLoss
from soft_dice import hard_dice
from soft_dice.gradcheck import relative_error

pytestmark = pytest.mark.slow


def caffe_net(name, phase):
    return caffe.Net(str(vnet_prototxt.FOLDER / f'{name}.prototxt'), phase)


# --- data ----------------------------------------------------------------------------------------

def test_regions_are_apart_and_hold_both_mirrored_halves():
    for name in ('t1', 'gm', 'wm'):  # why neither half may be kept for testing
        whole = np.asarray(nibabel.load(brain._folder() / brain.FILE.format(name)).dataobj)
        np.testing.assert_array_equal(whole, whole[::-1])
    label = brain.template((0, 1, 2))[1][:blocks.SHAPE[0]]
    train, test = blocks.region('train'), blocks.region('test')
    np.testing.assert_array_equal(test.label[0, 0], label[:, :32])
    for copy in train.label:
        np.testing.assert_array_equal(copy[0], label[:, 36:])
    for part in (train, test):
        assert part.image.shape == part.label.shape == part.clean.shape
        assert np.isfinite(part.image).all() and part.image.min() >= 0
        assert set(np.unique(part.label)) == {0, 1, 2, 3}


def test_blocks_are_cut_from_their_region():
    train, data = blocks.region('train'), blocks.load('train')
    assert data.image.shape == data.label.shape == (blocks.BLOCKS, 1) + blocks.BLOCK
    at = data.corner[-1]
    here = (slice(None), 0) + tuple(slice(i, i + n) for i, n in zip(at, blocks.BLOCK))
    assert any((data.image[-1, 0] == copy).all() for copy in train.image[here])
    np.testing.assert_array_equal(data.label[-1, 0], train.label[here][0])
    assert (data.label[:, 0, 8, 8, 8] > 0).all()


def test_corruption_is_seeded_and_makes_intensity_alone_insufficient():
    train, test = blocks.region('train'), blocks.region('test')
    np.testing.assert_array_equal(test.image, blocks.region.__wrapped__('test').image)
    assert (test.image != blocks.region('test', 1).image).any()

    def baseline(train, test):
        prediction = brain.histogram_baseline(train, test)
        return brain.foreground(hard_dice(prediction, test.label, len(brain.CLASSES)))

    clean = baseline(train._replace(image=train.clean), test._replace(image=test.clean))
    assert clean > 0.95 and baseline(train, test) < 0.85


@pytest.mark.parametrize('bias', [0.25, 0.5])
def test_bias_field_is_smooth_and_spans_its_range(bias):
    field = brain.bias_field((20, 24, 16), np.random.RandomState(0), bias)
    assert np.log([field.min(), field.max()]) == pytest.approx([-bias, bias])
    assert max(np.abs(np.diff(np.log(field), axis=axis)).max() for axis in range(3)) < 0.2 * bias


def test_windows_cover_the_region_and_join_to_their_mean():
    shape = blocks.region('test').label.shape[2:]
    volume = np.random.RandomState(0).standard_normal((3,) + shape)
    corners = blocks.windows()
    parts = np.stack([blocks.cut(volume, corner, blocks.WINDOW) for corner in corners])
    np.testing.assert_allclose(blocks.join(parts, corners, shape), volume, rtol=1e-12)
    parts[0] += 2  # of the two by two windows, one alone has the first voxel, all have the middle
    difference = blocks.join(parts, corners, shape) - volume
    middle = tuple(n // 2 for n in shape)
    assert difference[0, 0, 0, 0] == pytest.approx(2)
    assert difference[(0,) + middle] == pytest.approx(0.5)


# --- the two networks ----------------------------------------------------------------------------

def test_files_are_those_of_the_generator():
    assert {path.name: path.read_text() for path in vnet_prototxt.FOLDER.glob('*.prototxt')} \
        == vnet_prototxt.files()


@pytest.mark.parametrize('hybridized', [False, True], ids=['imperative', 'hybridized'])
def test_both_networks_are_one_function(hybridized):
    """Scores, loss and the gradient of every parameter, with the weights of one in both."""
    net, there = vnet_gluon.initialized(3), caffe_net('train', caffe.TRAIN)
    net.hybridize(hybridized, static_alloc=hybridized, static_shape=hybridized)
    vnet_caffe.copy_weights(net, there)
    there.forward()
    there.backward()
    image, label = (mx.nd.array(there.blobs[name].data) for name in ('image', 'label'))
    with autograd.record():
        scores = net(image)
        loss = SoftDiceLoss(training.VNET.loss)(scores, label).mean()
    loss.backward()
    assert relative_error(scores.asnumpy(), there.blobs['score'].data) \
        <= TOLERANCE['gradient, float32']
    assert relative_error(loss.asnumpy()[0], there.blobs['loss'].data) <= TOLERANCE['loss, float32']
    trained = {parameter.name: (parameter.grad().asnumpy(), blob.diff)
               for parameter, blob in vnet_caffe.pairs(net, there) if parameter.grad_req != 'null'}
    assert set(trained) == {parameter.name for parameter in net.collect_params().values()
                            if parameter.grad_req != 'null'}
    for name, (here, gradient) in trained.items():
        assert np.abs(gradient).max() > 0, name
        assert relative_error(here, gradient) <= TOLERANCE['gradient, float32'], name
    for name in ('left1', 'down2', 'up1'):  # a step moves the running mean by as much in both
        total, _, weight = (blob.data for blob in there.params[f'{name}_norm'])
        mean = net.collect_params()[f'{net.prefix}{name}_norm_running_mean'].data().asnumpy()
        assert relative_error(mean, total / weight) <= TOLERANCE['gradient, float32'], name


def test_both_networks_predict_the_same():
    """With the statistics of a few batches, on a volume of another shape than they have seen."""
    net, there = vnet_gluon.initialized(0), caffe_net('deploy', caffe.TEST)
    data = blocks.load('train')
    for i in range(3):
        with autograd.train_mode():
            net(mx.nd.array(data.image[4 * i:4 * i + 4])).wait_to_read()
    vnet_caffe.copy_weights(net, there)
    image = blocks.region('test').image[:, :, 20:44, :20, 20:52]
    there.blobs['image'].reshape(*image.shape)
    there.blobs['image'].data[...] = image
    probability = there.forward()['probability']
    assert probability.shape == (1, 4) + image.shape[2:]
    expected = mx.nd.softmax(net(mx.nd.array(image)), axis=1).asnumpy()
    assert relative_error(probability, expected) <= TOLERANCE['gradient, float32']


def test_bad_batch_size():
    with pytest.raises(ValueError, match=r'batch_size must be in \[1, 9\].*got 10'):
        next(brain.batches(9, 10, 0, shuffle=False))


# --- training ------------------------------------------------------------------------------------

def test_both_learn_the_same_from_the_same_start(tmp_path):
    gluon, in_caffe = vnet_gluon.train(0, 8), vnet_caffe.train(0, 8, tmp_path)
    assert relative_error(gluon.losses[0], in_caffe.losses[0]) <= TOLERANCE['loss, float32']
    for outcome in (gluon, in_caffe):
        assert len(outcome.losses) == 8
        assert np.mean(outcome.losses[-3:]) < np.mean(outcome.losses[:3]) / 1.5
        assert outcome.prediction.shape == blocks.region('test').label.shape


def test_demo_runs(tmp_path, capsys):
    assert main(['--3d', '--quick', '--out', str(tmp_path)]) == 0
    results = json.loads((tmp_path / 'results.json').read_text())
    for name in ('gluon', 'caffe', 'baseline'):
        assert set(results[name]['dice']) == set(brain.CLASSES)
    for picture in ('planes.png', 'curves.png'):
        assert (tmp_path / picture).read_bytes().startswith(b'\x89PNG')
    out = capsys.readouterr().out
    assert '800 blocks of 16 x 16 x 16 voxels' in out and 'a region of 80 x 32 x 80' in out
    assert 'planes.png, curves.png and results.json are in' in out
