"""A loss over the devices of one process."""
from typing import Any, List, Optional, Union

import mxnet as mx
from mxnet import gluon

from soft_dice.options import Options
from soft_dice.plan import Plan, resolve

from ..base import StagedLoss
from ..compat import takes_np
from ..deep_supervision import DeepSupervision
from ..stage_two import joined, loss_of, parted
from .shares import Arrays, Share, dtype_of, same, shares_of


class DataParallelLoss(gluon.Block):
    """A loss of a batch that is shared out over the devices of one process: value and gradients are
    those of the whole batch on one device, whatever the shares.

    Parameters
    ----------
    loss : SoftDiceLoss or DiceCELoss, of any options; or a DeepSupervision or AuxLoss of one.

    Inputs
    ------
    preds, labels, pixel_weights : lists of the loss's inputs, one per device, such as
        ``gluon.utils.split_and_load`` makes them; of a DeepSupervision or AuxLoss each entry of
        preds is a list of predictions.  None, or leaving out the last ones, is a share without
        samples; see :func:`zero_gradients`.

    Outputs
    -------
    What the loss gives for the whole batch, (N,), in the order of the shares, on the device of the
    first that has samples.  One ``backward()`` gives every device its gradient.

    Raises
    ------
    TypeError : ``loss`` is another one, or inputs are no lists.
    ValueError : lists that do not match, no samples at all, predictions whose classes or dtypes
        differ; what the loss raises.

    Hybridized, stages 1 and 2 are a graph each.  Between the devices travel 3 C float64 per sample,
    with a cross-entropy 3 C + 2, and back as many of the gradient.

    Examples
    --------
    >>> from gluon_dice import SoftDiceLoss
    >>> loss = DataParallelLoss(SoftDiceLoss(batch_dice=True))
    >>> loss.hybridize()
    >>> devices = [mx.cpu(0), mx.cpu(1)]
    >>> preds = [mx.nd.zeros((n, 3, 4, 4), ctx) for n, ctx in zip((3, 1), devices)]
    >>> loss(preds, [mx.nd.zeros((n, 4, 4), ctx) for n, ctx in zip((3, 1), devices)]).shape
    (4,)
    """

    def __init__(self, loss: Union[StagedLoss, DeepSupervision], **block: Any) -> None:
        super().__init__(**block)
        self._scales = loss if isinstance(loss, DeepSupervision) else None
        one = staged(loss.loss if isinstance(loss, DeepSupervision) else loss)
        self.options = one.options
        with self.name_scope():
            self.stage_one = StageOneOnly(one)
            self.stage_two = StageTwoOnly(one)

    @takes_np
    def forward(self, preds: Any, labels: Arrays, pixel_weights: Optional[Arrays] = None) -> Any:
        shares = shares_of(preds, labels, pixel_weights, check=self._scales is None)
        if not shares:
            raise ValueError('preds must hold the samples of at least one device; got none')
        if self._scales is None:
            return self._of_shares(shares)
        scales = [self._scales.of_arrays(*share) for share in shares]
        same('number of predictions', [*map(len, scales)])
        total: Any = 0
        for scale in zip(*scales):
            weight = scale[0][0]
            total = total + weight * self._of_shares([Share(*inputs) for _, inputs in scale])
        return total

    def _of_shares(self, shares: List[Share]) -> mx.nd.NDArray:
        plan, dtype = resolve(self.options, self.classes(shares)), dtype_of(shares)
        return self.stage_two(self.sums(shares), plan).astype(dtype)

    def sums(self, shares: List[Share]) -> mx.nd.NDArray:
        """Stage 1 of every share, (N, M) on the first one's device."""
        sums = [self.stage_one(*(each for each in share if each is not None)) for share in shares]
        first = sums[0].context
        return mx.nd.concat(*(each.as_in_context(first) for each in sums), dim=0)

    def classes(self, shares: List[Share]) -> int:
        return same('number of classes', [share.pred.shape[self.options.dice.axis]
                                          for share in shares])


def staged(loss: Any) -> StagedLoss:
    """A loss that has the three stages.

    Raises
    ------
    TypeError : it is another.
    """
    if isinstance(loss, StagedLoss):
        return loss
    raise TypeError('loss must be a SoftDiceLoss or a DiceCELoss, for example '
                    f'SoftDiceLoss(batch_dice=True); got {type(loss).__name__}')


class StageOneOnly(StagedLoss):
    """Stage 1 of a loss: it gives all sums side by side, (N, M) float64."""

    KIND = Options

    def __init__(self, loss: StagedLoss) -> None:
        super().__init__(loss.options, batch_axis=loss._batch_axis, num_classes=loss._num_classes)

    def _evaluate(self, F: Any, *inputs: Any) -> Any:
        assert self._stage_one is not None
        return joined(F, self._stage_one(F, *inputs))


class StageTwoOnly(gluon.HybridBlock):
    """Stage 2 of a loss, of all sums side by side, in float64."""

    def __init__(self, loss: StagedLoss) -> None:
        super().__init__()
        self._weight = loss._weight
        self._plan: Optional[Plan] = None

    def forward(self, sums: Any, plan: Plan) -> Any:
        if plan != self._plan:
            self._clear_cached_op()
        self._plan = plan
        return super().forward(sums)

    def hybrid_forward(self, F: Any, sums: Any) -> Any:
        assert self._plan is not None
        loss = loss_of(F, parted(F, sums, self._plan), self._plan)
        return loss if self._weight is None else loss * self._weight
