"""Caffe Python layers for the checker to judge: right ones, and others with one defect each.

All take probabilities (N, C, ...), or what ``given`` says, and class numbers (N, 1, ...).  A layer
is a loss and its gradient in NumPy, side by side; ``Layer`` does what Caffe wants of a good one,
and a defective layer overrides what it does wrong.
"""
import os
import time

import caffe
import numpy as np
from zoo_softmax import softmax, through_softmax

SMOOTH = 1e-3


class Layer(caffe.Layer):
    """loss(p, g) and gradient(p, g) for p (N, C, P) and one-hot g of p's shape."""

    given = 'softmax'
    asked = {}  # what else is to be said of the input

    def setup(self, bottom, top):
        if len(bottom) != 2:
            raise ValueError('the bottoms are prediction and label')

    def reshape(self, bottom, top):
        pred, label = tuple(bottom[0].shape), tuple(bottom[1].shape)
        if label != pred[:1] + (1,) + pred[2:]:
            raise ValueError(f'a label for {pred} has one channel; got {label}')
        top[0].reshape(1)

    def forward(self, bottom, top):
        top[0].data[...] = self.loss(*self.arrays(bottom))

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            self.write(bottom[0].diff, top[0].diff[0] * self.whole_gradient(bottom))
        if propagate_down[1]:
            bottom[1].diff[...] = 0

    def arrays(self, bottom):
        pred = bottom[0].data
        p = pred.reshape(pred.shape[0], pred.shape[1], -1)
        index = bottom[1].data.reshape(bottom[1].data.shape[0], 1, -1)
        return p, (index == np.arange(p.shape[1])[:, None]).astype(float)

    def whole_gradient(self, bottom):
        return self.gradient(*self.arrays(bottom)).reshape(bottom[0].data.shape)

    def write(self, diff, gradient):
        diff[...] = gradient


def sums(x):
    return x.sum(axis=2, keepdims=True)


# Right.

class Linear(Layer):
    """Dice with p and g in the denominator, per class."""

    def loss(self, p, g):
        return 1 - np.mean((2 * sums(p * g) + SMOOTH) / (sums(p) + sums(g) + SMOOTH))

    def gradient(self, p, g):
        top, below = 2 * sums(p * g) + SMOOTH, sums(p) + sums(g) + SMOOTH
        return -(2 * g / below - top / below ** 2) / (len(p) * p.shape[1])


class Squared(Layer):
    """V-Net's, with p^2 and g^2."""

    def loss(self, p, g):
        return 1 - np.mean((2 * sums(p * g) + SMOOTH) / (sums(p * p) + sums(g * g) + SMOOTH))

    def gradient(self, p, g):
        top, below = 2 * sums(p * g) + SMOOTH, sums(p * p) + sums(g * g) + SMOOTH
        return -(2 * g / below - 2 * p * top / below ** 2) / (len(p) * p.shape[1])


class PooledClasses(Layer):
    """One Dice of all classes together, squared (linear it would be a mean of p at the label)."""

    def loss(self, p, g):
        top, below = 2 * (p * g).sum((1, 2)), (p * p + g * g).sum((1, 2))
        return 1 - np.mean(top / below)

    def gradient(self, p, g):
        top, below = 2 * (p * g).sum((1, 2)), (p * p + g * g).sum((1, 2))
        each = 2 * g / below[:, None, None] - 2 * p * (top / below ** 2)[:, None, None]
        return -each / len(p)


class PooledBatch(Layer):
    """Dice per class over the whole batch."""

    def loss(self, p, g):
        top, below = 2 * (p * g).sum((0, 2)) + SMOOTH, (p + g).sum((0, 2)) + SMOOTH
        return 1 - np.mean(top / below)

    def gradient(self, p, g):
        top = 2 * (p * g).sum((0, 2))[:, None] + SMOOTH
        below = (p + g).sum((0, 2))[:, None] + SMOOTH
        return -(2 * g / below - top / below ** 2) / p.shape[1]


class PooledAll(Layer):
    """One Dice of all; of probabilities the denominator is constant."""

    def loss(self, p, g):
        return 1 - 2 * np.sum(p * g) / np.sum(p + g)

    def gradient(self, p, g):
        both, all_of_it = np.sum(p * g), np.sum(p + g)
        return -(2 * g / all_of_it - 2 * both / all_of_it ** 2)


class CrossEntropy(Layer):

    def loss(self, p, g):
        return -np.sum(g * np.log(np.maximum(p, 1e-12))) / (len(p) * p.shape[2])

    def gradient(self, p, g):
        return -g / np.maximum(p, 1e-12) / (len(p) * p.shape[2])


class Euclidean(Layer):

    def loss(self, p, g):
        return np.sum((p - g) ** 2) / len(p) / 2

    def gradient(self, p, g):
        return (p - g) / len(p)


class Relu(Layer):
    """By how much each element is wrong beyond a tenth: kinks inside."""

    def loss(self, p, g):
        return np.mean(np.maximum(np.abs(p - g) - 0.1, 0))

    def gradient(self, p, g):
        return np.where(np.abs(p - g) > 0.1, np.sign(p - g), 0) / p.size


class Max(Layer):
    """The worst pixel of each class, and the mean of all: a kink where two are equally bad."""

    def loss(self, p, g):
        wrong = np.abs(p - g)
        return np.mean(wrong.max(axis=2)) + np.mean(wrong ** 2)

    def gradient(self, p, g):
        wrong = np.abs(p - g)
        worst = np.zeros_like(wrong)
        np.put_along_axis(worst, wrong.argmax(axis=2)[:, :, None], 1, axis=2)
        return worst * np.sign(p - g) / (len(p) * p.shape[1]) + 2 * (p - g) / p.size


class Float32(Linear):
    """Computes in float32 whatever its blobs are, so that no stand-in gives it more digits."""

    def arrays(self, bottom):
        return tuple(array.astype('float32') for array in super().arrays(bottom))


class BlobsOnly(Linear):
    """Is written for Caffe's blobs alone: stand-ins have no IntVec."""

    def reshape(self, bottom, top):
        if type(bottom[0].shape).__name__ != 'IntVec':
            raise TypeError('not a blob of Caffe')
        super().reshape(bottom, top)


class ForegroundFirst(Linear):
    """The background is the last channel."""

    asked = {'background': -1}

    def arrays(self, bottom):
        p, g = super().arrays(bottom)
        return p, np.roll(g, -1, axis=1)


class ChannelsLast(Linear):
    """(N, H, W, C)"""

    asked = {'pred': (2, 9, 8, 4), 'label': (2, 9, 8), 'axis': -1}

    def reshape(self, bottom, top):
        if tuple(bottom[1].shape) != tuple(bottom[0].shape)[:-1]:
            raise ValueError('a label has the shape of the prediction without its last axis')
        top[0].reshape(1)

    def arrays(self, bottom):
        n, c = len(bottom[0].data), bottom[0].data.shape[-1]
        p = np.moveaxis(bottom[0].data.reshape(n, -1, c), 2, 1)
        index = bottom[1].data.reshape(n, 1, -1)
        return p, (index == np.arange(c)[:, None]).astype(float)

    def whole_gradient(self, bottom):
        gradient = np.moveaxis(self.gradient(*self.arrays(bottom)), 1, 2)
        return gradient.reshape(bottom[0].data.shape)


class BackgroundUnlabelled(Linear):
    """Of a label that has the channels of the foreground alone."""

    asked = {'label': (2, 3, 9, 8)}

    def reshape(self, bottom, top):
        pred, label = tuple(bottom[0].shape), tuple(bottom[1].shape)
        if label != (pred[0], pred[1] - 1) + pred[2:]:
            raise ValueError(f'a label for {pred} has a channel less; got {label}')
        top[0].reshape(1)

    def arrays(self, bottom):
        p, g = (bottom[i].data.reshape(bottom[i].data.shape[:2] + (-1,)) for i in (0, 1))
        return p[:, 1:], g

    def whole_gradient(self, bottom):
        gradient = np.zeros(bottom[0].data.shape)
        inner = self.gradient(*self.arrays(bottom))
        gradient[:, 1:] = inner.reshape(gradient[:, 1:].shape)
        return gradient


class Weighted(Linear):
    """With weights of pixels in the third bottom: right."""

    asked = {'pixel_weight': (2, 1, 9, 8)}

    def setup(self, bottom, top):
        if len(bottom) != 3:
            raise ValueError('the bottoms are prediction, label and weights')

    def arrays(self, bottom):
        p, g = super().arrays(bottom)
        self.w = self.weights(bottom[2].data.reshape(len(p), 1, -1))
        return p, g

    def weights(self, w):
        return w

    def loss(self, p, g):
        return super().loss(self.w * p, self.w * g)

    def gradient(self, p, g):
        return self.w * super().gradient(self.w * p, self.w * g)

    def backward(self, top, propagate_down, bottom):
        super().backward(top, propagate_down, bottom)
        if propagate_down[2]:
            bottom[2].diff[...] = 0


RIGHT = [Linear, Squared, PooledClasses, PooledBatch, PooledAll, CrossEntropy, Euclidean, Relu, Max,
         Float32, BlobsOnly, ForegroundFirst, ChannelsLast, BackgroundUnlabelled, Weighted]


# One defect each: in the gradient.

class HalfTheQuotient(Linear):
    """Forgets the derivative of the denominator."""

    def gradient(self, p, g):
        return -2 * g / (sums(p) + sums(g) + SMOOTH) / (len(p) * p.shape[1])


class OnePercent(Linear):

    def gradient(self, p, g):
        return 1.01 * super().gradient(p, g)


class OnePixel(Linear):
    """Sample 1, class 2, pixel 27 has the wrong sign."""

    def gradient(self, p, g):
        gradient = super().gradient(p, g)
        if len(gradient) > 1:
            gradient[1, 2, 27 % p.shape[2]] *= -1
        return gradient


class OnePercentFloat32(Float32, OnePercent):
    pass


class Argmax(Linear):

    def loss(self, p, g):
        hard = np.moveaxis(np.eye(p.shape[1])[p.argmax(axis=1)], -1, 1)
        return super().loss(hard, g)


class Threshold(Linear):

    def loss(self, p, g):
        return super().loss((p > 0.3).astype(float), g)


class Nothing(Linear):

    def write(self, diff, gradient):
        pass


class ForegroundOnly(Linear):
    """Leaves the background's diff as it was."""

    def write(self, diff, gradient):
        diff[:, 1:] = gradient[:, 1:]


class Adds(Linear):
    """Adds to the diff, which Caffe does not clear."""

    def write(self, diff, gradient):
        diff[...] += gradient


class Raises(Linear):

    def gradient(self, p, g):
        raise NotImplementedError('no gradient yet')


class Uphill(Linear):

    def gradient(self, p, g):
        return -super().gradient(p, g)


class OtherSample(Linear):
    """Gives each sample the gradient of the next."""

    def gradient(self, p, g):
        return np.roll(super().gradient(p, g), 1, axis=0)


# In what the loss means.

class Score(Linear):
    """The score, not the loss."""

    def loss(self, p, g):
        return 1 - super().loss(p, g)

    def gradient(self, p, g):
        return -super().gradient(p, g)


# In what it is given.

class SoftmaxInside(Linear):
    """Of logits; given probabilities."""

    axis = 1

    def loss(self, x, g):
        return super().loss(softmax(x, self.axis), g)

    def gradient(self, x, g):
        p = softmax(x, self.axis)
        return through_softmax(p, self.inner(p, g), self.axis)

    def inner(self, p, g):
        return super().gradient(p, g)


class SoftmaxOverPixels(SoftmaxInside):
    """Of logits; the softmax goes over the pixels."""

    given = 'raw'
    axis = 2


class NoSoftmax(Linear):
    """Of probabilities; given logits."""

    given = 'raw'


# In a third bottom.

class WeightForgotten(Weighted):
    """The backward forgets the weights: right where they are ones."""

    def gradient(self, p, g):
        return Linear.gradient(self, p, g)


class WeightTwice(Weighted):
    """The backward has the weights twice: right where they are 0 and 1."""

    def gradient(self, p, g):
        return self.w * super().gradient(p, g)


class WeightOfTheFirst(Weighted):
    """The first sample's weights are those of all."""

    def weights(self, w):
        return np.broadcast_to(w[:1], w.shape)


# In loss_weight.

class WeightIgnored(Linear):

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = self.whole_gradient(bottom)


class WeightSquared(Linear):

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = top[0].diff[0] ** 2 * self.whole_gradient(bottom)


class WeightWithoutSign(Linear):

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = abs(top[0].diff[0]) * self.whole_gradient(bottom)


# In force_backward.

class LabelGradientRaises(Linear):

    def backward(self, top, propagate_down, bottom):
        if propagate_down[1]:
            raise Exception('the label has no gradient')
        super().backward(top, propagate_down, bottom)


class LabelGradientAborts(Linear):

    def backward(self, top, propagate_down, bottom):
        if propagate_down[1]:
            os.abort()
        super().backward(top, propagate_down, bottom)


class LabelGradientInstead(Linear):
    """Where the label's gradient is asked for, the prediction gets none."""

    def backward(self, top, propagate_down, bottom):
        if propagate_down[1]:
            bottom[0].diff[...] = bottom[1].diff[...] = 0
        else:
            super().backward(top, propagate_down, bottom)


# With an empty image.

class NoSmooth(Linear):
    """The foreground alone and nothing added to the denominator; wrong pixels do not count."""

    def loss(self, p, g):
        p, g = p[:, 1:], g[:, 1:]
        with np.errstate(all='ignore'):
            return 1 - np.mean(sums(p * g) / sums(g))

    def gradient(self, p, g):
        gradient = np.zeros(p.shape)
        with np.errstate(all='ignore'):
            gradient[:, 1:] = -(g / sums(g))[:, 1:] / (len(p) * (p.shape[1] - 1))
        return gradient


class NoBackground(Linear):
    """With it the share of the background that is missed, of which there may be none."""

    def loss(self, p, g):
        with np.errstate(all='ignore'):
            return super().loss(p, g) + np.mean((sums((1 - p) * g) / sums(g))[:, 0])

    def gradient(self, p, g):
        gradient = super().gradient(p, g)
        with np.errstate(all='ignore'):
            gradient[:, 0] -= (g / sums(g))[:, 0] / len(p)
        return gradient


# In what they remember.

class Random(Linear):
    """Drops half of the pixels."""

    def arrays(self, bottom):
        p, g = super().arrays(bottom)
        return p, g * np.random.randint(0, 2, (len(p), 1, p.shape[2]))


class RunningMean(Linear):
    """Divides by the running mean of its values."""

    mean = None

    def forward(self, bottom, top):
        super().forward(bottom, top)
        now = float(top[0].data[0])
        self.mean = now if self.mean is None else 0.99 * self.mean + 0.01 * now
        top[0].data[...] /= self.mean

    def whole_gradient(self, bottom):
        return super().whole_gradient(bottom) / self.mean


class FirstPrediction(Squared):
    """The backward keeps the prediction of its first call at a shape."""

    def setup(self, bottom, top):
        super().setup(bottom, top)
        self.first = {}

    def gradient(self, p, g):
        return super().gradient(self.first.setdefault(p.shape, p.copy()), g)


# In the time it takes.

class Slow(Linear):

    def forward(self, bottom, top):
        time.sleep(0.1)
        super().forward(bottom, top)


class Hangs(Linear):

    def forward(self, bottom, top):
        time.sleep(3600)


class NothingLearntWhereEmpty(Linear):
    """Of the foreground, and smoothed in the denominator alone."""

    def loss(self, p, g):
        p, g = p[:, 1:], g[:, 1:]
        return 1 - np.mean(2 * sums(p * g) / (sums(p) + sums(g) + SMOOTH))

    def gradient(self, p, g):
        p, g, gradient = p[:, 1:], g[:, 1:], np.zeros(p.shape)
        below = sums(p) + sums(g) + SMOOTH
        gradient[:, 1:] = -2 * (g / below - sums(p * g) / below ** 2) / p[:, :, 0].size
        return gradient


class BackwardRefuses(Linear):
    """The forward takes a label of one sample for all, the backward does not."""

    def reshape(self, bottom, top):
        top[0].reshape(1)

    def backward(self, top, propagate_down, bottom):
        if bottom[1].data.size != bottom[0].data[:, 0].size:
            raise ValueError('prediction and label differ')
        super().backward(top, propagate_down, bottom)


# In the batch.

class FirstSampleOnly(Linear):

    def loss(self, p, g):
        return super().loss(p[:1], g[:1])

    def gradient(self, p, g):
        gradient = np.zeros(p.shape)
        gradient[:1] = super().gradient(p[:1], g[:1])
        return gradient


class NeedsABatch(Linear):
    """Squeezes away a batch of one."""

    def arrays(self, bottom):
        p, g = super().arrays(bottom)
        n, c, pixels = np.squeeze(p).shape
        return p, g


class HalvesOneToo(Linear):
    """The backward takes every batch for one of two."""

    def gradient(self, p, g):
        return super().gradient(p, g) * len(p) / 2


class FirstRowAlone(Linear):
    """Of a batch of one it reads the first 8 pixels alone."""

    def loss(self, p, g):
        return super().loss(p[:, :, :8], g[:, :, :8]) if len(p) == 1 else super().loss(p, g)

    def gradient(self, p, g):
        if len(p) > 1:
            return super().gradient(p, g)
        gradient = np.zeros(p.shape)
        gradient[:, :, :8] = super().gradient(p[:, :, :8], g[:, :, :8])
        return gradient


# In the classes.

class SmallClassDropped(Linear):
    """A class of less than 12 pixels counts as found."""

    def enough(self, g):
        return (sums(g) >= 12)

    def loss(self, p, g):
        score = (2 * sums(p * g) + SMOOTH) / (sums(p) + sums(g) + SMOOTH)
        return 1 - np.mean(np.where(self.enough(g), score, 1))

    def gradient(self, p, g):
        return super().gradient(p, g) * self.enough(g)


class TwoOfFour(SoftmaxInside):
    """Of logits; the Dice of the classes 1 and 2 alone."""

    given = 'raw'

    def loss(self, x, g):
        return Linear.loss(self, softmax(x, self.axis)[:, 1:3], g[:, 1:3])

    def inner(self, p, g):
        inner = np.zeros(p.shape)
        inner[:, 1:3] = super().inner(p[:, 1:3], g[:, 1:3])
        return inner


class SmallClassUntrained(Linear):
    """A class of less than 5 pixels gets no gradient; the loss is right."""

    def gradient(self, p, g):
        return super().gradient(p, g) * (sums(g) >= 5)


class LargeClassUntrained(Linear):
    """A class, but the background, of more than half of the pixels gets no gradient."""

    def gradient(self, p, g):
        large = sums(g) > p.shape[2] / 2
        large[:, 0] = False
        return super().gradient(p, g) * ~large


# In shapes.

class Broadcasts(Linear):

    def reshape(self, bottom, top):
        top[0].reshape(1)


class FlatImages(Linear):

    def reshape(self, bottom, top):
        n, c, h, w = bottom[0].shape
        super().reshape(bottom, top)


class LegacyAccessors(Linear):
    """num, channels, height and width end the process at a blob of five axes."""

    def reshape(self, bottom, top):
        assert bottom[0].height * bottom[0].width > 0
        super().reshape(bottom, top)


class AbortsAtAWrongLabel(Linear):

    def reshape(self, bottom, top):
        if bottom[1].data.shape[0] != bottom[0].data.shape[0]:
            os.abort()
        super().reshape(bottom, top)


class HangsAtAWrongLabel(Linear):

    def reshape(self, bottom, top):
        if bottom[1].data.shape[0] != bottom[0].data.shape[0]:
            time.sleep(3600)
        super().reshape(bottom, top)
