"""Soft multiclass Dice: the reference in NumPy that the Gluon and Caffe plugins share."""
from .loss import soft_dice_loss, soft_dice_loss_vjp, soft_dice_score
from .metrics import HardCounts, hard_counts, hard_dice
from .options import DiceOptions
from .presets import preset, presets

__all__ = ['DiceOptions', 'HardCounts', 'hard_counts', 'hard_dice', 'preset', 'presets',
           'soft_dice_loss', 'soft_dice_loss_vjp', 'soft_dice_score']
