"""Losses in NumPy to test the checker with: right ones, and broken ones with one defect each.

A loss of the zoo has ``forward(pred, label)`` and ``backward(pred, label)``, the gradient of its
sum.  ``Animal`` makes a Subject of one, in float64 or, its arithmetic too, in float32.  A broken
one is a right one with one method that spoils it.
"""
import numpy as np
from zoo_softmax import softmax, through_softmax

from soft_dice import DiceOptions, soft_dice_loss, soft_dice_loss_vjp
from soft_dice.checker.subject import Died, Evaluation, Example, Refused, Subject

EPS = 1e-5
INDEX = Example((2, 3, 8, 8), (2, 1, 8, 8), input='softmax')
RAW = Example((2, 3, 8, 8), (2, 8, 8), input='raw')
FIVE = RAW.replace(pred=(2, 5, 8, 8))
MANY = Example((2, 21, 12, 12), (2, 12, 12))
ONEHOT = Example((2, 3, 8, 8), (2, 3, 8, 8), input='softmax', label_kind='onehot')
SIGNED = Example((2, 1, 8, 8), (2, 1, 8, 8), input='raw', label_kind='binary')
SAID = INDEX.replace(background=2, background_said=True)
TWO = Example((2, 2, 8, 8), (2, 1, 8, 8), input='softmax')
SAID_OF_TWO = TWO.replace(background=1, background_said=True)
BINARY = Example((2, 1, 8, 8), (2, 1, 8, 8), input='sigmoid', label_kind='binary')


def one_hot(pred, label):
    """The index label in pred's shape and type; other shapes are refused, as numbers never are."""
    if label.size != pred[:, 0].size or len(label) != len(pred):
        raise Refused(f'a label of shape {label.shape} does not fit {pred.shape}')
    index = label.reshape(pred[:, 0].shape)
    channels = np.arange(pred.shape[1]).reshape((1, -1) + (1,) * (pred.ndim - 2))
    return (index[:, None] == channels).astype(pred.dtype)


def same(pred, label):
    if label.shape != pred.shape:
        raise Refused(f'label must have the shape of pred, {pred.shape}; got {label.shape}')
    return label.astype(pred.dtype)


def pixels(x, reduce=np.sum, **kwargs):
    return reduce(x, axis=tuple(range(2, x.ndim)), **kwargs)


def spread(x, like):
    """(N, C), for every pixel."""
    return x.reshape(x.shape + (1,) * (like.ndim - 2))


# Right ones -------------------------------------------------------------------------------------

class Loss:
    """example : what it takes.  forward : the loss, () or (N,).  backward : of its sum."""

    example = INDEX
    mean = False  # over the batch, as in Caffe

    def forward(self, pred, label):
        loss = self.each(pred, label)
        return loss.mean() if self.mean else loss

    def backward(self, pred, label):
        gradient = self.each_backward(pred, label)
        return gradient / pred.dtype.type(len(pred)) if self.mean else gradient


class Dice(Loss):
    """1 - mean over classes of (2 sum p g + eps) / (sum p^k + sum g + eps), k = 1 or 2."""

    def __init__(self, exponent=1, mean=False, eps=EPS, example=INDEX):
        self.exponent, self.mean, self.eps, self.example = exponent, mean, eps, example

    def target(self, pred, label):
        return label.reshape(pred.shape).astype(pred.dtype) if pred.shape[1] == 1 \
            and label.size == pred.size and len(label) == len(pred) else one_hot(pred, label)

    def sums(self, pred, label):
        g, eps = self.target(pred, label), pred.dtype.type(self.eps)
        top = 2 * pixels(pred * g) + eps
        bottom = pixels(pred ** self.exponent) + pixels(g) + eps
        return g, top, bottom

    def each(self, pred, label):
        _, top, bottom = self.sums(pred, label)
        return 1 - (top / bottom).mean(axis=1)

    def each_backward(self, pred, label):
        g, top, bottom = self.sums(pred, label)
        d_bottom = self.exponent * pred ** (self.exponent - 1)
        return -(2 * g / spread(bottom, pred) - d_bottom * spread(top / bottom ** 2, pred)
                 ) / pred.dtype.type(pred.shape[1])


class PooledDice(Dice):
    """All classes in one sum."""

    def sums(self, pred, label):
        g, top, bottom = super().sums(pred, label)
        return g, top.sum(axis=1, keepdims=True), bottom.sum(axis=1, keepdims=True)

    def each_backward(self, pred, label):
        return super().each_backward(pred, label) * pred.dtype.type(pred.shape[1])


class BatchDice(Dice):
    """All samples in one sum; the loss is a scalar."""

    def sums(self, pred, label):
        g, top, bottom = super().sums(pred, label)
        return g, top.sum(axis=0, keepdims=True), bottom.sum(axis=0, keepdims=True)

    def forward(self, pred, label):
        return super().forward(pred, label).sum()


class PooledAllDice(BatchDice):
    """Samples and classes in one sum, without smoothing: of probabilities that add up to 1 the
    denominator is constant, and only the gradient shows that samples are pooled."""

    def __init__(self, example=ONEHOT):
        super().__init__(eps=0.0, example=example)

    def target(self, pred, label):
        return same(pred, label)

    def sums(self, pred, label):
        g, top, bottom = super().sums(pred, label)
        return g, top.sum(axis=1, keepdims=True), bottom.sum(axis=1, keepdims=True)

    def each_backward(self, pred, label):
        return super().each_backward(pred, label) * pred.dtype.type(pred.shape[1])


class SoftDice(Loss):
    """soft_dice itself, on logits."""

    def __init__(self, example=RAW, **options):
        self.options, self.example = DiceOptions(**options), example

    def forward(self, pred, label):
        try:
            return soft_dice_loss(pred, label, self.options).astype(pred.dtype)
        except ValueError as error:
            raise Refused(str(error))

    def backward(self, pred, label):
        try:
            return soft_dice_loss_vjp(pred, label, self.options)[1](1.0)
        except ValueError as error:
            raise Refused(str(error))


class CrossEntropy(Loss):
    """Of the softmax of logits, mean over pixels and batch."""

    example = RAW

    def __init__(self, mean=True):
        self.mean = mean

    def log_softmax(self, pred):
        shifted = pred - pred.max(axis=1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))

    def each(self, pred, label):
        return -pixels(one_hot(pred, label) * self.log_softmax(pred), np.mean).sum(axis=1)

    def each_backward(self, pred, label):
        number = pred.dtype.type(pred[0, 0].size)
        return (np.exp(self.log_softmax(pred)) - one_hot(pred, label)) / number


class ProbabilityCrossEntropy(CrossEntropy):
    """-log of a probability, which a max keeps from 0."""

    example = INDEX
    least = 1e-6

    def each(self, pred, label):
        safe = np.maximum(pred, pred.dtype.type(self.least))
        return -pixels(one_hot(pred, label) * np.log(safe), np.mean).sum(axis=1)

    def each_backward(self, pred, label):
        number = pred.dtype.type(pred[0, 0].size)
        safe = np.maximum(pred, pred.dtype.type(self.least))
        return -one_hot(pred, label) * (pred > self.least) / safe / number


class Euclidean(Loss):
    """sum (p - g)^2 / 2N, Caffe's."""

    mean = True

    def __init__(self, example=ONEHOT):
        self.example = example

    def each(self, pred, label):
        return ((pred - same(pred, label)) ** 2).reshape(len(pred), -1).sum(axis=1) / 2

    def each_backward(self, pred, label):
        return pred - same(pred, label)


class Absolute(Euclidean):
    """|p - g|: a kink at every pixel."""

    def each(self, pred, label):
        return abs(pred - same(pred, label)).reshape(len(pred), -1).mean(axis=1)

    def each_backward(self, pred, label):
        return np.sign(pred - same(pred, label)) / pred.dtype.type(pred[0].size)


class Hinge(Loss):
    """relu(1 - y f) with y = -1 or 1, mean over pixels."""

    example = SIGNED

    def margin(self, pred, label):
        sign = 2 * same(pred, label) - 1
        return sign, 1 - sign * pred

    def each(self, pred, label):
        return np.maximum(self.margin(pred, label)[1], 0).reshape(len(pred), -1).mean(axis=1)

    def each_backward(self, pred, label):
        sign, margin = self.margin(pred, label)
        return -sign * (margin > 0) / pred.dtype.type(pred[0].size)


class ReluDice(Dice):
    """Dice of max(p - 0.1, 0): kinks inside a ratio."""

    def each(self, pred, label):
        return super().each(np.maximum(pred - pred.dtype.type(0.1), 0), label)

    def each_backward(self, pred, label):
        moved = pred - pred.dtype.type(0.1)
        return super().each_backward(np.maximum(moved, 0), label) * (moved > 0)


class ForegroundFirst(Dice):
    """The background is the last channel."""

    def target(self, pred, label):
        return np.roll(one_hot(pred, label), -1, axis=1)


class FirstChannelOnly(ForegroundFirst):
    """Of two channels, of which the first is the foreground and alone counts."""

    def sums(self, pred, label):
        g, top, bottom = super().sums(pred, label)
        return g, top[:, :1], bottom[:, :1]

    def each_backward(self, pred, label):
        g, top, bottom = self.sums(pred, label)
        gradient = np.zeros_like(pred)
        gradient[:, :1] = -(2 * g[:, :1] / spread(bottom, pred)
                            - spread(top / bottom ** 2, pred))
        return gradient


class NoBackground(Dice):
    """Of sigmoids of the foreground; a one-hot label, or an index that is one higher."""

    def target(self, pred, label):
        return same(pred, label) if label.shape == pred.shape else one_hot(pred, label - 1)


class BackgroundUnlabelled(Dice):
    """The label has the channels of the foreground alone."""

    def target(self, pred, label):
        return same(pred[:, 1:], label)

    def each(self, pred, label):
        g, top, bottom = self.sums(pred, label)
        return 1 - (top / bottom).mean(axis=1)

    def sums(self, pred, label):
        g, p, eps = self.target(pred, label), pred[:, 1:], pred.dtype.type(self.eps)
        return g, 2 * pixels(p * g) + eps, pixels(p) + pixels(g) + eps

    def each_backward(self, pred, label):
        g, top, bottom = self.sums(pred, label)
        gradient = np.zeros_like(pred)
        gradient[:, 1:] = -(2 * g / spread(bottom, pred) - spread(top / bottom ** 2, pred))
        return gradient / pred.dtype.type(pred.shape[1] - 1)


class Nested(Dice):
    """Of sigmoids; the channels after the first count where the label has the first alone."""

    def target(self, pred, label):
        g = same(pred, label)
        inside = np.concatenate([np.ones_like(g[:, :1]), np.repeat(g[:, :1], g.shape[1] - 1, 1)], 1)
        return g, inside

    def sums(self, pred, label):
        (g, inside), eps = self.target(pred, label), pred.dtype.type(self.eps)
        p = pred * inside
        return g * inside, 2 * pixels(p * g) + eps, pixels(p * p) + pixels(g * inside) + eps

    def each_backward(self, pred, label):
        (g, inside), (_, top, bottom) = self.target(pred, label), self.sums(pred, label)
        gradient = g / spread(bottom, pred) - pred * spread(top / bottom ** 2, pred)
        return -2 * inside * gradient / pred.dtype.type(pred.shape[1])


class WorstClassDice(Dice):
    """The mean over classes and, with it, the largest of their losses: a max over sums."""

    def each(self, pred, label):
        _, top, bottom = self.sums(pred, label)
        return 1 - (top / bottom).mean(axis=1) - (top / bottom).min(axis=1)

    def each_backward(self, pred, label):
        g, top, bottom = self.sums(pred, label)
        worst = (top / bottom) == (top / bottom).min(axis=1, keepdims=True)
        both = Dice.each_backward(self, pred, label)
        return both * (1 + pred.shape[1] * spread(worst, pred).astype(pred.dtype))


RIGHT = {
    'linear Dice': Dice(),
    'linear Dice, mean': Dice(mean=True),
    'binary Dice': Dice(example=BINARY),
    'smooth 1': Dice(eps=1.0),
    'squared Dice': Dice(exponent=2),
    'squared Dice, mean': Dice(exponent=2, mean=True),
    'pooled Dice': PooledDice(),
    'batch Dice': BatchDice(),
    'pooled batch and classes': PooledAllDice(),
    'soft_dice': SoftDice(),
    'soft_dice pooled': SoftDice(pool_classes=True),
    'soft_dice batch': SoftDice(batch_dice=True),
    'cross-entropy': CrossEntropy(),
    'cross-entropy of probabilities': ProbabilityCrossEntropy(),
    'Euclidean': Euclidean(),
    'Euclidean of raw numbers': Euclidean(ONEHOT.replace(input='raw')),
    'absolute': Absolute(),
    'hinge': Hinge(),
    'relu inside': ReluDice(),
    'max inside': WorstClassDice(),
    'nested': Nested(example=ONEHOT.replace(input='sigmoid', label_kind='binary')),
    'foreground first': ForegroundFirst(example=SAID),
    'foreground first of two': ForegroundFirst(example=SAID_OF_TWO),
    'first channel alone': FirstChannelOnly(example=SAID_OF_TWO),
    'no background': NoBackground(example=INDEX.replace(input='sigmoid', background=None,
                                                        background_said=True)),
    'background unlabelled': BackgroundUnlabelled(example=ONEHOT.replace(label=(2, 2, 8, 8))),
}


class Animal(Subject):
    """A Loss as a Subject; subclasses spoil one thing.

    In float32 pred is rounded to float32 and the loss computes in it, so that its noise is real.
    """

    def __init__(self, loss, dtype='float64', name=''):
        self.loss, self.dtype, self.name = loss, dtype, name or type(self).__name__

    def value(self, pred, label):
        with np.errstate(all='ignore'):
            return np.asarray(self.forward(pred.astype(self.dtype), label), np.float64)

    def evaluate(self, pred, label, upstream=1.0, before=0.0):
        x = pred.astype(self.dtype)
        buffer = np.full_like(x, before)
        with np.errstate(all='ignore'):
            value = self.forward(x, label)
            self.backward(x, label, x.dtype.type(upstream), buffer)
        return Evaluation(np.asarray(value, np.float64), buffer.astype(np.float64))

    def forward(self, pred, label):
        return self.loss.forward(pred, label)

    def backward(self, pred, label, upstream, out):
        out[...] = upstream * self.loss.backward(pred, label)


# Broken ones, each otherwise an Animal of a right loss --------------------------------------------

class ZeroGradient(Animal):
    def backward(self, pred, label, upstream, out):
        out[...] = 0


class SignFlipped(Animal):
    def backward(self, pred, label, upstream, out):
        out[...] = -upstream * self.loss.backward(pred, label)


class Factor2(Animal):
    def backward(self, pred, label, upstream, out):
        out[...] = 2 * upstream * self.loss.backward(pred, label)


class OnePercent(Animal):
    def backward(self, pred, label, upstream, out):
        out[...] = 1.01 * upstream * self.loss.backward(pred, label)


class OnePixel(Animal):
    """The sign of one pixel's gradient, in one channel, is flipped."""

    where = (0, 1, 26)  # sample, channel, pixel

    def backward(self, pred, label, upstream, out):
        super().backward(pred, label, upstream, out)
        out.reshape(out.shape[:2] + (-1,))[self.where] *= -1


class ArgmaxForward(Animal):
    """The Dice of the hard segmentation, with the gradient of the soft one."""

    def forward(self, pred, label):
        index = pred.argmax(axis=1).astype(np.float64)
        return super().forward(one_hot(pred, index), label)


class ArgmaxAndSmallUntrained(ArgmaxForward):
    """V-Net's descendants, which skip classes of 10 pixels or fewer."""

    def backward(self, pred, label, upstream, out):
        super().backward(pred, label, upstream, out)
        out *= spread(pixels(one_hot(pred, label)) > 10, pred)


class StaleBuffer(Animal):
    """Writes the gradient only where it is not 0, as ``diff[mask] = ...`` does."""

    def backward(self, pred, label, upstream, out):
        gradient = upstream * self.loss.backward(pred, label)
        out[gradient != 0] = gradient[gradient != 0]


class Accumulates(Animal):
    def backward(self, pred, label, upstream, out):
        out += upstream * self.loss.backward(pred, label)


class NothingWritten(Animal):
    def backward(self, pred, label, upstream, out):
        out = out + upstream * self.loss.backward(pred, label)  # a new array, not the buffer


class ScoreReturned(Animal):
    def forward(self, pred, label):
        return 1 - super().forward(pred, label)

    def backward(self, pred, label, upstream, out):
        out[...] = -upstream * self.loss.backward(pred, label)


class UpstreamIgnored(Animal):
    def backward(self, pred, label, upstream, out):
        out[...] = self.loss.backward(pred, label)


class UpstreamSquared(Animal):
    def backward(self, pred, label, upstream, out):
        out[...] = upstream ** 2 * self.loss.backward(pred, label)


class UpstreamAbsolute(Animal):
    def backward(self, pred, label, upstream, out):
        out[...] = abs(upstream) * self.loss.backward(pred, label)


class NanOnEmpty(Animal):
    """Divides by the foreground's size."""

    def forward(self, pred, label):
        return super().forward(pred, label) + self.nothing(pred, label)

    def backward(self, pred, label, upstream, out):
        super().backward(pred, label, upstream, out)
        out += self.nothing(pred, label)

    def nothing(self, pred, label):
        """0, and NaN where there is no foreground."""
        size = np.float64(np.sum(label > 0))
        return 0 * size / size


class NanWithoutBackground(NanOnEmpty):
    """Divides by the background's size."""

    def nothing(self, pred, label):
        return super().nothing(pred, label == 0)


class InfiniteGradientOnEmpty(Animal):
    """The loss is finite there, its gradient is divided by the foreground's size."""

    def backward(self, pred, label, upstream, out):
        super().backward(pred, label, upstream, out)
        if not np.any(label > 0):
            out[...] = np.divide(1.0, 0.0)


class WrongSample(Animal):
    """Sample 0 gets the gradient of sample 1, and the other way round."""

    def backward(self, pred, label, upstream, out):
        out[...] = upstream * self.loss.backward(pred, label)[::-1]


class LabelOfTheFirst(Animal):
    """Every sample is held to the first one's label."""

    def forward(self, pred, label):
        return super().forward(pred, self.first(pred, label))

    def backward(self, pred, label, upstream, out):
        super().backward(pred, self.first(pred, label), upstream, out)

    def first(self, pred, label):
        one_hot(pred, label)  # which refuses what does not fit
        return np.broadcast_to(label[:1], label.shape)


class OnlySample0(Animal):
    def backward(self, pred, label, upstream, out):
        super().backward(pred, label, upstream, out)
        out[1:] = 0


class SingleSampleCrash(Animal):
    """Squeezes the batch away where it is 1, and then indexes it."""

    def forward(self, pred, label):
        try:
            return super().forward(pred.squeeze(), label.squeeze()[:, None]) if len(pred) == 1 \
                else super().forward(pred, label)
        except (ValueError, IndexError) as error:
            raise Refused(str(error))


class FirstRowAlone(Animal):
    """Of a batch of one the first row alone is read, as after a squeeze too many."""

    def forward(self, pred, label):
        return super().forward(*(self.rows(pred, label)))

    def backward(self, pred, label, upstream, out):
        rows, label = self.rows(pred, label)
        if rows is not pred:
            out[...] = 0
            out = out[:, :, :1]
        super().backward(rows, label, upstream, out)

    def rows(self, pred, label):
        alone = len(pred) == 1 and pred.ndim == 4
        return (pred[:, :, :1], label[..., :1, :]) if alone else (pred, label)


class SumAlone(FirstRowAlone):
    """Of a batch of one each row is a sample."""

    def rows(self, pred, label):
        return pred, label

    def forward(self, pred, label):
        if len(pred) > 1:
            return super().forward(pred, label)
        return super().forward(np.moveaxis(pred, 2, 0)[:, 0, :, None], label.reshape(
            (pred.shape[2], 1, 1, -1))).mean(keepdims=True)

    def backward(self, pred, label, upstream, out):
        if len(pred) > 1:
            return super().backward(pred, label, upstream, out)
        rows = np.moveaxis(pred, 2, 0)[:, 0, :, None]
        inner = np.zeros_like(rows)
        super().backward(rows, label.reshape((pred.shape[2], 1, 1, -1)), upstream, inner)
        out[...] = np.moveaxis(inner[:, None, :, 0], 0, 2) / pred.shape[2]


class HalvedAlways(Animal):
    """A mean over the batch, whose backward takes it for one of two."""

    def backward(self, pred, label, upstream, out):
        super().backward(pred, label, upstream * len(pred) / 2, out)


class SmallClassDropped(Dice):
    """Classes of fewer than 10 pixels have loss and gradient 0."""

    def large(self, pred, label):
        return (pixels(one_hot(pred, label)) >= 10).astype(pred.dtype)

    def each(self, pred, label):
        _, top, bottom = self.sums(pred, label)
        return ((1 - top / bottom) * self.large(pred, label)).mean(axis=1)

    def each_backward(self, pred, label):
        return super().each_backward(pred, label) * spread(self.large(pred, label), pred)


class SmallClassUntrained(Animal):
    """The forward is right; the backward has nothing for a class of fewer than 10 pixels."""

    few = 10

    def backward(self, pred, label, upstream, out):
        super().backward(pred, label, upstream, out)
        out *= spread(pixels(one_hot(pred, label)) >= self.few, pred)


class OnePixelUntrained(SmallClassUntrained):
    """The backward has nothing for a class of a single pixel."""

    few = 2


class LargeClassUntrained(Animal):
    """The backward has nothing for a class, but the background, of more than half of the pixels."""

    def backward(self, pred, label, upstream, out):
        super().backward(pred, label, upstream, out)
        large = pixels(one_hot(pred, label)) > 0.5 * pred[0, 0].size
        large[:, 0] = False
        out *= spread(~large, pred)


class SmallTermUntrained(Animal):
    """The backward leaves the term of a class of fewer than 10 pixels out, before the softmax: its
    channel has the gradient of the others' terms."""

    def backward(self, pred, label, upstream, out):
        p = np.exp(self.log_softmax(pred))
        terms = Dice.each_backward(Dice(), p, label)
        terms *= spread(pixels(one_hot(p, label)) >= 10, p)
        out[...] = upstream * p * (terms - (p * terms).sum(axis=1, keepdims=True))

    def forward(self, pred, label):
        return Dice().forward(np.exp(self.log_softmax(pred)), label)

    def log_softmax(self, pred):
        return CrossEntropy().log_softmax(pred)


class RarePixelsDoubled(Animal):
    """The backward weights pixels of a class of fewer than 10 twice, the forward does not."""

    def backward(self, pred, label, upstream, out):
        super().backward(pred, label, upstream, out)
        g = one_hot(pred, label)
        rare = (g * spread(pixels(g) < 10, pred)).any(axis=1, keepdims=True)
        out *= 1 + rare


class LastClassDropped(Dice):
    """The last channel is in no sum: range(1, C - 1)."""

    def kept(self, pred, label):
        return (np.arange(pred.shape[1]) < pred.shape[1] - 1).astype(pred.dtype)[None]

    def each(self, pred, label):
        _, top, bottom = self.sums(pred, label)
        return ((1 - top / bottom) * self.kept(pred, label)).mean(axis=1)

    def each_backward(self, pred, label):
        return super().each_backward(pred, label) * spread(self.kept(pred, label), pred)


class BroadcastLabel(Animal):
    """Compares whatever NumPy can broadcast."""

    def fitted(self, pred, label):
        index = label if label.ndim == pred.ndim else label[:, None]
        try:
            return np.broadcast_to(index, pred[:, :1].shape)
        except ValueError as error:
            raise Refused(str(error))

    def forward(self, pred, label):
        return super().forward(pred, self.fitted(pred, label))

    def backward(self, pred, label, upstream, out):
        super().backward(pred, self.fitted(pred, label), upstream, out)


class ImagesOnly(Animal):
    def forward(self, pred, label):
        if pred.ndim != 4:
            raise Refused('not enough values to unpack')
        return super().forward(pred, label)


class SumsTwoAxes(Dice):
    """Sums over the axes 2 and 3, whatever there is."""

    def each(self, pred, label):
        if pred.ndim == 4:
            return super().each(pred, label)
        g = one_hot(pred, label)
        top, bottom = 2 * (pred * g).sum(axis=(2, 3)) + EPS, (pred + g).sum(axis=(2, 3)) + EPS
        return (1 - top / bottom).mean(axis=(1, 2))


class Dies(Animal):
    """A label that does not fit ends the process."""

    def forward(self, pred, label):
        try:
            return super().forward(pred, label)
        except Refused as error:
            raise Died(f'signal 11 at {error}')


class DiesOnVolumes(Animal):
    def forward(self, pred, label):
        if pred.ndim != 4:
            raise Died('signal 6')
        return super().forward(pred, label)


class DiesAlone(Animal):
    def forward(self, pred, label):
        if len(pred) == 1:
            raise Died('signal 8')
        return super().forward(pred, label)


class Unrepeatable(Animal):
    calls = 0

    def forward(self, pred, label):
        self.calls += 1
        return super().forward(pred, label) * (1 + 0.01 * np.sin(self.calls))


class Random(Animal):
    """As with dropout."""

    def __init__(self, loss, dtype):
        super().__init__(loss, dtype)
        self.rng = np.random.RandomState(0)

    def forward(self, pred, label):
        self.kept = self.rng.randint(0, 2, pred.shape)
        return super().forward(pred * self.kept, label)

    def backward(self, pred, label, upstream, out):
        super().backward(pred * self.kept, label, upstream, out)
        out *= self.kept


class RunningMean(Animal):
    """Divides by the running mean of its own values, so that all steps are of one size."""

    def __init__(self, loss, dtype, momentum=0.9):
        super().__init__(loss, dtype)
        self.mean, self.momentum = None, momentum

    def forward(self, pred, label):
        value = super().forward(pred, label)
        now = np.float64(value.mean())
        self.mean = now if self.mean is None else \
            self.momentum * self.mean + (1 - self.momentum) * now
        return value / self.mean

    def backward(self, pred, label, upstream, out):
        super().backward(pred, label, upstream / self.mean, out)


class GradientWithMomentum(Animal):
    """Momentum in the backward."""

    before = 0.0

    def backward(self, pred, label, upstream, out):
        super().backward(pred, label, upstream, out)
        if np.shape(self.before) == out.shape:
            out += 0.1 * self.before
        self.before = out.copy()


class FirstPrediction(Animal):
    """The backward keeps the sums of its first call at a shape."""

    def __init__(self, loss, dtype):
        super().__init__(loss, dtype)
        self.first = {}

    def backward(self, pred, label, upstream, out):
        super().backward(self.first.setdefault(pred.shape, pred), label, upstream, out)


class FirstLabel(Animal):
    """Makes the one-hot label once for each shape."""

    def __init__(self, loss, dtype):
        super().__init__(loss, dtype)
        self.labels = {}

    def forward(self, pred, label):
        one_hot(pred, label)  # which refuses what does not fit
        return super().forward(pred, self.labels.setdefault(label.shape, label))

    def backward(self, pred, label, upstream, out):
        super().backward(pred, self.labels.setdefault(label.shape, label), upstream, out)


class NanForward(Animal):
    def forward(self, pred, label):
        return super().forward(pred, label) * np.nan


class NanGradient(Animal):
    def backward(self, pred, label, upstream, out):
        super().backward(pred, label, upstream, out)
        out[..., 0, 0] = np.nan


class WrongShape(Animal):
    def evaluate(self, pred, label, upstream=1.0, before=0.0):
        answer = super().evaluate(pred, label, upstream, before)
        return answer._replace(gradient=answer.gradient[:1])


class RefusesAll(Animal):
    def forward(self, pred, label):
        raise Refused("'list' object is not callable")


class DiesOnAll(Animal):
    def forward(self, pred, label):
        raise Died('signal 11')


class UpstreamAdded(Animal):
    """Right for an upstream of 1."""

    def backward(self, pred, label, upstream, out):
        out[...] = (upstream + 1) / 2 * self.loss.backward(pred, label)


class NoSmoothAbove(Dice):
    """Smoothing in the denominator alone: on an empty image the loss is 1 for every prediction."""

    def sums(self, pred, label):
        g, top, bottom = super().sums(pred, label)
        return g, top - pred.dtype.type(self.eps), bottom


class EmptySkipped(Animal):
    """The loss of an image without foreground is 0."""

    def forward(self, pred, label):
        return super().forward(pred, label) * bool(np.any(label > 0))

    def backward(self, pred, label, upstream, out):
        super().backward(pred, label, upstream * bool(np.any(label > 0)), out)


class EmptyForwardSkipped(EmptySkipped):
    """The same in the forward alone; the backward is that of the formula."""

    def backward(self, pred, label, upstream, out):
        out[...] = upstream * self.loss.backward(pred, label)


class BackwardRefuses(BroadcastLabel):
    """The forward takes what can be broadcast, the backward does not."""

    def backward(self, pred, label, upstream, out):
        one_hot(pred, label)
        super().backward(pred, label, upstream, out)


class RaisesOnEmpty(Animal):
    def forward(self, pred, label):
        if not np.any(label > 0):
            raise Refused('division by zero')
        return super().forward(pred, label)


class AlongAnotherAxis(SoftDice):
    """A Dice of logits whose softmax goes over another axis than the classes."""

    def __init__(self, axis, example=RAW):
        super().__init__(example, activation='none')
        self.axis = axis

    def forward(self, pred, label):
        return super().forward(softmax(pred, self.axis), label)

    def backward(self, pred, label):
        p = softmax(pred, self.axis)
        return through_softmax(p, super().backward(p, label), self.axis)


class LogLoss(Loss):
    """Binary cross-entropy of a probability, with nothing that keeps it from 0 and 1."""

    example = BINARY

    def each(self, pred, label):
        g = same(pred, label)
        return -pixels(g * np.log(pred) + (1 - g) * np.log(1 - pred), np.mean)[:, 0]

    def each_backward(self, pred, label):
        g = same(pred, label)
        return ((1 - g) / (1 - pred) - g / pred) / pred.dtype.type(pred[0].size)


def fed(loss, input):
    """The loss, given another input than it expects."""
    loss.example = loss.example.replace(input=input)
    return loss


class ConstantForward(Animal):
    def forward(self, pred, label):
        return 0 * super().forward(pred, label)


WRONG = {'gradient': 'wrong', 'relative_error': 'wrong'}
UNREPEATABLE = {'gradient': 'not repeatable'}

TWICE = {'activation': 'applied twice'}
MISSING = {'activation': 'missing'}

# Name: what makes a Subject in a dtype, and its defects; every other finding must be good.
BROKEN = {
    'zero gradient': (lambda dtype: ZeroGradient(Dice(), dtype), WRONG),
    'sign flipped': (lambda dtype: SignFlipped(Dice(), dtype), dict(WRONG, direction='uphill')),
    'factor 2': (lambda dtype: Factor2(Dice(), dtype), WRONG),
    '1 % too large': (lambda dtype: OnePercent(Dice(), dtype), WRONG),
    '1 % too large, max inside': (lambda dtype: OnePercent(WorstClassDice(), dtype), WRONG),
    'one pixel wrong': (lambda dtype: OnePixel(Dice(), dtype), WRONG),
    'one pixel wrong, Euclidean': (lambda dtype: OnePixel(RIGHT['Euclidean of raw numbers'], dtype),
                                   WRONG),
    'NaN in the gradient': (lambda dtype: NanGradient(Dice(), dtype),
                            dict(WRONG, empty='not finite')),
    'argmax forward': (lambda dtype: ArgmaxForward(Dice(), dtype), {'gradient': 'zero-forward'}),
    'constant': (lambda dtype: ConstantForward(Dice(), dtype), {'gradient': 'zero-forward'}),
    'nothing written': (lambda dtype: NothingWritten(Dice(), dtype), {'gradient': 'none'}),
    'stale buffer': (lambda dtype: StaleBuffer(ProbabilityCrossEntropy(), dtype),
                     {'gradient': 'stale'}),
    'stale buffer, hinge': (lambda dtype: StaleBuffer(Hinge(), dtype), {'gradient': 'stale'}),
    'adds to the buffer': (lambda dtype: Accumulates(Dice(), dtype), {'gradient': 'stale'}),
    'drifts': (lambda dtype: Unrepeatable(Dice(), dtype), UNREPEATABLE),
    'random': (lambda dtype: Random(Dice(), dtype), UNREPEATABLE),
    'running mean': (lambda dtype: RunningMean(Dice(), dtype), UNREPEATABLE),
    'slow running mean': (lambda dtype: RunningMean(SoftDice(), dtype, 0.999), UNREPEATABLE),
    'gradient with momentum': (lambda dtype: GradientWithMomentum(Dice(), dtype), UNREPEATABLE),
    'first prediction remembered': (lambda dtype: FirstPrediction(Dice(exponent=2), dtype), WRONG),
    'first label remembered': (lambda dtype: FirstLabel(Dice(), dtype),
                               {'direction': 'label ignored', 'batch': 'wrong sample'}),
    'NaN': (lambda dtype: NanForward(Dice(), dtype), {'gradient': 'error'}),
    'gradient of another shape': (lambda dtype: WrongShape(Dice(), dtype), {'gradient': 'error'}),
    'refuses all': (lambda dtype: RefusesAll(Dice(), dtype), {'gradient': 'error'}),
    'dies on all': (lambda dtype: DiesOnAll(Dice(), dtype), {'gradient': 'dies'}),
    'score returned': (lambda dtype: ScoreReturned(Dice(), dtype), {'direction': 'rises'}),
    'score of two': (lambda dtype: ScoreReturned(Dice(example=TWO), dtype),
                     {'direction': 'rises'}),
    'squared score of two': (lambda dtype: ScoreReturned(Dice(exponent=2, example=TWO), dtype),
                             {'direction': 'rises'}),
    'score of one': (lambda dtype: ScoreReturned(Dice(example=BINARY), dtype),
                     {'direction': 'rises'}),
    'score of logits': (lambda dtype: ScoreReturned(SoftDice(), dtype), {'direction': 'rises'}),
    'upstream ignored': (lambda dtype: UpstreamIgnored(Dice(), dtype), {'loss_weight': 'ignored'}),
    'upstream squared': (lambda dtype: UpstreamSquared(Dice(), dtype), {'loss_weight': 'squared'}),
    'upstream absolute': (lambda dtype: UpstreamAbsolute(Dice(), dtype),
                          {'loss_weight': 'absolute'}),
    'upstream added': (lambda dtype: UpstreamAdded(Dice(), dtype), {'loss_weight': 'wrong'}),
    'NaN on an empty image': (lambda dtype: NanOnEmpty(Dice(), dtype), {'empty': 'not finite'}),
    'NaN on an image without background': (lambda dtype: NanWithoutBackground(Dice(), dtype),
                                           {'empty': 'not finite'}),
    'large class untrained': (lambda dtype: LargeClassUntrained(Dice(), dtype),
                              {'empty': 'wrong'}),
    'infinite gradient on an empty image': (lambda dtype: InfiniteGradientOnEmpty(Dice(), dtype),
                                            {'empty': 'not finite'}),
    'nothing learnt from an empty image': (
        lambda dtype: Animal(NoSmoothAbove(example=BINARY, eps=1.0), dtype),
        {'empty': 'no gradient'}),
    'an empty image is skipped': (lambda dtype: EmptySkipped(Dice(), dtype),
                                  {'empty': 'no gradient'}),
    'an empty image is skipped forward': (lambda dtype: EmptyForwardSkipped(Dice(eps=1.0), dtype),
                                          {'empty': 'wrong'}),
    'raises on an empty image': (lambda dtype: RaisesOnEmpty(Dice(), dtype), {'empty': 'raises'}),
    # of one class, as there the samples' gradients resemble each other and a step still leads down
    'wrong sample': (lambda dtype: WrongSample(Dice(example=BINARY), dtype),
                     dict(WRONG, batch='wrong sample')),
    'label of the first sample': (lambda dtype: LabelOfTheFirst(Dice(), dtype),
                                  {'batch': 'wrong sample'}),
    'only sample 0': (lambda dtype: OnlySample0(Dice(), dtype),
                      dict(WRONG, batch='sample ignored')),
    'a batch of one crashes': (lambda dtype: SingleSampleCrash(Dice(), dtype),
                               {'batch': 'N=1 fails'}),
    'a batch of one dies': (lambda dtype: DiesAlone(Dice(), dtype), {'batch': 'dies'}),
    'first row of a batch of one': (lambda dtype: FirstRowAlone(Dice(), dtype),
                                    {'batch': 'N=1 fails'}),
    'first row of a batch of one, mean': (lambda dtype: FirstRowAlone(SoftDice(), dtype),
                                          {'batch': 'N=1 fails'}),
    'first row of one, pooled': (lambda dtype: FirstRowAlone(BatchDice(), dtype),
                                 {'batch': 'N=1 fails'}),
    'halved where there is one': (lambda dtype: HalvedAlways(Dice(mean=True), dtype),
                                  {'batch': 'N=1 fails'}),
    'halved where there is one, sum': (lambda dtype: HalvedAlways(SoftDice(), dtype),
                                       {'batch': 'N=1 fails'}),
    'rows of one are samples': (lambda dtype: SumAlone(Dice(), dtype), {'batch': 'N=1 fails'}),
    'small class dropped': (lambda dtype: Animal(SmallClassDropped(), dtype),
                            {'classes': 'class dropped'}),
    'small class untrained': (lambda dtype: SmallClassUntrained(Dice(), dtype),
                              {'classes': 'class dropped'}),
    # the logits' channels of absent classes are small ones too
    'small class untrained, logits': (lambda dtype: SmallClassUntrained(SoftDice(), dtype),
                                      {'classes': 'class dropped', 'empty': 'wrong'}),
    'small term untrained': (lambda dtype: SmallTermUntrained(CrossEntropy(), dtype),
                             {'classes': 'class dropped'}),
    'argmax, and small classes untrained': (
        lambda dtype: ArgmaxAndSmallUntrained(Dice(), dtype),
        {'gradient': 'zero-forward', 'classes': 'class dropped'}),
    'one pixel untrained': (lambda dtype: OnePixelUntrained(Dice(exponent=2), dtype),
                            {'classes': 'class dropped'}),
    'rare pixels doubled': (lambda dtype: RarePixelsDoubled(Dice(), dtype), {'classes': 'wrong'}),
    'two classes of five': (lambda dtype: Animal(SoftDice(FIVE, classes=[1, 2]), dtype),
                            {'classes': 'class dropped'}),
    'one weight is 0': (lambda dtype: Animal(SoftDice(FIVE, class_weights=[1, 1, 0, 1, 1]), dtype),
                        {'classes': 'class dropped'}),
    'class 18 of 21': (lambda dtype: Animal(SoftDice(
        MANY, classes=[c for c in range(21) if c != 18]), dtype), {'classes': 'class dropped'}),
    'last class dropped': (lambda dtype: Animal(LastClassDropped(), dtype),
                           {'classes': 'class dropped'}),
    'softmax twice': (lambda dtype: Animal(fed(SoftDice(), 'softmax'), dtype), TWICE),
    'softmax twice, cross-entropy': (lambda dtype: Animal(fed(CrossEntropy(), 'softmax'), dtype),
                                     TWICE),
    'softmax of a sigmoid': (lambda dtype: Animal(fed(SoftDice(), 'sigmoid'), dtype), TWICE),
    'sigmoid twice': (lambda dtype: Animal(SoftDice(BINARY, activation='sigmoid'), dtype), TWICE),
    'Dice of logits': (lambda dtype: Animal(fed(Dice(), 'raw'), dtype), MISSING),
    'squared Dice of logits': (lambda dtype: Animal(fed(Dice(exponent=2), 'raw'), dtype), MISSING),
    'binary Dice of logits': (lambda dtype: Animal(fed(Dice(example=BINARY), 'raw'), dtype),
                              MISSING),
    'log of logits': (lambda dtype: Animal(fed(ProbabilityCrossEntropy(), 'raw'), dtype), MISSING),
    'binary log of logits': (lambda dtype: Animal(fed(LogLoss(), 'raw'), dtype),
                             dict(MISSING, empty='not finite')),
    'softmax over the width': (lambda dtype: Animal(AlongAnotherAxis(-1), dtype),
                               {'activation': 'wrong axis'}),
    'softmax over samples': (lambda dtype: Animal(AlongAnotherAxis(0), dtype),
                             {'activation': 'wrong axis'}),
    'label broadcast': (lambda dtype: BroadcastLabel(Dice(), dtype), {'shapes': 'broadcast'}),
    'fails on volumes': (lambda dtype: ImagesOnly(Dice(), dtype), {'shapes': 'fails on 3-D'}),
    'sums two axes': (lambda dtype: Animal(SumsTwoAxes(), dtype), {'shapes': 'differs in 3-D'}),
    'label refused by the backward': (lambda dtype: BackwardRefuses(Dice(), dtype), {}),
    'dies': (lambda dtype: Dies(Dice(), dtype), {'shapes': 'dies'}),
    'dies on volumes': (lambda dtype: DiesOnVolumes(Dice(), dtype), {'shapes': 'dies'}),
}
