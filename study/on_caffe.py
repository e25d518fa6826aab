"""A training in Caffe: the same networks, batches, Adam and schedule as in Gluon."""
import tempfile
from pathlib import Path
from typing import Any, Tuple

import caffe
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format  # type: ignore[import-untyped]

from demo import brain

from .losses import LOSSES, caffe_layer
from .tasks import Task
from .training import Job, Predict, Step

UNET = Path(__file__).resolve().parent.parent / 'prototxt_examples' / 'brain_unet'
TWO_LAYERS = '''
layer { name: "image"  type: "Input"  top: "image" }
layer { name: "first"  type: "Convolution"  bottom: "image"  top: "first"
  convolution_param { num_output: 8  kernel_size: 3  pad: 1  weight_filler { type: "msra" } } }
layer { name: "relu"  type: "ReLU"  bottom: "first"  top: "first" }
layer { name: "score"  type: "Convolution"  bottom: "first"  top: "score"
  convolution_param { num_output: 3  kernel_size: 1  weight_filler { type: "msra" } } }
'''
SOLVER = '''
net: "{net}"  type: "Adam"  base_lr: {schedule.learning_rate}  momentum: 0.9  momentum2: 0.999
lr_policy: "poly"  power: {schedule.power}  max_iter: {job.steps}  random_seed: {job.seed}
snapshot_after_train: false  solver_mode: CPU
'''


def begin(job: Job, task: Task) -> Tuple[Step, Predict]:
    data = task.data('train', job.seed)
    batches = brain.batches(len(data.image), task.schedule.batch_size, job.seed, shuffle=True)
    with tempfile.TemporaryDirectory() as folder:
        trained, tested = solver(job, task, Path(folder))

    def step() -> float:
        batch = next(batches)
        trained.net.blobs['image'].data[...] = data.image[batch]
        trained.net.blobs['label'].data[...] = data.label[batch]
        trained.step(1)
        return float(trained.net.blobs['loss'].data)

    def predict(image: np.ndarray) -> np.ndarray:
        tested.share_with(trained.net)
        tested.blobs['image'].data[...] = image
        tested.forward()
        return tested.blobs['score'].data.argmax(axis=1)[:, None]

    return step, predict


def solver(job: Job, task: Task, folder: Path) -> Tuple[Any, caffe.Net]:
    """A solver, and the network by itself, of the size of the test images."""
    shape = task.data('test', job.seed).image.shape
    (folder / 'test.prototxt').write_text(network(task, shape))
    batch = (task.schedule.batch_size, *shape[1:])
    loss = caffe_layer(LOSSES[job.loss], task, job.seed)
    (folder / 'train.prototxt').write_text(network(task, batch) + _input('label', batch) + loss)
    path = folder / 'solver.prototxt'
    path.write_text(SOLVER.format(net=folder / 'train.prototxt', schedule=task.schedule, job=job))
    return caffe.get_solver(str(path)), caffe.Net(str(folder / 'test.prototxt'), caffe.TEST)


def network(task: Task, shape: Tuple[int, ...]) -> str:
    """From the blob "image" of this shape to the blob "score"."""
    text = (UNET / 'deploy.prototxt').read_text() if task.network == 'unet' else TWO_LAYERS
    net = text_format.Parse(text, caffe_pb2.NetParameter())
    del net.layer[0]  # the input, of another size
    while net.layer[-1].name != 'score':
        del net.layer[-1]
    net.layer[-1].convolution_param.num_output = len(task.classes)
    return _input('image', shape) + text_format.MessageToString(net)


def _input(name: str, shape: Tuple[int, ...]) -> str:
    sizes = '  '.join(f'dim: {size}' for size in shape)
    return (f'layer {{ name: "{name}"  type: "Input"  top: "{name}"\n'
            f'  input_param {{ shape {{ {sizes} }} }} }}\n')
