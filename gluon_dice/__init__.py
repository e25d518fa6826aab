"""Soft Dice losses for MXNet/Gluon."""
from .compound import DiceCELoss
from .loss import SoftDiceLoss
from .metric import DiceMetric

__all__ = ['DiceCELoss', 'DiceMetric', 'SoftDiceLoss']
