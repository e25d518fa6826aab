"""What a user says of a loss's input, and the Example that it makes."""
from typing import NamedTuple, Optional, Tuple, Union

import numpy as np

from .feed import Feed, Further, moved_shape
from .subject import INPUTS, LABELS, Example, Shape

NONE = 'none'  # the background that has no channel


class Asked(NamedTuple):
    """Shapes as the loss has them, and what they hold; None where it is not said.

    pred, label : (N, C, ...) and (N, ...), with C on ``axis``.
    input : what pred holds: 'softmax' or 'sigmoid' probabilities, or 'raw' scores.
    label_kind : 'index', 'onehot', 'binary' (0 and 1) or 'signed' (-1 and 1).
    pixel_weight : the shape of a third input.
    background : the channel of class 0 in pred and in a one-hot label; 'none' where pred has none.
        The other channels are classes 1, 2, ... in their order.  By default 0 is assumed.
    axis : of the classes.
    """

    pred: Optional[Shape] = None
    label: Optional[Shape] = None
    input: Optional[str] = None
    label_kind: Optional[str] = None
    pixel_weight: Optional[Shape] = None
    background: Union[None, int, str] = None
    axis: int = 1

    def read(self) -> Tuple[Example, Feed]:
        """The example, in the layout of the checks, and what leads from it to the loss.

        Raises
        ------
        ValueError : what is said makes no sense, or is not enough.
        """
        for name, value, known in (('input', self.input, INPUTS),
                                   ('label_kind', self.label_kind, LABELS + ('signed',))):
            if value not in (None, *known):
                raise ValueError(f'{name} must be one of {", ".join(known)}; got {value!r}')
        pred, axis = self._pred()
        label = self._label(pred, axis)
        kind = self.label_kind or default_kind(pred, label)
        example = Example(pred, label, self.input or 'raw', 'binary' if kind == 'signed' else kind,
                          self._background(pred), self.background is not None)
        _check_label(example, kind)
        further = () if self.pixel_weight is None else (
            Further(_inside(self.pixel_weight, axis, len(pred)), pred),)
        return example, Feed(axis, kind == 'signed', further)

    def _pred(self) -> Tuple[Shape, int]:
        """Of the checks' layout, and the axis as one that suits other numbers of axes, too."""
        shape = tuple(self.pred or ())
        for each in (shape, self.label, self.pixel_weight):
            if each is not None and (not each or min(each) < 1):
                raise ValueError(f'a shape is numbers from 1 upwards, for example 2,4,9,8; got '
                                 f'{tuple(each)}')
        if len(shape) < 2:
            raise ValueError(f'a prediction has at least the axes (N, C), for example 2,4,9,8; got '
                             f'{shape}')
        if not -len(shape) < self.axis < len(shape) or self.axis % len(shape) == 0:
            raise ValueError(f'axis must be one of 1 to {len(shape) - 1}, or -1 for the last; got '
                             f'{self.axis}')
        axis = self.axis % len(shape)
        axis = 1 if axis == 1 else -1 if axis == len(shape) - 1 else axis
        return _inside(shape, axis, len(shape)), axis

    def _label(self, pred: Shape, axis: int) -> Shape:
        if self.label is not None:
            return _inside(tuple(self.label), axis, len(pred))
        onehot = self.label_kind in ('onehot', 'binary', 'signed')
        return pred if onehot else pred[:1] + (1,) + pred[2:]

    def _background(self, pred: Shape) -> Optional[int]:
        if self.background == NONE:
            return None
        if self.background is None:
            return 0
        if not isinstance(self.background, int) or not -pred[1] <= self.background < pred[1]:
            raise ValueError(f'background must be a channel of the prediction, 0 to {pred[1] - 1} '
                             f'or -1 for the last, or {NONE!r}; got {self.background!r}')
        return self.background % pred[1]


def default_kind(pred: Shape, label: Shape) -> str:
    """The kind of label that goes with these shapes, where nobody said it."""
    channels = pred[1] if len(pred) > 1 else 1
    if label == pred:
        return 'binary' if channels == 1 else 'onehot'
    lacks_background = channels > 2 and label == pred[:1] + (channels - 1,) + pred[2:]
    return 'onehot' if lacks_background else 'index'


def _inside(shape: Shape, axis: int, axes: int) -> Shape:
    return moved_shape(tuple(shape), axis, 1, axes)


def _check_label(example: Example, kind: str) -> None:
    """Raises ValueError for a label whose shape does not go with its kind."""
    pred, label = example.pred, example.label
    one = (pred[:1] + pred[2:], pred[:1] + (1,) + pred[2:])
    fits, rule, wanted = {
        'index': (one, 'one number per pixel', one),
        'binary': (one + (pred,), 'one number per pixel or per score', one[1:] + (pred,)),
        'signed': (one + (pred,), 'one number per pixel or per score', one[1:] + (pred,)),
        'onehot': ((pred, pred[:1] + (pred[1] - 1,) + pred[2:]),
                   'one number per score, or none for the background', (pred,))}[kind]
    if kind == 'onehot' and label != pred and example.background is None:
        raise ValueError(f'a label without the channel of the background goes with a prediction '
                         f'that has it; got a label {label}, a prediction {pred} and background '
                         f'{NONE!r}')
    sizes = [np.prod(shape) for shape in fits] if kind != 'onehot' else []
    if label not in fits and not (label[:1] == pred[:1] and np.prod(label) in sizes):
        last = pred[:1] + pred[1:-1]
        hint = '; if the classes are the last axis, say axis -1' if label in (
            last, last + (1,), pred[:1] + (1,) + pred[1:-1]) else ''
        raise ValueError(f'a label of kind {kind} has {rule}: for a prediction of shape {pred} it '
                         f'must have the shape {" or ".join(map(str, dict.fromkeys(wanted)))}; got '
                         f'{label}{hint}')
