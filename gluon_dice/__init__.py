"""Soft Dice losses for MXNet/Gluon."""
from .deep_supervision import DeepSupervision
from .loss import SoftDiceLoss

__all__ = ['DeepSupervision', 'SoftDiceLoss']
