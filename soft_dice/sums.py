"""What passes between the stages: the sums over the pixels, and the loss's slopes along them.

The arrays are NumPy's or another library's; nothing here looks inside.
"""
from typing import Any, NamedTuple


class Sums(NamedTuple):
    """Of stage 1, float64, with m the pixel weight, p the activated prediction, g the label, k the
    exponent.  The first three are the counts, each (N, C); of the cross-entropy, each (N,).

    intersection : sum m p g, or with overlap 'l1' sum m (p + g - |p - g|) / 2
    pred_sum : sum m p^k
    label_sum : sum m g^k
    entropy : E, the weighted losses of the pixels; :class:`soft_dice.DiceCEOptions` has the
        formula.  None without a cross-entropy.
    entropy_norm : what E is divided by; like label_sum, it depends on the label alone.
    """

    intersection: Any
    pred_sum: Any
    label_sum: Any
    entropy: Any = None
    entropy_norm: Any = None


class Slopes(NamedTuple):
    """Derivatives of a loss with respect to the sums of the same names, and of their shapes."""

    intersection: Any
    pred_sum: Any
    entropy: Any = None
