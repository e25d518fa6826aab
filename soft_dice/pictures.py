"""Where a loss pushes: its gradient as a picture, with a panel for each class."""
import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from .arrays import CannotRun
from .options import DiceOptions
from .survey import Survey

# Losses that push in different ways: per class, by squares, by inverse volume, all in one sum.
DRAWN = ('monai', 'milletari2016', 'sudre2017', 'keras_smooth1')
MOST_CLASSES = 6
STRONG = 99.5  # per cent of a row's gradients are within its colours; a few outliers would hide all


class Place(NamedTuple):
    """A sample, and of a volume a plane of its first axis of space; None is the middle."""

    sample: int
    plane: Optional[int] = None


def draw_gradients(path: str, survey: Survey, losses: Dict[str, DiceOptions], at: Place) -> None:
    """The label, and what each loss asks for: blue raises the logit of the class, red lowers it.

    Raises
    ------
    CannotRun : the file cannot be written.
    """
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    plane = _plane(survey, at)
    label = survey.label(at.sample, plane)
    classes = _classes(label)
    label = label[classes]
    grid = Grid.of(len(losses) + 1, label, pyplot)
    grid.name(0, 'label', ['foreground' if survey.classes == 1 else f'class {c}' for c in classes])
    for panel, of_class in zip(grid.panels[0], label):
        panel.imshow(of_class, cmap='gray', vmin=0, vmax=1, interpolation='nearest')
    for i, (name, options) in enumerate(losses.items(), 1):
        loss = float(np.mean(survey.loss(options)[at.sample]))
        grid.name(i, f'{name}\nloss {loss:.4g}')
        push = -survey.gradient(options, at.sample, plane)[classes]
        grid.add_scale(i, _draw(grid.panels[i], label, push))
    grid.figure.suptitle(_title(survey, at.sample, plane, len(classes)), fontsize=12)
    try:
        grid.figure.savefig(path, dpi=100)
    except (OSError, ValueError) as error:
        raise CannotRun(f'{path} cannot be written: {error}') from None
    finally:
        pyplot.close(grid.figure)


class Grid(NamedTuple):
    """Panels, a line of one for each class for the label and for every loss.

    figure : of matplotlib.
    panels : axes, (lines, classes).
    scales : the axes for a colour scale, (lines,).
    in_rows : is a line a row?  With few classes it is a column, else the picture were a strip.
    """

    figure: Any
    panels: np.ndarray
    scales: np.ndarray
    in_rows: bool

    @classmethod
    def of(cls, lines: int, label: np.ndarray, pyplot: Any) -> 'Grid':
        classes, height, width = label.shape
        in_rows = classes > 2
        across, down = (classes, lines) if in_rows else (lines, classes)
        tall = 2.7 * min(max(height / width, 0.4), 2)
        size = (2.7 * across + 1.6 * in_rows, tall * down + 1 + 0.6 * (not in_rows))
        ratios = {'width_ratios' if in_rows else 'height_ratios': [1] * classes + [0.06]}
        figure, axes = pyplot.subplots(down + (not in_rows), across + in_rows, squeeze=False,
                                       figsize=size, constrained_layout=True, gridspec_kw=ratios)
        axes = axes if in_rows else axes.T
        axes[0, -1].axis('off')
        for panel in axes[:, :-1].flat:
            panel.set(xticks=[], yticks=[])
        return cls(figure, axes[:, :-1], axes[:, -1], in_rows)

    def name(self, line: int, name: str, of_classes: Sequence[str] = ()) -> None:
        """Write the name of a line, and those of the classes beside the panels of this one."""
        first = self.panels[line, 0]
        (first.set_ylabel if self.in_rows else first.set_title)(name, fontsize=12)
        for panel, text in zip(self.panels[line], of_classes):
            (panel.set_title if self.in_rows else panel.set_ylabel)(text, fontsize=12)

    def add_scale(self, line: int, image: Any) -> None:
        self.figure.colorbar(image, cax=self.scales[line], extend='both', format='%.1e',
                             orientation='vertical' if self.in_rows else 'horizontal',
                             ticks=[image.norm.vmin, 0, image.norm.vmax])


def _draw(panels: Any, label: np.ndarray, push: np.ndarray) -> Any:
    """All panels of a loss in the same colours, with the outline of the label; the last image."""
    largest = float(np.percentile(np.abs(push), STRONG)) or float(np.abs(push).max()) or 1.0
    for panel, of_class, each in zip(panels, label, push):
        image = panel.imshow(each, cmap='RdBu', vmin=-largest, vmax=largest,
                             interpolation='nearest')
        if of_class.min() < 0.5 <= of_class.max():
            panel.contour(of_class, levels=[0.5], colors='black', linewidths=0.6)
    return image


def _title(survey: Survey, sample: int, plane: Optional[int], shown: int) -> str:
    what = 'prediction' if survey.read_as.activation == 'none' else 'logit'
    where = f'sample {sample}' + ('' if plane is None else f', plane {plane}')
    classes = '' if shown == survey.classes else \
        f'  The {shown} of {survey.classes} classes with most pixels here.'
    return (f'Where each loss pushes, {where}: '
            f'blue raises the {what} of the class, red lowers it.\n'
            f'Each loss has its own colour scale; its strongest {100 - STRONG:.1f} % are beyond '
            f'the ends.\nLines are the outline of the label.{classes}')


def _classes(label: np.ndarray) -> List[int]:
    """Those with most pixels, in order."""
    pixels = label.reshape(len(label), -1).sum(axis=1)
    return sorted(np.argsort(-pixels, kind='stable')[:MOST_CLASSES].tolist())


def check_plot(path: str, survey: Survey, at: Place) -> None:
    """Refuse what cannot be drawn, before anything is computed.

    Raises
    ------
    CannotRun : no matplotlib, no .png, no such sample or plane, or nothing two-dimensional to draw.
    """
    if not path.endswith('.png') or os.path.isdir(path):
        raise CannotRun(f'--plot must name a file that ends in .png; got {path}')
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise CannotRun('--plot needs the package matplotlib: pip install matplotlib') from None
    _plane(survey, at)


def _plane(survey: Survey, at: Place) -> Optional[int]:
    shape = survey.pair.pred.shape
    if not 0 <= at.sample < survey.samples:
        raise CannotRun(f'--sample must lie in [0, {survey.samples}); got {at.sample}')
    if len(shape) == 4 and at.plane is None:
        return None
    if len(shape) != 5:
        raise CannotRun('--plot draws images (N, C, H, W), and of volumes (N, C, D, H, W) the '
                        f'plane of --slice; pred has shape {shape}')
    plane = shape[2] // 2 if at.plane is None else at.plane
    if not 0 <= plane < shape[2]:
        raise CannotRun(f'--slice must lie in [0, {shape[2]}); got {plane}')
    return plane
