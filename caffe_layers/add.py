"""python -m caffe_layers add: puts the loss into a train prototxt, and proves it in Caffe.

In order: ``request`` reads the command line, ``place`` finds where the loss goes, ``new_layer``
says what is to stand there, ``edit`` writes it into the text, ``proof`` runs the net, ``files``
writes it.
"""
import argparse
from typing import Any

from soft_dice.arrays import CannotRun

from . import (edit, files, framework, new_layer, old_format, params, place, prototxt, reader,
               request)
from .show import say, show_difference, what_happens

NO_CAFFE = framework.why_not()
if not NO_CAFFE:
    from . import caffe_proto
    from .proof import prove


def add(arguments: argparse.Namespace) -> int:
    """Write a copy of a train prototxt with our loss layer in place of (or beside) its loss, show
    the difference, and run the result in Caffe once to prove it: forward, backward, is the gradient
    finite and not zero?  Only the lines of that layer change; its name, top, rules, loss_weight and
    ignore_label are kept, and what else it had and our layer has not is named.  A net of a fork of
    Caffe is edited, too, and the layer proved beside it; one in the old format, "layers {", is
    converted first.  Without Caffe the result is not proved.
    Exit status 0: written and proved, or the layer was there already; 1: written, but not proved,
    which is said; 2: nothing was written.
    """
    path = arguments.net
    written, text = old_format.read_text(path)
    net = reader.read(text, path)
    unknown = [] if NO_CAFFE else caffe_proto.read_net(text, path).unknown
    asked = request.read(arguments)
    try:
        site = place.find(net, asked)
    except CannotRun as error:
        if prototxt.losses(net) or not unknown:
            raise
        raise CannotRun(f'{error}.  This Caffe does not know {caffe_proto.listed(unknown)}'
                        ) from None
    if site.ours is not None:
        _check_same(site.ours, asked)
        say(f'{path} has the loss already, {prototxt.described(site.ours)}: nothing to do.')
        return 0
    if text != written:
        say(f'{path} is in the old format: {old_format.TOOL} has converted it, without its '
            'comments.')
    layer, notes = new_layer.make(net, site, asked, text)
    new_text = edit.put(text, net, layer, site.at, site.replaces, path)
    for note in [what_happens(net, site, layer), *notes]:
        say(note)
    show_difference(text, new_text, path, asked.target)
    proof = None if NO_CAFFE else prove(
        text, new_text, layer.name, site.phase, path, asked.shape)
    say(files.rewrite(path, written, new_text) if asked.in_place
        else files.write(asked.target, new_text))
    say(proof.sentence if proof else f'Not proved: {NO_CAFFE}.  There, `python -m caffe_layers '
        f'check {asked.target}` proves it.')
    return 0 if proof and proof.holds else 1


def _check_same(ours: Any, asked: request.Request) -> None:
    """Raise CannotRun where the layer in the net is another than was asked for."""
    path, shown = asked.path, prototxt.described(ours)
    if ours.python_param.module != asked.module and asked.module != 'caffe_layers':
        raise CannotRun(f'{path} has the loss already, {shown}, of module '
                        f'{ours.python_param.module}: change that to {asked.module}')
    if ours.python_param.layer != asked.class_name:
        raise CannotRun(f'{path} has another loss of ours already, {shown}, of class '
                        f'{ours.python_param.layer}: change that to {asked.class_name}')
    try:
        theirs = params.of_layer(ours)
    except (TypeError, ValueError) as error:
        raise CannotRun(f'{path} has the loss already, {shown}, but its param_str is '
                        f'wrong: {error}') from None
    start = theirs.to_dict()
    if 'preset' in asked.options:  # which says nothing of what was carried over
        start = {name: start[name] for name in ('ignore_label', 'activation')}
    wanted = new_layer.param_str({**start, **asked.options}, asked.class_name)
    if params.read(wanted, type(theirs)) != theirs:
        raise CannotRun(f'{path} has the loss already, {shown}, with other options: '
                        f'change its param_str, {ours.python_param.param_str or "which is empty"}')


def add_command(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    each = commands.add_parser('add', help='put the loss into a train prototxt, and prove it',
                               description=add.__doc__)
    request.add_arguments(each)
    each.set_defaults(run=add)
