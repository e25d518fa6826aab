"""The cross-entropy's part of stages 1 and 2 in F operators, after soft_dice.entropy and .compound.

As in gluon_dice.counts, classes are the last axis and sums over pixels are matrix products.  Class
weights and label smoothing are linear in the loss of a class, so they are applied to sums and not
to pixels wherever nothing cancels in these.
"""
from typing import Any

from soft_dice.ce_options import DiceCEOptions
from soft_dice.plan import Plan
from soft_dice.sums import Sums

from .counts import ClassesLast, count_activated, dot, inner, total, weigh, without_ignored
from .stage_two import Ops


def count_both(F: Any, pixels: ClassesLast, plan: Plan, blocks: int) -> Sums:
    """The sums of both terms; :class:`soft_dice.DiceCEOptions` has the formulas.

    Arguments as of :func:`gluon_dice.counts.count`.
    """
    dice, ce = plan.dice, plan.ce
    assert ce is not None
    z = without_ignored(F, pixels, dice.activation)
    weighed = weigh(F, pixels.label, pixels.mask)
    if dice.activation == 'softmax':
        # The temperature keeps MXNet from oneDNN's log_softmax, in whose float32 a log p is wrong
        # by 4e-6, and most of them to the same side.
        log_p = F.log_softmax(z, axis=2, temperature=1.0)
        p = F.exp(log_p)
        counts = count_activated(F, p, weighed, pixels, plan, blocks)
        loss = _softmax_loss(F, log_p, p, weighed, pixels, ce, blocks)
        same = dice.sparse_label or dice.exponent == 1
        weight = counts.label_sum if same else total(F, weighed, blocks)
    else:
        counts = count_activated(F, F.sigmoid(z), weighed, pixels, plan, blocks)
        each = _sigmoid_loss(F, z, _smoothed(pixels.label, ce), ce.ce_gamma)
        loss = total(F, weigh(F, each, pixels.mask), blocks)
        weight = _mask_sum(F, z, pixels, counts, blocks)
    return counts._replace(entropy=_over_classes(F, loss, ce),
                           entropy_norm=F.BlockGrad(_over_classes(F, weight, ce)))


def terms(F: Any, pred: Any, sums: Sums, plan: Plan) -> Any:
    """How many terms the cross-entropy of a sample has, (N,), as of :func:`soft_dice.stages.terms`.

    pred : any array with as many elements as the prediction.
    """
    rows = sums.label_sum if plan.dice.activation == 'softmax' else sums.entropy
    ratio = F.reshape(_ratio(F, pred, rows), shape=(1,))
    return F.broadcast_mul(F.ones_like(sums.entropy_norm), ratio)


def _softmax_loss(F: Any, log_p: Any, p: Any, weighed: Any, pixels: ClassesLast,
                  options: DiceCEOptions, blocks: int) -> Any:
    """sum m t (1 - p)^gamma (-log p) of each class, (N, C)."""
    each = -log_p if options.ce_gamma == 0 else -log_p * _power(F, 1 - p, options.ce_gamma)
    epsilon = options.label_smoothing
    if epsilon == 0:
        return inner(F, each, weighed, blocks)
    if blocks and options.dice.sparse_label:
        # A pixel's label is of one class, so that sum m L_i is sum_j of the products with m g_j.
        both = dot(F, each, weighed, blocks)
        of_label, of_all = F.diag(both, axis1=1, axis2=2), F.sum(both, axis=2)
    else:
        of_label = inner(F, each, weighed, blocks)
        of_all = total(F, weigh(F, each, pixels.mask), blocks)
    share = 1 / F.sum(F.ones_like(of_all), axis=1, keepdims=True)  # 1 / C
    return (1 - epsilon) * of_label + F.broadcast_mul(of_all, epsilon * share)


def _sigmoid_loss(F: Any, z: Any, t: Any, gamma: float) -> Any:
    """t q^gamma (-log p) + (1 - t) p^gamma (-log q), q = 1 - p, of each element.

    -log q is softplus(z) = relu(z) + log(1 + exp(z - 2 relu(z))), whose derivative is right also at
    z = 0, whatever that of relu is there.  Elements are not taken apart any further: in sums of
    softplus(z) and of t z, what a sure prediction leaves of their difference would be lost.
    """
    positive = F.relu(z)
    small = F.log1p(F.exp(z - 2 * positive))
    if gamma == 0:
        return positive - t * z + small
    of_p, of_q = positive - z + small, positive + small
    return t * F.exp(-gamma * of_q) * of_p + (1 - t) * F.exp(-gamma * of_p) * of_q


def _power(F: Any, q: Any, gamma: float) -> Any:
    """q^gamma for q in [0, 1]; at 0 it is 0, also where it has no finite derivative."""
    if gamma == 1:
        return q
    if gamma == 2:
        return F.square(q)
    if gamma > 1:
        return q ** gamma
    sure = q <= 0  # asked this way round, a NaN stays a NaN
    return F.where(sure, F.zeros_like(q), F.where(sure, F.ones_like(q), q) ** gamma)


def _smoothed(label: Any, options: DiceCEOptions) -> Any:
    epsilon = options.label_smoothing
    return label if epsilon == 0 else (1 - epsilon) * label + epsilon / 2


def _mask_sum(F: Any, z: Any, pixels: ClassesLast, counts: Sums, blocks: int) -> Any:
    """sum m of each class, (N, C)."""
    ones = F.ones_like(counts.label_sum)
    if pixels.mask is None:
        return F.broadcast_mul(ones, _ratio(F, z, ones))
    return F.broadcast_mul(ones, total(F, pixels.mask, blocks))


def _ratio(F: Any, array: Any, fewer: Any) -> Any:
    """How many elements there are of one array for each one of another, (1, 1) float64."""
    sizes = (F.cast(F.size_array(each), 'float64') for each in (array, fewer))
    return F.reshape(F.elemwise_div(*sizes), shape=(1, 1))


def _over_classes(F: Any, each: Any, options: DiceCEOptions) -> Any:
    """sum_c w_c of (N, C), (N,)."""
    if options.ce_class_weights is not None:
        each = each * Ops(F).row(options.ce_class_weights, each)
    return F.sum(each, axis=1)
