"""Axial slices of the MNI152 brain template, made hard enough to be worth a network.

nilearn carries the template and its maps of grey and white matter inside itself. Only those files
are read; nilearn itself is not imported, as it would want pandas and scikit-learn.
"""
import functools
import importlib.util
from pathlib import Path
from typing import Any, Iterator, List, NamedTuple, Tuple

import numpy as np

CLASSES = ('background', 'other', 'grey', 'white')
SHAPE = (96, 80)  # of a slice: divisible by 4, as the U-Net halves it twice
FILE = 'mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz'

# The template is 197 x 233 x 189 voxels of 1 mm; the brain lies within this box of 160 x 192.
X, Y = slice(18, 178), slice(22, 214)

# Nine times along the body: seven neighbouring slices to train on, and one to test on, 4 mm from
# the nearest of them on either side.
PERIODS = range(18, 18 + 9 * 14, 14)
TRAIN_Z = tuple(z + i for z in PERIODS for i in range(7))
TEST_Z = tuple(z + 10 for z in PERIODS)

COPIES = 3    # of each training slice, each with a bias field and noise of its own
BIAS = 0.25   # the field is between exp(-BIAS) and exp(BIAS)
NOISE = 0.02  # standard deviation, where white matter is about 0.8


class DemoError(Exception):
    """The demo cannot run as it was asked to; the message is one sentence for the user."""


class Slices(NamedTuple):
    """N slices, each seen once.

    image : (N, 1, H, W) float32, with bias field and noise.
    label : (N, 1, H, W) float32 indices into CLASSES.
    clean : (N, 1, H, W) float32, image before it was corrupted.
    z : (N,) which slice of the template, in mm from the lowest.
    """

    image: np.ndarray
    label: np.ndarray
    clean: np.ndarray
    z: np.ndarray


@functools.lru_cache(maxsize=None)  # Caffe's train and test nets each ask for their part
def load(part: str, seed: int = 0) -> Slices:
    """The slices of 'train' or 'test'. Another seed gives other bias fields and noise.

    Raises
    ------
    DemoError : nilearn, whose files these are, is not there.
    """
    images, labels = template((1, 2))
    z = np.repeat(TRAIN_Z, COPIES) if part == 'train' else np.array(TEST_Z)
    rng = np.random.RandomState([seed, {'train': 0, 'test': 1}[part]])
    clean = images[z]
    corrupted = np.stack([corrupt(image, rng) for image in clean])
    return Slices(corrupted[:, None], labels[z][:, None], clean[:, None], z)


def corrupt(image: np.ndarray, rng: np.random.RandomState, bias: float = BIAS) -> np.ndarray:
    """A slice or volume as a worse scanner would have seen it: float32 of the same shape.

    A smooth bias field multiplies it, as the receiving coil's sensitivity does. Noise goes to the
    real and the imaginary part of the signal, of which a scanner shows the magnitude: Rician noise.
    """
    signal = image * bias_field(image.shape, rng, bias)
    real, imaginary = NOISE * rng.standard_normal((2,) + image.shape)
    return np.hypot(signal + real, imaginary).astype(np.float32)


def bias_field(shape: Tuple[int, ...], rng: np.random.RandomState, bias: float = BIAS,
               waves: int = 2) -> np.ndarray:
    """A random sum of slow cosines along each axis, scaled to span exp(-bias) to exp(bias)."""
    axes = range(len(shape))
    terms: List[Any] = [rng.standard_normal((waves,) * len(shape)), list(axes)]
    for i, n in enumerate(shape):
        cosines = np.cos(np.pi * np.outer(np.arange(waves), (np.arange(n) + 0.5) / n))
        terms += [cosines, [i, len(shape) + i]]
    field = np.einsum(*terms, [len(shape) + i for i in axes])
    low, high = field.min(), field.max()
    return np.exp(bias * (2 * (field - low) / (high - low) - 1))


def batches(count: int, batch_size: int, seed: int, shuffle: bool) -> Iterator[np.ndarray]:
    """Indices below ``count``, one batch after another, for ever; shuffled anew every epoch.

    Gluon and Caffe are given the same ones. What does not fill an epoch's last batch is left out.
    """
    if not 0 < batch_size <= count:
        raise ValueError(f'batch_size must be in [1, {count}], as there are {count} images; '
                         f'got {batch_size}')
    rng = np.random.RandomState(seed)
    while True:
        order = rng.permutation(count) if shuffle else np.arange(count)
        for start in range(0, count - batch_size + 1, batch_size):
            yield order[start:start + batch_size]


def histogram_baseline(train: Any, test: Any, bins: int = 100) -> np.ndarray:
    """What needs no network: each intensity's most frequent class in the training images.

    Parameters
    ----------
    train, test : Slices, or the Regions of demo.blocks.

    Returns
    -------
    int64, shape of ``test.image``: its classes.
    """
    edges = np.linspace(0, train.image.max(), bins + 1)[1:-1]
    pair = np.digitize(train.image, edges) * len(CLASSES) + train.label.astype(np.int64)
    counts = np.bincount(pair.ravel(), minlength=bins * len(CLASSES))
    most_frequent = counts.reshape(bins, len(CLASSES)).argmax(axis=1)
    return most_frequent[np.digitize(test.image, edges)]


@functools.lru_cache(maxsize=None)
def template(halved: Tuple[int, ...]) -> Tuple[np.ndarray, np.ndarray]:
    """Image in [0, 1] and label, each (Z, H, W) float32: 1 mm, and 2 mm along the axes ``halved``.

    Axis 0 is from the lowest up, 1 from the front, 2 from one side to the other.
    """
    t1, grey, white = (_read(name) for name in ('t1', 'gm', 'wm'))
    brain = _halve(t1 > 0, halved)
    grey, white = _halve(grey / 255, halved), _halve(white / 255, halved)
    shares = {'background': 1 - brain, 'other': np.maximum(brain - grey - white, 0),
              'grey': grey, 'white': white}
    label = np.argmax([shares[name] for name in CLASSES], axis=0)
    return _halve(t1 / 255, halved).astype(np.float32), label.astype(np.float32)


def _read(name: str) -> np.ndarray:
    """The box around the brain in one of nilearn's volumes: (Z, 192, 160), front first."""
    from nibabel import Nifti1Image
    volume = np.asarray(Nifti1Image.load(_folder() / FILE.format(name)).dataobj)
    return volume[X, Y].transpose(2, 1, 0)[:, ::-1]


def _folder() -> Path:
    spec = importlib.util.find_spec('nilearn')
    if spec is None or not spec.submodule_search_locations:
        raise DemoError('the brain images are inside the Python package nilearn, which is not '
                        'installed here: run make env, or pip install --no-deps nilearn')
    folder = Path(spec.submodule_search_locations[0]) / 'datasets' / 'data'
    if not (folder / FILE.format('t1')).is_file():
        raise DemoError('this version of nilearn does not contain the MNI152 template at 1 mm: '
                        'run make env, or pip install --no-deps nilearn==0.12.1')
    return folder


def _halve(volume: np.ndarray, axes: Tuple[int, ...]) -> np.ndarray:
    """Means over two voxels along each of these axes; what is left over of an odd one is cut."""
    shape: Tuple[int, ...] = ()
    for axis, n in enumerate(volume.shape):
        shape += (n // 2, 2) if axis in axes else (n, 1)
    even = tuple(slice(0, n * factor) for n, factor in zip(shape[::2], shape[1::2]))
    return volume[even].reshape(shape).mean(axis=(1, 3, 5))


def foreground(dice: np.ndarray) -> float:
    """Mean of grey and white: what a segmentation is judged by here."""
    return float(np.mean(dice[2:]))
