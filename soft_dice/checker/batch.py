"""Do samples of a batch stay apart, does each count, and does a batch of one work?"""
from typing import Any, Dict, List, Tuple

import numpy as np

from . import numeric
from .findings import Finding, Findings, said
from .subject import Refused
from .trial import NEGLIGIBLE, Trial, inputs, label_classes, label_of, resized


def batch(trial: Trial, findings: Findings) -> Finding:
    """Do samples stay apart, does each get a gradient, and does a batch of one work?"""
    example = trial.example
    value: Dict[str, Any] = {}
    norms = np.sqrt(np.sum(np.square(trial.gradient.reshape(len(trial.pred), -1)), axis=1))
    value['gradient_norms'] = [float(norm) for norm in norms]
    alone = example.replace(pred=(1,) + example.pred[1:], label=(1,) + example.label[1:])
    pred, label = inputs(trial.subject, alone, trial.seed)
    try:
        value['alone'] = trial.subject.total(pred, label)
        single = trial.subject.evaluate(pred, label).gradient
    except Refused as error:
        return Finding('N=1 fails', value, f'A batch of one sample raises an error: {said(error)}')
    if not np.isfinite(value['alone']) or single.shape != pred.shape:
        return Finding('N=1 fails', value, 'A batch of one sample gives '
                       + ('a gradient of another shape.' if np.isfinite(value['alone'])
                          else 'a loss that is not finite.'))
    if trial.usable and norms.min() < NEGLIGIBLE * norms.max():
        ignored = int(np.argmin(norms))
        return Finding('sample ignored', value, f'Sample {ignored} of the batch gets no gradient.')
    pair = _Pair(trial)
    value['interaction'], value['dependence'] = pair.interaction(), pair.dependence()
    pooled = value['interaction'] > 1e-3
    if value['dependence'] > 1e-3 and not pooled:
        return Finding('wrong sample', value,
                       "A sample's gradient changes with another sample of the batch, though the "
                       'loss is a sum over samples: samples are mixed up.')
    if pooled:
        return Finding('pooled', value, 'The loss is taken over the whole batch at once: a '
                                        "sample's share depends on the others. That is legitimate, "
                                        'if it was meant.')
    return Finding('separate', value, 'The loss is a sum over samples, and the gradient of each '
                                      'depends on that sample alone. A batch of one works.')


class _Pair:
    """Two samples, each in two states: a random one, and one of mostly background, nearly right."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        example = resized(trial.example, 2, trial.example.pred[2:])
        self.random = inputs(trial.subject, example, trial.seed + 1)
        rng = np.random.RandomState([trial.seed, 3])
        index = rng.choice(label_classes(example), example.pred[:1] + example.pred[2:],
                           p=_mostly_background(label_classes(example)))
        label = label_of(example, index)
        self.easy = (example.towards(label, 2.0).astype(trial.subject.dtype).astype(float), label)

    def of(self, first: str, second: str) -> Tuple[np.ndarray, np.ndarray]:
        one, two = getattr(self, first), getattr(self, second)
        return np.stack([one[0][0], two[0][1]]), np.stack([one[1][0], two[1][1]])

    def interaction(self) -> float:
        """0 where the loss is a sum over samples; relative to how much each changes it."""
        rr, er, re, ee = (self.trial.subject.total(*self.of(*states))
                          for states in (('random', 'random'), ('easy', 'random'),
                                         ('random', 'easy'), ('easy', 'easy')))
        change = abs(rr - er) + abs(rr - re)
        rounding = 8 * numeric.quantum(max(abs(rr), abs(ee)), self.trial.subject.dtype)
        return max(abs(rr - er - re + ee) - rounding, 0) / change if change else 0.0

    def dependence(self) -> float:
        """How far sample 0's gradient moves, relative to its size, where sample 1 changes."""
        a, b = (self.trial.subject.evaluate(*self.of('random', other)).gradient[0]
                for other in ('random', 'easy'))
        size = np.linalg.norm(a)
        return float(np.linalg.norm(a - b) / size) if size and np.isfinite(a + b).all() else 0.0


def _mostly_background(classes: int) -> List[float]:
    return [0.7] + [0.3 / (classes - 1)] * (classes - 1)
