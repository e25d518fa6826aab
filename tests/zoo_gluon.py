"""Gluon losses with exactly one defect each, and right ones, for the checker to be tested on.

All are real: HybridBlocks, Blocks, functions, CustomOps and autograd Functions, run by MXNet.
pred is raw (a softmax is inside) and label one-hot, both (N, C, ...), but where `takes` says so.
"""
import os
import time
from typing import Any, Dict, NamedTuple

import mxnet as mx
from mxnet import autograd
from mxnet.gluon import Block, HybridBlock
from mxnet.gluon.loss import Loss, SoftmaxCrossEntropyLoss

SHAPES = {'pred': (2, 4, 9, 8), 'label': (2, 4, 9, 8)}
INDEX = {'pred': (2, 4, 9, 8), 'label': (2, 9, 8)}
PROBABILITIES = {**SHAPES, 'input': 'softmax'}
WEIGHTED = {**PROBABILITIES, 'pixel_weight': (2, 1, 9, 8)}


class Animal(NamedTuple):
    """A loss, how to give it to the checker, and the only verdicts that are not good."""

    loss: Any
    defects: Dict[str, str]
    takes: Dict[str, Any] = SHAPES


def total(F, x):
    """Sum over all axes but (N, C)."""
    return F.sum(x, axis=(0, 1), exclude=True)


class Dice(Loss):
    """1 - mean over classes of (2 sum p g + 1) / (sum p + sum g + 1): right, and the mother of
    what is wrong below."""

    smooth = 1.0

    def __init__(self, weight=None, batch_axis=0, **kwargs):
        super().__init__(weight, batch_axis, **kwargs)

    def hybrid_forward(self, F, pred, label):
        score = self.score(F, F.softmax(pred, axis=1), label)
        return self.weighted(1 - F.mean(score, axis=1))

    def score(self, F, p, g):
        """(N, C).  elemwise_mul does not broadcast."""
        return ((2 * total(F, F.elemwise_mul(p, g)) + self.smooth)
                / (total(F, p) + total(F, g) + self.smooth))

    def weighted(self, loss):
        return loss if self._weight is None else loss * self._weight


# ---- right ones ----

class Squared(Dice):
    """V-Net's denominator."""

    def score(self, F, p, g):
        return ((2 * total(F, F.elemwise_mul(p, g)) + 1)
                / (total(F, p * p) + total(F, g * g) + 1))


class Pooled(Dice):
    """Classes are added up before dividing."""

    def hybrid_forward(self, F, pred, label):
        p = F.softmax(pred, axis=1)
        both, either = (F.sum(total(F, x), axis=1) for x in (F.elemwise_mul(p, label), p + label))
        return self.weighted(1 - 2 * both / either)


class BatchDice(Dice):
    """Counts are added up over the batch; every sample has the same loss."""

    def hybrid_forward(self, F, pred, label):
        p = F.softmax(pred, axis=1)
        both, either = (F.sum(total(F, x), axis=0, keepdims=True)
                        for x in (F.elemwise_mul(p, label), p + label))
        loss = 1 - F.mean((2 * both + 1) / (either + 1), axis=1)
        return self.weighted(F.broadcast_add(loss, F.zeros_like(F.sum(total(F, p), axis=1))))


class PooledAll(Dice):
    """One Dice of all; of probabilities the denominator is constant."""

    def hybrid_forward(self, F, pred, label):
        both, either = (F.sum(x, keepdims=True)
                        for x in (F.elemwise_mul(pred, label), F.elemwise_add(pred, label)))
        loss = F.reshape(1 - 2 * both / either, shape=(1,))
        return self.weighted(F.broadcast_add(loss, F.zeros_like(F.sum(total(F, pred), axis=1))))


class CrossEntropy(Dice):
    """With a sample_weight too."""

    def hybrid_forward(self, F, pred, label, sample_weight=None):
        loss = -F.elemwise_mul(F.log_softmax(pred, axis=1), label)
        if sample_weight is not None:
            loss = F.broadcast_mul(loss, sample_weight)
        return self.weighted(F.mean(F.sum(loss, axis=1), axis=0, exclude=True))


class Euclidean(Dice):
    """Half the sum of squares."""

    def hybrid_forward(self, F, pred, label):
        return self.weighted(F.sum(F.square(F.elemwise_sub(pred, label)), axis=0, exclude=True) / 2)


class Margin(Dice):
    """max and relu inside: kinks."""

    def hybrid_forward(self, F, pred, label):
        true = F.sum(F.elemwise_mul(pred, label), axis=1)
        best_other = F.max(pred - 100 * label, axis=1)
        return self.weighted(F.mean(F.relu(1 + best_other - true), axis=0, exclude=True))


class OnProbabilities(Dice):
    """Takes what a network's softmax gives."""

    def hybrid_forward(self, F, pred, label):
        return self.weighted(1 - F.mean(self.score(F, pred, label), axis=1))


class PlainBlock(Block):
    """Imperative only, with shapes and Python numbers."""

    def forward(self, pred, label):
        p = mx.nd.softmax(pred, axis=1).reshape((pred.shape[0], pred.shape[1], -1))
        g = mx.nd.elemwise_mul(label, mx.nd.ones_like(pred)).reshape(p.shape)
        return 1 - (2 * (p * g).sum(axis=2) / (p.sum(axis=2) + g.sum(axis=2) + 1)).mean(axis=1)


class ForegroundFirst(PlainBlock):
    """Of an index label; the background is the last channel."""

    def forward(self, pred, label):
        classes = pred.shape[1]
        g = mx.nd.one_hot((label + classes - 1) % classes, depth=classes, dtype=pred.dtype)
        return super().forward(pred, mx.nd.moveaxis(g, -1, 1))


class ChannelsLast(PlainBlock):
    """(N, H, W, C), the label too."""

    def forward(self, pred, label):
        return super().forward(mx.nd.moveaxis(pred, -1, 1), mx.nd.moveaxis(label, -1, 1))


class BackgroundUnlabelled(OnProbabilities):
    """Of a label that has the channels of the foreground alone."""

    def hybrid_forward(self, F, pred, label):
        foreground = F.slice_axis(F.softmax(pred, axis=1), axis=1, begin=1, end=None)
        return super().hybrid_forward(F, foreground, label)


class Float32Inside(Dice):
    """Rounds to float32, whatever it is given."""

    def hybrid_forward(self, F, pred, label):
        return super().hybrid_forward(F, F.cast(pred, 'float32'), F.cast(label, 'float32'))


class RoundsInTheMiddle(Dice):
    """The score of a class is rounded, and the mean is not."""

    def score(self, F, p, g):
        return F.cast(F.cast(super().score(F, p, g), 'float32'), 'float64')


class Float64Refused(Dice):
    """A constant in float32, which MXNet does not mix with float64."""

    def score(self, F, p, g):
        return F.broadcast_mul(super().score(F, p, g), F.ones((1, 1)))


class WithParameter(Dice):
    """Learns its own scale."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.scale = self.params.get('scale', shape=(1,), init='ones')

    def hybrid_forward(self, F, pred, label, scale):
        return F.broadcast_mul(super().hybrid_forward(F, pred, label), scale)


def function_of_F(F, pred, label):
    p = F.softmax(pred, axis=1)
    return 1 - F.mean(2 * total(F, F.elemwise_mul(p, label)) / (total(F, p + label) + 1), axis=1)


def function_of_arrays(pred, label):
    return function_of_F(mx.nd, pred, label)


# ---- a backward written by hand ----

FIRST: Dict[Any, mx.nd.NDArray] = {}  # what a defect keeps for good


class DiceOp(mx.operator.CustomOp):
    """Dice of probabilities, pooled over classes; ``defect`` spoils the backward."""

    def __init__(self, defect):
        super().__init__()
        self.defect = defect

    def forward(self, is_train, req, in_data, out_data, aux):
        p, g = in_data
        if self.defect == 'dies on volumes' and p.ndim == 5:
            os.abort()
        if self.defect == 'hangs on a batch of one' and len(p) == 1:
            time.sleep(3600)
        both, either = self.sums(p, g)
        self.assign(out_data[0], req[0], 1 - (2 * both + 1) / (either + 1))

    def sums(self, p, g):
        return ((p * g).sum(axis=0, exclude=True), (p + g).sum(axis=0, exclude=True))

    def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
        p, g = in_data
        if self.defect == 'the first prediction':
            p = FIRST.setdefault(p.shape, p.copy()).astype(p.dtype)
        spread = (-1,) + (1,) * (p.ndim - 1)
        both, either = (x.reshape(spread) for x in self.sums(p, g))
        head = out_grad[0].reshape(spread)
        gradient = -(2 * g * (either + 1) - (2 * both + 1)) / (either + 1) ** 2
        if self.defect == 'per-pixel denominators':
            gradient = -(2 * g * (p + g + 1) - (2 * p * g + 1)) / (p + g + 1) ** 2 / 72
        if self.defect == 'a hundredth too large':
            gradient = 1.01 * gradient
        if self.defect == 'leaves out small classes':
            size = g.sum(axis=(0, 1), exclude=True)
            enough = (size >= 5).reshape(p.shape[:2] + (1,) * (p.ndim - 2))
            gradient = mx.nd.broadcast_mul(gradient, enough)
        if self.defect == 'leaves out large classes':
            large = g.mean(axis=(0, 1), exclude=True) > 0.5
            large[:, 0] = 0  # the background
            gradient = mx.nd.broadcast_mul(gradient, 1 - large.reshape(
                p.shape[:2] + (1,) * (p.ndim - 2)))
        if self.defect == 'halves a batch of one':
            gradient = gradient * len(p) / 2
        if self.defect == 'uphill':
            gradient = -gradient
        if self.defect == 'ignores its head':
            head = mx.nd.ones_like(head)
        if self.defect == 'wants one head' and head.min() != head.max():
            raise ValueError('the head gradient must be the same for every sample')
        if self.defect == 'one head for all':
            head = mx.nd.ones_like(head) * head.mean()
        if self.defect == 'raises':
            raise ValueError('shapes of gradient and prediction do not match')
        if self.defect == 'writes nothing':
            return
        if self.defect == 'forgets the last pixel':
            pixels = (0, 0, -1)
            in_grad[0].reshape(pixels)[:, :, :-1] = (head * gradient).reshape(pixels)[:, :, :-1]
            return
        if self.defect == 'the other sample':
            gradient = gradient[::-1]
        self.assign(in_grad[0], req[0], head * gradient)


@mx.operator.register('zoo_dice')
class DiceProperty(mx.operator.CustomOpProp):

    def __init__(self, defect=''):
        super().__init__(need_top_grad=True)
        self.defect = defect

    def list_arguments(self):
        return ['pred', 'label']

    def infer_shape(self, shapes):
        if shapes[0] != shapes[1]:
            raise ValueError(f'label must have the shape of pred; got {shapes[1]} and {shapes[0]}')
        return shapes, [shapes[0][:1]], []

    def create_operator(self, ctx, shapes, dtypes):
        return DiceOp(self.defect)


def by_hand(defect=''):
    class ByHand(HybridBlock):
        def hybrid_forward(self, F, pred, label):
            return F.Custom(pred, label, op_type='zoo_dice', defect=defect)
    return ByHand


class SquareFunction(autograd.Function):
    """A mean of squares as autograd's own kind of function, which cannot be hybridized."""

    def __init__(self, too_large):
        super().__init__()
        self.too_large = too_large

    def forward(self, pred, label):
        self.save_for_backward(pred, label)
        return mx.nd.mean(mx.nd.square(mx.nd.elemwise_sub(pred, label)), axis=0, exclude=True)

    def backward(self, head):
        pred, label = self.saved_tensors
        factor = 2 / pred[0].size * self.too_large
        head = head.reshape((-1,) + (1,) * (pred.ndim - 1))
        return factor * head * (pred - label), mx.nd.zeros_like(label)


class RightFunction(Block):
    too_large = 1.0

    def forward(self, pred, label):
        return SquareFunction(self.too_large)(pred, label)


class WrongFunction(RightFunction):
    """The 2 of the derivative was forgotten."""

    too_large = 0.5


# ---- one defect each ----

class Argmax(Dice):
    """The loss is that of the thresholded prediction; the gradient that of the soft one."""

    def score(self, F, p, g):
        hard = F.broadcast_equal(p, F.max(p, axis=1, keepdims=True))
        return super().score(F, p + F.BlockGrad(hard - p), g)


class LeavesMXNet(PlainBlock):
    """NumPy inside: nothing leads back to the prediction."""

    def forward(self, pred, label):
        return super().forward(mx.nd.array(pred.asnumpy(), dtype=pred.dtype), label)


class Score(Dice):
    """A score, called a loss."""

    def hybrid_forward(self, F, pred, label):
        return self.weighted(F.mean(self.score(F, F.softmax(pred, axis=1), label), axis=1))


class OwnLoss(HybridBlock):
    """MakeLoss, which ignores the head gradient."""

    def hybrid_forward(self, F, pred, label):
        return F.MakeLoss(function_of_F(F, pred, label))


class SoftmaxOverTheWidth(Dice):
    """Without an axis, softmax takes the last."""

    def hybrid_forward(self, F, pred, label):
        return self.weighted(1 - F.mean(self.score(F, F.softmax(pred), label), axis=1))


class SigmoidDice(Dice):
    def hybrid_forward(self, F, pred, label):
        return self.weighted(1 - F.mean(self.score(F, F.sigmoid(pred), label), axis=1))


class NaNWhereEmpty(Dice):
    """Of the foreground, divided by its size."""

    def hybrid_forward(self, F, pred, label):
        p = F.slice_axis(F.softmax(pred, axis=1), axis=1, begin=1, end=None)
        g = F.slice_axis(F.elemwise_mul(label, F.ones_like(pred)), axis=1, begin=1, end=None)
        missed = F.sum(F.elemwise_mul(1 - p, g), axis=0, exclude=True)
        return self.weighted(missed / F.sum(g, axis=0, exclude=True)
                             + F.mean(F.elemwise_mul(p, 1 - g), axis=0, exclude=True))


class NaNWithoutBackground(Dice):
    """With it the share of the background that is missed."""

    def score(self, F, p, g):
        p0, g0 = (F.slice_axis(x, axis=1, begin=0, end=1) for x in (p, g))
        missed = F.sum(F.elemwise_mul(1 - p0, g0), axis=(0, 1), exclude=True)
        share = missed / F.sum(g0, axis=(0, 1), exclude=True)
        return F.broadcast_sub(super().score(F, p, g), share)


class NothingLearntWhereEmpty(Dice):
    """Of the foreground, and smoothed in the denominator alone."""

    def score(self, F, p, g):
        p, g = (F.slice_axis(x, axis=1, begin=1, end=None) for x in (p, g))
        return 2 * total(F, F.elemwise_mul(p, g)) / (total(F, p) + total(F, g) + 1)


class NeedsShape(Dice):
    """A Symbol has no shape."""

    def hybrid_forward(self, F, pred, label):
        pixels = pred.shape[2]
        return super().hybrid_forward(F, pred, label) * pixels / pixels


class NeedsNumber(Dice):
    """A Symbol has no numbers."""

    def hybrid_forward(self, F, pred, label):
        present = float((label.sum() > 0).asscalar())
        return super().hybrid_forward(F, pred, label) + (1 - present)


class OtherInGraph(Dice):
    """Another formula for Symbols."""

    def hybrid_forward(self, F, pred, label):
        self.smooth = 1.0 if F is mx.nd else 100.0
        return super().hybrid_forward(F, pred, label)


class RemembersBatch(Dice):
    """The batch it was traced with is a constant of the graph; times it, over it."""

    def forward(self, pred, label):
        self.samples = pred.shape[0]
        return super().forward(pred, label)

    def hybrid_forward(self, F, pred, label):
        loss = super().hybrid_forward(F, pred, label)
        return F.broadcast_mul(loss, F.sum(F.ones_like(loss)) / self.samples)


class WeightIgnored(Dice):
    def weighted(self, loss):
        return loss


class WeightSwapped(SoftmaxCrossEntropyLoss):
    """weight arrives as the parent's from_logits."""

    def __init__(self, weight=None, batch_axis=0):
        super().__init__(1, True, weight, batch_axis=batch_axis)


class SampleWeightIgnored(Dice):
    def hybrid_forward(self, F, pred, label, sample_weight=None):
        return super().hybrid_forward(F, pred, label)


class Scalar(Dice):
    """The mean over the batch, which Trainer.step divides by N again."""

    def hybrid_forward(self, F, pred, label):
        return F.mean(super().hybrid_forward(F, pred, label))


class Broadcasts(PlainBlock):
    """A label of one sample, or one pixel, serves for all."""

    def forward(self, pred, label):
        return super().forward(pred, mx.nd.broadcast_mul(label, mx.nd.ones_like(pred)))


class ClassDropped(OnProbabilities):
    """The last class is in no sum."""

    def score(self, F, p, g):
        return F.slice_axis(super().score(F, p, g), axis=1, begin=0, end=-1)


class TwoOfFour(Dice):
    """The classes 1 and 2 alone."""

    def score(self, F, p, g):
        return F.slice_axis(super().score(F, p, g), axis=1, begin=1, end=3)


class SmallClassDropped(Dice):
    """Classes of fewer than 5 pixels are taken for noise."""

    def score(self, F, p, g):
        score = super().score(F, p, g)
        return F.where(total(F, g) < 5, F.ones_like(score), score)


class FailsOnOne(PlainBlock):
    """squeeze takes the batch axis too."""

    def forward(self, pred, label):
        loss = super().forward(pred, label)
        return mx.nd.squeeze(loss.reshape((-1, 1, 1))).slice_axis(axis=0, begin=0, end=2).reshape(2)


class Dropout(Dice):
    """Random, as dropout is while training."""

    def hybrid_forward(self, F, pred, label):
        return super().hybrid_forward(F, F.Dropout(pred), label)


class RunningMean(PlainBlock):
    """Divides by the running mean of its values."""

    mean = None

    def forward(self, pred, label):
        loss = super().forward(pred, label)
        now = float(loss.mean().asscalar())
        self.mean = now if self.mean is None else 0.99 * self.mean + 0.01 * now
        return loss / self.mean


class Slow(PlainBlock):
    """Right, and slow."""

    def forward(self, pred, label):
        time.sleep(0.1)
        return super().forward(pred, label)


class Hangs(PlainBlock):
    def forward(self, pred, label):
        time.sleep(3600)


class FirstRowOfOne(PlainBlock):
    """Of a batch of one it reads the first row alone."""

    def forward(self, pred, label):
        if len(pred) == 1:
            pred, label = (x.slice_axis(axis=2, begin=0, end=1) for x in (pred, label))
        return super().forward(pred, label)


class WeightedOp(DiceOp):
    """Dice of probabilities times weights of pixels; ``defect`` spoils the weights."""

    def forward(self, is_train, req, in_data, out_data, aux):
        p, g, w = self.weighted(in_data)
        super().forward(is_train, req, [p * w, g * w], out_data, aux)

    def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
        p, g, w = self.weighted(in_data)
        super().backward(req, out_grad, [p * w, g * w], out_data, in_grad, aux)
        if self.defect != 'forgets the weights':
            in_grad[0][:] *= w

    def weighted(self, in_data):
        p, g, w = in_data
        if self.defect == 'weights of the first':
            w = mx.nd.broadcast_to(w[:1], shape=w.shape)
        return p, g, mx.nd.broadcast_to(w, shape=p.shape)


@mx.operator.register('zoo_weighted_dice')
class WeightedProperty(DiceProperty):

    def list_arguments(self):
        return ['pred', 'label', 'pixel_weight']

    def infer_shape(self, shapes):
        (_, label), loss, aux = shapes[:2], *super().infer_shape(shapes[:2])[1:]
        return [shapes[0], label, shapes[2]], loss, aux

    def create_operator(self, ctx, shapes, dtypes):
        return WeightedOp(self.defect)


def weighted_by_hand(defect=''):
    class WeightedByHand(HybridBlock):
        def hybrid_forward(self, F, pred, label, pixel_weight):
            return F.Custom(pred, label, pixel_weight, op_type='zoo_weighted_dice', defect=defect)
    return WeightedByHand


class FirstSampleOnly(PlainBlock):
    """[0] left in from debugging."""

    def forward(self, pred, label):
        loss = super().forward(pred, label)
        return loss[0:1] + mx.nd.zeros_like(loss)


class ImagesOnly(Dice):
    """Sums over axes 2 and 3."""

    def score(self, F, p, g):
        p, g = (F.transpose(x, axes=(0, 1, 3, 2)) for x in (p, g))
        return super().score(F, p, g)


RIGHT = {
    'linear': Animal(Dice, {}),
    'squared': Animal(Squared, {}),
    'pooled': Animal(Pooled, {}),
    'batch': Animal(BatchDice, {}),
    'pooled batch and classes': Animal(PooledAll, {}, PROBABILITIES),
    'cross-entropy': Animal(CrossEntropy, {}),
    'euclidean': Animal(Euclidean, {}),
    'margin': Animal(Margin, {}),
    'probabilities': Animal(OnProbabilities, {}, PROBABILITIES),
    'plain block': Animal(PlainBlock, {}),
    'float32 inside': Animal(Float32Inside, {}),
    'rounds in the middle': Animal(RoundsInTheMiddle, {}),
    'float64 refused': Animal(Float64Refused, {}),
    'with a parameter': Animal(WithParameter, {}),
    'function of F': Animal(function_of_F, {}),
    'function of arrays': Animal(function_of_arrays, {}),
    'by hand': Animal(by_hand(), {}, PROBABILITIES),
    'autograd.Function': Animal(RightFunction, {}),
    'foreground first': Animal(ForegroundFirst, {}, {**INDEX, 'background': -1}),
    'channels last': Animal(ChannelsLast, {}, {'pred': (2, 9, 8, 4), 'label': (2, 9, 8, 4),
                                               'axis': -1}),
    'background unlabelled': Animal(BackgroundUnlabelled, {}, {**SHAPES, 'label': (2, 3, 9, 8)}),
    'with weights': Animal(weighted_by_hand(), {}, WEIGHTED),
}

WRONG = {
    'argmax': Animal(Argmax, {'gradient': 'zero-forward'}),
    'leaves MXNet': Animal(LeavesMXNet, {'gradient': 'none'}),
    'score': Animal(Score, {'direction': 'rises'}),
    'MakeLoss': Animal(OwnLoss, {'head_gradient': 'ignored'}),
    'softmax twice': Animal(Dice, {'activation': 'applied twice'}, PROBABILITIES),
    'sigmoid twice': Animal(SigmoidDice, {'activation': 'applied twice'},
                            {**SHAPES, 'input': 'sigmoid'}),
    'no softmax': Animal(OnProbabilities, {'activation': 'missing'}),
    'softmax over the width': Animal(SoftmaxOverTheWidth, {'activation': 'wrong axis'}),
    'NaN where empty': Animal(NaNWhereEmpty, {'empty': 'not finite'}),
    'NaN without background': Animal(NaNWithoutBackground, {'empty': 'not finite'}),
    'nothing learnt where empty': Animal(NothingLearntWhereEmpty, {'empty': 'no gradient'}),
    'needs .shape': Animal(NeedsShape, {'hybridize': 'raises'}),
    'needs a number': Animal(NeedsNumber, {'hybridize': 'raises'}),
    'another formula in the graph': Animal(OtherInGraph, {'hybridize': 'differs'}),
    'remembers the batch': Animal(RemembersBatch, {'hybridize': 'differs'}),
    'weight ignored': Animal(WeightIgnored, {'weight': 'ignored'}),
    'weight swapped': Animal(WeightSwapped, {'weight': 'wrong'}, INDEX),
    'sample_weight ignored': Animal(SampleWeightIgnored, {'weight': 'wrong'}),
    'scalar': Animal(Scalar, {'batch': 'not (N,)'}),
    'broadcasts': Animal(Broadcasts, {'shapes': 'broadcast'}),
    'class dropped': Animal(ClassDropped, {'classes': 'class dropped'}, PROBABILITIES),
    'two classes of four': Animal(TwoOfFour, {'classes': 'class dropped'}),
    'small class dropped': Animal(SmallClassDropped, {'classes': 'class dropped'}),
    'fails on one': Animal(FailsOnOne, {'batch': 'N=1 fails'}),
    'first row of one': Animal(FirstRowOfOne, {'batch': 'N=1 fails'}),
    'weights forgotten': Animal(weighted_by_hand('forgets the weights'),
                                {'gradient': 'wrong', 'relative_error': 'wrong'}, WEIGHTED),
    'weights of the first': Animal(weighted_by_hand('weights of the first'),
                                   {'batch': 'wrong sample'}, WEIGHTED),
    'dropout': Animal(Dropout, {'gradient': 'not repeatable'}),
    'running mean': Animal(RunningMean, {'gradient': 'not repeatable'}),
    'the first prediction': Animal(by_hand('the first prediction'),
                                   {'gradient': 'wrong', 'relative_error': 'wrong'}, PROBABILITIES),
    'first sample only': Animal(FirstSampleOnly, {'batch': 'sample ignored'}),
    'images only': Animal(ImagesOnly, {'shapes': 'fails on 3-D'}),
    'autograd.Function': Animal(WrongFunction, {'gradient': 'wrong', 'relative_error': 'wrong'}),
    **{defect: Animal(by_hand(defect), verdicts, PROBABILITIES) for defect, verdicts in {
        'per-pixel denominators': {'gradient': 'wrong', 'relative_error': 'wrong'},
        'a hundredth too large': {'gradient': 'wrong', 'relative_error': 'wrong'},
        'leaves out small classes': {'classes': 'class dropped', 'empty': 'wrong'},
        'leaves out large classes': {'empty': 'wrong'},
        'halves a batch of one': {'batch': 'N=1 fails'},
        'uphill': {'gradient': 'wrong', 'relative_error': 'wrong', 'direction': 'uphill'},
        'ignores its head': {'head_gradient': 'ignored'},
        'one head for all': {'head_gradient': 'wrong per sample'},
        'wants one head': {'head_gradient': 'error'},
        'raises': {'gradient': 'error'},
        'writes nothing': {'gradient': 'none'},
        'forgets the last pixel': {'gradient': 'stale', 'relative_error': 'wrong'},
        'the other sample': {'gradient': 'wrong', 'relative_error': 'wrong',
                             'batch': 'wrong sample'},
        'dies on volumes': {'shapes': 'dies'},
        'hangs on a batch of one': {'batch': 'dies'}}.items()},
}
