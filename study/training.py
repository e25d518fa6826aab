"""One training: a task, a loss, a seed and a framework, and what came of it."""
import time
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

import numpy as np

from soft_dice import hard_dice

from .losses import LOSSES
from .tasks import TASKS, Images, Task

Step = Callable[[], float]  # takes one, and returns the loss
Predict = Callable[[np.ndarray], np.ndarray]  # images to classes, (N, 1, H, W)


class Job(NamedTuple):
    """What is trained; ``task`` and ``loss`` are names in TASKS and LOSSES."""

    task: str
    loss: str
    framework: str
    seed: int
    steps: int

    @property
    def name(self) -> str:
        return f'{self.task}-{self.loss}-{self.framework}-{self.seed}'

    def settings(self) -> Dict[str, Any]:
        """What a result depends on; a result of other settings does not count."""
        loss, schedule = LOSSES[self.loss], TASKS[self.task].schedule
        return {**self._asdict(), 'code': loss.code, 'batch_size': schedule.batch_size,
                'learning_rate': schedule.learning_rate, 'test_every': schedule.test_every}


def train(job: Job) -> Dict[str, Any]:
    """Train from scratch, and test every now and then.

    Returns
    -------
    settings : of the job.
    curve : [step, [hard Dice of each class, over all test images]], the last at the end.
    false_alarms : share of the test images without the rare class where some of it is found; None
        where there is no such image.
    last_loss : of the training.
    seconds : of the steps, without the tests.
    """
    task = TASKS[job.task]
    test = task.data('test', job.seed)
    step, predict = _begin(job, task)
    curve, seconds, loss = [], 0.0, float('nan')
    for taken in range(1, job.steps + 1):
        start = time.perf_counter()
        loss = step()
        seconds += time.perf_counter() - start
        if taken % task.schedule.test_every == 0 or taken == job.steps:
            decided = predict(test.image)
            curve.append([taken, hard_dice(decided, test.label, len(task.classes)).tolist()])
    return {'settings': job.settings(), 'curve': curve, 'last_loss': loss,
            'false_alarms': false_alarms(decided, test, task.rare), 'seconds': seconds}


def _begin(job: Job, task: Task) -> Tuple[Step, Predict]:
    if job.framework == 'caffe':
        from . import on_caffe
        return on_caffe.begin(job, task)
    from . import on_gluon
    return on_gluon.begin(job, task)


def false_alarms(decided: np.ndarray, test: Images, rare: int) -> Optional[float]:
    """The share of the images without the rare class where some of it is found."""
    without = ~(test.label == rare).any(axis=(1, 2, 3))
    found = (decided == rare).any(axis=(1, 2, 3))
    return float(found[without].mean()) if without.any() else None
