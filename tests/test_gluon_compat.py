"""Older releases of MXNet, as far as this one can stand in for them; version_matrix runs them."""
from types import SimpleNamespace

import mxnet as mx
import numpy as np
import pytest
from cases import CASES
from cases_ce import CE_CASES
from families import family, reference
from mxnet import gluon
from on_gluon import differentiate, ndarray
from processes import run_python
from tolerances import TOLERANCE

import gluon_dice
import soft_dice
from gluon_dice import DiceCELoss, SoftDiceLoss, compat, framework
from gluon_dice.parallel import DistributedLoss
from gluon_dice.stage_one import Custom, choose
from soft_dice.gradcheck import relative_error

NAMES = ('defaults', 'sigmoid binary index', 'ignored', 'pixel weights', 'channels last',
         'l1 index', 'softmax soft label', 'generalised', 'ce defaults', 'ce channels last')
SOME = [case for case in CASES + CE_CASES if case.name in NAMES]
each_case = pytest.mark.parametrize('case', SOME, ids=lambda case: case.name.replace(' ', '-'))
PRED, LABEL = mx.nd.zeros((2, 4, 5, 3)), mx.nd.zeros((2, 5, 3))


@pytest.fixture(autouse=True)
def operators(monkeypatch):
    monkeypatch.setenv('SOFT_DICE_NATIVE', '0')


native_too = pytest.mark.parametrize('setting', ['0', '1'], ids=['operators', 'native'])


class Net(gluon.HybridBlock):
    """A network that gives its loss only Symbols."""

    def __init__(self, loss):
        super().__init__()
        with self.name_scope():
            self.loss = loss

    def hybrid_forward(self, F, *inputs):
        return self.loss(*inputs)


def graph_of(loss, dtype='float32'):
    net = Net(loss)
    net.cast(dtype)
    net.hybridize()
    return net


def remove(monkeypatch, *names):
    """Both kinds of F without these operators, as on a release that has not got them."""
    for F in (mx.nd, mx.sym):
        for name in names:
            monkeypatch.delattr(F.contrib, name, raising=False)


def assert_right(net, case):
    arrays = case.arrays()
    loss, gradient = differentiate(net, arrays)
    expected_loss, expected_gradient = reference(arrays, case.options)
    assert relative_error(loss, expected_loss) <= TOLERANCE['value, float64']
    assert relative_error(gradient, expected_gradient) <= TOLERANCE['gradient, float64']


def test_the_cases_are_there():
    assert len(SOME) == len(NAMES)


# --- without operators ----------------------------------------------------------------------------

@each_case
def test_a_graph_without_arange_like(case, monkeypatch):
    remove(monkeypatch, 'arange_like')
    assert_right(graph_of(family(case.options).block(case.options), 'float64'), case)


@pytest.mark.parametrize('axis', [0, 1, 2, 3], ids='only_operators-{}'.format)
def test_index_array_in_place_of_arange_like(axis, monkeypatch):
    remove(monkeypatch, 'arange_like')
    counted = compat.arange_like(mx.nd, mx.nd.random.normal(shape=(2, 3, 4, 5)), axis, 'float64')
    assert counted.dtype == np.float64
    assert counted.asnumpy().tolist() == list(range(2 + axis))


def test_without_either_it_is_a_custom_operator(monkeypatch):
    remove(monkeypatch, 'arange_like', 'index_array')
    assert choose().kind is Custom


def test_what_is_lacking_is_said():
    (older,) = compat.lacking(SimpleNamespace())
    assert older.startswith('contrib.index_array (since 1.5): Python counts')
    (newer,) = compat.lacking(SimpleNamespace(index_array=1))
    assert newer.startswith('contrib.arange_like (since 1.6): contrib.index_array serves')
    assert compat.lacking(SimpleNamespace(index_array=1, arange_like=1)) == []


def test_several_machines_need_a_newer_release(monkeypatch):
    monkeypatch.setattr(compat, 'RELEASE', (1, 4))
    with pytest.raises(RuntimeError, match='^DistributedLoss needs MXNet 1.5 or newer, .*; this'):
        DistributedLoss(SoftDiceLoss(), mx.kv.create('local'))


def test_mxnet_2_is_refused():
    with pytest.raises(ImportError, match=r'needs MXNet 1.x, for example .*; this is mxnet 2.0.0'):
        framework.refuse_unsupported('2.0.0beta1')
    for version in ('1.5.1', '1.9.1', mx.__version__):
        framework.refuse_unsupported(version)


NO_MXNET = "sys.modules['mxnet'] = None"
# As NumPy 1.24 is, for the MXNet that is really there.
NEWER_NUMPY = ("import numpy; numpy.__dict__.pop('bool', None); "
               "getattr(numpy, '__deprecated_attrs__', {}).pop('bool', None)")


def run_command(module, words, trouble):
    return run_python(f"{trouble}\nsys.argv = ['-m', {words!r}]\n"
                      f"runpy.run_module({module!r}, run_name='__main__')")


@pytest.mark.parametrize('trouble, sentence', [
    (NO_MXNET, 'gluon_dice needs MXNet: pip install "mxnet==1.9.1" "numpy<1.24" ('),
    (NEWER_NUMPY, f'MXNet cannot be imported with NumPy {np.__version__}: install an older one, '
                  'pip install "numpy<1.24" (')], ids=['no_mxnet', 'numpy_without_bool'])
def test_what_to_install_is_said_in_one_sentence(trouble, sentence):
    status, _, said = run_python(f'{trouble}\nimport gluon_dice')
    assert status == 1 and said.splitlines()[-1].startswith(f'ImportError: {sentence}'), said
    for module, words in (('gluon_dice', 'info'), ('gluon_dice.launch', 'train.py')):
        status, printed, said = run_command(module, words, trouble)
        assert (status, printed) == (2, '')
        assert said.count('\n') == 1 and sentence in said, said
        assert said.startswith(module)


@pytest.mark.parametrize('trouble', ['', NO_MXNET], ids=['with MXNet', 'without'])
@pytest.mark.parametrize('module', ['soft_dice', 'gluon_dice', 'gluon_dice.launch'])
def test_version(module, trouble):
    assert run_command(module, '--version', trouble)[:2] == (
        0, f'gluon-dice {gluon_dice.__version__}\n')
    assert gluon_dice.__version__ == soft_dice.__version__


def test_help_without_mxnet():
    status, printed, said = run_command('gluon_dice', '--help', NO_MXNET)
    assert (status, said) == (0, '') and 'needs MXNet' in printed


# --- num_classes where it is not needed -----------------------------------------------------------

@native_too
@each_case
def test_num_classes_changes_no_value(case, setting, monkeypatch):
    monkeypatch.setenv('SOFT_DICE_NATIVE', setting)
    block, classes = family(case.options).block, case.shape[1]
    assert_right(block(case.options, num_classes=classes), case)
    assert_right(graph_of(block(case.options, num_classes=classes), 'float64'), case)


@native_too
@pytest.mark.parametrize('fields', [{}, dict(sparse_label=False)], ids=['index', 'dense'])
@pytest.mark.parametrize('kind', [SoftDiceLoss, DiceCELoss])
@pytest.mark.parametrize('classes', [2, 3, 5, 8])
def test_another_number_of_channels_is_refused(classes, kind, fields, setting, monkeypatch):
    monkeypatch.setenv('SOFT_DICE_NATIVE', setting)
    inputs = [PRED, mx.nd.zeros_like(PRED) if fields else LABEL]
    with pytest.raises(ValueError, match=f'num_classes={classes} channels along axis 1; got 4 in'):
        kind(num_classes=classes, **fields)(*inputs)
    with pytest.raises(mx.base.MXNetError):
        graph_of(kind(num_classes=classes, **fields))(*inputs).wait_to_read()


@pytest.mark.parametrize('fields, message', [
    (dict(num_classes=0), r'num_classes must be a whole number >= 1, for example 4; got 0'),
    (dict(num_classes='4'), "got '4'"),
    (dict(num_classes=True), 'got True'),
    (dict(num_classes=1), "activation='softmax' over one class"),
    (dict(num_classes=3, class_weights=[1, 2]), 'class_weights')])
def test_num_classes_that_cannot_be(fields, message):
    with pytest.raises(ValueError, match=message):
        SoftDiceLoss(**fields)


def test_num_classes_is_shown():
    assert repr(SoftDiceLoss(num_classes=4)) == 'SoftDiceLoss(num_classes=4)'
    assert ndarray(np.zeros(1)).shape == SoftDiceLoss(num_classes=4)(PRED[:1], LABEL[:1]).shape
