"""The Dice loss with a cross-entropy: the three stages of both, one after the other."""
from typing import Callable, Optional, Tuple

import numpy as np

from .ce_options import DiceCEOptions
from .entropy import EntropySums, EntropyVJP
from .loss import DiceResult, checked_vjp
from .options import require
from .resize import at_label_size
from .score import EMPTY, loss_from_counts, score_from_counts
from .stages import count_both


def dice_ce_loss(pred: np.ndarray, label: np.ndarray, options: DiceCEOptions = DiceCEOptions(),
                 pixel_weight: Optional[np.ndarray] = None) -> np.ndarray:
    """Dice loss plus cross-entropy of each sample, by default

        mean over classes of 1 - (2 sum p g + smooth) / (sum p + sum g + smooth)
        + mean over pixels of -log p of the pixel's class

    with p the softmax of pred and g the one-hot label.  :class:`DiceCEOptions` has the general
    formula: weights of the two and of classes, label smoothing, focal exponent, sigmoid.

    Parameters
    ----------
    pred : (N, C, ...) float32 or float64 logits, any number of further axes.
    label : (N, ...) or (N, 1, ...) class indices of any numeric dtype; with
        ``sparse_label=False`` the shape of pred, values in [0, 1].
    options : DiceCEOptions.
    pixel_weight : (N, ...) or (N, 1, ...), finite and not negative; None is 1 everywhere.  The
        cross-entropy is divided by the weights' sum: 0 is an ignored pixel.

    Returns
    -------
    (N,) float64.

    Raises
    ------
    ValueError : as :func:`soft_dice.soft_dice_loss`.
    TypeError : options of another kind.

    Examples
    --------
    >>> logits = np.zeros((1, 2, 2))  # p is 1/2 everywhere
    >>> dice_ce_loss(logits, np.array([[0, 1]])).round(6)  # 1/2 + log 2
    array([1.193145])

    References
    ----------
    Isensee et al.: nnU-Net, Nature Methods 2021; Lin et al.: Focal Loss, ICCV 2017.
    """
    return evaluate(pred, label, options, pixel_weight).loss


def dice_ce_loss_vjp(pred: np.ndarray, label: np.ndarray, options: DiceCEOptions = DiceCEOptions(),
                     pixel_weight: Optional[np.ndarray] = None
                     ) -> Tuple[np.ndarray, Callable[..., np.ndarray]]:
    """The loss of :func:`dice_ce_loss`, and the function that takes it back to pred.

    Returns
    -------
    loss : as :func:`dice_ce_loss`.
    vjp : (upstream, out=None) -> gradient of sum(upstream * loss), as of
        :func:`soft_dice.soft_dice_loss_vjp`.

    Examples
    --------
    >>> loss, vjp = dice_ce_loss_vjp(np.zeros((1, 2, 4)), np.array([[0, 0, 0, 1]]))
    >>> vjp(1 / len(loss)).shape
    (1, 2, 4)
    """
    result = evaluate(pred, label, options, pixel_weight)
    return result.loss, result.vjp


@at_label_size
def evaluate(pred: np.ndarray, label: np.ndarray, options: DiceCEOptions,
             pixel_weight: Optional[np.ndarray]) -> DiceResult:
    """Stages 1 and 2 now, and stage 3 as the closure ``vjp``; the score is that of the Dice."""
    require(options, DiceCEOptions)
    counts, sums, pixels_vjp = count_both(pred, label, options, pixel_weight)
    shape = np.shape(pred)
    plan = options.resolve(shape[options.dice.axis])
    dice, counts_vjp = loss_from_counts(counts, plan)
    entropy, sums_vjp = cross_entropy(sums, elements_of(shape, options), options)

    def vjp(upstream: np.ndarray, out: Optional[np.ndarray]) -> np.ndarray:
        d_counts = counts_vjp(options.dice_weight * upstream)
        d_entropy = sums_vjp(options.ce_weight * upstream)
        return pixels_vjp(d_counts.intersection, d_counts.pred_sum, d_entropy, out)

    loss = options.dice_weight * dice + options.ce_weight * entropy
    return DiceResult(loss, score_from_counts(counts, plan), checked_vjp(vjp, loss.shape, shape))


def cross_entropy(sums: EntropySums, elements: int, options: DiceCEOptions
                  ) -> Tuple[np.ndarray, EntropyVJP]:
    """Stage 2's cross-entropy (N,), E / W or E / elements, and its vjp: upstream (N,) -> dE (N,).

    elements : how many a sample has.
    """
    rows = [sums.loss, np.full_like(sums.loss, elements) if options.ce_normalization == 'pixels'
            else sums.weight]
    if options.dice.batch_dice:
        rows = [np.full_like(each, each.sum()) for each in rows]
    loss, norm = rows
    void = norm < EMPTY  # nothing to learn from
    share = np.where(void, 0, 1 / np.where(void, 1, norm))

    def vjp(upstream: np.ndarray) -> np.ndarray:
        if options.dice.batch_dice:  # one number is every sample's
            upstream = np.full_like(upstream, upstream.sum())
        return share * upstream

    return np.where(void, 0, share * loss), vjp


def elements_of(shape: Tuple[int, ...], options: DiceCEOptions) -> int:
    """How many terms the cross-entropy of a sample has: pixels, or for a sigmoid elements."""
    elements = int(np.prod(shape[1:]))
    softmax = options.dice.activation == 'softmax'
    return elements // shape[options.dice.axis] if softmax else elements
