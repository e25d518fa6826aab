"""Soft Dice losses for MXNet/Gluon."""
from .compound import DiceCELoss
from .loss import SoftDiceLoss

__all__ = ['DiceCELoss', 'SoftDiceLoss']
