"""The U-Net in Caffe, trained from the files in prototxt_examples/brain_unet/.

The plain command `caffe train` runs the same files; what the demo adds is the progress bar and the
prediction with deploy.prototxt.
"""
import json
from pathlib import Path
from typing import Any

import caffe
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from . import brain
from .training import Outcome, run

ROOT = Path(__file__).resolve().parent.parent
FILES = ROOT / 'prototxt_examples' / 'brain_unet'


def train(test_slices: brain.Slices, seed: int, steps: int, folder: Path) -> Outcome:
    """Train from scratch; deploy.prototxt predicts the test slices. Writes into ``folder``."""
    solver = caffe.get_solver(str(_solver_file(seed, steps, folder)))
    weights = str(folder / 'brain_unet.caffemodel')
    deployed = caffe.Net(str(FILES / 'deploy.prototxt'), caffe.TEST)
    deployed.blobs['image'].reshape(*test_slices.image.shape)

    def step() -> float:
        solver.step(1)
        return float(solver.net.blobs['loss'].data)

    def predict() -> np.ndarray:
        solver.net.save(weights)
        deployed.copy_from(weights)
        deployed.blobs['image'].data[...] = test_slices.image
        return deployed.forward()['class'].copy()

    return run('Caffe', step, predict, test_slices.label, steps)


def _solver_file(seed: int, steps: int, folder: Path) -> Path:
    """A copy of the solver and its net for this seed and length, that runs from any folder."""
    solver = _parse(FILES / 'solver.prototxt', caffe_pb2.SolverParameter())
    net = _parse(FILES / 'train_val.prototxt', caffe_pb2.NetParameter())
    for layer in net.layer:
        if layer.python_param.layer == 'BrainSlicesLayer':
            options = json.loads(layer.python_param.param_str)
            layer.python_param.param_str = json.dumps(dict(options, seed=seed))
    solver.net = str(folder / 'train_val.prototxt')
    solver.random_seed = seed
    solver.max_iter = steps
    for unused in ('test_iter', 'test_interval'):  # deploy.prototxt predicts the test slices
        solver.ClearField(unused)
    Path(solver.net).write_text(text_format.MessageToString(net))
    path = folder / 'solver.prototxt'
    path.write_text(text_format.MessageToString(solver))
    return path


def _parse(path: Path, message: Any) -> Any:
    return text_format.Parse(path.read_text(), message)
