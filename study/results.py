"""The results, a small file of JSON for each training, so that a run that was stopped goes on."""
import json
import os
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional

import numpy as np

from .losses import LOSSES
from .tasks import TASKS
from .training import Job

REACHED = 0.9


class Result(NamedTuple):
    """What came of a job; see :func:`study.training.train`."""

    job: Job
    curve: List[Any]
    false_alarms: Optional[float]
    last_loss: float
    seconds: float

    @property
    def dice(self) -> List[float]:
        """Of each class, at the end."""
        return self.curve[-1][1]

    @property
    def rare(self) -> float:
        return self.dice[TASKS[self.job.task].rare]

    @property
    def worst(self) -> float:
        return min(self.dice)

    @property
    def reached(self) -> Optional[int]:
        """The first tested step at which the rare class has a Dice of 0.9; None if it never had."""
        rare = TASKS[self.job.task].rare
        return next((step for step, dice in self.curve if dice[rare] >= REACHED), None)


def jobs(seeds: int, steps: Optional[int] = None) -> List[Job]:
    """All trainings, one seed after the other, so that a part of them compares all losses.

    steps : of each, in place of the tasks' own.
    """
    return [Job(task, loss, framework, seed, min(steps or each.schedule.steps, each.schedule.steps))
            for seed in range(seeds)
            for task, each in TASKS.items()
            for loss, about in LOSSES.items()
            for framework in ('gluon', 'caffe')
            if framework == 'gluon' or (each.in_caffe and about.main)]


def save(folder: Path, job: Job, outcome: Dict[str, Any]) -> None:
    """Whole or not at all."""
    path = folder / f'{job.name}.json'
    unfinished = path.with_suffix('.unfinished')
    unfinished.write_text(json.dumps(outcome) + '\n')
    os.replace(str(unfinished), str(path))


def load(folder: Path, wanted: Iterable[Job]) -> List[Result]:
    """Of the jobs whose results are there, and are of these settings."""
    found = []
    for job in wanted:
        try:
            outcome = json.loads((folder / f'{job.name}.json').read_text())
            if outcome.pop('settings') == job.settings():
                found.append(Result(job, **outcome))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            continue  # it is trained again
    return found


def spread(values: Iterable[float]) -> str:
    """The mean, and the least and the most."""
    array = np.array(list(values), float)
    return f'{array.mean():.2f} ({array.min():.2f} to {array.max():.2f})'
