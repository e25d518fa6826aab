"""What the losses share: a Gluon loss that holds its stage 1, for the inputs of one call."""
import functools
from typing import Any, ClassVar, Optional, Type, Union

import mxnet as mx
import numpy as np
from mxnet.gluon.loss import Loss

from soft_dice.inputs import check_label_dtype, check_shapes
from soft_dice.options import Options, chosen
from soft_dice.plan import resolve
from soft_dice.values import is_number

from . import custom, door
from .compat import takes_np
from .counts import blocks_for
from .layout import Layout
from .precision import without_amp
from .stage_one import Call, Custom, Kernels, Operators, StageOne, choose
from .stage_two import loss_of


class StagedLoss(Loss):
    """A loss of the three stages; a subclass says what its options are."""

    KIND: ClassVar[Type[Options]]

    def __init__(self, options: Union[None, str, Options] = None,
                 weight: Optional[float] = None, batch_axis: int = 0,
                 num_classes: Optional[int] = None, **fields: Any) -> None:
        block = {name: fields.pop(name) for name in ('prefix', 'params') if name in fields}
        if weight is not None and not is_number(weight):
            raise ValueError('weight must be a number, for example 0.5, which multiplies the loss; '
                             f'for one per class use class_weights; got {weight!r}')
        super().__init__(weight=weight, batch_axis=batch_axis, **block)
        if not isinstance(batch_axis, int) or batch_axis < 0:
            raise ValueError(f'batch_axis must be a whole number >= 0; got {batch_axis!r}')
        self.options = chosen(self.KIND, options, fields)
        if self.options.dice.axis == batch_axis:
            raise ValueError(f'axis must not be the batch axis, {batch_axis}, for example '
                             f'axis={batch_axis + 1}; got axis={batch_axis}')
        if num_classes is not None:
            if type(num_classes) is not int or num_classes < 1:
                raise ValueError('num_classes must be a whole number >= 1, for example 4; '
                                 f'got {num_classes!r}')
            resolve(self.options, num_classes)
        self._num_classes = num_classes
        self._symbol_dtype = 'float32'
        self._stage_one: Optional[StageOne] = None  # of the last call

    def __repr__(self) -> str:
        changed = self.options.changed()
        changed += [f'weight={self._weight!r}'] * (self._weight is not None)
        changed += [f'batch_axis={self._batch_axis}'] * (self._batch_axis != 0)
        changed += [f'num_classes={self._num_classes}'] * (self._num_classes is not None)
        return f'{type(self).__name__}({", ".join(changed)})'

    def cast(self, dtype: Any) -> None:
        """Set the arithmetic of Symbol calls; arrays bring their own dtype."""
        super().cast(dtype)
        self._symbol_dtype = arithmetic(dtype)

    @takes_np
    def forward(self, pred: Any, label: Any, pixel_weight: Any = None) -> Any:
        weight = {} if pixel_weight is None else {'pixel_weight': pixel_weight}
        inputs = [pred, *door.checked({'pred': pred}, {'label': label, **weight})]
        of_arrays = isinstance(pred, mx.nd.NDArray)
        stage_one = self._of_arrays(*inputs) if of_arrays else self._of_symbols(*inputs)
        if stage_one != self._stage_one:
            self._clear_cached_op()  # a graph was traced with one stage 1
            self._stage_one = stage_one
        return super().forward(*stage_one.inputs(*inputs))

    def _of_arrays(self, pred: Any, label: Any, pixel_weight: Any = None) -> StageOne:
        """Stage 1 for these arrays, whose shapes and dtypes are checked."""
        dice, batch_axis = self.options.dice, self._batch_axis
        if dice.sparse_label:
            door.not_outputs(pred, label, pixel_weight, dice.axis)
        shape = check_shapes(dice, pred.shape, label.shape,
                             None if pixel_weight is None else pixel_weight.shape, batch_axis)
        classes = pred.shape[dice.axis]
        if self._num_classes not in (None, classes):
            raise ValueError(f'pred must have num_classes={self._num_classes} channels along '
                             f'axis {dice.axis}; got {classes} in {pred.shape}')
        check_label_dtype(dice, np.dtype(label.dtype), classes)
        dtype = arithmetic(pred.dtype)
        call = Call(plan=resolve(self.options, classes),
                    layout=Layout(dice.axis % pred.ndim, batch_axis, pred.ndim),
                    dtype=dtype, cast=np.dtype(pred.dtype) != dtype,
                    resized=shape != pred.shape, weighted=pixel_weight is not None)
        kind = choose(pred).kind
        if kind is Kernels:
            return Kernels(call, arrays=True)
        if kind is Custom:
            custom.refuse_values(call.plan, call.layout, label, pixel_weight)
            return Custom(call)
        pixels = int(np.prod(shape)) // (classes * pred.shape[batch_axis])
        return Operators(call, blocks=blocks_for(pixels))

    def _of_symbols(self, pred: Any, label: Any, pixel_weight: Any = None) -> StageOne:
        """Stage 1 for a graph, which knows neither shapes nor dtypes."""
        dice = self.options.dice
        call = Call(plan=resolve(self.options, self._num_classes),
                    layout=Layout(dice.axis, self._batch_axis), dtype=self._symbol_dtype, cast=True,
                    resized=dice.resize is not None, weighted=pixel_weight is not None)
        kind = choose(pred).kind
        if kind is Kernels:
            return Kernels(call, arrays=False)
        if kind is Custom:
            return Custom(call)
        return Operators(call, blocks=0)

    def hybrid_forward(self, F: Any, pred: Any, label: Any, pixel_weight: Any = None) -> Any:
        return without_amp(F, functools.partial(self._evaluate, F), pred, label, pixel_weight)

    def _evaluate(self, F: Any, *inputs: Any) -> Any:
        assert self._stage_one is not None
        call = self._stage_one.call
        loss = F.cast(loss_of(F, self._stage_one(F, *inputs), call.plan), call.dtype)
        return loss if self._weight is None else loss * self._weight


def arithmetic(dtype: Any) -> str:
    # Sums in float16 overflow at 65504 pixels.
    return 'float64' if np.dtype(dtype) == 'float64' else 'float32'
