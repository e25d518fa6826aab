"""From the arrays a caller has to the one form the stages work on, refusing what makes no sense.

Whatever the number of dimensions and wherever the class axis, the stages see N samples, C classes
and P pixels.  Shapes never broadcast, and nothing here writes into an array it was given.
"""
from typing import NamedTuple, Optional, Tuple

import numpy as np

from .options import DiceOptions

Shape = Tuple[int, ...]

HALF_EXACT = 2048  # float16 holds every whole number up to here


class Batch(NamedTuple):
    """The arrays of a caller, whose dtypes and shapes belong together; see :func:`check_batch`."""

    pred: np.ndarray
    label: np.ndarray
    pixel_weight: Optional[np.ndarray]


class Pixels(NamedTuple):
    """One checked batch in the form of the stages.

    pred : (N, C, P) float32 or float64, before the activation.
    label : (N, P) integers, -1 where ignored; or (N, C, P) dense in pred's dtype, 0 where ignored.
    mask : (N, 1, P) or (N, C, P) pixel weights in pred's dtype, 0 where ignored; None is all ones.
    """

    pred: np.ndarray
    label: np.ndarray
    mask: Optional[np.ndarray]


def prepare(batch: Batch, options: DiceOptions) -> Pixels:
    """Check the values of a batch and bring it into (N, C, P) form.

    Raises
    ------
    ValueError : values outside what :func:`soft_dice.soft_dice_loss` documents.
    """
    pred, label, pixel_weight = batch
    axis = options.axis % pred.ndim
    if options.sparse_label:
        flat_label, valid = _index_label(label.reshape(len(label), -1), pred.shape[axis],
                                         options.ignore_label)
    else:
        label = _flatten(label, axis)
        _check_dense(label, options.ignore_label)
        flat_label, valid = _dense_label(label, pred.dtype, options.ignore_label)
    mask = None if valid is None else valid.astype(pred.dtype)
    if pixel_weight is not None:
        weight = _pixel_weight(pixel_weight.reshape(len(pixel_weight), -1))
        weight = weight.astype(pred.dtype)[:, None, :]
        mask = weight if mask is None else mask * weight
    return Pixels(_flatten(pred, axis), flat_label, mask)


def check_batch(pred: np.ndarray, label: np.ndarray, options: DiceOptions,
                pixel_weight: Optional[np.ndarray] = None) -> Batch:
    """The three as arrays whose dtypes and shapes belong together; values are not looked at.

    Raises
    ------
    ValueError
    """
    pred, label = floating(pred), _numeric('label', label)
    if pixel_weight is not None:
        pixel_weight = _numeric('pixel_weight', pixel_weight)
    shape = check_shapes(options, pred.shape, label.shape,
                         None if pixel_weight is None else pixel_weight.shape)
    if shape != pred.shape:
        raise ValueError(f'pred must be resized before, to {shape}; got {pred.shape}')
    check_label_dtype(options, label.dtype, pred.shape[options.axis])
    return Batch(pred, label, pixel_weight)


def check_label_dtype(options: DiceOptions, dtype: np.dtype, num_classes: int) -> None:
    """Refuse float16 for labels that it does not hold: above 2048 it has but every other whole
    number, then fewer, and from 65520 on infinity.

    Raises
    ------
    ValueError
    """
    if dtype != np.float16:
        return
    if options.sparse_label and num_classes > HALF_EXACT + 1:
        raise ValueError(f'label must be made in a dtype that holds {num_classes} classes, for '
                         f'example int32; got float16, which holds {HALF_EXACT + 1}')
    ignored = options.ignore_label
    with np.errstate(over='ignore'):
        held = ignored is None or float(np.array(ignored).astype(np.float16)) == ignored
    if not held:
        raise ValueError(f'label must be made in a dtype that holds ignore_label={ignored}, for '
                         'example int32; got float16, which does not')


def check_shapes(options: DiceOptions, pred: Shape, label: Shape,
                 pixel_weight: Optional[Shape] = None, batch_axis: int = 0) -> Shape:
    """Refuse shapes that do not belong together; they never broadcast.

    Returns
    -------
    The shape of the prediction that is compared with the label: pred's, but with
    ``options.resize`` of the label's size.

    Raises
    ------
    ValueError : saying what the shapes must be.
    """
    _check_pred_shape(pred, options.axis, batch_axis)
    at_label_size = _at_size_of(label, pred, options, batch_axis)
    if options.resize is None:
        resizable = at_label_size != pred and label in _label_shapes(at_label_size, options)
        _check_sizes(options, pred, label, pixel_weight,
                     "; the option resize='bilinear' interpolates pred to this size" * resizable)
        return pred
    _check_sizes(options, at_label_size, label, pixel_weight,
                 f'; pred has the shape {pred} before it is resized')
    if 0 in label:
        raise ValueError(f'label must have at least one pixel; got shape {label}')
    return at_label_size


def _at_size_of(label: Shape, pred: Shape, options: DiceOptions, batch_axis: int) -> Shape:
    """pred's shape with the sizes of label's space axes, if it has as many axes; else pred's."""
    axis = options.axis % len(pred)
    if options.sparse_label and len(label) == len(pred) - 1:
        label = label[:axis] + (1,) + label[axis:]
    if len(label) != len(pred):
        return pred
    return tuple(pred[i] if i in (batch_axis, axis) else label[i] for i in range(len(pred)))


def _label_shapes(pred: Shape, options: DiceOptions) -> Tuple[Shape, ...]:
    """What shapes a label may have."""
    return _pixel_shapes(pred, options.axis) if options.sparse_label else (pred,)


def _pixel_shapes(pred: Shape, axis: int) -> Tuple[Shape, Shape]:
    """The two shapes of an array of one value per pixel: without the class axis, and with one."""
    axis %= len(pred)
    return pred[:axis] + pred[axis + 1:], pred[:axis] + (1,) + pred[axis + 1:]


def _check_sizes(options: DiceOptions, pred: Shape, label: Shape, pixel_weight: Optional[Shape],
                 remark: str = '') -> None:
    """Refuse a label or weight of another size than pred's; ``remark`` ends what is said of it."""
    per_pixel = {'label': label if options.sparse_label else None, 'pixel_weight': pixel_weight}
    if not options.sparse_label and label != pred:
        raise ValueError('a dense label (sparse_label=False) must have the shape of pred, '
                         f'{pred}; got {label}{remark}')
    allowed = _pixel_shapes(pred, options.axis)
    for name, shape in per_pixel.items():
        if shape is not None and shape not in allowed:
            hint = (', or sparse_label=False for one value per class'
                    if name == 'label' and shape == pred else '')
            raise ValueError(f'{name} must have one value per pixel of pred: for pred of shape '
                             f'{pred} that is {allowed[0]} or {allowed[1]}{hint}; '
                             f'got {shape}{remark}')


def check_out(out: Optional[np.ndarray], shape: Shape) -> None:
    """Refuse an array for the gradient that has not pred's shape."""
    if out is not None and out.shape != shape:
        raise ValueError(f'out must have the shape of pred, {shape}; got {out.shape}')


def _check_pred_shape(shape: Shape, axis: int, batch_axis: int) -> None:
    if len(shape) < 2:
        raise ValueError('pred must have a batch axis and a class axis, for example '
                         f'(2, 4, 9, 8); got shape {shape}')
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f'axis must be an axis of pred, which has {len(shape)}; got axis={axis}')
    if axis % len(shape) == batch_axis:
        raise ValueError(f'axis must not be the batch axis, {batch_axis}; axis={axis} is, for '
                         f'pred of shape {shape}')
    if 0 in shape:
        raise ValueError('pred must have at least one sample, class and pixel; got shape '
                         f'{shape}')


def check_label(label: np.ndarray, num_classes: int, options: DiceOptions, sample: int) -> None:
    """Refuse bad values in the label (1, ...) of one sample of a larger batch."""
    check_values(label, None, num_classes, options, sample)


def check_values(label: np.ndarray, pixel_weight: Optional[np.ndarray], num_classes: int,
                 options: DiceOptions, first_sample: int = 0) -> None:
    """Refuse bad values in a label and pixel weights (N, ...), as :func:`prepare` does.

    Raises
    ------
    ValueError
    """
    label = _numeric('label', label)
    if options.sparse_label:
        _check_index(label.reshape(len(label), -1), num_classes, options.ignore_label, first_sample)
    else:
        _check_dense(_flatten(label, options.axis), options.ignore_label, first_sample)
    if pixel_weight is not None:
        _pixel_weight(pixel_weight.reshape(len(pixel_weight), -1))


def restore(flat: np.ndarray, shape: Shape, axis: int) -> np.ndarray:
    """The (N, C, P) array as an array of ``shape`` with its class axis at ``axis``."""
    classes_second = tuple(np.moveaxis(np.empty(shape, dtype=bool), axis, 1).shape)
    return np.ascontiguousarray(np.moveaxis(flat.reshape(classes_second), 1, axis))


def _flatten(array: np.ndarray, axis: int) -> np.ndarray:
    array = np.moveaxis(array, axis, 1)
    return array.reshape(array.shape[0], array.shape[1], -1)


def floating(pred: np.ndarray) -> np.ndarray:
    """pred as an array of this machine's float32, which float16 becomes, or float64; anything else
    is refused."""
    pred = np.asarray(pred)
    if pred.dtype.kind != 'f' or pred.dtype.itemsize not in (2, 4, 8):
        raise ValueError('pred must be float16, float32 or float64, for example '
                         f'pred.astype("float32"); got {pred.dtype}')
    if pred.dtype == np.float16:  # sums in it overflow at 65504 pixels
        return pred.astype(np.float32)
    return pred.astype(pred.dtype.newbyteorder('='), copy=False)


def _numeric(name: str, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype.kind not in 'biuf':
        raise ValueError(f'{name} must be an array of numbers; got dtype {array.dtype}')
    return array


def written(number: np.generic) -> str:
    """For a message: the shortest digits, as Python writes them; NumPy's own text of a float32
    depends on its version."""
    return repr(float(str(number))) if number.dtype.kind == 'f' else str(number)


def _index_label(label: np.ndarray, num_classes: int, ignore_label: Optional[int]
                 ) -> Tuple[np.ndarray, Optional[np.ndarray]]:
    """(N, P) whole numbers with -1 where ignored, and (N, 1, P) where valid (None: everywhere)."""
    _check_index(label, num_classes, ignore_label)
    if ignore_label is None:
        return label.astype(np.intp), None
    valid = label != ignore_label
    if valid.all():
        return label.astype(np.intp), None
    return np.where(valid, label, -1).astype(np.intp), valid[:, None, :]


def _check_index(label: np.ndarray, num_classes: int, ignore_label: Optional[int],
                 first_sample: int = 0) -> None:
    classes = max(num_classes, 2)  # one channel: the label says 0 or 1
    good = (label >= 0) & (label < classes)  # False for NaN
    if label.dtype.kind == 'f':
        good &= label == np.floor(label)
    if ignore_label is not None:
        good |= label == ignore_label
    if not good.all():
        where = tuple(int(i) for i in np.argwhere(~good)[0])
        allowed = '' if ignore_label is None else f' or ignore_label={ignore_label}'
        raise ValueError(f'label must be a whole number in [0, {classes}){allowed}, for example '
                         f'{classes - 1}; got {written(label[where])} in sample '
                         f'{first_sample + where[0]}, pixel {where[1]} of {label.shape[1]}')


def _check_dense(label: np.ndarray, ignore_label: Optional[int], first_sample: int = 0) -> None:
    good = (label >= 0) & (label <= 1)
    if ignore_label is not None:
        good |= label == ignore_label
    if not good.all():
        where = tuple(int(i) for i in np.argwhere(~good)[0])
        allowed = '' if ignore_label is None else f' or ignore_label={ignore_label}'
        raise ValueError(f'a dense label must lie in [0, 1]{allowed}, for example 0.5; got '
                         f'{written(label[where])} in sample {first_sample + where[0]}, '
                         f'class {where[1]}, pixel {where[2]} of {label.shape[2]}')


def _dense_label(label: np.ndarray, dtype: np.dtype, ignore_label: Optional[int]
                 ) -> Tuple[np.ndarray, Optional[np.ndarray]]:
    if ignore_label is None or (label != ignore_label).all():
        return label.astype(dtype), None
    valid = label != ignore_label
    return np.where(valid, label, 0).astype(dtype), valid


def _pixel_weight(weight: np.ndarray) -> np.ndarray:
    good = (weight >= 0) & np.isfinite(weight)
    if not good.all():
        where = tuple(int(i) for i in np.argwhere(~good)[0])
        raise ValueError('pixel_weight must be finite and not negative, for example 0.5; got '
                         f'{written(weight[where])} in sample {where[0]}, pixel {where[1]} of '
                         f'{weight.shape[1]}')
    return weight
