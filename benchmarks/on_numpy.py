"""The contestants without a framework: the kernels alone, and the limit, a copy of the logits."""
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Dict, Tuple

import numpy as np

from soft_dice import soft_dice_loss_vjp

from .contestants import Subject


def build(name: str, pred: np.ndarray, label: np.ndarray) -> Subject:
    return _copy(pred) if name == 'copy' else _kernels(pred, label)


def _kernels(pred: np.ndarray, label: np.ndarray) -> Subject:
    gradient = np.full_like(pred, 0)
    loss = np.zeros(len(pred))

    def step() -> None:
        nonlocal loss
        loss, vjp = soft_dice_loss_vjp(pred, label)
        vjp(1 / len(pred), out=gradient)

    return Subject(step, lambda: (float(loss.mean()), gradient))


def _copy(pred: np.ndarray) -> Subject:
    """The logits into another array, a part by each thread: nothing can read and write faster."""
    threads = int(os.environ['OMP_NUM_THREADS'])
    target = np.full_like(pred, 0)
    parts = list(zip(np.array_split(target.ravel(), threads), np.array_split(pred.ravel(),
                                                                             threads)))
    pool = ThreadPoolExecutor(threads)

    def step() -> None:
        for done in [pool.submit(np.copyto, *part) for part in parts]:
            done.result()

    def result() -> Tuple[float, np.ndarray]:
        return 0.0, target

    return Subject(step, result)


def versions() -> Dict[str, str]:
    return {'NumPy': np.__version__}
