"""What was measured, as tables: on the terminal, in the README, and against the conditions."""
import datetime
import os
import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

from .contestants import CONTESTANTS, Shape
from .measure import Measurement
from .pages import row, write_between

OURS = 'gluon-native'  # what the ratios are to
LIMIT = 'copy'
BEGIN = '<!-- written by `python -m benchmarks --readme` -->'
END = '<!-- end of what `python -m benchmarks --readme` writes -->'

# What must hold, as (ours, peer, ours takes at most this part of the peer's time).
CHECK_SHAPE: Shape = (4, 8, 512, 512)
CHECK_THREADS = 2
FASTER = (('gluon-native', 'gluon-plain', 1 / 12), ('gluon-native', 'monai', 1 / 3),
          ('caffe-native', 'caffe-softmax', 1 / 4), ('kernels', LIMIT, 6.0),
          ('gluon-operators', 'gluon-plain', 2 / 3))
SMALLER = (('gluon-native', 0.05), ('caffe-native', 0.05), ('kernels', 0.05))


class Record(NamedTuple):
    """A whole run.

    machine : what it ran on, in words; see :func:`machine`.
    measurements : of the shapes.
    classes, pixels : of the growth with either; empty where that was not measured.
    """

    machine: Dict[str, str]
    measurements: List[Measurement]
    classes: List[Measurement] = []
    pixels: List[Measurement] = []

    def to_json(self) -> Dict[str, Any]:
        return {name: value if isinstance(value, dict) else [each._asdict() for each in value]
                for name, value in self._asdict().items()}

    @classmethod
    def from_json(cls, data: Dict[str, Any]) -> 'Record':
        lists = {name: [Measurement(**dict(each, shape=tuple(each['shape'])))
                        for each in data[name]] for name in ('measurements', 'classes', 'pixels')}
        return cls(data['machine'], **lists)

    def shapes(self) -> List[Shape]:
        return list(dict.fromkeys(each.shape for each in self.measurements))

    def at(self, shape: Shape) -> Dict[str, Measurement]:
        return {each.name: each for each in self.measurements if each.shape == shape}


class Condition(NamedTuple):
    """Something that must hold: a sentence, the figure, and the most it may be."""

    text: str
    figure: float
    limit: float

    @property
    def holds(self) -> bool:
        return self.figure <= self.limit

    def __str__(self) -> str:
        verdict = 'holds' if self.holds else 'FAILS'
        return f'{verdict}  {self.text}: {self.figure:.3f}, at most {self.limit:.3f}'


def machine(threads: int) -> Dict[str, str]:
    with open('/proc/cpuinfo') as file:
        names = re.findall(r'^model name\s*: (.*)$', file.read(), re.MULTILINE)
    return {'processor': re.sub(r'\s+', ' ', names[0]) if names else 'unknown processor',
            'cores': str(len(os.sched_getaffinity(0))), 'threads': str(threads),
            'date': datetime.date.today().isoformat()}


def conditions(measured: Dict[str, Measurement]) -> List[Condition]:
    """Of all contestants at CHECK_SHAPE."""
    title = {name: each.title for name, each in CONTESTANTS.items()}
    found = [Condition(f'time of {title[ours]} / {title[peer]}',
                       measured[ours].median / measured[peer].median, limit)
             for ours, peer, limit in FASTER]
    return found + [Condition(f'extra memory of {title[ours]} / logits', measured[ours].extra,
                              limit) for ours, limit in SMALLER]


def table(measured: Dict[str, Measurement]) -> str:
    """One shape on the terminal."""
    head = ['ms', 'least', 'spread', f'x {CONTESTANTS[OURS].title}', 'x copy', 'cores', 'memory']
    rows = [[CONTESTANTS[each.name].title, f'{1000 * each.median:.2f}',
             f'{1000 * each.minimum:.2f}', f'{1000 * each.spread:.2f}',
             _ratio(each, measured.get(OURS)), _ratio(each, measured.get(LIMIT)),
             f'{each.cores:.1f}', f'{each.extra:.2f}'] for each in measured.values()]
    shape = next(iter(measured.values())).shape
    return '\n'.join(f'{first:36}' + ''.join(f'{cell:>9}' if len(cell) < 9 else f'  {cell}'
                                             for cell in rest)
                     for first, *rest in [[str(shape), *head], *rows])


def _ratio(each: Measurement, other: Optional[Measurement]) -> str:
    return '' if other is None else f'{each.median / other.median:.1f}'


def readme_table(record: Record) -> str:
    """All shapes: a row for each contestant, the median and in brackets its ratio to ours."""
    shapes = record.shapes()
    by_shape = {shape: record.at(shape) for shape in shapes}
    lines = [row(['ms'] + [' x '.join(map(str, shape)) for shape in shapes] + ['extra memory']),
             row(['---'] + ['---:'] * (len(shapes) + 1))]
    for name in by_shape[shapes[0]]:
        each = [by_shape[shape][name] for shape in shapes]
        cells = [f'{_milliseconds(one.median)} ({_ratio(one, by_shape[shape].get(OURS))})'
                 for one, shape in zip(each, shapes)]
        lines.append(row([CONTESTANTS[name].title] + cells
                         + [f'{max(one.extra for one in each):.2f}']))
    return '\n'.join(lines)


def _milliseconds(seconds: float) -> str:
    """Three digits, as more would be noise."""
    return f'{1000 * seconds:.{max(0, 3 - len(str(int(1000 * seconds))))}f}'


def describe(record: Record) -> str:
    """On what machine, with which versions, and how steady the figures are."""
    versions = {name: version for each in record.measurements
                for name, version in each.versions.items()}
    spread = max(each.spread / each.median for each in record.measurements)
    where = '{processor}, {cores} cores, {threads} threads for everyone, {date}'
    return (where.format(**record.machine) + '; '
            + ', '.join(f'{name} {version}' for name, version in versions.items())
            + f'. Spread (median absolute deviation) at most {100 * spread:.0f} % of a median.')


def write_readme(path: Path, record: Record) -> None:
    """Replace what stands between the markers.

    Raises
    ------
    ValueError : the file has no markers.
    """
    write_between(path, BEGIN, END, f'{readme_table(record)}\n\n{describe(record)}')
