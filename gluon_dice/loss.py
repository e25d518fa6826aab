"""SoftDiceLoss for Gluon: translates arrays and options; the loss is that of soft_dice."""
from typing import Any, NamedTuple, Optional

import mxnet as mx
import numpy as np
from mxnet.gluon.loss import Loss

from soft_dice.inputs import check_shapes
from soft_dice.options import FIELDS, DiceOptions

from . import counts, native
from .resize import Frame, to_label_size
from .score import loss_from_counts


class Trace(NamedTuple):
    """What a graph of the loss is made for.

    dtype : of the arithmetic, 'float32' or 'float64'.
    native : whether stage 1 is the operator over the kernels, or made of F operators.
    arrays : called on arrays, not on Symbols.
    cast : whether pred is to be cast to dtype; it always is in a graph, which does not know.
    blocks : of pixels, see counts.blocks_for; 0 where they are not counted.
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


class SoftDiceLoss(Loss):
    """Soft Dice loss of each sample; by default the mean over classes c of

        1 - (2 sum p g + smooth) / (sum p + sum g + smooth)

    with p the softmax of pred, g the one-hot label and sums over the sample's pixels.
    :class:`soft_dice.DiceOptions` has the general formula and every variant.

    Works imperatively, hybridized (``static_alloc``, ``static_shape``), inside another hybridized
    block, and on Symbols.  float16 is computed in float32.  In a Symbol, whose dtype is not known,
    arithmetic is float32 unless the loss was told ``cast('float64')``.

    Parameters
    ----------
    options : soft_dice.DiceOptions, optional.
    weight : float, optional.  Multiplies the loss, as in every Gluon loss; for weights of classes
        see ``class_weights``.
    batch_axis : int, default 0.  Of pred, and of a label that has pred's number of axes.
    **fields : options by name, in place of or on top of ``options``.

    Inputs
    ------
    pred : (N, C, ...) float16, float32 or float64.
    label : (N, ...) or (N, 1, ...) class indices of any dtype; with ``sparse_label=False`` the
        shape of pred.  It receives no gradient.  With ``resize`` its sizes, those of the axes after
        the classes, may be others than pred's; inside a network's graph and in a Symbol there can
        then be up to 4 such axes, and equal sizes are interpolated, too, which changes no value.
    pixel_weight : (N, ...) or (N, 1, ...), optional, of the label's sizes.

    Outputs
    -------
    (N,), float64 for float64 pred and float32 otherwise; (N, K counted classes) with
    ``class_reduction='none'``.

    Raises
    ------
    TypeError : unknown option.
    ValueError : contradictory options; shapes that do not match, or options that do not fit the
        number of classes, where the inputs are arrays; SOFT_DICE_NATIVE is neither 0 nor 1.
    RuntimeError : SOFT_DICE_NATIVE=1, and the kernels cannot be used.
    mxnet.base.MXNetError : the same shapes inside a network's graph, which knows them only when it
        runs; with the kernels also a bad value, when the result is read.

    The sums over pixels are done by the compiled kernels, in one operator, where that can be built
    and pred is on the CPU, and by MXNet's own operators otherwise; ``python -m gluon_dice info``
    says which and why, and SOFT_DICE_NATIVE=0 or 1 in the environment decides.  A hybridized loss
    follows a change of it; a hybridized network around it keeps what it was traced with.  There are
    two differences.  A bad *value* (a label that is out of range, fractional or NaN, a pixel weight
    that is negative or not finite) is an MXNetError that names it, but MXNet's operators cannot
    refuse one: with them the loss and the gradient of that sample are NaN (with ``batch_dice`` of
    all), likewise in a graph for an activation that makes no sense for the number of classes.  And
    in a graph they cannot see a label with its axes in another order.

    A graph exported with the kernels needs ``gluon_dice.native.load()`` before it is loaded; one
    that was traced under SOFT_DICE_NATIVE=0 needs nothing.

    Examples
    --------
    >>> loss = SoftDiceLoss(include_background=False)
    >>> loss.hybridize(static_alloc=True, static_shape=True)
    >>> loss(mx.nd.zeros((2, 3, 4, 4)), mx.nd.zeros((2, 4, 4))).shape
    (2,)
    """

    def __init__(self, options: Optional[DiceOptions] = None, weight: Optional[float] = None,
                 batch_axis: int = 0, **fields: Any) -> None:
        block = {name: fields.pop(name) for name in ('prefix', 'params') if name in fields}
        super().__init__(weight=weight, batch_axis=batch_axis, **block)
        if options is not None and not isinstance(options, DiceOptions):
            raise TypeError('options must be a soft_dice.DiceOptions, for example '
                            f'DiceOptions(smooth=1.0); got {type(options).__name__}')
        if not isinstance(batch_axis, int) or batch_axis < 0:
            raise ValueError(f'batch_axis must be a whole number >= 0; got {batch_axis!r}')
        self.options = (options or DiceOptions()).replace(**fields)
        self._symbol_dtype = 'float32'
        self._trace = Trace()

    def __repr__(self) -> str:
        changed = [f'{name}={value!r}' for name, value in self.options.to_dict().items()
                   if value != FIELDS[name]]
        changed += [f'weight={self._weight!r}'] * (self._weight is not None)
        changed += [f'batch_axis={self._batch_axis}'] * (self._batch_axis != 0)
        return f'{type(self).__name__}({", ".join(changed)})'

    def cast(self, dtype: Any) -> None:
        """Set the arithmetic of Symbol calls; arrays bring their own dtype."""
        super().cast(dtype)
        self._symbol_dtype = _arithmetic(dtype)

    def forward(self, pred: Any, label: Any, pixel_weight: Any = None) -> Any:
        if isinstance(pred, mx.nd.NDArray):
            shape = check_shapes(self.options, pred.shape, label.shape,
                                 None if pixel_weight is None else pixel_weight.shape,
                                 self._batch_axis)
            classes = pred.shape[self.options.axis]
            self.options.resolve(classes)
            pixels = int(np.prod(shape)) // (classes * pred.shape[self._batch_axis])
            dtype = _arithmetic(pred.dtype)
            trace = Trace(dtype, native.wanted(pred), arrays=True,
                          cast=np.dtype(pred.dtype) != dtype,
                          blocks=counts.blocks_for(pixels), ndim=pred.ndim, num_classes=classes,
                          weighted=pixel_weight is not None, resized=shape != pred.shape)
        else:
            trace = Trace(self._symbol_dtype, native.wanted(pred),
                          weighted=pixel_weight is not None,
                          resized=self.options.resize is not None)
        self._retrace_for(trace)
        inputs = [pred, label] + [pixel_weight] * trace.weighted
        if trace.native and trace.arrays:
            inputs = [native.alias(pred), *map(native.constant, inputs[1:])]
        return super().forward(*inputs)

    def hybrid_forward(self, F: Any, pred: Any, label: Any, pixel_weight: Any = None) -> Any:
        dtype, is_native, arrays, cast, blocks, ndim, num_classes, _, resized = self._trace
        options, batch_axis = self.options, self._batch_axis
        owned = is_native and not arrays
        if cast and (resized or not owned):
            pred = F.cast(pred, dtype)
        if resized:
            frame = Frame(options.axis % ndim if ndim else options.axis, batch_axis, ndim)
            pred, label, pixel_weight = to_label_size(F, pred, label, pixel_weight, options, frame,
                                                      dtype)
            options, batch_axis, ndim = options.replace(axis=1), 0, 3 if ndim else 0
        if owned:
            pred = native.own(F, pred, dtype)
        if is_native:
            sums = native.count(F, pred, label, pixel_weight, options, batch_axis, arrays)
            valid = F.ones_like(F.slice_axis(sums.label_sum, axis=1, begin=0, end=1))
        else:
            pixels = counts.prepare(F, pred, label, pixel_weight, options, batch_axis, dtype, ndim,
                                    num_classes)
            sums = counts.count(F, pixels, options, blocks, num_classes)
            valid = pixels.valid
        loss = F.cast(loss_from_counts(F, sums, valid, self.options), dtype)
        return loss if self._weight is None else loss * self._weight

    def _retrace_for(self, trace: Trace) -> None:
        """A cached graph is for one trace."""
        if self._trace != trace:
            self._clear_cached_op()
        self._trace = trace


def _arithmetic(dtype: Any) -> str:
    # Sums in float16 overflow at 65504 pixels.
    return 'float64' if np.dtype(dtype) == 'float64' else 'float32'
