"""Does every class count, in the loss and in its gradient, however few pixels it has?"""
from typing import Any, Dict, List, Optional, Set, Tuple

import numpy as np

from . import numeric
from .findings import Finding, Findings
from .rare import of_pixels, pixels, rare_gradients
from .subject import Example
from .trial import NEGLIGIBLE, Trial, begin, resized

SURE = 12.0  # logits of a prediction that leaves nothing over for other classes
MOST = 8  # classes that are looked at one by one


def classes(trial: Trial, findings: Findings) -> Finding:
    """Does every class count, a rare one too, and as one of the classes or by its pixels?"""
    if findings['direction'].value and 'falls_with_background_last' in findings['direction'].value:
        return Finding('undecided', None, 'It is not known which channel is which class: see '
                       'direction.')
    if findings['direction'].verdict == 'label ignored':
        return Finding('not applicable', None, 'The label is not read: see direction.')
    silent = _silent_classes(trial)
    if silent:
        return Finding('class dropped', {'without_gradient': silent}, _named(
            silent, 'gets no gradient: it is never learnt.', 'get no gradient: they are never '
            'learnt.'))
    if not trial.example.pred[2:]:
        return Finding('not applicable', None, 'A prediction without pixels has no rare classes.')
    example = _roomy(trial.example)
    effects = {c: _effects(trial, example, c) for c in _foreground(example)}
    value: Dict[str, Any] = {'effect_by_pixels': {str(c): each for c, each in effects.items()}}
    if not any(max(each.values()) > _rounding(trial) for each in effects.values()):
        return Finding('not applicable', value, 'The loss does not follow the prediction.')
    own = _own_costs(trial, example)
    value['own_cost'] = {str(c): cost for c, cost in own.items()}
    dropped = _never_counts(trial, effects, own) or _dropped_when_small(trial, effects)
    if dropped:
        return Finding('class dropped', value, dropped)
    rare = rare_gradients(trial, example, _foreground(example, MOST), findings)
    value.update(rare.value or {})
    if not rare.good:
        return rare._replace(value=value)
    value['exponent'] = _exponent(effects)
    if value['exponent'] < 0.5:
        verdict, how = 'separate', ('Every class gets a gradient and counts as a class: a small '
                                    'one as much as a large one.')
    else:
        verdict, how = 'pooled', ('Every class gets a gradient; classes are pooled: each counts by '
                                  'its number of pixels, so that large ones rule.')
    return Finding(verdict, value, f'{how} {rare.message}'.rstrip())


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
    channels = {c: trial.example.order[c] for c in _foreground(trial.example)}
    return ({c for c, channel in channels.items() if norms[channel] < NEGLIGIBLE * norms.max()},
            {c for c, channel in channels.items() if not present[channel]})


def _roomy(example: Example) -> Example:
    """The example with pixels enough for classes of 1, of 9 and of more."""
    space = example.pred[2:]
    enough = max(64, 4 * example.classes)
    if np.prod(space) < enough:
        space = (int(np.ceil(enough ** 0.5)),) * 2 + space[2:] if len(space) > 1 else (enough,)
    return resized(example, example.pred[0], space)


def _foreground(example: Example, most: Optional[int] = None) -> List[int]:
    """The classes after the background, or so many of them, the first and the last included.

    Where a pixel may be of several classes, the first channel may be a background all the same.
    """
    first = 2 if example.multilabel and not example.background_said else 1
    found = range(first, example.classes)
    if most is None or len(found) <= most:
        return list(found)
    return [found[int(i)] for i in np.linspace(0, len(found) - 1, most)]


def _rounding(trial: Trial) -> float:
    return 4 * numeric.quantum(float(np.sum(trial.answer.value)), trial.subject.dtype)


def _effects(trial: Trial, example: Example, c: int) -> Dict[str, float]:
    """What it costs to predict class c wrong, where it has 1, 9 and more pixels; of many classes
    most are looked at with many pixels alone."""
    number = int(np.prod(example.pred[2:]))
    sizes = sorted({1, 9, min(32, number // 4), number // 4})
    if c not in _foreground(example, MOST):
        sizes = sizes[-1:]
    make = _overlapping if example.multilabel else _exclusive
    effects = {}
    for size in sizes:
        label, right, wrong = make(example, c, size)
        low, high = (trial.subject.total(example.towards(each, SURE), label)
                     for each in (right, wrong))
        effects[str(size)] = abs(high - low)
    return effects


def _overlapping(example: Example, c: int, size: int) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As ``_exclusive``, where a pixel may be of several classes: here of most."""
    truth = np.ones(example.pred)
    flat, channel = truth.reshape(example.pred[:2] + (-1,)), example.order[c]
    flat[:, :, -(flat.shape[2] // 8):] = 0
    flat[:, channel] = np.arange(flat.shape[2]) < size
    right = truth.copy()
    right.reshape(flat.shape)[:, :, -4:] = 1  # some are wrong in both predictions
    wrong = right.copy()
    wrong.reshape(flat.shape)[:, channel, :size] = 0
    return truth, right, wrong


def _exclusive(example: Example, c: int, size: int) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A label with so many pixels of class c, one that has them right, and one that has not."""
    truth, right, wrong = (of_pixels(example, each) for each in _maps(
        int(np.prod(example.pred[2:])), example.classes, c, size))
    return truth, right, wrong


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


def _own_costs(trial: Trial, example: Example) -> Dict[int, float]:
    """What mistakes cost in each class's own part of the loss: missed, and found where it is not.

    To take class i for class j costs A_i + B_j, where the loss is a sum of a part for each class;
    A_c + B_c comes from the six mistakes among c and two more classes.
    """
    labels = example.classes
    if labels < 3 or example.multilabel:  # where no mistake is one in two classes
        return {}
    truth = np.sort(np.resize(np.arange(labels), int(np.prod(example.pred[2:]))))
    label = of_pixels(example, truth)
    mistakes = len(truth) // labels // 2
    perfect = trial.subject.total(example.towards(label, SURE), label)
    costs: Dict[Tuple[int, int], float] = {}

    def both_ways(i: int, j: int) -> float:
        for true, taken_for in ((i, j), (j, i)):
            if (true, taken_for) not in costs:
                mistaken = truth.copy()
                mistaken[np.flatnonzero(truth == true)[:mistakes]] = taken_for
                costs[true, taken_for] = trial.subject.total(
                    example.towards(of_pixels(example, mistaken), SURE), label) - perfect
        return costs[i, j] + costs[j, i]

    others = {c: 2 if c == 1 else 1 for c in range(1, labels)}
    return {c: (both_ways(c, 0) + both_ways(c, other) - both_ways(0, other)) / 2
            for c, other in others.items()}


def _never_counts(trial: Trial, effects: Dict[int, Dict[str, float]], own: Dict[int, float]
                  ) -> str:
    """A sentence on classes whose mistakes cost nothing, however many pixels they have."""
    never: Set[int] = set()
    for costs in ({c: max(each.values()) for c, each in effects.items()}, own):
        least = max([NEGLIGIBLE * abs(cost) for cost in costs.values()] + [_rounding(trial)])
        never |= {c for c, cost in costs.items() if abs(cost) <= least}
    if not never:
        return ''
    why = ': right or wrong there makes no difference, at any size.'
    return _named(sorted(never), f'does not count{why}', f'do not count{why}')


def _named(classes: List[int], does: str, do: str) -> str:
    """A sentence on one class, or on several."""
    named = ', '.join(map(str, classes))
    return f'Class {named} {does}' if len(classes) == 1 else f'The classes {named} {do}'


def _dropped_when_small(trial: Trial, effects: Dict[int, Dict[str, float]]) -> str:
    """A sentence on a class that counts only from some number of pixels on."""
    rounding = _rounding(trial)
    for c, effect in effects.items():
        sizes, costs = [int(size) for size in effect], list(effect.values())
        dropped = [small for small, large, low, high in zip(sizes, sizes[1:], costs, costs[1:])
                   if high > (abs(low) + rounding) * (large / small) ** 1.75]
        if dropped:
            return (f'Class {c} does not count when it has {pixels(dropped[-1])}: right or wrong '
                    'there makes no difference to the loss.')
    return ''


def _exponent(effects: Dict[int, Dict[str, float]]) -> float:
    """e, where a mistake in a class of n pixels costs n^e."""
    laws = []
    for effect in effects.values():
        sizes, costs = list(effect), list(effect.values())
        if len(sizes) > 1 and costs[-1] > 0 and costs[1] > 0:
            laws.append(np.log(costs[-1] / costs[1]) / np.log(int(sizes[-1]) / int(sizes[1])))
    return float(np.median(laws)) if laws else float('nan')
