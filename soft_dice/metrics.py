"""Hard Dice: how well a segmentation that has been decided agrees with its label."""
from typing import Optional

import numpy as np


def hard_dice(pred: np.ndarray, label: np.ndarray, num_classes: int,
              ignore_label: Optional[int] = None) -> np.ndarray:
    """Dice 2 tp / (2 tp + fp + fn) of each class over all pixels given, from integer counts.

    Parameters
    ----------
    pred : whole numbers in [0, num_classes), any shape: the class decided for each pixel.
    label : the same shape, whole numbers in [0, num_classes) or ignore_label.
    ignore_label : pixels with this label are left out.

    Returns
    -------
    (num_classes,) float64; NaN for a class that is in neither.

    Raises
    ------
    ValueError : shapes that differ, or a class outside [0, num_classes).
    """
    pred, label = np.asarray(pred), np.asarray(label)
    if pred.shape != label.shape:
        raise ValueError('pred and label must have one shape, for example (2, 9, 8) each (take '
                         f'the argmax first); got {pred.shape} and {label.shape}')
    valid = np.ones(label.shape, bool) if ignore_label is None else label != ignore_label
    pred, label = pred[valid], label[valid]
    for name, array in (('pred', pred), ('label', label)):
        good = (array >= 0) & (array < num_classes) & (array == np.floor(array))
        if not good.all():
            raise ValueError(f'{name} must hold whole numbers in [0, {num_classes}); '
                             f'got {array[~good][0]}')
    pair = num_classes * label.astype(np.int64) + pred.astype(np.int64)
    confusion = np.bincount(pair.ravel(), minlength=num_classes ** 2)
    confusion = confusion.reshape(num_classes, num_classes)
    twice_tp = 2 * np.diag(confusion)
    total = confusion.sum(axis=0) + confusion.sum(axis=1)  # 2 tp + fp + fn
    return np.where(total > 0, twice_tp / np.maximum(total, 1), np.nan)
