"""Soft Dice losses as Caffe Python layers."""
from . import netspec
from .loss import SoftDiceLossLayer
from .metric import DiceScoreLayer

__all__ = ['DiceScoreLayer', 'SoftDiceLossLayer', 'netspec']
