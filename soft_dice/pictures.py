"""Where a loss pushes: its gradient as a picture, one panel per class."""
import os
from typing import Dict, Optional

import numpy as np

from .arrays import CannotRun
from .options import DiceOptions
from .survey import Survey


def draw_gradients(path: str, survey: Survey, losses: Dict[str, DiceOptions], sample: int,
                   index: Optional[int]) -> None:
    """A row for each loss, a panel for each class; blue raises the logit, red lowers it.

    Raises
    ------
    CannotRun : the file cannot be written.
    """
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    index = _plane(survey, sample, index)
    figure, axes = pyplot.subplots(len(losses), survey.classes, squeeze=False,
                                   figsize=(2.2 * survey.classes + 1.4, 2.1 * len(losses) + 0.5))
    for row, (name, options) in zip(axes, losses.items()):
        gradient = survey.gradient(options, sample, index)
        largest = float(np.abs(gradient).max()) or 1.0
        for c, axis in enumerate(row):
            image = axis.imshow(-gradient[c], cmap='RdBu', vmin=-largest, vmax=largest,
                                interpolation='nearest')
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, fontsize=9)
        bar = figure.colorbar(image, ax=list(row), fraction=0.03, pad=0.01, format='%.0e')
        bar.ax.tick_params(labelsize=7)
    for c, axis in enumerate(axes[0]):
        axis.set_title(f'class {c}', fontsize=10)
    plane = '' if index is None else f', plane {index}'
    figure.suptitle(f'minus the gradient, sample {sample}{plane}: a step along it raises the logit '
                    'where blue', fontsize=10, y=0.95)
    try:
        figure.savefig(path, dpi=90, bbox_inches='tight')
    except (OSError, ValueError) as error:
        raise CannotRun(f'{path} cannot be written: {error}') from None
    finally:
        pyplot.close(figure)


def check_plot(path: str, survey: Survey, sample: int, index: Optional[int]) -> None:
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
    _plane(survey, sample, index)


def _plane(survey: Survey, sample: int, index: Optional[int]) -> Optional[int]:
    shape = survey.pair.pred.shape
    if not 0 <= sample < survey.samples:
        raise CannotRun(f'--sample must lie in [0, {survey.samples}); got {sample}')
    if len(shape) == 4:
        return None
    if len(shape) != 5:
        raise CannotRun('--plot draws images (N, C, H, W) and volumes (N, C, D, H, W); pred has '
                        f'shape {shape}')
    index = shape[2] // 2 if index is None else index
    if not 0 <= index < shape[2]:
        raise CannotRun(f'--slice must lie in [0, {shape[2]}); got {index}')
    return index
