"""DiceScoreLayer: translates blobs; the metric is that of soft_dice."""
from typing import Any, Optional, Sequence

import caffe
import numpy as np

from soft_dice.inputs import check_shapes
from soft_dice.metric_options import MetricOptions
from soft_dice.metrics import HardCounts, Tally, hard_counts
from soft_dice.plan import resolve

from . import params
from .errors import reported
from .runs import Runs, note_forward, note_setup

UNSEEN = -1.0


class DiceScoreLayer(caffe.Layer):
    """Dice of what a network decides, over the whole of a test run::

        layer {
          name: "dice"  type: "Python"  include { phase: TEST }
          bottom: "score"  bottom: "label"  top: "dice"  top: "dice_per_class"
          python_param { module: "caffe_layers"  layer: "DiceScoreLayer"
                         param_str: '{"ignore_label": 255}' }
        }

    :func:`soft_dice.hard_counts` says how a prediction is decided.

    Caffe prints the mean of a top over the test_iter forwards of a run.  The mean of Dice over
    batches is not that of the set, so forward t outputs t D_t - (t - 1) D_(t-1), with D_t the Dice
    over all batches so far: the mean of these is D_t.  A single output may lie outside [0, 1].

    A new run begins when a layer of this package, in the TRAIN net of the same process, has trained
    in between: SoftDiceLossLayer, or a DiceScoreLayer without ``include``, which in phase TRAIN
    gives the Dice of each batch.  Without one, ``"test_iter"`` must say how many forwards a run
    has.  ``caffe test`` is one run.  From Python, ``net.layer_dict['dice'].reset()`` begins one,
    and ``.counts`` is what was counted in it, a :class:`soft_dice.HardCounts`.

    ``param_str`` is a JSON object or a Python dict literal with

    - activation, sparse_label, classes, include_background, ignore_label and resize, as of the
      loss, or "preset", which brings them;
    - threshold, beta (of F-beta), empty, empty_by, per_image, metric and average (that of the first
      top), as of :func:`soft_dice.hard_dice`;
    - test_iter.

    Bottoms
    -------
    0 : prediction (N, C, ...).
    1 : label (N, 1, ...) or (N, ...) class indices; with ``"sparse_label": false`` as prediction.

    Tops
    ----
    0 : mean over the classes, or what ``average`` says, a scalar.
    1 : each counted class, (K,), optional.

    Where empty is "nan", a class that was neither predicted nor labelled in the whole run gives -1,
    as Caffe's sum could not take a NaN back when the class comes; the mean leaves it out.

    Raises
    ------
    ValueError, TypeError : options, number of bottoms or tops, shapes, label values or NaN in the
        prediction, as :func:`soft_dice.hard_counts`; test_iter that is missing or not the solver's;
        a ``loss_weight``, as a decision has no gradient.
    """

    @reported
    def setup(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        fields = params.fields(self.param_str, MetricOptions)
        runs = Runs(check_test_iter(fields.pop('test_iter', None)))
        options = params.of_caffe(MetricOptions.from_dict(fields))
        if len(bottom) != 2:
            raise ValueError('DiceScoreLayer takes the bottoms prediction and label; '
                             f'got {len(bottom)}')
        if len(top) not in (1, 2):
            raise ValueError('DiceScoreLayer has the tops mean and, if wanted, Dice per class; '
                             f'got {len(top)}')
        self.options, self._runs, self._tally = options, runs, Tally(options)
        note_setup(self)

    def reset(self) -> None:
        """Begin a new test run with the next forward."""
        self._runs.reset()
        self._tally = Tally(self.options)

    @property
    def counts(self) -> Optional[HardCounts]:
        """What was counted in this test run; None before its first forward."""
        return self._tally.counts

    @reported
    def reshape(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        check_shapes(self.options.dice, tuple(bottom[0].shape), tuple(bottom[1].shape))
        plan = resolve(self.options, bottom[0].shape[1])
        top[0].reshape()
        if len(top) == 2:
            top[1].reshape(len(plan.counted))

    @reported
    def forward(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        note_forward(self)
        counts = hard_counts(bottom[0].data, bottom[1].data, self.options.dice,
                             self.options.threshold)
        testing = self.phase == caffe.TEST
        if testing:
            self._runs.forward()
        if not testing or self._runs.forwards == 1:
            self._tally = Tally(self.options)
            self._summed = np.zeros(1, np.float32)
        self._tally.add(counts)
        values = np.array([self._tally.mean(), *self._tally.per_class()])
        values = np.where(np.isnan(values), UNSEEN, values)
        if testing:
            # From the sum that Caffe has, in float32, to that wanted: errors do not pile up.
            values = (self._runs.forwards * values - self._summed).astype(np.float32)
            self._summed = self._summed + values
        top[0].data[...] = values[0]
        if len(top) == 2:
            top[1].data[...] = values[1:]

    @reported
    def backward(self, top: Sequence[Any], propagate_down: Sequence[bool],
                 bottom: Sequence[Any]) -> None:
        if any(top[i].diff.any() for i in range(len(top))):
            raise ValueError('a decision has no gradient: leave out the loss_weight of '
                             'DiceScoreLayer, and train with SoftDiceLossLayer')
        for i in range(len(bottom)):
            if propagate_down[i]:
                bottom[i].diff[...] = 0


def check_test_iter(value: Any) -> Optional[int]:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ValueError("test_iter must be a whole number >= 1, the solver's, for example 20; "
                         f'got {value!r}')
    return value
