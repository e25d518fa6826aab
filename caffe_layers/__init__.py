"""Soft Dice losses as Caffe Python layers."""
from .loss import DiceCELossLayer, SoftDiceLossLayer

__all__ = ['DiceCELossLayer', 'SoftDiceLossLayer']
