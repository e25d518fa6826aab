"""The kernels' cross-entropy: against the reference, finite differences and exact arithmetic."""
import types

import numpy as np
import pytest
from tolerances import TOLERANCE

from soft_dice import DiceOptions, native
from soft_dice.counts import one_hot
from soft_dice.gradcheck import relative_error
from soft_dice.inputs import prepare, restore

KERNELS, REASON = native.load()
assert KERNELS, REASON
each_set = pytest.mark.parametrize('instruction_set', KERNELS.instruction_sets)


def make(**fields):
    names = dict(ce_class_weights=None, label_smoothing=0.0, ce_gamma=0.0)
    ce = {name: fields.pop(name, default) for name, default in names.items()}
    return types.SimpleNamespace(dice=DiceOptions(**fields), resolve=lambda n: None, **ce)


def reference(pred, label, options, weight, d_entropy):
    """E, W and the gradient of sum(d_entropy * E): the formula, pixel by pixel and class by class."""
    pixels = prepare(pred, label, options.dice, weight)
    z = pixels.pred.astype(np.longdouble)
    n, c, p_count = z.shape
    g = pixels.label if pixels.label.ndim == 3 else one_hot(pixels.label, c, z.dtype)
    m = np.ones((1, 1, 1)) if pixels.mask is None else pixels.mask
    w = np.ones(c) if options.ce_class_weights is None else np.array(options.ce_class_weights)
    m, w, eps, gamma = m + 0 * z, w[:, None], options.label_smoothing, options.ce_gamma
    z = np.where(m > 0, z, 0) if options.dice.activation == 'sigmoid' else np.where(
        m.max(axis=1, keepdims=True) > 0, z, 0)
    if options.dice.activation == 'softmax':
        t = (1 - eps) * g + eps / c
        below = z - z.max(axis=1, keepdims=True)
        log_p = below - np.log(np.exp(below).sum(axis=1, keepdims=True))
        p = np.exp(log_p)
        q = -np.expm1(log_p)
        loss = m * w * t * q ** gamma * -log_p
        ratio = np.where(q == 0, -1, log_p / np.where(q == 0, 1, q))
        h = m * w * t * (gamma * p * q ** gamma * ratio - q ** gamma)
        d = h - p * h.sum(axis=1, keepdims=True)
        total = m * w * g
    else:
        t = (1 - eps) * g + eps / 2
        log_p, log_q = -np.logaddexp(0, -z), -np.logaddexp(0, z)
        p, q = np.exp(log_p), np.exp(log_q)
        loss = m * w * (t * q ** gamma * -log_p + (1 - t) * p ** gamma * -log_q)
        d = m * w * ((1 - t) * p ** gamma * (p - gamma * q * log_q)
                     - t * q ** gamma * (q - gamma * p * log_p))
        total = m * w
    gradient = (d_entropy[:, None, None] * d).astype(float)
    return (loss.sum(axis=(1, 2)).astype(float), total.sum(axis=(1, 2)).astype(float),
            restore(gradient, pred.shape, options.dice.axis))


def check(options, shape, dtype='float32', label_dtype='int64', weighted=False, ignore=False, seed=0):
    rng = np.random.RandomState(seed)
    axis = options.dice.axis % len(shape)
    pixels = shape[:axis] + shape[axis + 1:]
    pred = (3 * rng.standard_normal(shape)).astype(dtype)
    if options.dice.sparse_label:
        label = rng.randint(0, max(shape[axis], 2), pixels)
        if ignore: label[rng.uniform(size=pixels) < 0.2] = options.dice.ignore_label
    else:
        label = rng.uniform(size=shape)
        if ignore: label[rng.uniform(size=shape) < 0.2] = options.dice.ignore_label
    label = label.astype(label_dtype)
    weight = rng.uniform(0, 2, pixels).astype(dtype) if weighted else None
    counts, sums, vjp = KERNELS.count_both(pred, label, options, weight)
    alone, dice_vjp = KERNELS.count(pred, label, options.dice, weight)
    same = not (options.label_smoothing and options.ce_gamma)
    for a, b in zip(counts, alone):
        if same: np.testing.assert_array_equal(a, b)
        assert relative_error(a, b) < (1e-6 if dtype=='float32' else 1e-12)
    d = rng.standard_normal(shape[0])
    zero = np.zeros_like(counts.pred_sum)
    E, W, G = reference(pred.astype(float), label.astype(float) if label.dtype.kind=='f' else label, options, None if weight is None else weight.astype(float), d)
    tol = 1e-12 if dtype == 'float64' else 1e-6
    res = [relative_error(sums.loss, E), relative_error(sums.weight, W), relative_error(vjp(zero, zero, d), G)]
    x, y = rng.standard_normal((2,) + zero.shape)
    both, dv = vjp(x, y, d).astype(float), dice_vjp(x, y).astype(float)
    assert relative_error(both, dv + G) < 1e-5 if dtype=='float32' else 1e-12
    return res

if __name__ == '__main__':
    for s in KERNELS.instruction_sets:
        KERNELS.use(s)
        worst = {}
        for dtype in ('float32', 'float64'):
          for act, sparse in (('softmax', True), ('softmax', False), ('sigmoid', True), ('sigmoid', False)):
            for gamma in (0, 1, 2, 0.5, 2.7):
              for eps in (0, 0.1):
                for cw in (False, True):
                  for dice in ({}, {'exponent': 2}):
                    for weighted in (False, True):
                      for ignore in (None, 255):
                        for axis in (1, -1):
                          shape = (2, 1 if act == 'sigmoid' and sparse else 4, 9, 35)
                          if axis == -1: shape = (2, 9, 35, shape[1])
                          o = make(activation=act, sparse_label=sparse, axis=axis, ignore_label=ignore, label_smoothing=eps, ce_gamma=gamma, ce_class_weights=[0.3, 1, 0, 2][:shape[axis]] if cw else None, **dice)
                          r = check(o, shape, dtype, 'int32' if sparse else dtype, weighted, ignore is not None)
                          for i in range(3):
                            if not r[i] <= worst.get((dtype,i),(0,))[0]: worst[dtype,i] = (r[i], o)
        print(s); 
        for k,v in worst.items(): print(k, v[0], v[1] if not v[0]<1e-6 else '')
