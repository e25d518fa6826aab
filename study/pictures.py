"""The pictures of docs/which-loss.md; python -m study.pictures draws the one of the gradients."""
from pathlib import Path
from typing import Any, Dict, List, Sequence

import matplotlib
import numpy as np

from . import report
from .gradients import FORMS, PIXELS, RARE, size
from .losses import LOSSES
from .results import REACHED, Result
from .tasks import TASKS

matplotlib.use('Agg')
from matplotlib import pyplot  # noqa: E402 (after the choice above)

GRADIENTS = report.PAGE.with_name('which-loss-gradients.png')
ALT = {report.SEEDS: 'Dice of the worst class, a dot for each seed, a row for each loss',
       report.CURVES: 'Dice of the lesions against the step of the training'}
GREY, WRONG = '#c4c4c4', '#c0392b'
COLORS = {'log': '#1b7837', 'log_batch': '#1b7837', 'dice_ce': '#1f77b4', 'ce': '#555555',
          'squared': '#9467bd', 'dice': '#d95f02', 'dice_batch': '#d95f02',
          'generalised': '#b8860b', 'nnunet': '#17a2b8'}
# Where a line of draw_gradients is named: at which point, and how far from it.
LABELS = {'log': ((1.3e-6, 1 / RARE), (0, 6)), 'dice_ce': ((1.3e-6, 1 / PIXELS), (0, 22)),
          'ce': ((1.3e-6, 1 / PIXELS), (0, 7)), 'squared': ((2e-5, 5e-7), (0, 0)),
          'dice': ((2e-5, 5e-7), (0, -15)), 'generalised': ((2e-5, 5e-7), (0, -30))}
SHOWN = ('log_batch', 'dice_ce', 'nnunet', 'ce', 'dice', 'generalised')  # in colour, as curves


def draw_gradients(path: Path) -> None:
    """The size of the gradient at a pixel of a rare class, against the probability it has."""
    p = np.concatenate([np.logspace(-6, -1, 81), np.linspace(0.11, 0.97, 44)])
    figure, axis = pyplot.subplots(figsize=(9.5, 5.6))
    for name, form in FORMS.items():
        sizes = [size(form, each) for each in p]
        dashes: Any = (0, (4, 3)) if name == 'generalised' else '-'  # it lies on another one
        axis.plot(p, sizes, color=COLORS[name], linewidth=2.2, linestyle=dashes)
        axis.annotate(f'{form.title}:  {form.small}', *LABELS[name], textcoords='offset points',
                      color=COLORS[name], fontsize=9.5, fontweight='bold')
    axis.set(xscale='log', yscale='log', xlim=(p[0], 1), ylim=(3e-8, 0.1),
             xlabel='probability p that the network gives the rare class')
    axis.set_title('A class that the network has lost: -log S still pulls, 1 - S no longer does',
                   loc='left', fontsize=12.5, pad=26)
    axis.text(0, 1.025, f'Size of the gradient at a pixel of a class with n = {RARE} of P = '
              f'{PIXELS:,} pixels, and what it is near p = 0', transform=axis.transAxes,
              color='#555555', fontsize=9.5)
    axis.axvline(RARE / PIXELS, color=GREY, linewidth=1, zorder=0)
    axis.text(RARE / PIXELS, 4e-8, '  p = n / P,\n  its share', color='#777777', fontsize=8.5,
              va='bottom')
    _plain(axis)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def draw_seeds(path: Path, gluon: Dict[str, Dict[str, List[Result]]]) -> None:
    """A panel for each task, a row for each loss, a dot for each seed."""
    tasks = [task for task, by_loss in gluon.items() if by_loss]
    losses = _order([gluon[task] for task in tasks])
    figure, axes = pyplot.subplots(1, len(tasks), sharey=True, squeeze=False, figsize=(
        max(8, 3.2 + 2.5 * len(tasks)), 1.3 + 0.3 * len(losses)))
    places = np.arange(len(losses))[::-1]
    for axis, task in zip(axes[0], tasks):
        for place, loss in zip(places, losses):
            values = [each.worst for each in gluon[task].get(loss, [])]
            color = WRONG if LOSSES[loss].wrong else '#1f77b4'
            axis.plot([0, 1], [place, place], color='#eeeeee', linewidth=1, zorder=0)
            axis.scatter(values, [place] * len(values), s=30, color=color, alpha=0.55,
                         linewidth=0, clip_on=False)
            if values:
                axis.plot([np.mean(values)] * 2, [place - 0.3, place + 0.3], color=color,
                          linewidth=2, clip_on=False)
        axis.set(xlim=(-0.02, 1.02), xticks=[0, 0.5, 0.9, 1], xticklabels=['0', '.5', '.9', '1'])
        axis.axvline(REACHED, color=GREY, linewidth=0.8, zorder=0)
        axis.set_title(TASKS[task].title, fontsize=10.5)
        axis.spines[['top', 'right', 'left']].set_visible(False)
        axis.tick_params(left=False)
    axes[0, 0].set_yticks(places, [report.title(loss) for loss in losses])
    for tick, loss in zip(axes[0, 0].get_yticklabels(), losses):
        tick.set_color(WRONG if LOSSES[loss].wrong else 'black')
    figure.suptitle('Dice of the worst class: a dot for each seed, a bar for their mean')
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _order(by_task: Sequence[Dict[str, List[Result]]]) -> List[str]:
    """Best in the mean over the tasks first, the wrong ones last."""
    def key(loss: str) -> Any:
        return (bool(LOSSES[loss].wrong),
                -np.mean([report.worst(each[loss]) for each in by_task if loss in each]))
    return sorted((loss for loss in LOSSES if any(loss in each for each in by_task)), key=key)


def draw_curves(path: Path, by_loss: Dict[str, List[Result]]) -> None:
    """The rare class against the step: the mean of the seeds, and their range."""
    figure, axis = pyplot.subplots(figsize=(9.5, 5))
    ends = []
    for loss, some in by_loss.items():
        rare = TASKS[some[0].job.task].rare
        steps = [step for step, _ in some[0].curve]
        values = np.array([[dice[rare] for _, dice in each.curve] for each in some])
        mean = values.mean(axis=0)
        if loss in SHOWN:
            axis.fill_between(steps, values.min(axis=0), values.max(axis=0), color=COLORS[loss],
                              alpha=0.12, linewidth=0)
            axis.plot(steps, mean, color=COLORS[loss], linewidth=2.2)
            ends.append((mean[-1], loss))
        elif not LOSSES[loss].wrong:
            axis.plot(steps, mean, color=GREY, linewidth=1, zorder=0)
    for height, (value, loss) in zip(_apart([value for value, _ in sorted(ends)]), sorted(ends)):
        axis.annotate(LOSSES[loss].title, (steps[-1], value), (1.02, height), va='center',
                      textcoords='axes fraction', color=COLORS[loss], fontsize=9,
                      arrowprops=dict(arrowstyle='-', color=GREY, linewidth=0.6, relpos=(0, 0.5)))
    axis.set(ylim=(0, 1), xlim=(0, steps[-1]), xlabel='step', ylabel='Dice of the lesions')
    axis.set_title('How soon each loss finds the lesions: mean of the seeds and their range; grey: '
                   'the other losses', loc='left', fontsize=11)
    _plain(axis)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _apart(heights: Sequence[float], gap: float = 0.05) -> List[float]:
    """Rising heights, at most 1, each at least the gap above the one before it."""
    moved: List[float] = []
    for height in heights:
        moved.append(max(height, moved[-1] + gap) if moved else height)
    return [min(height, 1 - gap * above) for height, above in zip(moved, range(len(moved))[::-1])]


def _plain(axis: Any) -> None:
    axis.grid(alpha=0.2)
    axis.spines[['top', 'right']].set_visible(False)


if __name__ == '__main__':
    draw_gradients(GRADIENTS)
