"""Soft Dice losses for MXNet/Gluon."""
from .loss import SoftDiceLoss

__all__ = ['SoftDiceLoss']
