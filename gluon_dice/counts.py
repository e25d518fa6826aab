"""Stage 1 in F operators, after soft_dice.counts; autograd is stage 3.

F is ``mx.nd`` or ``mx.sym``.  A Symbol has no shape, so nothing here asks for one, and what must
match goes through operators that do not broadcast (``elemwise_*``).

Classes are the last axis here, (N, P, C), and sums over pixels are matrix products: MXNet's softmax
over any axis but the last, its reductions and its broadcasts take several times as long as those
(README, "Speed").
"""
from typing import Any, NamedTuple, Optional, Tuple

from soft_dice.options import DiceOptions
from soft_dice.plan import Plan
from soft_dice.sums import Sums

from .compat import arange_like
from .layout import Layout, classes_last

BLOCK = 1 << 14


class ClassesLast(NamedTuple):
    """One batch with N samples, P pixels and C classes.

    pred : (N, P, C), before the activation.
    label : (N, P, C) one-hot or dense, 0 where ignored.
    mask : (N, P, 1) or (N, P, C) pixel weights, 0 where ignored; None is all ones.
    valid : (N, 1), 1 where every value of the sample is allowed, else 0.
    """

    pred: Any
    label: Any
    mask: Optional[Any]
    valid: Any


def blocks_for(pixels: int) -> int:
    """Into how many equal blocks to cut the pixels, so that sums in float32 are exact to 1e-7.

    A matrix product over a million pixels is wrong by 1e-6; one over BLOCK pixels is not, and the
    blocks are added up in float64.  0 where no number of blocks divides the pixels.
    """
    if pixels <= BLOCK:
        return 1
    fewest = -(-pixels // BLOCK)
    return next((n for n in range(fewest, 16 * fewest) if pixels % n == 0), 0)


def prepare(F: Any, pred: Any, label: Any, pixel_weight: Optional[Any], plan: Plan,
            layout: Layout, dtype: str) -> ClassesLast:
    """The inputs as ClassesLast; like soft_dice.inputs.prepare, but a bad value clears ``valid``.

    layout : where it knows the number of axes, shapes were checked before.
    dtype : that of pred.
    """
    options, channels = plan.dice, plan.num_classes or 0
    one_class = F.zeros_like(F.slice_axis(pred, axis=layout.axis, begin=0, end=1))
    z = classes_last(F, pred, layout, channels)
    if options.sparse_label:
        label = _per_pixel(F, label, one_class, layout, dtype)
        label, mask, bad = _index_label(F, z, label, options, channels, dtype)
    else:
        label = F.elemwise_add(F.cast(F.BlockGrad(label), dtype), F.zeros_like(pred))
        label, mask, bad = _dense_label(F, classes_last(F, label, layout, channels), options)
    valid = _none(F, bad)
    if pixel_weight is not None:
        weight = _per_pixel(F, pixel_weight, one_class, layout, dtype)
        valid = valid * _none(F, 1 - (weight >= 0) * (weight < float('inf')))
        mask = weight if mask is None else F.broadcast_mul(mask, weight)
    if options.sparse_label and not channels:
        valid = F.broadcast_mul(valid, _activation_fits(F, z, options, dtype))
    return ClassesLast(z, label, mask, F.cast(valid, 'float64'))


def _per_pixel(F: Any, array: Any, one_class: Any, layout: Layout, dtype: str) -> Any:
    """(N, P, 1) of an array of one value per pixel, with or without a class axis of size 1.

    one_class : zeros of pred's shape, but of size 1 at the class axis.  A graph refuses an array of
        other samples or pixels.
    """
    array = F.cast(F.BlockGrad(array), dtype)
    if layout.ndim and layout.batch_axis == 0:
        return F.reshape(array, shape=(0, -1, 1))
    strict = F.elemwise_add(F.reshape(array, shape=(0, -1)), F.reshape(one_class, shape=(0, -1)))
    return classes_last(F, F.reshape_like(strict, one_class), layout, channels=1)


def count(F: Any, pixels: ClassesLast, plan: Plan, blocks: int) -> Sums:
    """The three sums of the Dice term; see ``soft_dice.counts.count`` for the formulas.

    blocks : as ``blocks_for`` says; 0 for operators that need no number but are slower.
    """
    activation = plan.dice.activation
    p = _activate(F, without_ignored(F, pixels, activation), activation)
    return count_activated(F, p, weigh(F, pixels.label, pixels.mask), pixels, plan, blocks)


def count_activated(F: Any, p: Any, weighed: Any, pixels: ClassesLast, plan: Plan, blocks: int
                    ) -> Sums:
    """As :func:`count`, of the activated prediction p and the label times the mask."""
    g, m, options = pixels.label, pixels.mask, plan.dice

    def total_of(array: Any) -> Any:
        return total(F, weigh(F, array, m), blocks)

    plain = options.overlap == 'product' and options.exponent == 1
    if plain and blocks and options.sparse_label and plan.num_classes != 1:
        return _confusion_counts(F, p, weighed, options.activation, blocks)
    if options.overlap == 'product':
        intersection = inner(F, p, weighed, blocks)
    else:
        intersection = total_of((p + g - F.abs(p - g)) / 2)
    label_sum = (total(F, weighed, blocks) if options.exponent == 1
                 else total_of(_power(F, g, options.exponent)))
    return Sums(intersection, total_of(_power(F, p, options.exponent)), label_sum)


def weigh(F: Any, array: Any, mask: Optional[Any]) -> Any:
    return array if mask is None else F.broadcast_mul(array, mask)


def _confusion_counts(F: Any, p: Any, g: Any, activation: str, blocks: int) -> Sums:
    """The sums from the one product M_ij = sum p_i m g_j, with m g given, of index labels.

    The label of a pixel is of one class, so M's rows add up to sum m p; and where probabilities add
    up to 1 its columns add up to sum m g.
    """
    both = dot(F, p, g, blocks)
    label_sum = F.sum(both, axis=1) if activation == 'softmax' else total(F, g, blocks)
    return Sums(F.diag(both, axis1=1, axis2=2), F.sum(both, axis=2), F.BlockGrad(label_sum))


def dot(F: Any, a: Any, b: Any, blocks: int) -> Any:
    """sum over pixels of a_i b_j, (N, I, J) float64, of (N, P, I) and (N, P, J)."""
    a, b = (F.reshape(F.reshape(each, shape=(0, -4, blocks, -1, 0)), shape=(-3, 0, 0))
            for each in (a, b))
    sums = F.cast(F.batch_dot(a, b, transpose_a=True), 'float64')
    return F.sum(F.reshape(sums, shape=(-4, -1, blocks, 0, 0)), axis=1)


def total(F: Any, array: Any, blocks: int) -> Any:
    """sum over pixels of (N, P, C): (N, C) float64."""
    if blocks == 0:  # over the last axis, which is twice as fast as over the middle one
        return F.cast(F.sum(F.transpose(array, axes=(0, 2, 1)), axis=2), 'float64')
    ones = F.ones_like(F.slice_axis(array, axis=2, begin=0, end=1))
    return F.reshape(dot(F, ones, array, blocks), shape=(0, -1))


def inner(F: Any, a: Any, b: Any, blocks: int) -> Any:
    """sum over pixels of a_c b_c, (N, C) float64, of two (N, P, C)."""
    if blocks == 0:
        return total(F, a * b, blocks)
    return F.diag(dot(F, a, b, blocks), axis1=1, axis2=2)


def _index_label(F: Any, z: Any, label: Any, options: DiceOptions, num_classes: int, dtype: str
                 ) -> Tuple[Any, Any, Any]:
    """One-hot (N, P, C), mask and which pixels are not allowed, of labels (N, P, 1)."""
    if num_classes:
        bad = F.clip(F.floor(label), 0, max(num_classes, 2) - 1) != label
    else:
        classes, _ = _classes(F, z, dtype)
        last = F.reshape(F.max(classes, axis=0), shape=(1, 1, 1))
        bad = 1 - F.broadcast_lesser_equal(label, last) * (label >= 0) * (label == F.floor(label))
    mask = None
    if options.ignore_label is not None:
        mask = label != options.ignore_label
        bad = bad * mask
        label = F.where(mask, label, -F.ones_like(label))
    if num_classes == 1:
        return label == 1, mask, bad
    if num_classes:
        one_hot = F.one_hot(F.reshape(label, shape=(0, -1)), depth=num_classes, dtype=dtype)
        return one_hot, mask, bad
    # label - c for every class c is the product [label, 1] [1, -c]^T: faster than to broadcast.
    pixel = F.concat(label, F.ones_like(label), dim=2)
    both = F.stack(F.ones_like(classes), -classes, axis=0)
    one_hot = F.dot(pixel, both) == 0
    return one_hot, mask, bad


def _classes(F: Any, z: Any, dtype: str) -> Tuple[Any, Any]:
    """The label of each class, (C,): 0 .. C - 1, but 1 for one channel; and whether it is one."""
    classes = arange_like(F, z, 2, dtype)
    one_channel = F.max(classes, axis=0) == 0
    return F.broadcast_add(classes, one_channel), one_channel


def _activation_fits(F: Any, z: Any, options: DiceOptions, dtype: str) -> Any:
    """(1, 1): 1 where the activation makes sense for this number of classes, as resolve() says."""
    _, one_channel = _classes(F, z, dtype)
    fits = {'softmax': 1 - one_channel, 'sigmoid': one_channel,
            'none': F.ones_like(one_channel)}[options.activation]
    return F.reshape(fits, shape=(1, 1))


def _dense_label(F: Any, label: Any, options: DiceOptions) -> Tuple[Any, Any, Any]:
    bad = 1 - (label >= 0) * (label <= 1)
    if options.ignore_label is None:
        return label, None, bad
    mask = label != options.ignore_label
    return F.where(mask, label, F.zeros_like(label)), mask, bad * mask


def _none(F: Any, bad: Any) -> Any:
    """(N, 1): 1 where a sample has no bad pixel.  A product with itself is the fastest sum."""
    bad = F.reshape(bad, shape=(0, 1, -1))
    return F.reshape(F.batch_dot(bad, bad, transpose_b=True), shape=(0, 1)) == 0


def without_ignored(F: Any, pixels: ClassesLast, activation: str) -> Any:
    """The prediction with zeros where it counts nowhere, so that a NaN there has no effect."""
    z, mask = pixels.pred, pixels.mask
    if mask is None:
        return z
    kept = mask != 0
    if activation == 'softmax':  # a pixel's classes stand or fall together
        kept = F.max(kept, axis=2, keepdims=True)
    return F.where(F.broadcast_like(kept, z), z, F.zeros_like(z))


def _activate(F: Any, z: Any, activation: str) -> Any:
    if activation == 'softmax':
        return F.softmax(z, axis=2)
    return F.sigmoid(z) if activation == 'sigmoid' else z


def _power(F: Any, array: Any, exponent: float) -> Any:
    if exponent == 1:
        return array
    return F.square(array) if exponent == 2 else array ** exponent
