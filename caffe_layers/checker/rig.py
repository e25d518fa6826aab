"""A test rig for one loss layer: a real net, and float64 stand-ins for its blobs.

This runs in the child process of a worker.Session, where it may abort.
"""
import importlib
import os
import sys
import tempfile
from typing import Any, Dict, List, NamedTuple, Optional, Set

import caffe
import numpy as np
from caffe.proto import caffe_pb2

from soft_dice.arrays import CannotRun
from soft_dice.checker.feed import Feed
from soft_dice.checker.subject import Evaluation, Example, Shape
from soft_dice.checker.words import described

from .. import caffe_proto, prototxt


class Spec(NamedTuple):
    """Which layer, and what its bottoms are.

    layer : a LayerParameter in prototxt.
    feed : what leads from the checks' arrays to the layer's.
    pred, label : which bottoms these are; the others are what is further in the feed.
    folder : of the net that the layer is of, where its module may be.
    """

    layer: str
    feed: Feed = Feed()
    pred: int = 0
    label: int = 1
    folder: Optional[str] = None

    @property
    def parameter(self) -> Any:
        return caffe_proto.parse(self.layer, caffe_pb2.LayerParameter())

    @property
    def is_python(self) -> bool:
        return self.parameter.type == 'Python'

    def shapes(self, pred: Shape, label: Shape) -> List[Shape]:
        """Every bottom's shape."""
        return self._in_order(self.feed.shapes(pred, label))

    def bottoms(self, pred: np.ndarray, label: np.ndarray) -> List[np.ndarray]:
        """What to fill every bottom with."""
        return self._in_order(self.feed.arrays(pred, label))

    def _in_order(self, each: List[Any]) -> List[Any]:
        first_two = {self.pred: each[0], self.label: each[1]}
        further = iter(each[2:])
        return [first_two[i] if i in first_two else next(further) for i in range(len(each))]


class Rig:
    """What a Subject asks of a layer.

    Raises CannotRun where the layer's class cannot be found.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        _look_in(spec.folder)
        self.parameter = spec.parameter
        self.layer_class = _python_class(self.parameter, spec.folder)
        self._nets: Dict[Any, caffe.Net] = {}
        self._stand_ins: Dict[Any, StandInLayer] = {}
        self._taken: Set[Any] = set()  # shapes the real layer has run on

    def prepare(self, pred: Shape, label: Shape) -> None:
        """Set the layer up for these shapes, as Caffe does before the first forward."""
        self._net(pred, label)

    def reads_empty_param_str(self) -> bool:
        """Is there no param_str, though the layer reads it?"""
        methods = [each for kind in getattr(self.layer_class, '__mro__', ())
                   for each in vars(kind).values() if hasattr(each, '__code__')]
        reads = any('param_str' in each.__code__.co_names for each in methods)
        return reads and not self.parameter.python_param.param_str

    def value(self, pred: np.ndarray, label: np.ndarray, float64: bool = False) -> np.ndarray:
        """The loss; with ``float64``, in float64, once the real layer has taken these shapes."""
        key = (pred.shape, label.shape)
        precise = self._precise(pred, label) if float64 else None
        if precise is not None and key in self._taken:
            return precise.value
        net = self._filled(pred, label, 1.0, False)
        net.forward()
        self._taken.add(key)
        return _float64(net.blobs['top0'].data) if precise is None else precise.value

    def evaluate(self, pred: np.ndarray, label: np.ndarray, upstream: float, before: float,
                 float64: bool = False, forced: bool = False) -> Evaluation:
        """The loss and the gradient of the layer's own backward in a real net.

        float64 : return the stand-in's numbers where they are the real ones with more digits.
        forced : set force_backward, with which Caffe asks for the label's gradient, too.
        """
        net = self._filled(pred, label, upstream, forced)
        diff = self._input(net, forced).diff
        diff[...] = before  # and not after forward, where Caffe's HingeLoss prepares it
        net.forward()
        net.backward()
        real = Evaluation(_float64(net.blobs['top0'].data),
                          self.spec.feed.gradient(_float64(diff)))
        precise = self._precise(pred, label, upstream, before) if float64 else None
        return precise if precise is not None and _agree(precise, real) else real

    def has_float64(self, pred: np.ndarray, label: np.ndarray) -> bool:
        """Can stand-ins answer for the real layer, and with more digits?

        It must be a Python layer that runs on float64 blobs, gives there the value and gradient it
        gives in the net, and whose value has no more noise than float64 explains: a layer may well
        compute in float32 whatever its bottoms are.
        """
        precise = self._precise(pred, label, 1.0, 0.0)
        if precise is None or not _agree(precise, self.evaluate(pred, label, 1.0, 0.0)):
            return False
        line = np.random.RandomState(0).standard_normal(pred.shape)
        steps = [self._precise(pred + k * 1e-7 * line, label) for k in range(-4, 5)]
        along = [np.sum(step.value) for step in steps if step is not None]
        noise = np.abs(np.diff(along, 3)).max()  # no smooth function has third differences here
        return bool(noise <= 1e-11 * np.abs(along).max())

    def _precise(self, pred: np.ndarray, label: np.ndarray, upstream: float = 1.0,
                 before: Optional[float] = None) -> Optional[Evaluation]:
        """The Python layer's own methods in float64; ``before`` None is forward alone.  None where
        it cannot be had: a layer may be written for Caffe's blobs alone, which is no defect.
        """
        if self.layer_class is None:
            return None
        key = (pred.shape, label.shape)
        try:
            if key not in self._stand_ins:
                shapes = self.spec.shapes(*key)
                self._stand_ins[key] = StandInLayer(self.layer_class, self.parameter, shapes)
            return self._stand_ins[key].evaluate(self.spec, pred, label, upstream, before)
        except Exception:
            return None

    def _filled(self, pred: np.ndarray, label: np.ndarray, upstream: float, forced: bool
                ) -> caffe.Net:
        net = self._net(pred.shape, label.shape, upstream, forced)
        for i, values in enumerate(self.spec.bottoms(pred, label)):
            blob = self._input(net, forced) if i == self.spec.pred else net.blobs[f'bottom{i}']
            blob.data[...] = values
        return net

    def _input(self, net: caffe.Net, forced: bool) -> Any:
        name = f'bottom{self.spec.pred}'
        return net.blobs[name] if forced else net.params[name][0]

    def _net(self, pred: Shape, label: Shape, upstream: float = 1.0, forced: bool = False
             ) -> caffe.Net:
        key = (pred, label, upstream, forced)
        if key not in self._nets:
            if len(self._nets) > 16:  # each holds blobs of its own
                self._nets.clear()
            self._nets[key] = self._build(self.spec.shapes(pred, label), upstream, forced)
        return self._nets[key]

    def _build(self, shapes: List[Shape], upstream: float, forced: bool) -> caffe.Net:
        """Inputs and the layer.  The prediction is a parameter, so that Caffe asks for its gradient
        and for no other, as in training; or everything is an input and backward is forced.
        """
        net = caffe_pb2.NetParameter(force_backward=forced)
        for i, shape in enumerate(shapes):
            layer = net.layer.add(name=f'bottom{i}', top=[f'bottom{i}'])
            if i == self.spec.pred and not forced:
                layer.type = 'Parameter'
                layer.parameter_param.shape.dim.extend(shape)
            else:
                layer.type = 'Input'
                layer.input_param.shape.add().dim.extend(shape)
        net.layer.add().CopyFrom(_renamed(self.parameter, len(shapes), upstream))
        caffe.set_random_seed(0)  # for a layer with parameters of its own
        return load(str(net))


class Blob:
    """A float64 stand-in for what a Python layer sees of a caffe.Blob."""

    def __init__(self, shape: Shape) -> None:
        self._shape: Shape = ()
        self._data, self._diff = np.zeros(()), np.zeros(())
        self.reshape(*shape)

    def reshape(self, *shape: int) -> None:
        if tuple(shape) != self._shape:
            self._shape = tuple(int(size) for size in shape)
            self._data, self._diff = np.zeros(self._shape), np.zeros(self._shape)

    shape = property(lambda self: self._shape)
    data = property(lambda self: self._data)
    diff = property(lambda self: self._diff)
    count = property(lambda self: self._data.size)
    num = property(lambda self: self._legacy(0))
    channels = property(lambda self: self._legacy(1))
    height = property(lambda self: self._legacy(2))
    width = property(lambda self: self._legacy(3))

    def _legacy(self, axis: int) -> int:
        if len(self._shape) > 4:
            raise ValueError('num, channels, height and width are for blobs of up to 4 axes')
        return self._shape[axis] if axis < len(self._shape) else 1


class StandInLayer:
    """A Python layer set up on stand-ins, as PythonLayer does it in C++."""

    def __init__(self, layer_class: Any, parameter: Any, shapes: List[Shape]) -> None:
        self.layer = layer_class.__new__(layer_class)
        self.layer.param_str = parameter.python_param.param_str
        self.layer.phase = caffe.TRAIN
        self.bottom = [Blob(shape) for shape in shapes]
        self.top = [Blob(()) for _ in range(max(len(parameter.top), 1))]
        self.layer.setup(self.bottom, self.top)

    def evaluate(self, spec: Spec, pred: np.ndarray, label: np.ndarray, upstream: float,
                 before: Optional[float]) -> Evaluation:
        blob = self.bottom[spec.pred]
        for i, values in enumerate(spec.bottoms(pred, label)):
            self.bottom[i].data[...] = values
        blob.diff[...] = 0 if before is None else before
        self.layer.reshape(self.bottom, self.top)
        self.layer.forward(self.bottom, self.top)
        if before is not None:
            for i, top in enumerate(self.top):
                top.diff[...] = upstream if i == 0 else 0
            asked = [i == spec.pred for i in range(len(self.bottom))]
            self.layer.backward(self.top, asked, self.bottom)
        return Evaluation(self.top[0].data.copy(), spec.feed.gradient(blob.diff.copy()))


class NetReader:
    """Shapes and values in a net that is loaded as it stands, with its data layers.

    folder : of the net, where its Python layers may be.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        _look_in(folder)

    def find(self, text: str) -> None:
        """Raises CannotRun where this is a Python layer that cannot be found."""
        _find(caffe_proto.parse(text, caffe_pb2.LayerParameter()), self._folder)

    def shapes(self, text: str) -> Dict[str, Shape]:
        """Raises CannotRun for a Python layer that cannot be found."""
        _find_all(text, caffe.TRAIN, self._folder)
        self._net = load(text)
        return {name: tuple(blob.shape) for name, blob in self._net.blobs.items()}

    def values(self, blob: str) -> np.ndarray:
        """What the net holds in a blob, once the layers above it have run."""
        makers = [layer for layer, tops in self._net.top_names.items() if blob in tops]
        self._net.forward(end=makers[-1])
        return _float64(self._net.blobs[blob].data)


class Pass(NamedTuple):
    """What one forward and backward pass gave a loss layer.

    gradient : of its first bottom, from this layer alone.
    learns : has the net parameters, without which Caffe asks for no gradient?
    invented : blobs of Input layers, which were filled with random numbers.
    shapes : of its bottoms.
    """

    loss: np.ndarray
    gradient: np.ndarray
    learns: bool
    invented: List[str]
    shapes: List[Shape]


class NetTrial:
    """A net that is loaded as it stands, with its data layers, and run.

    folder : of the net, where its Python layers may be.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        _look_in(folder)
        caffe.set_random_seed(0)
        self._net: Any = None

    def load(self, text: str, phase: int) -> None:
        """Raises CannotRun for a Python layer that cannot be found."""
        _find_all(text, phase, self._folder)
        self._net = load(text, phase)

    def run(self, name: str, bottoms: List[str], sources: List[str]) -> Optional[Pass]:
        """Forward and backward; None where the layer is not in the net.

        bottoms : of the layer, as the prototxt names them.
        sources : the blobs that these have their values from, in another shape perhaps.
        """
        net = self._net
        if name not in net.bottom_names:
            return None
        shapes = [tuple(net.blobs[bottom].shape) for bottom in bottoms]
        kind = prototxt.label_kind(caffe_pb2.LayerParameter(), *shapes[:2])
        pred, label = Example(shapes[0], shapes[1], label_kind=kind).arrays()
        values = dict(zip(sources, (pred, label, np.ones(1))))
        rng = np.random.RandomState(0)
        for blob in net.inputs:
            shape = net.blobs[blob].data.shape
            net.blobs[blob].data[...] = np.resize(values[blob], shape) if blob in values else \
                rng.standard_normal(shape)
        net.forward()
        net.backward()
        # where others read the blob, too, Caffe gives each a copy of its own
        gradient = net.blobs[net.bottom_names[name][0]].diff
        return Pass(_float64(net.blobs[net.top_names[name][0]].data), _float64(gradient),
                    bool(net.params), list(net.inputs), shapes)


def _look_in(folder: Optional[str]) -> None:
    """Let modules be imported from a folder, too: '' is the current one, None is none."""
    if folder is not None:
        sys.path.append(os.path.abspath(folder))


def _find_all(text: str, phase: int, folder: str) -> None:
    """Raises CannotRun for a Python layer of the net that cannot be found.  Caffe would say no more
    of it than that something returned NULL.
    """
    for layer in caffe_proto.parse(text, caffe_pb2.NetParameter()).layer:
        if prototxt.in_phase(layer, phase):
            _find(layer, folder)


def _find(layer: Any, folder: str) -> None:
    try:
        _python_class(layer, folder)
    except CannotRun as error:
        raise CannotRun(f'layer {layer.name!r}: {error}') from None


def load(text: str, phase: int = caffe.TRAIN) -> caffe.Net:
    """A net.  Caffe wants a file; this one has no name and cannot be left behind."""
    with tempfile.TemporaryFile() as file:
        file.write(text.encode('utf-8', 'surrogateescape'))
        file.flush()
        return caffe.Net(f'/dev/fd/{file.fileno()}', phase)


def _renamed(parameter: Any, bottoms: int, upstream: float) -> Any:
    """The layer with our names and loss_weight, and in every phase."""
    layer = caffe_pb2.LayerParameter()
    layer.CopyFrom(parameter)
    for field in ('bottom', 'top', 'loss_weight', 'propagate_down', 'include', 'exclude'):
        layer.ClearField(field)
    tops = max(len(parameter.top), 1)
    layer.name = 'loss'
    layer.bottom.extend(f'bottom{i}' for i in range(bottoms))
    layer.top.extend(f'top{i}' for i in range(tops))
    layer.loss_weight.extend([upstream] + [0.0] * (tops - 1))
    return layer


def _python_class(parameter: Any, folder: Optional[str]) -> Any:
    """The class of a Python layer, from the folder, too; None for a layer of Caffe's own."""
    if parameter.type != 'Python':
        return None
    module, name = parameter.python_param.module, parameter.python_param.layer
    try:
        found = getattr(importlib.import_module(module), name, None)
    except (Exception, SystemExit) as error:  # whatever the user's module raises
        where = _looked_for(folder) if getattr(error, 'name', None) == module else ''
        raise CannotRun(f'the module {module} cannot be imported: {described(error)}{where}'
                        ) from None
    if found is None:
        raise CannotRun(f'the module {module} has no {name}')
    if not (isinstance(found, type) and issubclass(found, caffe.Layer)):
        raise CannotRun(f'{module}:{name} is not a class derived from caffe.Layer')
    return found


def _looked_for(folder: Optional[str]) -> str:
    """Where a module was looked for, for a message."""
    here, there = os.getcwd(), os.path.abspath(folder or '')
    if folder is None:
        return '; it must be in the current directory or on PYTHONPATH'
    net = '' if there == here else f"the net's folder, {there}, "
    return f'; it was looked for in {net}the current directory, {here}, and on PYTHONPATH'


def _float64(array: np.ndarray) -> np.ndarray:
    return np.array(array, dtype=np.float64)


def _agree(precise: Evaluation, real: Evaluation) -> bool:
    return (_close(precise.value, real.value)
            and _close(precise.gradient, real.gradient))


def _close(precise: np.ndarray, real: np.ndarray, tolerance: float = 1e-3) -> bool:
    """Equal up to float32, which a difference of large sums may take several digits of."""
    if precise.shape != real.shape or not (np.isfinite(precise) == np.isfinite(real)).all():
        return False
    finite = np.isfinite(real)
    return bool(np.linalg.norm((precise - real)[finite])
                <= tolerance * np.linalg.norm(real[finite]))
