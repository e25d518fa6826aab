"""The loss layers: they translate blobs; losses and gradients are those of soft_dice."""
from typing import Any, ClassVar, Sequence, Type

import caffe
import numpy as np

from soft_dice.ce_options import DiceCEOptions
from soft_dice.inputs import check_shapes
from soft_dice.loss import evaluate
from soft_dice.options import DiceOptions, Options
from soft_dice.plan import resolve

from . import params
from .errors import reported
from .learning import Learning
from .runs import note_forward, note_setup


class _LossLayer(caffe.Layer):
    """A layer of a loss in soft_dice.  A subclass names its options."""

    KIND: ClassVar[Type[Options]]

    @reported
    def setup(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        self.options = params.read(self.param_str, self.KIND)
        if len(bottom) not in (2, 3):
            raise ValueError(f'{type(self).__name__} takes the bottoms prediction, label and, if '
                             f'wanted, pixel weights; got {len(bottom)}')
        if len(top) not in (1, 2):
            raise ValueError(f'{type(self).__name__} has the tops loss and, if wanted, score; '
                             f'got {len(top)}')
        self._learning = Learning()
        note_setup(self)

    @reported
    def reshape(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        shapes = [tuple(bottom[i].shape) for i in range(len(bottom))]
        check_shapes(self.options.dice, shapes[0], shapes[1], shapes[2] if shapes[2:] else None)
        plan = resolve(self.options, shapes[0][1])
        top[0].reshape(*plan.losses)
        if len(top) == 2:
            top[1].reshape(shapes[0][0], plan.scores)

    @reported
    def forward(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        note_forward(self)
        self._learning.forward(self, top)
        weight = bottom[2].data if len(bottom) == 3 else None
        self._result = evaluate(bottom[0].data, bottom[1].data, self.options, weight)
        top[0].data[...] = self._result.loss.mean(axis=0)
        if len(top) == 2:
            top[1].data[...] = self._result.score

    @reported
    def backward(self, top: Sequence[Any], propagate_down: Sequence[bool],
                 bottom: Sequence[Any]) -> None:
        self._learning.look(top)
        if len(top) == 2 and top[1].diff.any():
            raise ValueError('the score (second top) has no gradient; write '
                             'loss_weight: 1 loss_weight: 0')
        if propagate_down[0]:
            shape = self._result.loss.shape
            each = top[0].diff / shape[0]  # loss_weight, of the mean over the batch
            self._result.vjp(np.broadcast_to(each, shape), out=bottom[0].diff)
        for i in range(1, len(bottom)):
            if propagate_down[i]:
                bottom[i].diff[...] = 0


class SoftDiceLossLayer(_LossLayer):
    """Soft Dice loss of a prediction, averaged over the batch::

        layer {
          name: "loss"  type: "Python"  loss_weight: 1
          bottom: "score"  bottom: "label"  top: "loss"
          python_param { module: "caffe_layers"  layer: "SoftDiceLossLayer"
                         param_str: '{"ignore_label": 255}' }
        }

    ``param_str`` holds the fields of :class:`soft_dice.DiceOptions` as a JSON object or a Python
    dict literal; empty is their defaults.  Without ``loss_weight`` Caffe never calls backward, and
    the layer warns once that nothing is learnt.

    Bottoms
    -------
    0 : prediction (N, C, ...).
    1 : label (N, 1, ...) or (N, ...) class indices; with ``"sparse_label": false`` as prediction.
        With ``"resize": "bilinear"`` it may have other sizes than the prediction.
    2 : pixel weights (N, 1, ...) or (N, ...), optional, of the label's sizes.

    Tops
    ----
    0 : loss, a scalar: the mean over the batch; with ``"class_reduction": "none"`` one per counted
        class, (K,), whose sum Caffe minimises.
    1 : score of each sample and counted class, (N, K), optional; to look at, without a gradient.
        Caffe then wants two weights: ``loss_weight: 1  loss_weight: 0``.

    Only the prediction receives a gradient, and a label none, soft or not; where Caffe asks for
    others (``force_backward``) they are 0.

    Raises
    ------
    ValueError, TypeError : options, number of bottoms or tops, shapes or label values that are
        wrong; as :func:`soft_dice.soft_dice_loss`.
    """

    KIND = DiceOptions


class DiceCELossLayer(_LossLayer):
    """Dice loss plus cross-entropy of a prediction before its softmax, averaged over the batch::

        layer {
          name: "loss"  type: "Python"  loss_weight: 1
          bottom: "score"  bottom: "label"  top: "loss"
          python_param { module: "caffe_layers"  layer: "DiceCELossLayer"
                         param_str: '{"ignore_label": 255, "ce_weight": 0.5}' }
        }

    ``param_str`` holds the fields of :class:`soft_dice.DiceCEOptions`.  Bottoms, tops and errors
    are those of :class:`SoftDiceLossLayer`; the loss is always a scalar, and the score is that of
    the Dice.
    """

    KIND = DiceCEOptions
