"""Soft Dice losses for MXNet/Gluon."""
from soft_dice.version import __version__

from . import framework

if framework.present():
    from . import parallel
    from .aux_loss import AuxLoss
    from .compound import DiceCELoss
    from .deep_supervision import DeepSupervision
    from .loss import SoftDiceLoss
    from .metric import DiceMetric

__all__ = ['AuxLoss', 'DeepSupervision', 'DiceCELoss', 'DiceMetric', 'SoftDiceLoss',
           '__version__', 'framework', 'parallel']
