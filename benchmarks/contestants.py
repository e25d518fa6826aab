"""Who takes part, what each of them computes, and the arrays that all of them get.

Imports NumPy only: the process that conducts the run reads this, and so does every worker.
"""
from typing import Callable, Dict, NamedTuple, Sequence, Tuple

import numpy as np

Shape = Tuple[int, ...]


class Contestant(NamedTuple):
    """One row of the table.

    name : what --only and the JSON file call it.
    title : what people read.
    module : of this package; its ``build(name, pred, label)`` makes the Subject.
    computes : the entry of reference.EXPECTED that its loss and gradient must equal.
    native : SOFT_DICE_NATIVE while it runs; '' where the contestant is not ours.
    """

    name: str
    title: str
    module: str
    computes: str
    native: str = ''


class Subject(NamedTuple):
    """A contestant on its inputs.

    step : forward and backward once; returns when the gradient is there.
    result : the loss, averaged over the batch, and its gradient, of the last step.
    gradient_is_there : the gradient has its place before the first step, and not only after it.
    before : what has to be done before each step and is not measured.
    """

    step: Callable[[], None]
    result: Callable[[], Tuple[float, np.ndarray]]
    gradient_is_there: bool = True
    before: Callable[[], None] = lambda: None


CONTESTANTS: Dict[str, Contestant] = {each.name: each for each in [
    Contestant('gluon-native', 'Gluon native', 'on_gluon', 'monai', native='1'),
    Contestant('gluon-operators', 'Gluon F operators', 'on_gluon', 'monai', native='0'),
    Contestant('caffe-native', 'Caffe native', 'on_caffe', 'monai', native='1'),
    Contestant('caffe-numpy', 'Caffe NumPy', 'on_caffe', 'monai', native='0'),
    Contestant('kernels', 'kernels alone', 'on_numpy', 'monai', native='1'),
    Contestant('gluon-plain', 'plain Gluon Dice', 'on_gluon', 'monai'),
    Contestant('gluon-softmax', 'Gluon SoftmaxCrossEntropyLoss', 'on_gluon', 'cross entropy'),
    Contestant('caffe-softmax', 'Caffe SoftmaxWithLoss', 'on_caffe', 'cross entropy'),
    Contestant('monai', 'MONAI DiceLoss', 'on_torch', 'monai'),
    Contestant('nnunet', 'nnU-Net MemoryEfficientSoftDiceLoss', 'on_torch', 'nnunet'),
    Contestant('torch-softmax', 'torch cross_entropy', 'on_torch', 'cross entropy'),
    Contestant('copy', 'one copy of the logits', 'on_numpy', 'copy'),
]}

SHAPES: Tuple[Shape, ...] = ((8, 4, 256, 256), (4, 8, 512, 512), (4, 19, 512, 1024),
                             (2, 4, 96, 128, 128), (1, 104, 96, 96, 96))


def elements(shape: Sequence[int]) -> int:
    """math.prod, which came with Python 3.8."""
    return int(np.prod(shape))


def arrays(shape: Shape) -> Tuple[np.ndarray, np.ndarray]:
    """Seeded logits of this shape, and labels (N, ...), both float32.

    One tile of random numbers is repeated: hundreds of megabytes then take no time.  Its length is
    prime, so that it does not fall into step with an axis.
    """
    rng = np.random.RandomState(0)  # the one generator that is the same in every NumPy
    tile = (2 * rng.standard_normal(min(elements(shape), 1000003))).astype('float32')
    without_class = shape[:1] + shape[2:]
    labels = rng.randint(0, shape[1], min(elements(without_class), 1000003)).astype('float32')
    return np.resize(tile, shape), np.resize(labels, without_class)


def small(shape: Shape) -> Shape:
    """A shape of the same number of axes, of about 2000 pixels, to check a contestant on."""
    axes = len(shape) - 2
    return (2, 5) + (round(2000 ** (1 / axes)),) * axes
