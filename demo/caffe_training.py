"""Trains a network in Caffe from its folder in prototxt_examples/.

The plain command `caffe train` runs the same files; what the demo adds is the progress bar and the
prediction with deploy.prototxt.
"""
import json
from pathlib import Path
from typing import Any, Callable, Optional

import caffe
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format  # type: ignore[import-untyped]

from .training import Decide, Outcome, Schedule, run

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / 'prototxt_examples'


def train(name: str, decide: Decide, label: np.ndarray, schedule: Schedule, seed: int, steps: int,
          folder: Path, fill: Optional[Callable[[caffe.Net], None]] = None) -> Outcome:
    """Train prototxt_examples/<name>; its deploy.prototxt predicts. Writes into ``folder``.

    fill : gives the net the weights to start from; by default its fillers do.
    """
    solver = caffe.get_solver(str(_solver_file(EXAMPLES / name, seed, steps, folder)))
    if fill:
        fill(solver.net)
    weights = str(folder / f'{name}.caffemodel')
    deployed = caffe.Net(str(EXAMPLES / name / 'deploy.prototxt'), caffe.TEST)

    def step() -> float:
        solver.step(1)
        return float(solver.net.blobs['loss'].data)

    def forward(image: np.ndarray) -> np.ndarray:
        deployed.blobs['image'].reshape(*image.shape)
        deployed.blobs['image'].data[...] = image
        output, = deployed.forward().values()
        return output.copy()

    def predict() -> np.ndarray:
        solver.net.save(weights)
        deployed.copy_from(weights)
        return decide(forward)

    return run('Caffe', step, predict, label, steps, schedule.test_every)


def _solver_file(files: Path, seed: int, steps: int, folder: Path) -> Path:
    """A copy of the solver and its net for this seed and length, that runs from any folder."""
    solver = _parse(files / 'solver.prototxt', caffe_pb2.SolverParameter())
    source = ROOT / solver.net
    net = _parse(source, caffe_pb2.NetParameter())
    for layer in net.layer:
        if layer.python_param.module == 'demo.brain_layer':
            options = json.loads(layer.python_param.param_str)
            layer.python_param.param_str = json.dumps(dict(options, seed=seed))
    solver.net = str(folder / source.name)
    solver.random_seed = seed
    solver.max_iter = steps
    for unused in ('test_iter', 'test_interval'):  # deploy.prototxt predicts the test images
        solver.ClearField(unused)
    Path(solver.net).write_text(text_format.MessageToString(net))
    path = folder / 'solver.prototxt'
    path.write_text(text_format.MessageToString(solver))
    return path


def _parse(path: Path, message: Any) -> Any:
    return text_format.Parse(path.read_text(), message)
