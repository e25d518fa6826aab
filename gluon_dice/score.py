"""Stage 2 in F operators, after soft_dice.score, where the formulas and their reasons stand.

Always float64: it is (N, C)-sized, and 1 - S cancels.  R is the number of rows, N or, with
batch_dice, 1; K the number of counted classes.
"""
import math
from typing import Any, Callable, Sequence, Tuple, Union

from soft_dice.options import DiceOptions
from soft_dice.score import EMPTY, HEAVIEST, LOG_GUARD

from .counts import Counts


def loss_from_counts(F: Any, counts: Counts, valid: Any, options: DiceOptions) -> Any:
    """(N,), or (N, K) with class_reduction 'none'; NaN where ``valid`` (N, 1) is 0."""
    select = _selector(F, options)
    rows = Counts(*(select(each) for each in counts))
    if options.batch_dice:
        rows = Counts(*(F.sum(each, axis=0, keepdims=True) for each in rows))
        valid = F.broadcast_mul(F.min(valid, axis=0, keepdims=True), F.ones_like(valid))
    weights, live = _class_weights(F, counts, rows.label_sum, select, options)
    if options.pool_classes:
        loss = _pooled_loss(F, rows, weights, live, options)
    else:
        loss = _classwise_loss(F, rows, weights, live, options)
    loss = F.broadcast_mul(loss, valid / valid)  # 1 / 1 is 1, 0 / 0 is NaN; and (1,) becomes (N,)
    return loss if options.class_reduction == 'none' else F.reshape(loss, shape=(-1,))


def _selector(F: Any, options: DiceOptions) -> Callable[[Any], Any]:
    """What takes the counted classes of an (N, C) array."""
    def select(array: Any) -> Any:
        if options.classes is not None:
            columns = [F.slice_axis(array, axis=1, begin=c, end=c + 1 if c != -1 else None)
                       for c in options.classes]
            return F.concat(*columns, dim=1)
        if not options.include_background:
            return F.slice_axis(array, axis=1, begin=1, end=None)
        return array
    return select


def row_of(F: Any, values: Sequence[float], like: Any) -> Any:
    """The numbers as (1, K), on the device of ``like`` (R, K); another length is refused."""
    zeros = F.zeros_like(F.slice_axis(like, axis=0, begin=0, end=1))
    zero = F.slice_axis(zeros, axis=1, begin=0, end=1)
    return F.elemwise_add(F.concat(*[zero + value for value in values], dim=1), zeros)


def _class_weights(F: Any, counts: Counts, label_sum: Any, select: Callable[[Any], Any],
                   options: DiceOptions) -> Tuple[Any, Any]:
    """Weights (R, K), and (R, 1) whether a row has a finite one."""
    ones = F.ones_like(label_sum)
    live = F.slice_axis(ones, axis=1, begin=0, end=1)
    if options.class_weights is None:
        return ones, live
    if not isinstance(options.class_weights, str):
        fixed = select(row_of(F, options.class_weights, counts.label_sum))
        return F.broadcast_mul(ones, fixed), live
    label_sum = F.BlockGrad(label_sum)
    power = 1 if options.class_weights == 'inverse' else 2
    weights = 1 / label_sum ** power
    finite = weights < HEAVIEST
    weights = F.where(finite, weights, F.zeros_like(weights))
    largest = F.max(weights, axis=1, keepdims=True)
    return (F.where(finite, weights, F.broadcast_like(largest, weights)),
            F.max(finite, axis=1, keepdims=True))


def _tversky(F: Any, rows: Counts, options: DiceOptions) -> Any:
    tp, pred_sum, label_sum = rows
    fp = pred_sum - tp
    fn = label_sum - tp
    denominator = _plus(F, 2 * (tp + options.alpha * fp + options.beta * fn),
                        options.denominator_smooth)
    empty = F.abs(denominator) < EMPTY
    ones = F.ones_like(denominator)
    score = _plus(F, 2 * tp, options.smooth) / F.where(empty, ones, denominator)
    return F.where(empty, ones, score)


def _plus(F: Any, array: Any, smooth: Union[float, Tuple[float, ...]]) -> Any:
    if isinstance(smooth, tuple):
        return F.broadcast_add(array, row_of(F, smooth, array))
    return array + smooth


def _class_loss(F: Any, score: Any, options: DiceOptions) -> Any:
    if options.form == 'negative':
        return -score
    if options.form == 'log':
        return -F.log(F.where(score <= LOG_GUARD, F.ones_like(score) * LOG_GUARD, score))
    miss = 1 - score
    if options.form == 'log_cosh':
        size = F.abs(miss)
        return size + F.log1p(F.exp(-2 * size)) - math.log(2)
    if options.gamma == 1:
        return miss
    perfect = miss <= 0
    base = F.where(perfect, F.ones_like(miss), miss)
    return F.where(perfect, F.zeros_like(miss), base ** options.gamma)


def _classwise_loss(F: Any, rows: Counts, weights: Any, live: Any, options: DiceOptions) -> Any:
    """(R, 1), or (R, K) with class_reduction 'none'."""
    score = _tversky(F, rows, options)
    present = rows.label_sum > 0
    counted = F.ones_like(present) if options.absent == 'count' else present
    if options.weight_normalization == 'score':
        terms = 1 - weights * score
    else:
        terms = weights * _class_loss(F, score, options)
    terms = F.broadcast_mul(terms * counted, live)
    if options.class_reduction == 'none':
        return terms
    total = F.sum(terms, axis=1, keepdims=True)
    if options.class_reduction == 'sum':
        return total
    each = weights if options.weight_normalization == 'weights' else F.ones_like(weights)
    norm = F.sum(each * present if options.absent == 'skip' else each, axis=1, keepdims=True)
    return total / F.where(norm > 0, norm, F.ones_like(norm))


def _pooled_loss(F: Any, rows: Counts, weights: Any, live: Any, options: DiceOptions) -> Any:
    """(R, 1)."""
    if options.absent == 'skip':
        present = rows.label_sum > 0
        weights = weights * present
        live = live * F.max(present, axis=1, keepdims=True)
    pooled = Counts(*(F.sum(weights * each, axis=1, keepdims=True) for each in rows))
    return _class_loss(F, _tversky(F, pooled, options), options) * live
