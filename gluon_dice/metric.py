"""DiceMetric for MXNet: translates arrays and options; the metric is that of soft_dice."""
from typing import Any, List, Optional, Tuple, Union

import mxnet as mx
import numpy as np

from soft_dice.inputs import check_label_dtype, check_shapes
from soft_dice.metric_options import Empty, MetricOptions
from soft_dice.metrics import HardCounts, Tally, hard_counts, takes_highest
from soft_dice.options import DiceOptions
from soft_dice.plan import resolve

from . import compat, door
from .memory import on_cpu


@mx.metric.register
@mx.metric.alias('dice')
class DiceMetric(mx.metric.EvalMetric):
    """Dice of what a network decides, over all that was given since the last reset.

    Counts are whole numbers that add up over batches, devices and workers, so the value is that of
    the whole set, not a mean of batches.  :func:`soft_dice.hard_counts` says how a prediction is
    decided.  ``mx.metric.create('dice', ignore_label=255)`` makes one too.

    An iterator that pads its last batch (NDArrayIter does) has Module count the padding, in this
    metric as in MXNet's own; ``last_batch_handle='discard'``, or a batch size that divides the set,
    avoids it.

    Parameters
    ----------
    options : soft_dice.DiceOptions, optional; that of the loss will do.  What is read of it is
        activation, sparse_label, axis, classes, include_background, ignore_label and resize.
    num_classes : the channels of the predictions; None takes those of the first.
    threshold : in [0, 1), where probabilities are compared with one.
    beta : of F-beta; 1 is Dice.
    empty : 'nan' (default), 0 or 1: what a class gives that is neither predicted nor labelled.  NaN
        is left out of the mean.
    metric : 'dice' or 'iou', intersection over union.
    average : 'macro' (default), the mean over classes, 'weighted' or 'micro'; and
    empty_by : 'both' or 'label'; as of :func:`soft_dice.hard_dice`.
    per_class : True adds ``<name>_0``, ``<name>_1``, ... of the counted classes to the mean in
        :meth:`get_name_value`, which Module and Speedometer log, once the number of classes is
        known.  :meth:`get` is the mean alone; for what reads that, such as an Estimator,
        :meth:`each_class` gives a metric per class.
    name, output_names, label_names : as of every mx.metric.EvalMetric; the name is by default that
        of ``metric``.
    per_image : False counts over all images; True takes the mean over images of each class's own.
    **fields : options by name, in place of or on top of ``options``.

    Raises
    ------
    TypeError : unknown option, or one of the loss alone.
    ValueError : a value outside its range.

    Examples
    --------
    >>> metric = DiceMetric(per_class=True)
    >>> metric.update(mx.nd.array([[0, 1, 1]]), mx.nd.array([[[3, 0, 2], [0, 3, 0]]]))
    >>> [(name, round(value, 3)) for name, value in metric.get_name_value()]
    [('dice', 0.667), ('dice_0', 0.667), ('dice_1', 0.667)]
    """

    def __init__(self, options: Optional[DiceOptions] = None, num_classes: Optional[int] = None,
                 threshold: float = 0.5, beta: float = 1.0, empty: Empty = 'nan',
                 per_class: bool = False, name: Optional[str] = None,
                 output_names: Optional[List[str]] = None, label_names: Optional[List[str]] = None,
                 per_image: bool = False, **fields: Any) -> None:
        self.options = MetricOptions.of_loss(options, threshold=threshold, beta=beta, empty=empty,
                                             per_image=per_image, **fields)
        if not isinstance(per_class, bool):
            raise ValueError(f'per_class must be True or False; got {per_class!r}')
        if num_classes is not None:
            resolve(self.options, num_classes)
        self.num_classes = num_classes
        self.per_class = per_class
        super().__init__(name or self.options.metric, output_names, label_names,
                         **compat.GLOBAL_STATS, num_classes=num_classes, per_class=per_class,
                         **self.options.changes_from())

    def reset(self) -> None:
        super().reset()
        self._classes = self.num_classes
        self._global = Tally(self.options)
        self._local = Tally(self.options)

    def reset_local(self) -> None:
        """Start anew, but for what get_global() gives."""
        if compat.GLOBAL_STATS:
            super().reset_local()
        self._local = Tally(self.options)

    @property
    def counts(self) -> Optional[HardCounts]:
        """What was counted since the last reset of either kind; None before the first update."""
        return self._local.counts

    def update(self, labels: Any, preds: Any) -> None:
        """Count a batch, in one array or a list of arrays, one from each device.

        Parameters
        ----------
        labels, preds : as the losses take them; float16 predictions too.

        Raises
        ------
        ValueError : lists of different lengths, and as :func:`soft_dice.hard_counts`; then nothing
            of the batch is counted.
        """
        labels, preds = _listed(labels), _listed(preds)
        if len(labels) != len(preds):
            raise ValueError('labels and preds must have as many arrays, one from each device (of '
                             "a network's outputs the first, outputs[0]); got "
                             f'{len(labels)} and {len(preds)}')
        for index, (label, pred) in enumerate(zip(labels, preds)):
            door.counted({f'preds[{index}]': pred, f'labels[{index}]': label})
            self._check(label, pred)
        found = [self._count(label, pred) for label, pred in zip(labels, preds)]
        if found:
            self._add(HardCounts.join(found), self._local, self._global)
            self._classes = preds[0].shape[self.options.dice.axis]

    def merge(self, other: Union['DiceMetric', HardCounts]) -> None:
        """Add what another has counted: a DiceMetric of the same options, or its ``counts``.

        Both can be pickled, and so come from another process.

        Raises
        ------
        ValueError : other options or classes.
        TypeError : neither of the two.
        """
        if isinstance(other, HardCounts):
            self._add(other, self._local, self._global)
            return
        if not isinstance(other, DiceMetric):
            raise TypeError('other must be a DiceMetric or HardCounts; got '
                            f'{type(other).__name__}')
        if other.options != self.options:
            raise ValueError('metrics that merge must have the same options; got '
                             f'{self.options} and {other.options}')
        if self._classes is None:
            self._classes = other._classes
        for own, theirs in ((self._local, other._local), (self._global, other._global)):
            if theirs.counts is not None:
                self._add(theirs.counts, own)

    def get(self) -> Tuple[str, float]:
        """('dice', value): the mean, also with per_class, as an Estimator wants one number."""
        return self.name, self._local.mean()

    def get_global(self) -> Tuple[str, float]:
        """As :meth:`get`, of all since the last reset(), whatever reset_local() did."""
        return self.name, self._global.mean()

    def get_name_value(self) -> List[Tuple[str, float]]:
        """[('dice', value)], with per_class also ('dice_0', value), ...

        Module, Speedometer and MXNet's logger for TensorBoard read this.
        """
        return self._read(self._local)

    def get_global_name_value(self) -> List[Tuple[str, float]]:
        """As :meth:`get_name_value`, of all since the last reset()."""
        return self._read(self._global)

    def each_class(self) -> List['DiceMetric']:
        """A metric of one number for each counted class, 'dice_0', 'dice_1', ...

        For what takes metrics of one number alone, as an Estimator and a CompositeEvalMetric do:
        ``[metric, *metric.each_class()]``.  Each of them counts for itself, from nothing.

        Raises
        ------
        ValueError : the number of classes is not known.
        """
        if self._classes is None:
            raise ValueError('num_classes must be given, for example DiceMetric(num_classes=4), '
                             'before each_class() makes a metric of each; got None')
        each = ((index, self.options.replace(classes=(index,), include_background=True,
                                             average='macro'))
                for index in resolve(self.options, self._classes).counted)
        return [DiceMetric(num_classes=self._classes, name=f'{self.name}_{index}',
                           output_names=self.output_names, label_names=self.label_names,
                           **options.changes_from()) for index, options in each]

    def _add(self, counts: HardCounts, *tallies: Tally) -> None:
        for tally in tallies:
            tally.add(counts)

    def _read(self, tally: Tally) -> List[Tuple[str, float]]:
        mean = [(self.name, tally.mean())]
        if not self.per_class or self._classes is None:
            return mean
        counted = resolve(self.options, self._classes).counted
        values = np.full(len(counted), np.nan) if tally.counts is None else tally.per_class()
        return mean + [(f'{self.name}_{index}', value)
                       for index, value in zip(counted, values.tolist())]

    def _check(self, label: Any, pred: Any) -> None:
        options = self.options.dice
        check_shapes(options, pred.shape, label.shape)
        classes = pred.shape[options.axis]
        check_label_dtype(options, np.dtype(label.dtype), classes)
        if self._classes not in (None, classes):
            raise ValueError(f'pred must have {self._classes} classes, as num_classes or the first '
                             f'prediction says; got {classes}, in shape {pred.shape}')
        resolve(options, classes)

    def _count(self, label: Any, pred: Any) -> HardCounts:
        options, threshold = self.options.dice, self.options.threshold
        classes = pred.shape[options.axis]
        if _on_gpu(pred) and options.sparse_label and options.resize is None \
                and takes_highest(options, classes):
            decided = decide(compat.nd_array(pred), options.axis).asnumpy()
            if (decided >= 0).all():
                return hard_counts(decided, _numpy(label).reshape(decided.shape), options,
                                   threshold, classes)
        return hard_counts(_numpy(pred), _numpy(label), options, threshold)


def decide(pred: mx.nd.NDArray, axis: int) -> mx.nd.NDArray:
    """The class with the highest value, -1 where one is NaN: a C-th of pred to take off a GPU."""
    is_nan = mx.nd.max(pred != pred, axis=axis)
    return mx.nd.where(is_nan, -mx.nd.ones_like(is_nan), mx.nd.argmax(pred, axis=axis))


def _on_gpu(array: Any) -> bool:
    return isinstance(array, mx.nd.NDArray) and not on_cpu(array)


def _listed(arrays: Any) -> Any:
    return arrays if isinstance(arrays, (list, tuple)) else [arrays]


def _numpy(array: Any) -> np.ndarray:
    array = array.asnumpy() if isinstance(array, mx.nd.NDArray) else np.asarray(array)
    return array.astype(np.float32) if array.dtype == np.float16 else array
