"""Bytes and time per step against the number of workers::

    python -m demo.scaling [--docs]
"""
import argparse
import os
import sys
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence

import numpy as np

from benchmarks.pages import row, write_between
from benchmarks.report import machine
from soft_dice.version import add_version

from . import distributed, worker
from .brain import DemoError
from .training import UNET

DOCS = Path(__file__).resolve().parent.parent / 'docs' / 'distributed.md'
BEGIN = '<!-- written by `python -m demo.scaling --docs` -->'
END = '<!-- end of what `python -m demo.scaling --docs` writes -->'

MEASURED = (1, 2, 4)
CALCULATED = (8, 16, 64)
STEPS = 33
WARM = 3  # of them are not timed, as MXNet plans its memory then


class Row(NamedTuple):
    """What each step of so many workers takes; None is not measured.

    counts, gradients : bytes that each worker sends, and gets back as many.
    seconds : of worker 0, each step.
    loopback : bytes that the system counted between all processes.
    """

    workers: int
    counts: int
    gradients: int
    seconds: Sequence[float] = ()
    loopback: Optional[float] = None

    @property
    def at_servers(self) -> int:
        """Bytes into the servers and out of them."""
        return 2 * self.workers * (self.counts + self.gradients)

    def cells(self) -> List[str]:
        return [str(self.workers), _milliseconds(self.seconds), f'{self.counts:,}',
                f'{self.gradients:,}', f'{self.at_servers:,}',
                'calculated' if self.loopback is None else f'{round(self.loopback):,}']


HEAD = ['workers', 'ms per step', 'counts, bytes', 'gradients, bytes',
        'servers, in and out', 'on the loopback interface']


def measure(steps: int = STEPS) -> List[Row]:
    """The demo's U-Net in float32, the same batch for any number of workers.

    Raises
    ------
    DemoError : a worker failed.
    """
    rows = []
    for workers in MEASURED:
        record = distributed.run(workers, '--dtype', 'float32', '--steps', str(steps),
                                 '--name', f'{workers} worker(s)')[0]
        rows.append(Row(workers, record.loss_bytes, 4 * record.parameters,
                        record.seconds[WARM:], record.loopback))
    of_one = rows[0]
    return rows + [Row(workers, workers * of_one.counts, of_one.gradients)
                   for workers in CALCULATED]


def alone(steps: int = STEPS) -> List[float]:
    """Seconds of each step of one process without a KVStore."""
    return worker.train(0, steps, 'float32', name='one process').seconds[WARM:]


def table(rows: List[Row]) -> str:
    return '\n'.join([row(HEAD), row(['---:'] * len(HEAD)), *(row(each.cells()) for each in rows)])


def _milliseconds(seconds: Sequence[float]) -> str:
    """Median, and in brackets the least."""
    return f'{1000 * np.median(seconds):.0f} ({1000 * min(seconds):.0f})' if seconds else ''


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(
        prog='python -m demo.scaling', description='Measures bytes and time per step of the '
        'distributed demo against the number of workers on this machine.')
    add_version(parser)
    parser.add_argument('--docs', action='store_true', help=f'write the table into {DOCS.name}')
    given = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    try:
        without, rows = alone(), measure()
    except DemoError as error:
        print(f'demo: {error}', file=sys.stderr)
        return 2
    where = machine(len(os.sched_getaffinity(0)))
    text = (f'{table(rows)}\n\nOne process without a KVStore: {_milliseconds(without)} ms. Batch '
            f'{UNET.batch_size}, median (and least) of {STEPS - WARM} steps, load {load:.1f} '
            'before the start; {processor}, {cores} cores, {date}.'.format(**where))
    print(text)
    if given.docs:
        write_between(DOCS, BEGIN, END, text)
    return 0


if __name__ == '__main__':
    sys.exit(main())
