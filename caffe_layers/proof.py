"""Does a net work with a new loss in it?  Runs it once, in real Caffe, in a process of its own."""
import os
from typing import Any, List, NamedTuple, Optional, Tuple

import numpy as np

from soft_dice.arrays import CannotRun
from soft_dice.checker.feed import Feed, Further
from soft_dice.checker.subject import Died, Example, Hung, Refused, Shape

from . import caffe_proto, params, prototxt
from .checker.rig import NetTrial, Pass, Spec
from .checker.subject import LayerSubject
from .checker.worker import Session

LIMIT = 600.0  # seconds to load a net, or for one pass through it: VGG on a CPU takes its time


class Proof(NamedTuple):
    """holds : was the loss seen to work in the net, its gradient finite and not 0?"""

    holds: bool
    sentence: str


def prove(text: str, new_text: str, name: str, phase: int, path: str,
          shape: Optional[Shape] = None) -> Proof:
    """Run the net, or, where Caffe could not load it before either, the new layer by itself.

    text, new_text : the net without and with the layer ``name``.
    path : how the net is called.
    shape : of the prediction, for the layer by itself.

    Raises
    ------
    CannotRun : the net with the layer is worse than that without.
    """
    new = caffe_proto.read_net(new_text, path)
    layers = [layer for layer in new.net.layer if prototxt.in_phase(layer, phase)]
    layer = [each for each in layers if each.name == name][-1]
    unknown = new.unknown_in(phase)
    if unknown:
        return _without_net(layer, layers, shape, path, 'Not proved in the net: '
                            + caffe_proto.foreign(unknown))
    with Session(NetTrial, os.path.dirname(path), limit=LIMIT) as trial:
        try:
            trial.call('load', new.text, phase)
        except (CannotRun, Refused, Died) as error:
            old = caffe_proto.read_net(text, path)
            reason = _before(old.text, phase, path, str(error))
            return _without_net(layer, layers, shape, path, 'Not proved in the net, which Caffe '
                                f'could not load here before either: {reason}')
        try:
            seen = trial.call('run', name, list(layer.bottom), [
                prototxt.source(layer, blob, layers) for blob in layer.bottom])
        except Hung as error:
            return Proof(False, f'Not proved: Caffe loads the net, but one pass {error}.')
        except (Refused, Died) as error:
            raise CannotRun(f'nothing was written: the net with the loss cannot run: {error}'
                            ) from None
    if seen is None:
        return Proof(False, f'Not proved: the rules of {name!r} keep it out of the net as Caffe '
                     'loads it without level and stage.')
    return _in_net(seen, layer, path)


def _before(text: str, phase: int, path: str, reason: str) -> str:
    """Why the net could not be loaded without the layer.  Raises CannotRun where it could."""
    with Session(NetTrial, os.path.dirname(path), limit=LIMIT) as trial:
        try:
            trial.call('load', text, phase)
        except (CannotRun, Refused, Died) as error:
            return str(error)
    raise CannotRun(f'nothing was written: Caffe cannot load the net with the loss: {reason}')


def _in_net(seen: Pass, layer: Any, path: str) -> Proof:
    works, words = _verdict(seen.loss, seen.gradient, layer)
    start = 'Caffe loads the net; ' + ('on random input ' if seen.invented else '')
    if not works and not seen.learns and np.isfinite(seen.loss).all():
        # in the net Caffe asked for no gradient
        works, words = _by_itself(layer, seen.shapes, path)
        start = 'Caffe loads and runs the net, in which nothing learns; of the layer by itself '
    return Proof(works, ('Proved: ' if works else 'Not proved: ') + start + words)


def _without_net(layer: Any, layers: List[Any], shape: Optional[Shape], path: str, start: str
                 ) -> Proof:
    blob = layer.bottom[0]
    channels = prototxt.channels_of(layer, blob, layers)
    if shape is None and channels is None:
        return Proof(False, f'{start}.  How many classes {blob} has is not said in it, so the '
                     'layer was not run by itself: give the shape of the prediction, for example '
                     '--shape 2,21,9,8.')
    pred = shape or (2, channels or 0, 5, 6)
    if shape is not None and channels not in (None, *shape[1:2]):
        raise CannotRun(f'nothing was written: {blob} has {channels} channels, but --shape is '
                        f'{pred}')
    one = pred[:1] + (1,) + pred[2:]
    options = params.of_layer(layer).dice
    shapes: List[Shape] = [pred, one if options.sparse_label else pred, one]
    _, words = _by_itself(layer, shapes[:len(layer.bottom)], path)
    hint = '' if shape else '  --shape gives it another shape.'
    return Proof(False, f'{start}.  Of the layer by itself, on {pred}, {words}{hint}')


def _by_itself(layer: Any, shapes: List[Shape], path: str) -> Tuple[bool, str]:
    """The verdict on a layer without its net; raises CannotRun where it does not run."""
    options = params.of_layer(layer).dice
    pred = shapes[0]
    example = Example(pred, shapes[1], label_kind=prototxt.label_kind(layer, *shapes[:2]),
                      input='softmax' if options.activation == 'none' else 'raw')
    spec = Spec(str(layer), Feed(further=tuple(Further(each, pred) for each in shapes[2:])),
                folder=os.path.dirname(path))
    try:
        with LayerSubject(layer.name, spec, example, float64=False) as subject:
            seen = subject.evaluate(*example.arrays(), upstream=layer.loss_weight[0])
    except (CannotRun, Refused, Died) as error:
        raise CannotRun(f'nothing was written: {error}') from None
    return _verdict(seen.value, seen.gradient, layer)


def _verdict(loss: np.ndarray, gradient: np.ndarray, layer: Any) -> Tuple[bool, str]:
    """Does the layer work, and in words."""
    value, of = f'the loss is {float(loss.sum()):.6g}', f'the gradient of {layer.bottom[0]}'
    if not (np.isfinite(loss).all() and np.isfinite(gradient).all()):
        return False, f'{value} and {of} not finite.'
    if gradient.any():
        return True, f'{value}, {of} finite, of norm {float(np.linalg.norm(gradient)):.3g}.'
    if not any(layer.loss_weight):
        return True, f'{value}; with loss_weight 0 nothing is learnt from it.'
    return False, f'{value}, but {of} is 0: nothing below it learns, or no pixel counts.'
