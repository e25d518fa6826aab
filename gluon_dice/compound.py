"""DiceCELoss for Gluon: translates arrays and options; the loss is that of soft_dice."""
from soft_dice.ce_options import DiceCEOptions

from .base import StagedLoss


class DiceCELoss(StagedLoss):
    """Dice loss plus cross-entropy of each sample, by default

        mean over classes of 1 - (2 sum p g + smooth) / (sum p + sum g + smooth)
        + mean over pixels of -log p of the pixel's class

    with p the softmax of pred and g the one-hot label.  :class:`soft_dice.DiceCEOptions` has the
    general formula: weights of the two and of classes, label smoothing, focal exponent, sigmoid.

    Works wherever :class:`SoftDiceLoss` does, with the same inputs, outputs (N,), dtypes and
    errors, and is computed in the same ways: what is said there about these holds here.

    Parameters
    ----------
    options : soft_dice.DiceCEOptions, or the name of a preset, optional.
    weight : float, optional.  Multiplies the loss, as in every Gluon loss; for weights of the two
        terms see ``dice_weight`` and ``ce_weight``, of classes ``class_weights`` (of the Dice) and
        ``ce_class_weights``.
    batch_axis : int, default 0.
    num_classes : int, optional; as of :class:`SoftDiceLoss`.
    **fields : options by name, in place of or on top of ``options``, among them perhaps
        ``preset='nnunet'``.

    Examples
    --------
    >>> import mxnet as mx
    >>> loss = DiceCELoss(include_background=False, label_smoothing=0.1)
    >>> loss.hybridize()
    >>> loss(mx.nd.zeros((2, 3, 4, 4)), mx.nd.zeros((2, 4, 4))).shape
    (2,)
    """

    KIND = DiceCEOptions
    options: DiceCEOptions
