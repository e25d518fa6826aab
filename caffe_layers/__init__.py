"""Soft Dice losses as Caffe Python layers."""
from . import netspec
from .loss import DiceCELossLayer, SoftDiceLossLayer
from .metric import DiceScoreLayer

__all__ = ['DiceCELossLayer', 'DiceScoreLayer', 'SoftDiceLossLayer', 'netspec']
