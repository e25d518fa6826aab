"""What a loss does with an image on which there is nothing to find."""
from typing import Dict

import numpy as np

from .comparison import compare
from .findings import Finding, Findings, said
from .subject import Refused
from .trial import Trial, begin, inputs

WORDS = {'perfect': 'a perfect', 'imperfect': 'an imperfect', 'other': 'another imperfect',
         'exact': 'an exact (0 and 1)'}
UNLEARNT = 'what is found where nothing is, is never unlearnt.'
LINES = 4  # along which the gradient is compared with the numeric one


def empty(trial: Trial, findings: Findings) -> Finding:
    """All background, predicted perfectly and imperfectly: finite, and something to learn?"""
    example = trial.example
    label = np.zeros(example.label) if example.label_kind == 'binary' else \
        example.label_of(np.zeros(example.pred[:1] + example.pred[2:], int))
    predictions = {'perfect': example.towards(label), 'imperfect': trial.pred,
                   'other': inputs(trial.subject, example, trial.seed + 1)[0]}
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
    unlearnt = trial.usable and not any(np.nan_to_num(each['gradient']) for each in value.values())
    if bad:
        return Finding('not finite', value, 'On an image that is all background, ' + '; '.join(bad)
                       + '. One such image ends the training.'
                       + (f' For other predictions the gradient is 0: {UNLEARNT}' if unlearnt and
                          len(bad) < len(value) else ''))
    if unlearnt:
        return Finding('no gradient', value, 'On an image that is all background the gradient is 0 '
                       f'for every prediction: {UNLEARNT}')
    return _compared(trial, label, value, findings)


def _compared(trial: Trial, label: np.ndarray, value: Dict[str, Dict[str, float]],
              findings: Findings) -> Finding:
    """The finding on the gradient of an imperfect prediction, if it is right elsewhere."""
    if findings['gradient'].verdict == 'correct' and trial.subject.watch.affords(200):
        found = compare(begin(trial.subject, trial.example, trial.seed, (trial.pred, label),
                              trial.size), LINES, beside=trial)
        value['imperfect']['relative_error'] = found.error
        if found.wrong:
            return Finding('wrong', value, 'On an image that is all background the gradient of an '
                           'imperfect prediction is not that of the loss: they differ by '
                           f'{100 * found.error:.3g} % of their size.')
    return Finding('finite', value, 'Loss and gradient of an image that is all background are '
                                    'finite, predicted perfectly or not.')
