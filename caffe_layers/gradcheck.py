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
import time
from functools import partial
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Tuple, Union

import numpy as np

from soft_dice.arrays import CannotRun
from soft_dice.checker import checks, report
from soft_dice.checker.activation import Given
from soft_dice.checker.findings import CAFFE_KEYS, Finding, Findings
from soft_dice.checker.numeric import relative_error
from soft_dice.checker.subject import (INPUTS, LABELS, Died, Evaluation, Example, Refused, Shape,
                                       Subject, default_label)
from soft_dice.checker.trial import Trial

from . import caffe_proto, prototxt
from .checker.rig import NetReader, Rig, Spec
from .checker.worker import Hung, Session

FIRST, PATIENCE = 30.0, 5.0  # seconds for the first answer, and at least for each later one


class LayerSubject(Subject):
    """A layer under test, in a child process.  Use as a context manager.

    Raises CannotRun where the layer does not exist, or cannot be set up for ``example``.
    """

    def __init__(self, name: str, spec: Spec, example: Example, patience: float = PATIENCE,
                 float64: bool = True) -> None:
        self.name = name
        self.caffes_own = not spec.is_python
        self._patience, self._longest = patience, 0.0
        self._hangs: Dict[Tuple[Shape, Shape], str] = {}
        try:
            self._session = Session(Rig, spec, limit=FIRST)
        except Died as error:
            raise CannotRun(f'{name} cannot be imported: the process {error}') from None
        try:
            self._session.call('prepare', example.pred, example.label)
        except (Died, Refused) as error:
            self._session.close()
            raise CannotRun(f'Caffe cannot set {name} up for a prediction {example.pred} and a '
                            f'label {example.label}: {error}') from None
        self.dtype = 'float64' if float64 and self._has_float64(example) else 'float32'

    def __enter__(self) -> 'LayerSubject':
        return self

    def __exit__(self, *_: Any) -> None:
        self._session.close()

    def value(self, pred: np.ndarray, label: np.ndarray) -> np.ndarray:
        return self._call('value', pred, label, self.dtype == 'float64')

    def evaluate(self, pred: np.ndarray, label: np.ndarray, upstream: float = 1.0,
                 before: float = 0.0) -> Evaluation:
        return self._call('evaluate', pred, label, upstream, before, self.dtype == 'float64')

    def forced(self, pred: np.ndarray, label: np.ndarray, before: float = 0.0) -> Evaluation:
        """As ``evaluate``, in a net with force_backward: true."""
        return self._call('evaluate', pred, label, 1.0, before, False, True)

    def _has_float64(self, example: Example) -> bool:
        try:
            return self._call('has_float64', *example.arrays())
        except (Died, Refused):  # of which the checks tell
            return False

    def _call(self, method: str, pred: np.ndarray, label: np.ndarray, *arguments: Any) -> Any:
        shapes = (pred.shape, label.shape)
        if shapes in self._hangs:  # the time was spent once, there is no more to learn
            raise Died(self._hangs[shapes])
        started = time.perf_counter()
        try:
            answer = self._session.call(method, pred, label, *arguments)
            self._longest = max(self._longest, time.perf_counter() - started)
            self._session.limit = max(self._patience, 20 * self._longest)
            return answer
        except Hung as error:
            self._hangs[shapes] = str(error)
            raise
        except Died as error:
            if self.caffes_own and str(error).startswith('Check failed'):
                raise Refused(str(error)) from None  # the only way a layer in C++ has to refuse
            raise


class Case(NamedTuple):
    """A layer and the example it is checked on.

    assumed : sentences about what was not said and had to be guessed.
    given : what feeds the layer.
    weighted : False where the net gives the layer no loss_weight.
    """

    name: str
    spec: Spec
    example: Example
    assumed: List[str]
    given: Given
    weighted: bool = True

    @property
    def title(self) -> str:
        kind = {'index': 'class numbers', 'onehot': 'one-hot', 'binary': '0 or 1'}
        return (f'{self.name}: prediction {self.example.pred} ({self.example.input}), '
                f'label {self.example.label} ({kind[self.example.label_kind]})')


def check_layer(layer: Union[type, str], pred: Shape, label: Optional[Shape] = None,
                param_str: str = '', input: str = 'raw', label_kind: Optional[str] = None,
                seed: int = 0) -> Findings:
    """What is right and wrong with a Python loss layer of the bottoms prediction and label.

    Parameters
    ----------
    layer : 'module:Class', or the class, which its module must have under its name.
    pred : (N, C, ...), the shape to check on; N of 2 or more tells the samples apart.
    label : by default (N, 1, ...), or pred's for ``label_kind='onehot'``.
    param_str : the layer's.
    input : what the layer expects: 'softmax' or 'sigmoid' probabilities, or 'raw' scores.
    label_kind : 'index' class numbers, 'onehot' or 'binary'; by default told from the shapes.

    Returns
    -------
    A Finding (verdict, value, message) for each of soft_dice.checker.findings.CAFFE_KEYS.

    Raises
    ------
    CannotRun : the layer cannot be found, or cannot be set up for these shapes.
    """
    return check_case(class_case(layer, pred, label, param_str, input, label_kind), seed)


def check_net(path: str, layer: Optional[str] = None, pred: Optional[Shape] = None,
              label: Optional[Shape] = None, input: Optional[str] = None,
              label_kind: Optional[str] = None, seed: int = 0) -> Findings:
    """As ``check_layer``, for a layer of the net in a prototxt: Caffe's own losses, too.

    ``layer`` is its name, which a net with one loss does not need.  What else is not given is
    taken from the net.
    """
    cases = net_cases(path, layer, pred, label, input, label_kind)
    if len(cases) > 1:
        raise CannotRun(f'{path} has several losses, name one of '
                        + ', '.join(case.name for case in cases))
    return check_case(cases[0], seed)


def assert_layer(layer: Union[type, str], *arguments: Any, allow: Iterable[str] = (),
                 **keywords: Any) -> None:
    """``check_layer`` in a test: AssertionError with the table of findings unless all are good.

    allow : keys of findings that may be bad, for a weakness one has decided to live with.
    """
    report.assert_good(check_layer(layer, *arguments, **keywords), _class_name(layer), allow)


def check_case(case: Case, seed: int = 0) -> Findings:
    with subject(case) as layer:
        return check_subject(layer, case, seed)


def subject(case: Case) -> LayerSubject:
    return LayerSubject(case.name, case.spec, case.example)


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
    return Finding('missing', found.value, 'The net gives this layer no loss_weight, so Caffe never '
                   'asks it for a gradient and nothing is learnt from it: add loss_weight: 1.  '
                   f'(Given one, it is {found.verdict}.)')


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


def class_case(layer: Union[type, str], pred: Shape, label: Optional[Shape] = None,
               param_str: str = '', input: str = 'raw', label_kind: Optional[str] = None,
               given: Optional[Given] = None) -> Case:
    """The case of a Python layer on its own.  Raises CannotRun for what makes no sense.

    given : as the user said ``input``.
    """
    name = _class_name(layer)
    module, _, class_name = name.partition(':')
    if not (module and class_name.isidentifier()):
        raise CannotRun(f'the layer must be module:Class, for example my_layers:DiceLoss; got '
                        f'{name}')
    if module == '__main__':
        raise CannotRun(f'Caffe imports a layer by its module; move {class_name} into a file')
    parameter = caffe_proto.python_layer(module, class_name, param_str)
    assumed = []
    shape = default_label(pred, label, label_kind or 'index')
    if label is None:
        assumed.append(f'the label has shape {shape}')
    if label_kind is None:
        label_kind = prototxt.label_kind(parameter, pred, shape)
        assumed.append(f'the label is {label_kind}')
    example = _example(pred, shape, input, label_kind)
    return Case(name, Spec(str(parameter), [pred, shape]), example, assumed,
                given or Given.of(input))


def net_cases(path: str, layer: Optional[str] = None, pred: Optional[Shape] = None,
              label: Optional[Shape] = None, input: Optional[str] = None,
              label_kind: Optional[str] = None) -> List[Case]:
    """The cases of a net's losses, or of the one named."""
    net = caffe_proto.read(path)
    losses = prototxt.choose(net, layer, path)
    shapes: Dict[str, Shape] = {}
    if pred is None or label is None or any(len(loss.layer.bottom) > 2 for loss in losses):
        shapes = _shapes(net, path, given=pred is not None and label is not None)
    return [_net_case(loss, shapes, pred, label, input, label_kind) for loss in losses]


def _shapes(net: Any, path: str, given: bool) -> Dict[str, Shape]:
    """The shapes in a net, which is loaded for that, with whatever data it reads."""
    try:
        with Session(NetReader, limit=120.0) as reader:
            return reader.call('shapes', str(net))
    except (Refused, Died) as error:
        if given:
            return {}
        raise CannotRun(f'{path} cannot be loaded here, so give the shapes with --pred and '
                        f'--label; Caffe says: {error}') from None


def _net_case(loss: prototxt.Loss, shapes: Dict[str, Shape], pred: Optional[Shape],
              label: Optional[Shape], input: Optional[str], label_kind: Optional[str]) -> Case:
    bottoms = list(loss.layer.bottom)
    assumed = [f'{bottoms[loss.pred]} is the prediction, {bottoms[loss.label]} the label']
    theirs = [shapes.get(bottoms[i], ()) for i in (loss.pred, loss.label)]
    ours = (pred or theirs[0], label or theirs[1])
    all_shapes = [shapes.get(bottom, ours[1]) for bottom in bottoms]
    all_shapes[loss.pred], all_shapes[loss.label] = ours
    if len(bottoms) > 2:
        assumed.append('other bottoms are ones: ' + ', '.join(
            bottom for i, bottom in enumerate(bottoms) if i not in (loss.pred, loss.label)))
    if label_kind is None:
        label_kind = prototxt.label_kind(loss.layer, *ours)
        assumed.append(f'the label is {label_kind}')
    given = loss.given if input is None else Given.of(input)
    if input is None:
        input = loss.input
        assumed.append(f'the prediction is {input}')
    spec = Spec(str(loss.layer), all_shapes, loss.pred, loss.label)
    case = Case(loss.layer.name or loss.layer.type, spec, _example(*ours, input, label_kind),
                assumed, given, loss.weighted)
    return case if pred or label else _smaller(case)


def _smaller(case: Case) -> Case:
    """Two samples of few pixels, where the layer takes them: what is wrong there is wrong."""
    pred, label = case.example.pred, case.example.label
    space = pred[2:]
    most = int(round(1024 ** (1 / max(len(space), 1))))
    small = tuple(min(size, most) for size in space)
    if (pred[0] == 2 and small == space) or pred[0] != label[0] \
            or label[len(label) - len(space):] != space:
        return case
    example = case.example.replace(
        pred=(2,) + pred[1:2] + small,
        label=(2,) + label[1:len(label) - len(space)] + small)
    try:
        with LayerSubject(case.name, case.spec, example, float64=False) as layer:
            layer.evaluate(*example.arrays())
    except (CannotRun, Refused, Died):  # the layer is made for one size
        return case
    return case._replace(example=example, assumed=case.assumed + [
        f'{example.pred} will do for the {pred} of the net'])


def _example(pred: Shape, label: Shape, input: str, label_kind: str) -> Example:
    """Raises CannotRun for shapes and kinds that do not go together."""
    for shape in (pred, label):
        if not shape or min(shape) < 1:
            raise CannotRun(f'a shape is numbers from 1 upwards, for example 2,4,9,8; got {shape}')
    if input not in INPUTS:
        raise CannotRun(f'input must be one of {", ".join(INPUTS)}; got {input}')
    if label_kind not in LABELS:
        raise CannotRun(f'label_kind must be one of {", ".join(LABELS)}; got {label_kind}')
    if len(pred) < 2:
        raise CannotRun(f'a prediction has at least the axes (N, C); got {pred}')
    space = pred[2:]
    fits = label[:1] == pred[:1] and label[max(len(label) - len(space), 1):] == space
    wanted = int(np.prod(pred)) // (pred[1] if label_kind == 'index' else 1)
    if not fits or int(np.prod(label)) != wanted:
        one = (pred[:1] + (1,) + space) if label_kind == 'index' else pred
        rule = 'one number per pixel' if label_kind == 'index' else 'one number per score'
        raise CannotRun(f'a label of kind {label_kind} has {rule}, for a prediction {pred} the '
                        f'shape {one}; got {label}')
    return Example(pred, label, input, label_kind)


def _class_name(layer: Union[type, str]) -> str:
    return layer if isinstance(layer, str) else f'{layer.__module__}:{layer.__qualname__}'
