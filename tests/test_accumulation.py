"""Caffe's iter_size: what adding up gradients of several batches gives, and what it does not."""
import json

import caffe
import numpy as np
import pytest

from soft_dice.gradcheck import relative_error

DATA = ('layer {{ name: "data" type: "Python" top: "data" top: "label" python_param {{ '
        'module: "accumulation_layer" layer: "Images" param_str: "{batch}" }} }}\n')
SCORE = ('layer { name: "score" type: "Convolution" bottom: "data" top: "score" '
         'convolution_param { num_output: 3 kernel_size: 3 pad: 1 '
         'weight_filler { type: "gaussian" std: 0.3 } } }\n')


def update(tmp_path, batch, iter_size, **options):
    """The change of the weights in one step of plain gradient descent."""
    net, solver = tmp_path / f'net{batch}.prototxt', tmp_path / f'solver{batch}.prototxt'
    loss = ('layer { name: "loss" type: "Python" loss_weight: 1 bottom: "score" bottom: "label" '
            'top: "loss" python_param { module: "caffe_layers" layer: "SoftDiceLossLayer" '
            f"param_str: '{json.dumps(dict(options, ignore_label=255))}' }} }}\n")
    net.write_text(DATA.format(batch=batch) + SCORE + loss)
    solver.write_text(f'net: "{net}" base_lr: 1 lr_policy: "fixed" iter_size: {iter_size} '
                      'max_iter: 1 random_seed: 1 snapshot_after_train: false')
    solver = caffe.get_solver(str(solver))
    before = solver.net.params['score'][0].data.astype(np.float64)
    solver.step(1)
    return solver.net.params['score'][0].data - before


@pytest.mark.parametrize('batch, iter_size', [(4, 2), (2, 4), (1, 8)])
@pytest.mark.parametrize('options', [{}, {'absent': 'skip'}, {'class_weights': 'inverse'}], ids=str)
def test_iter_size_is_exact_for_a_loss_per_image(tmp_path, batch, iter_size, options):
    whole = update(tmp_path, 8, 1, **options)
    assert relative_error(update(tmp_path, batch, iter_size, **options), whole) < 1e-6


@pytest.mark.parametrize('options', [{'batch_dice': True}], ids=str)
def test_iter_size_is_another_loss_over_the_batch(tmp_path, options):
    whole = update(tmp_path, 8, 1, **options)
    assert relative_error(update(tmp_path, 2, 4, **options), whole) > 0.05
