"""How often each class is in a set of labels, and class weights from that."""
import dataclasses
import numbers
import sys
from typing import Any, Iterable, Iterator, Optional

import numpy as np

from .inputs import check_label
from .options import DiceOptions
from .values import is_number

METHODS = ('inverse', 'inverse_square', 'median_frequency', 'effective_number')
MOST_CLASSES = 4096  # that are found from the data; a label above it is a mistake
PIECE = 1 << 20  # pixels that are counted at a time


@dataclasses.dataclass(frozen=True, eq=False)
class ClassFrequencies:
    """What was counted in a set of labels; ``a + b`` is that of both sets.

    pixels : of each class, (C,) int64; of soft labels the sum of each class, float64.
    pixels_around : of the images that have the class, whatever theirs is, (C,) int64.
    images : how many.
    ignored : pixels with ignore_label, which are in no other number.
    """

    pixels: np.ndarray
    pixels_around: np.ndarray
    images: int
    ignored: int

    def __add__(self, other: 'ClassFrequencies') -> 'ClassFrequencies':
        """Of different numbers of classes, too: one set has no pixel of what it does not know."""
        if not isinstance(other, ClassFrequencies):
            return NotImplemented
        return ClassFrequencies(_sum(self.pixels, other.pixels),
                                _sum(self.pixels_around, other.pixels_around),
                                self.images + other.images, self.ignored + other.ignored)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClassFrequencies) and all(
            np.array_equal(getattr(self, field.name), getattr(other, field.name))
            for field in dataclasses.fields(self))


def class_frequencies(labels: Iterable[np.ndarray], num_classes: Optional[int] = None,
                      ignore_label: Optional[int] = None, progress: bool = False,
                      batched: bool = False) -> ClassFrequencies:
    """Count the pixels of each class, one array after the other.

    Parameters
    ----------
    labels : an array of class indices for each image, of any shape and numeric dtype; they are
        read once, so an iterator will do, and memory-mapped arrays are read in pieces.
    num_classes : None counts up to the largest label there is.
    ignore_label : pixels with this label are left out.
    progress : True shows a bar on stderr where that is a terminal and tqdm is installed.
    batched : True where the first axis of each array holds images.

    Raises
    ------
    ValueError : no array, or a label that is no class, with its place.

    Examples
    --------
    >>> class_frequencies([np.array([[0, 0], [0, 2]]), np.array([[0, 255]])], 3, 255).pixels
    array([4, 0, 1])
    """
    options = settings(num_classes, ignore_label)
    nothing = np.zeros(num_classes or 0, np.int64)
    total = ClassFrequencies(nothing, nothing, images=0, ignored=0)
    for label in shown(labels, progress):
        for image in label if batched else [label]:
            total += _of_image(np.asarray(image), total.images, num_classes, options)
    if total.images == 0:
        raise ValueError('labels must have at least one array, for example [np.array([[0, 1]])]')
    return total


def settings(num_classes: Optional[int], ignore_label: Optional[int]) -> DiceOptions:
    """How index labels are read.  Raises ValueError where a number is none."""
    if num_classes is not None and (not isinstance(num_classes, numbers.Integral)
                                    or num_classes < 2):
        raise ValueError(f'num_classes must be a whole number >= 2, for example 2 for masks; got '
                         f'{num_classes!r}')
    return DiceOptions(ignore_label=ignore_label)


def class_weights(frequencies: ClassFrequencies, method: str = 'median_frequency',
                  effective_beta: Optional[float] = None, clip: Optional[float] = None
                  ) -> np.ndarray:
    """One weight per class, (C,) float64, for ``DiceOptions(class_weights=...)``.

    With n_c the pixels of class c, each method is, up to a factor:

    - 'inverse' : 1 / n_c
    - 'inverse_square' : 1 / n_c^2
    - 'median_frequency' : 1 / f_c, with f_c the share of the class in the images that have it
      (Eigen, Fergus: Predicting Depth, Surface Normals and Semantic Labels, ICCV 2015)
    - 'effective_number' : (1 - b) / (1 - b^n_c) (Cui et al.: Class-Balanced Loss Based on Effective
      Number of Samples, CVPR 2019)

    The factor makes the mean over the classes that have pixels 1.  A class without any gets the
    largest weight of the others, as automatic weights of the losses do.

    Parameters
    ----------
    effective_beta : b, in [0, 1); None is 1 - 1 / n with n the mean pixels of a class that has
        any.  The 0.9 to 0.9999 of the paper are for thousands of examples; of millions of pixels
        they make all weights alike.
    clip : how many times the smallest weight the largest may be, >= 1; None is no limit.

    Raises
    ------
    ValueError : another method, effective_beta with a method that has none or outside [0, 1), clip
        below 1, or not a single pixel.
    """
    if method not in METHODS:
        raise ValueError(f'method must be one of {", ".join(map(repr, METHODS))}; got {method!r}')
    if effective_beta is not None and method != 'effective_number':
        raise ValueError(f"effective_beta is of method 'effective_number'; got {method!r}")
    if clip is not None and not (is_number(clip) and 1 <= clip < np.inf):
        raise ValueError(f'clip must be a number >= 1, for example 50; got {clip!r}')
    present = frequencies.pixels > 0
    if not present.any():
        raise ValueError('weights need one pixel that counts; every one has ignore_label')
    pixels = frequencies.pixels[present].astype(np.float64)
    share = pixels / pixels.sum()
    if method == 'effective_number':
        each = 1 / _effective_number(pixels, effective_beta)
    elif method == 'median_frequency':
        each = frequencies.pixels_around[present] / pixels
    else:
        each = 1 / share if method == 'inverse' else 1 / share ** 2
    if clip is not None:
        each = np.minimum(each, clip * each.min())
    weights = np.full(len(present), each.max())
    weights[present] = each
    return weights / each.mean()


def shown(items: Iterable[Any], progress: bool) -> Iterable[Any]:
    """The items, with a bar on stderr where one is wanted and can be had."""
    if not progress or not sys.stderr.isatty():
        return items
    try:
        from tqdm import tqdm  # type: ignore[import-untyped]
    except ImportError:
        return items
    return tqdm(items, unit='array', dynamic_ncols=True)


def pieces(label: np.ndarray) -> Iterator[np.ndarray]:
    """All of an array, flat, in whichever order it is stored."""
    flat = label.ravel(order='K')  # without a copy
    for start in range(0, flat.size, PIECE):
        yield flat[start:start + PIECE]


def _of_image(label: np.ndarray, number: int, num_classes: Optional[int], options: DiceOptions
              ) -> ClassFrequencies:
    pixels = np.zeros(num_classes or 0, np.int64)
    for piece in pieces(label):
        try:
            check_label(piece[None], num_classes or MOST_CLASSES, options, sample=number)
        except ValueError:
            check_label(label[None], num_classes or MOST_CLASSES, options, sample=number)
            raise  # the former says where in the piece, and does not get here
        if options.ignore_label is not None:
            piece = piece[piece != options.ignore_label]
        pixels = _sum(pixels, np.bincount(piece.astype(np.int64)))
    counted = int(pixels.sum())
    return ClassFrequencies(pixels, np.where(pixels > 0, counted, 0), 1, label.size - counted)


def _sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a + b, the shorter one padded with zeros."""
    total = np.zeros(max(len(a), len(b)), np.result_type(a, b))
    total[:len(a)] += a
    total[:len(b)] += b
    return total


def _effective_number(pixels: np.ndarray, beta: Optional[float]) -> np.ndarray:
    """(1 - b^n) / (1 - b), without the cancellation where b is almost 1."""
    if beta is None:
        one_minus = 1 / pixels.mean()
    elif isinstance(beta, numbers.Real) and not isinstance(beta, bool) and 0 <= beta < 1:
        one_minus = 1 - beta
    else:
        raise ValueError(f'effective_beta must be a number in [0, 1), for example 0.9999; got '
                         f'{beta!r}')
    if one_minus == 1:
        return np.ones_like(pixels)
    return -np.expm1(pixels * np.log1p(-one_minus)) / one_minus
