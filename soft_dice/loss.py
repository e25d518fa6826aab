"""The soft Dice loss: the three stages, one after the other."""
from typing import Callable, NamedTuple, Optional, Tuple, Union

import numpy as np

from . import ops
from .inputs import check_batch, check_out
from .options import DiceOptions, Options, require
from .plan import Plan, resolve
from .resize import at_label_size
from .score import Evaluation, stage_two
from .stages import count
from .sums import Slopes, Sums

Upstream = Union[float, np.ndarray]


class DiceResult(NamedTuple):
    """All of one evaluation: loss and score as the functions below return them, and the vjp."""

    loss: np.ndarray
    score: np.ndarray
    vjp: Callable[..., np.ndarray]


def soft_dice_loss(pred: np.ndarray, label: np.ndarray,
                   options: Union[str, DiceOptions] = DiceOptions(),
                   pixel_weight: Optional[np.ndarray] = None) -> np.ndarray:
    """Soft Dice loss of each sample; by default the mean over classes c of

        1 - (2 sum p g + smooth) / (sum p + sum g + smooth)

    with p the softmax of pred, g the one-hot label and sums over the sample's pixels.
    :class:`DiceOptions` has the general formula and every variant.

    Parameters
    ----------
    pred : (N, C, ...) float16, which is computed in float32, float32 or float64, any number of
        further axes; logits, or what ``options.activation`` applies to.
    label : (N, ...) or (N, 1, ...) class indices of any numeric dtype; with
        ``sparse_label=False`` the shape of pred, values in [0, 1], which may be soft.  With
        ``resize`` its sizes, those of the axes after the classes, may be others than pred's.
    options : DiceOptions, or the name of a preset, such as 'nnunet'.
    pixel_weight : (N, ...) or (N, 1, ...), finite and not negative; None is 1 everywhere.

    Returns
    -------
    (N,) float64; (N, K counted classes) with ``class_reduction='none'``.

    Raises
    ------
    ValueError : shapes that do not match (they never broadcast), a label outside its range,
        fractional or NaN, a negative pixel weight, an empty batch, or options that do not fit the
        number of classes.  A NaN in pred is no error and gives a NaN loss.

    Examples
    --------
    >>> logits = np.array([[[9.0, -9.0], [-9.0, 9.0]]])  # (1 sample, 2 classes, 2 pixels)
    >>> soft_dice_loss(logits, np.array([[0, 1]])).round(6)
    array([0.])

    References
    ----------
    Milletari, Navab, Ahmadi: V-Net, 3DV 2016; Drozdzal et al.: The Importance of Skip Connections
    in Biomedical Image Segmentation, 2016.
    """
    return evaluate(pred, label, require(options, DiceOptions), pixel_weight).loss


def soft_dice_loss_vjp(pred: np.ndarray, label: np.ndarray,
                       options: Union[str, DiceOptions] = DiceOptions(),
                       pixel_weight: Optional[np.ndarray] = None
                       ) -> Tuple[np.ndarray, Callable[..., np.ndarray]]:
    """The loss of :func:`soft_dice_loss`, and the function that takes it back to pred.

    A label receives no gradient, soft or not.

    Returns
    -------
    loss : as :func:`soft_dice_loss`.
    vjp : (upstream, out=None) -> gradient of sum(upstream * loss), shape and dtype of pred (of
        float16 in float32, as float16 has nothing below 6e-8), written into ``out`` where that is
        given.  ``upstream`` is d(objective)/d(loss): a number for every
        entry of the loss alike, or an array of loss's shape.  vjp raises ValueError for any other
        shape.  It may read pred, label and pixel_weight again: change none of them before.

    Examples
    --------
    >>> loss, vjp = soft_dice_loss_vjp(np.zeros((1, 2, 4)), np.array([[0, 0, 0, 1]]))
    >>> gradient = vjp(1 / len(loss))  # of the mean over the batch
    >>> gradient.shape
    (1, 2, 4)
    """
    result = evaluate(pred, label, require(options, DiceOptions), pixel_weight)
    return result.loss, result.vjp


def soft_dice_score(pred: np.ndarray, label: np.ndarray,
                    options: Union[str, DiceOptions] = DiceOptions(),
                    pixel_weight: Optional[np.ndarray] = None) -> np.ndarray:
    """The score S of each sample and class, before any weight, form or mean.

    Arguments and errors as :func:`soft_dice_loss`.

    Returns
    -------
    (N, K counted classes) float64, K = C by default; (N, 1) with ``pool_classes``.
    """
    return evaluate(pred, label, require(options, DiceOptions), pixel_weight).score


@at_label_size
def evaluate(pred: np.ndarray, label: np.ndarray, options: Options,
             pixel_weight: Optional[np.ndarray]) -> DiceResult:
    """Stages 1 and 2 now, and stage 3 as the closure ``vjp``, for options of either kind."""
    batch = check_batch(pred, label, options.dice, pixel_weight)
    plan = resolve(options, batch.pred.shape[options.dice.axis])
    sums, sums_vjp = count(batch, plan)
    found = score_sums(sums, plan)

    def vjp(upstream: np.ndarray, out: Optional[np.ndarray]) -> np.ndarray:
        return sums_vjp(times(upstream, found.slopes, plan), out)

    return DiceResult(found.loss, found.score, checked_vjp(vjp, found.loss.shape, batch.pred.shape))


def score_sums(sums: Sums, plan: Plan) -> Evaluation:
    """Stage 2 of the sums of all classes; a pooled score is (N, 1), and slopes are (N, K)."""
    tp, pred_sum, label_sum = (each[:, list(plan.counted)] for each in sums[:3])
    found = stage_two(ops, Sums(tp, pred_sum, label_sum, sums.entropy, sums.entropy_norm), plan)
    return found._replace(score=found.score.reshape(len(found.loss), -1))


def times(upstream: np.ndarray, slopes: Slopes, plan: Plan) -> Slopes:
    """The derivatives of sum(upstream * loss) with respect to the sums of all classes.

    upstream : of the loss's shape, (N,) or (N, K).
    """
    def of_rows(over_batch: bool) -> np.ndarray:
        """Where sums are added up over the batch, every sample's loss depends on all samples'."""
        return np.broadcast_to(upstream.sum(axis=0), upstream.shape) if over_batch else upstream

    of_counts = of_rows(plan.dice.batch_dice)

    def of_all(slope: np.ndarray) -> np.ndarray:
        derivative = np.zeros((len(slope), plan.num_classes))  # 0 for a class that does not count
        derivative[:, list(plan.counted)] = of_counts.reshape(len(slope), -1) * slope
        return derivative

    return Slopes(of_all(slopes.intersection), of_all(slopes.pred_sum),
                  None if slopes.entropy is None else of_rows(plan.ce_batch) * slopes.entropy)


def checked_vjp(vjp: Callable[[np.ndarray, Optional[np.ndarray]], np.ndarray],
                loss_shape: Tuple[int, ...], pred_shape: Tuple[int, ...]
                ) -> Callable[..., np.ndarray]:
    """The vjp for callers: upstream may be a number, and shapes that do not fit are refused."""
    def checked(upstream: Upstream, out: Optional[np.ndarray] = None) -> np.ndarray:
        each = _upstream(upstream, loss_shape)
        check_out(out, pred_shape)
        return vjp(each, out)

    return checked


def _upstream(upstream: Upstream, shape: Tuple[int, ...]) -> np.ndarray:
    given = np.asarray(upstream)
    is_number = given.dtype.kind in 'iuf'
    if not is_number or given.shape not in ((), shape):
        what = repr(given.tolist()) if given.ndim == 0 and not is_number else \
            f'shape {given.shape} of {given.dtype}'
        raise ValueError('upstream must be a number, for example 1.0, or have the shape of the '
                         f'loss, {shape}; got {what}')
    return np.broadcast_to(given.astype(np.float64), shape)
