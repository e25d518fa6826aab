"""Who may import whom, proved in fresh processes."""
import subprocess
import sys

import pytest

import soft_dice

FRAMEWORKS = ['mxnet', 'caffe', 'torch', 'tensorflow', 'scipy', 'matplotlib', 'tqdm']


def imported_by(module):
    code = f'import sys, {module}; print("\\n".join(sys.modules))'
    output = subprocess.run([sys.executable, '-c', code], check=True, stdout=subprocess.PIPE)
    return set(output.stdout.decode().split())


def test_the_core_imports_numpy_and_no_framework():
    modules = imported_by('soft_dice, soft_dice.gradcheck')
    assert 'numpy' in modules
    assert not modules & {*FRAMEWORKS, 'gluon_dice', 'caffe_layers'}


@pytest.mark.parametrize('plugin, foreign', [('gluon_dice', ['caffe', 'caffe_layers']),
                                             ('caffe_layers', ['mxnet', 'gluon_dice'])])
def test_a_plugin_does_not_import_the_other(plugin, foreign):
    modules = imported_by(plugin)
    assert 'soft_dice' in modules and not modules & set(foreign)


@pytest.mark.parametrize('order', ['caffe_layers, gluon_dice', 'gluon_dice, caffe_layers'])
def test_both_live_in_one_process(order):
    assert {'mxnet', 'caffe'} <= imported_by(order)


def test_public_names():
    names = ['DiceOptions', 'soft_dice_loss', 'soft_dice_loss_vjp', 'soft_dice_score', 'hard_dice',
             'DiceCEOptions', 'dice_ce_loss', 'dice_ce_loss_vjp']
    assert set(names) <= set(soft_dice.__all__)
    for name in soft_dice.__all__:
        assert getattr(soft_dice, name).__doc__
