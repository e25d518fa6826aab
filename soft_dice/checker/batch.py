"""Do samples of a batch stay apart, does each count, and does a batch of one work?"""
from typing import Any, Dict, List, Tuple

import numpy as np

from . import numeric
from .comparison import BARS
from .findings import Finding, Findings, said
from .subject import Refused
from .trial import NEGLIGIBLE, Trial, begin, inputs, resized

SAME = 1e-3  # relative: so near are a gradient and itself, computed in another way in float32
ALIKE = 0.3  # so near, where a smoothing constant counts once for two samples together


def batch(trial: Trial, findings: Findings) -> Finding:
    """Do samples stay apart, does each get a gradient, and does a batch of one work?"""
    value: Dict[str, Any] = {'gradient_norms': [float(norm) for norm in _norms(trial)]}
    try:
        alone = _Alone(trial)
    except Refused as error:
        return Finding('N=1 fails', value, f'A batch of one sample raises an error: {said(error)}')
    value['alone'] = alone.value
    if not alone.usable:
        return Finding('N=1 fails', value, 'A batch of one sample gives '
                       + ('a gradient of another shape.' if np.isfinite(alone.value)
                          else 'a loss that is not finite.'))
    ignored = _ignored(trial)
    if ignored:
        batch = 'the batch' if len(trial.pred) > 1 else 'a batch of two'
        return Finding('sample ignored', value, f'Sample {ignored[0]} of {batch} gets no gradient.')
    pair = _Pair(trial)
    together = pair.judge(findings['gradient'].verdict in ('correct', 'wrong', 'stale'))
    value.update(together.value)
    value['order_error'] = _order_error(trial, findings['gradient'].verdict == 'correct')
    if value['order_error'] > SAME:
        return Finding('wrong sample', value, 'The same samples in another order have another loss '
                       'or other gradients: samples are mixed up, or held to the label or weight '
                       f'of another (relative difference {value["order_error"]:.2g}).')
    separate = together.verdict == 'separate'
    value.update(alone.compare(findings['gradient'].verdict == 'correct', separate))
    if value['alone_error'] > (SAME if separate else ALIKE):
        return Finding('N=1 fails', value, 'A batch of one sample has another loss or gradient '
                       'than the same sample twice: what is right for two samples is not read '
                       f'rightly for one (relative difference {value["alone_error"]:.2g}).')
    return together._replace(value=value)


def _norms(trial: Trial) -> np.ndarray:
    """Of each sample's gradient."""
    return np.sqrt(np.sum(np.square(trial.gradient.reshape(len(trial.pred), -1)), axis=1))


def _ignored(trial: Trial, again: int = 3) -> List[int]:
    """Samples without gradient, at other inputs too: one may have nothing to learn from.  Where
    there is one sample, of two."""
    if len(trial.pred) == 1:
        trial = begin(trial.subject, resized(trial.example, 2, trial.example.pred[2:]), trial.seed)
    if not trial.usable:
        return []
    found = _norms(trial) < NEGLIGIBLE * _norms(trial).max()
    for further in range(1, again + 1):
        if found.any():
            norms = _norms(begin(trial.subject, trial.example, trial.seed + 1000 * further))
            found &= norms < NEGLIGIBLE * norms.max()
    return [int(n) for n in np.flatnonzero(found)]


def _order_error(trial: Trial, gradient: bool) -> float:
    """How far loss and, if wished, gradient are from those of the samples in reversed order."""
    turned = trial.subject.evaluate(trial.pred[::-1].copy(), trial.label[::-1].copy())
    error = numeric.relative_error(np.sum(turned.value), np.sum(trial.answer.value))
    if gradient and np.isfinite(turned.gradient).all():
        error = max(error, numeric.relative_error(turned.gradient[::-1], trial.gradient))
    return error


class _Alone:
    """One sample, and the same sample twice."""

    def __init__(self, trial: Trial) -> None:
        example = trial.example
        one = example.replace(pred=(1,) + example.pred[1:], label=(1,) + example.label[1:])
        self.arrays = inputs(trial.subject, one, trial.seed)
        self.trial, self.once = trial, trial.subject.evaluate(*self.arrays)
        self.value = float(np.sum(self.once.value))
        self.usable = np.isfinite(self.value) and self.once.gradient.shape == self.arrays[0].shape

    def compare(self, gradient: bool, separate: bool) -> Dict[str, float]:
        """How far loss and gradient of the same sample twice are from once those of the one, as in
        a mean over the batch, or from twice, as in a sum.

        gradient : look at the gradient too.
        separate : where samples are not, weights may come from their sizes together, and what is
            compared is the gradient's direction alone.
        """
        pred, label = (np.repeat(each, 2, axis=0) for each in self.arrays)
        twice = self.trial.subject.evaluate(pred, label)
        times = float(np.sum(twice.value)) / (self.value or np.nan)
        one, two = self.once.gradient[0], twice.gradient.sum(axis=0)
        comparable = gradient and np.isfinite(one).all() and np.isfinite(two).all()
        longer = float(np.linalg.norm(two) / (np.linalg.norm(one) or 1))
        scales = (1.0, 2.0) if separate else (longer,)
        known = separate and np.isfinite(times)
        errors = [max(abs(times - scale) if known else 0.0,
                      numeric.relative_error(two, scale * one) if comparable else 0.0)
                  for scale in scales]
        return {'twice_over_alone': times, 'alone_error': float(min(errors))}


class _Pair:
    """Two samples, each in two states: a random one, and one of mostly background, nearly right."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.example = resized(trial.example, 2, trial.example.pred[2:])
        self.random = inputs(trial.subject, self.example, trial.seed + 1)
        rng = np.random.RandomState([trial.seed, 3])
        number = self.example.classes
        index = rng.choice(number, self.example.pred[:1] + self.example.pred[2:],
                           p=_mostly_background(number))
        label = self.example.label_of(index)
        easy = self.example.towards(label, 2.0)
        self.easy = (easy.astype(trial.subject.dtype).astype(float), label)

    def of(self, first: str, second: str) -> Tuple[np.ndarray, np.ndarray]:
        one, two = getattr(self, first), getattr(self, second)
        return np.stack([one[0][0], two[0][1]]), np.stack([one[1][0], two[1][1]])

    def judge(self, measurable: bool) -> Finding:
        """'separate', 'pooled', 'wrong sample' or 'undecided'.

        measurable : does the loss have numeric derivatives?
        """
        before, after = (begin(self.trial.subject, self.example, self.trial.seed,
                               self.of('random', other)) for other in ('random', 'easy'))
        change = (before.gradient_near - after.gradient_near)[0]
        size = np.linalg.norm(before.gradient_near[0])
        dependence = float(np.linalg.norm(change) / size) if size else 0.0
        value = {'interaction': self.interaction()}
        if not np.isfinite(dependence):
            return Finding('not applicable', value, 'The gradient is not finite.')
        value['dependence'] = dependence
        if dependence <= SAME:
            return _pooled(value) if value['interaction'] > SAME else _separate(value)
        if not measurable:
            return _pooled(value) if value['interaction'] > SAME else _undecided(
                value, 'the loss has no derivative that could tell whether its own does too.')
        line = np.zeros((1,) + before.pred.shape)
        line[0, 0] = change / np.abs(change).max()
        claimed = float(np.sum(line[0, 0] * change))
        measured, bar = _difference(before, after, line)
        value.update(change_claimed=claimed, change_measured=measured)
        if abs(measured) > max(0.1 * claimed, bar):
            return _pooled(value)
        if abs(measured) + bar < 0.1 * claimed:
            return Finding('wrong sample', value, "A sample's gradient changes with another sample "
                           'of the batch, though what the loss does with this sample does not '
                           'change: samples are mixed up.')
        return _undecided(value, 'rounding errors of the loss hide whether its own derivative does '
                                 'too.')

    def interaction(self) -> float:
        """0 where the loss is a sum over samples; relative to how much each changes it."""
        rr, er, re, ee = (self.trial.subject.total(*self.of(*states))
                          for states in (('random', 'random'), ('easy', 'random'),
                                         ('random', 'easy'), ('easy', 'easy')))
        change = abs(rr - er) + abs(rr - re)
        rounding = 8 * numeric.quantum(max(abs(rr), abs(ee)), self.trial.subject.dtype)
        return max(abs(rr - er - re + ee) - rounding, 0) / change if change else 0.0


def _difference(one: Trial, other: Trial, line: np.ndarray) -> Tuple[float, float]:
    """By how much the numeric derivative along a line changes, with its error bar."""
    found = [trial.near.derivatives(line, trial.near.noise(trial.lines(3)))
             for trial in (one, other)]
    return (float(found[0].value[0] - found[1].value[0]),
            BARS * float(np.hypot(found[0].bar, found[1].bar)))


def _separate(value: Dict[str, Any]) -> Finding:
    return Finding('separate', value, 'The loss is a sum over samples, and the gradient of each '
                                      'depends on that sample alone. A batch of one works.')


def _pooled(value: Dict[str, Any]) -> Finding:
    return Finding('pooled', value, 'The loss is taken over the whole batch at once: a '
                                    "sample's share depends on the others. That is legitimate, "
                                    'if it was meant.')


def _undecided(value: Dict[str, Any], why: str) -> Finding:
    return Finding('undecided', value, "A sample's gradient changes with another sample of the "
                                       f'batch; {why}')


def _mostly_background(classes: int) -> List[float]:
    return [0.7] + [0.3 / (classes - 1)] * (classes - 1)
