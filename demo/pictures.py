"""What happened, as pictures."""
from pathlib import Path
from typing import Any, Dict, Tuple

import matplotlib
import numpy as np

from soft_dice import hard_dice

from .blocks import Region
from .brain import CLASSES, Slices, foreground
from .training import Outcome

matplotlib.use('Agg')
from matplotlib import pyplot  # noqa: E402 (after the choice above)
from matplotlib.colors import ListedColormap  # noqa: E402
from matplotlib.patches import Patch  # noqa: E402

COLORS = ('black', '#2a78b5', '#9a9a9a', '#f5efdc')  # of CLASSES
LINES = {'gluon': '#1f77b4', 'caffe': '#d95f02', 'baseline': '#777777'}
AXIAL, CORONAL, SAGITTAL = 40, 26, 34  # the planes of the test region that are shown
STYLES = {'gluon': '-', 'caffe': (0, (4, 3))}  # one may lie on the other
DISTRIBUTED: Tuple[Dict[str, Any], ...] = (
    dict(color='#9ec9e8', linewidth=5), dict(color='#08306b', linewidth=1.2),
    dict(color='#d95f02', linestyle=(0, (4, 2))))
NAMES = {'baseline': 'Histogram', 'gluon': 'Gluon', 'caffe': 'Caffe'}


def draw_slices(path: Path, test: Slices, predictions: Dict[str, np.ndarray]) -> None:
    """One test slice per row: image, truth and each prediction with its own Dice."""
    rows, columns = len(test.z), 2 + len(predictions)
    height, width = test.image.shape[2:]
    figure, axes = pyplot.subplots(rows, columns, squeeze=False,
                                   figsize=(2 * columns, 2 * rows * height / width + 0.9))
    for i, row in enumerate(axes):
        row[0].imshow(test.image[i, 0], cmap='gray', vmin=0, vmax=np.percentile(test.image, 99.8))
        row[0].set_ylabel(f'slice at {test.z[i]} mm')
        _show_classes(row[1], test.label[i, 0])
        for axis, prediction in zip(row[2:], predictions.values()):
            _show_prediction(axis, prediction[i, 0], test.label[i, 0])
    _finish(figure, axes, path, predictions)


def draw_planes(path: Path, test: Region, predictions: Dict[str, np.ndarray]) -> None:
    """Three planes through the brain in the test region: image, truth and each prediction.

    Each Dice is that of the plane. The front is at the top of the axial planes and on the left of
    the sagittal ones.
    """
    brain = np.nonzero(test.label[0, 0])
    box = tuple(slice(max(each.min() - 2, 0), each.max() + 3) for each in brain)
    image, label, *predicted = (each[0, 0][box] for each in (test.image, test.label,
                                                             *predictions.values()))
    upright = slice(None, None, -1)
    planes = {'axial': (AXIAL - box[0].start,), 'coronal': (upright, CORONAL - box[1].start),
              'sagittal': (upright, slice(None), SAGITTAL - box[2].start)}
    heights, columns = [label[plane].shape[0] for plane in planes.values()], 2 + len(predictions)
    figure, axes = pyplot.subplots(
        len(planes), columns, squeeze=False, gridspec_kw=dict(height_ratios=heights),
        figsize=(2 * columns, 2 * sum(heights) / label.shape[2] + 1.6))
    for row, (name, plane) in zip(axes, planes.items()):
        row[0].imshow(image[plane], cmap='gray', vmin=0, vmax=np.percentile(image, 99.8))
        row[0].set_ylabel(name)
        _show_classes(row[1], label[plane])
        for axis, prediction in zip(row[2:], predicted):
            _show_prediction(axis, prediction[plane], label[plane])
    _finish(figure, axes, path, predictions)


def draw_curves(path: Path, outcomes: Dict[str, Outcome], baseline: float, tested: str) -> None:
    """Loss of the training batches, and Dice of what is ``tested``, over the steps."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
    for name, outcome in outcomes.items():
        color, label = LINES[name], NAMES[name]
        steps = np.arange(1, len(outcome.losses) + 1)
        left.plot(steps, outcome.losses, color=color, alpha=0.25, linewidth=0.8)
        style = dict(color=color, label=label, linestyle=STYLES[name])
        left.plot(*_smooth(steps, outcome.losses), **style)
        right.plot(*zip(*outcome.curve), marker='o', markersize=3, **style)
    left.set(xlabel='step', ylabel='soft Dice loss, -log S', title='Training batches', yscale='log')
    right.axhline(baseline, color=LINES['baseline'], linestyle='--', label=NAMES['baseline'])
    right.set(xlabel='step', ylabel='Dice, mean of grey and white', title=tested,
              ylim=(0, 1))
    for axis in (left, right):
        axis.grid(alpha=0.3)
        axis.legend(loc='upper right' if axis is left else 'lower right')
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def draw_distributed(path: Path, curves: Dict[str, np.ndarray],
                     differences: Dict[str, np.ndarray], limits: Dict[int, float]) -> None:
    """The losses of several trainings, and how far some are from the first, with the limits."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
    for (name, losses), style in zip(curves.items(), DISTRIBUTED):
        steps = np.arange(1, len(losses) + 1)
        left.plot(steps, losses, label=name, **style)
        if name in differences:
            apart = differences[name]
            right.plot(steps[apart > 0], apart[apart > 0], label=name, marker='o', markersize=3,
                       **dict(style, linestyle='-', linewidth=1))
    ends = [0, *(min(step, len(steps)) for step in limits)]
    for begin, end, limit in zip(ends, ends[1:], limits.values()):
        right.plot([begin + 0.5, end + 0.5], [limit] * 2, color='black', linestyle='--',
                   label='allowed' if begin == 0 else None)
    left.set(xlabel='step', ylabel='soft Dice loss, -log S', title='Training batches')
    right.set(xlabel='step', ylabel='relative', yscale='log',
              title='Difference from one process')
    for axis in (left, right):
        axis.grid(alpha=0.3)
        axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _show_classes(axis: Any, classes: np.ndarray) -> None:
    axis.imshow(classes, cmap=ListedColormap(COLORS), vmin=0, vmax=len(COLORS) - 1,
                interpolation='nearest')


def _show_prediction(axis: Any, classes: np.ndarray, label: np.ndarray) -> None:
    _show_classes(axis, classes)
    dice = foreground(hard_dice(classes, label, len(CLASSES)))
    axis.set_xlabel(f'Dice {dice:.3f}', labelpad=2)


def _finish(figure: Any, axes: np.ndarray, path: Path, predictions: Dict[str, np.ndarray]) -> None:
    """Titles for the columns image, truth and predictions, a legend, and into the file."""
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    for axis, title in zip(axes[0], ['Image', 'Truth'] + [NAMES[name] for name in predictions]):
        axis.set_title(title)
    figure.legend(handles=[Patch(facecolor=color, edgecolor='grey', label=name)
                           for name, color in zip(CLASSES, COLORS)],
                  loc='lower center', ncol=len(CLASSES), frameon=False)
    figure.tight_layout(rect=(0, 0.45 / figure.get_figheight(), 1, 1), h_pad=0.3, w_pad=0.3)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def _smooth(steps: np.ndarray, losses: Any, window: int = 20) -> Any:
    window = min(window, len(losses))
    return steps[window - 1:], np.convolve(losses, np.ones(window) / window, mode='valid')
