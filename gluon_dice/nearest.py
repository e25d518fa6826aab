"""Labels at the size of a prediction as a Custom operator, after soft_dice.resize.nearest."""
from typing import Any, List, Sequence, Tuple

import mxnet as mx
import numpy as np

from soft_dice.inputs import check_shapes
from soft_dice.options import DiceOptions
from soft_dice.resize import nearest

from . import threads
from .layout import Layout
from .memory import Arrays, known, numpy_of, write


@mx.operator.register('soft_dice_nearest')
class NearestProp(mx.operator.CustomOpProp):
    """soft_dice_nearest(array, pred) -> as of :func:`to_pred_size`; without a gradient.

    Its attributes are text: ``axis``, ``batch_axis``, and ``dense``, 0 or 1.
    """

    def __init__(self, axis: str, batch_axis: str, dense: str) -> None:
        super().__init__(need_top_grad=False)
        self._batch_axis, self._dense = int(batch_axis), dense == '1'
        self._options = DiceOptions(axis=int(axis), sparse_label=not self._dense, resize='bilinear')

    def list_arguments(self) -> List[str]:
        return ['array', 'pred']

    def infer_type(self, in_type: Sequence[Any]) -> Tuple[Any, ...]:
        inputs = [np.float32 if each is None else each for each in in_type]
        return inputs, inputs[:1], []

    def infer_shape(self, in_shape: Sequence[Sequence[int]]) -> Tuple[Any, ...]:
        if not all(map(known, in_shape)):
            return in_shape, [[]], []
        array, pred = map(tuple, in_shape)
        check_shapes(self._options, pred, array, batch_axis=self._batch_axis)
        shape = list(pred)
        if not self._dense:
            shape[self._options.axis] = 1
        return in_shape, [shape], []

    def create_operator(self, ctx: mx.Context, *_: Any) -> 'NearestOperator':
        threads.prepare(ctx)
        return NearestOperator(self._options.axis)


class NearestOperator(mx.operator.CustomOp):
    """What NearestProp describes."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self._axis = axis

    def forward(self, is_train: bool, req: List[str], in_data: Arrays, out_data: Arrays, aux: Arrays
                ) -> None:
        array, shape = numpy_of(in_data[0]), out_data[0].shape
        if array.ndim < len(shape):
            array = np.expand_dims(array, self._axis % len(shape))
        write(out_data[0], req[0], nearest(array, shape))

    def backward(self, req: List[str], out_grad: Arrays, in_data: Arrays, out_data: Arrays,
                 in_grad: Arrays, aux: Arrays) -> None:
        for array, how in zip(in_grad, req):
            write(array, how, 0)


def to_pred_size(F: Any, array: Any, pred: Any, layout: Layout, dense: bool) -> Any:
    """As :func:`gluon_dice.resize.to_pred_size`."""
    array, pred = F.BlockGrad(array), F.BlockGrad(pred)
    return F.Custom(array, pred, op_type='soft_dice_nearest', axis=str(layout.axis),
                    batch_axis=str(layout.batch_axis), dense=str(int(dense)))
