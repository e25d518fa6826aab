"""The four tasks: images to train and to test on, a network, and how it is trained.

A seed gives other images, other weights to start from and another order of the batches.  With the
same seed every loss gets the same of all three, so that losses can be compared seed by seed.
"""
import functools
from typing import Callable, Dict, Iterable, NamedTuple, Tuple

import numpy as np

from demo import brain
from demo.training import Schedule

TEST_COPIES = 4   # of each test slice of a brain, each with a bias field and noise of its own
LESION = 'lesion'
IN_ONE_OF = 4     # slices there is a lesion
BRIGHTER = 1.5    # than white matter it is
SIZE = 32         # of an image that is made here
TOY_NOISE = 0.3
EMPTY_NOISE = 0.2
COUNTS = {'train': 160, 'test': 64}


class Images(NamedTuple):
    """image : (N, 1, H, W) float32.  label : (N, 1, H, W) float32 class indices."""

    image: np.ndarray
    label: np.ndarray


class Task(NamedTuple):
    """What a network has to learn.

    title, about : for the report; ``about`` is a sentence.
    data : (part, seed) to the images of 'train' or 'test'.
    classes : their names.
    rare : the class with the fewest pixels, which the report is about.
    network : 'unet', the demo's, or 'two_layers'.
    schedule : steps, batch size, learning rate, and how often the test images are predicted.
    in_caffe : whether the main losses are trained in Caffe as well.
    """

    title: str
    about: str
    data: Callable[[str, int], Images]
    classes: Tuple[str, ...]
    rare: int
    network: str
    schedule: Schedule
    in_caffe: bool = False


def _rng(part: str, seed: int) -> np.random.RandomState:
    return np.random.RandomState([seed, {'train': 0, 'test': 1}[part]])


@functools.lru_cache(maxsize=4)
def slices(part: str, seed: int, lesions: bool = False) -> Images:
    """The demo's slices of a brain at half their size, 48 x 40, perhaps with lesions drawn in."""
    clean, label = _halved_template()
    z = {'train': np.repeat(brain.TRAIN_Z, brain.COPIES),
         'test': np.repeat(brain.TEST_Z, TEST_COPIES)}[part]
    clean, label, rng = clean[z], label[z], _rng(part, seed)
    if lesions:
        for i in range(len(z)):
            if rng.randint(IN_ONE_OF) == 0:
                _draw_lesion(clean[i], label[i], rng)
    image = np.stack([brain.corrupt(each, rng) for each in clean])
    return Images(image[:, None], label[:, None])


@functools.lru_cache(maxsize=None)
def _halved_template() -> Tuple[np.ndarray, np.ndarray]:
    """Image and label of the template, (Z, 48, 40): means, and the class that most voxels have."""
    image, label = brain.template((1, 2))
    shares = [_halve(label == c) for c in range(len(brain.CLASSES))]
    return _halve(image).astype(np.float32), np.argmax(shares, axis=0).astype(np.float32)


def _halve(images: np.ndarray) -> np.ndarray:
    n, height, width = images.shape
    return images.reshape(n, height // 2, 2, width // 2, 2).mean(axis=(2, 4))


def _draw_lesion(image: np.ndarray, label: np.ndarray, rng: np.random.RandomState) -> None:
    """A bright spot of about ten pixels in white matter."""
    white = label == brain.CLASSES.index('white')
    rows, columns = np.nonzero(white)
    if not len(rows):
        return
    i = rng.randint(len(rows))
    spot = _disc(image.shape, (rows[i], columns[i]), rng.uniform(1.4, 2.2)) & white
    image[spot] = BRIGHTER * image[white].mean()
    label[spot] = len(brain.CLASSES)


def _disc(shape: Tuple[int, ...], center: Iterable[float], radius: float) -> np.ndarray:
    y, x = center
    row, column = np.ogrid[:shape[0], :shape[1]]
    return np.hypot(row - y, column - x) <= radius


@functools.lru_cache(maxsize=4)
def toy(part: str, seed: int) -> Images:
    """A large disc, and somewhere in it a brighter spot of 2 x 3 pixels, 0.6 % of the image."""
    rng = _rng(part, seed)
    label = np.zeros((COUNTS[part], SIZE, SIZE), np.float32)
    for each in label:
        center = rng.uniform(11, SIZE - 11, 2)
        each[_disc(each.shape, center, rng.uniform(8, 10))] = 1
        row, column = (center + rng.uniform(-4, 4, 2)).astype(int)
        each[row:row + 2, column:column + 3] = 2
    image = label + TOY_NOISE * rng.standard_normal(label.shape)
    return Images(image[:, None].astype(np.float32), label[:, None])


@functools.lru_cache(maxsize=4)
def half_empty(part: str, seed: int) -> Images:
    """Two rings in every image, and a disc, which is to be found, in every other one."""
    rng = _rng(part, seed)
    label = np.zeros((COUNTS[part], SIZE, SIZE), np.float32)
    image = np.zeros_like(label)
    for i, (picture, each) in enumerate(zip(image, label)):
        for _ in range(2):
            center, radius = rng.uniform(5, SIZE - 5, 2), rng.uniform(3, 5)
            picture[_disc(each.shape, center, radius)
                    & ~_disc(each.shape, center, radius - 1.5)] = 1
        if i % 2:
            each[_disc(each.shape, rng.uniform(5, SIZE - 5, 2), rng.uniform(3, 4.5))] = 1
            picture[each == 1] = 1
    image += EMPTY_NOISE * rng.standard_normal(label.shape).astype(np.float32)
    return Images(image[:, None], label[:, None])


def _schedule(steps: int, batch_size: int, learning_rate: float) -> Schedule:
    return Schedule(steps, batch_size, learning_rate, power=0.9, test_every=20)


TASKS: Dict[str, Task] = {
    'brain': Task(
        'brain', 'Slices of the demo at 48 x 40 pixels: grey matter, white matter and the rest.',
        slices, brain.CLASSES, brain.CLASSES.index('other'), 'unet', _schedule(300, 7, 0.01)),
    'lesions': Task(
        'lesions', 'The same slices; one in four has a bright spot of about ten pixels in its '
        'white matter.', functools.partial(slices, lesions=True), (*brain.CLASSES, LESION),
        len(brain.CLASSES), 'unet', _schedule(600, 7, 0.01), in_caffe=True),
    'toy': Task(
        'toy', 'A large disc, and in it a brighter spot of six pixels, 0.6 % of an image of '
        '32 x 32; a network of two layers.', toy, ('background', 'disc', 'spot'), 2, 'two_layers',
        _schedule(600, 8, 0.01), in_caffe=True),
    'empty': Task(
        'half empty', 'Rings in every image, and a disc, which is to be found, in half of them.',
        half_empty, ('background', 'disc'), 1, 'unet', _schedule(200, 8, 0.01)),
}
