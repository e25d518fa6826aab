"""Soft multiclass Dice: the reference in NumPy that the Gluon and Caffe plugins share."""
from .ce_options import DiceCEOptions
from .compound import dice_ce_loss, dice_ce_loss_vjp
from .frequencies import ClassFrequencies, class_frequencies, class_weights
from .loss import soft_dice_loss, soft_dice_loss_vjp, soft_dice_score
from .metrics import HardCounts, hard_counts, hard_dice
from .options import DiceOptions
from .presets import compound_presets, preset, presets
from .version import __version__

__all__ = ['ClassFrequencies', 'DiceCEOptions', 'DiceOptions', 'HardCounts', '__version__',
           'class_frequencies', 'class_weights', 'compound_presets', 'dice_ce_loss',
           'dice_ce_loss_vjp', 'hard_counts', 'hard_dice', 'preset', 'presets', 'soft_dice_loss',
           'soft_dice_loss_vjp', 'soft_dice_score']
