"""Where one test run ends and the next begins, which Caffe tells no layer.

A solver trains between two test runs, and the layers of this package that train with it notice.
Where none does, the layer has to be told how many forwards a run has.
"""
import sys
from typing import Any, Optional

import caffe

from .errors import in_caffe_command


class Training:
    """What the layers of this package have seen of training, in this process.

    layers : that were set up in phase TRAIN.
    passes : their forwards.
    """

    layers = 0
    passes = 0


def note_setup(layer: Any) -> None:
    """To be called in the setup of every layer."""
    Training.layers += layer.phase == caffe.TRAIN


def note_forward(layer: Any) -> None:
    """To be called in the forward of every layer."""
    Training.passes += layer.phase == caffe.TRAIN


class Runs:
    """The test runs of one layer in phase TEST.

    test_iter : how many forwards a run has, where that was said.
    forwards : of the current run.
    """

    def __init__(self, test_iter: Optional[int]) -> None:
        self.test_iter = test_iter
        self.forwards = 0
        self._passes = Training.passes

    def reset(self) -> None:
        self.forwards = 0

    def forward(self) -> None:
        """Count a forward, the first of a new run where one begins.

        ``caffe test`` is one run.  Elsewhere one begins after a training pass, after ``test_iter``
        forwards and after ``reset()``.

        Raises
        ------
        ValueError : a solver is testing, and that cannot be told or is not what test_iter says.
        """
        trained = Training.passes != self._passes
        full = self.forwards == self.test_iter
        if not (_in_caffe_test() or called_from_python()):
            self._check(trained, full)
        if (trained or full) and not _in_caffe_test():
            self.forwards = 0
        self._passes = Training.passes
        self.forwards += 1

    def _check(self, trained: bool, full: bool) -> None:
        if not Training.layers and self.test_iter is None:
            raise ValueError("test_iter must be the solver's, for example {\"test_iter\": 20}, "
                             'where no layer of caffe_layers is in the TRAIN net: nothing else '
                             'tells where a test run ends')
        if Training.layers and self.test_iter is not None and self.forwards and trained != full:
            raise ValueError(f"test_iter must be the solver's; it is {self.test_iter}, but a test "
                             f'run has {"" if trained else "more than "}{self.forwards} forwards')


def called_from_python() -> bool:
    """Whether the forward was asked for by pycaffe's Net.forward, not by a solver."""
    frame: Any = sys._getframe()
    while frame is not None:
        if frame.f_globals.get('__name__') == 'caffe.pycaffe':
            return True
        frame = frame.f_back
    return False


def _in_caffe_test() -> bool:
    """Whether this is the command ``caffe test``, which Python inside it can only ask Linux."""
    if not in_caffe_command():
        return False
    try:
        with open('/proc/self/cmdline') as file:
            words = file.read().split('\0')
    except OSError:
        return False
    return 'test' in words and 'train' not in words
