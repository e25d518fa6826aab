"""What a loss does with empty images, with a batch, with rare classes and with other shapes."""
from typing import Any, Callable, Dict, List, Set, Tuple

import numpy as np

from . import numeric
from .findings import Finding, said
from .subject import Died, Example, Refused
from .trial import Trial, begin, inputs, label_classes, label_of, resized

FLAT = 1e-6  # a gradient smaller than this, relative to its neighbours, is none
WORDS = {'perfect': 'a perfect', 'imperfect': 'an imperfect',
         'exact': 'an exact (0 and 1)'}
SURE = 12.0  # logits of a prediction that leaves nothing over for other classes


def empty(trial: Trial) -> Finding:
    """All background, predicted perfectly and imperfectly."""
    example = trial.example
    label = np.zeros(example.label) if example.label_kind == 'binary' else \
        label_of(example, np.zeros(example.pred[:1] + example.pred[2:], int))
    predictions = {'perfect': example.towards(label), 'imperfect': trial.pred}
    if example.input != 'raw':
        predictions['exact'] = example.truth(label)
    value: Dict[str, Dict[str, float]] = {}
    bad = []
    for name, pred in predictions.items():
        try:
            answer = trial.subject.evaluate(pred, label)
        except Refused as error:
            return Finding('raises', value, f'An image that is all background ({name} prediction) '
                                            f'raises an error: {said(error)}')
        number = float(np.sum(answer.value))
        norm = float(np.linalg.norm(answer.gradient))
        value[name] = {'value': number, 'gradient': norm}
        if not np.isfinite([number, norm]).all():
            bad.append(f'{WORDS[name]} prediction has loss {number:.3g} and a gradient of size '
                       f'{norm:.3g}')
    if bad:
        return Finding('not finite', value, 'On an image that is all background, ' + '; '.join(bad)
                       + '. One such image ends the training.')
    return Finding('finite', value, 'Loss and gradient of an image that is all background are '
                                    'finite, predicted perfectly or not.')


def batch(trial: Trial) -> Finding:
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
    if trial.usable and norms.min() < FLAT * norms.max():
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


def classes(trial: Trial) -> Finding:
    """Does every class count, a rare one too, and as one of the classes or by its pixels?"""
    silent = _silent_classes(trial)
    if silent:
        return Finding('class dropped', {'without_gradient': silent},
                       f'Class {silent[0]} gets no gradient: it is never learnt.')
    space = trial.example.pred[2:]
    if not space:
        return Finding('not applicable', None, 'A prediction without pixels has no rare classes.')
    if np.prod(space) < 64:
        space = (8,) * max(len(space), 2) if len(space) > 1 else (64,)
    example = resized(trial.example, trial.example.pred[0], space)
    effects = {c: _effects(trial, example, c)
               for c in range(1, min(label_classes(example), 8))}
    value: Dict[str, Any] = {'effect_by_pixels': {str(c): each for c, each in effects.items()}}
    rounding = 4 * numeric.quantum(float(np.sum(trial.answer.value)), trial.subject.dtype)
    laws = []
    for c, effect in effects.items():
        sizes, counts = zip(*effect.items())
        dropped = [int(small) for small, large, low, high in
                   zip(sizes, sizes[1:], counts, counts[1:])
                   if high > (abs(low) + rounding) * (int(large) / int(small)) ** 1.75]
        if dropped:
            return Finding('class dropped', value,
                           f'Class {c} does not count when it has {dropped[-1]} '
                           f'pixel{"s" * (dropped[-1] > 1)}: right or wrong there makes no '
                           'difference to the loss.')
        if counts[-1] > 0 and counts[1] > 0:
            laws.append(np.log(counts[-1] / counts[1]) / np.log(int(sizes[-1]) / int(sizes[1])))
    value['exponent'] = float(np.median(laws)) if laws else float('nan')
    if value['exponent'] < 0.5:
        return Finding('separate', value, 'Every class gets a gradient and counts as a class: a '
                                          'small one as much as a large one.')
    return Finding('pooled', value, 'Every class gets a gradient; classes are pooled: each counts '
                                    'by its number of pixels, so that large ones rule.')


def _silent_classes(trial: Trial, again: int = 3) -> List[int]:
    """Classes after the background that are in the label and get no gradient in their channel.

    In a hinge loss that can happen to a class whose margins are all met, so it counts only where it
    does at other inputs too.
    """
    if trial.pred.ndim < 2 or not trial.usable:
        return []
    silent, absent = _silent_and_absent(trial)
    silent -= absent
    for further in range(1, again + 1):
        if not silent:
            break
        other = begin(trial.subject, trial.example, trial.seed + 1000 * further)
        still, absent = _silent_and_absent(other)
        silent &= still | absent
    return sorted(silent)


def _silent_and_absent(trial: Trial) -> Tuple[Set[int], Set[int]]:
    """Classes without gradient, and classes without label."""
    axes = (0,) + tuple(range(2, trial.pred.ndim))
    norms = np.sqrt(np.sum(np.square(trial.gradient), axis=axes))
    present = trial.example.truth(trial.label).any(axis=axes)
    classes = range(1, len(norms))
    return ({c for c in classes if norms[c] < FLAT * norms.max()},
            {c for c in classes if not present[c]})


def _effects(trial: Trial, example: Example, c: int) -> Dict[str, float]:
    """What it costs to predict class c wrong, where it has 1, 9 and more pixels."""
    number = int(np.prod(example.pred[2:]))
    sizes = sorted({1, 9, min(32, number // 4), number // 4})
    effects = {}
    for size in sizes:
        truth, right, wrong = _maps(number, label_classes(example), c, size)
        label = _label(example, truth)
        low, high = (trial.subject.total(example.towards(_label(example, each), SURE), label)
                     for each in (right, wrong))
        effects[str(size)] = abs(high - low)
    return effects


def _maps(number: int, classes: int, c: int, size: int
          ) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels' classes: the truth, a prediction that has class c right, and one that has it wrong.

    Some other pixels are wrong in both, so that a loss that is quadratic near perfection (a focal
    one) is not near it.
    """
    others = [k for k in range(classes) if k != c]
    truth = np.full(number, c)
    truth[size:] = np.resize(np.repeat(others, -(-(number - size) // len(others))), number - size)
    right = truth.copy()
    if len(others) == 1:
        right[-4:] = c
    else:
        right[-(number // 8):] = others[0]
    wrong = right.copy()
    wrong[:size] = others[0]
    return truth, right, wrong


def _label(example: Example, index: np.ndarray) -> np.ndarray:
    """The same pixels in every sample."""
    return label_of(example, np.broadcast_to(index.reshape(example.pred[2:]),
                                             example.pred[:1] + example.pred[2:]))


def shapes(trial: Trial) -> Finding:
    """Volumes, and labels that do not fit."""
    value: Dict[str, str] = {}
    messages: List[str] = []
    looks: Dict[str, Callable[[], Tuple[str, str]]] = {
        'volume': lambda: _volume(trial),
        'label of one sample': lambda: _misfit(trial, 0, 1),
        'label one pixel wide': lambda: _misfit(trial, -1, 1),
        'label one pixel short': lambda: _misfit(trial, -1, -1)}
    for name, look in looks.items():
        try:
            value[name], message = look()
        except Died as error:
            value[name], message = 'dies', f'The process ends on a {name}: {said(error)}'
        if message and value[name] not in list(value.values())[:-1]:  # one example is enough
            messages.append(message)
    for verdict in ('dies', 'broadcast', 'fails on 3-D', 'differs in 3-D'):
        if verdict in value.values():
            return Finding(verdict, value, ' '.join(messages))
    if 'refused' in value.values():
        messages.append('Labels that do not fit the prediction are refused.')
    return Finding('works' if value['volume'] == 'works' else 'refused', value, ' '.join(messages))


def _volume(trial: Trial) -> Tuple[str, str]:
    """Volumes must work, and give what an image of the same pixels gives."""
    if len(trial.example.pred) > 4:
        return 'works', 'Volumes work.'
    if len(trial.example.pred) < 4:
        return 'not applicable', ''
    flat = resized(trial.example, trial.example.pred[0], (8, 5))
    deep = resized(trial.example, trial.example.pred[0], (2, 4, 5))
    pred, label = inputs(trial.subject, flat, trial.seed)
    try:
        volume = trial.subject.evaluate(pred.reshape(deep.pred), label.reshape(deep.label))
    except Refused as error:
        return 'fails on 3-D', f'Volumes (N, C, D, H, W) raise an error: {said(error)}'
    try:
        image = trial.subject.evaluate(pred, label)
    except Refused:  # it takes one size of images only, and that is not the question here
        return 'works', 'Volumes work.'
    gaps = [np.linalg.norm(np.sum(volume.value) - np.sum(image.value)),
            np.linalg.norm(volume.gradient.ravel() - image.gradient.ravel())]
    sizes = [np.linalg.norm(np.sum(image.value)), np.linalg.norm(image.gradient)]
    if any(gap > 1e-3 * size for gap, size in zip(gaps, sizes)):  # NaN is found elsewhere
        return 'differs in 3-D', ('A volume has another loss or gradient than an image of the same '
                                  'pixels: the sum leaves out an axis.')
    return 'works', 'Volumes work.'


def _misfit(trial: Trial, axis: int, length: int) -> Tuple[str, str]:
    """A label shorter than the prediction in one axis must be refused."""
    example = resized(trial.example, max(2, len(trial.pred)), trial.example.pred[2:])
    pred, label = inputs(trial.subject, example, trial.seed)
    if axis < 0 and (len(example.pred) < 3 or label.shape[-1] + min(length, 0) < 1
                     or label.shape[-1] == length):
        return 'not applicable', ''
    label = label[:length] if axis == 0 else label[..., :length]
    try:
        trial.subject.value(pred, label)
    except Refused:
        return 'refused', ''
    return 'broadcast', (f'A label of shape {label.shape} is silently accepted with a prediction '
                         f'of shape {pred.shape}: a mistake in the data would go unseen.')
