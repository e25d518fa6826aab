"""Is a Caffe loss layer right?  Checks anybody's, in one line of a test::

    from caffe_layers.gradcheck import assert_layer

    def test_my_layer():
        assert_layer('my_layers:DiceLoss', pred=(2, 4, 9, 8), label=(2, 1, 9, 8), input='softmax')

``my_layers`` must be importable; ``python -m caffe_layers check`` does the same for the command
line.  ``check_layer`` returns the findings, and ``check_net`` those of a layer of a net.

The layer runs in real nets in a process of its own, where a failed CHECK of Caffe is a finding.
Where a Python layer also runs on float64 stand-ins for its blobs and says the same there, numbers
are taken from these; else they are the net's float32, differentiated as far as its noise allows.
"""
from functools import partial
from typing import Any, Dict, Iterable, Optional, Union

import numpy as np

from soft_dice.arrays import CannotRun
from soft_dice.checker import checks, report
from soft_dice.checker.asked import Asked
from soft_dice.checker.findings import CAFFE_KEYS, Finding, Findings
from soft_dice.checker.numeric import relative_error
from soft_dice.checker.subject import Died, Refused, Shape
from soft_dice.checker.trial import Trial
from soft_dice.checker.watch import Watch

from .checker.cases import Case, class_case, class_name, net_cases
from .checker.subject import LayerSubject


def check_layer(layer: Union[type, str], pred: Shape, label: Optional[Shape] = None,
                param_str: str = '', input: str = 'raw', label_kind: Optional[str] = None,
                seed: int = 0, pixel_weight: Optional[Shape] = None,
                background: Union[None, int, str] = None, axis: int = 1,
                seconds: Optional[float] = None) -> Findings:
    """What is right and wrong with a Python loss layer of the bottoms prediction and label.

    Parameters
    ----------
    layer : 'module:Class', or the class, which its module must have under its name.
    pred : (N, C, ...), the shape to check on; N of 2 or more tells the samples apart.
    label : by default (N, 1, ...), or pred's for ``label_kind='onehot'``.
    param_str : the layer's.
    input : what the layer is given: 'softmax' or 'sigmoid' probabilities, or 'raw' scores.
    label_kind : 'index' class numbers, 'onehot', 'binary' (0 and 1) or 'signed' (-1 and 1); by
        default told from the shapes.
    pixel_weight : the shape of a third bottom, which is filled with random positive numbers.
    background, axis : as :class:`soft_dice.checker.asked.Asked`.
    seconds : the time that it may take; what is then not looked at has the verdict 'left out'.

    Returns
    -------
    A Finding (verdict, value, message) for each of soft_dice.checker.findings.CAFFE_KEYS.

    Raises
    ------
    CannotRun : the layer cannot be found, or cannot be set up for these shapes, or there was no
        time to judge its gradient.
    """
    asked = Asked(pred, label, input, label_kind, pixel_weight, background, axis)
    return check_case(class_case(layer, asked, param_str), seed, seconds)


def check_net(path: str, layer: Optional[str] = None, pred: Optional[Shape] = None,
              label: Optional[Shape] = None, input: Optional[str] = None,
              label_kind: Optional[str] = None, seed: int = 0,
              background: Union[None, int, str] = None, axis: int = 1,
              seconds: Optional[float] = None) -> Findings:
    """As ``check_layer``, for a layer of the net in a prototxt: Caffe's own losses, too.

    ``layer`` is its name, which a net with one loss does not need.  What else is not given is
    taken from the net.
    """
    cases = net_cases(path, layer, Asked(pred, label, input, label_kind, background=background,
                                         axis=axis))
    if len(cases) > 1:
        raise CannotRun(f'{path} has several losses, name one of '
                        + ', '.join(case.name for case in cases))
    return check_case(cases[0], seed, seconds)


def assert_layer(layer: Union[type, str], *arguments: Any, allow: Iterable[str] = (),
                 **keywords: Any) -> None:
    """``check_layer`` in a test: AssertionError with the table of findings unless all are good.

    allow : keys of findings that may be bad, for a weakness one has decided to live with.
    """
    report.assert_good(check_layer(layer, *arguments, **keywords), class_name(layer), allow)


def check_case(case: Case, seed: int = 0, seconds: Optional[float] = None) -> Findings:
    with subject(case, Watch(seconds)) as layer:
        return check_subject(layer, case, seed)


def subject(case: Case, watch: Optional[Watch] = None) -> LayerSubject:
    return LayerSubject(case.name, case.spec, case.example, watch=watch)


def check_subject(layer: LayerSubject, case: Case, seed: int = 0) -> Findings:
    """The findings of every framework, and Caffe's own, in the order of CAFFE_KEYS."""
    own: Dict[str, checks.Look] = {'force_backward': partial(force_backward, layer)}
    if layer.caffes_own:
        own['shapes'] = _no_volumes
    if not case.weighted:
        own['loss_weight'] = _no_weight
    findings = checks.check(layer, case.example, seed, case.given, own)
    return {key: findings[key] for key in CAFFE_KEYS}


def _no_volumes(trial: Trial, findings: Findings) -> Finding:
    """The finding 'shapes' of a layer in C++, which has one way only to refuse."""
    found = findings['shapes']
    if found.verdict != 'fails on 3-D':
        return found
    return found._replace(verdict='refused', message=found.message + " This is one of Caffe's own "
                          'layers, which ends the process where it takes no volumes, and says so.')


def _no_weight(trial: Trial, findings: Findings) -> Finding:
    """The finding 'loss_weight' of a layer to which the net gives none."""
    found = findings['loss_weight']
    return Finding('missing', found.value, 'The net gives this layer no loss_weight, so Caffe '
                   'never asks it for a gradient and nothing is learnt from it: add '
                   f'loss_weight: 1.  (Given one, it is {found.verdict}.)')


def force_backward(layer: LayerSubject, trial: Trial, findings: Findings) -> Finding:
    """Does the layer still work in a net with force_backward: true?"""
    try:
        forced = layer.forced(trial.pred, trial.label).gradient
    except Refused as error:
        return Finding('raises', None, 'With force_backward: true Caffe asks for the gradient of '
                       f'the label, too, and the layer raises {error}')
    except Died as error:
        return Finding('dies', None, 'With force_backward: true Caffe asks for the gradient of the '
                       f'label, too, and the process ends: {error}')
    usual = trial.gradient
    finite = np.isfinite(usual) & np.isfinite(forced)
    change = relative_error(np.where(finite, forced, 0), np.where(finite, usual, 0))
    if change > 1e-3 or (np.isfinite(usual) != np.isfinite(forced)).any():
        return Finding('wrong', change, 'With force_backward: true the prediction gets another '
                       f'gradient than without (relative difference {change:.2g}).')
    return Finding('works', change, 'With force_backward: true, where Caffe asks for the gradient '
                   'of the label, too, the prediction gets the same gradient.')
