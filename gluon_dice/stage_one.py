"""Stage 1 of a Gluon loss: what a graph of the loss is made with, settled before it is traced.

A loss holds one of these objects at a time, chosen for the inputs of a call.  It is immutable and
compared by value, so that a cached graph serves as long as the object is the same.  A call of the
object gives the sums; stage 3 is its derivative, which autograd takes.
"""
import dataclasses
from typing import Any, List, NamedTuple, Optional, Tuple, Type

from soft_dice import native as kernels
from soft_dice.plan import Plan
from soft_dice.sums import Sums

from . import compat, custom, native, threads
from .counts import count, prepare
from .entropy import count_both, terms
from .layout import Layout
from .resize import to_label_size
from .stage_two import Ops


class Call(NamedTuple):
    """What a stage 1 is made for.

    plan : the resolved options.
    layout : how the axes of pred stand.
    dtype : of the arithmetic on pixels, 'float32' or 'float64'.
    cast : whether pred is to be cast to it; it always is in a graph, which does not know its dtype.
    resized : whether pred may have another size than the label.
    weighted : whether there is a pixel_weight; a cached graph takes always one or never.
    """

    plan: Plan
    layout: Layout
    dtype: str
    cast: bool
    resized: bool
    weighted: bool


@dataclasses.dataclass(frozen=True)
class StageOne:
    """What the implementations share."""

    call: Call

    def inputs(self, *inputs: Any) -> List[Any]:
        """The loss's inputs, as the graph takes them."""
        return list(inputs)

    def __call__(self, F: Any, pred: Any, label: Any, pixel_weight: Optional[Any] = None) -> Sums:
        raise NotImplementedError

    def _at_label_size(self, F: Any, pred: Any, label: Any, pixel_weight: Optional[Any]
                       ) -> Tuple[Any, Any, Optional[Any], Layout]:
        """The inputs, and their layout, once pred has the label's size."""
        if not self.call.resized:
            return pred, label, pixel_weight, self.call.layout
        dice, layout = self.call.plan.dice, self.call.layout
        sized = to_label_size(F, pred, label, pixel_weight, dice, layout, self.call.dtype)
        return (*sized, Layout(axis=1, batch_axis=0, ndim=3 if layout.ndim else 0))

    def _finish(self, F: Any, pred: Any, sums: Sums) -> Sums:
        """The sums with what E is divided by; a graph refuses another number of classes here."""
        plan = self.call.plan
        if plan.ce is not None and plan.ce.ce_normalization == 'pixels':
            sums = sums._replace(entropy_norm=terms(F, pred, sums, plan))
        if plan.num_classes and not self.call.layout.ndim:
            zeros = Ops(F).row([0.0] * plan.num_classes, sums.label_sum)
            sums = sums._replace(label_sum=sums.label_sum + zeros)
        return sums


@dataclasses.dataclass(frozen=True)
class Operators(StageOne):
    """Stage 1 in MXNet's operators.

    blocks : of pixels, as of :func:`gluon_dice.counts.blocks_for`; 0 where they are not counted.
    """

    blocks: int

    def __call__(self, F: Any, pred: Any, label: Any, pixel_weight: Optional[Any] = None) -> Sums:
        if self.call.cast:
            pred = F.cast(pred, self.call.dtype)
        pred, label, pixel_weight, layout = self._at_label_size(F, pred, label, pixel_weight)
        plan = self.call.plan
        pixels = prepare(F, pred, label, pixel_weight, plan, layout, self.call.dtype)
        sums = (count if plan.ce is None else count_both)(F, pixels, plan, self.blocks)
        return self._finish(F, pred, nan_where_bad(F, sums, pixels.valid))


@dataclasses.dataclass(frozen=True)
class Kernels(StageOne):
    """Stage 1 in the operator over the kernels.

    arrays : called on arrays, not on Symbols.
    """

    arrays: bool

    def inputs(self, *inputs: Any) -> List[Any]:
        if not self.arrays:
            return list(inputs)
        pred, *others = inputs
        return [native.alias(pred), *(each.detach() for each in others)]

    def __call__(self, F: Any, pred: Any, label: Any, pixel_weight: Optional[Any] = None) -> Sums:
        if self.call.cast and (self.call.resized or self.arrays):
            pred = F.cast(pred, self.call.dtype)
        pred, label, pixel_weight, layout = self._at_label_size(F, pred, label, pixel_weight)
        if not self.arrays:
            pred = native.own(F, pred, self.call.dtype)
        sums = native.count(F, pred, label, pixel_weight, self.call.plan, layout, self.arrays)
        return self._finish(F, pred, sums)


@dataclasses.dataclass(frozen=True)
class Custom(StageOne):
    """Stage 1 in the Custom operator, over the kernels or NumPy."""

    def __call__(self, F: Any, pred: Any, label: Any, pixel_weight: Optional[Any] = None) -> Sums:
        plan, layout = self.call.plan, self.call.layout
        if self.call.cast:
            pred = F.cast(pred, self.call.dtype)
        return custom.count(F, pred, label, pixel_weight, plan, layout.batch_axis)


class Choice(NamedTuple):
    """What computes stage 1, and why it is not the operator over the kernels."""

    kind: Type[StageOne]
    reason: str


def choose(pred: Any = None) -> Choice:
    """What computes stage 1 of ``pred``, an NDArray or a Symbol; of None, on the CPU.

    A Custom operator only where MXNet's operators cannot, although it is ten times as fast over the
    kernels: since MXNet 1.5 a fork soon after one may wait for ever (docs/versions.md).

    Raises
    ------
    RuntimeError : SOFT_DICE_NATIVE=1, and the kernels cannot be used; a Custom operator in a forked
        process.
    ValueError : SOFT_DICE_NATIVE is neither 0 nor 1.
    """
    requested = kernels.requested()
    if not compat.has_operators():
        threads.refuse_fork()
        kernels.kernels()  # an error here, not in the operator
        return Choice(Custom, 'this MXNet lacks operators')
    if requested is False:
        return Choice(Operators, f'{kernels.VARIABLE}=0')
    reason = native.elsewhere(pred) or native.unavailable()
    if reason and requested:
        raise RuntimeError(f'{kernels.VARIABLE}=1, but the operator cannot be used: {reason}')
    return Choice(Operators if reason else Kernels, reason)


def nan_where_bad(F: Any, sums: Sums, valid: Any) -> Sums:
    """The sums, but NaN in the samples where ``valid`` (N, 1) is 0 and not 1."""
    factor = valid / valid
    counts = (F.broadcast_mul(each, factor) for each in sums[:3])
    entropy = (None if each is None else each * F.reshape(factor, shape=(-1,)) for each in sums[3:])
    return Sums(*counts, *entropy)
