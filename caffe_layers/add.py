"""python -m caffe_layers add: puts the loss into a train prototxt, and proves it in Caffe."""
import argparse
import ast
import difflib
import json
import math
import os
import sys
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

import numpy as np
from caffe.proto import caffe_pb2

from soft_dice.arrays import CannotRun
from soft_dice.checker.report import GREEN, PLAIN, RED, replacing
from soft_dice.options import parse_param_str

from . import edit, params, prototxt
from .proof import prove

LOSSES = {'dice': 'SoftDiceLossLayer', 'dice_ce': 'DiceCELossLayer'}


class Site(NamedTuple):
    """Where the loss goes.

    at : index in net.layer of the SoftmaxWithLoss that it replaces or stands beside; None: the end.
    phase : of the net that it is looked at in.
    """

    at: Optional[int]
    pred: str
    label: str
    phase: int = caffe_pb2.TRAIN

    def layer(self, net: Any) -> Any:
        """The SoftmaxWithLoss; an empty layer where there is none."""
        return caffe_pb2.LayerParameter() if self.at is None else net.layer[self.at]

    def above(self, net: Any) -> List[Any]:
        """The layers of the phase before it."""
        return [layer for layer in net.layer[:self.at] if prototxt.in_phase(layer, self.phase)]


def add(arguments: argparse.Namespace) -> int:
    """Write a copy of a train prototxt with our loss layer in place of (or beside) its
    SoftmaxWithLoss, show the difference, and run the result in Caffe once to prove it: forward,
    backward, is the gradient finite and not zero?  Only the lines of that layer change; its name,
    top, rules, loss_weight and ignore_label are kept.  Exit status 0: written and proved, or the
    layer was there already; 1: written, but not proved, which is said; 2: nothing was written.
    """
    path = arguments.net
    text = prototxt.read_text(path)
    net = prototxt.parse_net(text, path)
    target = _target(arguments)
    given = _given_options(arguments)
    site = _site(net, arguments)
    there = _ours(net, site) if site else _ours_named(net, arguments)
    if there:
        return _already(path, there, LOSSES[arguments.loss], given)
    assert site is not None
    notes: List[str] = []
    layer = _layer(net, site, arguments, _carried(net, site, given, notes))
    new_text = _edited(text, net, site, layer, arguments.beside, path)
    for note in [_what_happens(net, site, layer, arguments.beside), *notes]:
        _say(note)
    _show_difference(text, new_text, path, target)
    proof = prove(text, new_text, layer.name, site.phase, path)
    _write(arguments, text, new_text, target)
    _say(proof.sentence)
    return 0 if proof.holds else 1


# --- what was asked for --------------------------------------------------------------------------

def _target(arguments: argparse.Namespace) -> str:
    """The file to write.  Raises CannotRun where it must not, or cannot, be written."""
    if arguments.in_place:
        if arguments.output or arguments.force:
            raise CannotRun('--in-place writes the net itself: give no --output or --force with it')
        return arguments.net
    root, extension = os.path.splitext(arguments.net)
    target = arguments.output or f'{root}_dice{extension}'
    if os.path.exists(target) and os.path.samefile(target, arguments.net):
        raise CannotRun(f'{target} is the net itself; --in-place rewrites it and keeps a backup')
    if os.path.exists(target) and not arguments.force:
        raise CannotRun(f'{target} exists; name another with --output, or overwrite it with '
                        '--force')
    if not os.path.isdir(os.path.dirname(os.path.abspath(target))):
        raise CannotRun(f'there is no folder for {target}')
    return target


def _given_options(arguments: argparse.Namespace) -> Dict[str, Any]:
    """--param-str, --preset and every --option as one dict."""
    try:
        fields = parse_param_str(arguments.param_str)
    except ValueError as error:
        raise CannotRun(f'--param-str: {error}') from None
    more = [('preset', arguments.preset)] if arguments.preset is not None else []
    for name, value in more + [_option(text) for text in arguments.option]:
        if name in fields:
            raise CannotRun(f'the option {name} is given twice')
        fields[name] = value
    return fields


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


def _param_str(fields: Dict[str, Any], class_name: str) -> str:
    try:
        return params.write(fields, params.LOSSES[class_name])
    except (TypeError, ValueError) as error:
        raise CannotRun(str(error)) from None


# --- where it goes -------------------------------------------------------------------------------

def _site(net: Any, arguments: argparse.Namespace) -> Optional[Site]:
    """The one place that the arguments leave; None where there is none but a layer of ours."""
    index = _found(net, arguments) if arguments.replace is None else _named(net, arguments)
    if index is None:
        return None if _ours_named(net, arguments) else _at_the_end(net, arguments)
    layer = net.layer[index]
    _refuse_shape(layer)
    return Site(index, arguments.pred or layer.bottom[0], arguments.label or layer.bottom[1],
                caffe_pb2.TRAIN if prototxt.in_training(layer) else caffe_pb2.TEST)


def _named(net: Any, arguments: argparse.Namespace) -> Optional[int]:
    """The layer of --replace; None where it is ours already."""
    name = arguments.replace
    if arguments.beside:
        raise CannotRun('give --replace or --beside, not both; --bottom and --label say beside '
                        'which SoftmaxWithLoss')
    found = [i for i, layer in enumerate(net.layer) if layer.name == name]
    if not found:
        raise CannotRun(f'{arguments.net} has no layer {name!r}; its layers are '
                        f'{prototxt.names(net.layer)}')
    index = ([i for i in found if prototxt.in_training(net.layer[i])] or found)[0]
    layer = net.layer[index]
    if _is_ours(layer):
        return None
    if layer.type != 'SoftmaxWithLoss':
        raise CannotRun(f'{name!r} is of type {layer.type}; --replace takes a SoftmaxWithLoss, and '
                        '--beside with --bottom and --label adds a loss to any net')
    return index


def _found(net: Any, arguments: argparse.Namespace) -> Optional[int]:
    """The SoftmaxWithLoss of these bottoms; None where there is none, and none is needed."""
    path, wanted = arguments.net, [arguments.pred, arguments.label]
    there = [i for i, layer in enumerate(net.layer)
             if layer.type == 'SoftmaxWithLoss' and prototxt.in_training(layer)]
    found = [i for i in there if all(
        name in (None, bottom) for name, bottom in zip(wanted, net.layer[i].bottom))]
    if len({tuple(net.layer[i].bottom) for i in found}) == 1 \
            and (len(found) == 1 or arguments.beside):
        return found[0]
    shown = ', '.join(_described(net.layer[i]) for i in there)
    if found:
        raise CannotRun(f'{path} has several SoftmaxWithLoss: {shown}; choose with --replace NAME, '
                        'or --bottom BLOB')
    if there and not (arguments.beside and all(wanted)):
        if _ours_named(net, arguments):
            return None
        raise CannotRun(f'{path} has no SoftmaxWithLoss of '
                        f'{", ".join(name for name in wanted if name)}; it has {shown}; '
                        '--replace NAME takes one whatever its bottoms, --beside with --bottom and '
                        '--label adds a loss to what is there')
    return None


def _at_the_end(net: Any, arguments: argparse.Namespace) -> Site:
    path = arguments.net
    if not (arguments.pred and arguments.label):
        raise CannotRun(f'{path} has no SoftmaxWithLoss in its TRAIN net; to add the loss all the '
                        'same, name prediction and label with --bottom and --label')
    return Site(None, arguments.pred, arguments.label)


def _refuse_shape(layer: Any) -> None:
    """Raise CannotRun for a SoftmaxWithLoss that our layer cannot stand for."""
    if len(layer.bottom) != 2:
        raise CannotRun(f'{layer.name!r} has {len(layer.bottom)} bottoms; SoftmaxWithLoss takes a '
                        'prediction and a label')
    if layer.softmax_param.axis != 1:
        raise CannotRun(f'{layer.name!r} has its classes on axis {layer.softmax_param.axis}; our '
                        'layer takes them on axis 1')


def _is_ours(layer: Any) -> bool:
    python = layer.python_param
    return (layer.type == 'Python' and python.layer in params.LOSSES
            and python.module.split('.')[0] == 'caffe_layers')


def _ours(net: Any, site: Site) -> Any:
    """Our layer on these blobs ('' is any), or None."""
    for layer in net.layer:
        if _is_ours(layer) and prototxt.in_phase(layer, site.phase) and all(
                name in ('', bottom) for name, bottom in zip(site[1:3], layer.bottom)):
            return layer
    return None


def _ours_named(net: Any, arguments: argparse.Namespace) -> Any:
    """Our layer of the name or the blobs that were given, or None."""
    if arguments.replace is None:
        return _ours(net, Site(None, arguments.pred or '', arguments.label or ''))
    named = [layer for layer in net.layer if layer.name == arguments.replace]
    return next(layer for layer in named if _is_ours(layer))


def _already(path: str, layer: Any, class_name: str, given: Dict[str, Any]) -> int:
    """Says that the layer is there.  Raises CannotRun where it is another than was asked for."""
    if layer.python_param.layer != class_name:
        raise CannotRun(f'{path} has another loss of ours already, {_described(layer)}, of class '
                        f'{layer.python_param.layer}: change that to {class_name}')
    try:
        theirs = params.of_layer(layer)
    except (TypeError, ValueError) as error:
        raise CannotRun(f'{path} has the loss already, {_described(layer)}, but its param_str is '
                        f'wrong: {error}') from None
    start = theirs.to_dict()
    if 'preset' in given:  # which says nothing of what was carried over
        start = {name: start[name] for name in ('ignore_label', 'activation')}
    asked = _param_str({**start, **given}, class_name)
    if params.read(asked, type(theirs)) != theirs:
        raise CannotRun(f'{path} has the loss already, {_described(layer)}, with other options: '
                        f'change its param_str, {layer.python_param.param_str or "which is empty"}')
    _say(f'{path} has the loss already, {_described(layer)}: nothing to do.')
    return 0


# --- what the layer is ---------------------------------------------------------------------------

def _carried(net: Any, site: Site, given: Dict[str, Any], notes: List[str]) -> Dict[str, Any]:
    """The options, with what the net says of them; ``notes`` gets a sentence on each."""
    fields = dict(given)
    old = site.layer(net)
    if old.loss_param.HasField('ignore_label'):
        theirs = old.loss_param.ignore_label
        ours = fields.setdefault('ignore_label', theirs)
        notes.append(f'ignore_label {theirs} is carried over.' if ours == theirs
                     else f'ignore_label was {theirs}, and is {ours} now.')
    made_by = prototxt.activation_of(old, site.pred, site.above(net))
    if made_by != 'raw' and fields.setdefault('activation', 'none') == 'none':
        notes.append(f"{site.pred} is the output of a {made_by} layer, so activation is 'none'.")
    elif made_by != 'raw':
        notes.append(f'Warning: {site.pred} is the output of a {made_by} layer already, and '
                     f'activation {fields["activation"]!r} comes on top.')
    if _sums_pixels(old.loss_param):
        notes.append(f'{old.name!r} sums over pixels, and Dice is a share of them: a loss_weight '
                     'or learning rate made for the one does not suit the other.')
    return fields


def _sums_pixels(loss_param: Any) -> bool:
    """Is a SoftmaxWithLoss of these a sum over pixels, not a mean?"""
    if loss_param.HasField('normalization'):
        mode = loss_param.normalization
        return mode in (caffe_pb2.LossParameter.BATCH_SIZE, caffe_pb2.LossParameter.NONE)
    return loss_param.HasField('normalize') and not loss_param.normalize


def _layer(net: Any, site: Site, arguments: argparse.Namespace, fields: Dict[str, Any]
           ) -> edit.Layer:
    """What is to be written.  Raises CannotRun for names that clash, or lead nowhere."""
    class_name = LOSSES[arguments.loss]
    bottoms = [site.pred, site.label] + ([arguments.weights] if arguments.weights else [])
    _check_bottoms(net, site, bottoms)
    old = site.layer(net)
    replaces = site.at is not None and not arguments.beside
    names = {layer.name for layer in net.layer if not (replaces and layer.name == old.name)}
    if arguments.name in names:
        raise CannotRun(f'there is a layer {arguments.name!r} already')
    if replaces and len(old.top) > 1:
        raise CannotRun(f'{old.name!r} has a second top, the probabilities {old.top[1]!r}, which '
                        'our layer does not give: make them with a Softmax layer, or leave the '
                        'loss where it is with --beside')
    usual = old.name if replaces or not old.name else f'{old.name}_dice'
    name = arguments.name or _unused(usual or 'loss', names)
    top = None if replaces and old.top else _unused(name, _blobs(net.layer, net))
    weight = arguments.loss_weight
    if weight is None and not replaces and old.loss_weight:
        weight = old.loss_weight[0]
    down = [] if len(bottoms) == 2 else [str(each).lower() for each in old.propagate_down]
    if down:  # Caffe wants none, or one for each bottom
        down.append('false')
    return edit.Layer(name, bottoms, top, None if weight is None else _float32(weight),
                      class_name, _param_str(fields, class_name), down)


def _float32(number: float) -> str:
    """As few digits as tell it from every other float32, which is what Caffe reads."""
    text = str(np.float32(number))
    return text[:-2] if text.endswith('.0') else text


def _check_bottoms(net: Any, site: Site, bottoms: List[str]) -> None:
    there = _blobs(site.above(net), net)
    for bottom in bottoms:
        if bottom not in there:
            where = 'in the net' if site.at is None else 'above the loss'
            close = difflib.get_close_matches(bottom, there, n=1)
            raise CannotRun(f'there is no blob {bottom!r} {where}'
                            + ''.join(f'; did you mean {each!r}?' for each in close))


def _blobs(layers: Any, net: Any) -> Set[str]:
    """The blobs that these layers make, and the net's inputs in the older way of writing them."""
    return {name for layer in layers for name in layer.top} | set(net.input)


def _unused(name: str, used: Any) -> str:
    """``name``, or with the first number that makes it unique."""
    numbered = (f'{name}{number}' for number in range(2, len(used) + 3))
    return name if name not in used else next(each for each in numbered if each not in used)


def _edited(text: str, net: Any, site: Site, layer: edit.Layer, beside: bool, path: str) -> str:
    """The new text.  Raises CannotRun where it would change anything else."""
    blocks = edit.layers(text)
    if len(blocks) != len(net.layer):
        raise CannotRun(f'{path} writes layers as a list, "layer: [...]": give each its own '
                        '"layer {...}"')
    if site.at is None:
        new_text, place = edit.append(text, layer), len(net.layer)
    elif beside:
        new_text, place = edit.beside(text, blocks[site.at], layer), site.at + 1
    else:
        new_text, place = edit.replace(text, blocks[site.at], layer), site.at
    new = prototxt.parse_net(new_text, path)
    made = new.layer[place]
    del new.layer[place]
    old = caffe_pb2.NetParameter()
    old.CopyFrom(net)
    if site.at is not None and not beside:
        del old.layer[site.at]
    same = (made.name, list(made.bottom), made.python_param.param_str) == \
        (layer.name, list(layer.bottoms), layer.param_str)
    if new.SerializeToString() != old.SerializeToString() or not same:  # == fails at a NaN
        raise CannotRun(f'{path} is written in a way that this command cannot edit without '
                        'changing more than the loss')
    return new_text


# --- what is shown -------------------------------------------------------------------------------

def _described(layer: Any) -> str:
    return f'{layer.name!r} ({", ".join(layer.bottom)})'


def _what_happens(net: Any, site: Site, layer: edit.Layer, beside: bool) -> str:
    blobs = ', '.join(layer.bottoms)
    if site.at is None:
        return f'{layer.name!r} is added at the end: {layer.class_name} of {blobs}.'
    old = net.layer[site.at]
    if beside:
        return f'{layer.name!r} is added beside {_described(old)}: {layer.class_name} of {blobs}.'
    rest = [_described(each) for i, each in enumerate(net.layer)
            if each.type == 'SoftmaxWithLoss' and i != site.at]
    return (f'{old.name!r}, SoftmaxWithLoss, becomes {layer.class_name} of {blobs}.'
            + (f'  SoftmaxWithLoss stays {", ".join(rest)}.' if rest else ''))


def _show_difference(text: str, new_text: str, path: str, target: str) -> None:
    paint = sys.stdout.isatty()
    for line in _difference(text, new_text, path, target):
        code = {'+': GREEN, '-': RED}.get(line[:1], '') if paint else ''
        _say(code + line + PLAIN if code else line)


def _difference(text: str, new_text: str, path: str, target: str) -> Iterator[str]:
    """A unified diff; the lines end as those of the terminal do."""
    old, new = ([line + '\n' for line in each.split('\n')] for each in (text, new_text))
    for lines in (old, new):
        lines[-1] = lines[-1][:-1]  # no line end at the end, or an empty line too many
        if not lines[-1]:
            lines.pop()
    for line in difflib.unified_diff(old, new, path, target):
        yield line.rstrip('\r\n')
        if not line.endswith('\n'):
            yield '\\ No newline at end of file'


def _say(line: str) -> None:
    """Print what may hold characters that the terminal has not.  A reader that has seen enough does
    not keep the net from being written.
    """
    encoding = sys.stdout.encoding or 'ascii'
    try:
        print(line.encode(encoding, 'backslashreplace').decode(encoding), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# --- the file ------------------------------------------------------------------------------------

def _write(arguments: argparse.Namespace, text: str, new_text: str, target: str) -> None:
    data = new_text.encode('utf-8', 'surrogateescape')
    if not arguments.in_place:
        with replacing(target) as file:
            file.write(data)
        _say(f'Written: {target}')
        return
    backup = _backup(target, text.encode('utf-8', 'surrogateescape'))
    real = os.path.realpath(target)  # else a link would become a file
    mode = os.stat(real).st_mode
    try:
        with replacing(real) as file:
            file.write(data)
        os.chmod(real, mode)
    except CannotRun:
        os.unlink(backup)
        raise
    _say(f'Written: {target}; what it was is in {backup}')


def _backup(path: str, data: bytes) -> str:
    """Write PATH.bak, or PATH.bak2 and so on: never over another."""
    number = 1
    while True:
        backup = f'{path}.bak{number if number > 1 else ""}'
        try:
            with open(backup, 'xb') as file:
                file.write(data)
            return backup
        except FileExistsError:
            number += 1
        except OSError as error:
            raise CannotRun(f'{backup} cannot be written: {error.strerror}') from None


def add_command(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    each = commands.add_parser('add', help='put the loss into a train prototxt, and prove it',
                               description=add.__doc__)
    each.add_argument('net', metavar='NET.prototxt', help='a train prototxt')
    each.add_argument('--bottom', dest='pred', metavar='BLOB',
                      help="the prediction; by default the SoftmaxWithLoss's")
    each.add_argument('--label', metavar='BLOB', help='by default likewise')
    each.add_argument('--weights', metavar='BLOB', help='pixel weights; by default none')
    each.add_argument('--loss', choices=LOSSES, default='dice',
                      help='the Dice alone (default), or with a cross-entropy')
    each.add_argument('--option', metavar='NAME=VALUE', action='append', default=[],
                      help='of the loss, for example ignore_label=255; may be repeated')
    each.add_argument('--param-str', metavar='S', default='', help='options as JSON')
    each.add_argument('--preset', metavar='P', help='a published loss, for example monai')
    each.add_argument('--loss-weight', metavar='W', type=_finite,
                      help="by default the SoftmaxWithLoss's, or 1")
    each.add_argument('--replace', metavar='NAME',
                      help='the SoftmaxWithLoss to replace, where there are several')
    each.add_argument('--beside', action='store_true', help='add it and replace nothing')
    each.add_argument('--name', metavar='NAME',
                      help="of the layer; by default that of the one it replaces")
    each.add_argument('--output', metavar='FILE', help='by default NET_dice.prototxt')
    each.add_argument('--force', action='store_true', help='overwrite the output')
    each.add_argument('--in-place', action='store_true',
                      help='rewrite the net, and keep what it was as NET.prototxt.bak')
    each.set_defaults(run=add)


def _finite(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) <= np.finfo(np.float32).max:
        raise argparse.ArgumentTypeError(f'a loss_weight is a finite number, for example 0.5; '
                                         f'got {text!r}')
    return number
