"""DiceCEOptions: a Dice loss and a cross-entropy, weighed against each other."""
import dataclasses
from typing import Any, ClassVar, Dict, Optional, Tuple

from . import values
from .options import FIELDS, DiceOptions, Options, option, options_of, refuse_unknown


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class DiceCEOptions(Options):
    """What a Dice loss with a cross-entropy (CE) computes.  Keywords only::

        loss = dice_weight * Dice + ce_weight * CE

    Dice takes the fields of :class:`DiceOptions`, which are fields here, too, and come to stand in
    the attribute ``dice``.  Of them the CE shares ``activation``, ``sparse_label``, ``axis``,
    and ``ignore_label``, and ``batch_dice`` where ``ce_batch`` is None; it is of all classes,
    whichever count for Dice.

    Per sample, with p the activated prediction, g the label, m the pixel weight, w the
    ``ce_class_weights``, C classes, and q = 1 - p::

        softmax   t = (1 - label_smoothing) g + label_smoothing / C
                  E = sum m w t q^ce_gamma (-log p)
                  W = sum m w g
        sigmoid   t = (1 - label_smoothing) g + label_smoothing / 2
                  E = sum m w (t q^ce_gamma (-log p) + (1 - t) p^ce_gamma (-log q))
                  W = sum m w

    over its pixels and classes.  CE is E / W, or 0 where W is 0 (nothing to learn from).  Without
    pixels to ignore and class weights that is the mean over the pixels, and for a sigmoid also over
    the classes.

    Parameters
    ----------
    dice_weight, ce_weight : float >= 0, default 1; not both 0.
    ce_class_weights : one float >= 0 per class of the prediction, or None (default), all 1.
    label_smoothing : float in [0, 1), default 0.  How much of the label is spread evenly.
    ce_gamma : float >= 0, default 0.  Focal exponent: 2 is that of Lin et al.
    ce_normalization : 'valid' (default) as above; 'pixels' divides E by the number of pixels,
        ignored or not, and for a sigmoid of elements.
    ce_batch : True: E and W are those of the batch, as torch's ``reduction='mean'`` and nnU-Net
        have it; False: of each sample; None (default): as ``batch_dice`` says.
    **fields : as of DiceOptions.  ``activation`` must not be 'none', as the CE needs logits, and
        ``class_reduction`` not 'none', as the CE is one number per sample.

    Raises
    ------
    TypeError : unknown option, or a positional argument.
    ValueError : a value outside its range, or options that contradict each other.

    Examples
    --------
    >>> options = DiceCEOptions(ce_weight=0.5, include_background=False)
    >>> options.dice
    DiceOptions(include_background=False)
    """

    dice: DiceOptions = DiceOptions()
    dice_weight: float = option(1.0, values.non_negative)
    ce_weight: float = option(1.0, values.non_negative)
    ce_class_weights: Optional[Tuple[float, ...]] = option(None, values.optional_weights)
    label_smoothing: float = option(0.0, values.fraction(example=0.1))
    ce_gamma: float = option(0.0, values.non_negative)
    ce_normalization: str = option('valid', values.one_of('valid', 'pixels'))
    ce_batch: Optional[bool] = option(None, values.optional_flag)

    INSTEAD: ClassVar[str] = 'options.dice are those of its Dice term alone'

    def __init__(self, **fields: Any) -> None:
        refuse_unknown(fields, KNOWN)
        dice = {name: value for name, value in fields.items() if name in FIELDS}
        object.__setattr__(self, 'dice', DiceOptions(**dice))
        self._set(fields)
        _refuse_contradictions(self)

    def to_dict(self) -> Dict[str, Any]:
        """Every option by name, those of ``dice`` among them."""
        return {**self.dice.to_dict(), **super().to_dict()}


KNOWN = (*FIELDS, *(field.name for field in options_of(DiceCEOptions)))


def _refuse_contradictions(options: DiceCEOptions) -> None:
    if options.dice_weight == 0 and options.ce_weight == 0:
        raise ValueError('dice_weight and ce_weight must not both be 0: nothing would count; '
                         'the default is 1 and 1')
    if options.dice.activation == 'none':
        raise ValueError("activation='none' leaves the cross-entropy without logits; use "
                         "'softmax' or 'sigmoid', and a prediction before its activation")
    if options.dice.class_reduction == 'none':
        raise ValueError("class_reduction='none' gives a Dice loss per class, and the "
                         "cross-entropy is one number per sample; use 'mean' or 'sum'")
