"""What our new layer is to say, from the request and from the loss that it goes to."""
import difflib
from typing import Any, Dict, List, Optional, Set, Tuple

import numpy as np

from soft_dice.arrays import CannotRun
from soft_dice.options import Options
from soft_dice.plan import resolve

from . import carried, params, prototxt
from .edit import Layer
from .place import Site
from .request import Request


def make(net: Any, site: Site, asked: Request, net_text: str) -> Tuple[Layer, List[str]]:
    """The layer, and a sentence for the user on each thing that the net says of its options.

    net_text : the net as it is written.

    Raises
    ------
    CannotRun : names that clash or lead nowhere, options that are wrong.
    """
    options, notes = carried.options(net, site, asked.options, asked.class_name, net_text)
    if site.dice is not None:
        notes.append(f'{site.label} has a Dice already, {prototxt.described(site.dice)}: the two '
                     'losses add up.')
    old = site.layer(net)
    bottoms = [site.pred, site.label] + ([asked.weights] if asked.weights else [])
    _check_bottoms(net, site, bottoms)
    name, top = _name_and_top(net, site, asked.name)
    text = param_str(options, asked.class_name)
    _check_classes(net, site, params.read(text, params.LOSSES[asked.class_name]))
    return Layer(name, bottoms, top, _loss_weight(old, site, asked.loss_weight), asked.class_name,
                 text, _propagate_down(old, site, bottoms), asked.module), notes


def param_str(options: Dict[str, Any], class_name: str) -> str:
    """The options as text.  Raises CannotRun where they are wrong."""
    try:
        return params.write(options, params.LOSSES[class_name])
    except (TypeError, ValueError) as error:
        raise CannotRun(str(error)) from None


def _check_bottoms(net: Any, site: Site, bottoms: List[str]) -> None:
    there = _blobs(site.above(net), net)
    for bottom in bottoms:
        if bottom not in there:
            where = 'in the net' if site.at is None else 'above the loss'
            close = difflib.get_close_matches(bottom, there, n=1)
            raise CannotRun(f'there is no blob {bottom!r} {where}'
                            + ''.join(f'; did you mean {each!r}?' for each in close))


def _check_classes(net: Any, site: Site, options: Options) -> None:
    """Raise CannotRun where the options are none for as many classes as the prediction has."""
    channels = prototxt.channels_of(site.layer(net), site.pred, site.above(net))
    try:
        resolve(options, channels or None)
    except ValueError as error:
        start = f'{site.pred} has {channels} channels: ' if channels else ''
        raise CannotRun(f'{start}{error}') from None


def _name_and_top(net: Any, site: Site, asked_name: Optional[str]) -> Tuple[str, Optional[str]]:
    """Those of the layer it replaces, or new ones; a top of None keeps the old layer's."""
    old = site.layer(net)
    taken = {layer.name for layer in net.layer if not (site.replaces and layer.name == old.name)}
    if asked_name in taken:
        raise CannotRun(f'there is a layer {asked_name!r} already')
    if site.replaces and len(old.top) > 1:
        what = 'the probabilities ' if old.type in prototxt.FOUND else ''
        raise CannotRun(f'{old.name!r} has a second top, {what}{old.top[1]!r}, which our layer '
                        'does not give: make it with a layer of its own (probabilities with a '
                        'Softmax), or leave the loss where it is with --beside')
    usual = old.name if site.replaces or not old.name else f'{old.name}_dice'
    name = asked_name or _unused(usual or 'loss', taken)
    return name, None if site.replaces and old.top else _unused(name, _blobs(net.layer, net))


def _loss_weight(old: Any, site: Site, asked_weight: Optional[float]) -> Optional[str]:
    """As text; None keeps the old layer's, or is 1."""
    if asked_weight is None and not site.replaces and old.loss_weight:
        asked_weight = old.loss_weight[0]
    return None if asked_weight is None else _float32(asked_weight)


def _float32(number: float) -> str:
    """As few digits as tell it from every other float32, which is what Caffe reads."""
    text = str(np.float32(number))
    return text[:-2] if text.endswith('.0') else text


def _propagate_down(old: Any, site: Site, bottoms: List[str]) -> List[str]:
    """As text; Caffe wants none, or one for each bottom, and pixel weights get no gradient."""
    theirs = list(old.propagate_down)
    if not theirs or len(theirs) != len(old.bottom):
        return []
    ours = [theirs[i] for i in site.bottoms] + [False] * (len(bottoms) - 2)
    return [] if ours == theirs else [str(each).lower() for each in ours]


def _blobs(layers: Any, net: Any) -> Set[str]:
    """The blobs that these layers make, and the net's inputs in the older way of writing them."""
    return {name for layer in layers for name in layer.top} | set(net.input)


def _unused(name: str, used: Set[str]) -> str:
    """``name``, or with the first number that makes it unique."""
    numbered = (f'{name}{number}' for number in range(2, len(used) + 3))
    return name if name not in used else next(each for each in numbered if each not in used)
