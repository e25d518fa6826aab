"""Stage 1 as a Custom operator of MXNet: Python inside a graph, over the kernels or NumPy.

It needs nothing of MXNet but what every release since 1.0 has.  Python runs it in a thread of
MXNet's, so it serves on every machine and holds one core of Python while it does.
"""
import logging
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Type

import mxnet as mx
import numpy as np

from soft_dice.ce_options import DiceCEOptions
from soft_dice.inputs import Batch, check_batch, check_shapes, check_values
from soft_dice.options import DiceOptions, Options
from soft_dice.plan import Plan, resolve
from soft_dice.resize import at_label_size
from soft_dice import stages
from soft_dice.sums import Slopes, Sums

from . import threads
from .layout import Layout
from .memory import Arrays, known, numpy_of, write, written

LOG = logging.getLogger('gluon_dice')
KINDS: Dict[str, Type[Options]] = {'dice': DiceOptions, 'dice_ce': DiceCEOptions}
Shapes = Sequence[Sequence[int]]


# --- stage 1 and stage 3 of arrays ----------------------------------------------------------------

class Counted(NamedTuple):
    """Stage 1 and the way back; in the backward, which needs no sums, these are None."""

    sums: Optional[Sums]
    vjp: stages.SumsVJP


@at_label_size
def _forward(pred: np.ndarray, label: np.ndarray, options: Options,
             pixel_weight: Optional[np.ndarray]) -> Counted:
    return Counted(*stages.count(*_planned(pred, label, options, pixel_weight)))


@at_label_size
def _backward(pred: np.ndarray, label: np.ndarray, options: Options,
              pixel_weight: Optional[np.ndarray]) -> Counted:
    return Counted(None, stages.sums_vjp(*_planned(pred, label, options, pixel_weight)))


def _planned(pred: np.ndarray, label: np.ndarray, options: Options,
             pixel_weight: Optional[np.ndarray]) -> Tuple[Batch, Plan]:
    batch = check_batch(pred, label, options.dice, pixel_weight)
    return batch, resolve(options, batch.pred.shape[options.dice.axis])


def _sums(batch: Batch, options: Options) -> Sums:
    """The sums, NaN in a sample with a value that is not allowed: up to MXNet 1.4 an exception
    inside an operator ends the process."""
    try:
        return _forward(batch.pred, batch.label, options, batch.pixel_weight).sums
    except ValueError as error:
        LOG.warning('%s; its loss is NaN', error)
    samples = [_sums_or_nan(_part(batch, n), options) for n in range(len(batch.pred))]
    return Sums(*(None if each[0] is None else np.concatenate(each) for each in zip(*samples)))


def _sums_or_nan(sample: Batch, options: Options) -> Sums:
    try:
        return _forward(sample.pred, sample.label, options, sample.pixel_weight).sums
    except ValueError:
        counts = np.full((1, sample.pred.shape[options.dice.axis]), np.nan)
        entropy = [counts[:, 0]] * (2 * isinstance(options, DiceCEOptions))
        return Sums(counts, counts, counts, *entropy)


def _gradient(batch: Batch, options: Options, slopes: Slopes, bad: np.ndarray, out: np.ndarray
              ) -> None:
    """Stage 3 into ``out``; NaN in the samples that ``bad`` marks."""
    if not bad.any():
        _backward(batch.pred, batch.label, options, batch.pixel_weight).vjp(slopes, out)
        return
    for n, is_bad in enumerate(bad):
        one = slice(n, n + 1)
        if is_bad:
            out[one] = np.nan
        else:
            _gradient(_part(batch, n), options, _part(slopes, n), bad[one], out[one])


def _part(arrays: Any, n: int) -> Any:
    """Of a Batch or of Slopes, what belongs to sample n."""
    return type(arrays)(*(each if each is None else each[n:n + 1] for each in arrays))


# --- the operator ---------------------------------------------------------------------------------

@mx.operator.register('soft_dice_sums')
class SumsProp(mx.operator.CustomOpProp):
    """soft_dice_sums(pred, label[, pixel_weight]) -> the sums of soft_dice.sums.Sums, float64.

    Its attributes are text: ``kind``, a name of KINDS; ``options``, JSON; ``batch_axis``;
    ``num_classes``, 0 where that is not known; ``weighted``, 1 where there is a pixel_weight.
    """

    def __init__(self, kind: str, options: str, batch_axis: str, num_classes: str, weighted: str
                 ) -> None:
        super().__init__(need_top_grad=True)
        self._options = KINDS[kind].from_param_str(options)
        self._batch_axis, self._num_classes = int(batch_axis), int(num_classes)
        self._weighted = int(weighted)

    def list_arguments(self) -> List[str]:
        return ['pred', 'label', 'pixel_weight'][:2 + self._weighted]

    def list_outputs(self) -> List[str]:
        return list(Sums._fields[:5 if isinstance(self._options, DiceCEOptions) else 3])

    def infer_type(self, in_type: Sequence[Any]) -> Tuple[Any, ...]:
        inputs = [np.float32 if each is None else each for each in in_type]
        return inputs, [np.float64] * len(self.list_outputs()), []

    def infer_shape(self, in_shape: Shapes) -> Tuple[Any, ...]:
        outputs = len(self.list_outputs())
        if not all(map(known, in_shape)):
            return in_shape, [[]] * outputs, []
        pred, label, *weight = map(tuple, in_shape)
        axis, batch_axis = self._options.dice.axis, self._batch_axis
        check_shapes(self._options.dice, pred, label, weight[0] if weight else None, batch_axis)
        classes = resolve(self._options, pred[axis]).num_classes
        if self._num_classes not in (0, classes):
            raise ValueError(f'pred must have {self._num_classes} channels along axis {axis}; got '
                             f'{classes} in {pred}')
        counts, entropy = [pred[batch_axis], classes], [pred[batch_axis]]
        return in_shape, [counts] * 3 + [entropy] * (outputs - 3), []

    def create_operator(self, ctx: mx.Context, *_: Any) -> 'SumsOperator':
        threads.prepare(ctx)
        return SumsOperator(self._options, self._batch_axis)


class SumsOperator(mx.operator.CustomOp):
    """What SumsProp describes."""

    def __init__(self, options: Options, batch_axis: int) -> None:
        super().__init__()
        self._options, self._batch_axis = options, batch_axis

    def forward(self, is_train: bool, req: List[str], in_data: Arrays, out_data: Arrays, aux: Arrays
                ) -> None:
        with np.errstate(all='ignore'):  # a warning may be an error to the user
            sums = _sums(self._batch_first(in_data), self._options)
        for array, how, each in zip(out_data, req, sums):
            write(array, how, each)

    def backward(self, req: List[str], out_grad: Arrays, in_data: Arrays, out_data: Arrays,
                 in_grad: Arrays, aux: Arrays) -> None:
        for array, how in zip(in_grad[1:], req[1:]):
            write(array, how, 0)
        if req[0] == 'null':
            return
        found = Sums(*map(numpy_of, out_data))
        # The sum of a label is a NaN only where _sums() has made it one.
        bad = np.isnan(found.label_sum).any(axis=1)
        slope = Sums(*map(numpy_of, out_grad))
        slopes = Slopes(slope.intersection, slope.pred_sum, slope.entropy)
        batch = self._batch_first(in_data)
        with written(in_grad[0], req[0]) as gradient, np.errstate(all='ignore'):
            _gradient(batch, self._options, slopes, bad, gradient.swapaxes(0, self._batch_axis))

    def _batch_first(self, arrays: Arrays) -> Batch:
        pred, *others = map(numpy_of, arrays)
        layout = Layout(self._options.dice.axis, self._batch_axis, pred.ndim)
        label, *weight = batch_first(others, layout)
        return Batch(pred.swapaxes(0, self._batch_axis), label, weight[0] if weight else None)


def batch_first(arrays: Sequence[np.ndarray], layout: Layout) -> List[np.ndarray]:
    """Labels and pixel weights with samples first, and then also with a class axis."""
    if layout.batch_axis == 0:
        return list(arrays)
    axis = layout.axis % layout.ndim
    each_class = (each if each.ndim == layout.ndim else np.expand_dims(each, axis)
                  for each in arrays)
    return [each.swapaxes(0, layout.batch_axis) for each in each_class]


def count(F: Any, pred: Any, label: Any, pixel_weight: Optional[Any], plan: Plan, batch_axis: int
          ) -> Sums:
    """The sums, of float32 or float64 ``pred`` of any size; E is divided by ``entropy_norm``."""
    inputs = [pred, label] + [pixel_weight] * (pixel_weight is not None)
    options = plan.ce or plan.dice
    return Sums(*F.Custom(
        *inputs, op_type='soft_dice_sums', kind='dice' if plan.ce is None else 'dice_ce',
        options=options.to_json(), batch_axis=str(batch_axis), num_classes=str(plan.num_classes),
        weighted=str(len(inputs) - 2)))


def refuse_values(plan: Plan, layout: Layout, label: mx.nd.NDArray,
                  pixel_weight: Optional[mx.nd.NDArray] = None) -> None:
    """Refuse values of arrays that are not allowed, which the operator itself must not.

    Raises
    ------
    ValueError
    """
    arrays = [each.asnumpy() for each in (label, pixel_weight) if each is not None]
    labels, *weights = batch_first(arrays, layout)
    check_values(labels, weights[0] if weights else None, plan.num_classes, plan.dice)
