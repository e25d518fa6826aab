"""What a loss does with an image on which there is nothing to find, or nothing else."""
from typing import Dict, Optional

import numpy as np

from .comparison import compare
from .findings import Finding, Findings, said
from .subject import Refused
from .trial import Trial, begin, inputs

WORDS = {'perfect': 'a perfect', 'imperfect': 'an imperfect', 'other': 'another imperfect',
         'exact': 'an exact (0 and 1)', 'full': 'an imperfect'}
EMPTY, FULL = 'all background', 'all of class 1'
UNLEARNT = 'what is found where nothing is, is never unlearnt.'
LINES = 4  # along which the gradient is compared with the numeric one

Numbers = Dict[str, Dict[str, float]]  # prediction: its value and the size of its gradient


def empty(trial: Trial, findings: Findings) -> Finding:
    """All background, predicted perfectly and imperfectly: finite, and something to learn?  All of
    one class, too, in which there is no background to divide by."""
    example = trial.example
    label = _all_of(trial, 0)
    predictions = {'perfect': example.towards(label), 'imperfect': trial.pred,
                   'other': inputs(trial.subject, example, trial.seed + 1)[0]}
    if example.input != 'raw':
        predictions['exact'] = example.truth(label)
    value: Numbers = {}
    return (_judged(trial, findings, EMPTY, label, predictions, value)
            or _judged(trial, findings, FULL, _all_of(trial, 1), {'full': trial.pred}, value)
            or Finding('finite', value, 'Loss and gradient of an image that is all background are '
                       'finite, predicted perfectly or not.'))


def _all_of(trial: Trial, number: int) -> np.ndarray:
    """The label of images that are all of one class."""
    example = trial.example
    if number == 0 and example.label_kind == 'binary':
        return np.zeros(example.label)
    return example.label_of(np.full(example.pred[:1] + example.pred[2:], number))


def _judged(trial: Trial, findings: Findings, image: str, label: np.ndarray,
            predictions: Dict[str, np.ndarray], value: Numbers) -> Optional[Finding]:
    """What is wrong with an image of this label; its numbers go into value."""
    bad = []
    for name, pred in predictions.items():
        try:
            answer = trial.subject.evaluate(pred, label)
        except Refused as error:
            return Finding('raises', value, f'An image that is {image} ({name} prediction) raises '
                                            f'an error: {said(error)}')
        number = float(np.sum(answer.value))
        norm = float(np.linalg.norm(answer.gradient))
        value[name] = {'value': number, 'gradient': norm}
        if not np.isfinite([number, norm]).all():
            bad.append(f'{WORDS[name]} prediction has loss {number:.3g} and a gradient of size '
                       f'{norm:.3g}')
    unlearnt = (image == EMPTY and trial.usable
                and not any(np.nan_to_num(each['gradient']) for each in value.values()))
    if bad:
        more = f' For other predictions the gradient is 0: {UNLEARNT}' if unlearnt and \
            len(bad) < len(value) else ''
        return Finding('not finite', value, f'On an image that is {image}, ' + '; '.join(bad)
                       + f'. One such image ends the training.{more}')
    if unlearnt:
        return Finding('no gradient', value, 'On an image that is all background the gradient is 0 '
                       f'for every prediction: {UNLEARNT}')
    return _compared(trial, findings, image, label, value)


def _compared(trial: Trial, findings: Findings, image: str, label: np.ndarray, value: Numbers
              ) -> Optional[Finding]:
    """The finding on a wrong gradient of an imperfect prediction, if it is right elsewhere."""
    if findings['gradient'].verdict != 'correct' or not trial.subject.watch.affords(200):
        return None
    found = compare(begin(trial.subject, trial.example, trial.seed, (trial.pred, label),
                          trial.size), LINES, beside=trial)
    value['imperfect' if image == EMPTY else 'full']['relative_error'] = found.error
    if not found.wrong:
        return None
    return Finding('wrong', value, f'On an image that is {image} the gradient of an imperfect '
                   'prediction is not that of the loss: they differ by '
                   f'{100 * found.error:.3g} % of their size.')
