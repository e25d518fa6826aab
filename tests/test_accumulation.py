"""Gradients of several batches added up, by iter_size or over processes, in Caffe: what that gives,
and what it does not.
"""
import functools
import json

import caffe
import numpy as np
import pytest
from examples import caffe_workers

from soft_dice.gradcheck import relative_error

DATA = ('layer {{ name: "data" type: "Python" top: "data" top: "label" python_param {{ '
        'module: "accumulation_layer" layer: "Images" param_str: "{batch}" }} }}\n')
SCORE = ('layer { name: "score" type: "Convolution" bottom: "data" top: "score" '
         'convolution_param { num_output: 3 kernel_size: 3 pad: 1 '
         'weight_filler { type: "gaussian" std: 0.3 } } }\n')


def update(tmp_path, batch, iter_size, layer='SoftDiceLossLayer', **options):
    """The change of the weights in one step of plain gradient descent."""
    net, solver = tmp_path / f'net{batch}.prototxt', tmp_path / f'solver{batch}.prototxt'
    loss = ('layer { name: "loss" type: "Python" loss_weight: 1 bottom: "score" bottom: "label" '
            'top: "loss" python_param { module: "caffe_layers" layer: "' + layer + '" '
            f"param_str: '{json.dumps(dict(options, ignore_label=255))}' }} }}\n")
    net.write_text(DATA.format(batch=batch) + SCORE + loss)
    solver.write_text(f'net: "{net}" base_lr: 1 lr_policy: "fixed" iter_size: {iter_size} '
                      'max_iter: 1 random_seed: 1 snapshot_after_train: false')
    solver = caffe.get_solver(str(solver))
    before = solver.net.params['score'][0].data.astype(np.float64)
    solver.step(1)
    return solver.net.params['score'][0].data - before


@pytest.mark.parametrize('batch, iter_size', [(4, 2), (2, 4), (1, 8)])
@pytest.mark.parametrize('options', [
    {}, {'absent': 'skip'}, {'class_weights': 'inverse'}, {'layer': 'DiceCELossLayer'}], ids=str)
def test_iter_size_is_exact_for_a_loss_per_image(tmp_path, batch, iter_size, options):
    whole = update(tmp_path, 8, 1, **options)
    assert relative_error(update(tmp_path, batch, iter_size, **options), whole) < 1e-6


@pytest.mark.parametrize('options', [
    {'batch_dice': True}, {'batch_dice': True, 'layer': 'DiceCELossLayer'}], ids=str)
def test_iter_size_is_another_loss_over_the_batch(tmp_path, options):
    whole = update(tmp_path, 8, 1, **options)
    assert relative_error(update(tmp_path, 2, 4, **options), whole) > 1e-3


# --- several processes ----------------------------------------------------------------------------

@functools.lru_cache(maxsize=None)
def trained(workers, options='{}'):
    """The losses of three steps of plain gradient descent, mean over workers, and what they have
    changed in the weights."""
    losses, after = caffe_workers.train(workers, 3, rule='SGD', rate=1.0, **json.loads(options))
    return losses.mean(axis=0), after - untrained()


@functools.lru_cache(maxsize=None)
def untrained():
    return caffe_workers.train(1, 0)[1]


@pytest.mark.slow
@pytest.mark.parametrize('workers', [2, 4])
def test_processes_are_exact_for_a_loss_per_image(workers):
    for found, whole in zip(trained(workers), trained(1)):
        assert relative_error(found, whole) < 1e-6


@pytest.mark.slow
def test_processes_have_another_loss_over_the_batch():
    """A thousand times what rounding does, although all of these images are much alike."""
    options = '{"batch_dice": true}'
    assert relative_error(trained(4, options)[1], trained(1, options)[1]) > 1e-3


@pytest.mark.slow
def test_processes_learn():
    losses, _ = caffe_workers.train(2, 30)
    assert losses[:, -1].mean() < 0.6 * losses[:, 0].mean()


@pytest.mark.slow
def test_a_process_that_fails_ends_all():
    with pytest.raises(ValueError, match='the batch, 8, must be a multiple of the 3 workers'):
        caffe_workers.train(3, 1)
    # Caffe ends a process whose solver it cannot make.
    with pytest.raises(RuntimeError, match='worker [01] ended without an answer'):
        caffe_workers.train(2, 1, rule='no such solver')
