"""What both frameworks share: the schedule, the loop, and what it leaves behind."""
import sys
import time
from typing import Callable, List, NamedTuple, Tuple

import numpy as np
from tqdm import tqdm

from soft_dice import DiceOptions, hard_dice

from .brain import CLASSES, foreground

# prototxt_examples/brain_unet/solver.prototxt says the same.
STEPS = 378
BATCH_SIZE = 7
LEARNING_RATE = 0.01
POWER = 0.9
TEST_EVERY = 27  # an epoch

# The options of the loss, as in train_val.prototxt. A class that the network has lost, whose
# probabilities are all almost 0, gets almost no gradient from 1 - S, as softmax takes it away.
# -log S divides by S and gives it back. Without it some starts never find white matter.
LOSS = DiceOptions(batch_dice=True, form='log')


class Outcome(NamedTuple):
    """One training.

    prediction : (N, 1, H, W), the classes of the test slices.
    losses : one number per step.
    curve : (step, mean foreground Dice of the test slices) every now and then.
    seconds : of it all.
    """

    prediction: np.ndarray
    losses: List[float]
    curve: List[Tuple[int, float]]
    seconds: float


def learning_rate(step: int, steps: int) -> float:
    """Caffe's 'poly': from LEARNING_RATE down to 0."""
    return LEARNING_RATE * (1 - step / steps) ** POWER


def run(name: str, step: Callable[[], float], predict: Callable[[], np.ndarray], label: np.ndarray,
        steps: int) -> Outcome:
    """Take the steps, with a progress bar that shows the loss and the Dice of the test slices.

    Parameters
    ----------
    step : trains on the next batch and returns its loss.
    predict : the classes of the test slices, shape of ``label``.
    """
    start = time.time()
    losses: List[float] = []
    curve: List[Tuple[int, float]] = []
    pause = 0.1 if sys.stderr.isatty() else 15  # seconds; every update is a line in a log
    with tqdm(total=steps, desc=name, unit='step', dynamic_ncols=True, mininterval=pause) as bar:
        for taken in range(1, steps + 1):
            losses.append(step())
            if taken % TEST_EVERY == 0 or taken == steps:
                prediction = predict()
                curve.append((taken, foreground(hard_dice(prediction, label, len(CLASSES)))))
            bar.set_postfix(loss=f'{np.mean(losses[-20:]):.3f}',
                            dice=f'{curve[-1][1]:.3f}' if curve else '-', refresh=False)
            bar.update()
    return Outcome(prediction, losses, curve, time.time() - start)
