"""What the command line of ``add`` asks for."""
import argparse
import ast
import json
import math
from typing import Any, Dict, NamedTuple, Optional, Tuple

import numpy as np

from soft_dice.arrays import CannotRun
from soft_dice.checker.command import shape
from soft_dice.checker.subject import Shape
from soft_dice.param_str import parse_param_str

from . import files

# The class of our layer for each --loss.
LAYERS = {'dice': 'SoftDiceLossLayer', 'dice_ce': 'DiceCELossLayer'}


class Request(NamedTuple):
    """What the user asked for; None is what was left out.

    path : of the net.
    target : the file to write; ``path`` itself where ``in_place``.
    pred, label, weights : blobs.
    class_name : of our layer.
    options : its options by name, also "preset".
    replace : name of the layer to replace.
    beside : replace nothing.
    name, loss_weight : of our layer.
    shape : of the prediction, for the proof of a layer whose net cannot be loaded.
    module : that our layer is in.
    """

    path: str
    target: str
    in_place: bool
    pred: Optional[str]
    label: Optional[str]
    weights: Optional[str]
    class_name: str
    options: Dict[str, Any]
    replace: Optional[str]
    beside: bool
    name: Optional[str]
    loss_weight: Optional[float]
    shape: Optional[Shape] = None
    module: str = 'caffe_layers'


def read(arguments: argparse.Namespace) -> Request:
    """Raises CannotRun where arguments contradict each other, or the target cannot be written."""
    target = files.target(arguments.net, arguments.output, arguments.in_place, arguments.force)
    return Request(arguments.net, target, arguments.in_place, arguments.pred, arguments.label,
                   arguments.weights, LAYERS[arguments.loss], _options(arguments),
                   arguments.replace, arguments.beside, arguments.name, arguments.loss_weight,
                   arguments.shape, arguments.module)


def _options(arguments: argparse.Namespace) -> Dict[str, Any]:
    """--param-str, --preset and every --option as one dict."""
    try:
        options = parse_param_str(arguments.param_str)
    except ValueError as error:
        raise CannotRun(f'--param-str: {error}') from None
    more = [('preset', arguments.preset)] if arguments.preset is not None else []
    for name, value in more + [_option(text) for text in arguments.option]:
        if name in options:
            raise CannotRun(f'the option {name} is given twice')
        options[name] = value
    return options


def _option(text: str) -> Tuple[str, Any]:
    """name=value, where the value is JSON, a Python literal, or else a string."""
    name, equals, value = text.partition('=')
    if not (name.strip() and equals):
        raise CannotRun(f'--option must be NAME=VALUE, for example ignore_label=255; got {text!r}')
    for parse in (json.loads, ast.literal_eval):
        try:
            return name.strip(), parse(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            pass
    return name.strip(), value.strip()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those that :func:`read` reads."""
    parser.add_argument('net', metavar='NET.prototxt', help='a train prototxt')
    parser.add_argument('--bottom', dest='pred', metavar='BLOB',
                        help="the prediction; by default that of the SoftmaxWithLoss or "
                        'SigmoidCrossEntropyLoss that is replaced')
    parser.add_argument('--label', metavar='BLOB', help='by default likewise')
    parser.add_argument('--weights', metavar='BLOB', help='pixel weights; by default none')
    parser.add_argument('--loss', choices=LAYERS, default='dice',
                        help='the Dice alone (default), or with a cross-entropy')
    parser.add_argument('--option', metavar='NAME=VALUE', action='append', default=[],
                        help='of the loss, for example ignore_label=255; may be repeated')
    parser.add_argument('--param-str', metavar='S', default='', help='options as JSON')
    parser.add_argument('--preset', metavar='P', help='a published loss, for example monai')
    parser.add_argument('--loss-weight', metavar='W', type=_finite,
                        help="by default that of the loss that is replaced, or 1")
    parser.add_argument('--replace', metavar='NAME',
                        help='the loss to replace, where there are several or it is of another '
                        "kind: your own Python layer, EuclideanLoss, a fork's")
    parser.add_argument('--beside', action='store_true', help='add it and replace nothing')
    parser.add_argument('--name', metavar='NAME',
                        help="of the layer; by default that of the one it replaces")
    parser.add_argument('--shape', metavar='N,C,...', type=shape,
                        help='of the prediction, for example 2,21,9,8: where Caffe cannot load the '
                        'net here, the layer is proved on it by itself')
    parser.add_argument('--module', metavar='M', type=_module, default='caffe_layers',
                        help='that the layer is in: soft_dice_layer, for a Caffe that has the one '
                        'file of `bundle`; default caffe_layers')
    parser.add_argument('--output', metavar='FILE', help='by default NET_dice.prototxt')
    parser.add_argument('--force', action='store_true', help='overwrite the output')
    parser.add_argument('--in-place', action='store_true',
                        help='rewrite the net, and keep what it was as NET.prototxt.bak')


def _module(text: str) -> str:
    if not all(word.isidentifier() for word in text.split('.')):
        raise argparse.ArgumentTypeError('a module is written as Python imports it, for example '
                                         f'soft_dice_layer; got {text!r}')
    return text


def _finite(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) <= np.finfo(np.float32).max:
        raise argparse.ArgumentTypeError(f'a loss_weight is a finite number, for example 0.5; '
                                         f'got {text!r}')
    return number
