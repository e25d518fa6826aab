"""Soft multiclass Dice: the reference in NumPy that the Gluon and Caffe plugins share."""
from .ce_options import DiceCEOptions
from .compound import dice_ce_loss, dice_ce_loss_vjp
from .loss import soft_dice_loss, soft_dice_loss_vjp, soft_dice_score
from .metrics import hard_dice
from .options import DiceOptions
from .presets import preset, presets

__all__ = ['DiceCEOptions', 'DiceOptions', 'dice_ce_loss', 'dice_ce_loss_vjp', 'hard_dice',
           'preset', 'presets', 'soft_dice_loss', 'soft_dice_loss_vjp', 'soft_dice_score']
