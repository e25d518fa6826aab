"""The losses: what each is called, and what it is in Gluon and in Caffe.  Imports no framework."""
import json
from typing import Any, Dict, NamedTuple, Tuple

from soft_dice.frequencies import class_frequencies, class_weights

from .tasks import Task


class Loss(NamedTuple):
    """A loss of the study.

    title : for the report.
    code : how a user writes it in Gluon.
    kind : a class of gluon_dice, which caffe_layers has under the same name and 'Layer'; of
        study.wrong; or '', the framework's own cross-entropy.
    fields : its options.
    weighted : whether the weights of the classes, from the training labels, are an option, too.
    main : whether it is trained in Caffe as well.
    wrong : a defect, in words.
    """

    title: str
    kind: str = ''
    fields: Dict[str, Any] = {}
    weighted: bool = False
    main: bool = False
    wrong: str = ''

    @property
    def code(self) -> str:
        """How it is written in Gluon."""
        if not self.kind:
            return 'gluon.loss.SoftmaxCrossEntropyLoss(axis=1)'
        given = [repr(value) if name == 'preset' else f'{name}={value!r}'
                 for name, value in self.fields.items()]
        return f'{self.kind}({", ".join(given + ["ce_class_weights=..."] * self.weighted)})'


def _dice(title: str, main: bool = False, **fields: Any) -> Loss:
    return Loss(title, 'SoftDiceLoss', fields, main=main)


def _dice_ce(title: str, main: bool = False, **fields: Any) -> Loss:
    return Loss(title, 'DiceCELoss', fields, main=main)


# MONAI's DiceLoss is `dice`, and its DiceCELoss is `dice_ce`: without pixels to ignore and weights
# of classes, the preset monai_dice_ce computes the same (tests/test_study.py).
LOSSES: Dict[str, Loss] = {
    'ce': Loss('cross-entropy', main=True),
    'weighted_ce': Loss('cross-entropy, weighted by 1 / frequency', 'DiceCELoss',
                        {'dice_weight': 0, 'ce_batch': True}, weighted=True),
    'dice': _dice("Dice per image (MONAI's)", main=True),
    'dice_batch': _dice('Dice over the batch', main=True, batch_dice=True),
    'log': _dice('log Dice per image', form='log'),
    'log_batch': _dice('log Dice over the batch', main=True, form='log', batch_dice=True),
    'log_skip': _dice('log Dice over the batch, absent skipped', form='log',
                      batch_dice=True, absent='skip'),
    'squared': _dice('squared (V-Net)', preset='milletari2016'),
    'tversky': _dice('Tversky', preset='salehi2017'),
    'focal_tversky': _dice('focal Tversky', preset='abraham2019'),
    'generalised': _dice('generalised Dice', main=True, preset='sudre2017'),
    'smp': _dice("smp's Dice", preset='smp'),
    'dice_ce': _dice_ce("Dice + cross-entropy (MONAI's)", main=True),
    'dice_ce_skip': _dice_ce('Dice + cross-entropy, absent skipped', absent='skip'),
    'log_ce': _dice_ce('log Dice + cross-entropy, absent skipped', main=True,
                       form='log', batch_dice=True, absent='skip'),
    'dice_ce_tenth': _dice_ce('0.1 Dice + cross-entropy', dice_weight=0.1),
    'dice_focal': _dice_ce('Dice + focal', ce_gamma=2),
    'nnunet': _dice_ce("nnU-Net's Dice + cross-entropy", main=True, preset='nnunet_dice_ce',
                       batch_dice=True),
    'wrong_argmax': Loss('argmax forward', 'ArgmaxForward',
                         wrong="the argmax is counted, with V-Net's backward"),
    'wrong_score': Loss('score as loss', 'ScoreAsLoss', wrong='the score is returned as the loss'),
    'wrong_weight': Loss('weight ignored', 'HeadGradientIgnored',
                         wrong='0.1 Dice + cross-entropy, whose Dice ignores the 0.1'),
    'wrong_pixel': Loss('per pixel', 'DenominatorPerPixel', wrong='every pixel has a denominator'),
    'wrong_twice': Loss('softmax twice', 'SoftmaxTwice', wrong='softmax is taken twice'),
}


def options(loss: Loss, task: Task, seed: int) -> Dict[str, Any]:
    """All options by name."""
    if not loss.weighted:
        return loss.fields
    return {**loss.fields, 'ce_class_weights': weights(task, seed)}


def weights(task: Task, seed: int) -> Tuple[float, ...]:
    """Of the classes, inverse to their frequency in the training images."""
    labels = task.data('train', seed).label.astype(int)
    return tuple(float(each) for each in class_weights(class_frequencies([labels]), 'inverse'))


def caffe_layer(loss: Loss, task: Task, seed: int) -> str:
    """The layer of a prototxt."""
    bottoms = 'bottom: "score"  bottom: "label"  top: "loss"  loss_weight: 1'
    if not loss.kind:
        return f'layer {{ name: "loss"  type: "SoftmaxWithLoss"  {bottoms} }}'
    return (f'layer {{ name: "loss"  type: "Python"  {bottoms}\n'
            f'  python_param {{ module: "caffe_layers"  layer: "{loss.kind}Layer"\n'
            f"    param_str: '{json.dumps(options(loss, task, seed))}' }} }}")
