"""Every finding that needs no framework, and the picture's evidence."""
from typing import Callable, Dict, NamedTuple, Optional, Tuple

import numpy as np

from .activation import Given, activation, wants
from .batch import batch
from .classes import classes
from .direction import direction
from .empty import empty
from .findings import Finding, Findings, said
from .gradient import gradient, upstream
from .numeric import element_by_element
from .repeat import repeatable
from .shapes import shapes
from .subject import Died, Example, Refused, Subject
from .trial import CannotResize, Trial, begin, resized
from .watch import OutOfTime

KEYS = ('gradient', 'relative_error', 'direction', 'activation', 'loss_weight', 'empty', 'batch',
        'classes', 'shapes')
Look = Callable[[Trial, Findings], Finding]  # of what was found before
# What tells most for its time comes first.
LOOKS: Dict[str, Look] = {'loss_weight': upstream, 'empty': empty, 'batch': batch,
                          'shapes': shapes, 'direction': direction}
LAST: Dict[str, Look] = {'classes': classes}  # which takes as long as all else together
PICTURE = 4096  # elements of a sample that are differenced one by one


class Evidence(NamedTuple):
    """One sample, and its gradient twice.

    pred, analytic, numeric : (C, ...), float64.
    label : of the sample, without its batch axis.
    sample : its number in the batch.
    """

    pred: np.ndarray
    label: np.ndarray
    analytic: np.ndarray
    numeric: np.ndarray
    sample: int


def check(subject: Subject, example: Example, seed: int = 0, given: Optional[Given] = None,
          own: Optional[Dict[str, Look]] = None) -> Findings:
    """The findings of :data:`KEYS`, in this order, and those of a framework's own.

    A loss that does not even take the example, or gives two answers to it, has the finding 'error',
    'dies' or 'not repeatable' for its gradient, and nothing else applies.  Where the loss is given
    what it does not expect, which is a finding, the others are of the loss given what it expects.

    given : what the loss is fed, where the example does not say it.
    own : further looks, or ones that replace a finding by another.

    Raises
    ------
    ValueError : the example's label has not one value for each pixel or each element of pred.
    OutOfTime : before the gradient could be judged; what else there was no time for is 'left out'.
    """
    found: Findings = {}
    trial: Optional[Trial] = None
    try:
        wanted = wants(subject, example, seed)
        found['activation'] = activation(given or Given.of(example.input), wanted, example)
        example = wanted.example(example)
        problem = repeatable(subject, example, seed)
        if problem is None:
            trial = begin(subject, example, seed)
            problem = _unusable(trial)
    except Died as error:
        problem = Finding('dies', None, f'The process ends on an ordinary input: {said(error)}')
    except Refused as error:
        problem = Finding('error', None, f'The loss raises an error on an ordinary input of shapes '
                                         f'{example.pred} and {example.label}: {said(error)}')
    looks = [*LOOKS.items(), *(own or {}).items(), *LAST.items()]
    if problem or trial is None:
        assert problem is not None
        why = 'gives two answers to the same input' if problem.verdict == 'not repeatable' else \
            'fails on an ordinary input'
        nothing = Finding('not applicable', None, f'Not looked at, as the loss {why}.')
        return {**dict.fromkeys(KEYS, nothing), **dict.fromkeys(own or {}, nothing),
                'gradient': problem}
    subject.watch.look('gradient')
    found.update(_gradient(trial))
    for key, look in looks:
        subject.watch.look(key)
        found[key] = _guarded(look, trial, found)
    return {**{key: found[key] for key in KEYS}, **found}


def evidence(subject: Subject, example: Example, seed: int = 0, elements: int = PICTURE
             ) -> Evidence:
    """Analytic and numeric gradient of the first sample, element by element.

    The label is one that the eye recognises, nested squares of the classes, and the prediction is
    right there more often than not.  A sample of more than ``elements`` is replaced by a smaller
    one, as each costs two evaluations; so is one for which there is no time.

    Raises
    ------
    Refused, Died : by the loss.
    OutOfTime : it is too slow.
    """
    sizes = [2 ** k for k in range(5, elements.bit_length())] + [elements]
    elements = subject.watch.most(sizes, lambda elements: 2 * elements)
    while np.prod(example.pred[1:]) > elements:
        space = list(example.pred[2:])
        largest = int(np.argmax(space)) if space else 0
        if not space or space[largest] == 1:
            break
        space[largest] = (space[largest] + 1) // 2
        try:
            example = resized(example, example.pred[0], tuple(space))
        except CannotResize:
            break
    trial = begin(subject, example, seed, _squares(example, seed))
    step = 2.0 ** -2 if subject.dtype == 'float32' else 2.0 ** -12
    first = element_by_element(lambda lines: trial.near.central(lines, step).derivative,
                               trial.pred.shape, trial.pred[0].size)
    numeric = first.reshape(trial.pred[0].shape) / trial.room[0]
    return Evidence(trial.pred[0], trial.label[0], trial.gradient[0], numeric, 0)


def _squares(example: Example, seed: int) -> Tuple[np.ndarray, np.ndarray]:
    """A prediction and a label of nested squares, class 0 outside."""
    space = example.pred[2:]
    centred = [np.abs(np.arange(length) - (length - 1) / 2) / (length / 2) for length in space]
    outside = np.max(np.meshgrid(*centred, indexing='ij'), axis=0) if space else np.zeros(())
    classes = example.classes
    index = np.minimum((1 - outside) * classes, classes - 1).astype(int)
    label = example.label_of(np.broadcast_to(index, example.pred[:1] + space))
    noise = np.random.RandomState(seed).standard_normal(example.pred)
    return example.prediction(1.5 * example.truth(label) - 0.5 + 0.7 * noise), label


def _unusable(trial: Trial) -> Optional[Finding]:
    """A Finding where the answer to an ordinary input is none."""
    if trial.gradient.shape != trial.pred.shape:
        return Finding('error', {'shape': list(trial.gradient.shape)},
                       f'The gradient must have the shape of the prediction, {trial.pred.shape}; '
                       f'it has {trial.gradient.shape}.')
    if not np.isfinite(trial.answer.value).all():
        return Finding('error', {'value': float(np.sum(trial.answer.value))},
                       'The loss of an ordinary input is not finite. Check that it takes what it '
                       f'was given: {trial.example.input} predictions and '
                       f'{trial.example.label_kind} labels.')
    return None


def _gradient(trial: Trial) -> Findings:
    try:
        return gradient(trial)
    except (Refused, Died) as error:
        return {'gradient': Finding(
                    'error', None, 'The loss works on an input and not on one a little beside it: '
                    f'{said(error)}'),
                'relative_error': Finding('not applicable', None, 'It could not be measured.')}


def _guarded(look: Look, trial: Trial, findings: Findings) -> Finding:
    """What a look finds, where the loss raises or dies under it too."""
    try:
        return look(trial, findings)
    except OutOfTime:
        return Finding('left out', None, 'Left out: there was no more time. --seconds gives it '
                                         'more.')
    except CannotResize as error:
        return Finding('not applicable', None, f'No input of another shape can be made: {error}.')
    except Refused as error:
        return Finding('error', None, f'The loss raises an error on an input it should take: '
                                      f'{said(error)}')
    except Died as error:
        return Finding('dies', None, 'The process ends on an input the loss should take: '
                                     f'{said(error)}')
