"""Does every class count, in the loss and in its gradient, however few pixels it has?"""
from typing import Any, Dict, List, Optional, Set, Tuple

import numpy as np

from . import numeric
from .comparison import Comparison, compare
from .findings import Finding, Findings
from .trial import NEGLIGIBLE, Trial, begin, inputs, resized
from .subject import Example

SURE = 12.0  # logits of a prediction that leaves nothing over for other classes
MOST = 8  # classes that are looked at one by one
LINES = 2  # along which a class's gradient is compared; more where they find something

Numbers = Dict[str, Dict[str, float]]  # class: its pixels: a number


def classes(trial: Trial, findings: Findings) -> Finding:
    """Does every class count, a rare one too, and as one of the classes or by its pixels?"""
    if findings['direction'].value and 'falls_with_background_last' in findings['direction'].value:
        return Finding('undecided', None, 'It is not known which channel is which class: see '
                       'direction.')
    silent = _silent_classes(trial)
    if silent:
        return Finding('class dropped', {'without_gradient': silent},
                       f'Class {silent[0]} gets no gradient: it is never learnt.')
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
    note = ''
    if findings['gradient'].verdict != 'correct':  # it is wrong here too, and yet must be there
        untrained = _untrained(trial, example)
        if untrained:
            return Finding('class dropped', value, untrained)
    elif not _affords_gradients(trial, example):
        note = ' There was no time to compare the gradient class by class.'
    else:
        value['gradient_error_by_pixels'], wrong = _gradients(trial, example)
        if wrong is not None:
            return wrong._replace(value=value)
    value['exponent'] = _exponent(effects)
    if value['exponent'] < 0.5:
        return Finding('separate', value, 'Every class gets a gradient and counts as a class: a '
                                          f'small one as much as a large one.{note}')
    return Finding('pooled', value, 'Every class gets a gradient; classes are pooled: each counts '
                                    f'by its number of pixels, so that large ones rule.{note}')


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
    channels = dict(enumerate(trial.example.order[1:], 1))
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
    """The classes after the background, or so many of them, the first and the last included."""
    found = range(1, example.classes)
    if most is None or len(found) <= most:
        return list(found)
    return [found[int(i)] for i in np.linspace(0, len(found) - 1, most)]


def _rounding(trial: Trial) -> float:
    return 4 * numeric.quantum(float(np.sum(trial.answer.value)), trial.subject.dtype)


# In the loss --------------------------------------------------------------------------------------

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
    truth, right, wrong = (_label(example, each) for each in _maps(
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


def _label(example: Example, index: np.ndarray) -> np.ndarray:
    """The same pixels in every sample."""
    return example.label_of(np.broadcast_to(index.reshape(example.pred[2:]),
                                            example.pred[:1] + example.pred[2:]))


def _own_costs(trial: Trial, example: Example) -> Dict[int, float]:
    """What mistakes cost in each class's own part of the loss: missed, and found where it is not.

    To take class i for class j costs A_i + B_j, where the loss is a sum of a part for each class;
    A_c + B_c comes from the six mistakes among c and two more classes.
    """
    labels = example.classes
    if labels < 3 or example.multilabel:  # where no mistake is one in two classes
        return {}
    truth = np.sort(np.resize(np.arange(labels), int(np.prod(example.pred[2:]))))
    label = _label(example, truth)
    mistakes = len(truth) // labels // 2
    perfect = trial.subject.total(example.towards(label, SURE), label)
    costs: Dict[Tuple[int, int], float] = {}

    def both_ways(i: int, j: int) -> float:
        for true, taken_for in ((i, j), (j, i)):
            if (true, taken_for) not in costs:
                mistaken = truth.copy()
                mistaken[np.flatnonzero(truth == true)[:mistakes]] = taken_for
                costs[true, taken_for] = trial.subject.total(
                    example.towards(_label(example, mistaken), SURE), label) - perfect
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
    named = ', '.join(map(str, sorted(never)))
    return (f'Class {named} does not count' if len(never) == 1 else
            f'The classes {named} do not count'
            ) + ': right or wrong there makes no difference, at any size.'


def _dropped_when_small(trial: Trial, effects: Dict[int, Dict[str, float]]) -> str:
    """A sentence on a class that counts only from some number of pixels on."""
    rounding = _rounding(trial)
    for c, effect in effects.items():
        sizes, costs = [int(size) for size in effect], list(effect.values())
        dropped = [small for small, large, low, high in zip(sizes, sizes[1:], costs, costs[1:])
                   if high > (abs(low) + rounding) * (large / small) ** 1.75]
        if dropped:
            return (f'Class {c} does not count when it has {_pixels(dropped[-1])}: right or wrong '
                    'there makes no difference to the loss.')
    return ''


def _pixels(number: int) -> str:
    return f'{number} pixel{"s" * (number > 1)}'


def _exponent(effects: Dict[int, Dict[str, float]]) -> float:
    """e, where a mistake in a class of n pixels costs n^e."""
    laws = []
    for effect in effects.values():
        sizes, costs = list(effect), list(effect.values())
        if len(sizes) > 1 and costs[-1] > 0 and costs[1] > 0:
            laws.append(np.log(costs[-1] / costs[1]) / np.log(int(sizes[-1]) / int(sizes[1])))
    return float(np.median(laws)) if laws else float('nan')


# In the gradient ----------------------------------------------------------------------------------

def _untrained(trial: Trial, example: Example) -> str:
    """A sentence on a class to whose own pixels the backward gives nothing where they are few."""
    chosen = _foreground(example, MOST)
    share = int(np.prod(example.pred[2:])) // (len(chosen) + 1)
    norms: Dict[int, Dict[int, float]] = {c: {} for c in chosen}
    for size in sorted({1, min(9, share), share}):
        pred, label = _rare(trial, example, chosen, size)
        own = example.truth(label) * trial.subject.evaluate(pred, label).gradient
        for c in chosen:
            norms[c][size] = float(np.linalg.norm(own[:, example.order[c]]))
    for c, each in norms.items():
        small = [size for size, norm in each.items() if norm == 0]
        if small and each[share] > 0:
            return (f'Class {c} gets no gradient when it has {_pixels(small[-1])}, though it gets '
                    'one when it has more: it is then not learnt.')
    return ''


def _affords_gradients(trial: Trial, example: Example) -> bool:
    return trial.subject.watch.affords(3 * (24 + 30 * len(_foreground(example, MOST))))


def _gradients(trial: Trial, example: Example) -> Tuple[Numbers, Optional[Finding]]:
    """How far each class's gradient, that of its channel, is from the numeric one where classes
    have 1, 9 and more pixels; and a finding, where that is too far."""
    chosen = _foreground(example, MOST)
    share = int(np.prod(example.pred[2:])) // (len(chosen) + 1)
    errors: Numbers = {str(c): {} for c in chosen}
    wrong: Optional[Finding] = None
    for size in sorted({1, min(9, share), share}):
        rare = begin(trial.subject, example, trial.seed, _rare(trial, example, chosen, size),
                     trial.size)
        for c in chosen:
            found = _in_channel(rare, c, trial)
            errors[str(c)][str(size)] = found.error
            if found.wrong and wrong is None:
                wrong = _found_wrong(rare, found, c, size)
    return errors, wrong


def _rare(trial: Trial, example: Example, chosen: List[int], size: int
          ) -> Tuple[np.ndarray, np.ndarray]:
    """A random prediction, and a label of so many pixels of each of these classes; other pixels are
    background."""
    index = np.zeros(int(np.prod(example.pred[2:])), int)
    index[:size * len(chosen)] = np.repeat(chosen, size)
    np.random.RandomState([trial.seed, 4]).shuffle(index)
    return inputs(trial.subject, example, trial.seed)[0], _label(example, index)


def _in_channel(trial: Trial, c: int, ordinary: Trial) -> Comparison:
    part = np.zeros_like(trial.pred)
    part[:, trial.example.order[c]] = 1
    found = compare(trial, LINES, part, ordinary)
    return compare(trial, part=part, beside=ordinary) if found.wrong else found


def _found_wrong(trial: Trial, found: Comparison, c: int, size: int) -> Finding:
    """Is the class left out, which its own pixels show, or is its gradient another?"""
    line = np.zeros((1,) + trial.pred.shape)
    channel = trial.example.order[c]
    line[0, :, channel] = trial.example.truth(trial.label)[:, channel]
    claimed = numeric.along(trial.gradient_near, line)[0]
    slope = trial.near.derivatives(line, found.noise).value[0]
    if abs(claimed) < 0.1 * abs(slope) or claimed * slope < 0:
        return Finding('class dropped', None, f'Class {c} gets no gradient of its own when it has '
                       f'{_pixels(size)}, though the loss counts it: it is then not learnt.')
    return Finding('wrong', None, f'Where class {c} has {_pixels(size)}, the gradient in its '
                   f'channel is not that of the loss: they differ by {100 * found.error:.3g} % of '
                   'their size.')
