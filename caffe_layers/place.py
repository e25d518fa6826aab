"""Where in a net the loss goes, and whether a loss of ours is there already."""
from typing import Any, List, NamedTuple, Optional

from soft_dice.arrays import CannotRun

from . import params, prototxt, reader
from .reader import TEST, TRAIN
from .request import Request


class Site(NamedTuple):
    """Where the loss goes.

    pred, label : the blobs that it is of.
    at : index in net.layer of the SoftmaxWithLoss that it replaces or stands beside; None: the end.
    replaces : does it replace that layer?
    phase : of the net that it is looked at in.
    ours : a loss layer of ours that is there already, or None.
    """

    pred: str
    label: str
    at: Optional[int] = None
    replaces: bool = False
    phase: int = TRAIN
    ours: Any = None

    def layer(self, net: Any) -> Any:
        """The SoftmaxWithLoss; an empty layer where there is none."""
        return reader.layer() if self.at is None else net.layer[self.at]

    def above(self, net: Any) -> List[Any]:
        """The layers of the phase before it."""
        return [layer for layer in net.layer[:self.at] if prototxt.in_phase(layer, self.phase)]


def find(net: Any, asked: Request) -> Site:
    """The one place that the request leaves.  Raises CannotRun where there is none, or several."""
    index = _of_bottoms(net, asked) if asked.replace is None else _of_name(net, asked)
    if index is None:
        return _without_softmax_loss(net, asked)
    layer = net.layer[index]
    _refuse_shape(layer)
    pred, label = asked.pred or layer.bottom[0], asked.label or layer.bottom[1]
    phase = TRAIN if prototxt.in_training(layer) else TEST
    return Site(pred, label, index, not asked.beside, phase, _ours(net, pred, label, phase))


def _of_name(net: Any, asked: Request) -> Optional[int]:
    """The layer of --replace; None where it is ours already."""
    name = asked.replace
    if asked.beside:
        raise CannotRun('give --replace or --beside, not both; --bottom and --label say beside '
                        'which SoftmaxWithLoss')
    found = [i for i, layer in enumerate(net.layer) if layer.name == name]
    if not found:
        raise CannotRun(f'{asked.path} has no layer {name!r}; its layers are '
                        f'{prototxt.names(net.layer)}')
    index = ([i for i in found if prototxt.in_training(net.layer[i])] or found)[0]
    layer = net.layer[index]
    if _is_ours(layer):
        return None
    if layer.type != 'SoftmaxWithLoss':
        raise CannotRun(f'{name!r} is of type {layer.type}; --replace takes a SoftmaxWithLoss, and '
                        '--beside with --bottom and --label adds a loss to any net')
    return index


def _of_bottoms(net: Any, asked: Request) -> Optional[int]:
    """The SoftmaxWithLoss of these bottoms; None where there is none, and none is needed."""
    path, wanted = asked.path, [asked.pred, asked.label]
    there = [i for i, layer in enumerate(net.layer)
             if layer.type == 'SoftmaxWithLoss' and prototxt.in_training(layer)]
    found = [i for i in there if all(
        name in (None, bottom) for name, bottom in zip(wanted, net.layer[i].bottom))]
    alike = len({tuple(net.layer[i].bottom) for i in found}) == 1
    if len(found) == 1 or alike and asked.beside:
        return found[0]
    shown = ', '.join(prototxt.described(net.layer[i]) for i in there)
    if found:
        raise CannotRun(f'{path} has several SoftmaxWithLoss: {shown}; choose with --replace NAME, '
                        'or --bottom BLOB')
    if not there or asked.beside and all(wanted) or _ours_asked_for(net, asked) is not None:
        return None
    raise CannotRun(f'{path} has no SoftmaxWithLoss of '
                    f'{", ".join(name for name in wanted if name)}; it has {shown}; '
                    '--replace NAME takes one whatever its bottoms, --beside with --bottom and '
                    '--label adds a loss to what is there')


def _without_softmax_loss(net: Any, asked: Request) -> Site:
    """At the end of the net, where no loss of ours is there."""
    pred, label, ours = asked.pred or '', asked.label or '', _ours_asked_for(net, asked)
    if ours is None and not (pred and label):
        raise CannotRun(f'{asked.path} has no SoftmaxWithLoss in its TRAIN net; to add the loss '
                        'all the same, name prediction and label with --bottom and --label')
    return Site(pred, label, ours=ours)


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


def _ours(net: Any, pred: str, label: str, phase: int) -> Any:
    """Our layer on these blobs ('' is any), or None."""
    for layer in net.layer:
        if _is_ours(layer) and prototxt.in_phase(layer, phase) and all(
                name in ('', bottom) for name, bottom in zip((pred, label), layer.bottom)):
            return layer
    return None


def _ours_asked_for(net: Any, asked: Request) -> Any:
    """Our layer of the name or the blobs that were given, or None."""
    if asked.replace is None:
        return _ours(net, asked.pred or '', asked.label or '', TRAIN)
    named = [layer for layer in net.layer if layer.name == asked.replace]
    return next(layer for layer in named if _is_ours(layer))
