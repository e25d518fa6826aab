"""What is a Custom operator's own; the tables of cases and refusals have it as a backend."""
import logging
import os
import subprocess
import sys
import threading
import time

import mxnet as mx
import numpy as np
import pytest
from cases import CASES, Arrays
from cases_ce import CE_CASES
from families import over_batch
from mxnet import autograd
from on_gluon import (MODES, Net, assert_only_the_prediction_learns, assert_survives_export,
                      differentiate, in_mode, ndarray)
from processes import HANG
from releases import STATIC
from tolerances import TOLERANCE

from gluon_dice import DeepSupervision, DiceCELoss, SoftDiceLoss, compat, native, threads
from gluon_dice.stage_one import Custom, Kernels, Operators, choose
from soft_dice import DiceOptions, soft_dice_loss, soft_dice_loss_vjp
from soft_dice import native as kernels
from soft_dice.gradcheck import relative_error

RNG = np.random.RandomState(0)
PRED = RNG.standard_normal((3, 4, 6, 5)).astype('float32')
LABEL = RNG.randint(0, 4, (3, 6, 5)).astype('float32')
BAD = LABEL.copy()
BAD[1, 2, 3] = 4
MESSAGE = r'label must be a whole number in \[0, 4\).*; got 4.0 in sample 1, pixel 13 of 30'


@pytest.fixture(params=['0', '1'], ids=['over_numpy', 'over_kernels'])
def custom(request, monkeypatch):
    """Every stage 1 is a Custom operator, as before MXNet 1.5."""
    monkeypatch.setenv('SOFT_DICE_NATIVE', request.param)
    monkeypatch.setattr(compat, 'has_operators', lambda: False)
    yield
    mx.nd.waitall()
    time.sleep(0.01)  # since MXNet 1.5 a fork right behind one may wait for ever


each_mode = pytest.mark.parametrize('mode', MODES)
use_custom = pytest.mark.usefixtures('custom')


# --- what is chosen -------------------------------------------------------------------------------

@pytest.mark.parametrize('setting, operator, operators, expected', [
    ('', '', True, (Kernels, '')), ('1', '', True, (Kernels, '')),
    ('', 'no compiler', True, (Operators, 'no compiler')),
    ('0', '', True, (Operators, 'SOFT_DICE_NATIVE=0')),
    *((setting, operator, False, (Custom, 'this MXNet lacks operators'))
      for setting in ('', '0', '1') for operator in ('', 'no compiler'))])
def test_choice(setting, operator, operators, expected, monkeypatch):
    monkeypatch.setenv('SOFT_DICE_NATIVE', setting)
    monkeypatch.setattr(native, 'unavailable', lambda: operator)
    monkeypatch.setattr(compat, 'has_operators', lambda: operators)
    assert choose() == expected


@pytest.mark.parametrize('operators', [True, False])
def test_kernels_that_are_asked_for_and_not_there(operators, monkeypatch):
    monkeypatch.setenv('SOFT_DICE_NATIVE', '1')
    monkeypatch.setattr(native, 'unavailable', lambda: 'no compiler')
    monkeypatch.setattr(kernels, 'load', lambda: (None, 'no compiler'))
    monkeypatch.setattr(compat, 'has_operators', lambda: operators)
    with pytest.raises(RuntimeError, match='=1, but the .* cannot be used: no compiler'):
        SoftDiceLoss()(ndarray(PRED), ndarray(LABEL))


@use_custom
@each_mode
def test_it_is_in_use(mode):
    loss = in_mode(mode, DiceOptions())
    differentiate(loss, Arrays(PRED, LABEL, None, np.ones(3)))
    assert type(getattr(loss, 'loss', loss)._stage_one) is Custom


# --- values that are not allowed ------------------------------------------------------------------

@use_custom
@pytest.mark.parametrize('mode', ['imperative', 'hybridized'])
def test_a_bad_value_in_an_array_is_refused_at_once(mode):
    loss = in_mode(mode, DiceOptions())
    with pytest.raises(ValueError, match=MESSAGE):
        loss(ndarray(PRED), ndarray(BAD))
    weight = ndarray(-LABEL)
    with pytest.raises(ValueError, match='pixel_weight must be finite and not negative'):
        loss(ndarray(PRED), ndarray(LABEL), weight)
    transposed, pred = SoftDiceLoss(batch_axis=2), ndarray(PRED.swapaxes(0, 2))
    for label in (BAD.swapaxes(0, 1), BAD.swapaxes(0, 1)[:, None]):
        with pytest.raises(ValueError, match='got 4.0 in sample 1, pixel 13 of 30'):
            transposed(pred, ndarray(label))


@use_custom
def test_a_bad_value_in_a_graph_is_a_nan_that_is_logged(caplog):
    graph = Net(DiceOptions())
    graph.hybridize()
    with caplog.at_level(logging.WARNING, logger='gluon_dice'):
        loss, gradient = differentiate(graph, Arrays(PRED, BAD, None, np.ones(3)))
    assert np.isnan(loss).tolist() == [False, True, False]
    assert np.isnan(gradient[1]).all() and np.isfinite(gradient[[0, 2]]).all()
    (record,) = caplog.records
    assert record.getMessage().endswith('pixel 13 of 30; its loss is NaN')


@use_custom
def test_a_bad_label_is_a_nan_under_every_option():
    """Also where the classes that are there would not count, or have a weight of 0."""
    for case in CASES + CE_CASES:
        arrays = case.arrays()
        label = arrays.label.astype('float64')
        label[(-1,) + (0,) * (label.ndim - 1)] = -7
        graph = Net(case.options)
        graph.cast('float64')
        graph.hybridize()
        value, gradient = differentiate(graph, arrays._replace(label=label))
        assert np.isnan(value[-1]).all(), case.name
        assert over_batch(case.options) or np.isfinite(value[:-1]).all(), case.name
        assert np.isnan(gradient[-1]).any(), case.name


@use_custom
@each_mode
def test_a_warning_of_numpy_is_no_error_in_the_operator(mode):
    """pytest makes errors of warnings, and up to MXNet 1.4 an error there ends the process."""
    pred = np.array([[[1e200, 0.0], [0.5, 0.5]]])
    loss = in_mode(mode, DiceOptions(activation='none', sparse_label=False, exponent=2, smooth=0))
    loss.cast('float64')
    value, _ = differentiate(loss, Arrays(pred, np.array([[[1.0, 0.0], [0.5, 0.5]]]), None,
                                          np.ones(1)))
    assert value == [0.5]


# --- gradients ------------------------------------------------------------------------------------

@use_custom
@pytest.mark.parametrize('kind', [SoftDiceLoss, DiceCELoss])
@pytest.mark.parametrize('hybridize', [False, True])
def test_a_second_derivative_is_refused(hybridize, kind):
    loss, pred = kind(), ndarray(PRED)
    loss.hybridize(hybridize)
    pred.attach_grad()
    with pytest.raises(mx.base.MXNetError):
        with autograd.record():
            gradient = autograd.grad(loss(pred, ndarray(LABEL)), [pred], create_graph=True,
                                     retain_graph=True)[0]
            total = (gradient * gradient).sum()
        total.backward()


@use_custom
def test_gradients_are_added_where_they_are_to_be():
    pred = ndarray(PRED)
    pred.attach_grad('add')
    loss = SoftDiceLoss()
    for _ in range(3):
        with autograd.record():
            value = loss(pred, ndarray(LABEL))
        value.backward()
    _, vjp = soft_dice_loss_vjp(PRED.astype('float64'), LABEL)
    assert relative_error(pred.grad.asnumpy(), 3 * vjp(1.0)) <= TOLERANCE['gradient, float32']


@use_custom
def test_label_and_weight_receive_no_gradient():
    for net in (SoftDiceLoss(), Net(DiceOptions())):
        net.hybridize()
        assert_only_the_prediction_learns(net, [ndarray(each) for each in (PRED, LABEL, 1 + LABEL)])


@use_custom
def test_several_calls_before_one_backward():
    """An operator that remembered its last call would give the gradient of that."""
    preds = [ndarray(PRED), ndarray(2 * PRED)]
    loss = SoftDiceLoss()
    loss.hybridize()
    for pred in preds:
        pred.attach_grad()
    with autograd.record():
        values = [loss(pred, ndarray(LABEL)) for pred in preds]
        total = values[0] + values[1]
    total.backward()
    for pred in preds:
        _, vjp = soft_dice_loss_vjp(pred.asnumpy().astype('float64'), LABEL)
        assert relative_error(pred.grad.asnumpy(), vjp(1.0)) <= TOLERANCE['gradient, float32']


# --- sizes, devices, files ------------------------------------------------------------------------

@use_custom
@pytest.mark.parametrize('mode', ['imperative', 'hybridized'])
def test_hybridized_with_changing_inputs(mode):
    loss = in_mode(mode, DiceOptions(resize='bilinear'))
    for shape, size in (((3, 4, 6, 5), (6, 5)), ((1, 4, 6, 5), (11, 9)), ((2, 3, 9), (4,)),
                        ((2, 3, 2, 3, 4), (3, 3, 3))):
        for dtype in ('float32', 'float64', 'float16'):
            pred = RNG.standard_normal(shape).astype(dtype)
            label = RNG.randint(0, shape[1], shape[:1] + size)
            value = loss(ndarray(pred), ndarray(label.astype('int32'))).asnumpy()
            assert value.dtype == (dtype if dtype != 'float16' else 'float32')
            expected = soft_dice_loss(pred.astype('float64'), label, loss.options)
            assert relative_error(value, expected) <= TOLERANCE['loss, float32']


@use_custom
def test_a_graph_refuses_another_number_of_classes():
    net = Net(DiceOptions())
    net.loss = SoftDiceLoss(num_classes=3)
    net.hybridize()
    with pytest.raises(mx.base.MXNetError):
        net(ndarray(PRED), ndarray(LABEL)).wait_to_read()


@use_custom
@pytest.mark.parametrize('sparse', [True, False])
@pytest.mark.parametrize('axis', [1, 3, -1])
@pytest.mark.parametrize('hybridize', [False, True])
def test_labels_at_the_size_of_predictions(hybridize, axis, sparse):
    """The nearest values, as by MXNet's operators, which test_deep_supervision proves."""
    preds = [np.moveaxis(RNG.standard_normal((2, 3, size, size)), 1, axis) for size in (8, 4, 2)]
    label = RNG.randint(0, 3, (2, 9, 7)) if sparse else \
        np.moveaxis(RNG.uniform(size=(2, 3, 9, 7)), 1, axis)
    loss = DeepSupervision(SoftDiceLoss(axis=axis, sparse_label=sparse))
    loss.hybridize(hybridize)
    value = loss([ndarray(pred) for pred in preds], ndarray(label.astype('float64'))).asnumpy()
    expected = 0
    for weight, pred in zip((4 / 7, 2 / 7, 1 / 7), preds):
        rows, columns = (np.floor((np.arange(n) + 0.5) * s / n).astype(int)
                         for n, s in zip([pred.shape[2 if axis == 1 else 1]] * 2, (9, 7)))
        channels_first = label if sparse else np.moveaxis(label, axis, 1)
        small = channels_first[..., rows, :][..., columns]
        expected = expected + weight * soft_dice_loss(
            np.moveaxis(pred, axis, 1), small, DiceOptions(sparse_label=sparse))
    assert relative_error(value, expected) <= TOLERANCE['value, float64']


@use_custom
def test_a_graph_refuses_labels_of_other_samples():
    loss = DeepSupervision(mx.gluon.loss.SoftmaxCrossEntropyLoss(axis=1))
    graph = loss([mx.sym.Variable('fine'), mx.sym.Variable('coarse')], mx.sym.Variable('label'))
    shapes = dict(fine=(2, 3, 8, 8), coarse=(2, 3, 4, 4))
    assert graph.infer_shape(label=(2, 8, 8), **shapes)[1] == [(2,)]
    with pytest.raises(mx.base.MXNetError):
        graph.infer_shape(label=(1, 8, 8), **shapes)


@use_custom
def test_exported_graph_is_loaded_again(tmp_path):
    net = Net(DiceOptions(include_background=False, class_weights=[1, 2, 3, 4], smooth=[1, 2, 3]))
    net.hybridize(**STATIC)
    assert_survives_export(net, [ndarray(PRED), ndarray(LABEL)], tmp_path)


@use_custom
def test_module(tmp_path):
    """The oldest way to train: a Symbol, MakeLoss and Module.fit."""
    image, label = mx.sym.Variable('data'), mx.sym.Variable('label')
    scores = mx.sym.Convolution(image, kernel=(1, 1), num_filter=4, name='scores')
    loss = mx.sym.MakeLoss(SoftDiceLoss()(scores, label))
    data = np.eye(4, dtype='float32')[LABEL.astype(int)].transpose(0, 3, 1, 2)
    batches = mx.io.NDArrayIter({'data': data}, {'label': LABEL}, batch_size=3)
    module = mx.mod.Module(loss, data_names=['data'], label_names=['label'])
    metric = mx.metric.Loss()
    mx.random.seed(0)
    module.fit(batches, eval_metric=metric, num_epoch=1, optimizer='adam',
               optimizer_params={'learning_rate': 0.3}, initializer=mx.init.Xavier())
    first = metric.get()[1]
    module.fit(batches, eval_metric=metric, begin_epoch=1, num_epoch=30)
    assert metric.get()[1] < first / 3


@use_custom
def test_the_default_context_stays(monkeypatch):
    """Before MXNet 1.3 it is one of all threads, and MXNet's own sets it while an operator runs."""
    monkeypatch.setattr(threads, 'RELEASE', (1, 2))
    enter, setting = mx.Context.__enter__, []

    def recorded(context):
        setting.append(threading.current_thread())
        return enter(context)

    monkeypatch.setattr(mx.Context, '__enter__', recorded)
    pred = ndarray(PRED).as_in_context(mx.cpu(1))
    pred.attach_grad()
    with autograd.record():
        value = SoftDiceLoss()(pred, ndarray(LABEL).as_in_context(mx.cpu(1)))
    value.backward()
    assert value.context == mx.cpu(1) and pred.grad.asnumpy().any()
    assert set(setting) == {threading.main_thread()}  # Gluon's own


# --- forks ----------------------------------------------------------------------------------------

FORK = '''
import multiprocessing, os, sys, time
import mxnet as mx
from gluon_dice import DeepSupervision, SoftDiceLoss, compat, threads
threads.RELEASE, compat.has_operators = (1, 4), lambda: False
os.environ['SOFT_DICE_NATIVE'] = '0'

class Net(mx.gluon.HybridBlock):
    def __init__(self, loss):
        super().__init__()
        self.loss = loss

    def hybrid_forward(self, F, *inputs):
        return self.loss(*inputs)

fine, coarse, label = mx.nd.zeros((1, 2, 4, 4)), mx.nd.zeros((1, 2, 2, 2)), mx.nd.zeros((1, 4, 4))
loss, net = SoftDiceLoss(), Net(SoftDiceLoss())
deep = DeepSupervision(mx.gluon.loss.SoftmaxCrossEntropyLoss(axis=1))
net.hybridize()
for _ in range(2):
    loss(fine, label).asnumpy(), net(fine, label).asnumpy()

def child():
    sys.stdout = sys.stderr
    for call, wanted in ((lambda: loss(fine, label), RuntimeError),
                         (lambda: loss(mx.sym.var('p'), mx.sym.var('l')), RuntimeError),
                         (lambda: net(fine, label), mx.base.MXNetError),
                         (lambda: deep([fine, coarse], label), mx.base.MXNetError)):
        try:
            call()
            sys.exit(1)
        except wanted as error:
            print(error)

process = multiprocessing.get_context('fork').Process(target=child)
time.sleep(1)  # for the threads of an MXNet since 1.5, of which gluon_dice/threads.py tells
process.start()
process.join()
sys.exit(process.exitcode)
'''


def test_a_forked_process_is_refused_before_1_5():
    done = subprocess.run([sys.executable, '-c', FORK], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=HANG)
    said = done.stdout.decode()
    assert done.returncode == 0 and said.count(f'{mx.__version__} runs no Custom') == 4, said


PENDING = '''
import faulthandler, multiprocessing, subprocess
import mxnet as mx
from gluon_dice import DeepSupervision, SoftDiceLoss, native
native.unavailable = lambda: 'no compiler'
faulthandler.dump_traceback_later(60, exit=True)
pred, label = mx.nd.ones((2, 4, 64, 64)), mx.nd.zeros((2, 64, 64))
pred.attach_grad()
for loss, preds in ((SoftDiceLoss(), pred), (DeepSupervision(SoftDiceLoss()), [pred, pred])):
    for times in range(4):
        for _ in range(5):
            with mx.autograd.record():
                value = loss(preds, label)
            value.backward()
        if times % 2:
            subprocess.run(['true'], check=True)
        else:
            process = multiprocessing.get_context('fork').Process(target=int)
            process.start()
            process.join()
'''


def test_a_fork_does_not_wait_for_ever():
    """As where a DataLoader forks its workers while the last step of an epoch is computed, on a
    machine without a compiler; version_matrix shows it on releases that need a Custom operator."""
    done = subprocess.run([sys.executable, '-c', PENDING], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=HANG,
                          env=dict(os.environ, SOFT_DICE_NATIVE=''))
    assert done.returncode == 0, done.stdout.decode()
