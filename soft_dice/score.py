"""Stage 2: from counts to scores to a loss, and the derivative with respect to each count.

Everything here is (N, C)-sized.  Every variant of the loss is a few lines of this file, and each
function returns its value together with its vector-Jacobian product, derivative beside forward.
R is the number of rows, N or, with batch_dice, 1; K the number of counted classes.
"""
from typing import Callable, Tuple

import numpy as np

from .counts import Counts
from .options import DiceOptions, Plan

LOG_GUARD = 1e-7
# A denominator below this holds no pixel worth the name.  It is 0 but for rounding, and dividing by
# it would overflow float32.
EMPTY = 1e-30
# An automatic weight above this is that of a class with no pixel worth the name: it is infinite.
HEAVIEST = 1e15

Array = np.ndarray
ScoreVJP = Callable[[Array], Tuple[Array, Array, Array]]
LossVJP = Callable[[Array], Counts]


def score_from_counts(counts: Counts, plan: Plan) -> Array:
    """Stage 2's score: (N, K), or (N, 1) where classes are pooled."""
    rows = _rows(counts, plan)
    if plan.options.pool_classes:
        rows, _ = _pool(rows, _pool_weights(rows.label_sum, plan))
    score, _ = _score(rows, plan)
    return np.repeat(score, _repeats(counts, plan), axis=0)


def loss_from_counts(counts: Counts, plan: Plan) -> Tuple[Array, LossVJP]:
    """Stage 2's loss and its vjp.

    Returns
    -------
    loss : (N,), or (N, K) with class_reduction 'none'.
    vjp : upstream (shape of loss) -> Counts of derivatives, each (N, C), 0 for dropped classes.
    """
    row_loss = _pooled_loss if plan.options.pool_classes else _classwise_loss
    loss, row_vjp = row_loss(_rows(counts, plan), plan)
    repeats = _repeats(counts, plan)

    def vjp(upstream: Array) -> Counts:
        if plan.options.batch_dice:  # one row's loss is every sample's
            upstream = upstream.sum(axis=0, keepdims=True)
        return Counts(*(_scatter(np.repeat(d, repeats, axis=0), plan)
                        for d in row_vjp(upstream)))

    return np.repeat(loss, repeats, axis=0), vjp


def tversky(tp: Array, pred_sum: Array, label_sum: Array, options: DiceOptions,
            smooth: Array, smooth_dr: Array) -> Tuple[Array, ScoreVJP]:
    """S = (2 tp + smooth) / D with D = 2 (tp + alpha fp + beta fn) + smooth_dr; 1 where D is 0.

    vjp : dS -> (d_tp, d_pred_sum, d_label_sum), from
        dS/d_tp = (2 - 2 (1 - alpha - beta) S) / D,  dS/d_pred_sum = -2 alpha S / D,
        dS/d_label_sum = -2 beta S / D
    """
    alpha, beta = options.alpha, options.beta
    fp = pred_sum - tp
    fn = label_sum - tp
    denominator = 2 * (tp + alpha * fp + beta * fn) + smooth_dr
    empty = np.abs(denominator) < EMPTY  # nothing to find, nothing found
    safe = np.where(empty, 1, denominator)
    score = np.where(empty, 1, (2 * tp + smooth) / safe)

    def vjp(d_score: Array) -> Tuple[Array, Array, Array]:
        d_numerator = np.where(empty, 0, d_score / safe)
        d_denominator = -d_numerator * score
        return (2 * d_numerator + 2 * (1 - alpha - beta) * d_denominator,
                2 * alpha * d_denominator,
                2 * beta * d_denominator)

    return score, vjp


def class_loss(score: Array, form: str, gamma: float) -> Tuple[Array, Array]:
    """A class's loss L of its score S, and dL/dS.

    one_minus : (1 - S)^gamma, -gamma (1 - S)^(gamma - 1); for gamma other than 1 both are 0 at
        S >= 1, where a power below 1 has no finite derivative
    negative : -S, -1
    log : -log S, -1 / S; constant below S = 1e-7
    log_cosh : log cosh(1 - S), -tanh(1 - S)
    """
    if form == 'one_minus':
        miss = 1 - score
        if gamma == 1:
            return miss, np.full_like(score, -1)
        perfect = miss <= 0  # asked this way round, a NaN stays a NaN
        base = np.where(perfect, 1, miss)
        return (np.where(perfect, 0, base ** gamma),
                np.where(perfect, 0, -gamma * base ** (gamma - 1)))
    if form == 'negative':
        return -score, np.full_like(score, -1)
    if form == 'log':
        low = score <= LOG_GUARD
        guarded = np.where(low, LOG_GUARD, score)
        return -np.log(guarded), np.where(low, 0, -1 / guarded)
    miss = np.abs(1 - score)  # log cosh x = |x| + log((1 + exp(-2 |x|)) / 2), without overflow
    return miss + np.log1p(np.exp(-2 * miss)) - np.log(2), -np.tanh(1 - score)


def class_weights(label_sum: Array, plan: Plan) -> Tuple[Array, Array]:
    """The weights (R, K), constants to the gradient, and (R, 1) whether any in a row is finite."""
    kind = plan.options.class_weights
    if not plan.options.automatic_weights:
        fixed = np.broadcast_to(np.array(plan.fixed_weights), label_sum.shape)
        return fixed, np.ones((len(label_sum), 1), dtype=bool)
    with np.errstate(divide='ignore', over='ignore'):
        weights = 1 / label_sum if kind == 'inverse' else 1 / label_sum ** 2
    finite = weights < HEAVIEST
    largest = np.max(np.where(finite, weights, 0), axis=1, keepdims=True)
    return np.where(finite, weights, largest), finite.any(axis=1, keepdims=True)


def _classwise_loss(rows: Counts, plan: Plan) -> Tuple[Array, ScoreVJP]:
    """A loss per class, then their weighted reduction; (R,), or (R, K) for 'none'."""
    options = plan.options
    score, score_vjp = _score(rows, plan)
    loss, d_loss = class_loss(score, options.form, options.gamma)
    weights, live = class_weights(rows.label_sum, plan)
    present = rows.label_sum > 0
    kept = live & (present | (options.absent == 'count'))
    share = np.where(kept, 1 / _norm(weights, present, options), 0)
    if options.weight_normalization == 'score':
        terms = share * (1 - weights * score)
    else:
        terms = share * weights * loss
    each_class = options.class_reduction == 'none'

    def vjp(upstream: Array) -> Tuple[Array, Array, Array]:
        d_terms = upstream if each_class else upstream[:, None]
        return score_vjp(d_terms * share * weights * d_loss)

    return (terms if each_class else terms.sum(axis=1)), vjp


def _norm(weights: Array, present: Array, options: DiceOptions) -> Array:
    """What the sum over classes is divided by: (R, 1), never 0."""
    if options.class_reduction != 'mean':
        return np.ones((len(weights), 1))
    each = weights if options.weight_normalization == 'weights' else np.ones_like(weights)
    averaged = present | (options.absent != 'skip')
    norm = np.sum(each * averaged, axis=1, keepdims=True)
    return np.where(norm > 0, norm, 1)


def _pooled_loss(rows: Counts, plan: Plan) -> Tuple[Array, ScoreVJP]:
    """One score from the weighted counts of all classes; (R,)."""
    options = plan.options
    pooled, pool_vjp = _pool(rows, _pool_weights(rows.label_sum, plan))
    score, score_vjp = _score(pooled, plan)
    loss, d_loss = class_loss(score, options.form, options.gamma)
    _, live = class_weights(rows.label_sum, plan)
    if options.absent == 'skip':
        live = live & (rows.label_sum > 0).any(axis=1, keepdims=True)

    def vjp(upstream: Array) -> Tuple[Array, Array, Array]:
        return pool_vjp(*score_vjp(live * upstream[:, None] * d_loss))

    return (live * loss)[:, 0], vjp


def _pool_weights(label_sum: Array, plan: Plan) -> Array:
    weights, _ = class_weights(label_sum, plan)
    return weights * ((label_sum > 0) | (plan.options.absent != 'skip'))


def _pool(rows: Counts, weights: Array) -> Tuple[Counts, Callable[..., Tuple[Array, Array, Array]]]:
    """The sum over classes of w times each count, (R, 1); backward, w times each derivative."""
    pooled = Counts(*(np.sum(weights * each, axis=1, keepdims=True) for each in rows))

    def vjp(d_tp: Array, d_pred_sum: Array, d_label_sum: Array) -> Tuple[Array, Array, Array]:
        return weights * d_tp, weights * d_pred_sum, weights * d_label_sum

    return pooled, vjp


def _score(rows: Counts, plan: Plan) -> Tuple[Array, ScoreVJP]:
    classes = rows.intersection.shape[1]  # K, or 1 where pooled; smooth is then one number
    return tversky(rows.intersection, rows.pred_sum, rows.label_sum, plan.options,
                   np.array(plan.smooth[:classes]), np.array(plan.smooth_dr[:classes]))


def _rows(counts: Counts, plan: Plan) -> Counts:
    """The counted classes, (R, K), summed over the batch with batch_dice."""
    rows = (each[:, list(plan.counted)] for each in counts)
    if plan.options.batch_dice:
        return Counts(*(each.sum(axis=0, keepdims=True) for each in rows))
    return Counts(*rows)


def _repeats(counts: Counts, plan: Plan) -> int:
    return len(counts.intersection) if plan.options.batch_dice else 1


def _scatter(counted: Array, plan: Plan) -> Array:
    """(N, K) as (N, C), 0 for the classes that do not count."""
    full = np.zeros((len(counted), plan.num_classes))
    full[:, list(plan.counted)] = counted
    return full
