"""Where in a net the loss goes, and whether a loss of ours is there already."""
from typing import Any, List, NamedTuple, Optional, Tuple

from soft_dice.arrays import CannotRun

from . import params, prototxt, reader
from .reader import TEST, TRAIN
from .request import Request


# Of our layers: the package, the one file, and the name that DIGITS gives to that.
MODULES = ('caffe_layers', 'soft_dice_layer', 'digits_python_layers')


class Site(NamedTuple):
    """Where the loss goes.

    pred, label : the blobs that it is of.
    at : index in net.layer of the loss that it replaces or stands beside; None: the end.
    replaces : does it replace that layer?
    phase : of the net that it is looked at in.
    ours : a loss layer of ours that is there already, or None.
    bottoms : which of that layer's are prediction and label.
    dice : another Dice of the label, which stays.
    """

    pred: str
    label: str
    at: Optional[int] = None
    replaces: bool = False
    phase: int = TRAIN
    ours: Any = None
    bottoms: Tuple[int, int] = (0, 1)
    dice: Any = None

    def layer(self, net: Any) -> Any:
        """That loss; an empty layer where there is none."""
        return reader.layer() if self.at is None else net.layer[self.at]

    def above(self, net: Any) -> List[Any]:
        """The layers of the phase before it."""
        return [layer for layer in net.layer[:self.at] if prototxt.in_phase(layer, self.phase)]


def find(net: Any, asked: Request) -> Site:
    """The one place that the request leaves.  Raises CannotRun where there is none, or several."""
    index = _of_bottoms(net, asked) if asked.replace is None else _of_name(net, asked)
    if index is None:
        site = _at_the_end(net, asked)
    else:
        layer = net.layer[index]
        _refuse_shape(layer)
        phase = TRAIN if prototxt.in_training(layer) else TEST
        bottoms = prototxt.bottoms_of(layer, _in(net, phase))
        pred, label = (given or layer.bottom[i] for given, i in zip((asked.pred, asked.label),
                                                                    bottoms))
        site = Site(pred, label, index, not asked.beside, phase,
                    _ours(net, pred, label, phase, asked.module),
                    bottoms)
    return site if site.ours is not None else _beside_another(net, site, asked)


def _beside_another(net: Any, site: Site, asked: Request) -> Site:
    """The site, which knows of another Dice of its label; CannotRun where nobody asked for two."""
    old = net.layer[site.at] if site.replaces else None
    others = [each for each in prototxt.dice_of(_in(net, site.phase), site.label) if each != old]
    if not others:
        return site
    if asked.beside or asked.replace is not None:
        return site._replace(dice=others[0])
    raise CannotRun(f'{site.label} has a Dice already, {_shown(others)}: --replace '
                    f'{others[0].name} puts ours in its place, --beside adds ours to it')


def _of_name(net: Any, asked: Request) -> Optional[int]:
    """The layer of --replace; None where it is ours already."""
    name = asked.replace
    if asked.beside:
        raise CannotRun('give --replace or --beside, not both; --bottom and --label say beside '
                        'which loss')
    found = [i for i, layer in enumerate(net.layer) if layer.name == name]
    if not found:
        raise CannotRun(f'{asked.path} has no layer {name!r}; its layers are '
                        f'{prototxt.names(net.layer)}')
    index = ([i for i in found if prototxt.in_training(net.layer[i])] or found)[0]
    layer = net.layer[index]
    if _is_ours(layer, asked.module):
        return None
    if layer.type != 'Python' and not ('Loss' in layer.type or any(layer.loss_weight)):
        raise CannotRun(f'{name!r} is of type {layer.type}, which is no loss; {_losses(net)}; '
                        '--beside with --bottom and --label adds a loss to any net')
    return index


def _of_bottoms(net: Any, asked: Request) -> Optional[int]:
    """The cross-entropy of these bottoms; None where there is none, and none is needed."""
    path, wanted = asked.path, [asked.pred, asked.label]
    there = [i for i, layer in enumerate(net.layer)
             if layer.type in prototxt.FOUND and prototxt.in_training(layer)]
    found = [i for i in there if all(
        name in (None, bottom) for name, bottom in zip(wanted, net.layer[i].bottom))]
    alike = len({tuple(net.layer[i].bottom) for i in found}) == 1
    if len(found) == 1 or alike and asked.beside:
        return found[0]
    if found:
        raise CannotRun(f'{path} has several losses that may be meant: '
                        f'{_shown([net.layer[i] for i in there])}; choose with --replace NAME, or '
                        '--bottom BLOB')
    if not there or asked.beside and all(wanted) or _ours_asked_for(net, asked) is not None:
        return None
    raise CannotRun(f'{path} has no SoftmaxWithLoss or SigmoidCrossEntropyLoss of '
                    f'{", ".join(name for name in wanted if name)}; {_losses(net)} '
                    'whatever its bottoms, --beside with --bottom and --label adds a loss to what '
                    'is there')


def _at_the_end(net: Any, asked: Request) -> Site:
    """At the end of the net, where no loss of ours is there."""
    pred, label, ours = asked.pred or '', asked.label or '', _ours_asked_for(net, asked)
    if ours is None and not (pred and label):
        raise CannotRun(f'{asked.path} has no SoftmaxWithLoss or SigmoidCrossEntropyLoss in its '
                        f'TRAIN net; {_losses(net)}; to add the loss all the same, name prediction '
                        'and label with --bottom and --label')
    return Site(pred, label, ours=ours)


def _losses(net: Any) -> str:
    """What there is to replace, as the end of a sentence."""
    found = [loss.layer for loss in prototxt.losses(net)]
    if not found:
        return 'none of its layers is a loss of prediction and label'
    return f'its losses are {_shown(found)}: --replace NAME takes one'


def _shown(layers: List[Any]) -> str:
    return ', '.join(f'{prototxt.described(each)}, {prototxt.kind(each)}' for each in layers)


def _in(net: Any, phase: int) -> List[Any]:
    return [layer for layer in net.layer if prototxt.in_phase(layer, phase)]


def _refuse_shape(layer: Any) -> None:
    """Raise CannotRun for a loss that our layer cannot stand for."""
    if len(layer.bottom) < 2:
        raise CannotRun(f'{layer.name!r} has {len(layer.bottom)} bottoms; a loss takes a '
                        'prediction and a label')
    for axis in (layer.softmax_param.axis, layer.infogain_loss_param.axis):
        if axis != 1:
            raise CannotRun(f'{layer.name!r} has its classes on axis {axis}; our layer takes them '
                            'on axis 1')


def _is_ours(layer: Any, module: str) -> bool:
    python = layer.python_param
    return (layer.type == 'Python' and python.layer in params.LOSSES
            and python.module.split('.')[0] in MODULES + (module,))


def _ours(net: Any, pred: str, label: str, phase: int, module: str) -> Any:
    """Our layer on these blobs ('' is any), or None."""
    for layer in net.layer:
        if _is_ours(layer, module) and prototxt.in_phase(layer, phase) and all(
                name in ('', bottom) for name, bottom in zip((pred, label), layer.bottom)):
            return layer
    return None


def _ours_asked_for(net: Any, asked: Request) -> Any:
    """Our layer of the name or the blobs that were given, or None."""
    if asked.replace is None:
        return _ours(net, asked.pred or '', asked.label or '', TRAIN, asked.module)
    named = [layer for layer in net.layer if layer.name == asked.replace]
    return next(layer for layer in named if _is_ours(layer, asked.module))
