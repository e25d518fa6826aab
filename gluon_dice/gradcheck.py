"""Is a Gluon loss right?  For any Block, HybridBlock or function of (pred, label), not only ours.

In a test of your own loss, one line::

    from gluon_dice.gradcheck import assert_loss

    def test_my_loss():
        assert_loss(MyLoss, pred=(2, 4, 9, 8), label=(2, 9, 8))

fails with a table of what is wrong.  ``python -m gluon_dice check`` is the same as a command.
"""
from functools import partial
from typing import Any, Dict, Iterable, Optional, Union

from soft_dice.checker import report
from soft_dice.checker.activation import Given
from soft_dice.checker.asked import Asked
from soft_dice.checker.checks import Look, check
from soft_dice.checker.findings import GLUON_KEYS, Finding, Findings
from soft_dice.checker.subject import Example, Shape
from soft_dice.checker.watch import Watch

from .checker.checks import head_gradient, hybridize, output_shape, weight
from .checker.subject import PATIENCE, GluonLoss
from .checker.target import read


def check_loss(loss: Any, pred: Shape, label: Shape, kwargs: Optional[Dict[str, Any]] = None,
               input: str = 'raw', label_kind: Optional[str] = None, seed: int = 0,
               limit: float = PATIENCE, pixel_weight: Optional[Shape] = None,
               background: Union[None, int, str] = None, axis: int = 1,
               seconds: Optional[float] = None) -> Findings:
    """Look at a loss from all sides; raises nothing for a defect.

    Parameters
    ----------
    loss : a gluon Block, taken as it is; a class of one, called with ``kwargs``; or a function of
        (F, pred, label) (its first argument is then called F) or of (pred, label).
    pred, label : shapes, for example (2, 4, 9, 8) and (2, 9, 8).
    input : what the loss is given as prediction: 'raw' scores, 'softmax' or 'sigmoid'
        probabilities.
    label_kind : 'index', 'onehot', 'binary' (0 and 1) or 'signed' (-1 and 1); by default 'index',
        but for a label of pred's shape 'onehot', or 'binary' for one channel.
    limit : seconds after which a call of the loss hangs, if it is not one of a slow loss.
    pixel_weight : the shape of a third input, which is filled with random positive numbers.
    background, axis : as :class:`soft_dice.checker.asked.Asked`.
    seconds : the time that it may take; what is then not looked at has the verdict 'left out'.

    Returns
    -------
    Findings: a dict of :class:`soft_dice.checker.findings.Finding`, each with ``verdict``,
    ``value``, ``message`` and ``good``, under the keys ``GLUON_KEYS``.

    Raises
    ------
    TypeError, ValueError : what was given is no loss, or the shapes make no sense.
    CannotRun : there was no time to judge its gradient, or it does not end.
    """
    example, feed = Asked(pred, label, input, label_kind, pixel_weight, background, axis).read()
    target = read(loss, kwargs)
    target.feed = feed
    with GluonLoss(target, example, limit, Watch(seconds)) as subject:
        return findings_of(subject, example, seed)


def assert_loss(loss: Any, pred: Shape, label: Shape, allow: Iterable[str] = (), **keywords: Any
                ) -> None:
    """Raise AssertionError, with the table of findings, unless the loss is right.

    allow : keys of findings that may be bad, for a weakness one has decided to live with.
    Everything else is as for :func:`check_loss`.
    """
    name = getattr(loss, '__name__', type(loss).__name__)
    report.assert_good(check_loss(loss, pred, label, **keywords), name, allow)


def findings_of(subject: GluonLoss, example: Example, seed: int = 0, given: Optional[Given] = None
                ) -> Findings:
    """The findings of every framework, and Gluon's own."""
    own: Dict[str, Look] = {
        'batch': output_shape, 'head_gradient': partial(head_gradient, subject),
        'weight': partial(weight, subject), 'hybridize': partial(hybridize, subject)}
    found = check(subject, example, seed, given, own)
    for key in ('loss_weight', 'force_backward'):
        found[key] = Finding('not applicable', None, "Caffe's; in Gluon see head_gradient.")
    return {key: found[key] for key in GLUON_KEYS}
