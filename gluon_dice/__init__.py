"""Soft Dice losses for MXNet/Gluon."""
from . import parallel
from .compound import DiceCELoss
from .deep_supervision import DeepSupervision
from .loss import SoftDiceLoss
from .metric import DiceMetric

__all__ = ['DeepSupervision', 'DiceCELoss', 'DiceMetric', 'SoftDiceLoss', 'parallel']
