"""The operator over the kernels inside MXNet: what it takes, and what it must not disturb."""
import multiprocessing
import subprocess
import sys
import threading

import mxnet as mx
import numpy as np
import pytest
from cases import Arrays
from mxnet import autograd, gluon
from mxnet.base import MXNetError
from on_gluon import MODES, Net, differentiate, in_mode, ndarray
from processes import HANG, surroundings
from releases import STATIC
from tolerances import TOLERANCE

from gluon_dice import SoftDiceLoss
from gluon_dice import native as operator
from gluon_dice.layout import Layout
from soft_dice import DiceOptions, soft_dice_loss, soft_dice_loss_vjp
from soft_dice.gradcheck import relative_error
from soft_dice.native import build
from soft_dice.plan import resolve

RNG = np.random.RandomState(0)
PRED = RNG.standard_normal((3, 4, 6, 5)).astype('float32')
LABEL = RNG.randint(0, 4, (3, 6, 5)).astype('float32')
WEIGHT = RNG.uniform(0.5, 2, (3, 6, 5)).astype('float32')


pytestmark = pytest.mark.usefixtures('kernels')
each_mode = pytest.mark.parametrize('mode', MODES)


def make(mode, **fields):
    return in_mode(mode, DiceOptions(**fields))


# --- life after a refusal; all of these: refusals.py ----------------------------------------------

WRONG_LABEL = LABEL.copy()
WRONG_LABEL[1, 2, 3] = 4


@each_mode
def test_the_call_after_an_error_works(mode):
    loss = make(mode)
    for _ in range(3):
        with pytest.raises(MXNetError, match='label must be a whole number'):
            loss(ndarray(PRED), ndarray(WRONG_LABEL)).asnumpy()
        value = loss(ndarray(PRED), ndarray(LABEL)).asnumpy()
        assert relative_error(value, soft_dice_loss(PRED, LABEL)) <= TOLERANCE['loss, float32']


def test_an_error_while_recording_leaves_training_intact():
    loss = make('hybridized')
    with pytest.raises(MXNetError, match='label must be a whole number'):
        differentiate(loss, Arrays(PRED, WRONG_LABEL, None, np.ones(3)))
    value, gradient = differentiate(loss, Arrays(PRED, LABEL, None, np.ones(3)))
    expected, vjp = soft_dice_loss_vjp(PRED, LABEL)
    assert relative_error(value, expected) <= TOLERANCE['loss, float32']
    assert relative_error(gradient, vjp(1.0)) <= TOLERANCE['gradient, float32']


# --- types and axes, in a graph too ---------------------------------------------------------------

@pytest.mark.parametrize('dtype', ['uint8', 'int8', 'int32', 'int64', 'float16', 'float64', 'bool'])
@each_mode
def test_label_dtypes(mode, dtype):
    label = (LABEL > 1) if dtype == 'bool' else LABEL
    value = make(mode)(ndarray(PRED), mx.nd.array(label, dtype=dtype)).asnumpy()
    assert relative_error(value, soft_dice_loss(PRED, label)) <= TOLERANCE['loss, float32']


def test_the_operator_takes_no_bool():
    """MXNet hands it no values of one; so the losses make numbers of them before."""
    with pytest.raises(MXNetError, match=r"for example label.astype\('uint8'\); got bool"):
        operator.count(mx.nd, ndarray(PRED), mx.nd.array(LABEL > 1, dtype='bool'),
                       None, resolve(DiceOptions(), PRED.shape[1]), Layout(1, 0, PRED.ndim), True)


@each_mode
def test_float16_label_values_are_read_as_they_are(mode):
    """Halves, subnormal numbers and the largest ones."""
    values = np.array([0, 0.5, 1, 2.0 ** -24, 2.0 ** -15, 1 / 3, 65504], 'float16')
    soft = RNG.choice(values, PRED.shape)
    fields = dict(sparse_label=False, ignore_label=65504)
    value = make(mode, **fields)(ndarray(PRED), ndarray(soft)).asnumpy()
    expected = soft_dice_loss(PRED, soft.astype('float32'), DiceOptions(**fields))
    assert relative_error(value, expected) <= TOLERANCE['loss, float32']


def test_float16_in_a_graph_is_cast():
    value = make('nested')(ndarray(PRED.astype('float16')), ndarray(LABEL))
    expected = soft_dice_loss(PRED.astype('float16').astype('float32'), LABEL)
    assert value.dtype == np.float32
    assert relative_error(value.asnumpy(), expected) <= TOLERANCE['loss, float32']


@pytest.mark.parametrize('axis, batch_axis, shape, label_shape', [
    (2, 1, (6, 3, 4), (6, 3)), (1, 2, (6, 4, 3), (6, 3)), (-1, 1, (6, 3, 5, 4), (6, 3, 5))])
@each_mode
def test_batch_axis(mode, axis, batch_axis, shape, label_shape):
    pred, label = RNG.standard_normal(shape).astype('float32'), RNG.randint(0, 4, label_shape)
    if mode == 'nested':
        loss = Net(DiceOptions(axis=axis))
        loss.loss._batch_axis = batch_axis
    else:
        loss = SoftDiceLoss(axis=axis, batch_axis=batch_axis)
    loss.hybridize(mode != 'imperative')
    value = loss(ndarray(pred), ndarray(label)).asnumpy()
    first = np.moveaxis(np.moveaxis(pred, axis, -1), 1, 0)
    expected = soft_dice_loss(first, np.moveaxis(label, 1, 0), DiceOptions(axis=-1))
    assert relative_error(value, expected) <= TOLERANCE['loss, float32']


# --- where the gradient goes ----------------------------------------------------------------------

@each_mode
def test_grad_req_add(mode):
    loss = make(mode)
    _, vjp = soft_dice_loss_vjp(PRED, LABEL)
    pred = ndarray(PRED)
    pred.attach_grad('add')
    for times in (1, 2, 3):
        with autograd.record():
            value = loss(pred, ndarray(LABEL))
        value.backward()
        gradient = pred.grad.asnumpy()
        assert relative_error(gradient, times * vjp(1.0)) <= TOLERANCE['gradient, float32']


@pytest.mark.parametrize('req', ['write', 'add'])
def test_grad_req_of_a_symbol(req):
    _, vjp = soft_dice_loss_vjp(PRED, LABEL)
    graph = SoftDiceLoss()(mx.sym.Variable('pred'), mx.sym.Variable('label'))
    gradient = mx.nd.ones(PRED.shape)
    executor = graph.bind(mx.cpu(), dict(pred=ndarray(PRED), label=ndarray(LABEL)),
                          args_grad=dict(pred=gradient), grad_req=dict(pred=req, label='null'))
    executor.forward(is_train=True)
    executor.backward(mx.nd.ones((3,)))
    expected = vjp(1.0) + (req == 'add')
    assert relative_error(gradient.asnumpy(), expected) <= TOLERANCE['gradient, float32']


class Many(gluon.HybridBlock):
    """So many losses of one prediction that MXNet adds their gradients up in place."""

    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.losses = gluon.nn.HybridSequential()
            for i in range(9):
                self.losses.add(SoftDiceLoss(alpha=0.1 * (i + 1)))

    def hybrid_forward(self, F, pred, label):
        inner = F.sin(pred)
        terms = [loss(inner, label) for loss in self.losses]
        return F.add_n(*terms) + F.mean(inner * inner, axis=0, exclude=True)


@pytest.mark.parametrize('flags', [None, {}, STATIC],
                         ids=['imperative', 'hybridized', 'static'])
def test_gradients_that_are_summed(flags, monkeypatch):
    def gradient(net):
        return differentiate(net, Arrays(PRED, LABEL, None, np.ones(3)))[1]
    net = Many()
    if flags is not None:
        net.hybridize(**flags)
    with_kernels = gradient(net)
    monkeypatch.setenv('SOFT_DICE_NATIVE', '0')  # not hybridized: MXNet fails to build that graph
    assert relative_error(with_kernels, gradient(Many())) <= TOLERANCE['gradient, float32']


@each_mode
def test_label_and_weight_receive_zeros(mode):
    loss = make(mode, sparse_label=False)
    inputs = [ndarray(a) for a in (PRED, RNG.uniform(size=PRED.shape).astype('float32'), WEIGHT)]
    for array in inputs:
        array.attach_grad()
        array.grad[:] = 7
    with autograd.record():
        value = loss(*[2 * inputs[0], 1 * inputs[1], inputs[2]])
    value.backward()
    assert inputs[0].grad.asnumpy().any()
    if mode == 'nested':
        assert not inputs[1].grad.asnumpy().any() and not inputs[2].grad.asnumpy().any()


def test_a_prediction_that_wants_no_gradient():
    label, weight = ndarray(LABEL), ndarray(WEIGHT)
    weight.attach_grad()
    net = make('nested')
    with autograd.record():
        value = net(ndarray(PRED), label, weight * 2)
    value.backward()
    assert not weight.grad.asnumpy().any()


def test_a_graph_whose_shapes_are_not_known_yet():
    graph = SoftDiceLoss()(mx.sym.Variable('pred'), mx.sym.Variable('label'))
    assert graph.infer_shape_partial(pred=(2, 3, 4, 4))[1] == [(2,)]
    assert graph.infer_shape(pred=(2, 3, 4, 4), label=(2, 4, 4))[1] == [(2,)]
    assert graph.infer_type(pred='float32')[1] == [np.float32]


def test_trains_a_network_with_the_loss_inside():
    net = gluon.nn.Conv2D(4, 1)  # whose input channels are found out at the first call
    inner = gluon.nn.HybridSequential()
    inner.add(net)

    class WithLoss(gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            with self.name_scope():
                self.net, self.loss = inner, SoftDiceLoss()

        def hybrid_forward(self, F, x, label):
            return self.loss(self.net(x), label)

    block = WithLoss()
    block.initialize(mx.init.Xavier())
    block.hybridize(**STATIC)
    trainer = gluon.Trainer(block.collect_params(), 'adam', {'learning_rate': 0.05})
    x = ndarray(np.eye(4, dtype='float32')[LABEL.astype(int)].transpose(0, 3, 1, 2))
    losses = []
    for _ in range(40):
        with autograd.record():
            value = block(x, ndarray(LABEL))
        value.backward()
        trainer.step(len(x))
        losses.append(value.mean().asscalar())
    assert losses[-1] < losses[0] / 3


# --- which implementation -------------------------------------------------------------------------

def test_the_graph_follows_the_environment(monkeypatch):
    """NaN is the answer of the F operators to a bad label, an error that of the kernels."""
    loss = make('hybridized')
    inputs = [ndarray(PRED), ndarray(WRONG_LABEL)]
    for setting in ('0', '1', '0', '1', '1', '0'):
        monkeypatch.setenv('SOFT_DICE_NATIVE', setting)
        if setting == '0':
            assert np.isnan(loss(*inputs).asnumpy()).tolist() == [False, True, False]
        else:
            with pytest.raises(MXNetError, match='label must be'):
                loss(*inputs).asnumpy()


def test_a_setting_that_means_nothing(monkeypatch):
    monkeypatch.setenv('SOFT_DICE_NATIVE', 'yes')
    with pytest.raises(ValueError, match="SOFT_DICE_NATIVE must be 0 .* or 1 .*; got 'yes'"):
        SoftDiceLoss()(ndarray(PRED), ndarray(LABEL))


def in_a_new_process(code, **environment):
    return subprocess.run([sys.executable, '-c', code], stdout=subprocess.PIPE, timeout=HANG,
                          stderr=subprocess.PIPE, env=surroundings(**environment))


LOSS = ('import mxnet as mx; from gluon_dice import SoftDiceLoss; '
        'print(SoftDiceLoss()(mx.nd.zeros((1, 2, 4)), mx.nd.zeros((1, 4))).asscalar())')


def test_without_an_operator_the_f_operators_serve(tmp_path):
    """It cannot be compiled: a reason, which one may ask for, and the same loss."""
    environment = dict(SOFT_DICE_CACHE=str(tmp_path), CXX='/nowhere/g++', SOFT_DICE_NATIVE='')
    done = in_a_new_process(LOSS, **environment)
    assert done.returncode == 0 and abs(float(done.stdout) - 2 / 3) < 1e-4
    told = in_a_new_process('import sys; from gluon_dice.__main__ import main; '
                            'sys.exit(main(["info"]))', **environment)
    assert told.returncode == 1
    assert b'F operators' in told.stdout and b'/nowhere/g++, is not there' in told.stdout
    required = in_a_new_process(LOSS, **{**environment, 'SOFT_DICE_NATIVE': '1'})
    assert required.returncode == 1
    assert b'SOFT_DICE_NATIVE=1, but the operator cannot be used: the com' in required.stderr


@pytest.mark.slow
def test_a_half_written_operator_is_compiled_again(tmp_path):
    library = build.cached(operator.recipe())
    for suffix in ('.so', '.json'):
        content = library.with_suffix(suffix).read_bytes()
        (tmp_path / library.name).with_suffix(suffix).write_bytes(content[:len(content) // 2])
    done = in_a_new_process(LOSS, SOFT_DICE_CACHE=str(tmp_path))
    assert done.returncode == 0, done.stderr.decode()
    assert not build.why_unusable(tmp_path / library.name, operator.recipe().digest())


def test_the_operator_is_kept_by_version_of_mxnet():
    assert build.cached(operator.recipe()).name.startswith(f'mxnet-{mx.__version__}-operator-')
    assert operator.recipe().parts[-1].source.name == 'operator.cc'


@pytest.mark.slow
def test_commands(tmp_path):
    def command(*arguments, **environment):
        # What other packages warn of when MXNet imports them is no part of what is said.
        return subprocess.run([sys.executable, '-W', 'ignore', '-m', 'gluon_dice', *arguments],
                              timeout=HANG, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=surroundings(**environment))
    assert b'the operator over the kernels' in command('info').stdout
    off = command('info', SOFT_DICE_NATIVE='0')
    assert off.returncode == 0 and b'SOFT_DICE_NATIVE=0' in off.stdout
    failed = command('build', CXX='/bin/false', SOFT_DICE_CACHE=str(tmp_path))
    assert failed.returncode == 2 and failed.stderr.count(b'\n') == 1
    assert b'the operator cannot be built: the compiler /bin/false failed' in failed.stderr
    assert command('build', SOFT_DICE_CACHE=str(tmp_path)).returncode == 0
    assert command('info', SOFT_DICE_CACHE=str(tmp_path)).returncode == 0


def test_exported_graph_needs_the_plugin(tmp_path):
    """Loaded where gluon_dice is not, MXNet names the operator that it lacks."""
    net = Net(DiceOptions(ignore_label=255))
    net.hybridize()
    expected = net(ndarray(PRED), ndarray(LABEL)).asnumpy()
    net.export(str(tmp_path / 'net'))
    code = ('import mxnet as mx; {}; from mxnet.gluon import SymbolBlock; '
            f'SymbolBlock.imports({str(tmp_path / "net-symbol.json")!r}, ["data0", "data1"])')
    assert b'soft_dice_counts' in in_a_new_process(code.format('pass')).stderr
    load = 'from gluon_dice import native; native.load()'
    assert in_a_new_process(code.format(load)).returncode == 0
    loaded = gluon.SymbolBlock.imports(str(tmp_path / 'net-symbol.json'), ['data0', 'data1'])
    np.testing.assert_array_equal(loaded(ndarray(PRED), ndarray(LABEL)).asnumpy(), expected)


# --- threads, processes, contexts -----------------------------------------------------------------

def test_from_several_threads_and_contexts():
    expected = soft_dice_loss(PRED, LABEL)
    wrong = []

    def work(number):
        loss = make(['imperative', 'hybridized'][number % 2])
        ctx = mx.cpu(number % 2)
        pred, good, bad = (mx.nd.array(a, ctx=ctx) for a in (PRED, LABEL, WRONG_LABEL))
        for _ in range(20):
            value = loss(pred, good)
            if value.context != ctx or \
                    relative_error(value.asnumpy(), expected) > TOLERANCE['loss, float32']:
                wrong.append(value)
            try:
                loss(pred, bad).asnumpy()
                wrong.append('no error')
            except MXNetError as error:
                if 'in sample 1, pixel 13 of 30' not in str(error):
                    wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=HANG)
    assert not wrong


def loss_in_child(queue):
    queue.put(SoftDiceLoss()(ndarray(PRED), ndarray(LABEL)).asnumpy())


def test_after_a_fork():
    """As in the workers of a DataLoader, when the parent has used the operator before."""
    expected = SoftDiceLoss()(ndarray(PRED), ndarray(LABEL)).asnumpy()
    context = multiprocessing.get_context('fork')
    for _ in range(2):
        queue = context.Queue()
        child = context.Process(target=loss_in_child, args=(queue,))
        child.start()
        value = queue.get(timeout=HANG)
        child.join(timeout=HANG)
        np.testing.assert_array_equal(value, expected)
    np.testing.assert_array_equal(SoftDiceLoss()(ndarray(PRED), ndarray(LABEL)).asnumpy(), expected)


def test_takes_no_memory_besides_the_gradient():
    """For a prediction that a network has computed: its gradient is one array of its size."""
    code = '''
import mxnet as mx
from processes import peak_memory
from gluon_dice import SoftDiceLoss
x = mx.nd.ones((4, 8, 512, 512)); label = mx.nd.ones((4, 512, 512))
small = mx.nd.ones((1, 8, 8, 8)); small.attach_grad()
scale = mx.nd.ones((1,)); scale.attach_grad()
loss = SoftDiceLoss()
with mx.autograd.record():
    loss(2 * small, label[:1, :8, :8]).backward()
small.grad.wait_to_read()
x.attach_grad(); x.grad.wait_to_read()
with mx.autograd.record():
    pred = 2 * x
    pred.wait_to_read()
    before = peak_memory()
    value = loss(pred, label)
    value.wait_to_read()
print((peak_memory() - before) / pred.size / 4)
value.backward(); x.grad.wait_to_read()
print((peak_memory() - before) / pred.size / 4)
'''
    done = in_a_new_process(code, SOFT_DICE_NATIVE='1')
    forward, both = map(float, done.stdout.decode().split())
    assert forward <= 0.05 and 0.95 <= both <= 1.05, (forward, both)
