"""What the losses share: inputs, dtypes, hybridizing, and the order of the three stages."""
from typing import Any, ClassVar, List, NamedTuple, Optional, Tuple, Type, TypeVar

import mxnet as mx
import numpy as np
from mxnet.gluon.loss import Loss

from soft_dice.inputs import check_label_dtype, check_shapes
from soft_dice.options import Options, require

from . import native
from .counts import Counts, Pixels, blocks_for, prepare
from .precision import without_amp
from .resize import Frame, to_label_size

AnyLoss = TypeVar('AnyLoss', bound='StagedLoss')


class Trace(NamedTuple):
    """What a graph of the loss is made for.

    dtype : of the arithmetic, 'float32' or 'float64'.
    native : whether stage 1 is the operator over the kernels, or made of F operators.
    arrays : called on arrays, not on Symbols.
    cast : whether pred is to be cast to dtype; it always is in a graph, which does not know.
    blocks : of pixels, see blocks_for; 0 where they are not counted.
    ndim, num_classes : of pred; 0 where they are not known.
    weighted : whether there is a pixel_weight.
    resized : whether pred may have another size than the label.
    """

    dtype: str = 'float32'
    native: bool = False
    arrays: bool = False
    cast: bool = True
    blocks: int = 0
    ndim: int = 0
    num_classes: int = 0
    weighted: bool = False
    resized: bool = False


class StagedLoss(Loss):
    """A loss of the three stages.  A subclass says what its options are, what is summed over the
    pixels, and what loss these sums give; autograd is stage 3.
    """

    KIND: ClassVar[Type[Options]]
    OTHERS: ClassVar[int] = 0  # sums of a sample that are not of a class

    def __init__(self, options: Optional[Options] = None, weight: Optional[float] = None,
                 batch_axis: int = 0, num_classes: Optional[int] = None, **fields: Any) -> None:
        block = {name: fields.pop(name) for name in ('prefix', 'params') if name in fields}
        super().__init__(weight=weight, batch_axis=batch_axis, **block)
        if not isinstance(batch_axis, int) or batch_axis < 0:
            raise ValueError(f'batch_axis must be a whole number >= 0; got {batch_axis!r}')
        given = self.KIND() if options is None else require(options, self.KIND)
        self.options = given.replace(**fields)
        if num_classes is not None:
            if type(num_classes) is not int or num_classes < 1:
                raise ValueError('num_classes must be a whole number >= 1, for example 4; '
                                 f'got {num_classes!r}')
            self.options.resolve(num_classes)
        self._num_classes = num_classes or 0
        self._symbol_dtype = 'float32'
        self._trace = Trace()
        self._cut = False  # after stage 1

    def __repr__(self) -> str:
        changed = self.options.changed()
        changed += [f'weight={self._weight!r}'] * (self._weight is not None)
        changed += [f'batch_axis={self._batch_axis}'] * (self._batch_axis != 0)
        changed += [f'num_classes={self._num_classes}'] * (self._num_classes != 0)
        return f'{type(self).__name__}({", ".join(changed)})'

    def cast(self, dtype: Any) -> None:
        """Set the arithmetic of Symbol calls; arrays bring their own dtype."""
        super().cast(dtype)
        self._symbol_dtype = arithmetic(dtype)

    def forward(self, pred: Any, label: Any, pixel_weight: Any = None) -> Any:
        if isinstance(pred, mx.nd.NDArray):
            dice = self.options.dice
            shape = check_shapes(dice, pred.shape, label.shape,
                                 None if pixel_weight is None else pixel_weight.shape,
                                 self._batch_axis)
            classes = pred.shape[dice.axis]
            if self._num_classes not in (0, classes):
                raise ValueError(f'pred must have num_classes={self._num_classes} channels along '
                                 f'axis {dice.axis}; got {classes} in {pred.shape}')
            check_label_dtype(dice, np.dtype(label.dtype), classes)
            self.options.resolve(classes)
            pixels = int(np.prod(shape)) // (classes * pred.shape[self._batch_axis])
            dtype = arithmetic(pred.dtype)
            trace = Trace(dtype, self._native_wanted(pred), arrays=True,
                          cast=np.dtype(pred.dtype) != dtype,
                          blocks=blocks_for(pixels), ndim=pred.ndim, num_classes=classes,
                          weighted=pixel_weight is not None, resized=shape != pred.shape)
        else:
            trace = Trace(self._symbol_dtype, self._native_wanted(pred),
                          num_classes=self._num_classes, weighted=pixel_weight is not None,
                          resized=self.options.dice.resize is not None)
        self._retrace_for(trace)
        inputs = [pred, label] + [pixel_weight] * trace.weighted
        if trace.native and trace.arrays:
            inputs = [native.alias(pred), *map(native.constant, inputs[1:])]
        return super().forward(*inputs)

    def hybrid_forward(self, F: Any, pred: Any, label: Any, pixel_weight: Any = None) -> Any:
        def evaluate(*inputs: Any) -> Any:
            return self._evaluate(F, *inputs)

        return without_amp(F, evaluate, pred, label, pixel_weight)

    def _evaluate(self, F: Any, pred: Any, label: Any, pixel_weight: Optional[Any]) -> Any:
        sums, valid = self._stage_one(F, pred, label, pixel_weight)
        if self._cut:
            return F.concat(*self._flat(sums), valid, dim=1)
        return self._weigh(F.cast(self._loss(F, sums, valid), self._trace.dtype))

    def stage_one(self: AnyLoss) -> AnyLoss:
        """A loss of its own that ends after stage 1: what it gives is the sums and, last, ``valid``
        side by side, (N, M) float64, of which :meth:`stage_two` makes the loss.
        """
        cut = type(self)(self.options, batch_axis=self._batch_axis,
                         num_classes=self._num_classes or None)
        cut._cut = True
        return cut

    def stage_two(self, F: Any, sums: Any, num_classes: int) -> Any:
        """The loss in float64 of what :meth:`stage_one` gives, of predictions of so many classes.
        """
        def columns(begin: int, end: Optional[int]) -> Any:
            return F.slice_axis(sums, axis=1, begin=begin, end=end)

        counted = len(Counts._fields) * num_classes
        counts = [columns(c, c + num_classes) for c in range(0, counted, num_classes)]
        others = [columns(counted + i, counted + i + 1) for i in range(self.OTHERS)]
        return self._weigh(self._loss(F, self._unflat(counts + others), columns(-1, None)))

    def _weigh(self, loss: Any) -> Any:
        return loss if self._weight is None else loss * self._weight

    def _stage_one(self, F: Any, pred: Any, label: Any, pixel_weight: Any) -> Tuple[Any, Any]:
        trace, options, batch_axis, ndim = (self._trace, self.options, self._batch_axis,
                                            self._trace.ndim)
        owned = trace.native and not trace.arrays
        if trace.cast and (trace.resized or not owned):
            pred = F.cast(pred, trace.dtype)
        if trace.resized:
            axis = options.dice.axis
            frame = Frame(axis % ndim if ndim else axis, batch_axis, ndim)
            pred, label, pixel_weight = to_label_size(F, pred, label, pixel_weight, options.dice,
                                                      frame, trace.dtype)
            options, batch_axis, ndim = options.replace(axis=1), 0, 3 if ndim else 0
        if owned:
            pred = native.own(F, pred, trace.dtype)
        if trace.native:
            return self._native_sums(F, pred, label, pixel_weight, options, batch_axis)
        pixels = prepare(F, pred, label, pixel_weight, options.dice, batch_axis, trace.dtype,
                         ndim, trace.num_classes)
        return self._sums(F, pixels), pixels.valid

    def _retrace_for(self, trace: Trace) -> None:
        """A cached graph is for one trace."""
        if self._trace != trace:
            self._clear_cached_op()
        self._trace = trace

    # What a subclass says.

    def _native_wanted(self, pred: Any) -> bool:
        """Whether stage 1 of ``pred``, an NDArray or a Symbol, is to be an operator over kernels.

        Raises
        ------
        RuntimeError, ValueError : as :func:`gluon_dice.native.wanted`.
        """
        raise NotImplementedError

    def _native_sums(self, F: Any, pred: Any, label: Any, pixel_weight: Optional[Any],
                     options: Any, batch_axis: int) -> Tuple[Any, Any]:
        """Stage 1 by that operator: the sums, and ``valid`` as in counts.Pixels.

        options, batch_axis : the loss's own, with the axes that the arrays have here.
        """
        raise NotImplementedError

    def _sums(self, F: Any, pixels: Pixels) -> Any:
        """Stage 1 in F operators."""
        raise NotImplementedError

    def _loss(self, F: Any, sums: Any, valid: Any) -> Any:
        """Stage 2: (N,) or (N, K) float64, NaN where ``valid`` (N, 1) is 0."""
        raise NotImplementedError

    def _flat(self, sums: Any) -> List[Any]:
        """The arrays that ``sums`` holds: three (N, C), then OTHERS times (N, 1)."""
        raise NotImplementedError

    def _unflat(self, arrays: List[Any]) -> Any:
        """The sums that hold these."""
        raise NotImplementedError


def arithmetic(dtype: Any) -> str:
    # Sums in float16 overflow at 65504 pixels.
    return 'float64' if np.dtype(dtype) == 'float64' else 'float32'
