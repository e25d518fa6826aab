"""Every way to compute a case: (arrays, options) -> loss and gradient of sum(upstream * loss)."""
import contextlib
import os
import subprocess
import sys
import tempfile
from typing import Any, Dict, Iterator, Optional, Tuple

from cases import Arrays
from families import Evaluated, family, reference, with_native
from processes import WITHOUT, surroundings

from soft_dice.options import Options


def caffe_layer(arrays: Arrays, options: Options) -> Evaluated:
    """Caffe's objective is loss_weight times the mean over the batch, one upstream for all."""
    u = arrays.upstream.flat[0]
    net = loss_net(arrays, options.to_json(), loss_weight=u * len(arrays.pred),
                   layer=family(options).layer)
    net.forward()
    net.backward()
    return net.blobs['loss'].data.copy(), net.blobs['pred'].diff.copy()


def input_layer(name: str, shape: Tuple[int, ...]) -> str:
    dims = ' '.join(f'dim: {size}' for size in shape)
    return (f'layer {{ name: "{name}" type: "Input" top: "{name}" '
            f'input_param {{ shape {{ {dims} }} }} }}\n')


def loss_prototxt(shapes: Dict[str, Tuple[int, ...]], param_str: str = '', tops: int = 1,
                  loss_weight: Optional[float] = 1.0, force_backward: bool = True,
                  layer: str = 'SoftDiceLossLayer') -> str:
    """A net of inputs and the loss layer.  force_backward lets the gradient reach an input."""
    text = 'force_backward: true\n' if force_backward else ''
    text += ''.join(input_layer(name, shape) for name, shape in shapes.items())
    bottoms = ' '.join(f'bottom: "{name}"' for name in shapes)
    names = ' '.join(f'top: "{name}"' for name in ('loss', 'score', 'third')[:tops])
    weight = '' if loss_weight is None else f'loss_weight: {float(loss_weight)!r}'
    zeros = ' '.join(['loss_weight: 0'] * (tops - 1)) if weight else ''
    escaped = param_str.replace("'", "\\'")
    return text + (f'layer {{ name: "loss" type: "Python" {bottoms} {names} {weight} {zeros}\n'
                   f"  python_param {{ module: 'caffe_layers' layer: '{layer}' "
                   f"param_str: '{escaped}' }} }}\n")


@contextlib.contextmanager
def temporary_prototxt(text: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'net.prototxt')
        with open(path, 'w') as file:
            file.write(text)
        yield path


def caffe_command(*arguments: str, folder: str) -> Tuple[str, int]:
    """What the caffe command prints in that folder, and its exit status."""
    command = os.path.join(os.path.dirname(sys.executable), 'caffe')
    if not os.path.exists(command):  # PYTHON=... on a machine with Caffe's command in its PATH
        command = 'caffe'
    environment = surroundings(GLOG_minloglevel='0', GLOG_logtostderr='1')
    done = subprocess.run([command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=environment, cwd=folder)
    return done.stdout.decode(), done.returncode


def make_net(text: str, phase: Optional[int] = None) -> Any:
    """A caffe.Net; by default of the phase TRAIN."""
    import caffe  # here, as the version matrix runs the other backends where there is no Caffe
    with temporary_prototxt(text) as path:
        return caffe.Net(path, caffe.TRAIN if phase is None else phase)


def loss_net(arrays: Arrays, param_str: str = '', **keywords: Any) -> Any:
    """A net with the arrays in its inputs."""
    inputs = {'pred': arrays.pred, 'label': arrays.label, 'pixel_weight': arrays.pixel_weight}
    inputs = {name: array for name, array in inputs.items() if array is not None}
    net = make_net(loss_prototxt({name: array.shape for name, array in inputs.items()},
                                 param_str, **keywords))
    for name, array in inputs.items():
        net.blobs[name].data[...] = array
    return net


ARRAY_BACKENDS = {'reference': with_native('0', reference), 'kernels': with_native('1', reference)}
if 'mxnet' not in WITHOUT:
    from on_gluon import GLUON_BACKENDS
    ARRAY_BACKENDS.update(GLUON_BACKENDS)
