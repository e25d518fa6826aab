"""SoftDiceLoss for Gluon: translates arrays and options; the loss is that of soft_dice."""
from typing import Any, Optional, Tuple

import mxnet as mx
import numpy as np
from mxnet.gluon.loss import Loss

from soft_dice.inputs import check_shapes
from soft_dice.options import FIELDS, DiceOptions

from .counts import blocks_for, count, prepare
from .score import loss_from_counts

Traced = Tuple[str, int, bool]


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
        shape of pred.  It receives no gradient.
    pixel_weight : (N, ...) or (N, 1, ...), optional.

    Outputs
    -------
    (N,), float64 for float64 pred and float32 otherwise; (N, K counted classes) with
    ``class_reduction='none'``.

    Raises
    ------
    TypeError : unknown option.
    ValueError : contradictory options; shapes that do not match, or options that do not fit the
        number of classes, where the inputs are arrays.  Inside a network's graph, which knows no
        shapes, MXNet's shape inference refuses a label of another batch or number of pixels with an
        MXNetError; it cannot see axes in another order, nor a class named twice.

    A *value* a graph cannot refuse makes the loss and the gradient of that sample NaN (with
    ``batch_dice`` of all): a label that is out of range, fractional or NaN, a pixel weight that is
    negative or not finite; likewise an activation that makes no sense for the number of classes.

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
        self._dtype = self._symbol_dtype = 'float32'
        self._blocks = 0
        self._traced: Optional[Traced] = None

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
        inputs = [pred, label] + [pixel_weight] * (pixel_weight is not None)
        if isinstance(pred, mx.nd.NDArray):
            check_shapes(self.options, pred.shape, label.shape,
                         None if pixel_weight is None else pixel_weight.shape, self._batch_axis)
            classes = pred.shape[self.options.axis]
            self.options.resolve(classes)
            pixels = pred.size // (classes * pred.shape[self._batch_axis])
            self._retrace_for((_arithmetic(pred.dtype), blocks_for(pixels),
                               pixel_weight is not None))
        else:
            self._retrace_for((self._symbol_dtype, 0, pixel_weight is not None))
        return super().forward(*inputs)

    def hybrid_forward(self, F: Any, pred: Any, label: Any, pixel_weight: Any = None) -> Any:
        pixels = prepare(F, pred, label, pixel_weight, self.options, self._batch_axis, self._dtype)
        counts = count(F, pixels, self.options, self._blocks)
        loss = loss_from_counts(F, counts, pixels.valid, self.options)
        loss = F.cast(loss, self._dtype)
        return loss if self._weight is None else loss * self._weight

    def _retrace_for(self, traced: Traced) -> None:
        """A cached graph is for one arithmetic, number of blocks and number of inputs."""
        if self._traced not in (None, traced):
            self._clear_cached_op()
        self._dtype, self._blocks, _ = self._traced = traced


def _arithmetic(dtype: Any) -> str:
    # Sums in float16 overflow at 65504 pixels.
    return 'float64' if np.dtype(dtype) == 'float64' else 'float32'
