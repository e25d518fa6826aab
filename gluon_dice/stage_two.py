"""Stage 2 of a Gluon loss: soft_dice.score over MXNet's operators, with its slopes attached."""
from typing import Any, Sequence

import mxnet as mx

from soft_dice.plan import Plan
from soft_dice.score import stage_two
from soft_dice.sums import Sums

HUGE = 1e300


class Ops:
    """The names of soft_dice.ops over F, ``mx.nd`` or ``mx.sym``; arrays are float64.

    The operators of Symbols do not broadcast, and a comparison gives 0.0 and 1.0.
    """

    def __init__(self, F: Any) -> None:
        self.F = F
        self.abs, self.exp, self.log, self.log1p, self.tanh = F.abs, F.exp, F.log, F.log1p, F.tanh
        self.ones_like = F.ones_like

    def where(self, condition: Any, yes: Any, no: Any) -> Any:
        return self.F.where(condition, *(self._filled(each, condition) for each in (yes, no)))

    def _filled(self, value: Any, like: Any) -> Any:
        if not isinstance(value, (int, float)):
            return value
        if value in (0, 1):
            return self.F.ones_like(like) if value else self.F.zeros_like(like)
        return self.F.ones_like(like) * value

    def row(self, numbers: Sequence[float], like: Any) -> Any:
        """(N, K); another number of columns than ``like`` has is an MXNetError."""
        zeros = self.F.zeros_like(like)
        zero = self.F.slice_axis(zeros, axis=1, begin=0, end=1)
        columns = self.F.concat(*(zero + number for number in numbers), dim=1)
        return self.F.elemwise_add(columns, zeros)

    def over_classes(self, array: Any) -> Any:
        return self.F.sum(array, axis=1)

    def spread(self, array: Any, like: Any) -> Any:
        return self.F.broadcast_mul(self.F.ones_like(like), self.F.expand_dims(array, axis=1))

    def largest(self, array: Any) -> Any:
        return self.F.max(array, axis=1)

    def over_batch(self, array: Any) -> Any:
        total = self.F.sum(array, axis=0, keepdims=True)
        return self.F.broadcast_mul(self.F.ones_like(array), total)

    def inverse_power(self, array: Any, exponent: int) -> Any:
        return 1 / array ** exponent


def loss_of(F: Any, sums: Sums, plan: Plan) -> Any:
    """The loss of the sums of all classes, (N,) or (N, K) float64.

    Autograd sees the loss as ``constant + sum(slope * (sum - constant))`` and so finds the slopes
    that stage 2 gives.
    """
    ops = Ops(F)
    counts = (columns(F, each, plan) for each in sums[:3])
    # An infinite sum minus itself would be a NaN; and a NaN must stay one (F.minimum makes it HUGE
    # before MXNet 1.5).
    sums = Sums(*(each if each is None else ops.where(each > HUGE, HUGE, each)
                  for each in (*counts, *sums[3:])))
    constant = Sums(*(each if each is None else blocked(F, each) for each in sums))
    found = stage_two(ops, constant, plan)
    change = (found.slopes.intersection * (sums.intersection - constant.intersection)
              + found.slopes.pred_sum * (sums.pred_sum - constant.pred_sum))
    each_class = plan.dice.class_reduction == 'none'
    if not each_class:
        change = ops.over_classes(change)
    if plan.dice.batch_dice:
        change = ops.over_batch(change)
    if plan.ce is not None:
        of_ce = found.slopes.entropy * (sums.entropy - constant.entropy)
        change = change + (ops.over_batch(of_ce) if plan.ce_batch else of_ce)
    # The slopes are constants, so a second derivative would be wrong.  MXNet has none of reshape,
    # and therefore refuses to take one.
    return found.loss + F.reshape(change, shape=(0, -1) if each_class else (-1,))


def blocked(F: Any, array: Any) -> Any:
    """The array as a constant; what is made of a detached array is not even recorded."""
    return array.detach() if F is mx.nd else F.BlockGrad(array)


def columns(F: Any, array: Any, plan: Plan) -> Any:
    """The counted classes of an (N, C) array."""
    counted = plan.counted
    if counted in (slice(0, None), tuple(range(plan.num_classes))):
        return array
    if counted in (slice(1, None), tuple(range(1, plan.num_classes))):
        return F.slice_axis(array, axis=1, begin=1, end=None)
    return F.concat(*(F.slice_axis(array, axis=1, begin=c, end=c + 1 if c != -1 else None)
                      for c in counted), dim=1)


def joined(F: Any, sums: Sums) -> Any:
    """All sums side by side, (N, M) float64."""
    entropy = (F.expand_dims(each, axis=1) for each in sums[3:] if each is not None)
    return F.concat(*sums[:3], *entropy, dim=1)


def number_of_sums(plan: Plan) -> int:
    """M of :func:`joined`."""
    return 3 * plan.num_classes + 2 * (plan.ce is not None)


def parted(F: Any, array: Any, plan: Plan) -> Sums:
    """What :func:`joined` has put side by side."""
    classes = plan.num_classes
    counts = (F.slice_axis(array, axis=1, begin=begin, end=begin + classes)
              for begin in range(0, 3 * classes, classes))
    entropy = (F.reshape(F.slice_axis(array, axis=1, begin=begin, end=begin + 1), shape=(-1,))
               for begin in range(3 * classes, number_of_sums(plan)))
    return Sums(*counts, *entropy)
