"""Prototxts as Caffe itself reads them, with every field that it knows."""
from typing import Any

from caffe.proto import caffe_pb2
from google.protobuf import text_format  # type: ignore[import-untyped]

from soft_dice.arrays import CannotRun

from . import reader


def parse(text: str, message: Any) -> Any:
    """The message, filled from prototxt."""
    return text_format.Parse(text, message)


def read(path: str) -> Any:
    """The NetParameter in a file.  Raises CannotRun where there is none."""
    return parse_net(reader.read_text(path), path)


def parse_net(text: str, path: str) -> Any:
    """The NetParameter in the text of ``path``.  Raises CannotRun where there is none."""
    shown = ''
    try:
        net = parse(text, caffe_pb2.NetParameter())
        if not len(net.layers):
            return net
    except text_format.ParseError as error:
        shown = str(error).encode('utf-8', 'backslashreplace').decode('utf-8')
    reader.read(text, path)  # which knows what else it may be
    raise CannotRun(f'{path} is not the prototxt of a net: line {shown}')


def python_layer(module: str, class_name: str, param_str: str) -> Any:
    """The LayerParameter of a Python layer with a top of its own."""
    layer = caffe_pb2.LayerParameter(name='loss', type='Python', top=['loss'])
    layer.python_param.module, layer.python_param.layer = module, class_name
    layer.python_param.param_str = param_str
    return layer
