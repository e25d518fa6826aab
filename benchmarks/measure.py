"""Conducts a run: a process for each contestant, asked in turn.  Imports no framework.

In turn, because a machine drifts: a contestant that had its half minute alone would have been
lucky or not.  A process each, because MXNet and Caffe bring two OpenBLAS of which one would serve
both, because torch lives in another environment, and because the memory of one must not show in
the figures of another.
"""
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from types import MappingProxyType
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence

import numpy as np

from .contestants import Contestant, Shape, arrays, small
from .reference import check, compare

ROOT = Path(__file__).resolve().parent.parent
TURN = 0.2  # seconds, or one step where that takes longer

# What a shell may have set that would treat one library other than the next.
TUNING = ('OMP_', 'GOMP_', 'KMP_', 'MKL_', 'OPENBLAS_', 'MXNET_', 'MALLOC_')

# malloc then gives arrays back as soon as they are freed, so that the peak is what the loss holds
# and not what malloc has kept: with nnU-Net's that was 2.0 against 3.8 to 4.8 times the logits.
EXACT_MEMORY = {'MALLOC_MMAP_THRESHOLD_': str(2 ** 17)}


class Problem(Exception):
    """What the user is told, in one sentence, when something cannot be measured."""


class Settings(NamedTuple):
    rounds: int = 5
    threads: int = 2
    torch_python: str = ''
    turn: float = TURN


class Measurement(NamedTuple):
    """One contestant at one shape.

    median, minimum, spread : seconds of a step; spread is the median absolute deviation.
    steps : how many were timed.
    cores : how many were busy on average.
    extra : peak memory beyond inputs and gradient, in units of the logits.
    versions : of the libraries it ran on.
    """

    name: str
    shape: Shape
    median: float
    minimum: float
    spread: float
    steps: int
    cores: float
    extra: float
    versions: Dict[str, str]


Tick = Callable[[str], None]  # told what happens next


def turns(contestants: Sequence[Contestant], settings: Settings) -> int:
    """How often ``measure`` calls its tick."""
    return len(contestants) * (2 + settings.rounds)


def measure(shape: Shape, contestants: Sequence[Contestant], settings: Settings,
            tick: Tick) -> List[Measurement]:
    """Check every contestant, then time all of them, round after round.

    Raises
    ------
    Problem : something is missing, or a process ended.
    reference.Mismatch : a contestant computes something else.
    """
    extra = _extra_memory(shape, contestants, settings, tick)
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(Worker(each, settings)) for each in contestants]
        prepared = [_prepare(worker, shape, tick) for worker in workers]
        _compare(contestants, prepared)
        answers: List[List[Any]] = [[] for _ in workers]
        for _ in range(settings.rounds):
            for worker, answer in zip(workers, answers):
                tick(worker.contestant.title)
                answer.append(worker.ask('time', seconds=settings.turn))
    return [_measurement(shape, *each) for each in zip(contestants, extra, prepared, answers)]


def _extra_memory(shape: Shape, contestants: Sequence[Contestant], settings: Settings,
                  tick: Tick) -> List[float]:
    """Of each contestant, in processes that are not timed: giving memory back at once is slow."""
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(Worker(each, settings, EXACT_MEMORY))
                   for each in contestants]
        extra = []
        for worker in workers:
            extra.append(_prepare(worker, shape, tick)['extra'])
            worker.close()
        return extra


class Worker:
    """The other end of worker.py."""

    def __init__(self, contestant: Contestant, settings: Settings,
                 variables: Mapping[str, str] = MappingProxyType({})) -> None:
        self.contestant = contestant
        python = settings.torch_python if contestant.module == 'on_torch' else sys.executable
        self._log = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                [python, '-m', 'benchmarks.worker', contestant.name], cwd=str(ROOT),
                env=dict(_environment(contestant, settings.threads), **variables),
                universal_newlines=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=self._log)
        except OSError as error:
            raise Problem(f'cannot run {python}: {error.strerror}') from error

    def __enter__(self) -> 'Worker':
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def ask(self, command: str, **arguments: Any) -> Any:
        line = json.dumps(dict(arguments, do=command)) + '\n'
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (BrokenPipeError, ValueError):
            raise Problem(f'{self.contestant.title} ended: {self._last_words()}') from None

    def _last_words(self) -> str:
        status = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors='replace').split('\n')
        return next((line.strip() for line in reversed(lines) if line.strip()),
                    f'without a word, with status {status}'
                    + ' (too little memory?)' * (status == -9))


def _environment(contestant: Contestant, threads: int) -> Dict[str, str]:
    """Equal for everyone.  How threads wait is left to the libraries: README.md says why."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(TUNING) and name != 'SOFT_DICE_NATIVE'}
    for library in ('OMP', 'MKL', 'OPENBLAS'):
        environment[f'{library}_NUM_THREADS'] = str(threads)
    if contestant.native:
        environment['SOFT_DICE_NATIVE'] = contestant.native
    return dict(environment, GLOG_minloglevel='2')


def _prepare(worker: Worker, shape: Shape, tick: Tick) -> Dict[str, Any]:
    tick(f'{worker.contestant.title}, check')
    answer = worker.ask('check', shape=small(shape))
    if answer['missing']:
        raise Problem(f'{worker.contestant.title} cannot run: {answer["missing"]}; '
                      '--without-native leaves it out')
    check(worker.contestant, answer, *arrays(small(shape)))
    return dict(worker.ask('prepare', shape=shape), versions=answer['versions'])


def _compare(contestants: Sequence[Contestant], prepared: Sequence[Dict[str, Any]]) -> None:
    first: Dict[str, Dict[str, Any]] = {}
    for contestant, answer in zip(contestants, prepared):
        compare(contestant, answer, first.setdefault(contestant.computes, answer))


def _measurement(shape: Shape, contestant: Contestant, extra: float, prepared: Dict[str, Any],
                 answers: Sequence[Dict[str, Any]]) -> Measurement:
    seconds = np.concatenate([answer['seconds'] for answer in answers])
    median = float(np.median(seconds))
    return Measurement(
        contestant.name, tuple(shape), median, float(seconds.min()),
        spread=float(np.median(np.abs(seconds - median))), steps=len(seconds),
        cores=statistics.median(answer['cores'] for answer in answers),
        extra=max(0.0, extra), versions=prepared['versions'])
