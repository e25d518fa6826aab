"""The U-Net in Caffe: prototxt_examples/brain_unet/."""
from pathlib import Path

from . import brain, caffe_training
from .training import UNET, Outcome


def train(seed: int, steps: int, folder: Path) -> Outcome:
    """Train from scratch and predict the test slices. Writes into ``folder``."""
    test = brain.load('test', seed)
    return caffe_training.train('brain_unet', lambda forward: forward(test.image), test.label,
                                UNET, seed, steps, folder)
