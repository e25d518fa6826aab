"""The published losses: what each is, and the fields of its options that reproduce it.

Plain data, which knows no options, so that options can start from a published loss by its name.
:mod:`soft_dice.presets` makes options of it.
"""
from typing import Any, Dict, NamedTuple


class Published(NamedTuple):
    """A published loss.

    title : what people call it.
    formula : the loss in one line; sums run over pixels, S_c is a class's score.
    source : the paper or project.
    differs : what sets it apart from its neighbours.
    fields : the fields of DiceOptions, or of DiceCEOptions, that are not at their default.
    """

    title: str
    formula: str
    source: str
    differs: str
    fields: Dict[str, Any]


def find(name: Any, compound: bool) -> Published:
    """The published loss of this name.

    compound : whether it may be one with a cross-entropy.

    Raises
    ------
    ValueError : there is none; the message lists the names.
    """
    if isinstance(name, str) and name in PUBLISHED:
        return PUBLISHED[name]
    if isinstance(name, str) and name in COMPOUND:
        if compound:
            return COMPOUND[name]
        raise ValueError(f'preset={name!r} has a cross-entropy: use DiceCELoss, DiceCELossLayer or '
                         'DiceCEOptions')
    names = [*PUBLISHED, *(COMPOUND if compound else ())]
    raise ValueError(f'preset must be one of {", ".join(names)}; got {name!r}')


def _published(title: str, formula: str, source: str, differs: str, **fields: Any) -> Published:
    return Published(title, formula, source, differs, fields)


PUBLISHED: Dict[str, Published] = {
    'milletari2016': _published(
        'V-Net Dice',
        '1 - 2 sum p g / (sum p^2 + sum g^2), foreground',
        'Milletari, Navab, Ahmadi: V-Net, 3DV 2016',
        'squares in the denominator, no smoothing',
        include_background=False, exponent=2, smooth=0),
    'drozdzal2016': _published(
        'Dice of Drozdzal et al.',
        '- 2 sum p g / (sum p + sum g), sigmoid',
        'Drozdzal et al.: The Importance of Skip Connections, DLMIA 2016',
        'negative score of one sigmoid channel, no smoothing',
        activation='sigmoid', smooth=0, form='negative'),
    'sudre2017': _published(
        'Generalised Dice',
        '1 - 2 sum_c w_c sum p g / sum_c w_c (sum p + sum g), w_c = 1 / (sum g)^2',
        'Sudre et al.: Generalised Dice overlap, DLMIA 2017',
        'classes weighted by 1/volume^2 and pooled before dividing, no smoothing',
        pool_classes=True, class_weights='inverse_square', smooth=0),
    'salehi2017': _published(
        'Tversky',
        '1 - sum p g / (sum p g + 0.3 fp + 0.7 fn), foreground',
        'Salehi, Erdogmus, Gholipour: Tversky loss, MLMI 2017',
        'false negatives weigh 0.7, false positives 0.3, no smoothing',
        include_background=False, alpha=0.3, beta=0.7, smooth=0),
    'abraham2019': _published(
        'Focal Tversky',
        'sum_c (1 - S_c)^0.75, S_c Tversky with fp 0.3, fn 0.7, smooth 1',
        'Abraham, Khan: Focal Tversky loss, ISBI 2019',
        'the paper\'s (1 - S)^(1/gamma) with gamma = 4/3, as in its code; others raise to gamma',
        alpha=0.3, beta=0.7, smooth=2, gamma=0.75, class_reduction='sum'),
    'isensee2017': _published(
        'Soft Dice of Isensee et al.',
        '- mean_c 2 sum p g / (sum p + sum g + 1e-6), over the batch',
        'Isensee et al.: Automatic Cardiac Disease Assessment, STACOM 2017',
        'epsilon in the denominator only, negative, summed over the batch',
        smooth=0, smooth_dr=1e-6, form='negative', batch_dice=True),
    'monai': _published(
        'MONAI DiceLoss',
        '1 - mean_c (2 sum p g + 1e-5) / (sum p + sum g + 1e-5)',
        'MONAI, DiceLoss(softmax=True, to_onehot_y=True)',
        'the defaults of DiceOptions'),
    'monai_generalized': _published(
        'MONAI GeneralizedDiceLoss',
        '1 - (2 sum_c w_c sum p g + 1e-5) / (sum_c w_c (sum p + sum g) + 1e-5)',
        'MONAI, GeneralizedDiceLoss(softmax=True, to_onehot_y=True)',
        'sudre2017 with smoothing after the weighting, where 1e-5 is not small',
        pool_classes=True, class_weights='inverse_square'),
    'monai_tversky': _published(
        'MONAI TverskyLoss',
        '1 - mean_c (tp + 1e-5) / (tp + 0.5 fp + 0.5 fn + 1e-5)',
        'MONAI, TverskyLoss(softmax=True, to_onehot_y=True)',
        'smooth stands beside tp, not 2 tp: twice that of monai',
        smooth=2e-5),
    'smp': _published(
        'segmentation_models.pytorch DiceLoss',
        'mean_c (1 - 2 sum p g / (sum p + sum g)), over the batch, absent classes 0',
        'segmentation_models.pytorch, DiceLoss("multiclass")',
        'over the batch, no smoothing, a class absent from it has loss 0; soft labels by l1',
        batch_dice=True, smooth=0, absent='zero', overlap='l1'),
    'smp_jaccard': _published(
        'segmentation_models.pytorch JaccardLoss',
        'mean_c (1 - sum p g / (sum p + sum g - sum p g)), over the batch, absent classes 0',
        'segmentation_models.pytorch, JaccardLoss("multiclass")',
        'smp with intersection over union',
        batch_dice=True, smooth=0, absent='zero', overlap='l1', alpha=1, beta=1),
    'log_dice': _published(
        'Log-Dice',
        'mean_c -log max(2 sum p g / (sum p + sum g), 1e-7), over the batch, absent classes 0',
        'segmentation_models.pytorch, DiceLoss("multiclass", log_loss=True)',
        'smp with the logarithm of the score',
        batch_dice=True, smooth=0, absent='zero', overlap='l1', form='log'),
    'nnunet': _published(
        'nnU-Net Dice term',
        '- mean_{c>0} (2 sum p g + 1e-5) / (sum p + sum g + 1e-5)',
        'nnU-Net v2, MemoryEfficientSoftDiceLoss(do_bg=False, smooth=1e-5)',
        'negative, without background; its 2-D plans add batch_dice=True',
        include_background=False, form='negative'),
    'segmentation_models': _published(
        'Keras segmentation_models DiceLoss',
        '1 - mean_c (2 sum p g + 1e-5) / (sum p + sum g + 1e-5), over the batch',
        'segmentation_models (Keras), DiceLoss(), on softmax output',
        'over the batch; class weights multiply the score, not the loss',
        batch_dice=True, weight_normalization='score'),
    'keras_smooth1': _published(
        'Flattened Keras Dice, smooth 1',
        '1 - (2 sum p g + 1) / (sum p + sum g + 1), over batch, classes and pixels',
        'the Keras dice_coef of countless notebooks',
        'everything in one sum, so large objects and images rule; smooth 1',
        pool_classes=True, batch_dice=True, smooth=1),
    'keras_smooth100': _published(
        'Flattened Keras Dice, smooth 100',
        '1 - (2 sum p g + 100) / (sum p + sum g + 100), over batch, classes and pixels',
        'the same with the 100 of keras-contrib\'s jaccard_distance',
        'keras_smooth1 with a smooth that small objects drown in',
        pool_classes=True, batch_dice=True, smooth=100),
}

# With a cross-entropy.
COMPOUND: Dict[str, Published] = {
    'monai_dice_ce': _published(
        'MONAI DiceCELoss',
        'monai + sum_i -w log p_i / sum_i w over the batch',
        'MONAI, DiceCELoss(softmax=True, to_onehot_y=True)',
        'a Dice of each sample beside a cross-entropy over the batch',
        ce_batch=True),
    'nnunet_dice_ce': _published(
        'nnU-Net DC_and_CE_loss',
        'nnunet + mean_i -log p_i over the batch',
        'nnU-Net v2, DC_and_CE_loss(MemoryEfficientSoftDiceLoss)',
        'as nnunet; its 2-D plans add batch_dice=True',
        include_background=False, form='negative', ce_batch=True),
    'nnunet_dice_bce': _published(
        'nnU-Net DC_and_BCE_loss',
        'nnunet of every class + mean_ic -g log p - (1 - g) log (1 - p), sigmoid',
        'nnU-Net v2, DC_and_BCE_loss(MemoryEfficientSoftDiceLoss), for regions that overlap',
        'one label of 0 and 1 for each class; its 2-D plans add batch_dice=True',
        activation='sigmoid', sparse_label=False, form='negative', ce_batch=True),
}
