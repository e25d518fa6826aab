"""A Caffe net trained in several processes, each with its share of every batch::

    .runtime/bin/python -m examples.caffe_workers

This is Caffe's python/train.py with the gradients averaged in shared memory, as its NCCL needs GPUs
and a Caffe that was built with it; where there are both, caffe.NCCL takes the place of Averaged.
"""
import argparse
import json
import os
import tempfile
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any, Dict, List, Tuple

os.environ.setdefault('GLOG_minloglevel', '2')  # Caffe prints every layer it makes otherwise

import caffe  # noqa: E402
import numpy as np  # noqa: E402

from .shapes import CLASSES, images  # noqa: E402

TIMEOUT = 60  # seconds that a worker waits for the others
NET = '''
layer { name: "data" type: "Python" top: "data" top: "label" python_param {
  module: "examples.caffe_workers" layer: "Shapes" param_str: '{"batch": %(batch)d}' } }
layer { name: "hidden" type: "Convolution" bottom: "data" top: "hidden" convolution_param {
  num_output: 16 kernel_size: 5 pad: 2 weight_filler { type: "msra" } } }
layer { name: "relu" type: "ReLU" bottom: "hidden" top: "hidden" }
layer { name: "score" type: "Convolution" bottom: "hidden" top: "score" convolution_param {
  num_output: %(classes)d kernel_size: 5 pad: 2 weight_filler { type: "msra" } } }
layer { name: "loss" type: "Python" loss_weight: 1 bottom: "score" bottom: "label" top: "loss"
  python_param { module: "caffe_layers" layer: "SoftDiceLossLayer" param_str: '%(options)s' } }
'''
SOLVER = '''
net: "%(net)s" type: "%(rule)s" base_lr: %(rate)g momentum: 0.9 momentum2: 0.999
lr_policy: "fixed" random_seed: 1 max_iter: %(steps)d snapshot_after_train: false
'''


class Shapes(caffe.Layer):
    """Every batch's images in turn; of ``batch`` of them those of this worker."""

    def setup(self, bottom: Any, top: Any) -> None:
        workers, rank = caffe.solver_count(), caffe.solver_rank()
        batch = json.loads(self.param_str)['batch']
        if batch % workers:
            raise ValueError(f'the batch, {batch}, must be a multiple of the {workers} workers')
        self.arrays = [each.reshape(-1, batch, 1, *each.shape[-2:])[:, rank::workers]
                       for each in images(8 * batch, seed=1)]
        self.next = 0

    def reshape(self, bottom: Any, top: Any) -> None:
        for i, array in enumerate(self.arrays):  # Caffe's lists of blobs only take an index
            top[i].reshape(*array.shape[1:])

    def forward(self, bottom: Any, top: Any) -> None:
        for i, array in enumerate(self.arrays):
            top[i].data[...] = array[self.next % len(array)]
        self.next += 1

    def backward(self, top: Any, propagate_down: Any, bottom: Any) -> None:
        pass


class Averaged:
    """The parameters of one worker's solver, in step with those of the others.

    rows : shared by all workers, each of which has one; as long as there are parameters.
    barrier : of all workers, with a timeout.
    """

    def __init__(self, solver: Any, rank: int, rows: np.ndarray, barrier: Any) -> None:
        self.blobs = parameters(solver.net)
        self.rank, self.rows, self.barrier = rank, rows, barrier
        # Each began with random weights of its own.
        for blob, found in zip(self.blobs, self._gather([blob.data for blob in self.blobs])):
            blob.data[...] = found[0].reshape(blob.data.shape)
        solver.add_callback(lambda: None, self._average)

    def _average(self) -> None:
        """Called by the solver after the last backward pass of a step, before the update."""
        for blob, found in zip(self.blobs, self._gather([blob.diff for blob in self.blobs])):
            blob.diff[...] = found.mean(axis=0).reshape(blob.diff.shape)

    def _gather(self, arrays: List[np.ndarray]) -> List[np.ndarray]:
        """(workers, size) of each array."""
        self.rows[self.rank] = np.concatenate([array.ravel() for array in arrays])
        self.barrier.wait()
        found = np.split(self.rows.copy(), np.cumsum([each.size for each in arrays])[:-1], axis=1)
        self.barrier.wait()  # or a fast worker would overwrite what a slow one has not read
        return found


def parameters(net: Any) -> List[Any]:
    return [blob for blobs in net.params.values() for blob in blobs]


def work(answer: Connection, memory: Any, barrier: Any, rank: int, workers: int, solver: Path
         ) -> None:
    """One worker.  It answers with its loss in each step and the weights it ends with, or with its
    error.
    """
    caffe.set_solver_count(workers)
    caffe.set_solver_rank(rank)
    caffe.set_multiprocess(True)  # without it Caffe refuses Python layers in several solvers
    try:
        each = caffe.get_solver(str(solver))
        rows = np.frombuffer(memory, dtype='float32').reshape(workers, -1)
        averaged = Averaged(each, rank, rows, barrier)
        losses = []
        for _ in range(each.param.max_iter):
            each.step(1)
            losses.append(float(each.net.blobs['loss'].data.mean()))
        answer.send((losses, np.concatenate([blob.data.ravel() for blob in averaged.blobs])))
    except BaseException as error:
        barrier.abort()  # or the others would wait for this one
        answer.send(error)


def collect(answers: List[Any], barrier: Any) -> List[Any]:
    """What the workers answer, in their order."""
    found: Dict[Any, Any] = {}
    while len(found) < len(answers):
        ready: List[Any] = wait([each for each in answers if each not in found])
        for each in ready:
            try:
                found[each] = each.recv()
            except EOFError:
                barrier.abort()
                found[each] = RuntimeError(f'worker {answers.index(each)} ended without an answer')
    return [found[each] for each in answers]


def train(workers: int, steps: int, batch: int = 8, rule: str = 'Adam', rate: float = 0.01,
          **options: Any) -> Tuple[np.ndarray, np.ndarray]:
    """The losses, (workers, steps), of each worker's images, and the weights after the last step.

    rule, rate : of the solver.
    options : of the loss.

    Raises
    ------
    what a worker raises; RuntimeError where one ends without a word.
    """
    spawn = get_context('spawn')
    with tempfile.TemporaryDirectory() as folder:
        net, solver = Path(folder, 'net.prototxt'), Path(folder, 'solver.prototxt')
        net.write_text(NET % dict(batch=batch, classes=len(CLASSES), options=json.dumps(options)))
        solver.write_text(SOLVER % dict(net=net, steps=steps, rule=rule, rate=rate))
        size = sum(blob.count for blob in parameters(caffe.Net(str(net), caffe.TRAIN)))
        memory = spawn.RawArray('f', workers * size)
        barrier = spawn.Barrier(workers, timeout=TIMEOUT)
        answers = []
        for rank in range(workers):
            ours, theirs = spawn.Pipe(duplex=False)
            spawn.Process(target=work, args=(theirs, memory, barrier, rank, workers, solver),
                          daemon=True).start()
            theirs.close()  # so that the worker's end is the last
            answers.append(ours)
        found = collect(answers, barrier)
    errors = [each for each in found if isinstance(each, BaseException)]
    # First an error, and then those that waited in vain because of it.
    for error in sorted(errors, key=lambda each: isinstance(each, BrokenBarrierError)):
        raise error
    return np.array([losses for losses, _ in found]), found[0][1]


def main() -> None:
    parser = argparse.ArgumentParser(prog='examples.caffe_workers')
    parser.add_argument('--workers', type=int, choices=(1, 2, 4, 8), default=2)
    parser.add_argument('--steps', type=int, default=50)
    given = parser.parse_args()
    losses, _ = train(given.workers, given.steps)
    for step in range(0, given.steps, 10):
        print(f'step {step:3}  loss {losses[:, step].mean():.4f}')
    print(f'step {given.steps - 1:3}  loss {losses[:, -1].mean():.4f}')


if __name__ == '__main__':
    main()
