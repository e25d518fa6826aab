"""The one table of cases that every backend runs: options, shapes, and seeded arrays for them."""
import zlib
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from soft_dice import DiceOptions
from soft_dice.counts import activate
from soft_dice.options import Options
from soft_dice.plan import resolve
from soft_dice.resize import resize

IGNORE = 255


class Arrays(NamedTuple):
    pred: np.ndarray
    label: np.ndarray
    pixel_weight: Optional[np.ndarray]
    upstream: np.ndarray


class Case(NamedTuple):
    """``shape`` is pred's, with its classes at axis 1; ``label`` names a recipe below.

    label_size : sizes of the label's space axes, where they are not pred's.
    """

    name: str
    options: Options
    shape: Tuple[int, ...] = (2, 4, 5, 6)
    label: str = 'index'
    weighted: bool = False
    label_size: Tuple[int, ...] = ()

    def arrays(self, dtype: str = 'float64') -> Arrays:
        rng = np.random.RandomState(self.seed)
        dice = self.options.dice
        pred = _prediction(rng, self.shape, dice)
        shape = self.shape[:2] + (self.label_size or self.shape[2:])
        label = LABELS[self.label](rng, shape, resize(pred, shape)[0], dice)
        weight = rng.uniform(0, 2, _without_class(shape)) if self.weighted else None
        if weight is not None:
            weight.flat[:3] = 0
        if dice.axis != 1:
            pred = np.moveaxis(pred, 1, dice.axis)
            label = np.moveaxis(label, 1, dice.axis) if label.ndim == pred.ndim else label
        if weight is not None:
            weight = weight.astype(dtype)
        if label.dtype.kind == 'f':
            label = label.astype(dtype)
        return Arrays(np.ascontiguousarray(pred).astype(dtype), np.ascontiguousarray(label),
                      weight, self._upstream(rng))

    @property
    def seed(self) -> int:
        return zlib.crc32(self.name.encode())

    def _upstream(self, rng: np.random.RandomState) -> np.ndarray:
        counted = len(resolve(self.options, self.shape[1]).counted)
        each_class = (counted,) * (self.options.dice.class_reduction == 'none')
        return rng.uniform(0.5, 1.5, self.shape[:1] + each_class) * -1.5


def _without_class(shape: Tuple[int, ...]) -> Tuple[int, ...]:
    return shape[:1] + shape[2:]


def _prediction(rng: Any, shape: Tuple[int, ...], options: DiceOptions) -> np.ndarray:
    if options.activation == 'none':
        return rng.uniform(0.05, 0.95, shape)
    return 2 * rng.standard_normal(shape)


def _index(rng: Any, shape: Any, pred: Any, options: Any) -> np.ndarray:
    return rng.randint(0, max(shape[1], 2), _without_class(shape))


def _absent(rng: Any, shape: Any, pred: Any, options: Any) -> np.ndarray:
    """The last class is absent from sample 0, the first from every sample."""
    label = rng.randint(1, shape[1], _without_class(shape))
    label[0][label[0] == shape[1] - 1] = 1
    return label


def _empty(rng: Any, shape: Any, pred: Any, options: Any) -> np.ndarray:
    """Sample 0 is all background."""
    label = _index(rng, shape, pred, options)
    label[0] = 0
    return label


def _ignored(rng: Any, shape: Any, pred: Any, options: Any) -> np.ndarray:
    label = _index(rng, shape, pred, options)
    label[rng.uniform(size=label.shape) < 0.3] = IGNORE
    return label


def _all_ignored(rng: Any, shape: Any, pred: Any, options: Any) -> np.ndarray:
    """Nothing of sample 0 counts."""
    label = _ignored(rng, shape, pred, options)
    label[0] = IGNORE
    return label


def _one_hot(rng: Any, shape: Any, pred: Any, options: Any) -> np.ndarray:
    return np.moveaxis(np.eye(shape[1])[_index(rng, shape, pred, options)], -1, 1)


def _multilabel(rng: Any, shape: Any, pred: Any, options: Any) -> np.ndarray:
    return (rng.uniform(size=shape) < 0.4).astype(float)


def _soft(rng: Any, shape: Any, pred: Any, options: DiceOptions) -> np.ndarray:
    """Values in [0, 1] no nearer than 0.02 to the prediction, where |p - g| has its kink."""
    p = activate(pred, options.activation)
    label = rng.uniform(size=shape)
    near = np.abs(label - p) < 0.02
    return np.where(near, np.where(p < 0.5, p + 0.1, p - 0.1), label)


def _soft_ignored(rng: Any, shape: Any, pred: Any, options: DiceOptions) -> np.ndarray:
    label = _soft(rng, shape, pred, options)
    label[rng.uniform(size=shape) < 0.2] = IGNORE
    return label


LABELS = {'index': _index, 'absent': _absent, 'empty': _empty, 'ignored': _ignored,
          'all_ignored': _all_ignored, 'one_hot': _one_hot, 'multilabel': _multilabel,
          'soft': _soft, 'soft_ignored': _soft_ignored}


def _case(name: str, shape: Tuple[int, ...] = (2, 4, 5, 6), label: str = 'index',
          weighted: bool = False, label_size: Tuple[int, ...] = (), **fields: Any) -> Case:
    return Case(name, DiceOptions(**fields), shape, label, weighted, label_size)


DENSE: Dict[str, Any] = dict(sparse_label=False)
SIGMOID: Dict[str, Any] = dict(activation='sigmoid', sparse_label=False)
RESIZE: Dict[str, Any] = dict(resize='bilinear')
GENERALISED: Dict[str, Any] = dict(pool_classes=True, class_weights='inverse_square')

CASES: List[Case] = [
    # shapes
    _case('defaults'),
    _case('one sample', shape=(1, 3, 4, 4)),
    _case('two classes', shape=(3, 2, 7)),
    _case('no space', shape=(5, 3)),
    _case('volume', shape=(2, 3, 3, 4, 5)),
    _case('four space axes', shape=(2, 3, 2, 3, 2, 2)),
    _case('many classes', shape=(2, 21, 6, 6)),
    _case('one pixel', shape=(2, 3, 1, 1)),
    _case('channels last', axis=-1),
    _case('channels last dense', axis=3, label='soft', **DENSE),
    _case('channels in the middle', axis=2, shape=(2, 3, 4, 5), weighted=True),
    # activations and labels
    _case('softmax one-hot', label='one_hot', **DENSE),
    _case('softmax soft label', label='soft', **DENSE),
    _case('sigmoid multilabel', label='multilabel', **SIGMOID),
    _case('sigmoid soft label', label='soft', **SIGMOID),
    _case('sigmoid binary index', shape=(3, 1, 5, 4), activation='sigmoid'),
    _case('sigmoid binary ignored', shape=(3, 1, 5, 4), label='ignored', activation='sigmoid',
          ignore_label=IGNORE),
    _case('none index', activation='none'),
    _case('none soft', label='soft', activation='none', **DENSE),
    _case('none binary index', shape=(3, 1, 5, 4), activation='none'),
    # which pixels and classes count
    _case('ignored', label='ignored', ignore_label=IGNORE),
    _case('ignored background', ignore_label=0),
    _case('ignored negative', ignore_label=-1),
    _case('all ignored', label='all_ignored', ignore_label=IGNORE),
    _case('all ignored no smooth', label='all_ignored', ignore_label=IGNORE, smooth=0.0),
    _case('soft ignored', label='soft_ignored', ignore_label=IGNORE, **DENSE),
    _case('sigmoid soft ignored', label='soft_ignored', ignore_label=IGNORE, **SIGMOID),
    _case('pixel weights', weighted=True),
    _case('pixel weights ignored', label='ignored', weighted=True, ignore_label=IGNORE),
    _case('pixel weights sigmoid', label='soft', weighted=True, **SIGMOID),
    _case('pixel weights soft ignored', label='soft_ignored', weighted=True, ignore_label=IGNORE,
          **SIGMOID),
    _case('no background', include_background=False),
    _case('named classes', classes=[2, 1]),
    _case('negative classes', classes=[-1, 0]),
    # the score
    _case('batch', batch_dice=True, shape=(3, 4, 5, 6)),
    _case('batch ignored', batch_dice=True, label='all_ignored', ignore_label=IGNORE),
    _case('jaccard', alpha=1.0, beta=1.0),
    _case('tversky', alpha=0.3, beta=0.7),
    _case('f2', alpha=0.2, beta=0.8, exponent=2.0),
    _case('precision', alpha=1.0, beta=0.0),
    _case('squared', exponent=2.0),
    _case('fractional exponent', exponent=1.5),
    # 'negative', as 1 - S of these two is near 0, where relative error means nothing
    _case('cubed none', exponent=3.0, activation='none', label='soft', form='negative', **DENSE),
    _case('squared soft label', exponent=2.0, label='soft', **SIGMOID),
    _case('l1', overlap='l1', label='soft', **DENSE),
    _case('l1 index', overlap='l1'),
    _case('l1 squared', overlap='l1', exponent=2.0, label='soft', form='negative', **SIGMOID),
    _case('smooth 1', smooth=1.0),
    _case('smooth 0', smooth=0.0, label='absent'),
    _case('smooth per class', smooth=[0.1, 1.0, 0.0, 2.0]),
    _case('smooth per counted class', smooth=[0.1, 1.0, 2.0], include_background=False),
    _case('smooth_dr', smooth=0.0, smooth_dr=1e-5, label='absent'),
    _case('smooth_dr per class', smooth=[0.5, 0.1, 0.0, 3.0], smooth_dr=[0.1, 1.0, 0.0, 2.0]),
    _case('small smooth_dr', smooth=1.0, smooth_dr=1e-3, label='absent'),
    # weights
    _case('class weights', class_weights=[0.1, 1, 2, 0]),
    _case('class weights dropped background', class_weights=[9, 1, 2, 0.5],
          include_background=False),
    _case('class weights normalised', class_weights=[0.1, 1, 2, 3],
          weight_normalization='weights'),
    _case('class weights on score', class_weights=[0.1, 1, 2, 0.5], weight_normalization='score'),
    _case('class weights on score absent', class_weights=[0.1, 1, 2, 0.5], label='absent',
          weight_normalization='score', absent='skip'),
    _case('inverse', class_weights='inverse'),
    _case('inverse absent', class_weights='inverse', label='absent',
          weight_normalization='weights'),
    _case('inverse square absent', class_weights='inverse_square', label='absent'),
    _case('inverse all ignored', class_weights='inverse', label='all_ignored',
          ignore_label=IGNORE, form='negative'),
    _case('inverse all ignored on score', class_weights='inverse', label='all_ignored',
          ignore_label=IGNORE, weight_normalization='score'),
    _case('inverse batch', class_weights='inverse', batch_dice=True, label='absent',
          weight_normalization='weights'),
    # pooling
    _case('pooled', pool_classes=True),
    _case('pooled weights', pool_classes=True, class_weights=[0.1, 1, 2, 0], smooth=1.0),
    _case('generalised', **GENERALISED),
    _case('generalised absent', label='absent', **GENERALISED),
    _case('generalised absent skipped', label='absent', absent='skip', **GENERALISED),
    _case('generalised all ignored', label='all_ignored', ignore_label=IGNORE, form='negative',
          **GENERALISED),
    _case('generalised batch no background', batch_dice=True, include_background=False,
          **GENERALISED),
    _case('pooled all ignored skipped', pool_classes=True, label='all_ignored',
          ignore_label=IGNORE, absent='skip', form='negative'),
    _case('pooled sum log', pool_classes=True, class_reduction='sum', form='log'),
    # reductions and absent classes
    _case('sum', class_reduction='sum', class_weights=[0.1, 1, 2, 3]),
    _case('per class', class_reduction='none', class_weights=[0.1, 1, 2, 3]),
    _case('per class batch', class_reduction='none', batch_dice=True, include_background=False),
    _case('absent counted', label='absent'),
    _case('absent zero', label='absent', absent='zero'),
    _case('absent skipped', label='absent', absent='skip'),
    _case('absent skipped weights', label='absent', absent='skip',
          class_weights=[0.1, 1, 2, 3], weight_normalization='weights'),
    _case('absent skipped sum', label='absent', absent='skip', class_reduction='sum'),
    _case('absent zero per class', label='absent', absent='zero', class_reduction='none'),
    _case('absent skipped batch', label='absent', absent='skip', batch_dice=True),
    _case('all absent skipped', label='all_ignored', ignore_label=IGNORE, absent='skip',
          form='negative'),
    _case('empty image', label='empty', include_background=False),
    _case('empty image no smooth', label='empty', smooth=0.0),
    # forms
    _case('negative', form='negative'),
    _case('log', form='log'),
    _case('log guarded', form='log', smooth=0.0, label='absent'),
    _case('log_cosh', form='log_cosh'),
    _case('focal', gamma=2.0),
    _case('focal tversky', gamma=0.75, alpha=0.3, beta=0.7),
    _case('focal perfect empty', gamma=0.75, label='all_ignored', ignore_label=IGNORE),
    # another size than the label's
    _case('resize to the same size', **RESIZE),
    _case('resize up', label_size=(11, 9), **RESIZE),
    _case('resize down', shape=(2, 4, 9, 11), label_size=(5, 6), **RESIZE),
    _case('resize one axis up and one down', label_size=(9, 4), **RESIZE),
    _case('resize one axis', label_size=(5, 13), weighted=True, **RESIZE),
    _case('resize a signal', shape=(3, 2, 7), label_size=(18,), **RESIZE),
    _case('resize a volume', shape=(2, 3, 3, 4, 2), label_size=(5, 7, 6), **RESIZE),
    _case('resize four space axes', shape=(2, 3, 2, 3, 1, 2), label_size=(3, 4, 2, 3), **RESIZE),
    _case('resize no space', shape=(5, 3), **RESIZE),
    _case('resize from one pixel', shape=(2, 3, 1, 1), label_size=(4, 5), **RESIZE),
    _case('resize to one pixel', shape=(3, 3, 4, 5), label_size=(1, 1), **RESIZE),
    _case('resize from one row', shape=(2, 3, 1, 4), label_size=(6, 9), **RESIZE),
    _case('resize ignored', label='ignored', label_size=(9, 11), ignore_label=IGNORE, **RESIZE),
    _case('resize pixel weights', label_size=(9, 11), weighted=True, **RESIZE),
    _case('resize one-hot', label='one_hot', label_size=(9, 11), **DENSE, **RESIZE),
    _case('resize soft label l1', label='soft', label_size=(9, 11), overlap='l1', **DENSE,
          **RESIZE),
    _case('resize sigmoid soft ignored', label='soft_ignored', label_size=(9, 11), weighted=True,
          ignore_label=IGNORE, **SIGMOID, **RESIZE),
    _case('resize sigmoid binary index', shape=(3, 1, 5, 4), label_size=(8, 9),
          activation='sigmoid', **RESIZE),
    _case('resize none soft', label='soft', label_size=(9, 11), activation='none', exponent=2.0,
          **DENSE, **RESIZE),
    _case('resize channels last', axis=-1, label_size=(9, 11), weighted=True, **RESIZE),
    _case('resize channels last dense', axis=3, label='soft', label_size=(9, 11), **DENSE,
          **RESIZE),
    _case('resize channels in the middle', axis=2, label_size=(9, 11), weighted=True, **RESIZE),
    _case('resize channels before the last', axis=-2, label_size=(9, 11), **RESIZE),
    _case('resize generalised batch', label='absent', label_size=(9, 11), batch_dice=True,
          include_background=False, **GENERALISED, **RESIZE),
    _case('resize per class', label_size=(9, 11), class_reduction='none', form='log', **RESIZE),
    # several at once
    _case('everything', shape=(3, 5, 4, 3, 2), label='ignored', weighted=True,
          ignore_label=IGNORE, batch_dice=True, alpha=0.4, beta=0.8, exponent=2.0, smooth=0.3,
          smooth_dr=0.2, class_weights='inverse', weight_normalization='weights', absent='skip',
          form='log_cosh', classes=[1, -1, 3]),
]
