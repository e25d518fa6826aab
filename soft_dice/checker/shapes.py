"""Does a loss take volumes, and refuse labels that do not fit?"""
from typing import Callable, Dict, List, Tuple

import numpy as np

from .findings import Finding, Findings, said
from .subject import Died, Refused
from .trial import Trial, inputs, resized


def shapes(trial: Trial, findings: Findings) -> Finding:
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
        trial.subject.evaluate(pred, label)
    except Refused:  # by forward or, which stops the training too, by backward
        return 'refused', ''
    return 'broadcast', (f'A label of shape {label.shape} is silently accepted with a prediction '
                         f'of shape {pred.shape}: a mistake in the data would go unseen.')
