"""Stage 2: from the sums over the pixels to scores and a loss, and the slopes of the loss.

Every variant of the loss is a few lines of this file, and of no other.  The file is written over
``ops``, a namespace of array functions (soft_dice.ops for NumPy), and takes a resolved plan.
Arrays have a row for each of N samples and a column for each of K counted classes.  The loss of a
class depends on its own sums only, so a slope has the shape of its sum.  It stands beside its
value.

A NaN among the sums must stay a NaN in the loss.  It compares as false, so every condition is asked
in the way that keeps it then.
"""
import math
from typing import Any, NamedTuple, Tuple

from .options import DiceOptions
from .plan import Plan
from .sums import Slopes, Sums
from .values import Numbers

LOG_GUARD = 1e-7
# A denominator below this holds no pixel worth the name.  It is 0 but for rounding, and dividing by
# it would overflow float32.
EMPTY = 1e-30
# An automatic weight above this is that of a class with no pixel worth the name: it is infinite.
HEAVIEST = 1e15

Array = Any


class Evaluation(NamedTuple):
    """What stage 2 gives.

    loss : (N,), or (N, K) with class_reduction 'none'.
    score : S of the Dice term, before any weight, form or mean: (N, K), or (N,) where classes are
        pooled.
    slopes : d loss_n / d sum_n, for the counts (N, K) and the entropy (N,).  Of sums that are added
        up over the batch they are d loss_n / d sum_m, for any samples n and m.
    """

    loss: Array
    score: Array
    slopes: Slopes


def stage_two(ops: Any, sums: Sums, plan: Plan) -> Evaluation:
    """The loss of the sums, whose counts are those of the counted classes only, (N, K)."""
    sums = over_batch(ops, sums, plan)
    found = (_pooled if plan.dice.pool_classes else _classwise)(ops, sums, plan)
    if plan.ce is None:
        return found
    entropy, slope = cross_entropy(ops, sums)
    dice, ce = plan.ce.dice_weight, plan.ce.ce_weight
    tp, pred_sum, _ = found.slopes
    return found._replace(loss=dice * found.loss + ce * entropy,
                          slopes=Slopes(dice * tp, dice * pred_sum, ce * slope))


def over_batch(ops: Any, sums: Sums, plan: Plan) -> Sums:
    """Those of the batch in every row, of the terms that ask for it."""
    counts, entropy = sums[:3], sums[3:]
    if plan.dice.batch_dice:
        counts = tuple(map(ops.over_batch, counts))
    if plan.ce is not None and plan.ce_batch:
        entropy = tuple(map(ops.over_batch, entropy))
    return Sums(*counts, *entropy)


def cross_entropy(ops: Any, sums: Sums) -> Tuple[Array, Array]:
    """E / W, or 0 where W is 0, as there is nothing to learn from; and its slope along E, 1 / W."""
    void = sums.entropy_norm < EMPTY
    slope = ops.where(void, 0, 1 / ops.where(void, 1, sums.entropy_norm))
    return ops.where(void, 0, slope * sums.entropy), slope


def tversky(ops: Any, sums: Sums, plan: Plan) -> Tuple[Array, Array, Array]:
    """S = (2 tp + smooth) / D with D = 2 (tp + alpha fp + beta fn) + smooth_dr; 1 where D is 0.

    Returns S, dS/d_tp = (2 - 2 (1 - alpha - beta) S) / D and dS/d_pred_sum = -2 alpha S / D.
    """
    tp, alpha, beta = sums.intersection, plan.dice.alpha, plan.dice.beta
    fp = sums.pred_sum - tp
    fn = sums.label_sum - tp
    denominator = 2 * (tp + alpha * fp + beta * fn) + _smooth(ops, plan.smooth_dr, tp)
    empty = ops.abs(denominator) < EMPTY  # nothing to find, nothing found
    safe = ops.where(empty, 1, denominator)
    score = ops.where(empty, 1, (2 * tp + _smooth(ops, plan.smooth, tp)) / safe)
    share = (1 - empty) / safe
    return score, (2 - 2 * (1 - alpha - beta) * score) * share, -2 * alpha * score * share


def class_loss(ops: Any, score: Array, options: DiceOptions) -> Tuple[Array, Array]:
    """A class's loss L of its score S, and dL/dS, an array or a number.

    one_minus : (1 - S)^gamma, -gamma (1 - S)^(gamma - 1); for gamma other than 1 both are 0 at
        S >= 1, where a power below 1 has no finite derivative
    negative : -S, -1
    log : -log S, -1 / S; constant below S = 1e-7
    log_cosh : log cosh(1 - S), -tanh(1 - S)
    """
    miss, gamma = 1 - score, options.gamma
    if options.form == 'negative':
        return -score, -1
    if options.form == 'log':
        low = score <= LOG_GUARD
        guarded = ops.where(low, LOG_GUARD, score)
        return -ops.log(guarded), ops.where(low, 0, -1 / guarded)
    if options.form == 'log_cosh':
        size = ops.abs(miss)  # log cosh x = |x| + log((1 + exp(-2 |x|)) / 2), without overflow
        return size + ops.log1p(ops.exp(-2 * size)) - math.log(2), -ops.tanh(miss)
    if gamma == 1:
        return miss, -1
    perfect = miss <= 0
    base = ops.where(perfect, 1, miss)
    return (ops.where(perfect, 0, base ** gamma),
            ops.where(perfect, 0, -gamma * base ** (gamma - 1)))


def _weights(ops: Any, label_sum: Array, plan: Plan) -> Tuple[Array, Array]:
    """The weights of the classes, constants to the gradient, (N, K) or 1 where all are alike; and
    which samples have a finite one, (N,) or 1 where all have.
    """
    if plan.fixed_weights is not None:
        return ops.row(plan.fixed_weights, label_sum), 1
    if plan.dice.class_weights is None:
        return 1, 1
    weights = ops.inverse_power(label_sum, 1 if plan.dice.class_weights == 'inverse' else 2)
    infinite = weights >= HEAVIEST
    largest = ops.largest(ops.where(infinite, 0, weights))
    return (ops.where(infinite, ops.spread(largest, weights), weights),
            ops.largest(1 - infinite))


def _classwise(ops: Any, sums: Sums, plan: Plan) -> Evaluation:
    """A loss per class, then their weighted reduction."""
    options = plan.dice
    score, d_tp, d_pred_sum = tversky(ops, sums, plan)
    loss, d_loss = class_loss(ops, score, options)
    weights, live = _weights(ops, sums.label_sum, plan)
    present = 1 if options.absent == 'count' else 1 - (sums.label_sum == 0)
    share = _spread(ops, live, score) * present / _norm(ops, weights, present, score, plan)
    if options.weight_normalization == 'score':
        terms = share * (1 - weights * score)
    else:
        terms = share * weights * loss
    if options.class_reduction != 'none':
        terms = ops.over_classes(terms)
    slope = share * weights * d_loss
    return Evaluation(terms, score, Slopes(slope * d_tp, slope * d_pred_sum))


def _norm(ops: Any, weights: Array, present: Array, like: Array, plan: Plan) -> Array:
    """What the sum over classes is divided by, a number or of the shape of ``like``; never 0."""
    options = plan.dice
    if options.class_reduction != 'mean':
        return 1
    each = weights if options.weight_normalization == 'weights' else 1
    if options.absent == 'skip':
        each = each * present
    if isinstance(each, int) and plan.num_classes:
        return len(plan.counted)
    norm = ops.over_classes(ops.ones_like(like) * each)
    return ops.spread(ops.where(norm == 0, 1, norm), like)


def _pooled(ops: Any, sums: Sums, plan: Plan) -> Evaluation:
    """One score from the weighted counts of all classes."""
    weights, live = _weights(ops, sums.label_sum, plan)
    if plan.dice.absent == 'skip':
        present = 1 - (sums.label_sum == 0)
        weights, live = weights * present, live * ops.largest(present)
    pooled = Sums(*(ops.over_classes(weights * each) for each in sums[:3]))
    score, d_tp, d_pred_sum = tversky(ops, pooled, plan)
    loss, d_loss = class_loss(ops, score, plan.dice)
    slopes = (weights * ops.spread(live * d_loss * each, sums.label_sum)
              for each in (d_tp, d_pred_sum))
    return Evaluation(live * loss, score, Slopes(*slopes))


def _spread(ops: Any, numbers: Array, like: Array) -> Array:
    return numbers if isinstance(numbers, int) else ops.spread(numbers, like)


def _smooth(ops: Any, smooth: Numbers, like: Array) -> Any:
    return ops.row(smooth, like) if isinstance(smooth, tuple) else smooth
