"""Does a class get its gradient where it has few pixels?"""
from typing import Dict, List, Optional, Tuple

import numpy as np

from . import numeric
from .comparison import Comparison, compare
from .findings import Finding, Findings
from .subject import Example
from .trial import Trial, begin, inputs

SEEDS = (0, 1000, 2000, 3000)  # of inputs at which a class must have no gradient
LINES = 2  # along which a class's gradient is compared; more where they find something

Numbers = Dict[str, Dict[str, float]]  # class: its pixels: a number


def rare_gradients(trial: Trial, example: Example, chosen: List[int], findings: Findings
                   ) -> Finding:
    """Good, with the errors of each class, or what is wrong; with a note, where not all was seen.

    chosen : the classes that are looked at.
    """
    if findings['gradient'].verdict != 'correct':  # it is wrong here too, and yet must be there
        untrained = _untrained(trial, example, chosen)
        return Finding('class dropped' if untrained else 'correct', None, untrained)
    if not trial.subject.watch.affords(3 * (24 + 30 * len(chosen))):
        return Finding('correct', None, 'There was no time to compare the gradient class by class.')
    errors, wrong = _compared(trial, example, chosen)
    finding = wrong or Finding('correct', None, '')
    return finding._replace(value={'gradient_error_by_pixels': errors})


def of_pixels(example: Example, index: np.ndarray) -> np.ndarray:
    """The same pixels in every sample."""
    return example.label_of(np.broadcast_to(index.reshape(example.pred[2:]),
                                            example.pred[:1] + example.pred[2:]))


def pixels(number: int) -> str:
    return f'{number} pixel{"s" * (number > 1)}'


def _sizes(example: Example, chosen: List[int]) -> List[int]:
    """Numbers of pixels that each class can have: 1, 9, and as many as there are for it."""
    share = int(np.prod(example.pred[2:])) // (len(chosen) + 1)
    return sorted({1, min(9, share), share})


def _untrained(trial: Trial, example: Example, chosen: List[int]) -> str:
    """A sentence on a class to whose own pixels the backward gives nothing where they are few; not
    where it does at another input: a hinge's margin may be met at a single pixel."""
    *few, many = _sizes(example, chosen)
    for c in chosen:
        for size in reversed(few):
            if not any(_own_gradient(trial, example, chosen, size, c, seed) for seed in SEEDS) \
                    and _own_gradient(trial, example, chosen, many, c):
                return (f'Class {c} gets no gradient when it has {pixels(size)}, though it gets '
                        'one when it has more: it is then not learnt.')
    return ''


def _own_gradient(trial: Trial, example: Example, chosen: List[int], size: int, c: int,
                  seed: int = 0) -> bool:
    """Does class c get a gradient at its own pixels?"""
    pred, label = _rare(trial, example, chosen, size, seed)
    own = example.truth(label) * trial.subject.evaluate(pred, label).gradient
    return bool(own[:, example.order[c]].any())


def _compared(trial: Trial, example: Example, chosen: List[int]
              ) -> Tuple[Numbers, Optional[Finding]]:
    """How far each class's gradient, that of its channel, is from the numeric one where classes
    have 1, 9 and more pixels; and a finding, where that is too far."""
    errors: Numbers = {str(c): {} for c in chosen}
    wrong: Optional[Finding] = None
    for size in _sizes(example, chosen):
        rare = begin(trial.subject, example, trial.seed, _rare(trial, example, chosen, size),
                     trial.size)
        for c in chosen:
            found = _in_channel(rare, c, trial)
            errors[str(c)][str(size)] = found.error
            if found.wrong and wrong is None:
                wrong = _found_wrong(rare, found, c, size)
    return errors, wrong


def _rare(trial: Trial, example: Example, chosen: List[int], size: int, seed: int = 0
          ) -> Tuple[np.ndarray, np.ndarray]:
    """A random prediction, and a label of so many pixels of each of these classes; other pixels are
    background."""
    index = np.zeros(int(np.prod(example.pred[2:])), int)
    index[:size * len(chosen)] = np.repeat(chosen, size)
    np.random.RandomState([trial.seed, 4]).shuffle(index)
    return inputs(trial.subject, example, trial.seed + seed)[0], of_pixels(example, index)


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
                       f'{pixels(size)}, though the loss counts it: it is then not learnt.')
    return Finding('wrong', None, f'Where class {c} has {pixels(size)}, the gradient in its '
                   f'channel is not that of the loss: they differ by {100 * found.error:.3g} % of '
                   'their size.')
