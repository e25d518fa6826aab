"""Soft Dice losses for MXNet/Gluon."""
from .loss import SoftDiceLoss
from .metric import DiceMetric

__all__ = ['DiceMetric', 'SoftDiceLoss']
