"""The process of one contestant: python -m benchmarks.worker NAME

It answers commands, a line of JSON each, from standard input, and does nothing in between.  It
runs on the Python of its framework, so besides NumPy it imports nothing that its framework does
not need.
"""
import ctypes
import importlib
import json
import os
import re
import sys
import time
from typing import Any, Dict, List

import numpy as np

from .contestants import CONTESTANTS, Contestant, Subject, arrays, elements


class Worker:
    """One method per command; what they return is the answer."""

    def __init__(self, contestant: Contestant) -> None:
        self.contestant = contestant
        self.subject: Any = None

    def check(self, shape: List[int]) -> Dict[str, Any]:
        """Loss and gradient on a small batch.  Also loads whatever is loaded on first use, so that
        it is not taken for memory of the loss."""
        try:
            self.prepare(shape)
        except RuntimeError as error:
            if self.contestant.native != '1':
                raise
            return {'missing': str(error)}  # kernels that are asked for and not there
        loss, gradient = self.subject.result()
        return {'missing': '', 'loss': loss, 'gradient': np.ravel(gradient).tolist(),
                'versions': self._module().versions()}

    def prepare(self, shape: List[int]) -> Dict[str, float]:
        """Take this shape from now on.  Answers what two steps need beyond inputs and gradient, in
        units of the logits, and the loss and the norm of the gradient."""
        self.subject = None
        self.subject = self._build(shape)
        self.subject.before()
        before = resident()
        self.subject.step()
        self.subject.before()
        self.subject.step()
        extra = (_peak() - before) / (4 * elements(shape)) - (not self.subject.gradient_is_there)
        loss, gradient = self.subject.result()
        return {'extra': max(0.0, extra), 'loss': loss,
                'norm': float(np.linalg.norm(gradient))}

    def time(self, seconds: float) -> Dict[str, Any]:
        """The durations of steps, one at least, that take this long together."""
        times: List[float] = []
        cpu = 0.0
        while sum(times) < seconds:
            self.subject.before()
            start, cpu_start = time.perf_counter(), time.process_time()
            self.subject.step()
            times.append(time.perf_counter() - start)
            cpu += time.process_time() - cpu_start
        return {'seconds': times, 'cores': cpu / sum(times)}

    def _build(self, shape: List[int]) -> Subject:
        """A function of its own: the frameworks copy the arrays, and these must be gone."""
        return self._module().build(self.contestant.name, *arrays(tuple(shape)))

    def _module(self) -> Any:
        return importlib.import_module('.' + self.contestant.module, __package__)


def resident() -> int:
    """Bytes in memory now; the peak counts from here on."""
    ctypes.CDLL(None).malloc_trim(0)  # or memory that was freed, and kept, would hide what is new
    with open('/proc/self/clear_refs', 'w') as file:
        file.write('5')
    return _status('VmRSS')


def _peak() -> int:
    return _status('VmHWM')


def _status(name: str) -> int:
    with open('/proc/self/status') as file:
        return 1024 * int(re.findall(rf'^{name}:\s+(\d+) kB', file.read(), re.MULTILINE)[0])


def main() -> None:
    # Frameworks print into standard output; the answers get a copy of it, and the rest goes to
    # standard error.
    answers = os.fdopen(os.dup(1), 'w', buffering=1)
    os.dup2(2, 1)
    worker = Worker(CONTESTANTS[sys.argv[1]])
    for line in sys.stdin:
        command = json.loads(line)
        answers.write(json.dumps(getattr(worker, command.pop('do'))(**command)) + '\n')


if __name__ == '__main__':
    main()
