"""What is checked: a layer, of a net or on its own, and the input that it is checked on."""
import os
from typing import Dict, List, NamedTuple, Optional, Tuple, Union

import numpy as np

from soft_dice.arrays import CannotRun
from soft_dice.checker.activation import Given
from soft_dice.checker.asked import Asked
from soft_dice.checker.feed import Feed, Further, moved_shape
from soft_dice.checker.subject import Died, Example, Refused, Shape

from .. import caffe_proto, prototxt
from .rig import NetReader, Spec
from .subject import LayerSubject
from .worker import Session


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


def class_case(layer: Union[type, str], asked: Asked, param_str: str = '',
               given: Optional[Given] = None) -> Case:
    """The case of a Python layer on its own.

    given : as the user said the input.

    Raises
    ------
    CannotRun : what makes no sense.
    """
    name = class_name(layer)
    module, _, attribute = name.partition(':')
    if not (module and attribute.isidentifier()):
        raise CannotRun(f'the layer must be module:Class, for example my_layers:DiceLoss; got '
                        f'{name}')
    if module == '__main__':
        raise CannotRun(f'Caffe imports a layer by its module; move {attribute} into a file')
    example, feed = _read(asked)
    assumed = []
    if asked.label is None:
        assumed.append(f'the label has shape {feed.shapes(example.pred, example.label)[1]}')
    if asked.label_kind is None:
        assumed.append(f'the label is {example.label_kind}')
    parameter = caffe_proto.python_layer(module, attribute, param_str)
    return Case(name, Spec(str(parameter), feed), example, assumed,
                given or Given.of(example.input))


def class_name(layer: Union[type, str]) -> str:
    return layer if isinstance(layer, str) else f'{layer.__module__}:{layer.__qualname__}'


def net_cases(path: str, layer: Optional[str], asked: Asked) -> List[Case]:
    """The cases of a net's losses, or of the one named.  Raises CannotRun."""
    reading = caffe_proto.read(path)
    losses = prototxt.choose(reading.net, layer, path)
    _refuse_foreign(losses, path)
    blobs = _Blobs()
    known = asked.pred is not None and asked.label is not None
    if not known or any(len(loss.layer.bottom) > 2 for loss in losses):
        blobs = _read_net(reading, path, losses, known)
    cases = [_net_case(loss, blobs, asked, os.path.dirname(path)) for loss in losses]
    for case, loss in zip(cases, losses):
        inside = [each for each in reading.unknown if each.layer is not None
                  and reading.net.layer[each.layer] == loss.layer]
        if inside:
            case.assumed.append('the loss is looked at as this Caffe has it, without '
                                + caffe_proto.listed(inside))
    return cases


def _refuse_foreign(losses: List[prototxt.Loss], path: str) -> None:
    """Raise CannotRun for a loss that this Caffe has not."""
    for loss in losses:
        if not caffe_proto.has_type(loss.layer):
            known = [each.layer.name for each in losses if caffe_proto.has_type(each.layer)]
            raise CannotRun(
                f'{loss.layer.name!r} of {path} is of type {loss.layer.type}, which this Caffe '
                "does not have: run this command with the Python of the fork that has it"
                + ''.join(f', or look at another loss with --layer {name}' for name in known[:1]))


class _Blobs(NamedTuple):
    """What a net has: every blob's shape, and the values of those that are further inputs."""

    shapes: Dict[str, Shape] = {}
    values: Dict[str, np.ndarray] = {}


def _read_net(reading: caffe_proto.Reading, path: str, losses: List[prototxt.Loss],
              known: bool) -> _Blobs:
    """From the net, which is loaded for that, with whatever data it reads.

    known : are the shapes of prediction and label?  Then the net need not load.
    """
    unknown = reading.unknown_in(prototxt.TRAIN)
    with Session(NetReader, os.path.dirname(path), limit=120.0) as reader:
        for loss in losses:  # without these no shapes would help
            reader.call('find', str(loss.layer))
        try:
            if unknown:
                raise CannotRun(caffe_proto.foreign(unknown))
            shapes = reader.call('shapes', reading.text)
            return _Blobs(shapes, _values(reader, losses))
        except (CannotRun, Refused, Died) as error:
            if known:
                return _Blobs()
            raise CannotRun(f'{path} cannot be loaded here: {error}.  What its loss needs of it '
                            'are the shapes, which --pred and --label give') from None


def _values(reader: Session, losses: List[prototxt.Loss]) -> Dict[str, np.ndarray]:
    """Of the bottoms after prediction and label, where the net has data for them."""
    found = {}
    for loss in losses:
        for i, blob in enumerate(loss.layer.bottom):
            if i in (loss.pred, loss.label):
                continue
            try:
                values = reader.call('values', blob)
            except (Refused, Died):  # the data, or a layer on the way, cannot be had here
                continue
            if np.isfinite(values).all() and values.any():
                found[blob] = values
    return found


def _net_case(loss: prototxt.Loss, blobs: _Blobs, asked: Asked, folder: str) -> Case:
    bottoms = list(loss.layer.bottom)
    assumed = [f'{bottoms[loss.pred]} is the prediction, {bottoms[loss.label]} the label']
    pred = asked.pred or blobs.shapes.get(bottoms[loss.pred], ())
    label = asked.label or blobs.shapes.get(bottoms[loss.label], ())
    kind = asked.label_kind or prototxt.label_kind(loss.layer, pred, label)
    example, feed = _read(asked._replace(pred=pred, label=label, label_kind=kind,
                                         input=asked.input or loss.input))
    further = [blob for i, blob in enumerate(bottoms) if i not in (loss.pred, loss.label)]
    if further:
        feed = feed._replace(further=tuple(
            Further(moved_shape(asked.pixel_weight or blobs.shapes.get(blob, label), feed.axis, 1,
                                len(pred)), example.pred, blobs.values.get(blob))
            for blob in further))
        assumed += [f'{blob} holds ' + ('what the net gives' if blob in blobs.values else
                                        'random numbers from 0.5 to 1.5') for blob in further]
    if asked.label_kind is None:
        assumed.append(f'the label is {example.label_kind}')
    given = loss.given if asked.input is None else Given.of(asked.input)
    if asked.input is None:
        assumed.append(f'the prediction is {example.input}')
    spec = Spec(str(loss.layer), feed, loss.pred, loss.label, folder)
    case = Case(loss.layer.name or loss.layer.type, spec, example, assumed, given, loss.weighted)
    return case if asked.pred or asked.label else _smaller(case)


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


def _read(asked: Asked) -> Tuple[Example, Feed]:
    try:
        return asked.read()
    except ValueError as error:
        raise CannotRun(str(error)) from None
