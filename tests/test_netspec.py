"""Nets written with caffe.NetSpec: what they say, what they refuse, and what they compute."""
import json

import caffe
import numpy as np
import pytest
from backends import make_net
from tolerances import TOLERANCE

from caffe_layers import params
from caffe_layers.netspec import dice_ce_loss, dice_score, soft_dice_loss
from soft_dice import (DiceCEOptions, DiceOptions, dice_ce_loss_vjp, hard_dice, preset, presets,
                       soft_dice_loss_vjp, soft_dice_score)
from soft_dice.gradcheck import relative_error

RNG = np.random.RandomState(0)
PRED = RNG.standard_normal((2, 4, 9, 8)).astype('float32')
LABEL = RNG.randint(0, 4, (2, 1, 9, 8)).astype('float32')
WEIGHT = RNG.uniform(0, 2, (2, 1, 9, 8)).astype('float32')


def spec(weighted=False):
    n = caffe.NetSpec()
    for name, array in [('score', PRED), ('label', LABEL), ('weight', WEIGHT)][:2 + weighted]:
        n[name] = caffe.layers.Input(shape=dict(dim=list(array.shape)))
    return n


def loss_of(n):
    return n.to_proto().layer[-1]


def run(n):
    """Loss and gradient in the net that Caffe reads from the text NetSpec prints."""
    net = make_net('force_backward: true\n' + str(n.to_proto()))
    for name, array in [('score', PRED), ('label', LABEL), ('weight', WEIGHT)]:
        if name in net.blobs:
            net.blobs[name].data[...] = array
    net.forward()
    net.backward()
    return net


def assert_computes(net, options, weight=None, loss_weight=1.0):
    loss, vjp = soft_dice_loss_vjp(PRED.astype('float64'), LABEL, options, weight)
    assert relative_error(net.blobs['loss'].data, loss.mean()) <= TOLERANCE['loss, float32']
    assert relative_error(net.blobs['score'].diff, vjp(loss_weight / 2)) \
        <= TOLERANCE['gradient, float32']


@pytest.mark.parametrize('fields', [
    dict(), dict(ignore_label=2, batch_dice=True), dict(classes=[1, -1], smooth=[0.1, 1]),
    dict(class_weights=(0.1, 1, 2, 3), form='log'), dict(preset='sudre2017'),
    dict(preset='smp', include_background=False), dict(alpha=0.3, beta=np.float64(0.7))])
def test_a_net_computes_what_was_asked_for(fields):
    n = spec()
    n.loss = soft_dice_loss(n.score, n.label, **fields)
    others = {name: value for name, value in fields.items() if name != 'preset'}
    options = preset(fields['preset']) if 'preset' in fields else DiceOptions()
    assert_computes(run(n), options.replace(**others))


@pytest.mark.parametrize('fields', [dict(), dict(preset='nnunet', ce_gamma=2, ce_weight=0.5)])
def test_a_cross_entropy_beside_the_dice(fields):
    n = spec()
    n.loss = dice_ce_loss(n.score, n.label, loss_weight=3, **fields)
    net = run(n)
    options = DiceCEOptions.from_param_str(json.dumps(fields))
    loss, vjp = dice_ce_loss_vjp(PRED.astype('float64'), LABEL, options)
    assert relative_error(net.blobs['loss'].data, loss.mean()) <= TOLERANCE['loss, float32']
    assert relative_error(net.blobs['score'].diff, vjp(3 / 2)) <= TOLERANCE['gradient, float32']
    with pytest.raises(TypeError, match='options must be a soft_dice.DiceCEOptions'):
        dice_ce_loss(n.score, n.label, options=DiceOptions())


def test_pixel_weight_and_loss_weight():
    n = spec(weighted=True)
    n.loss = soft_dice_loss(n.score, n.label, n.weight, loss_weight=2.5)
    assert_computes(run(n), DiceOptions(), WEIGHT, 2.5)
    assert list(loss_of(n).bottom) == ['score', 'label', 'weight']


def test_score_as_second_top():
    n = spec()
    n.loss, n.dice = soft_dice_loss(n.score, n.label, ntop=2, loss_weight=3, smooth=1.0)
    assert list(loss_of(n).loss_weight) == [3, 0] and list(loss_of(n).top) == ['loss', 'dice']
    net = run(n)
    assert_computes(net, DiceOptions(smooth=1.0), loss_weight=3)
    score = soft_dice_score(PRED, LABEL, DiceOptions(smooth=1.0))
    assert relative_error(net.blobs['dice'].data, score) <= TOLERANCE['loss, float32']


def test_the_layer_itself():
    n = spec()
    n.loss = soft_dice_loss(n.score, n.label, name='dice', include=dict(phase=caffe.TRAIN),
                            propagate_down=[True, False])
    layer = loss_of(n)
    assert (layer.name, list(layer.top)) == ('dice', ['loss'])
    assert [rule.phase for rule in layer.include] == [caffe.TRAIN]
    assert list(layer.propagate_down) == [True, False] and list(layer.loss_weight) == [1]
    assert (layer.type, layer.python_param.module, layer.python_param.layer) \
        == ('Python', 'caffe_layers', 'SoftDiceLossLayer')
    assert not layer.python_param.HasField('param_str')


@pytest.mark.parametrize('fields, text', [
    (dict(), ''), (dict(smooth=1e-5, form='one_minus'), ''), (dict(options=DiceOptions()), ''),
    (dict(smooth=1, alpha=1, beta=0), '{"alpha": 1.0, "beta": 0.0, "smooth": 1.0}'),
    (dict(beta=0, smooth=1, alpha=1), '{"alpha": 1.0, "beta": 0.0, "smooth": 1.0}'),
    (dict(ignore_label=255, options=DiceOptions(batch_dice=True)),
     '{"ignore_label": 255, "batch_dice": true}'),
    (dict(options=DiceOptions(batch_dice=True), batch_dice=False), ''),
    (dict(preset='monai'), '{"preset": "monai"}'),
    (dict(preset='smp', smooth=0), '{"preset": "smp"}'),
    (dict(preset='smp', smooth=1e-5, ignore_label=255),
     '{"preset": "smp", "ignore_label": 255, "smooth": 1e-05}'),
    (dict(class_weights=np.array([1, 2, 3, 4])), '{"class_weights": [1.0, 2.0, 3.0, 4.0]}')])
def test_param_str_says_what_differs(fields, text):
    n = spec()
    n.loss = soft_dice_loss(n.score, n.label, **fields)
    assert loss_of(n).python_param.param_str == text


@pytest.mark.parametrize('name', presets)
def test_param_str_of_a_preset_and_of_its_options_read_back(name):
    assert params.read(params.write({'preset': name, 'ignore_label': 7}), DiceOptions) \
        == params.read(params.write({'ignore_label': 7}, options=preset(name)), DiceOptions) \
        == preset(name).replace(ignore_label=7)


@pytest.mark.parametrize('fields, error, message', [
    (dict(smoth=1), TypeError, "unknown option 'smoth'"),
    (dict(smooth=-1), ValueError, 'smooth must be a finite number >= 0'),
    (dict(alpha=0, beta=0), ValueError, 'alpha and beta must not both be 0'),
    (dict(axis=2), ValueError, 'axis must be 1, the channels of Caffe; got 2'),
    (dict(options=DiceOptions(axis=-1)), ValueError, 'axis must be 1'),
    (dict(preset='moani'), ValueError, "preset must be one of .*; got 'moani'"),
    (dict(preset=DiceOptions()), ValueError, 'preset must be one of'),
    (dict(preset='smp', options=DiceOptions()), TypeError, 'options or preset, not both'),
    (dict(options={'smooth': 1}), TypeError, 'options must be a soft_dice.DiceOptions.*got dict'),
    (dict(loss_weight=float('nan')), ValueError, 'loss_weight must be a finite number.*got nan'),
    (dict(loss_weight='1'), ValueError, "loss_weight must be a finite number.*got '1'"),
    (dict(loss_weight=True), ValueError, 'loss_weight must be .* got True'),
    (dict(ntop=3), ValueError, 'ntop must be 1, the loss, or 2, loss and score; got 3'),
    (dict(ntop=True), ValueError, 'ntop must be 1'),
    (dict(pixel_weight='weight'), TypeError, 'pixel_weight must be a Top, .* got str'),
    (dict(in_place=True), TypeError, "unknown option 'in_place'")])
def test_what_is_refused_when_the_net_is_written(fields, error, message):
    n = spec()
    with pytest.raises(error, match=message):
        soft_dice_loss(n.score, n.label, **fields)


def score_of(n, *arguments, **fields):
    n.dice = dice_score(n.score, n.label, *arguments, **fields)
    return loss_of(n)


def test_dice_score_is_of_the_test_net():
    n = spec()
    layer = score_of(n, ignore_label=2, include_background=False, beta=2)
    assert [rule.phase for rule in layer.include] == [caffe.TEST] and not layer.loss_weight
    assert 'dice' not in make_net(str(n.to_proto()), caffe.TRAIN).blobs
    net = make_net(str(n.to_proto()), caffe.TEST)
    net.blobs['score'].data[...], net.blobs['label'].data[...] = PRED, LABEL
    net.forward()
    wanted = hard_dice(PRED, LABEL, options=DiceOptions(ignore_label=2, include_background=False),
                       beta=2)
    assert relative_error(net.blobs['dice'].data, wanted.mean()) <= TOLERANCE['loss, float32']


@pytest.mark.parametrize('fields, text', [
    (dict(), ''), (dict(ignore_label=255, empty='nan'), '{"ignore_label": 255}'),
    (dict(test_iter=20), '{"test_iter": 20}'), (dict(preset='smp'), ''),
    (dict(preset='milletari2016', beta=np.float32(2)),
     '{"beta": 2.0, "include_background": false}'),
    (dict(options=DiceOptions(smooth=1, classes=[1, 2])), '{"classes": [1, 2]}')])
def test_param_str_of_dice_score(fields, text):
    assert score_of(spec(), **fields).python_param.param_str == text


def test_dice_score_of_another_phase_and_per_class():
    n = spec()
    n.dice, n.each = dice_score(n.score, n.label, ntop=2, include=dict(phase=caffe.TRAIN))
    layer = loss_of(n)
    assert [rule.phase for rule in layer.include] == [caffe.TRAIN]
    net = make_net(str(n.to_proto()))
    assert net.blobs['each'].data.shape == (4,)
    assert not score_of(spec(), phase=caffe.TEST).include


@pytest.mark.parametrize('fields, error, message', [
    (dict(smooth=1), TypeError, 'smooth is an option of the loss alone'),
    (dict(smoth=1), TypeError, "unknown option 'smoth'"), (dict(ntop=0), ValueError, 'ntop must'),
    (dict(test_iter=0), ValueError, 'test_iter must be a whole number >= 1'),
    (dict(options=DiceOptions(axis=-1)), ValueError, 'axis must be 1'),
    (dict(preset='dice'), ValueError, 'preset must be one of'),
    (dict(preset='smp', options=DiceOptions()), TypeError, 'options or preset, not both')])
def test_what_dice_score_refuses(fields, error, message):
    with pytest.raises(error, match=message):
        score_of(spec(), **fields)


@pytest.mark.parametrize('bottoms, message', [
    (('score', None), 'score must be a Top, .* got str'), ((None, 'label'), 'label must be a Top'),
    (('none', 'none'), 'score must be a Top')])
def test_blobs_by_name_are_refused(bottoms, message):
    n = spec()
    score, label = bottoms
    with pytest.raises(TypeError, match=message):
        soft_dice_loss(score or n.score, label or n.label)


def test_no_blob_is_refused():
    n = spec()
    with pytest.raises(TypeError, match='label must be a Top, .* got NoneType'):
        soft_dice_loss(n.score, None)
