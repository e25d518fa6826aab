"""How time and memory grow with classes and with pixels, as a picture."""
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

import matplotlib

from .contestants import CONTESTANTS, elements
from .measure import Measurement
from .report import Record

matplotlib.use('Agg')
from matplotlib import pyplot  # noqa: E402 (after the choice above)

# Ours in colour and solid, the peers in the same colours and dashed, what limits both in grey.
STYLES: Dict[str, Dict[str, Any]] = {
    'gluon-native': dict(color='#1f77b4', linewidth=2.5),
    'gluon-operators': dict(color='#6b4fa0', linewidth=2.5),
    'caffe-native': dict(color='#d95f02', linewidth=2.5),
    'gluon-plain': dict(color='#1f77b4', linestyle='--'),
    'caffe-softmax': dict(color='#d95f02', linestyle='--'),
    'monai': dict(color='#3f8f3a', linestyle='--'),
    'copy': dict(color='#777777', linestyle=':'),
}
FLOOR = 0.1  # MB; whatever is less is drawn here, as smaller figures are noise
GAP = 0.055  # between labels, as a part of the height of a panel

Value = Callable[[Measurement], float]


def draw_growth(path: Path, record: Record) -> None:
    figure, axes = pyplot.subplots(2, 2, figsize=(14, 9), sharex='col', sharey='row')
    names = (f'classes ({_pixels(record.classes[0]):,} pixels)',
             f'pixels ({_classes(record.pixels[0])} classes)')
    for column, measured, size, name in zip(axes.T, (record.classes, record.pixels),
                                            (_classes, _pixels), names):
        _draw(column[0], measured, size, lambda each: 1000 * each.median)
        _draw(column[1], measured, size, _megabytes)
        _draw_logits(column[1], measured, size)
        column[1].set_xlabel(name)
        ticks = sorted({size(each) for each in measured})
        column[1].set_xticks(ticks, [f'{tick:,}' for tick in ticks])
    axes[0, 0].set_ylabel('forward and backward, ms')
    axes[1, 0].set_ylabel('memory beyond inputs and gradient, MB')
    for axis in axes.flat:
        _label_lines(axis)
    figure.suptitle('{processor}, {threads} threads, {date}'.format(**record.machine))
    figure.tight_layout(w_pad=3)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _draw(axis: Any, measured: Sequence[Measurement], size: Value, value: Value) -> None:
    for name, style in STYLES.items():
        line = sorted((each for each in measured if each.name == name), key=size)
        if line:
            axis.plot([size(each) for each in line], [value(each) for each in line],
                      label=CONTESTANTS[name].title, **style)
    axis.set(xscale='log', yscale='log')
    axis.minorticks_off()
    axis.yaxis.set_major_formatter('{x:g}')
    axis.grid(alpha=0.25)
    axis.spines[['top', 'right']].set_visible(False)


def _draw_logits(axis: Any, measured: Sequence[Measurement], size: Value) -> None:
    bytes_of = {size(each): 4 * elements(each.shape) / 1e6 for each in measured}
    axis.plot(*zip(*sorted(bytes_of.items())), color='#cccccc', linewidth=6, zorder=0,
              label='the logits themselves')


def _label_lines(axis: Any) -> None:
    """Each line's name at its end, moved as far as needed not to cover another one."""
    to_axes = (axis.transData + axis.transAxes.inverted()).transform
    lines: List[Any] = sorted(axis.get_lines(), key=lambda line: line.get_ydata()[-1])
    ends = [to_axes((line.get_xdata()[-1], line.get_ydata()[-1])) for line in lines]
    for line, (x, y), height in zip(lines, ends, _apart([y for _, y in ends])):
        axis.annotate(line.get_label(), (x, y), (1.03, height), xycoords='axes fraction',
                      textcoords='axes fraction', va='center', fontsize=9,
                      color='#555555' if line.get_color() == '#cccccc' else line.get_color(),
                      arrowprops=dict(arrowstyle='-', color='#bbbbbb', linewidth=0.6))


def _apart(heights: Sequence[float]) -> List[float]:
    """Rising heights, with those nearer than GAP pushed apart, each pair by the same amount."""
    moved = list(heights)
    for _ in range(200):
        for i in range(1, len(moved)):
            push = max(0.0, GAP - (moved[i] - moved[i - 1])) / 2
            moved[i - 1] -= push
            moved[i] += push
    return moved


def _classes(each: Measurement) -> int:
    return each.shape[1]


def _pixels(each: Measurement) -> int:
    return elements(each.shape) // each.shape[1]


def _megabytes(each: Measurement) -> float:
    return max(FLOOR, each.extra * 4 * elements(each.shape) / 1e6)
