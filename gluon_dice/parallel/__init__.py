"""The losses over several devices of one process, and over the workers of a dist_sync KVStore.

A Dice over the batch is not the mean of its shares' Dice.  Each device or worker does stage 1 of
its share; the sums over pixels, a few numbers per sample and class, are brought together; stage 2
is that of the whole batch.
"""
from .devices import DataParallelLoss
from .distributed import DistributedLoss
from .shares import zero_gradients
from .trainer import share_weights
from .workers import connect

__all__ = ['DataParallelLoss', 'DistributedLoss', 'connect', 'share_weights', 'zero_gradients']
