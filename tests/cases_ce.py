"""The rows of the table of cases that have a cross-entropy; see cases.py."""
from typing import Any, List, Tuple

from cases import DENSE, GENERALISED, IGNORE, RESIZE, SIGMOID, Case

from soft_dice import DiceCEOptions


def _case(name: str, shape: Tuple[int, ...] = (2, 4, 5, 6), label: str = 'index',
          weighted: bool = False, label_size: Tuple[int, ...] = (), **fields: Any) -> Case:
    return Case(f'ce {name}', DiceCEOptions(**fields), shape, label, weighted, label_size)


BINARY = dict(shape=(3, 1, 5, 4), activation='sigmoid')
WEIGHTS = [0.1, 1, 2, 3]

CE_CASES: List[Case] = [
    # shapes
    _case('defaults'),
    _case('one sample', shape=(1, 3, 4, 4)),
    _case('no space', shape=(5, 3)),
    _case('volume', shape=(2, 3, 3, 4, 5)),
    _case('many classes', shape=(2, 21, 6, 6), label_smoothing=0.1),
    _case('one pixel', shape=(2, 3, 1, 1)),
    _case('channels last', axis=-1),
    _case('channels last dense', axis=3, label='soft', ce_class_weights=WEIGHTS, **DENSE),
    _case('channels in the middle', axis=2, shape=(2, 3, 4, 5), weighted=True),
    # activations and labels
    _case('softmax one-hot', label='one_hot', **DENSE),
    _case('softmax soft label', label='soft', **DENSE),
    _case('softmax soft label smoothed', label='soft', label_smoothing=0.2, ce_gamma=2.0, **DENSE),
    _case('sigmoid multilabel', label='multilabel', **SIGMOID),
    _case('sigmoid soft label', label='soft', **SIGMOID),
    _case('sigmoid binary index', **BINARY),
    _case('sigmoid binary ignored', label='ignored', ignore_label=IGNORE, **BINARY),
    # which pixels and classes count
    _case('ignored', label='ignored', ignore_label=IGNORE),
    _case('ignored background', ignore_label=0),
    _case('all ignored', label='all_ignored', ignore_label=IGNORE),
    _case('all ignored smoothed', label='all_ignored', ignore_label=IGNORE, label_smoothing=0.1,
          smooth=0.0, dice_weight=0.0),
    _case('soft ignored', label='soft_ignored', ignore_label=IGNORE, **DENSE),
    _case('sigmoid soft ignored', label='soft_ignored', ignore_label=IGNORE, **SIGMOID),
    _case('pixel weights', weighted=True),
    _case('pixel weights ignored smoothed', label='ignored', weighted=True, ignore_label=IGNORE,
          label_smoothing=0.1),
    _case('pixel weights soft ignored', label='soft_ignored', weighted=True, ignore_label=IGNORE,
          ce_class_weights=WEIGHTS, **SIGMOID),
    _case('no background', include_background=False),
    _case('named classes', classes=[2, 1], class_weights=WEIGHTS),
    # the two terms
    _case('weighed', dice_weight=0.25, ce_weight=2.0),
    _case('no dice', dice_weight=0.0),
    _case('no entropy', ce_weight=0.0, ce_gamma=0.5),
    _case('generalised', **GENERALISED),
    _case('log', form='log', class_reduction='sum'),
    _case('squared soft label', exponent=2.0, label='soft', **DENSE),
    _case('squared sigmoid', exponent=2.0, overlap='l1', label='soft', **SIGMOID),
    # the batch
    _case('batch', batch_dice=True, shape=(3, 4, 5, 6)),
    _case('batch ignored', batch_dice=True, label='all_ignored', ignore_label=IGNORE),
    _case('batch weights', batch_dice=True, ce_class_weights=WEIGHTS, label='absent'),
    _case('batch pixels', batch_dice=True, ce_normalization='pixels', weighted=True),
    _case('entropy over the batch', ce_batch=True, shape=(3, 4, 5, 6), label='ignored',
          ignore_label=IGNORE, ce_class_weights=WEIGHTS),
    _case('dice over the batch', ce_batch=False, batch_dice=True, shape=(3, 4, 5, 6),
          label='ignored', ignore_label=IGNORE, **GENERALISED),
    _case('entropy over the batch sigmoid', ce_batch=True, label='soft_ignored', weighted=True,
          ignore_label=IGNORE, ce_normalization='pixels', **SIGMOID),
    # class weights, smoothing, normalization
    _case('class weights', ce_class_weights=WEIGHTS),
    _case('class weights of one class', ce_class_weights=[0, 0, 0, 5], label='absent',
          dice_weight=0.0),
    _case('class weights smoothed', ce_class_weights=[0, 1, 2, 3], label_smoothing=0.1),
    _case('class weights sigmoid', ce_class_weights=WEIGHTS, label='soft', label_smoothing=0.3,
          **SIGMOID),
    _case('smoothed', label_smoothing=0.1, shape=(2, 3, 3, 4, 5)),
    _case('smoothed ignored', label_smoothing=0.1, label='ignored', ignore_label=IGNORE),
    _case('smoothed binary', label_smoothing=0.1, **BINARY),
    _case('pixels', ce_normalization='pixels', ce_class_weights=WEIGHTS),
    _case('pixels ignored', ce_normalization='pixels', label='all_ignored', ignore_label=IGNORE),
    _case('pixels sigmoid', ce_normalization='pixels', label='soft_ignored', ignore_label=IGNORE,
          **SIGMOID),
    # focal
    _case('focal 0.5', ce_gamma=0.5),
    _case('focal 1', ce_gamma=1.0, ce_class_weights=WEIGHTS),
    _case('focal 1.5', ce_gamma=1.5, label_smoothing=0.1),
    _case('focal 2', ce_gamma=2.0, label='ignored', ignore_label=IGNORE),
    _case('focal sigmoid 0.5', ce_gamma=0.5, label='multilabel', **SIGMOID),
    _case('focal sigmoid 1', ce_gamma=1.0, weighted=True, **BINARY),
    _case('focal sigmoid 2', ce_gamma=2.0, label='soft', label_smoothing=0.2, **SIGMOID),
    # another size than the label's
    _case('resize up', label_size=(11, 9), weighted=True, **RESIZE),
    _case('resize pixels', label_size=(3, 9), ce_normalization='pixels', **RESIZE),
    _case('resize channels last ignored', axis=-1, label='ignored', label_size=(9, 11),
          ignore_label=IGNORE, ce_gamma=2.0, **RESIZE),
    _case('resize volume sigmoid', shape=(2, 3, 3, 4, 2), label='soft_ignored',
          label_size=(4, 5, 6), ignore_label=IGNORE, ce_normalization='pixels', **SIGMOID,
          **RESIZE),
    # several at once
    _case('everything', shape=(3, 5, 4, 3, 2), label='ignored', weighted=True,
          ignore_label=IGNORE, batch_dice=True, alpha=0.4, beta=0.8, exponent=2.0, smooth=0.3,
          class_weights='inverse', weight_normalization='weights', absent='skip', form='log_cosh',
          classes=[1, -1, 3], dice_weight=0.7, ce_weight=1.3, label_smoothing=0.05, ce_gamma=0.75,
          ce_class_weights=[1, 0.5, 2, 0, 3]),
]
