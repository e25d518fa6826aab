"""The losses, and what the reference computes of a case."""
import os
from typing import Any, Callable, NamedTuple, Optional, Tuple
from unittest import mock

import numpy as np
from cases import Arrays

from soft_dice import DiceCEOptions, DiceOptions, dice_ce_loss_vjp, soft_dice_loss_vjp
from soft_dice.inputs import check_batch
from soft_dice.options import Options
from soft_dice.plan import resolve
from soft_dice.stages import count

Evaluated = Tuple[np.ndarray, np.ndarray]
Backend = Callable[..., Evaluated]


class Family(NamedTuple):
    """A loss in each of its forms.

    name : of Gluon's; Caffe's has Layer behind it.
    """

    function: Callable[..., Any]
    name: str

    @property
    def block(self) -> Callable[..., Any]:
        import gluon_dice  # here, as the version matrix runs the reference where there is no MXNet
        return getattr(gluon_dice, self.name)

    @property
    def layer(self) -> str:
        return self.name + 'Layer'


FAMILIES = {DiceOptions: Family(soft_dice_loss_vjp, 'SoftDiceLoss'),
            DiceCEOptions: Family(dice_ce_loss_vjp, 'DiceCELoss')}


def family(options: Options) -> Family:
    return FAMILIES[type(options)]


def reference(arrays: Arrays, options: Options, out: Optional[np.ndarray] = None) -> Evaluated:
    loss, vjp = family(options).function(arrays.pred, arrays.label, options, arrays.pixel_weight)
    return loss, vjp(arrays.upstream, out=out)


def over_batch(options: Options) -> bool:
    """Whether a sample's loss depends on others, too."""
    plan = resolve(options)
    return plan.dice.batch_dice or plan.ce_batch


def sums_of(pred: np.ndarray, label: np.ndarray, options: Options,
            pixel_weight: Optional[np.ndarray] = None) -> Any:
    """Stage 1 alone: the sums and their vjp."""
    batch = check_batch(pred, label, options.dice, pixel_weight)
    return count(batch, resolve(options, pred.shape[options.dice.axis]))


def with_native(setting: str, backend: Backend) -> Backend:
    """The backend under SOFT_DICE_NATIVE=setting: '1' is the kernels or an error, '0' never."""
    def evaluate(arrays: Arrays, options: Options, *out: np.ndarray) -> Evaluated:
        with mock.patch.dict(os.environ, SOFT_DICE_NATIVE=setting):
            return backend(arrays, options, *out)
    return evaluate
