"""DeepSupervision: one loss on the predictions of several scales."""
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import mxnet as mx
import numpy as np
from mxnet.gluon.loss import Loss

from soft_dice.inputs import check_shapes
from soft_dice.options import DiceOptions

from . import door
from .compat import takes_np
from .layout import Layout, without_axis
from .precision import without_amp
from .resize import to_pred_size

NAMED = ('halving', 'equal')
Weights = Union[str, Tuple[float, ...]]


class DeepSupervision(Loss):
    """A weighted sum of one loss over the predictions that a network makes at several scales::

        sum_i w_i loss(preds[i], label at the size of preds[i])

    The label goes to a prediction's size by nearest neighbours, place i of T taking value
    floor((i + 1/2) S / T) of S: no class is made up or blended.  Where the loss has the option
    ``resize`` the label is left alone, and the loss brings each prediction to its size.

    Works imperatively, hybridized, inside another hybridized block, and on Symbols.

    Parameters
    ----------
    loss : a Gluon loss of (pred, label) or (pred, label, pixel_weight), such as
        :class:`SoftDiceLoss` or MXNet's own.
    weights : one number >= 0 per prediction, taken as they are; or 'halving' (also None), 1, 1/2,
        1/4, ... divided by their sum, as nnU-Net has it (which sets the last to 0 first); or
        'equal', 1 / (number of predictions).
    sparse_label : bool, optional.  Whether labels are class indices; by default what the loss says
        (``loss.options``, or as MXNet's losses hold it), else True.  MXNet's
        SigmoidBinaryCrossEntropyLoss takes dense labels and does not say so.
    axis : int, optional.  The class axis of the predictions; likewise, else 1.

    Inputs
    ------
    preds : a list or tuple of predictions (N, C, ...), from the finest to the coarsest.
    label : (N, ...) or (N, 1, ...) class indices, or dense (N, C, ...), of any size; a loss gets
        them as (N, ...) or (N, C, ...).  A list of labels, one per prediction, is taken as it is.
        One label receives no gradient, whatever the loss.
    pixel_weight : optional, (N, ...) or (N, 1, ...), of the label's size; a loss gets (N, 1, ...).
        A list of them is taken as it is.

    Outputs
    -------
    What the loss returns, (N,).

    Raises
    ------
    TypeError : ``loss`` is no HybridBlock, or ``preds`` no list.
    ValueError : weights that are not numbers >= 0, or of another number than the predictions;
        predictions that grow; shapes that do not match, where the inputs are arrays.  All else is
        the loss's own.

    Hybridized it is one graph, in which the loss knows no shapes, and has the dtype of the first
    prediction (``loss.cast``).  In a Symbol or another hybridized block, where not even the number
    of axes is known, there can be up to 4 axes of space.

    Examples
    --------
    >>> loss = DeepSupervision(mx.gluon.loss.SoftmaxCrossEntropyLoss(axis=1))
    >>> preds = [mx.nd.zeros((2, 3, size, size)) for size in (16, 8, 4)]
    >>> loss(preds, mx.nd.zeros((2, 16, 16))).shape
    (2,)
    """

    def __init__(self, loss: Any, weights: Union[None, str, Sequence[float]] = None,
                 sparse_label: Optional[bool] = None, axis: Optional[int] = None,
                 **block: Any) -> None:
        if not isinstance(loss, mx.gluon.HybridBlock):
            raise TypeError('loss must be a Gluon loss, for example SoftDiceLoss(); got '
                            f'{type(loss).__name__}')
        super().__init__(weight=None, batch_axis=getattr(loss, '_batch_axis', 0), **block)
        options = getattr(loss, 'options', None)
        options = getattr(options, 'dice', options)  # of a Dice loss with a cross-entropy
        self.weights = _checked(weights)
        self._resizes = getattr(options, 'resize', None) is not None
        self._sparse = _first(sparse_label, getattr(options, 'sparse_label', None),
                              getattr(loss, '_sparse_label', None), True)
        self._axis = _first(axis, getattr(options, 'axis', None), getattr(loss, '_axis', None), 1)
        self._ndim = 0  # of the predictions, where they are arrays
        self._traced_for: Any = None
        self._lengths: List[int] = []  # of preds, label, pixel_weight; 0 for one that is no list
        with self.name_scope():
            self.loss = loss

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.loss!r}, weights={self.weights!r})'

    @takes_np
    def forward(self, preds: Any, label: Any, pixel_weight: Any = None) -> Any:
        inputs = self._let_in(preds, label, pixel_weight)
        if self._ndim:
            self._retrace_for(preds, label, pixel_weight)
        # One after the other: MXNet 1.5 takes a list in no first place.
        return super().forward(*inputs)

    def hybrid_forward(self, F: Any, *inputs: Any) -> Any:
        total: Any = 0
        for weight, of_scale in self._each_scale(F, inputs):
            total = total + weight * self.loss(*of_scale)
        return total

    def of_arrays(self, preds: Any, label: Any, pixel_weight: Any = None
                  ) -> List[Tuple[float, List[Any]]]:
        """The weight of each prediction's loss, and what this is given: pred, label at its size
        and, where there is one, pixel weight.  Arguments and errors are those of a call.
        """
        return [*self._each_scale(mx.nd, self._let_in(preds, label, pixel_weight))]

    def _let_in(self, preds: Any, label: Any, pixel_weight: Any) -> List[Any]:
        """The inputs one after the other, checked."""
        if not isinstance(preds, (list, tuple)) or not preds:
            raise TypeError('preds must be a list of predictions, from the finest to the coarsest, '
                            'for example [fine, coarse], and AuxLoss takes them one by one; got '
                            f'{door.described(preds)}')
        self._scale_weights(len(preds))
        given = {'preds': preds, 'label': label, 'pixel_weight': pixel_weight}
        if pixel_weight is None:
            del given['pixel_weight']
        for name, each in given.items():
            if isinstance(each, (list, tuple)) and len(each) != len(preds):
                raise ValueError(f'a list as {name} must have one entry per prediction, here '
                                 f'{len(preds)}; got {len(each)}')
        scales, *rest = (_one_by_one(name, each) for name, each in given.items())
        others = door.checked(scales, {name: each for some in rest for name, each in some.items()})
        self._lengths = [len(each) if isinstance(each, (list, tuple)) else 0
                         for each in given.values()]
        self._ndim = 0
        if isinstance(preds[0], mx.nd.NDArray):
            self._ndim = preds[0].ndim
            self._check_arrays(preds, label, pixel_weight)
        return [*preds, *others]

    def _each_scale(self, F: Any, inputs: Sequence[Any]) -> Iterator[Tuple[float, List[Any]]]:
        each = iter(inputs)
        given: List[Any] = [[next(each) for _ in range(length)] if length else next(each)
                            for length in self._lengths]
        preds, label, pixel_weight = given + [None] * (3 - len(given))
        for i, weight in enumerate(self._scale_weights(len(preds))):
            of_scale = [preds[i], self._label_of(F, label, preds[i], i)]
            if pixel_weight is not None:
                of_scale.append(self._of_scale(F, pixel_weight, preds[i], i, dense=False))
            yield weight, of_scale

    def _label_of(self, F: Any, label: Any, pred: Any, scale: int) -> Any:
        found = self._of_scale(F, label, pred, scale, dense=not self._sparse)
        if self._resizes or isinstance(label, (list, tuple)) or not self._sparse:
            return found
        return without_axis(F, found, self._axis)

    def _of_scale(self, F: Any, array: Any, pred: Any, scale: int, dense: bool) -> Any:
        if isinstance(array, (list, tuple)):
            return array[scale]
        if self._resizes:
            return array
        axis = self._axis % self._ndim if self._ndim else self._axis
        layout = Layout(axis, self._batch_axis, self._ndim)

        def resized(array: Any, pred: Any) -> Any:
            return to_pred_size(F, array, pred, layout, dense)

        return without_amp(F, resized, array, pred)

    def _scale_weights(self, scales: int) -> Tuple[float, ...]:
        if isinstance(self.weights, str):
            ratio = 0.5 if self.weights == 'halving' else 1.0
            total = sum(ratio ** i for i in range(scales))
            return tuple(ratio ** i / total for i in range(scales))
        if len(self.weights) != scales:
            raise ValueError('weights must have one number per prediction, here '
                             f'{scales}; got {len(self.weights)}')
        return self.weights

    def _check_arrays(self, preds: Any, label: Any, pixel_weight: Any) -> None:
        shapes = [pred.shape for pred in preds]
        for finer, pred in zip(shapes, shapes[1:]):
            if len(pred) != len(finer) or any(pred[each] != finer[each]
                                              for each in (self._axis, self._batch_axis)):
                raise ValueError('preds must have the same samples, classes and number of axes; '
                                 f'got the shapes {shapes}')
            if np.prod(pred) > np.prod(finer):
                raise ValueError('preds must go from the finest to the coarsest; got the shapes '
                                 f'{shapes}')
        if not isinstance(label, (list, tuple)):
            weight = getattr(pixel_weight, 'shape', None)  # a list has none
            check_shapes(DiceOptions(axis=self._axis, sparse_label=self._sparse, resize='bilinear'),
                         shapes[0], label.shape, weight, self._batch_axis)

    def _retrace_for(self, preds: Any, label: Any, pixel_weight: Any) -> None:
        """A cached graph is for one kind of inputs."""
        dtype = np.dtype(preds[0].dtype).name
        traced_for = (len(preds), self._ndim, isinstance(label, (list, tuple)), type(pixel_weight),
                      dtype)
        if self._active and traced_for != self._traced_for:
            self.loss.cast(dtype)
            self._clear_cached_op()
            self._traced_for = traced_for


def _one_by_one(name: str, given: Any) -> Dict[str, Any]:
    """An array by its name; or each of a list."""
    if not isinstance(given, (list, tuple)):
        return {name: given}
    return {f'{name}[{i}]': each for i, each in enumerate(given)}


def _checked(weights: Any) -> Weights:
    if weights is None or isinstance(weights, str):
        if weights not in (None,) + NAMED:
            raise ValueError(f"weights must be 'halving', 'equal' or one number per prediction, "
                             f'for example [1, 0.5, 0.25]; got {weights!r}')
        return weights or 'halving'
    try:
        numbers = tuple(float(each) for each in weights)
    except (TypeError, ValueError):
        numbers = ()
    if not any(numbers) or not all(0 <= each < float('inf') for each in numbers):
        raise ValueError('weights must be finite numbers >= 0, one of them above 0, for example '
                         f'[1, 0.5, 0.25]; got {weights!r}')
    return numbers


def _first(*choices: Any) -> Any:
    """The first that is not None."""
    return next(each for each in choices if each is not None)
