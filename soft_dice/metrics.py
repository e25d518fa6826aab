"""Hard Dice: how well a segmentation that has been decided agrees with its label.

A prediction is decided first, one class for each pixel or yes and no for each class; then it is
counted by stage 1 of the losses, so that shapes, classes and ignored pixels mean what they mean
there.  Counts are whole numbers, which add up over batches and workers without a rounding error.
"""
import dataclasses
import math
import numbers
from typing import Iterable, List, Optional

import numpy as np

from .counts import one_hot, without_ignored
from .inputs import check_batch, check_label, check_shapes, floating, prepare, restore, written
from .metric_options import Empty, MetricOptions, check_threshold, refuse_threshold
from .options import DiceOptions
from .plan import Plan, resolve
from .resize import resize
from .stages import count


@dataclasses.dataclass(frozen=True, eq=False)
class HardCounts:
    """Pixels of each image and counted class: rows are images, or one row a whole set.

    tp : predicted and labelled as the class, (N, K) int64.
    fp : predicted as the class, and labelled as another, (N, K) int64.
    fn : labelled as the class, and not predicted as it, (N, K) int64.

    ``a + b`` has the images of a, then those of b; ``total()`` adds all images up.  Whole sets
    merge in any order: ``(a + b).total() == (b.total() + a.total()).total()``.

    Raises
    ------
    ValueError : shapes that differ, or anything but whole numbers >= 0.
    """

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray

    def __post_init__(self) -> None:
        for name in ('tp', 'fp', 'fn'):
            array = np.asarray(getattr(self, name))
            whole = array.astype(np.int64) if array.dtype.kind in 'iuf' else array
            if array.ndim != 2 or whole.dtype != np.int64 or (whole != array).any() \
                    or (whole < 0).any():
                raise ValueError(f'{name} must hold whole numbers >= 0, a row for each image, for '
                                 f'example [[3, 0]]; got {getattr(self, name)!r}')
            object.__setattr__(self, name, whole)
        if not self.tp.shape == self.fp.shape == self.fn.shape:
            raise ValueError('tp, fp and fn must have one shape (images, classes); got '
                             f'{self.tp.shape}, {self.fp.shape} and {self.fn.shape}')

    @classmethod
    def join(cls, parts: Iterable['HardCounts']) -> 'HardCounts':
        """The images of all parts, one after the other; quicker than + for many of them.

        Raises
        ------
        ValueError : no part, or parts of different numbers of classes.
        """
        parts = list(parts)
        classes = sorted({part.tp.shape[1] for part in parts})
        if len(classes) != 1:
            raise ValueError('counts that merge must be of the same classes; got '
                             f'{" and ".join(map(str, classes)) or "none"}')
        return cls(*(np.concatenate([getattr(part, name) for part in parts])
                     for name in ('tp', 'fp', 'fn')))

    def __add__(self, other: 'HardCounts') -> 'HardCounts':
        return HardCounts.join([self, other]) if isinstance(other, HardCounts) else NotImplemented

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HardCounts) and all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ('tp', 'fp', 'fn'))

    def total(self) -> 'HardCounts':
        """All images as one row."""
        return HardCounts(*(each.sum(axis=0, keepdims=True)
                            for each in (self.tp, self.fp, self.fn)))

    def dice(self, beta: float = 1.0, empty: Empty = 'nan') -> np.ndarray:
        """F-beta of each row and class, (N, K) float64; beta 1 is Dice 2 tp / (2 tp + fp + fn)

            (1 + beta^2) tp / ((1 + beta^2) tp + fp + beta^2 fn)

        Parameters
        ----------
        beta : in [0.001, 1000]; how many times as much recall matters as precision does.
        empty : 'nan', 0 or 1: what a class gives that is neither predicted nor labelled.

        Raises
        ------
        ValueError : beta or empty outside of that.
        """
        return self.scores(MetricOptions(beta=beta, empty=empty))

    def iou(self, empty: Empty = 'nan') -> np.ndarray:
        """Intersection over union of each row and class, tp / (tp + fp + fn); as :meth:`dice`."""
        return self.scores(MetricOptions(metric='iou', empty=empty))

    def scores(self, options: MetricOptions) -> np.ndarray:
        """The metric of each row and class, (N, K) float64, as the options say."""
        if options.metric == 'iou':
            found, possible = self.tp, self.tp + self.fp + self.fn
        else:
            weight = options.beta ** 2
            found = (1 + weight) * self.tp
            possible = found + self.fp + weight * self.fn
        labelled = self.tp + self.fn
        empty = labelled + (self.fp if options.empty_by == 'both' else 0) == 0
        return np.where(empty, float(options.empty), found / np.where(possible == 0, 1, possible))

    def average(self, options: MetricOptions) -> np.ndarray:
        """One number for each row, (N,), over its classes; without those that are NaN.

        average : 'macro', their mean; 'weighted', weighted by their pixels in the label; 'micro',
            the metric of the pixels of all classes.
        """
        if options.average == 'micro':
            pooled = HardCounts(*(each.sum(axis=1, keepdims=True)
                                  for each in (self.tp, self.fp, self.fn)))
            return pooled.scores(options)[:, 0]
        scores = self.scores(options)
        if options.average == 'macro':
            return _mean_of_known(scores.T)
        weights = np.where(np.isnan(scores), 0, self.tp + self.fn)
        norm = weights.sum(axis=1)
        weighted = np.where(weights == 0, 0, weights * scores).sum(axis=1)
        return np.where(norm == 0, np.nan, weighted / np.where(norm == 0, 1, norm))

    def per_class(self, beta: float = 1.0, empty: Empty = 'nan') -> np.ndarray:
        """Mean over the rows, (K,), without those that are NaN; NaN where all are."""
        return _mean_of_known(self.dice(beta, empty))

    def mean(self, beta: float = 1.0, empty: Empty = 'nan') -> float:
        """Mean over the classes of :meth:`per_class`, without those that are NaN."""
        return float(_mean_of_known(self.per_class(beta, empty)))


def hard_counts(pred: np.ndarray, label: np.ndarray, options: DiceOptions = DiceOptions(),
                threshold: float = 0.5, num_classes: Optional[int] = None) -> HardCounts:
    """Decide a prediction, and count how it agrees with its label.

    How it is decided follows from the options:

    - softmax, or index labels of several classes: the class with the highest value (argmax), the
      lowest of those that tie.  A dense label is decided in the same way; a pixel in which it is 0
      for every class is of none.
    - otherwise (sigmoid, one channel, 'none' with a dense label): each class whose probability is
      above the threshold.  For sigmoid the logit is compared with log(t / (1 - t)), so that no
      rounding of the sigmoid decides.  A dense label is of each class where it is above the
      threshold.

    Parameters
    ----------
    pred : (N, C, ...) floating, as the losses take it; or, with ``num_classes``, the
        class that was decided for each pixel, whole numbers in [0, num_classes).
    label : as the losses take it; or, with ``num_classes``, the shape of pred.
    options : what is read of them is activation, sparse_label, axis, classes,
        include_background, ignore_label and resize.
    threshold : in [0, 1); only where it is used.

    Returns
    -------
    HardCounts, (N, K counted classes).

    Raises
    ------
    ValueError : as :func:`soft_dice.soft_dice_loss`; and a NaN in a prediction that counts, as it
        decides for no class.

    Examples
    --------
    >>> scores = np.array([[[0.9, 0.2, 0.4], [0.1, 0.8, 0.6]]])  # (1 image, 2 classes, 3 pixels)
    >>> counts = hard_counts(scores, np.array([[0, 1, 0]]), DiceOptions(activation='none'))
    >>> counts.tp.tolist(), counts.dice().round(3).tolist()
    ([[1, 1]], [[0.667, 0.667]])
    """
    check_threshold('threshold', threshold)
    if num_classes is not None:
        refuse_threshold(threshold)
        return _count_decided(np.asarray(pred), np.asarray(label), num_classes, options)
    if options.resize is not None:
        pred = floating(pred)
        pred, _ = resize(pred, check_shapes(options, pred.shape, np.shape(label)))
    pred, label, _ = check_batch(pred, label, options)
    plan = resolve(options, pred.shape[options.axis])
    _refuse_nan(pred, label, options)
    if takes_highest(options, plan.num_classes):
        refuse_threshold(threshold)
        hard = _highest(pred, options.axis)
    else:
        hard = _above(pred, _logit(threshold) if options.activation == 'sigmoid' else threshold)
    if not options.sparse_label:
        check_label(label, plan.num_classes, options, sample=0)
        label = _decide_label(label, options, threshold)
    return _count(hard, label, plan)


def takes_highest(options: DiceOptions, num_classes: int) -> bool:
    """Whether a prediction is decided by argmax, not by threshold."""
    return options.activation == 'softmax' or (options.sparse_label and num_classes > 1)


def hard_dice(pred: np.ndarray, label: np.ndarray, num_classes: Optional[int] = None,
              ignore_label: Optional[int] = None, *, options: Optional[DiceOptions] = None,
              threshold: float = 0.5, beta: float = 1.0, empty: Empty = 'nan',
              per_image: bool = False, metric: str = 'dice', average: Optional[str] = None,
              empty_by: str = 'both') -> np.ndarray:
    """Dice 2 tp / (2 tp + fp + fn) of each counted class, or F-beta, or intersection over union,
    from whole pixels.

    Parameters
    ----------
    pred, label, num_classes, options, threshold : as :func:`hard_counts`, which says how a
        prediction is decided; with ``num_classes`` it has been.
    ignore_label : pixels with this label are left out; in place of that of the options.
    beta, empty : as :meth:`HardCounts.dice`.
    per_image : False counts over all images; True gives each image's own.
    metric : 'dice', or 'iou', tp / (tp + fp + fn), also called Jaccard.
    average : None gives each class; 'macro' the mean of the classes, 'weighted' a mean weighted by
        the classes' pixels in the label, both without classes that are NaN; 'micro' the metric of
        the pixels of all classes.
    empty_by : which classes are ``empty``: 'both', those that are neither predicted nor labelled,
        or 'label', all that are not labelled, as MONAI has it.

    Returns
    -------
    (K counted classes,) float64; (N, K) with ``per_image``; with an average one axis fewer.

    Raises
    ------
    ValueError : as :func:`hard_counts`, and a value outside its range.
    TypeError : ``options`` that are no DiceOptions.

    Examples
    --------
    >>> hard_dice(np.array([[0, 1, 1]]), np.array([[0, 1, 0]]), num_classes=3)
    array([0.66666667, 0.66666667,        nan])
    """
    given = {'ignore_label': ignore_label, 'average': average}
    fields = {name: value for name, value in given.items() if value is not None}
    asked = MetricOptions.of_loss(options, threshold=threshold, beta=beta, empty=empty,
                                  per_image=per_image, metric=metric, empty_by=empty_by,
                                  **fields)
    counts = hard_counts(pred, label, asked.dice, threshold, num_classes)
    counts = counts if per_image else counts.total()
    found = counts.scores(asked) if average is None else counts.average(asked)
    return found if per_image else found[0]


class Tally:
    """Counts that come in over batches and workers, and what they say by the options."""

    def __init__(self, options: MetricOptions) -> None:
        self.options = options
        self._parts: List[HardCounts] = []

    def add(self, counts: HardCounts) -> None:
        """Raises ValueError for counts of another number of classes; they are then not added."""
        if self.options.per_image:
            HardCounts.join([*self._parts[:1], counts])  # now rather than when they are read
            self._parts.append(counts)
        else:
            self._parts = [HardCounts.join([*self._parts, counts]).total()]

    @property
    def counts(self) -> Optional[HardCounts]:
        """A row for each image with per_image, otherwise one row; None before the first."""
        if len(self._parts) > 1:
            self._parts = [HardCounts.join(self._parts)]
        return self._parts[0] if self._parts else None

    def per_class(self) -> np.ndarray:
        """(K,), empty before the first."""
        counts = self.counts
        return np.zeros(0) if counts is None else _mean_of_known(counts.scores(self.options))

    def mean(self) -> float:
        """Over the classes; NaN before the first."""
        if self.options.average == 'macro' or self.counts is None:
            return float(_mean_of_known(self.per_class()))
        return float(_mean_of_known(self.counts.average(self.options)))


# --- decisions -----------------------------------------------------------------------------------

def _highest(array: np.ndarray, axis: int) -> np.ndarray:
    """One-hot argmax over the class axis, float32, in array's shape."""
    index = array.argmax(axis).reshape(len(array), -1)
    return restore(one_hot(index, array.shape[axis], np.dtype(np.float32)), array.shape, axis)


def _above(array: np.ndarray, limit: float) -> np.ndarray:
    return (array > limit).astype(np.float32)


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability)) if probability > 0 else -math.inf


def _decide_label(label: np.ndarray, options: DiceOptions, threshold: float) -> np.ndarray:
    """A dense label as zeros and ones, float32, and ignore_label where it was that."""
    ignored = np.zeros(label.shape, bool)
    if options.ignore_label is not None:
        ignored = label == options.ignore_label
        label = np.where(ignored, 0, label)
    if options.activation == 'softmax':
        hard = _highest(label, options.axis) * _above(label, 0)
    else:
        hard = _above(label, threshold)
    return np.where(ignored, np.float32(options.ignore_label or 0), hard)


def _refuse_nan(pred: np.ndarray, label: np.ndarray, options: DiceOptions) -> None:
    if not np.isnan(pred).any():
        return
    pixels = prepare(check_batch(pred, label, options), options)
    bad = np.isnan(without_ignored(pixels, options.activation))
    if bad.any():
        sample, index, pixel = (int(i) for i in np.argwhere(bad)[0])
        raise ValueError('pred must be a number where it counts, for example 0.5, as NaN decides '
                         f'for no class; got nan in sample {sample}, class {index}, pixel {pixel} '
                         f'of {bad.shape[2]}')


# --- counting ------------------------------------------------------------------------------------

def _count(hard: np.ndarray, label: np.ndarray, plan: Plan) -> HardCounts:
    """Stage 1 of zeros and ones.  The sums are whole numbers, far below where float64 has gaps."""
    reading = DiceOptions(activation='none', sparse_label=plan.dice.sparse_label,
                          axis=plan.dice.axis, ignore_label=plan.dice.ignore_label)
    sums, _ = count(check_batch(hard, label, reading), resolve(reading, plan.num_classes))
    tp, predicted, labelled = (each[:, list(plan.counted)].astype(np.int64) for each in sums[:3])
    return HardCounts(tp, predicted - tp, labelled - tp)


def _count_decided(pred: np.ndarray, label: np.ndarray, num_classes: int, options: DiceOptions
                   ) -> HardCounts:
    if not isinstance(num_classes, numbers.Integral) or num_classes < 2:
        raise ValueError('num_classes must be a whole number >= 2, for example 2 for a mask; got '
                         f'{num_classes!r}')
    if not options.sparse_label:
        raise ValueError('num_classes says that pred holds classes, so sparse_label must be True')
    if pred.shape != label.shape or pred.ndim == 0:
        raise ValueError('pred and label must have one shape, for example (2, 9, 8) each, where '
                         'num_classes says that pred holds classes (leave it out for scores); got '
                         f'{pred.shape} and {label.shape}')
    reading = options.replace(activation='none', axis=1)
    pred, label = (array.reshape(len(array), -1) for array in (pred, label))
    good = (pred >= 0) & (pred < num_classes) & (pred == np.floor(pred))
    if options.ignore_label is not None:
        good |= label == options.ignore_label
    if not good.all():
        raise ValueError(f'pred must hold whole numbers in [0, {num_classes}); '
                         f'got {written(pred[~good][0])}')
    hard = one_hot(pred, int(num_classes), np.dtype(np.float32))
    return _count(hard, label, resolve(reading, int(num_classes)))


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis without NaN; NaN where all are."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)
