"""What both frameworks share: the schedules, the loop, and what it leaves behind."""
import sys
import time
from typing import Any, Callable, List, NamedTuple, Tuple

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

from soft_dice import DiceOptions, hard_dice

from .brain import CLASSES, foreground

# What a network makes of images, (N, 1, ...) to (N, ...), and how that becomes the classes of the
# test images.
Forward = Callable[[np.ndarray], np.ndarray]
Decide = Callable[[Forward], np.ndarray]


class Schedule(NamedTuple):
    """How a network is trained; its solver.prototxt and net in prototxt_examples/ say the same.

    The rate falls from ``learning_rate`` to 0 with the power ``power``. Every ``test_every`` steps
    the test images are predicted. ``loss`` is the demo's; the study brings its own.
    """

    steps: int
    batch_size: int
    learning_rate: float
    power: float
    test_every: int
    loss: DiceOptions = DiceOptions()


# A class that the network has lost, whose probabilities are all almost 0, gets almost no gradient
# from 1 - S, as softmax takes it away. -log S divides by S and gives it back. Without it some
# starts never find white matter.
UNET = Schedule(steps=378, batch_size=7, learning_rate=0.01, power=0.9, test_every=27,  # an epoch
                loss=DiceOptions(batch_dice=True, form='log'))

# V-Net's squared denominator. Blocks may hold few voxels of a class or none; -log S of those would
# drown the other classes.
VNET = Schedule(steps=320, batch_size=4, learning_rate=0.02, power=0.9, test_every=80,
                loss=DiceOptions(batch_dice=True, exponent=2, smooth=10, form='log', absent='skip'))


class Outcome(NamedTuple):
    """One training.

    prediction : the classes of the test images, shape of their label.
    losses : one number per step.
    curve : (step, mean foreground Dice of the test images) every now and then.
    seconds : of it all.
    """

    prediction: np.ndarray
    losses: List[float]
    curve: List[Tuple[int, float]]
    seconds: float


def learning_rate(schedule: Schedule, step: int, steps: int) -> float:
    """Caffe's 'poly': from the schedule's learning rate down to 0."""
    return schedule.learning_rate * (1 - step / steps) ** schedule.power


def run(name: str, step: Callable[[], float], predict: Callable[[], np.ndarray], label: np.ndarray,
        steps: int, test_every: int) -> Outcome:
    """Take the steps, with a progress bar that shows the loss and the Dice of the test images.

    Parameters
    ----------
    step : trains on the next batch and returns its loss.
    predict : the classes of the test images, shape of ``label``.
    """
    start = time.time()
    losses: List[float] = []
    curve: List[Tuple[int, float]] = []
    with progress(name, steps) as bar:
        for taken in range(1, steps + 1):
            losses.append(step())
            if taken % test_every == 0 or taken == steps:
                prediction = predict()
                curve.append((taken, foreground(hard_dice(prediction, label, len(CLASSES)))))
            bar.set_postfix(loss=f'{np.mean(losses[-20:]):.3f}',
                            dice=f'{curve[-1][1]:.3f}' if curve else '-', refresh=False)
            bar.update()
    return Outcome(prediction, losses, curve, time.time() - start)


def progress(name: str, steps: int) -> Any:
    """A progress bar; without a name it shows nothing."""
    pause = 0.1 if sys.stderr.isatty() else 15  # seconds; every update is a line in a log
    return tqdm(total=steps, desc=name, unit='step', dynamic_ncols=True, mininterval=pause,
                disable=not name)
