"""What labels hold, told from their values: class numbers, masks, or a channel per class.

``look`` sees one image, ``recognise`` decides for all of them together (a single one may have but
one class), ``count`` counts.
"""
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .frequencies import MOST_CLASSES, PIECE, ClassFrequencies, pieces

KINDS = ('index', 'mask', 'channels')
FOREGROUND = (255, 65535)  # of masks of 8 and of 16 bits
MOST_CHANNELS = 256
MOST_VALUES = 1 << 16
NEAR = 1e-4  # relative: a scale slope of 1.00000002 leaves whole numbers so
FULL = 1e-3  # how far the channels of a soft label may be from a sum of 1


class Seen(NamedTuple):
    """What was seen in an image.

    pixels : how many have each value; None where values are no whole numbers, or too many.
    off : how far a value was from the whole number that it was taken for.
    size, lowest, highest, total : number of all values, their range and their sum.
    channels : the sum of each channel, by the axis that may have them.
    """

    pixels: Optional[Dict[int, int]]
    off: float
    size: int
    lowest: float
    highest: float
    total: float
    channels: Dict[int, np.ndarray]

    @property
    def fractions(self) -> bool:
        """Is every value in [0, 1]?"""
        return 0 <= self.lowest and self.highest <= 1 + FULL


class Reading(NamedTuple):
    """How labels are to be read.

    kind : of KINDS.
    sentence : what was recognised.
    full : what a mask has in the foreground, and a channel where its class is.
    axis : of the channels.
    """

    kind: str
    sentence: str
    full: int = 1
    axis: int = 0


def look(image: np.ndarray, axis: Optional[int] = None) -> Seen:
    """Look at an array of any shape, piece by piece.

    axis : has the channels; None looks for those that may have.
    """
    pixels: Optional[Dict[int, int]] = {}
    off, lowest, highest, total = 0.0, np.inf, -np.inf, 0.0
    for piece in pieces(image):
        lowest, highest = np.minimum(lowest, piece.min()), np.maximum(highest, piece.max())
        total += float(piece.sum(dtype=np.float64))
        if pixels is not None:
            pixels, more_off = _added(pixels, piece)
            off = max(off, more_off)
    seen = Seen(pixels, off, image.size, float(lowest), float(highest), total, {})
    if axis is not None:
        channels = np.moveaxis(image, axis, 0).reshape(image.shape[axis], -1)
        return seen._replace(channels={axis: channels.sum(axis=1, dtype=np.float64)})
    return seen._replace(channels=_channels(image, seen))


def recognise(images: Sequence[Seen], num_classes: Optional[int] = None,
              ignore_label: Optional[int] = None, kind: Optional[str] = None) -> Reading:
    """How all of these are to be read.

    Parameters
    ----------
    num_classes, ignore_label : where they are known.
    kind : what the user says they are; None finds it.

    Raises
    ------
    ValueError : the kind does not go with the values.
    """
    values = sorted({value for each in images for value in each.pixels or ()} - {ignore_label})
    soft = any(each.pixels is None for each in images)
    full = 1 if soft or not values else max(values[-1], 1)
    # 0 and one other value, or numbers between 0 and 1
    shares = all(each.fractions for each in images) if soft else set(values) <= {0, full}
    axis = _common_axis(images, None if kind else num_classes)
    if kind is None:
        is_mask = shares and (soft or full in FOREGROUND) and num_classes in (None, 2)
        kind = 'channels' if axis is not None else 'mask' if is_mask else 'index'
    held = 'numbers from 0 to 1' if soft else f'0 and {full}'
    if kind == 'index':
        return Reading(kind, _of_numbers(values, max(each.off for each in images)))
    if not shares and (soft or kind == 'channels'):
        raise ValueError(f'{"a mask" if kind == "mask" else "channels"} must hold 0 and 1, or '
                         f'numbers between them; got {max(each.highest for each in images):g}')
    if kind == 'mask':
        counts = 'the values count as class 1 and the rest as class 0' if soft else \
            f'{full if shares else "all but 0"} counts as class 1'
        return Reading(kind, f'masks of {held if shares else "whole numbers"}; {counts}', full)
    if axis is None:
        raise ValueError('channels are found where those of each pixel add up to the same; here '
                         'name their axis, for example --axis 1')
    number = len(images[0].channels[axis])
    if num_classes not in (None, number):
        raise ValueError(f'there must be a channel for each of {num_classes} classes; got {number}')
    return Reading(kind, f'{number} channels of {held} on axis {axis}, one per class', full, axis)


def count(seen: Seen, reading: Reading, num_classes: Optional[int] = None,
          ignore_label: Optional[int] = None) -> ClassFrequencies:
    """The pixels of each class in an image, which must be what ``reading`` says."""
    if reading.kind == 'channels':
        sums = seen.channels[reading.axis] / reading.full
        pixels = sums if seen.pixels is None else np.rint(sums).astype(np.int64)
        return _frequencies(pixels, seen.size // len(pixels))
    if seen.pixels is None:
        return _frequencies(np.array([seen.size - seen.total, seen.total]), seen.size)
    kept = {value: number for value, number in seen.pixels.items() if value != ignore_label}
    counted = sum(kept.values())
    if reading.kind == 'mask':
        kept = {0: kept.get(0, 0), 1: counted - kept.get(0, 0)}
    pixels = np.zeros(num_classes or max(kept, default=-1) + 1, np.int64)
    pixels[list(kept)] = list(kept.values())
    return _frequencies(pixels, counted, seen.size - counted)


def are_class_numbers(seen: Seen, num_classes: Optional[int], ignore_label: Optional[int]) -> bool:
    """Is every value of an image that of a class, or to be ignored?"""
    return seen.pixels is not None and all(
        0 <= value < (num_classes or MOST_CLASSES) for value in seen.pixels
        if value != ignore_label)


def rounded(label: np.ndarray) -> np.ndarray:
    """Floating point numbers, where they are almost whole, made so."""
    whole = np.rint(label)
    with np.errstate(invalid='ignore'):
        near = np.abs(label - whole) <= NEAR * np.maximum(1, np.abs(whole))
    return np.where(near, whole, label)


def _frequencies(pixels: np.ndarray, counted: int, ignored: int = 0) -> ClassFrequencies:
    return ClassFrequencies(pixels, np.where(pixels > 0, counted, 0), 1, ignored)


def _of_numbers(values: List[int], off: float) -> str:
    if not values:
        return 'nothing but pixels to ignore'
    rounded = f', up to {off:.1g} off, rounded' if off else ''
    return f'class numbers {values[0]} to {values[-1]}{rounded}'


def _added(pixels: Dict[int, int], piece: np.ndarray) -> Tuple[Optional[Dict[int, int]], float]:
    """``pixels`` with those of a piece, and how far this one is from whole numbers."""
    whole, off = piece, 0.0
    if piece.dtype.kind == 'f':
        whole = rounded(piece)
        if not (np.isfinite(whole) & (whole == np.rint(whole))).all():
            return None, 0.0
        off = float(np.abs(piece - whole).max())
    if 0 <= whole.min() and whole.max() < MOST_VALUES:
        numbers = np.bincount(whole.astype(np.intp))
        values = np.flatnonzero(numbers)
        numbers = numbers[values]
    else:
        values, numbers = np.unique(whole, return_counts=True)
    total = dict(pixels)
    for value, number in zip(values, numbers):
        total[int(value)] = total.get(int(value), 0) + int(number)
    return (total if len(total) <= MOST_VALUES else None), off


def _common_axis(images: Sequence[Seen], number: Optional[int]) -> Optional[int]:
    """The first axis on which all images have as many channels (``number``, where it is given)."""
    for axis, channels in images[0].channels.items():
        if number in (None, len(channels)) and all(
                len(each.channels.get(axis, ())) == len(channels) for each in images):
            return axis
    return None


def _channels(image: np.ndarray, seen: Seen) -> Dict[int, np.ndarray]:
    """The sum of each channel, for every axis along which the pixels add up to the same."""
    full = 1.0 if seen.pixels is None else seen.highest
    if not (seen.fractions if seen.pixels is None else set(seen.pixels) == {0, full}):
        return {}
    found = {}
    for axis in dict.fromkeys((0, 1, image.ndim - 1)) if image.ndim > 2 else ():
        channels = np.moveaxis(image, axis, 0)
        if 2 <= len(channels) <= MOST_CHANNELS and sum(n > 1 for n in channels.shape[1:]) > 1:
            sums = _sums(channels, full)
            if sums is not None:
                found[axis] = sums
    return found


def _sums(channels: np.ndarray, full: float) -> Optional[np.ndarray]:
    """Of each channel; None where those of a pixel do not add up to ``full``."""
    total = np.zeros(len(channels))
    rows = max(1, PIECE * channels.shape[1] // channels.size)
    for start in range(0, channels.shape[1], rows):
        part = channels[:, start:start + rows]
        if not (np.abs(part.sum(axis=0, dtype=np.float64) - full) <= FULL * full).all():
            return None
        total += part.reshape(len(part), -1).sum(axis=1, dtype=np.float64)
    return total
