"""Soft Dice losses as Caffe Python layers."""
from .loss import SoftDiceLossLayer

__all__ = ['SoftDiceLossLayer']
