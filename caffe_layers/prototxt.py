"""Finds the loss layers of a net and what they are fed, from its prototxt.  No net is made here.

A net is here what ``reader`` or ``caffe_proto`` made of its prototxt.  Names of layers that only
forks of Caffe have are those of the forks' own nets.
"""
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from soft_dice.arrays import CannotRun
from soft_dice.checker.activation import Given
from soft_dice.checker.asked import default_kind
from soft_dice.checker.subject import Shape

from .reader import TRAIN

# Of Caffe's own losses of (prediction, label): the prediction they want, and the kind of label.
# (Euclidean takes any; that of numbers in (0, 1) falls as they get nearer to a label of 0 and 1.)
BUILT_IN: Dict[str, Tuple[str, str]] = {
    'SoftmaxWithLoss': ('raw', 'index'), 'HingeLoss': ('raw', 'index'),
    'MultinomialLogisticLoss': ('softmax', 'index'), 'InfogainLoss': ('softmax', 'index'),
    'SigmoidCrossEntropyLoss': ('raw', 'onehot'), 'EuclideanLoss': ('sigmoid', 'onehot')}
# Of these every one is a loss that Dice stands for; others have to be named.
FOUND = ('SoftmaxWithLoss', 'SigmoidCrossEntropyLoss')
ACTIVATIONS = {'Softmax': 'softmax', 'Sigmoid': 'sigmoid'}
KEEP_VALUES = ('Reshape', 'Flatten', 'Crop', 'Split', 'Concat', 'Slice', 'Dropout', 'Silence')
SCORES = ('Convolution', 'Deconvolution', 'InnerProduct', 'BatchNorm', 'Scale', 'Bias', 'ReLU',
          'PReLU', 'ELU', 'TanH', 'LRN', 'MVN')  # what they make is no probability
# The last ones are of forks: DeepLab's and PSPNet's, and SegNet's.
KEEP_CHANNELS = ('Crop', 'Split', 'Dropout', 'Softmax', 'Sigmoid', 'TanH', 'ReLU', 'PReLU', 'ELU',
                 'BatchNorm', 'Scale', 'Bias', 'Power', 'Exp', 'Log', 'AbsVal', 'LRN', 'MVN',
                 'Pooling', 'Eltwise', 'Interp', 'BN', 'SyncBN', 'Upsample')


class Loss(NamedTuple):
    """A loss layer of a net.

    layer : the LayerParameter.
    pred, label : which of its bottoms these are.
    input : what the prediction is to hold for the layer to be looked at: what its type says that it
        wants or, of a Python layer, what the net gives: 'softmax', 'sigmoid' or 'raw'.
    given : what the net gives.
    weighted : has the layer a loss_weight, without which Caffe never calls a Python layer's
        backward?
    """

    layer: Any
    pred: int
    label: int
    input: str
    given: Given
    weighted: bool


def losses(net: Any) -> List[Loss]:
    """The loss layers of the TRAIN net.

    Layers with a loss_weight that is not 0, Caffe's own losses, and Python layers of two bottoms or
    more whose top is used by nobody and whose class or name has "loss" in it.
    """
    layers = [layer for layer in net.layer if in_training(layer)]
    return [_loss(layer, layers) for layer in layers if is_loss(layer, layers)]


def choose(net: Any, name: Optional[str], path: str) -> List[Loss]:
    """The layer of that name, or all losses.  Raises CannotRun where there is none."""
    if name is None:
        found = losses(net)
        if not found:
            raise CannotRun(f'{path} has no loss layer of (prediction, label); if it is one of '
                            f'these, name it with --layer: {names(net.layer)}')
        return found
    layers = [layer for layer in net.layer if layer.name == name]
    if not layers:
        raise CannotRun(f'{path} has no layer {name!r}; its layers are {names(net.layer)}')
    layer = ([each for each in layers if in_training(each)] or layers)[0]
    if len(layer.bottom) < 2:
        raise CannotRun(f'layer {name!r} has {len(layer.bottom)} bottoms; a loss has a prediction '
                        'and a label')
    return [_loss(layer, [each for each in net.layer if in_training(each)])]


def label_kind(layer: Any, pred: Shape, label: Shape) -> str:
    """What kind of label goes with these shapes, where the layer's type does not say it."""
    kind = BUILT_IN.get(layer.type, ('', ''))[1]
    if kind == 'onehot' and pred[1:2] == (1,):
        return 'binary'
    return kind or default_kind(pred, label)


def is_loss(layer: Any, layers: Any) -> bool:
    """Is this layer, of these, a loss of (prediction, label) that trains, or that is meant to?"""
    if len(layer.bottom) < 2:
        return False
    if any(layer.loss_weight):
        return True
    if layer.type != 'Python':
        return 'Loss' in layer.type and not len(layer.loss_weight)
    called_loss = 'loss' in (layer.name + layer.python_param.layer).lower()
    used = any(name in layer.top for each in layers for name in each.bottom)
    return called_loss and not used and not len(layer.loss_weight)


def dice_of(layers: List[Any], label: str) -> List[Any]:
    """The losses of this label that are a Dice by name, whoever wrote them."""
    wanted = source(None, label, layers)
    return [each for each in layers if is_loss(each, layers)
            and 'dice' in ' '.join((each.name, kind(each))).lower()
            and wanted in [source(each, blob, layers) for blob in each.bottom]]


def bottoms_of(layer: Any, layers: List[Any]) -> Tuple[int, int]:
    """Which bottom is the prediction, and which the label: what comes from the data as it is."""
    makers = [_maker(layer, name, layers) for name in layer.bottom[:2]]
    data = [maker is None or not maker.bottom for maker in makers]
    return (1, 0) if data == [True, False] else (0, 1)


def _loss(layer: Any, layers: List[Any]) -> Loss:
    pred, label = bottoms_of(layer, layers)
    given = _given(layer, layer.bottom[pred], layers)
    wanted = BUILT_IN[layer.type][0] if layer.type in BUILT_IN else given.input or 'raw'
    weighted = any(layer.loss_weight) or layer.type != 'Python'
    return Loss(layer, pred, label, wanted, given, weighted)


def activation_of(loss: Any, blob: str, layers: List[Any]) -> str:
    """The activation that made a blob, through layers that keep values as they are."""
    maker = _maker(loss, blob, layers)
    return ACTIVATIONS.get(maker.type, 'raw') if maker else 'raw'


def _maker(loss: Any, blob: str, layers: List[Any]) -> Any:
    """The layer that decides a blob's values; None where none does."""
    for layer in _before(loss, layers):
        if blob in layer.top:
            if layer.type not in KEEP_VALUES or not layer.bottom:
                return layer
            blob = layer.bottom[0]
    return None


def source(loss: Any, blob: str, layers: List[Any]) -> str:
    """The blob whose values a blob has."""
    for layer in _before(loss, layers):
        if blob in layer.top and layer.bottom and layer.type in KEEP_VALUES:
            blob = layer.bottom[0]
    return blob


def given_input(loss: Any, blob: str, layers: List[Any]) -> Optional[str]:
    """What the net says that a blob holds: 'softmax', 'sigmoid', 'raw', or None for nothing."""
    return _given(loss, blob, layers).input


def _given(loss: Any, blob: str, layers: List[Any]) -> Given:
    """What the net says that a blob holds: nothing, if it comes from the data or from Python."""
    maker = _maker(loss, blob, layers)
    if maker is None:
        return Given(None, 'the net')
    named = f'The {maker.type} layer {maker.name!r}'
    if maker.type in ACTIVATIONS:
        return Given(ACTIVATIONS[maker.type], named)
    if maker.type == 'Deconvolution' and maker.convolution_param.weight_filler.type == 'bilinear':
        return _given(maker, maker.bottom[0], layers)  # which resizes
    if maker.type in SCORES or maker.type == 'Eltwise' and all(
            _given(maker, bottom, layers).input == 'raw' for bottom in maker.bottom):
        return Given('raw', named)
    return Given(None, 'the net')


def channels_of(loss: Any, blob: str, layers: List[Any]) -> Optional[int]:
    """How many channels a blob has, from the layer that decides it; None where that is not said."""
    for layer in _before(loss, layers):
        if blob not in layer.top:
            continue
        if layer.type in ('Convolution', 'Deconvolution'):
            return layer.convolution_param.num_output or None
        if layer.type == 'InnerProduct':
            return layer.inner_product_param.num_output or None
        if layer.type not in KEEP_CHANNELS or not layer.bottom:
            return None
        blob = layer.bottom[0]
    return None


def _before(loss: Any, layers: List[Any]) -> Iterator[Any]:
    """Layers from the loss upwards: the last to write a blob in place comes first."""
    names = [layer.name for layer in layers]
    until = names.index(loss.name) if loss is not None and loss.name in names else len(layers)
    return reversed(layers[:until])


def in_training(layer: Any) -> bool:
    """Do the layer's rules let it into the TRAIN net?"""
    return in_phase(layer, TRAIN)


def in_phase(layer: Any, phase: int) -> bool:
    """Do the layer's rules let it into the net of this phase?"""
    if len(layer.include):
        return any(not rule.HasField('phase') or rule.phase == phase for rule in layer.include)
    return not any(rule.HasField('phase') and rule.phase == phase for rule in layer.exclude)


def names(layers: Any) -> str:
    """The layers' names, for a message."""
    return ', '.join(layer.name for layer in layers) or 'none'


def kind(layer: Any) -> str:
    """Its type; of a Python layer its module and class."""
    python = layer.python_param
    return f'{python.module}.{python.layer}' if layer.type == 'Python' else layer.type


def described(layer: Any) -> str:
    """A layer by its name and bottoms, for a message."""
    return f'{layer.name!r} ({", ".join(layer.bottom)})'
