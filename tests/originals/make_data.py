"""Run the published losses themselves, from PyPI, and write down what they say.

    make originals

It is no test: it writes data.npz, which tests/test_presets.py holds every backend to.  Each entry
is one loss of one package on one seeded input: the scalar the package returns, and its gradient
with respect to the logits.  Everything is computed in float64 where the package allows.

And it writes resize.npz, for tests/test_resize.py: torch's interpolation, and a loss with it.
"""
import importlib.metadata
import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import torch

IGNORE = 255
RESIZED = [((2, 3, 7), (18,)), ((2, 3, 11), (4,)), ((1, 2, 1), (5,)), ((1, 2, 6), (1,)),
           ((2, 3, 5, 4), (9, 11)), ((2, 3, 9, 11), (5, 4)), ((1, 2, 5, 8), (10, 3)),
           ((1, 2, 8, 8), (16, 16)), ((1, 3, 1, 4), (6, 4)), ((2, 2, 7, 7), (1, 13)),
           ((1, 1, 37, 41), (149, 83)), ((2, 2, 3, 4, 5), (7, 9, 6)), ((1, 2, 6, 5, 7), (3, 9, 7)),
           ((1, 2, 1, 3, 3), (4, 1, 5))]
SHAPES = {'image': (2, 4, 9, 8), 'one sample': (1, 3, 7, 5), 'volume': (2, 3, 4, 3, 5),
          'many classes': (3, 11, 8, 8)}


def without_its_init(package):
    """Make ``package.losses`` importable without the models that the package itself imports."""
    module = types.ModuleType(package)
    module.__path__ = list(importlib.util.find_spec(package).submodule_search_locations)
    sys.modules[package] = module


without_its_init('segmentation_models_pytorch')
from monai.losses import (DiceCELoss, DiceFocalLoss, DiceLoss, FocalLoss,  # noqa: E402
                          GeneralizedDiceLoss, TverskyLoss)
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss  # noqa: E402
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss, SoftDiceLoss  # noqa: E402
from segmentation_models_pytorch import losses as smp  # noqa: E402
from torch.nn import BCEWithLogitsLoss, CrossEntropyLoss  # noqa: E402


def softmax(x):
    return torch.softmax(x, 1)


def label_of(rng, shape, kind):
    label = rng.integers(0, shape[1], shape[:1] + shape[2:])
    if kind == 'absent':
        label[label == shape[1] - 1] = 0
        label[0][label[0] == 1] = 0
    if kind == 'empty':
        label[0] = 0
    if kind == 'ignored':
        label[rng.uniform(size=label.shape) < 0.3] = IGNORE
    return label


def with_channel(loss):
    return lambda pred, label: loss(pred, label[:, None])


def weights_for(shape):
    return [0.25 + 0.5 * c for c in range(shape[1])]


def losses_for(shape, kind):
    """(preset, changes to its options, the original) for index labels."""
    weights = weights_for(shape)
    torch_weights = torch.tensor(weights, dtype=torch.float64)
    one_hot = dict(softmax=True, to_onehot_y=True)
    if kind == 'ignored':
        ignoring = dict(ignore_label=IGNORE)
        return [('smp', ignoring, smp.DiceLoss('multiclass', ignore_index=IGNORE)),
                ('smp_jaccard', ignoring, smp.JaccardLoss('multiclass', ignore_index=IGNORE)),
                ('log_dice', ignoring,
                 smp.DiceLoss('multiclass', log_loss=True, ignore_index=IGNORE)),
                ('nnunet', ignoring, masked_nnunet(False)),
                ('nnunet', dict(ignoring, batch_dice=True), masked_nnunet(True))]
    return [
        ('monai', {}, with_channel(DiceLoss(**one_hot))),
        ('monai', dict(include_background=False),
         with_channel(DiceLoss(include_background=False, **one_hot))),
        ('monai', dict(batch_dice=True), with_channel(DiceLoss(batch=True, **one_hot))),
        ('monai', dict(exponent=2, smooth=0.5, smooth_dr=0.25),
         with_channel(DiceLoss(squared_pred=True, smooth_nr=0.5, smooth_dr=0.25, **one_hot))),
        ('monai', dict(alpha=1, beta=1), with_channel(DiceLoss(jaccard=True, **one_hot))),
        ('monai', dict(class_weights=weights), with_channel(DiceLoss(weight=weights, **one_hot))),
        ('monai', dict(class_reduction='sum'),
         lambda p, t: DiceLoss(reduction='sum', **one_hot)(p, t[:, None]) / len(p)),
        ('monai_generalized', {}, with_channel(GeneralizedDiceLoss(**one_hot))),
        ('monai_generalized', dict(class_weights='inverse', include_background=False),
         with_channel(GeneralizedDiceLoss(w_type='simple', include_background=False, **one_hot))),
        ('monai_generalized', dict(batch_dice=True),
         with_channel(GeneralizedDiceLoss(batch=True, **one_hot))),
        ('monai_tversky', {}, with_channel(TverskyLoss(**one_hot))),
        ('monai_tversky', dict(alpha=0.3, beta=0.7, batch_dice=True),
         with_channel(TverskyLoss(alpha=0.3, beta=0.7, batch=True, **one_hot))),
        ('smp', {}, smp.DiceLoss('multiclass')),
        ('smp', dict(smooth=2.0), smp.DiceLoss('multiclass', smooth=1.0)),
        ('smp', dict(classes=[1, 2]), smp.DiceLoss('multiclass', classes=[1, 2])),
        ('smp', dict(class_weights=weights, weight_normalization='weights'),
         smp_weighted(torch_weights)),
        ('smp_jaccard', {}, smp.JaccardLoss('multiclass')),
        ('log_dice', {}, smp.DiceLoss('multiclass', log_loss=True)),
        ('nnunet', {}, with_channel(nnunet(False))),
        ('nnunet', dict(batch_dice=True), with_channel(nnunet(True))),
        ('nnunet', dict(include_background=True, smooth=1.0),
         with_channel(SoftDiceLoss(softmax, batch_dice=False, do_bg=True, smooth=1.0, ddp=False))),
    ]


def smp_weighted(weights):
    loss = smp.DiceLoss('multiclass', class_weights=weights)
    loss.class_weights = weights  # the class keeps them in float32
    return loss


def nnunet(batch):
    return MemoryEfficientSoftDiceLoss(softmax, batch_dice=batch, do_bg=False, smooth=1e-5,
                                       ddp=False)


def masked_nnunet(batch):
    """As nnU-Net's DC_and_CE_loss calls it: with a mask, and class 0 where it is ignored."""
    def loss(pred, label):
        mask = (label != IGNORE)[:, None]
        return nnunet(batch)(pred, torch.where(label == IGNORE, 0, label)[:, None], mask)
    return loss


def dense_losses_for():
    """The same for a label per class, of 0 and 1, under a sigmoid."""
    dense = dict(activation='sigmoid', sparse_label=False)
    return [
        ('monai', dense, DiceLoss(sigmoid=True)),
        ('monai_generalized', dense, GeneralizedDiceLoss(sigmoid=True)),
        ('monai_tversky', dense, TverskyLoss(sigmoid=True)),
        ('smp', dense, smp.DiceLoss('multilabel')),
        ('smp_jaccard', dense, smp.JaccardLoss('multilabel')),
        ('log_dice', dense, smp.DiceLoss('multilabel', log_loss=True)),
        ('nnunet', dense, MemoryEfficientSoftDiceLoss(torch.sigmoid, do_bg=False, smooth=1e-5,
                                                      ddp=False)),
    ]


NO_DICE = dict(dice_weight=0)
SIGMOID = dict(activation='sigmoid', sparse_label=False)


def entropy_losses_for(shape, kind):
    """(preset, changes, the original) of DiceCEOptions for index labels.

    Where a mean over the batch is no mean of samples (ignored pixels, class weights), the originals
    take it over the batch: batch_dice=True, or ce_batch=True beside a Dice of each sample.
    """
    weights = weights_for(shape)
    tensor = torch.tensor(weights, dtype=torch.float64)
    batch = dict(batch_dice=True)
    one_hot = dict(softmax=True, to_onehot_y=True)
    if kind == 'empty':  # which is nothing special to a cross-entropy
        return []
    if kind == 'ignored':
        ignoring = dict(ignore_label=IGNORE, **batch)
        return [
            ('monai', dict(ignoring, **NO_DICE), CrossEntropyLoss(ignore_index=IGNORE)),
            ('monai', dict(ignoring, ce_class_weights=weights, label_smoothing=0.1, **NO_DICE),
             CrossEntropyLoss(tensor, ignore_index=IGNORE, label_smoothing=0.1)),
            ('monai', dict(ignoring, ce_normalization='pixels', label_smoothing=0.2, **NO_DICE),
             smp.SoftCrossEntropyLoss(smooth_factor=0.2, ignore_index=IGNORE)),
            ('nnunet_dice_ce', ignoring, with_channel(nnunet_entropy(True, ignore_label=IGNORE))),
            ('nnunet_dice_ce', dict(ignore_label=IGNORE),
             with_channel(nnunet_entropy(False, ignore_label=IGNORE))),
        ]
    return [
        ('monai_dice_ce', {}, with_channel(DiceCELoss(**one_hot))),
        ('monai_dice_ce', dict(class_weights=weights, ce_class_weights=weights),
         with_channel(DiceCELoss(weight=tensor, **one_hot))),
        ('monai', dict(dice_weight=0.5, ce_weight=2, include_background=False),
         with_channel(DiceCELoss(include_background=False, lambda_dice=0.5, lambda_ce=2,
                                 **one_hot))),
        ('monai', dict(label_smoothing=0.1), with_channel(DiceCELoss(label_smoothing=0.1,
                                                                     **one_hot))),
        ('monai', dict(batch, class_weights=weights, ce_class_weights=weights,
                       label_smoothing=0.05),
         with_channel(DiceCELoss(batch=True, weight=tensor, label_smoothing=0.05, **one_hot))),
        ('monai', dict(NO_DICE, **batch, ce_class_weights=weights), CrossEntropyLoss(tensor)),
        ('monai', dict(NO_DICE, label_smoothing=0.3), CrossEntropyLoss(label_smoothing=0.3)),
        ('monai', dict(NO_DICE, **focal(2, shape[1])),
         with_channel(FocalLoss(use_softmax=True, to_onehot_y=True))),
        ('monai', dict(NO_DICE, **focal(0.5, shape[1]), ce_class_weights=weights),
         with_channel(FocalLoss(gamma=0.5, weight=weights, use_softmax=True, to_onehot_y=True))),
        ('nnunet_dice_ce', {}, with_channel(nnunet_entropy(False))),
        ('nnunet', dict(batch, ce_weight=0.5), with_channel(nnunet_entropy(True, weight_ce=0.5))),
    ]


def focal(gamma, classes):
    """MONAI's mean is over all elements of its one-hot label."""
    return dict(ce_gamma=gamma, ce_normalization='pixels', ce_weight=1 / classes)


def nnunet_entropy(batch, **keywords):
    """As nnU-Net's trainer makes it."""
    dice = dict(batch_dice=batch, smooth=1e-5, do_bg=False, ddp=False)
    return DC_and_CE_loss(dice, {}, dice_class=MemoryEfficientSoftDiceLoss, **keywords)


def dense_entropy_losses_for(shape):
    """The same for a label per class, of 0 and 1, under a sigmoid."""
    weights = weights_for(shape)
    each = torch.tensor(weights, dtype=torch.float64).reshape(-1, *[1] * (len(shape) - 2))
    dice = dict(batch_dice=False, smooth=1e-5, do_bg=True, ddp=False)
    return [
        ('monai', dict(SIGMOID, **NO_DICE), BCEWithLogitsLoss()),
        ('monai', dict(SIGMOID, ce_normalization='pixels', ce_class_weights=weights, **NO_DICE),
         BCEWithLogitsLoss(weight=each)),
        ('monai', dict(SIGMOID, label_smoothing=0.2, **NO_DICE),
         smp.SoftBCEWithLogitsLoss(smooth_factor=0.1)),
        ('monai', dict(SIGMOID, ce_gamma=2, **NO_DICE), smp.FocalLoss('multilabel')),
        ('monai', dict(SIGMOID, ce_gamma=0.5, **NO_DICE), smp.FocalLoss('multilabel', gamma=0.5)),
        ('monai', dict(SIGMOID, ce_gamma=2, dice_weight=0.5), DiceFocalLoss(sigmoid=True,
                                                                            lambda_dice=0.5)),
        ('nnunet_dice_bce', {},
         DC_and_BCE_loss({}, dice, dice_class=MemoryEfficientSoftDiceLoss)),
    ]


def soft_entropy_losses_for(shape):
    """The same for a probability per class, under a softmax."""
    weights = weights_for(shape)
    tensor = torch.tensor(weights, dtype=torch.float64)
    dense = dict(sparse_label=False)
    return [
        ('monai', dense, DiceCELoss(softmax=True)),
        ('monai', dict(dense, label_smoothing=0.1), DiceCELoss(softmax=True, label_smoothing=0.1)),
        ('monai', dict(dense, ce_normalization='pixels', ce_class_weights=weights,
                       label_smoothing=0.1, **NO_DICE),
         CrossEntropyLoss(tensor, label_smoothing=0.1)),
    ]


def binary_entropy_losses():
    """The same for one channel."""
    return [('monai', SIGMOID, DiceCELoss(sigmoid=True)),
            ('monai', dict(SIGMOID, batch_dice=True, ce_weight=3),
             DiceCELoss(sigmoid=True, batch=True, lambda_ce=3))]


def single(preset, changes, loss):
    """Whether the original works in float32 whatever it is given, wholly or in part.

    nnU-Net sums in float32; MONAI's generalised Dice takes its weights, and its squared_pred its
    sums, from a one-hot label in float32, and so does the focal loss with everything.
    """
    return (preset.startswith('nnunet') or preset == 'monai_generalized' or 'exponent' in changes
            or ('ce_gamma' in changes and not isinstance(loss, smp.FocalLoss)))


def f_score_loss(pred, target, beta):
    """1 - F-beta over the batch, as the U-Net trainings of many Keras and PyTorch repositories have
    it (bubbliiiing/unet-pytorch, Dice_loss): written anew, with their terms and their smooth.

    target (N, H, W, C + 1): one-hot, with a last channel for the pixels to ignore.  These have no
    class, but their predictions count as false positives.
    """
    pred = torch.nn.functional.interpolate(pred, size=target.shape[1:3], mode='bilinear',
                                           align_corners=True)
    p, g = softmax(pred), target[..., :-1].permute(0, 3, 1, 2)
    tp, p_sum, g_sum = (each.sum((0, 2, 3)) for each in (p * g, p, g))
    weighted = (1 + beta ** 2) * tp
    errors = beta ** 2 * (g_sum - tp) + (p_sum - tp)
    return 1 - ((weighted + 1e-5) / (weighted + errors + 1e-5)).mean()


def evaluate(loss, pred, label):
    pred = torch.tensor(pred, requires_grad=True)
    value = loss(pred, torch.tensor(label))
    value.backward()
    return value.item(), pred.grad.numpy()


def save(name, about, arrays):
    """Returns a remark about the file."""
    packages = ('torch', 'monai', 'segmentation_models_pytorch', 'nnunetv2')
    about['versions'] = {name: importlib.metadata.version(name) for name in packages}
    path = Path(__file__).with_name(name)
    np.savez_compressed(path, about=np.array(json.dumps(about)), **arrays)
    return f'{path.name}, {path.stat().st_size / 1e6:.1f} MB, from {about["versions"]}'


def interpolations(rng):
    """About, and arrays: values (N, C, ...) of one size and of another, upstream and gradient."""
    modes = {3: 'linear', 4: 'bilinear', 5: 'trilinear'}
    arrays, losses = {}, []
    for number, (shape, size) in enumerate(RESIZED):
        pred = torch.tensor(rng.standard_normal(shape), requires_grad=True)
        upstream = torch.tensor(rng.standard_normal(shape[:2] + size))
        resized = torch.nn.functional.interpolate(pred, size=size, mode=modes[len(shape)],
                                                  align_corners=True)
        resized.backward(upstream)
        for name, each in (('pred', pred.detach()), ('upstream', upstream),
                           ('resized', resized.detach()), ('gradient', pred.grad)):
            arrays[f'{name}{number}'] = each.numpy()
    for number, (beta, size) in enumerate([(1, (9, 11)), (2, (16, 13)), (0.5, (4, 3))]):
        pred = 2 * rng.standard_normal((2, 3, 6, 5))
        target = np.eye(4)[rng.integers(0, 4, (2,) + size)]
        loss, gradient = evaluate(lambda p, g: f_score_loss(p, g, beta), pred, target)
        losses.append(dict(beta=beta, loss=loss))
        for name, each in (('pred', pred), ('target', target), ('gradient', gradient)):
            arrays[f'loss_{name}{number}'] = each
    return dict(interpolations=len(RESIZED), losses=losses), arrays


def inputs():
    """(name, prediction, label, losses by the options they are of)."""
    rng = np.random.default_rng(20261121)
    for shape_name, shape in SHAPES.items():
        for kind in ('plain', 'absent', 'empty', 'ignored', 'multilabel'):
            pred = 2 * rng.standard_normal(shape)
            if kind == 'multilabel':
                label = (rng.uniform(size=shape) < 0.4).astype('float64')
                losses = dense_losses_for(), dense_entropy_losses_for(shape)
            else:
                label = label_of(rng, shape, kind)
                losses = losses_for(shape, kind), entropy_losses_for(shape, kind)
            yield f'{shape_name}, {kind}', pred, label, losses
    for shape_name, shape in SHAPES.items():
        pred = 2 * rng.standard_normal(shape)
        label = rng.dirichlet(np.ones(shape[1]), shape[:1] + shape[2:])
        yield (f'{shape_name}, soft', pred, np.ascontiguousarray(np.moveaxis(label, -1, 1)),
               ([], soft_entropy_losses_for(shape)))
        one = shape[:1] + (1,) + shape[2:]
        yield (f'{shape_name}, binary', 2 * rng.standard_normal(one),
               (rng.uniform(size=one) < 0.4).astype('float64'), ([], binary_entropy_losses()))


def main():
    about, arrays = interpolations(np.random.default_rng(20261122))
    print(len(RESIZED), 'interpolations in', save('resize.npz', about, arrays))
    arrays, entries = {}, []
    for number, (name, pred, label, losses) in enumerate(inputs()):
        arrays[f'pred{number}'], arrays[f'label{number}'] = pred, label
        for options, each in zip(('DiceOptions', 'DiceCEOptions'), losses):
            for preset, changes, loss in each:
                value, gradient = evaluate(loss, pred, label)
                arrays[f'gradient{len(entries)}'] = gradient
                entries.append(dict(options=options, preset=preset, changes=changes, input=number,
                                    loss=value, name=name, single=single(preset, changes, loss)))
    print(len(entries), 'losses on', number + 1, 'inputs in',
          save('data.npz', dict(entries=entries), arrays))


if __name__ == '__main__':
    main()
