"""A training by two workers is that of one process: ``python -m demo --distributed``.

Scheduler, server and workers are processes on this machine, which gluon_dice.launch starts.
"""
import json
import sys
import tempfile
from pathlib import Path
from typing import Dict, List

import numpy as np

from gluon_dice import launch

from . import pictures, worker
from .brain import DemoError
from .worker import Record

WORKERS = 2
ONE, TWO, SHARES = 'one process', f'{WORKERS} workers', 'mean of shares'

# The relative difference that two curves may have up to a step. At first there is only what the
# servers do, who add up gradients in float32: 1e-8 was measured. Each step multiplies what there
# is: after 60 steps it was up to 9e-4 with four seeds, and between float32 and float64 in one
# process 3e-3.
LIMITS = {10: 1e-6, worker.STEPS: 1e-2}

Curves = Dict[str, np.ndarray]


def demo(out: Path, seed: int, steps: int = worker.STEPS) -> int:
    """Train three times, print and draw the curves; 0, or 1 where they are not as they must be.

    Raises
    ------
    DemoError : a worker failed.
    """
    options = ['--seed', str(seed), '--steps', str(steps)]
    print('What to start on several machines; each worker leaves its losses in FOLDER:\n')
    print(launch.printed(['python', '-m', 'demo.worker', 'FOLDER', *options], '10.0.0.1', 9091,
                         WORKERS, servers=1))
    print(f'\nOn this one, {steps} steps in float64:', flush=True)
    records = {ONE: [worker.train(seed, steps, 'float64', name=ONE)],
               TWO: run(WORKERS, *options, '--name', TWO),
               SHARES: run(WORKERS, *options, '--mean-of-shares', '--name', SHARES)}
    curves = {name: curve(each) for name, each in records.items()}
    _print_table(curves, records)
    pictures.draw_distributed(out / 'distributed.png', curves,
                              {name: difference(curves[ONE], curves[name])
                               for name in (TWO, SHARES)}, LIMITS)
    (out / 'distributed.json').write_text(json.dumps(
        {'seed': seed, 'steps': steps, 'records': {name: [one._asdict() for one in each]
                                                   for name, each in records.items()}}) + '\n')
    print(f'distributed.png and distributed.json are in {out}')
    return judged(curves)


def run(workers: int, *options: str) -> List[Record]:
    """What so many workers on this machine leave behind, in the order of their ranks.

    Raises
    ------
    DemoError : one failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, '-m', 'demo.worker', folder, *options]
        for name, status in launch.run(command, workers).items():
            if status:
                raise DemoError(f'{name} of {workers} ended with {launch.described(status)}; what '
                                'it said is above')
        return [Record(**json.loads((Path(folder) / f'worker-{rank}.json').read_text()))
                for rank in range(workers)]


def curve(records: List[Record]) -> np.ndarray:
    """The loss of each step: the mean over samples of what the workers have."""
    return np.average([each.losses for each in records], axis=0,
                      weights=[each.samples for each in records])


def difference(expected: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Of each step, relative."""
    return np.abs(found - expected) / np.abs(expected)


def judged(curves: Curves) -> int:
    """Say what is not as it must be, and give the exit status."""
    found = findings(curves)
    for finding in found:
        print(f'demo: {finding}', file=sys.stderr)
    return 1 if found else 0


def findings(curves: Curves) -> List[str]:
    """What is not as it must be: the workers' curve is that of one process, and the mean of the
    shares' Dice is not, or else the comparison would prove nothing."""
    found = []
    exceeded = _exceeded(difference(curves[ONE], curves[TWO]))
    if exceeded:
        found.append(f'{TWO} train otherwise than one process: {exceeded}')
    if not _exceeded(difference(curves[ONE], curves[SHARES])):
        found.append(f'the {SHARES} trains like one process, so the comparison says nothing')
    return found


def _exceeded(apart: np.ndarray) -> str:
    """The first limit that is not kept, in words; '' where all are."""
    for step, limit in LIMITS.items():
        largest = apart[:step].max()
        if not largest <= limit:  # nor is NaN
            return (f'the losses of the first {min(step, len(apart))} steps differ by up to '
                    f'{largest:.1e}, and {limit:.0e} is allowed')
    return ''


def _print_table(curves: Curves, records: Dict[str, List[Record]]) -> None:
    steps = len(curves[ONE])
    print(f'\n{"loss at step":14}' + ''.join(f'{name:>16}' for name in curves))
    for step in sorted({1, 2, *(step for step in (5, 10, 20, 40) if step < steps), steps}):
        print(f'{step:<14}' + ''.join(f'{each[step - 1]:16.9f}' for each in curves.values()))
    largest = {name: difference(curves[ONE], curves[name]) for name in (TWO, SHARES)}
    for step in sorted({min(step, steps) for step in LIMITS}):
        cells = ''.join(f'{each[:step].max():16.1e}' for each in largest.values())
        print(f'{f"apart, to {step}":14}{"":16}{cells}')
    print(f'{"s per step":14}' + ''.join(f'{np.median(each[0].seconds):16.3f}'
                                         for each in records.values()) + '\n')
