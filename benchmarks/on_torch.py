"""The contestants of torch, in an environment of their own (`make bench` builds it)."""
import importlib.metadata
import os
from typing import Any, Callable, Dict, Tuple

import numpy as np
import torch  # type: ignore[import-not-found]
from monai.losses import DiceLoss  # type: ignore[import-not-found]
from nnunetv2.training.loss.dice import (  # type: ignore[import-not-found]
    MemoryEfficientSoftDiceLoss)
from nnunetv2.utilities.helpers import (  # type: ignore[import-not-found]
    softmax_helper_dim1)

from .contestants import Subject

torch.set_num_threads(int(os.environ['OMP_NUM_THREADS']))

PEERS: Dict[str, Callable[..., Any]] = {
    'monai': DiceLoss(to_onehot_y=True, softmax=True),
    'nnunet': MemoryEfficientSoftDiceLoss(softmax_helper_dim1, batch_dice=False, do_bg=False,
                                          smooth=1e-5, ddp=False),
    'torch-softmax': torch.nn.functional.cross_entropy,
}


def build(name: str, pred: np.ndarray, label: np.ndarray) -> Subject:
    logits = torch.from_numpy(pred).requires_grad_()
    logits.grad = torch.full(pred.shape, 0.0)
    labels = torch.from_numpy(label).long()
    if name != 'torch-softmax':
        labels = labels[:, None]
    loss = PEERS[name]
    value = labels

    def step() -> None:
        nonlocal value
        logits.grad = None  # as torch's optimizers leave it
        value = loss(logits, labels)
        value.backward()

    def result() -> Tuple[float, np.ndarray]:
        return value.item(), logits.grad.numpy()

    return Subject(step, result)


def versions() -> Dict[str, str]:
    return {name: importlib.metadata.version(package) for name, package in
            {'torch': 'torch', 'MONAI': 'monai', 'nnU-Net': 'nnunetv2'}.items()}
