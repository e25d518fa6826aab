"""Measure everyone and show what came of it: python -m benchmarks"""
import argparse
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import List, Optional, Sequence

from tqdm import tqdm  # type: ignore[import-untyped]

from soft_dice.version import add_version

from . import report
from .contestants import CONTESTANTS, SHAPES, Contestant, Shape, elements
from .measure import ROOT, Measurement, Problem, Settings, Tick, measure, turns
from .reference import Mismatch

OUT = Path(__file__).resolve().parent / 'out'
README = ROOT / 'README.md'
TORCH_PYTHON = ROOT / '.runtime-originals' / 'bin' / 'python'
QUICK: Sequence[Shape] = [(8, 4, 256, 256)]

# Growth: the shapes, and those who take part.
CLASSES = [(1, 2 ** n, 256, 256) for n in range(1, 8)]
PIXELS = [(1, 8, 2 ** n, 2 ** n) for n in range(6, 11)]
GROWING = ('gluon-native', 'gluon-operators', 'caffe-native', 'gluon-plain', 'caffe-softmax',
           'monai', 'copy')


def main(arguments: Optional[List[str]] = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        record = _load(options.load) if options.load else None
        _refuse_contradictions(parser, options, record)
        return _benchmark(options, record)
    except Mismatch as error:
        print(f'benchmarks: {error}', file=sys.stderr)
        return 1
    except Problem as error:
        print(f'benchmarks: {error}', file=sys.stderr)
        return 2


def _benchmark(options: argparse.Namespace, record: Optional[report.Record]) -> int:
    _check_folder(options.out)
    if options.json:
        _check_folder(options.json.resolve().parent)
    if record is None:
        record = _measure_all(options)
    else:
        for shape in record.shapes():
            print(report.table(record.at(shape)), end='\n\n')
    print(report.describe(record))
    if options.json:
        options.json.write_text(json.dumps(record.to_json(), indent=1) + '\n')
    if options.readme:
        report.write_readme(README, record)
    if record.classes and record.pixels:
        from .pictures import draw_growth  # matplotlib takes a second: mistakes are answered first
        draw_growth(options.out / 'benchmark.png', record)
        print(f'benchmark.png, the growth with classes and pixels, is in {options.out}')
    return _print_conditions(record) if options.check else 0


def _measure_all(options: argparse.Namespace) -> report.Record:
    contestants, shapes = _contestants(options), _shapes(options)
    growing = [each for each in contestants if each.name in GROWING]
    growth = not (options.without_growth or options.quick or options.check) and growing
    _check_machine(contestants, shapes + (CLASSES + PIXELS) * bool(growth), options)
    settings = Settings(2 if options.quick else options.rounds, options.threads,
                        str(options.torch_python))
    few = settings._replace(rounds=min(3, settings.rounds))
    total = len(shapes) * turns(contestants, settings)
    total += len(CLASSES + PIXELS) * turns(growing, few) if growth else 0
    with tqdm(total=total, unit='turn', dynamic_ncols=True, disable=None) as bar:
        def measure_each(shapes: Sequence[Shape], contestants: Sequence[Contestant],
                         settings: Settings, show: bool) -> List[Measurement]:
            measured = []
            for shape in shapes:
                measured.append(measure(shape, contestants, settings, _ticker(bar, shape)))
                if show:
                    bar.write(report.table({each.name: each for each in measured[-1]}) + '\n')
            return [each for some in measured for each in some]

        record = report.Record(report.machine(options.threads),
                               measure_each(shapes, contestants, settings, show=True))
        if growth:
            record = record._replace(classes=measure_each(CLASSES, growing, few, show=False),
                                     pixels=measure_each(PIXELS, growing, few, show=False))
    return record


def _ticker(bar: tqdm, shape: Shape) -> Tick:
    def tick(what: str) -> None:
        bar.set_postfix_str(f'{shape} {what}')
        bar.update()
    return tick


def _print_conditions(record: report.Record) -> int:
    found = report.conditions(record.at(report.CHECK_SHAPE))
    print(f'\nAt {report.CHECK_SHAPE}, {report.CHECK_THREADS} threads:')
    for condition in found:
        print(condition)
    return int(not all(condition.holds for condition in found))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks', description='Time and memory of this project\'s losses, '
        'forward and backward, against their peers, in turns and with equal threads.',
        epilog=f'Contestants: {", ".join(CONTESTANTS)}. Exit status: 0; 1 for a contestant that '
        'computes something else, or with --check a condition that fails; 2 for what could not '
        'run.')
    add_version(parser)
    what = parser.add_argument_group('what is measured')
    what.add_argument('--shapes', type=_shape, nargs='+', metavar='N,C,H,W',
                      help='of the logits, with any number of spatial axes (default: five)')
    what.add_argument('--only', nargs='+', choices=list(CONTESTANTS), metavar='NAME',
                      help='these contestants')
    what.add_argument('--quick', action='store_true', help='one small shape, two rounds')
    what.add_argument('--check', action='store_true',
                      help=f'one shape, {report.CHECK_SHAPE}, and whether the project is as fast '
                      'and small there as it must be')
    what.add_argument('--without-growth', action='store_true',
                      help='not the growth with classes and pixels')
    what.add_argument('--without-torch', action='store_true', help='not the contestants on torch')
    what.add_argument('--without-native', action='store_true',
                      help='not the contestants that need the native kernels')
    how = parser.add_argument_group('how')
    how.add_argument('--rounds', type=_positive, default=5, metavar='N',
                     help='turns of each contestant (default: 5)')
    how.add_argument('--threads', type=_positive, metavar='N',
                     default=min(report.CHECK_THREADS, _cores()),
                     help='of each contestant (default: %(default)s)')
    how.add_argument('--torch-python', type=Path, default=TORCH_PYTHON, metavar='FILE',
                     help='a Python with torch, monai and nnunetv2 (default: the one that '
                     '`make bench` builds)')
    how.add_argument('--from', dest='load', type=Path, metavar='FILE',
                     help='measure nothing: show what --json has written')
    where = parser.add_argument_group('where to')
    where.add_argument('--out', type=Path, default=OUT, metavar='FOLDER',
                       help='where the picture goes (default: benchmarks/out)')
    where.add_argument('--json', type=Path, metavar='FILE', help='write all figures to this file')
    where.add_argument('--readme', action='store_true', help="write the README's table")
    return parser


def _shape(text: str) -> Shape:
    if not re.fullmatch(r'[1-9]\d*(,[1-9]\d*){2,}', text):
        raise argparse.ArgumentTypeError('must be whole numbers, for example 4,8,512,512; '
                                         f'got {text!r}')
    shape = tuple(int(size) for size in text.split(','))
    if shape[1] < 2:
        raise argparse.ArgumentTypeError(f'must have two classes or more; got {text!r}')
    return shape


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'must be a whole number > 0; got {text!r}')
    return int(text)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _contestants(options: argparse.Namespace) -> List[Contestant]:
    return [each for name, each in CONTESTANTS.items()
            if (not options.only or name in options.only)
            and not (options.without_torch and each.module == 'on_torch')
            and not (options.without_native and each.native == '1')]


def _shapes(options: argparse.Namespace) -> List[Shape]:
    default = QUICK if options.quick else [report.CHECK_SHAPE] if options.check else SHAPES
    return list(dict.fromkeys(options.shapes or default))


def _refuse_contradictions(parser: argparse.ArgumentParser, options: argparse.Namespace,
                           record: Optional[report.Record]) -> None:
    if record is None:
        names, shapes = [each.name for each in _contestants(options)], _shapes(options)
        threads = options.threads
    else:
        names, shapes = list(record.at(record.shapes()[0])), record.shapes()
        threads = int(record.machine['threads'])
    everyone = names == list(CONTESTANTS)
    if not names:
        parser.error('no contestant is left')
    if threads > _cores() and record is None:
        parser.error(f'--threads must be at most the number of cores, {_cores()}; got {threads}')
    if options.readme and not (everyone and shapes == list(SHAPES)):
        parser.error('--readme needs every contestant at each of the five shapes')
    if options.check and not (everyone and report.CHECK_SHAPE in shapes
                              and threads == report.CHECK_THREADS):
        parser.error(f'--check needs every contestant, the shape {report.CHECK_SHAPE} and '
                     f'{report.CHECK_THREADS} threads')


def _check_folder(folder: Path) -> None:
    """Now rather than after minutes of measuring."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=str(folder)).close()
    except OSError as error:
        raise Problem(f'cannot write into {folder}: {error.strerror}') from error


def _check_machine(contestants: Sequence[Contestant], shapes: Sequence[Shape],
                   options: argparse.Namespace) -> None:
    if any(each.module == 'on_torch' for each in contestants) and not options.torch_python.exists():
        raise Problem('torch has an environment of its own, which is missing: `make bench` builds '
                      'it, and --without-torch does without')
    largest = max(shapes, key=elements)
    # Everyone keeps logits, gradient and, in MXNet, its buffers: 2.4 times the logits on average.
    needed = 3 * 4 * elements(largest) * len(contestants) / 1e9
    with open('/proc/meminfo') as file:
        free = int(re.findall(r'^MemAvailable:\s+(\d+)', file.read(), re.MULTILINE)[0]) / 1e6
    if free < needed:
        raise Problem(f'shape {largest} needs about {needed:.0f} GB of free memory and '
                      f'{free:.0f} GB are free: measure fewer at once with --only, or smaller '
                      '--shapes')


def _load(path: Path) -> report.Record:
    try:
        return report.Record.from_json(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Problem(f'cannot read {path} as what --json writes: {error}') from error


if __name__ == '__main__':
    sys.exit(main())
