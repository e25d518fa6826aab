"""Does the gradient lead downhill, and does the loss fall as a prediction gets better?"""
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from . import numeric
from .findings import Finding, Findings
from .subject import Example
from .trial import NEGLIGIBLE, Trial, inputs

CLEAR = 0.1  # so far from the middle of all right and all wrong a prediction of one class must be


def direction(trial: Trial, findings: Findings) -> Finding:
    """Does a step along minus the gradient lower the loss, and does a better prediction?"""
    constant = findings['gradient'].verdict == 'zero-forward'  # small steps say nothing of it
    rise = _rise_towards_label(trial)
    value: Dict[str, Any] = {'towards_label': rise}
    if not constant and _ignores_label(trial):
        return Finding('label ignored', value, 'Another label makes no difference to the loss: it '
                       'is not read, or remembered from an earlier call.')
    if min(rise) > 0:
        return _rises(trial, value)
    if not trial.usable:
        return Finding('not applicable', value, 'There is no gradient to take a step along.')
    value['downhill'], seen = _change_downhill(trial, constant)
    if constant and not seen:
        return Finding('not applicable', value, 'The loss does not follow the prediction.')
    if not seen:
        return Finding('undecided', value, 'A step along minus the gradient changes the loss by no '
                       'more than its rounding errors.')
    if not value['downhill'] < 0:
        return Finding('uphill', value, 'A step along minus the gradient does not lower the loss, '
                       f'it raises it by {value["downhill"]:.2g}: training with it would go the '
                       'wrong way.')
    return Finding('correct', value, 'A step along minus the gradient lowers the loss, and so does '
                                     'a prediction nearer to the label.')


def _ignores_label(trial: Trial) -> bool:
    pred, label = inputs(trial.subject, trial.example, trial.seed + 1)
    usual = trial.loss(trial.pred)
    return bool(np.any(label != trial.label) and trial.loss(pred) != usual
                and trial.subject.total(trial.pred, label) == usual)


def _rise_towards_label(trial: Trial) -> List[float]:
    """How the loss changes on the way to a perfect prediction.

    Raw numbers may mean logits or the values themselves; each reading has its own perfection.
    """
    goals = [trial.example.towards(trial.label)]
    if trial.example.input == 'raw':
        goals += [trial.example.towards(trial.label, 2.0), trial.example.truth(trial.label)]
    start = trial.loss(trial.pred)
    return [trial.loss(goal) - start for goal in goals]


def _rises(trial: Trial, value: Dict[str, Any]) -> Finding:
    """The finding of a loss that rises towards the label: a score, or of other channels."""
    order = 'score' if trial.example.background_said else _order(trial)
    if order == 'score':
        return Finding('rises', value, f'The loss rises (by {min(value["towards_label"]):.3g}) as '
                       'the prediction moves towards the label: this is a score, to be made large, '
                       'and training would make it small. Return 1 - score, or minus the score.')
    value['falls_with_background_last'] = True
    falls = ('Read with the background in channel 0 the loss rises as the prediction moves towards '
             'the label, and read with the background in the last channel it falls')
    if order == 'background last':
        return Finding('undecided', value, falls + ': its channels are in another order. Say so '
                       'with --background -1, and it can be judged.')
    return Finding('undecided', value, falls + '. If its background is the last channel, say '
                   '--background -1, and if it is channel 0 (it then is a score: return 1 - '
                   'score) --background 0.')


def _order(trial: Trial) -> str:
    """'score', 'background last' or 'unclear', from predictions that are all wrong if the
    background is channel 0: to a score they are all the worst, to a loss of channels in another
    order one is the best and others are the worst."""
    channels = trial.example.channels
    if trial.example.label == trial.example.pred or channels == 1:
        return 'score'  # a label of the prediction's channels, whatever their order
    start = trial.loss(trial.pred)
    last = _as_if(trial, trial.example.replace(background=channels - 1)) - start
    if not last < 0:
        return 'score'
    if channels > 2:
        turned = np.roll(trial.example.truth(trial.label), 1, axis=1)
        return 'background last' if _loss_towards(trial, turned) > start else 'score'
    return _order_of_two(trial)


def _order_of_two(trial: Trial) -> str:
    """Of two channels there is one other order.  If one channel alone is looked at, it is the
    foreground; else a Dice knows good from bad: what is half right is nearer to the bad end."""
    norms = [np.linalg.norm(trial.gradient[:, c]) for c in (0, 1)]
    if min(norms) < NEGLIGIBLE * max(norms):
        return 'score' if norms[1] > norms[0] else 'background last'
    rare = np.zeros(trial.example.pred[:1] + (int(np.prod(trial.example.pred[2:])),), int)
    rare[:, :max(1, rare.shape[1] // 8)] = 1
    rare = rare.reshape(trial.example.pred[:1] + trial.example.pred[2:])
    label, none = trial.example.label_of(rare), trial.example.label_of(0 * rare)
    truth, nothing = trial.example.truth(label), trial.example.truth(none)
    right, wrong, empty, full = (_loss_towards(trial, each, label) for each in (
        truth, 1 - truth, nothing, 1 - nothing))
    half = ((empty + full) / 2 - wrong) / (right - wrong) if right != wrong else 0.5
    return 'score' if half < 0.5 - CLEAR else 'background last' if half > 0.5 + CLEAR else 'unclear'


def _as_if(trial: Trial, example: Example) -> float:
    return _loss_towards(trial, example.truth(trial.label))


def _loss_towards(trial: Trial, truth: np.ndarray, label: Optional[np.ndarray] = None) -> float:
    """The loss of a network that is sure of this, which is 1 in one channel of each pixel."""
    pred = trial.example.prediction(8 * truth) if trial.example.input != 'sigmoid' else \
        trial.example.prediction(8 * (2 * truth - 1))
    return trial.subject.total(pred, trial.label if label is None else label)


def _change_downhill(trial: Trial, constant: bool) -> Tuple[float, bool]:
    """The change of the loss over the shortest step that changes it beyond rounding, and whether
    any does; of a piecewise constant one over long steps together."""
    move = -trial.room * trial.gradient * trial.room
    move /= np.abs(move).max() / (trial.room.max() or 1.0)
    move = np.clip(move, -trial.room, trial.room)
    start = trial.loss(trial.pred)
    change = 0.0
    if constant:
        change = sum(trial.loss(trial.pred + t * move) - start for t in (0.25, 0.5, 1.0))
        return change, bool(change)
    enough = max(64 * numeric.quantum(start, trial.subject.dtype),
                 16 * trial.near.noise(trial.lines(3)))
    for t in 4.0 ** np.arange(-10, 1):
        change = trial.loss(trial.pred + t * move) - start
        if abs(change) > enough:
            return change, True
    return change, False
