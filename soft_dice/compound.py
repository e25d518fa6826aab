"""The Dice loss with a cross-entropy."""
from typing import Callable, Optional, Tuple, Union

import numpy as np

from .ce_options import DiceCEOptions
from .loss import evaluate
from .options import require


def dice_ce_loss(pred: np.ndarray, label: np.ndarray,
                 options: Union[str, DiceCEOptions] = DiceCEOptions(),
                 pixel_weight: Optional[np.ndarray] = None) -> np.ndarray:
    """Dice loss plus cross-entropy of each sample, by default

        mean over classes of 1 - (2 sum p g + smooth) / (sum p + sum g + smooth)
        + mean over pixels of -log p of the pixel's class

    with p the softmax of pred and g the one-hot label.  :class:`DiceCEOptions` has the general
    formula: weights of the two and of classes, label smoothing, focal exponent, sigmoid.

    Parameters
    ----------
    pred : (N, C, ...) float16, which is computed in float32, float32 or float64 logits, any number
        of further axes.
    label : (N, ...) or (N, 1, ...) class indices of any numeric dtype; with
        ``sparse_label=False`` the shape of pred, values in [0, 1].
    options : DiceCEOptions, or the name of a preset, such as 'nnunet'.
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
    return evaluate(pred, label, require(options, DiceCEOptions), pixel_weight).loss


def dice_ce_loss_vjp(pred: np.ndarray, label: np.ndarray,
                     options: Union[str, DiceCEOptions] = DiceCEOptions(),
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
    result = evaluate(pred, label, require(options, DiceCEOptions), pixel_weight)
    return result.loss, result.vjp
