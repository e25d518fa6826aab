"""Soft Dice losses as Caffe Python layers."""
from soft_dice.version import __version__

from . import framework

if framework.present():
    from . import netspec
    from .loss import DiceCELossLayer, SoftDiceLossLayer
    from .metric import DiceScoreLayer

__all__ = ['DiceCELossLayer', 'DiceScoreLayer', 'SoftDiceLossLayer', '__version__', 'framework',
           'netspec']
