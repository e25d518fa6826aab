"""Every way to compute a case: (arrays, options) -> loss and gradient of sum(upstream * loss)."""
import contextlib
import os
import subprocess
import sys
import tempfile
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional, Tuple
from unittest import mock

import mxnet as mx
import numpy as np
from cases import Arrays
from processes import surroundings
from releases import STATIC

from gluon_dice import DiceCELoss, SoftDiceLoss, compat
from soft_dice import DiceCEOptions, DiceOptions, dice_ce_loss_vjp, soft_dice_loss_vjp
from soft_dice.inputs import check_batch
from soft_dice.options import Options
from soft_dice.plan import resolve
from soft_dice.stages import count

Evaluated = Tuple[np.ndarray, np.ndarray]
Backend = Callable[..., Evaluated]


class Family(NamedTuple):
    """A loss in each of its forms."""

    function: Callable[..., Any]
    block: Callable[..., Any]
    layer: str


FAMILIES = {DiceOptions: Family(soft_dice_loss_vjp, SoftDiceLoss, 'SoftDiceLossLayer'),
            DiceCEOptions: Family(dice_ce_loss_vjp, DiceCELoss, 'DiceCELossLayer')}


def family(options: Options) -> Family:
    return FAMILIES[type(options)]


def reference(arrays: Arrays, options: Options, out: Optional[np.ndarray] = None) -> Evaluated:
    loss, vjp = family(options).function(arrays.pred, arrays.label, options, arrays.pixel_weight)
    return loss, vjp(arrays.upstream, out=out)


def sums_of(pred: np.ndarray, label: np.ndarray, options: Options,
            pixel_weight: Optional[np.ndarray] = None) -> Any:
    """Stage 1 alone: the sums and their vjp."""
    batch = check_batch(pred, label, options.dice, pixel_weight)
    return count(batch, resolve(options, pred.shape[options.dice.axis]))


def ndarray(array: np.ndarray) -> mx.nd.NDArray:
    return mx.nd.array(array, dtype=array.dtype)


def gluon_inputs(arrays: Arrays) -> Any:
    inputs = [arrays.pred, arrays.label, arrays.pixel_weight]
    return [ndarray(array) for array in inputs if array is not None]


def differentiate(loss: Callable[..., Any], arrays: Arrays) -> Evaluated:
    """The loss of Gluon inputs, and the gradient of the first of them."""
    inputs = gluon_inputs(arrays)
    inputs[0].attach_grad()
    with mx.autograd.record():
        value = loss(*inputs)
    value.backward(mx.nd.array(arrays.upstream, dtype=value.dtype))
    return value.asnumpy(), inputs[0].grad.asnumpy()


def gluon_imperative(arrays: Arrays, options: Options) -> Evaluated:
    return differentiate(family(options).block(options), arrays)


def gluon_hybrid(arrays: Arrays, options: Options) -> Evaluated:
    loss = in_mode('hybridized', options)
    differentiate(loss, arrays)  # the second pass reuses the buffers of the first
    return differentiate(loss, arrays)


class Net(mx.gluon.HybridBlock):
    """The loss inside a network: it only ever sees Symbols."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        with self.name_scope():
            self.loss = family(options).block(options)

    def hybrid_forward(self, F: Any, *inputs: Any) -> Any:
        return self.loss(F.identity(inputs[0]), *inputs[1:])


MODES = ('imperative', 'hybridized', 'nested')


def in_mode(mode: str, options: Options) -> Any:
    """The loss, hybridized or inside a network too; the last two with static buffers."""
    loss = Net(options) if mode == 'nested' else family(options).block(options)
    if mode != 'imperative':
        loss.hybridize(**STATIC)
    return loss


def gluon_nested(arrays: Arrays, options: Options) -> Evaluated:
    net = Net(options)
    net.cast(arrays.pred.dtype)
    net.hybridize(**STATIC)
    return differentiate(net, arrays)


def symbol(arrays: Arrays, options: Options) -> Evaluated:
    loss = family(options).block(options)
    loss.cast(arrays.pred.dtype)
    names = ['pred', 'label', 'pixel_weight']
    inputs = dict(zip(names, gluon_inputs(arrays)))
    graph = loss(*(mx.sym.Variable(name, dtype=array.dtype) for name, array in inputs.items()))
    gradient = mx.nd.zeros_like(inputs['pred'])
    executor = graph.bind(mx.cpu(), inputs, args_grad={'pred': gradient},
                          grad_req={'pred': 'write', 'label': 'null', 'pixel_weight': 'null'})
    value = executor.forward(is_train=True)[0]
    executor.backward(mx.nd.array(arrays.upstream, dtype=value.dtype))
    return value.asnumpy(), gradient.asnumpy()


def caffe_layer(arrays: Arrays, options: Options) -> Evaluated:
    """Caffe's objective is loss_weight times the mean over the batch, one upstream for all."""
    u = arrays.upstream.flat[0]
    net = loss_net(arrays, options.to_json(), loss_weight=u * len(arrays.pred),
                   layer=family(options).layer)
    net.forward()
    net.backward()
    return net.blobs['loss'].data.copy(), net.blobs['pred'].diff.copy()


def input_layer(name: str, shape: Tuple[int, ...]) -> str:
    dims = ' '.join(f'dim: {size}' for size in shape)
    return (f'layer {{ name: "{name}" type: "Input" top: "{name}" '
            f'input_param {{ shape {{ {dims} }} }} }}\n')


def loss_prototxt(shapes: Dict[str, Tuple[int, ...]], param_str: str = '', tops: int = 1,
                  loss_weight: Optional[float] = 1.0, force_backward: bool = True,
                  layer: str = 'SoftDiceLossLayer') -> str:
    """A net of inputs and the loss layer.  force_backward lets the gradient reach an input."""
    text = 'force_backward: true\n' if force_backward else ''
    text += ''.join(input_layer(name, shape) for name, shape in shapes.items())
    bottoms = ' '.join(f'bottom: "{name}"' for name in shapes)
    names = ' '.join(f'top: "{name}"' for name in ('loss', 'score', 'third')[:tops])
    weight = '' if loss_weight is None else f'loss_weight: {float(loss_weight)!r}'
    zeros = ' '.join(['loss_weight: 0'] * (tops - 1)) if weight else ''
    escaped = param_str.replace("'", "\\'")
    return text + (f'layer {{ name: "loss" type: "Python" {bottoms} {names} {weight} {zeros}\n'
                   f"  python_param {{ module: 'caffe_layers' layer: '{layer}' "
                   f"param_str: '{escaped}' }} }}\n")


@contextlib.contextmanager
def temporary_prototxt(text: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'net.prototxt')
        with open(path, 'w') as file:
            file.write(text)
        yield path


def caffe_command(*arguments: str, folder: str) -> Tuple[str, int]:
    """What the caffe command prints in that folder, and its exit status."""
    command = os.path.join(os.path.dirname(sys.executable), 'caffe')
    if not os.path.exists(command):  # PYTHON=... on a machine with Caffe's command in its PATH
        command = 'caffe'
    environment = surroundings(GLOG_minloglevel='0', GLOG_logtostderr='1')
    done = subprocess.run([command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=environment, cwd=folder)
    return done.stdout.decode(), done.returncode


def make_net(text: str, phase: Optional[int] = None) -> Any:
    """A caffe.Net; by default of the phase TRAIN."""
    import caffe  # here, as the version matrix runs the other backends where there is no Caffe
    with temporary_prototxt(text) as path:
        return caffe.Net(path, caffe.TRAIN if phase is None else phase)


def loss_net(arrays: Arrays, param_str: str = '', **keywords: Any) -> Any:
    """A net with the arrays in its inputs."""
    inputs = {'pred': arrays.pred, 'label': arrays.label, 'pixel_weight': arrays.pixel_weight}
    inputs = {name: array for name, array in inputs.items() if array is not None}
    net = make_net(loss_prototxt({name: array.shape for name, array in inputs.items()},
                                 param_str, **keywords))
    for name, array in inputs.items():
        net.blobs[name].data[...] = array
    return net


def with_native(setting: str, backend: Backend) -> Backend:
    """The backend under SOFT_DICE_NATIVE=setting: '1' is the kernels or an error, '0' never."""
    def evaluate(arrays: Arrays, options: Options, *out: np.ndarray) -> Evaluated:
        with mock.patch.dict(os.environ, SOFT_DICE_NATIVE=setting):
            return backend(arrays, options, *out)
    return evaluate


def with_custom(setting: str, backend: Backend) -> Backend:
    """The backend with stage 1 in a Custom operator, as before MXNet 1.5, under a setting."""
    def evaluate(arrays: Arrays, options: Options) -> Evaluated:
        with mock.patch.object(compat, 'has_operators', lambda: False):
            return with_native(setting, backend)(arrays, options)
    return evaluate


ARRAY_BACKENDS = {
    'reference': with_native('0', reference),
    'kernels': with_native('1', reference),
    'gluon imperative': with_native('0', gluon_imperative),
    'gluon hybridized': with_native('0', gluon_hybrid),
    'gluon nested': with_native('0', gluon_nested),
    'symbol': with_native('0', symbol),
    'gluon native': with_native('1', gluon_imperative),
    'gluon native hybridized': with_native('1', gluon_hybrid),
    'gluon native nested': with_native('1', gluon_nested),
    'symbol native': with_native('1', symbol),
    'gluon custom': with_custom('0', gluon_imperative),
    'gluon custom hybridized': with_custom('1', gluon_hybrid),
    'gluon custom nested': with_custom('0', gluon_nested),
    'symbol custom': with_custom('1', symbol)}
