"""What came of the trainings, as tables and pictures: on the terminal and in docs/which-loss.md."""
from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np

from benchmarks.pages import row, write_between
from benchmarks.report import machine

from .losses import LOSSES
from .results import REACHED, Result, spread
from .tasks import TASKS

PAGE = Path(__file__).resolve().parent.parent / 'docs' / 'which-loss.md'
BEGIN = '<!-- written by `make study` -->'
END = '<!-- end of what `make study` writes -->'
SUMMARY = ('Dice of the worst class: the mean over the seeds, and in brackets the worst seed. Best '
           'first, by their worst task.')
SEEDS, CURVES = 'which-loss-seeds.png', 'which-loss-lesions.png'

Results = Sequence[Result]


def of(results: Results, framework: str = 'gluon') -> Dict[str, Dict[str, List[Result]]]:
    """By task and by loss, in the order of the tables."""
    return {task: {loss: some for loss in LOSSES
                   for some in [[each for each in results
                                 if each.job[:3] == (task, loss, framework)]] if some}
            for task in TASKS}


def worst(results: Results) -> float:
    """Mean over the seeds of the worst class: by the rare one alone, a loss that finds it and loses
    another for it would look good."""
    return float(np.mean([each.worst for each in results]))


def title(loss: str) -> str:
    return 'WRONG: ' * bool(LOSSES[loss].wrong) + LOSSES[loss].title


def ranked(by_loss: Dict[str, List[Result]]) -> List[str]:
    """The losses, those with the best worst class first, and the wrong ones last."""
    return sorted(by_loss, key=lambda loss: (bool(LOSSES[loss].wrong), -worst(by_loss[loss])))


def tables(results: Results) -> str:
    """All tables, in Markdown."""
    gluon, caffe = of(results), of(results, 'caffe')
    parts = [_summary(gluon), SUMMARY]
    parts += [f'### {TASKS[task].title}\n\n{TASKS[task].about}\n\n{_details(task, by_loss)}'
              for task, by_loss in gluon.items() if by_loss]
    parts += [f'### Caffe\n\nThe rarest class in both frameworks.\n\n'
              f'{_frameworks(gluon, caffe)}'] * any(caffe.values())
    return '\n\n'.join([part for part in parts if part] + [_codes(results)])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return '\n'.join([row(head), row(['---'] * len(head)), *map(row, rows)])


def _summary(gluon: Dict[str, Dict[str, List[Result]]]) -> str:
    """A row for each loss, a column for each task."""
    tasks = [task for task, by_loss in gluon.items() if by_loss]
    losses = [loss for loss in LOSSES if any(loss in gluon[task] for task in tasks)]

    def least(loss: str) -> Any:
        return (bool(LOSSES[loss].wrong),
                -min(worst(gluon[task][loss]) for task in tasks if loss in gluon[task]))

    def cell(some: List[Result]) -> str:
        return f'{worst(some):.2f} ({min(each.worst for each in some):.2f})' if some else ''

    rows = [[title(loss), *(cell(gluon[task].get(loss, [])) for task in tasks)]
            for loss in sorted(losses, key=least)]
    return _table(['loss', *(TASKS[task].title for task in tasks)], rows) if tasks else ''


def _details(task: str, by_loss: Dict[str, List[Result]]) -> str:
    """One task: each loss, each class; the rarest class first."""
    names, special = TASKS[task].classes, TASKS[task].rare
    others = [c for c in range(len(names)) if c != special]
    alarms = any(each.false_alarms is not None for some in by_loss.values() for each in some)
    head = ['loss', names[special], *(names[c] for c in others), 'worst class',
            f'{names[special]} reaches {REACHED}'] + ['false alarms'] * alarms + ['seconds']
    rows = []
    for loss in ranked(by_loss):
        some = by_loss[loss]
        means = np.mean([each.dice for each in some], axis=0)
        rows.append([title(loss), spread(each.rare for each in some),
                     *(f'{means[c]:.2f}' for c in others),
                     spread(each.worst for each in some), _reached(some),
                     *([f'{_alarms(some):.0%}'] if alarms else []),
                     f'{np.mean([each.seconds for each in some]):.1f}'])
    return _table(head, rows)


def _alarms(some: Results) -> float:
    return float(np.mean([each.false_alarms or 0.0 for each in some]))


def _reached(some: Results) -> str:
    """How many seeds, and their median step."""
    steps = [each.reached for each in some if each.reached is not None]
    when = f', step {np.median(steps):.0f}' if steps else ''
    return f'{len(steps)} of {len(some)}{when}'


def _frameworks(gluon: Dict[str, Dict[str, List[Result]]],
                caffe: Dict[str, Dict[str, List[Result]]]) -> str:
    rows = [[TASKS[task].title, title(loss),
             *(spread(each.rare for each in some) if some else ''
               for some in (gluon[task].get(loss, []), by_loss[loss]))]
            for task, by_loss in caffe.items() for loss in by_loss]
    return _table(['task', 'loss', 'Gluon', 'Caffe'], rows)


def _codes(results: Results) -> str:
    losses = [loss for loss in LOSSES if any(each.job.loss == loss for each in results)]
    return '### The losses\n\n' + _table(['loss', 'in Gluon'], [
        [title(loss), LOSSES[loss].wrong or f'`{LOSSES[loss].code}`'] for loss in losses])


def conditions(results: Results) -> str:
    """On what, how often, how long."""
    seeds = len({each.job.seed for each in results})
    hours = sum(each.seconds for each in results) / 3600
    return ('{} trainings, {} seeds, {:.1f} hours of one thread, on {processor}, {date}.'
            .format(len(results), seeds, hours, **machine(1)))


def draw(folder: Path, results: Results) -> List[str]:
    """The pictures that these results allow; their names."""
    from . import pictures  # matplotlib takes a second: mistakes are answered first
    gluon = of(results)
    pictures.draw_seeds(folder / SEEDS, gluon)
    if gluon['lesions']:
        pictures.draw_curves(folder / CURVES, gluon['lesions'])
    return [SEEDS] + [CURVES] * bool(gluon['lesions'])


def write(page: Path, results: Results) -> None:
    """Tables between the markers of the page, pictures beside it.

    Raises
    ------
    ValueError : the page has no markers.
    """
    from . import pictures
    write_between(page, BEGIN, END, '\n\n'.join([
        *(f'![{pictures.ALT[name]}]({name})' for name in draw(page.parent, results)),
        tables(results), conditions(results)]))
