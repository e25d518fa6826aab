"""WRONG losses, for the study alone: what does a wrong gradient cost?  Do not copy them.

Each has one of the defects that are found most often in published code; tests/test_study.py shows
what this project's own checker says of each.  All take raw scores (N, C, H, W) and class indices
(N, 1, H, W), and give (N,).
"""
from typing import Any

import mxnet as mx
from mxnet import autograd, gluon

from gluon_dice import SoftDiceLoss
from soft_dice import soft_dice_loss_vjp

SMOOTH = 1e-5
DICE_WEIGHT = 0.1  # of the Dice beside a cross-entropy, which HeadGradientIgnored makes 1


def _one_hot(label: Any, like: Any) -> Any:
    """(N, 1, H, W) to (N, C, H, W)."""
    classes = mx.nd.arange(like.shape[1]).reshape((1, -1, 1, 1))
    return mx.nd.broadcast_equal(label, classes)


class _HardDiceVNetBackward(autograd.Function):
    """WRONG: the Dice of the argmax, and V-Net's derivative, at the probabilities."""

    def forward(self, p: Any, g: Any) -> Any:
        decided = _one_hot(p.argmax(axis=1, keepdims=True), p)
        both = (decided * g).sum(axis=(2, 3), keepdims=True)
        total = (decided + g).sum(axis=(2, 3), keepdims=True) + SMOOTH
        self.save_for_backward(p, g, both, total)
        return 1 - ((2 * both + SMOOTH) / total).mean(axis=(1, 2, 3))

    def backward(self, upstream: Any) -> Any:
        p, g, both, total = self.saved_tensors
        slope = 2 * (g * total - 2 * p * both) / total ** 2 / p.shape[1]
        return -upstream.reshape((-1, 1, 1, 1)) * slope, mx.nd.zeros_like(g)


class ArgmaxForward(gluon.Block):
    """WRONG: the forward counts decided pixels, the backward is that of V-Net's soft Dice."""

    def forward(self, pred: Any, label: Any) -> Any:
        return _HardDiceVNetBackward()(mx.nd.softmax(pred, axis=1), _one_hot(label, pred))


class ScoreAsLoss(gluon.HybridBlock):
    """WRONG: the Dice score itself, which the training then makes as small as it can."""

    def __init__(self) -> None:
        super().__init__()
        self.dice = SoftDiceLoss()

    def hybrid_forward(self, F: Any, pred: Any, label: Any) -> Any:
        return 1 - self.dice(pred, label)


class _DiceIgnoringUpstream(autograd.Function):
    """WRONG: the gradient does not depend on what the loss is multiplied by."""

    def forward(self, pred: Any, label: Any) -> Any:
        loss, self.vjp = soft_dice_loss_vjp(pred.asnumpy(), label.asnumpy())
        return mx.nd.array(loss, dtype=pred.dtype)

    def backward(self, upstream: Any) -> Any:
        gradient = mx.nd.array(self.vjp(1.0), dtype=upstream.dtype)
        return gradient, mx.nd.zeros(1)


class HeadGradientIgnored(gluon.Block):
    """WRONG: cross-entropy + 0.1 Dice, whose Dice ignores its weight (in Caffe: loss_weight)."""

    def __init__(self) -> None:
        super().__init__()
        self.cross_entropy = gluon.loss.SoftmaxCrossEntropyLoss(axis=1)

    def forward(self, pred: Any, label: Any) -> Any:
        return self.cross_entropy(pred, label) + DICE_WEIGHT * _DiceIgnoringUpstream()(pred, label)


class DenominatorPerPixel(gluon.HybridBlock):
    """WRONG: divides in every pixel, and then takes the mean, where Dice divides sums."""

    def hybrid_forward(self, F: Any, pred: Any, label: Any) -> Any:
        p = F.softmax(pred, axis=1)
        g = F.cast(F.broadcast_equal(label, F.reshape(F.contrib.arange_like(pred, axis=1),
                                                      (1, -1, 1, 1))), 'float32')
        score = (2 * p * g + SMOOTH) / (p + g + SMOOTH)
        return 1 - F.mean(score, axis=0, exclude=True)


class SoftmaxTwice(gluon.HybridBlock):
    """WRONG: the network ends in a softmax, and the loss takes another."""

    def __init__(self) -> None:
        super().__init__()
        self.dice = SoftDiceLoss()

    def hybrid_forward(self, F: Any, pred: Any, label: Any) -> Any:
        return self.dice(F.softmax(pred, axis=1), label)
