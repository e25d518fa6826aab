"""What a check is given (a block, a class, a function) as one thing to be called on arrays."""
import copy
import inspect
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional, Tuple, Union

import mxnet as mx
import numpy as np
from mxnet import autograd
from mxnet.gluon import Block, HybridBlock
from mxnet.gluon.loss import Loss

from soft_dice.checker.feed import Feed

DETACHED = 'not in a computational graph'


class Call(NamedTuple):
    """One evaluation.

    pred, label, sample_weight : float64; cast to ``dtype`` for the loss.
    upstream : head gradient: None for the value alone, a number for every entry of the loss, or
        one for each sample, (N,).
    before : what the gradient's buffer holds before backward.
    """

    pred: np.ndarray
    label: np.ndarray
    dtype: str
    upstream: Union[None, float, np.ndarray] = 1.0
    before: float = 0.0
    sample_weight: Optional[np.ndarray] = None


class Outcome(NamedTuple):
    """value, gradient : float64; the gradient is empty where it was not asked for.
    dtype : what the loss gave.
    """

    value: np.ndarray
    gradient: np.ndarray
    dtype: str


class Target:
    """A loss of (pred, label), and what is known about it.

    loss : to be called.
    name : as the user knows it.
    assumed : how what the user gave was read.
    takes : the names of the arguments after label.
    weighted : w -> the same loss with w times its ``weight``, None where it has none.
    feed : what leads from the checks' arrays to the loss's.
    """

    def __init__(self, loss: Callable[..., Any], name: str, assumed: str, takes: Tuple[str, ...],
                 weighted: Optional[Callable[[float], 'Target']] = None) -> None:
        self.loss, self.name, self.assumed, self.takes = loss, name, assumed, takes
        self.weighted = weighted
        self.feed = Feed()

    @property
    def hybridizable(self) -> bool:
        return isinstance(self.loss, Block) and bool(list(_hybrid_blocks(self.loss)))

    def run(self, call: Call) -> Outcome:
        """Evaluate, and wait for it: MXNet raises where a result is read."""
        inputs = [mx.nd.array(each, dtype=call.dtype)
                  for each in self.feed.arrays(call.pred, call.label)]
        if call.sample_weight is not None:  # a Block takes no keywords
            inputs += [None] * (2 + self.takes.index('sample_weight') - len(inputs))
            inputs += [mx.nd.array(call.sample_weight, dtype=call.dtype)]
        if call.upstream is None:
            with autograd.train_mode():
                value = _array(self.loss(*inputs))
            return Outcome(_float64(value), np.zeros(0), np.dtype(value.dtype).name)
        inputs[0].attach_grad()
        inputs[0].grad[:] = call.before
        with autograd.record():
            value = _array(self.loss(*inputs))
        _backward(value, call.upstream)
        gradient = self.feed.gradient(_float64(inputs[0].grad))
        return Outcome(_float64(value), gradient, np.dtype(value.dtype).name)

    def run_weighted(self, weight: float, call: Call) -> Outcome:
        """The same with so many times its ``weight``."""
        assert self.weighted is not None
        heavier = self.weighted(weight)
        heavier.feed = self.feed
        return heavier.run(call)

    def hybridize(self, flags: Optional[Dict[str, bool]]) -> None:
        """With these flags, or with None not at all."""
        assert isinstance(self.loss, Block)
        self.loss.hybridize(**({'active': False} if flags is None else flags))

    def as_it_was(self) -> Callable[[], None]:
        """What undoes hybridizations from now on."""
        blocks = list(_hybrid_blocks(self.loss)) if isinstance(self.loss, Block) else []
        states = [{name: getattr(block, name) for name in ('_active', '_flags')
                   if hasattr(block, name)} for block in blocks]  # MXNet 1.0 has no flags

        def undo() -> None:
            for block, state in zip(blocks, states):
                if block._active != state['_active']:
                    vars(block).update(state)
                    block._clear_cached_op()
        return undo


def read(given: Any, kwargs: Optional[Dict[str, Any]] = None, name: str = '') -> Target:
    """The target that is meant.

    given : a gluon Block, a class of one or of an autograd.Function (called with ``kwargs``), or a
        function of (F, pred, label) or of (pred, label).

    Raises
    ------
    TypeError : it is none of these.
    ValueError : kwargs without a class, or ones that the class refuses.
    """
    name = name or getattr(given, '__name__', type(given).__name__)
    if inspect.isclass(given):
        return _of_class(given, dict(kwargs or {}), name)
    if kwargs:
        raise ValueError(f'kwargs are for a class; {name} is taken as it is')
    if isinstance(given, Block):
        return _of_block(given, name, 'a gluon {}, taken as it is')
    if callable(given):
        return _of_function(given, name)
    raise TypeError('the loss must be a gluon Block, a class of one, or a function of (F, pred, '
                    f'label) or (pred, label); {name} is of type {type(given).__name__}')


def _of_class(cls: type, kwargs: Dict[str, Any], name: str) -> Target:
    called = f'{name}({", ".join(f"{key}={value!r}" for key, value in kwargs.items())})'
    try:
        made = cls(**kwargs)
    except Exception as error:
        raise ValueError(f'{called} cannot be made: {type(error).__name__}: {error}') from None
    if isinstance(made, autograd.Function):
        return Target(lambda *inputs: cls(**kwargs)(*inputs), called,
                      'an autograd.Function, a new one for each call: one can be called once', ())
    if not isinstance(made, Block):
        if not callable(made):
            raise TypeError(f'{called} cannot be called on (pred, label)')
        return _of_function(made, called)
    target = _of_block(made, called, 'a new gluon {}')
    parameters = _parameters(cls)
    learned = bool(made.collect_params().keys())
    if learned:
        made.initialize()
    if 'weight' not in parameters or learned:  # another one would be initialized otherwise
        target.weighted = None
    elif target.weighted is not None:
        own = kwargs.get('weight', parameters['weight'].default)
        own = own if isinstance(own, (int, float)) else 1.0
        target.weighted = lambda weight: _of_class(cls, {**kwargs, 'weight': weight * own}, name)
    return target


def _of_block(block: Block, name: str, assumed: str) -> Target:
    kind = 'Loss' if isinstance(block, Loss) else type(block).__mro__[-2].__name__
    kind = kind if isinstance(block, Loss) or not isinstance(block, HybridBlock) else 'HybridBlock'
    plain = isinstance(block, HybridBlock) and type(block).forward is HybridBlock.forward
    takes = tuple(_parameters(block.hybrid_forward if plain else block.forward))[2 + plain:]

    def weighted(weight: float) -> Target:
        heavy = copy.copy(block)
        heavy._weight = weight * (1 if block._weight is None else block._weight)
        if isinstance(heavy, HybridBlock):
            heavy._clear_cached_op()
        return _of_block(heavy, name, assumed)

    return Target(block, name, assumed.format(kind), takes,
                  weighted if isinstance(block, Loss) else None)


def _of_function(function: Callable[..., Any], name: str) -> Target:
    arguments = tuple(_parameters(function))
    if arguments[:1] != ('F',):
        return Target(function, name, 'a function of the arrays (pred, label)', arguments[2:])
    return Target(_Function(function), name,
                  'a function of (F, pred, label), its first argument being F', arguments[3:])


class _Function(HybridBlock):
    """A function of (F, pred, label) as a block."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self._function = function

    def hybrid_forward(self, F: Any, *inputs: Any) -> Any:
        return self._function(F, *inputs)


def _parameters(function: Callable[..., Any]) -> Dict[str, inspect.Parameter]:
    """The named ones; none where Python does not know."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
    return {name: each for name, each in parameters.items()
            if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}


def _hybrid_blocks(block: Block) -> Iterator[HybridBlock]:
    if isinstance(block, HybridBlock):
        yield block
    children = block._children  # a list before MXNet 1.2
    for child in children.values() if isinstance(children, dict) else children:
        yield from _hybrid_blocks(child)


def _array(value: Any) -> mx.nd.NDArray:
    if isinstance(value, mx.nd.NDArray):
        return value
    if isinstance(value, (int, float, np.number, np.ndarray)):  # a loss that left MXNet
        return mx.nd.array(np.atleast_1d(value), dtype='float64')
    raise TypeError(f'a loss must return one NDArray; this one returned a {type(value).__name__}')


def _float64(array: mx.nd.NDArray) -> np.ndarray:
    return array.asnumpy().astype(np.float64)


def _backward(value: mx.nd.NDArray, upstream: Union[float, np.ndarray]) -> None:
    heads = np.reshape(upstream, (-1,) + (1,) * (value.ndim - 1))
    try:
        value.backward(mx.nd.array(np.broadcast_to(heads, value.shape), dtype=value.dtype))
    except mx.base.MXNetError as error:
        if DETACHED not in str(error):
            raise
        # Nothing leads from the loss to the prediction: the buffer keeps what it holds.
