"""DiceCELoss for Gluon: translates arrays and options; the loss is that of soft_dice."""
from typing import Any, List, Optional, Tuple

from soft_dice.ce_options import DiceCEOptions

from . import native
from .base import StagedLoss
from .counts import Counts, Pixels
from .entropy import EntropySums, count_both, cross_entropy, norm_of
from .score import loss_from_counts


class DiceCELoss(StagedLoss):
    """Dice loss plus cross-entropy of each sample, by default

        mean over classes of 1 - (2 sum p g + smooth) / (sum p + sum g + smooth)
        + mean over pixels of -log p of the pixel's class

    with p the softmax of pred and g the one-hot label.  :class:`soft_dice.DiceCEOptions` has the
    general formula: weights of the two and of classes, label smoothing, focal exponent, sigmoid.

    Works wherever :class:`SoftDiceLoss` does, with the same inputs, outputs (N,), dtypes and
    errors, over the same kernels or MXNet's own operators: what is said there about the two holds
    here.

    Parameters
    ----------
    options : soft_dice.DiceCEOptions, optional.
    weight : float, optional.  Multiplies the loss, as in every Gluon loss; for weights of the two
        terms see ``dice_weight`` and ``ce_weight``, of classes ``class_weights`` (of the Dice) and
        ``ce_class_weights``.
    batch_axis : int, default 0.
    num_classes : int, optional; as of :class:`SoftDiceLoss`.
    **fields : options by name, in place of or on top of ``options``.

    Examples
    --------
    >>> import mxnet as mx
    >>> loss = DiceCELoss(include_background=False, label_smoothing=0.1)
    >>> loss.hybridize(static_alloc=True, static_shape=True)
    >>> loss(mx.nd.zeros((2, 3, 4, 4)), mx.nd.zeros((2, 4, 4))).shape
    (2,)
    """

    KIND = DiceCEOptions
    OTHERS = len(EntropySums._fields)
    options: DiceCEOptions

    def _native_wanted(self, pred: Any) -> bool:
        return native.wanted(pred)

    def _native_sums(self, F: Any, pred: Any, label: Any, pixel_weight: Optional[Any],
                     options: DiceCEOptions, batch_axis: int
                     ) -> Tuple[Tuple[Counts, EntropySums], Any]:
        counts, loss, weight = native.count_both(F, pred, label, pixel_weight, options, batch_axis,
                                                 self._trace.arrays)
        norm = F.BlockGrad(norm_of(F, pred, counts, weight, options))
        return (counts, EntropySums(loss, norm)), F.ones_like(loss)

    def _sums(self, F: Any, pixels: Pixels) -> Tuple[Counts, EntropySums]:
        return count_both(F, pixels, self.options, self._trace.blocks, self._trace.num_classes)

    def _loss(self, F: Any, sums: Tuple[Counts, EntropySums], valid: Any) -> Any:
        counts, entropy_sums = sums
        dice = loss_from_counts(F, counts, valid, self.options.dice, self._num_classes)
        entropy = cross_entropy(F, entropy_sums, self.options)
        return F.broadcast_add(self.options.dice_weight * dice, self.options.ce_weight * entropy)

    def _flat(self, sums: Tuple[Counts, EntropySums]) -> List[Any]:
        counts, entropy_sums = sums
        return [*counts, *entropy_sums]

    def _unflat(self, arrays: List[Any]) -> Tuple[Counts, EntropySums]:
        of_dice = len(Counts._fields)
        return Counts(*arrays[:of_dice]), EntropySums(*arrays[of_dice:])
