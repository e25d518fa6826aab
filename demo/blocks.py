"""Blocks of the MNI152 brain template: the same tissues as demo.brain, in three dimensions.

The volume is cut across the body into a front, to test on, and a back, to train on. Both hold both
halves of the brain: this template is symmetric, its left the mirror image of its right, so that a
network trained on one side would have seen the other.
"""
import functools
import itertools
from typing import Callable, Iterator, NamedTuple, Sequence, Tuple

import numpy as np

from . import brain

SHAPE = (80, 96, 80)  # of the volume at 2 mm: upwards, front to back, side to side
TEST_Y = slice(0, 32)
TRAIN_Y = slice(36, 96)  # 8 mm away

COPIES = 12  # of the volume to train on, each with a bias field and noise of its own
BIAS = 0.5   # over the whole volume; a part of it sees less than one of demo.brain's slices does

BLOCKS = 800           # to train on
BLOCK = (16, 16, 16)
WINDOW = (48, 32, 48)  # what is predicted at once; the network takes any multiple of 4


class Region(NamedTuple):
    """A part of the volume, V times.

    image : (V, 1, D, H, W) float32, with bias field and noise.
    label : (V, 1, D, H, W) float32 indices into demo.brain.CLASSES.
    clean : (V, 1, D, H, W) float32, image before it was corrupted.
    """

    image: np.ndarray
    label: np.ndarray
    clean: np.ndarray


class Blocks(NamedTuple):
    """N blocks of a region.

    image, label : (N, 1, D, H, W) float32.
    corner : (N, 3), where each begins in the region.
    """

    image: np.ndarray
    label: np.ndarray
    corner: np.ndarray


@functools.lru_cache(maxsize=None)
def region(part: str, seed: int = 0) -> Region:
    """The region of 'train' or 'test'. Another seed gives other bias fields and noise.

    Raises
    ------
    DemoError : nilearn, whose files these are, is not there.
    """
    image, label = (whole[:SHAPE[0]] for whole in brain.template((0, 1, 2)))
    rng = np.random.RandomState([seed, {'train': 0, 'test': 1}[part]])
    y = TRAIN_Y if part == 'train' else TEST_Y
    copies = COPIES if part == 'train' else 1
    corrupted = np.stack([brain.corrupt(image, rng, BIAS)[:, y] for _ in range(copies)])[:, None]
    return Region(corrupted, *(np.broadcast_to(each[:, y], corrupted.shape)
                               for each in (label, image)))


@functools.lru_cache(maxsize=None)  # Caffe's train and test nets each ask for their part
def load(part: str, seed: int = 0) -> Blocks:
    """Of 'train' random blocks around places inside the brain, of 'test' windows that cover it."""
    source = region(part, seed)
    if part == 'train':
        rng = np.random.RandomState(seed)
        places = list(itertools.islice(_around_brain(source, rng), BLOCKS))
    else:
        places = [(0, corner) for corner in windows()]
    size = BLOCK if part == 'train' else WINDOW
    image, label = (np.stack([cut(volumes[i], corner, size) for i, corner in places])
                    for volumes in (source.image, source.label))
    return Blocks(image, label, np.array([corner for _, corner in places]))


def _around_brain(source: Region, rng: np.random.RandomState
                  ) -> Iterator[Tuple[int, Tuple[int, ...]]]:
    """Copy and corner of random blocks whose middle is no background."""
    room = [n - size + 1 for n, size in zip(source.image.shape[2:], BLOCK)]
    while True:
        copy, corner = rng.randint(len(source.image)), tuple(rng.randint(n) for n in room)
        if source.label[copy, 0][tuple(at + size // 2 for at, size in zip(corner, BLOCK))] > 0:
            yield copy, corner


def windows() -> Sequence[Tuple[int, ...]]:
    """Where in the test region each window begins."""
    return corners((SHAPE[0], TEST_Y.stop - TEST_Y.start, SHAPE[2]), WINDOW)


def corners(shape: Sequence[int], window: Sequence[int]) -> Sequence[Tuple[int, ...]]:
    """Where windows must begin to cover a volume: evenly, and as few as do it.

    >>> corners((80, 32), (48, 32))
    [(0, 0), (32, 0)]
    """
    starts = [np.linspace(0, n - size, -(-n // size)).astype(int).tolist()
              for n, size in zip(shape, window)]
    return list(itertools.product(*starts))


def cut(volume: np.ndarray, corner: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """The block (..., *size) of a volume (..., D, H, W) that begins at ``corner``."""
    return volume[(...,) + tuple(slice(at, at + n) for at, n in zip(corner, size))]


def join(parts: np.ndarray, corner: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The volume (C, *shape) that windows (N, C, ...) cover: their mean where they overlap."""
    total = np.zeros((parts.shape[1], *shape))
    count = np.zeros(shape)
    for part, at in zip(parts, corner):
        cut(total, at, part.shape[1:])[...] += part
        cut(count, at, part.shape[1:])[...] += 1
    return total / count


def classes(probabilities: Callable[[np.ndarray], np.ndarray], seed: int) -> np.ndarray:
    """The most probable classes of the test region, (1, 1, D, H, W) int64.

    Parameters
    ----------
    probabilities : windows (N, 1, ...) to (N, C, ...); the mean counts where windows overlap.
    """
    cover, shape = load('test', seed), region('test', seed).label.shape[2:]
    return join(probabilities(cover.image), cover.corner, shape).argmax(axis=0)[None, None]
