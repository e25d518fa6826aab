"""AuxLoss: a loss on all outputs of a network with auxiliary heads, called as in gluoncv."""
from typing import Any, Optional, Tuple

from soft_dice.values import non_negative

from . import door
from .deep_supervision import DeepSupervision


class AuxLoss(DeepSupervision):
    """A loss on each output of a network that also has auxiliary heads::

        loss(pred, label) + aux_weight * loss(aux, label)

    It stands where gluoncv's networks want ``MixSoftmaxCrossEntropyLoss(aux=True)``, and is called
    as that is, ``criterion(*outputs, label)``.

    Works imperatively, hybridized, inside another hybridized block, on Symbols, and in gluoncv's
    ``DataParallelCriterion``.

    Parameters
    ----------
    loss : a Gluon loss of (pred, label), such as :class:`DiceCELoss` or MXNet's own.  That of
        gluoncv ignores the label -1, which is ``ignore_label=-1`` here.
    aux_weight : float >= 0, default 0.2 as in gluoncv, whose training script passes 0.5.
    sparse_label, axis : as of :class:`DeepSupervision`.

    Inputs
    ------
    pred, aux, label : one prediction or more, then the label, as the loss takes them.  All but the
        first have the weight ``aux_weight``; one that is smaller than the label is compared with it
        as in :class:`DeepSupervision`.

    Or ``[pred, aux], label`` and optionally pixel weights, as of :class:`DeepSupervision`.

    Outputs
    -------
    What the loss returns, (N,).

    Raises
    ------
    TypeError : no label; otherwise as :class:`DeepSupervision`.
    ValueError : ``aux_weight`` is not a number >= 0; otherwise as :class:`DeepSupervision`.

    Examples
    --------
    >>> import mxnet as mx
    >>> from gluon_dice import DiceCELoss
    >>> criterion = AuxLoss(DiceCELoss(ignore_label=-1), aux_weight=0.5)
    >>> outputs = mx.nd.zeros((2, 21, 8, 8)), mx.nd.zeros((2, 21, 8, 8))
    >>> criterion(*outputs, mx.nd.zeros((2, 8, 8))).shape
    (2,)
    """

    def __init__(self, loss: Any, aux_weight: float = 0.2, sparse_label: Optional[bool] = None,
                 axis: Optional[int] = None, **block: Any) -> None:
        self.aux_weight = non_negative('aux_weight', aux_weight)
        super().__init__(loss, None, sparse_label, axis, **block)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.loss!r}, aux_weight={self.aux_weight!r})'

    def forward(self, *inputs: Any) -> Any:
        if isinstance(inputs[0], (list, tuple)):
            return super().forward(*inputs)
        *preds, label = inputs
        if not preds:
            raise TypeError('a label must follow the predictions, for example '
                            f'criterion(pred, aux, label); got {door.described(label)} alone')
        return super().forward(preds, label)

    def _scale_weights(self, scales: int) -> Tuple[float, ...]:
        return (1.0,) + (self.aux_weight,) * (scales - 1)
