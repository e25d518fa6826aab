"""Presets and cross-entropies against the published losses, run by tests/originals/make_data.py."""
import json
from pathlib import Path

import numpy as np
import pytest
from backends import ARRAY_BACKENDS, caffe_layer
from cases import Arrays
from tolerances import TOLERANCE

from soft_dice import (DiceCEOptions, DiceOptions, compound_presets, dice_ce_loss, preset, presets,
                       soft_dice_loss)
from soft_dice.gradcheck import relative_error

with np.load(str(Path(__file__).with_name('originals') / 'data.npz')) as data:
    DATA = dict(data)
ABOUT = json.loads(str(DATA['about']))
KINDS = {'DiceOptions': DiceOptions, 'DiceCEOptions': DiceCEOptions}


def arrays_of(entry, dtype):
    pred = DATA[f'pred{entry["input"]}'].astype(dtype)
    label = DATA[f'label{entry["input"]}']
    label = label.astype(dtype) if label.dtype.kind == 'f' else label
    each = (1 / len(pred),)  # the originals return the mean over the batch
    return Arrays(pred, label, None, np.array(each * len(pred)))


@pytest.mark.parametrize('backend', [*ARRAY_BACKENDS, 'caffe'])
@pytest.mark.parametrize('kind', list(KINDS))
def test_presets_equal_the_originals(kind, backend):
    dtype = 'float32' if backend == 'caffe' else 'float64'
    entries = {number: entry for number, entry in enumerate(ABOUT['entries'])
               if entry['options'] == kind}
    assert len(entries) > 100
    worst = {}
    for number, entry in entries.items():
        options = KINDS[kind](**{**preset(entry['preset']).to_dict(), **entry['changes']})
        run = caffe_layer if backend == 'caffe' else ARRAY_BACKENDS[backend]
        loss, gradient = run(arrays_of(entry, dtype), options)
        single = entry['single'] or dtype == 'float32'
        errors = (relative_error(np.mean(loss), entry['loss']),
                  relative_error(gradient, DATA[f'gradient{number}']))
        limits = (TOLERANCE['loss, float32' if single else 'value, float64'],
                  TOLERANCE['gradient, float32' if single else 'gradient, float64'])
        if errors[0] > limits[0] or errors[1] > limits[1]:
            worst[number] = (entry['preset'], entry['changes'], entry['name'], errors)
    assert not worst


PUBLISHED = ['milletari2016', 'drozdzal2016', 'sudre2017', 'salehi2017', 'abraham2019',
             'isensee2017', 'monai', 'monai_generalized', 'monai_tversky', 'smp', 'smp_jaccard',
             'nnunet', 'segmentation_models', 'keras_smooth1', 'keras_smooth100', 'log_dice']


def test_names():
    assert sorted(presets) == sorted(PUBLISHED)
    for name, each in presets.items():
        assert preset(name) is each.options
        assert all(each[:4]) and all('\n' not in text for text in each[:4])


def test_the_default_options_are_monai():
    assert preset('monai') == DiceOptions()


@pytest.mark.parametrize('name', ['', 'Monai', None, 3, ['monai']])
def test_unknown_preset_lists_the_known_ones(name):
    with pytest.raises(ValueError, match='preset must be one of milletari2016, .*monai'):
        preset(name)


@pytest.mark.parametrize('name', list(compound_presets))
def test_a_preset_with_a_cross_entropy(name):
    assert DiceCEOptions.from_dict({'preset': name}) == preset(name) \
        == compound_presets[name].options
    with pytest.raises(ValueError, match=f"preset='{name}' has a cross-entropy: use DiceCELoss"):
        DiceOptions.from_param_str(json.dumps({'preset': name}))
    with pytest.raises(ValueError, match=f'preset must be one of .*nnunet, .*, {name}'):
        preset('unet')


def test_a_preset_stands_where_options_do():
    pred, label = np.log(P), G
    assert (soft_dice_loss(pred, label, 'nnunet')
            == soft_dice_loss(pred, label, preset('nnunet'))).all()
    assert (dice_ce_loss(pred, label, 'nnunet_dice_ce')
            == dice_ce_loss(pred, label, preset('nnunet_dice_ce'))).all()
    with pytest.raises(ValueError, match='has a cross-entropy'):
        soft_dice_loss(pred, label, 'nnunet_dice_ce')


def test_preset_in_a_param_str():
    text = '{"preset": "nnunet", "ignore_label": 255, "form": "one_minus"}'
    assert DiceOptions.from_param_str(text) == DiceOptions(include_background=False,
                                                           ignore_label=255)
    with pytest.raises(ValueError, match="preset must be one of .*got 'nnUNet'"):
        DiceOptions.from_param_str('{"preset": "nnUNet"}')


# The losses whose original is a formula in a paper or a Keras backend call, worked out directly.
P = np.array([[[0.7, 0.2, 0.1, 0.3], [0.3, 0.8, 0.9, 0.7]],
              [[0.6, 0.5, 0.2, 0.9], [0.4, 0.5, 0.8, 0.1]]])
G = np.array([[0, 1, 1, 0], [1, 1, 0, 0]])
ONE_HOT = np.eye(2)[G].transpose(0, 2, 1)


def dice(p, g, smooth=0.0, axis=-1, square=False):
    p_sum, g_sum = (p ** 2, g ** 2) if square else (p, g)
    return (2 * (p * g).sum(axis) + smooth) / (p_sum.sum(axis) + g_sum.sum(axis) + smooth)


def tversky(smooth, c):
    tp, p, g = (P * ONE_HOT).sum(-1), P.sum(-1), ONE_HOT.sum(-1)
    return ((tp + smooth) / (tp + 0.3 * (p - tp) + 0.7 * (g - tp) + smooth))[:, c]


def generalised():
    w = 1 / ONE_HOT.sum(-1) ** 2
    return 1 - 2 * (w * (P * ONE_HOT).sum(-1)).sum(1) / (w * (P + ONE_HOT).sum(-1)).sum(1)


def over_batch():
    return dice(P, ONE_HOT, axis=(0, 2)), (P * ONE_HOT).sum((0, 2)), (P + ONE_HOT).sum((0, 2))


PAPERS = {
    'milletari2016': lambda: (1 - dice(P[:, 1], ONE_HOT[:, 1], square=True)).mean(),
    'sudre2017': lambda: generalised().mean(),
    'salehi2017': lambda: (1 - tversky(0, 1)).mean(),
    'abraham2019': lambda: sum((1 - tversky(1, c)) ** 0.75 for c in (0, 1)).mean(),
    'isensee2017': lambda: -(2 * over_batch()[1] / (over_batch()[2] + 1e-6)).mean(),
    'segmentation_models': lambda: 1 - ((2 * over_batch()[1] + 1e-5)
                                        / (over_batch()[2] + 1e-5)).mean(),
    'keras_smooth1': lambda: 1 - dice(P.ravel(), ONE_HOT.ravel(), smooth=1),
    'keras_smooth100': lambda: 1 - dice(P.ravel(), ONE_HOT.ravel(), smooth=100),
}


@pytest.mark.parametrize('name', list(PAPERS))
def test_formula_of_the_paper(name):
    arrays = Arrays(np.log(P), G, None, np.full(2, 0.5))
    for backend in ARRAY_BACKENDS.values():
        loss, _ = backend(arrays, preset(name))
        assert relative_error(np.mean(loss), PAPERS[name]()) <= TOLERANCE['value, float64']


def test_drozdzal():
    p = P[:, :1]
    arrays = Arrays(np.log(p / (1 - p)), G, None, np.full(2, 0.5))
    for backend in ARRAY_BACKENDS.values():
        loss, _ = backend(arrays, preset('drozdzal2016'))
        assert relative_error(loss, -dice(p[:, 0], G)) <= TOLERANCE['value, float64']
