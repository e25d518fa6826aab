"""Every preset against the published loss itself, run by tests/originals/make_data.py."""
import json
from pathlib import Path

import numpy as np
import pytest
from backends import ARRAY_BACKENDS, caffe_layer
from cases import Arrays
from tolerances import TOLERANCE

from soft_dice import DiceOptions, preset, presets
from soft_dice.gradcheck import relative_error

with np.load(str(Path(__file__).with_name('originals') / 'data.npz')) as data:
    DATA = dict(data)
ABOUT = json.loads(str(DATA['about']))
ENTRIES = ABOUT['entries']


def arrays_of(entry, dtype):
    pred = DATA[f'pred{entry["input"]}'].astype(dtype)
    label = DATA[f'label{entry["input"]}']
    label = label.astype(dtype) if label.dtype.kind == 'f' else label
    each = (1 / len(pred),)  # the originals return the mean over the batch
    return Arrays(pred, label, None, np.array(each * len(pred)))


@pytest.mark.parametrize('backend', [*ARRAY_BACKENDS, 'caffe'])
def test_presets_equal_the_originals(backend):
    dtype = 'float32' if backend == 'caffe' else 'float64'
    worst = {}
    for number, entry in enumerate(ENTRIES):
        options = preset(entry['preset']).replace(**entry['changes'])
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
