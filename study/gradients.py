"""Why a Dice loses a rare class: the gradient's size at one of its pixels against the probability.

An image of two classes, of which the rare one has n of P pixels, and a network that cannot tell
them apart yet: it gives the rare class the probability p everywhere.  soft_dice computes the
gradient; the formulas say the same by hand, and tests/test_study.py holds one to the other.  With

    t = n + P p     and     S = 2 n p / t,

dS/dp_i of a rare pixel i is 2 (t - n p) / t^2, and the softmax multiplies it by p (1 - p).
"""
from typing import Any, Callable, Dict, NamedTuple

import numpy as np

from soft_dice import DiceCEOptions, DiceOptions, dice_ce_loss_vjp, soft_dice_loss_vjp
from soft_dice.options import Options

SIDE, RARE = 64, 24  # an image of 64 x 64 of which 0.6 % are rare
PIXELS = SIDE * SIDE


class Form(NamedTuple):
    """options : of the loss.  formula : its gradient's size, by hand.  small : for small p."""

    title: str
    options: Options
    formula: Callable[[np.ndarray], np.ndarray]
    small: str


def _one_minus(p: np.ndarray) -> np.ndarray:
    t = RARE + PIXELS * p
    return p * (1 - p) * 2 * (t - RARE * p) / t ** 2


def _log(p: np.ndarray) -> np.ndarray:
    """That of 1 - S, divided by S."""
    t = RARE + PIXELS * p
    return (1 - p) * (t - RARE * p) / (RARE * t)


def _squared(p: np.ndarray) -> np.ndarray:
    t = RARE + PIXELS * p ** 2
    return p * (1 - p) * 2 * (t - 2 * RARE * p ** 2) / t ** 2


def _generalised(p: np.ndarray) -> np.ndarray:
    """Both classes in one fraction, with the weights v of the rare class and w of the other."""
    many = PIXELS - RARE
    v, w = 1 / RARE ** 2, 1 / many ** 2
    above = 2 * (v * RARE * p + w * many * (1 - p))
    below = v * (RARE + PIXELS * p) + w * (many + PIXELS * (1 - p))
    return p * (1 - p) * (2 * v * below - above * (v - w)) / below ** 2


def _cross_entropy(p: np.ndarray) -> np.ndarray:
    return (1 - p) / PIXELS


def _dice(**fields: object) -> DiceOptions:
    """Of the rare class alone, so that nothing but its own term is seen."""
    return DiceOptions(include_background=False, smooth=0, **fields)


FORMS: Dict[str, Form] = {
    'log': Form('log Dice, -log S', _dice(form='log'), _log, '1 / n'),
    'dice_ce': Form('Dice + cross-entropy', DiceCEOptions(include_background=False, smooth=0),
                    lambda p: _one_minus(p) + _cross_entropy(p), '2 p / n + 1 / P'),
    'ce': Form('cross-entropy', DiceCEOptions(dice_weight=0), _cross_entropy, '1 / P'),
    'squared': Form('squared (V-Net)', _dice(exponent=2), _squared, '2 p / n'),
    'dice': Form('Dice, 1 - S', _dice(), _one_minus, '2 p / n'),
    'generalised': Form('generalised Dice', DiceOptions(
        pool_classes=True, class_weights='inverse_square', smooth=0), _generalised, '2 p / n'),
}


def size(form: Form, probability: float) -> float:
    """The gradient's size at the score of the rare class in one of its pixels."""
    label = np.zeros((1, SIDE, SIDE), int)
    label.flat[:RARE] = 1
    score = np.zeros((1, 2, SIDE, SIDE))
    score[:, 1] = np.log(probability / (1 - probability))
    vjp_of: Any = (dice_ce_loss_vjp if isinstance(form.options, DiceCEOptions) else
                   soft_dice_loss_vjp)
    _, vjp = vjp_of(score, label, form.options)
    return float(abs(vjp(1.0)[0, 1, 0, 0]))
