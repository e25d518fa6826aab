"""What every contestant must compute, by the project's NumPy reference in float64."""
import os
from typing import Any, Callable, Dict, Tuple
from unittest import mock

import numpy as np

from soft_dice import preset, soft_dice_loss_vjp
from soft_dice.gradcheck import relative_error

from .contestants import Contestant

LOSS, GRADIENT = 1e-6, 1e-5  # relative errors in float32, as in tests/tolerances.py
FULL_SIZE = 1e-3  # between two contestants, whose float32 sums over millions of pixels differ

Evaluated = Tuple[Any, np.ndarray]  # the loss a number


class Mismatch(Exception):
    """A contestant computes something else than it is said to."""


def dice(name: str) -> Callable[[np.ndarray, np.ndarray], Evaluated]:
    def evaluate(pred: np.ndarray, label: np.ndarray) -> Evaluated:
        with mock.patch.dict(os.environ, SOFT_DICE_NATIVE='0'):
            loss, vjp = soft_dice_loss_vjp(pred, label, preset(name))
            return loss.mean(), vjp(1 / len(loss))
    return evaluate


def cross_entropy(pred: np.ndarray, label: np.ndarray) -> Evaluated:
    """-log p of the label's class, averaged over samples and pixels."""
    e = np.exp(pred - pred.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    g = np.moveaxis(np.eye(pred.shape[1])[label.astype(int)], -1, 1)
    return -np.sum(g * np.log(p)) / label.size, (p - g) / label.size


EXPECTED: Dict[str, Callable[[np.ndarray, np.ndarray], Evaluated]] = {
    'monai': dice('monai'), 'nnunet': dice('nnunet'), 'cross entropy': cross_entropy,
    'copy': lambda pred, label: (0.0, pred)}


def check(contestant: Contestant, answer: Dict[str, Any], pred: np.ndarray,
          label: np.ndarray) -> None:
    """Refuse a contestant whose loss or gradient on a small batch is wrong.

    Raises
    ------
    Mismatch
    """
    loss, gradient = EXPECTED[contestant.computes](pred.astype('float64'), label)
    errors = {'loss': (relative_error(answer['loss'], loss), LOSS),
              'gradient': (relative_error(np.reshape(answer['gradient'], pred.shape), gradient),
                           GRADIENT)}
    for what, (error, allowed) in errors.items():
        if not error <= allowed:
            raise Mismatch(f'{contestant.title} does not compute {contestant.computes}: its {what} '
                           f'is {error:.2g} away from the reference, and {allowed:g} is allowed')


def compare(contestant: Contestant, answer: Dict[str, Any], other: Dict[str, Any]) -> None:
    """The same at full size, where the reference would take long: against another contestant.

    Raises
    ------
    Mismatch
    """
    for what in ('loss', 'norm'):
        error = relative_error(answer[what], other[what])
        if not error <= FULL_SIZE:
            raise Mismatch(f'at full size {contestant.title} is {error:.2g} away from others that '
                           f'compute {contestant.computes} ({what})')
