"""Stage 1 in F operators, after soft_dice.counts; autograd is stage 3.

F is ``mx.nd`` or ``mx.sym``.  A Symbol has no shape, so nothing here asks for one, and what must
match goes through operators that do not broadcast (``elemwise_*``).
"""
from typing import Any, NamedTuple, Optional

from soft_dice.options import DiceOptions


class Pixels(NamedTuple):
    """One batch in the form of the stages, with N samples, C classes and P pixels.

    pred : (N, C, P), before the activation.
    label : (N, C, P) one-hot or dense, 0 where ignored.
    mask : (N, 1, P) or (N, C, P) pixel weights, 0 where ignored; None is all ones.
    valid : (N, 1), 1 where every value of the sample is allowed, else 0.
    """

    pred: Any
    label: Any
    mask: Optional[Any]
    valid: Any


class Counts(NamedTuple):
    """Sums over the pixels, each (N, C) float64."""

    intersection: Any
    pred_sum: Any
    label_sum: Any


def prepare(F: Any, pred: Any, label: Any, pixel_weight: Optional[Any], options: DiceOptions,
            batch_axis: int, dtype: str) -> Pixels:
    """The inputs as Pixels; like ``soft_dice.inputs.prepare``, but a bad value clears ``valid``."""

    def flat(array: Any) -> Any:
        if batch_axis != 0:
            array = F.swapaxes(array, dim1=0, dim2=batch_axis)
        if options.axis != 1:
            array = F.swapaxes(array, dim1=1, dim2=options.axis)
        return F.reshape(array, shape=(0, 0, -1))

    pred = F.cast(pred, dtype)
    one_class = F.zeros_like(F.slice_axis(pred, axis=options.axis, begin=0, end=1))

    def per_pixel(array: Any) -> Any:
        """(N, 1, P) of an array with or without a class axis of 1; refuses any other shape."""
        strict = F.elemwise_add(F.reshape(F.cast(array, dtype), shape=(0, -1)),
                                F.reshape(one_class, shape=(0, -1)))
        return flat(F.reshape_like(strict, one_class))

    if options.sparse_label:
        z = flat(pred)
        label, mask, allowed = _index_label(F, z, per_pixel(F.BlockGrad(label)), options)
    else:
        z = flat(pred)
        label = flat(F.elemwise_add(F.cast(F.BlockGrad(label), dtype), F.zeros_like(pred)))
        label, mask, allowed = _dense_label(F, label, options)
    valid = _all_pixels(F, allowed)
    if pixel_weight is not None:
        weight = per_pixel(F.BlockGrad(pixel_weight))
        valid = valid * _all_pixels(F, (weight >= 0) * (weight < float('inf')))
        mask = weight if mask is None else F.broadcast_mul(weight, mask)
    return Pixels(z, label, mask, F.cast(valid, 'float64'))


def count(F: Any, pixels: Pixels, options: DiceOptions) -> Counts:
    """The three sums of the loss; see ``soft_dice.counts.count`` for the formulas."""
    z, g, m, _ = pixels
    if m is not None:
        z = _without_ignored(F, z, m, options.activation)
    p = _activate(F, z, options.activation)
    if options.overlap == 'product':
        overlap = p * g
    else:
        overlap = (p + g - F.abs(p - g)) / 2

    def total(array: Any) -> Any:
        weighted = array if m is None else F.broadcast_mul(array, m)
        return F.cast(F.sum(weighted, axis=2), 'float64')

    return Counts(total(overlap), total(_power(F, p, options.exponent)),
                  total(_power(F, g, options.exponent)))


def _index_label(F: Any, z: Any, label: Any, options: DiceOptions) -> Any:
    """One-hot (N, C, P), mask and which pixels are allowed, of whole numbers (N, 1, P)."""
    classes = F.contrib.arange_like(z, axis=1)  # 0 .. C - 1
    one_channel = F.max(classes, axis=0) == 0
    classes = F.broadcast_add(classes, one_channel)  # one channel: its label is 1
    last = F.reshape(F.max(classes, axis=0), shape=(1, 1, 1))
    allowed = F.broadcast_lesser_equal(label, last) * (label >= 0) * (label == F.floor(label))
    one_hot = F.broadcast_equal(label, F.reshape(classes, shape=(1, -1, 1)))
    mask = None
    if options.ignore_label is not None:
        mask = label != options.ignore_label
        allowed = F.broadcast_maximum(allowed, 1 - mask)
        one_hot = F.broadcast_mul(one_hot, mask)
    fits = _activation_fits(one_channel, options)
    if fits is not None:
        allowed = F.broadcast_mul(allowed, F.reshape(fits, shape=(1, 1, 1)))
    return one_hot, mask, allowed


def _activation_fits(one_channel: Any, options: DiceOptions) -> Optional[Any]:
    """1 where the activation makes sense for this number of classes; what resolve() refuses."""
    if options.activation == 'softmax':
        return 1 - one_channel
    return one_channel if options.activation == 'sigmoid' else None


def _dense_label(F: Any, label: Any, options: DiceOptions) -> Any:
    allowed = (label >= 0) * (label <= 1)
    if options.ignore_label is None:
        return label, None, allowed
    mask = label != options.ignore_label
    return F.where(mask, label, F.zeros_like(label)), mask, F.broadcast_maximum(allowed, 1 - mask)


def _all_pixels(F: Any, allowed: Any) -> Any:
    return F.min(F.reshape(allowed, shape=(0, -1)), axis=1, keepdims=True)


def _without_ignored(F: Any, z: Any, mask: Any, activation: str) -> Any:
    """Zeros where the prediction counts nowhere, so that a NaN there has no effect."""
    kept = mask != 0
    if activation == 'softmax':  # a pixel's classes stand or fall together
        kept = F.max(kept, axis=1, keepdims=True)
    return F.where(F.broadcast_like(kept, z), z, F.zeros_like(z))


def _activate(F: Any, z: Any, activation: str) -> Any:
    if activation == 'softmax':
        return F.softmax(z, axis=1)
    return F.sigmoid(z) if activation == 'sigmoid' else z


def _power(F: Any, array: Any, exponent: float) -> Any:
    if exponent == 1:
        return array
    return F.square(array) if exponent == 2 else array ** exponent
