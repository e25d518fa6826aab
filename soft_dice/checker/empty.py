"""What a loss does with an image on which there is nothing to find."""
from typing import Dict

import numpy as np

from .findings import Finding, Findings, said
from .subject import Refused
from .trial import Trial

WORDS = {'perfect': 'a perfect', 'imperfect': 'an imperfect',
         'exact': 'an exact (0 and 1)'}


def empty(trial: Trial, findings: Findings) -> Finding:
    """All background, predicted perfectly and imperfectly."""
    example = trial.example
    label = np.zeros(example.label) if example.label_kind == 'binary' else \
        example.label_of(np.zeros(example.pred[:1] + example.pred[2:], int))
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
