"""Every way to compute a case in MXNet: see backends.py; and what several tests ask of a loss."""
from pathlib import Path
from typing import Any, Callable, List
from unittest import mock

import mxnet as mx
import numpy as np
from cases import Arrays
from families import Backend, Evaluated, family, with_native
from releases import STATIC, loaded

from gluon_dice import compat
from soft_dice.options import Options


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


class Around(mx.gluon.HybridBlock):
    """A loss inside a network: it only ever sees Symbols."""

    def __init__(self, loss: mx.gluon.Block) -> None:
        super().__init__()
        with self.name_scope():
            self.loss = loss

    def hybrid_forward(self, F: Any, *inputs: Any) -> Any:
        return self.loss(F.identity(inputs[0]), *inputs[1:])


class Net(Around):
    """The loss of these options inside a network."""

    def __init__(self, options: Options) -> None:
        super().__init__(family(options).block(options))


MODES = ('imperative', 'hybridized', 'nested')


def in_mode(mode: str, options: Options) -> Any:
    """The loss of these options, as :func:`put_in_mode`."""
    return put_in_mode(mode, family(options).block(options))


def put_in_mode(mode: str, loss: mx.gluon.Block) -> Any:
    """The loss, hybridized or inside a network too; the last two with static buffers."""
    loss = Around(loss) if mode == 'nested' else loss
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


def with_custom(setting: str, backend: Backend) -> Backend:
    """The backend with stage 1 in a Custom operator, as before MXNet 1.5, under a setting."""
    def evaluate(arrays: Arrays, options: Options) -> Evaluated:
        with mock.patch.object(compat, 'has_operators', lambda: False):
            return with_native(setting, backend)(arrays, options)
    return evaluate


GLUON_BACKENDS = {
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


def assert_only_the_prediction_learns(loss: Callable[..., Any], inputs: List[mx.nd.NDArray]
                                      ) -> None:
    """Label and pixel weight, the second and the third input, receive no gradient."""
    for array in inputs:
        array.attach_grad()
    with mx.autograd.record():
        value = loss(*inputs)
    value.backward()
    pred, *others = (array.grad.asnumpy() for array in inputs)
    assert pred.any() and len(others) == 2
    assert not others[0].any() and not others[1].any()


def assert_survives_export(net: mx.gluon.HybridBlock, inputs: List[mx.nd.NDArray], folder: Path
                           ) -> None:
    """The graph of a network without parameters, exported and loaded again, gives the same."""
    expected = net(*inputs).asnumpy()
    net.export(str(folder / 'net'))
    again = loaded(folder / 'net-symbol.json', [f'data{i}' for i in range(len(inputs))])
    np.testing.assert_array_equal(again(*inputs).asnumpy(), expected)
