"""What other libraries call the options of these losses, for a message that names ours.

PyTorch, MONAI, nnU-Net, segmentation_models.pytorch, Keras, MXNet and Caffe each have words of
their own.  Every message about an option that does not exist comes from here.
"""
import difflib
from typing import Collection, Dict, Iterable, List, Mapping, Tuple

# Each line: their names; ours, in the order in which they are likely meant; and what differs.
_TABLE: Tuple[Tuple[str, str, str], ...] = (
    ('ignore_index ignore ignore_value ignore_class ignored_label ignore_lb void_label',
     'ignore_label', ''),
    ('epsilon eps smooth_nr smooth_factor laplace_smoothing', 'smooth', ''),
    ('smoothing', 'smooth label_smoothing', ''),
    ('smooth_denominator smooth_denom', 'smooth_dr', ''),
    ('weight weights class_weight w_type weight_type', 'class_weights ce_class_weights',
     'one number per class'),
    ('from_logits logits apply_softmax apply_sigmoid softmax sigmoid nonlinearity apply_nonlin '
     'other_act mode', 'activation',
     "'softmax' or 'sigmoid' of logits, 'none' for a prediction that is probabilities"),
    ('to_onehot_y to_onehot onehot one_hot sparse', 'sparse_label',
     'True for class numbers, False for a channel per class'),
    ('class_axis channel_axis dim', 'axis', 'that of the classes'),
    ('do_bg exclude_background ignore_background background', 'include_background',
     'False drops class 0'),
    ('batch per_image per_sample', 'batch_dice', 'True is one Dice of the whole batch'),
    ('squared_pred squared square p power', 'exponent', '2 squares the denominator'),
    ('log_loss', 'form', "'log'"),
    ('jaccard iou', 'metric alpha', "alpha=1 with beta=1 in a loss, metric='iou' in a metric"),
    ('focal_gamma', 'gamma ce_gamma', ''),
    ('upsample interpolate', 'resize', "'bilinear'"),
    ('lambda_dice weight_dice', 'dice_weight', ''),
    ('lambda_ce weight_ce lambda_focal weight_focal', 'ce_weight', ''),
    ('normalization normalize', 'ce_normalization', ''),
    ('reduction reduce size_average', '',
     'the loss is a number per sample, of which Caffe takes the mean and Gluon the sum, and '
     'class_reduction is of the classes'),
    ('loss_weight', '', 'in Caffe it stands in the layer beside python_param, and in Gluon it is '
     'the argument weight'),
    ('num_classes nclass n_classes', '', 'the prediction tells the number of classes'),
    ('batch_axis', '', 'samples are on axis 0, and only a loss of Gluon takes a batch_axis'),
    ('aux aux_weight', '', 'gluon_dice.AuxLoss takes a loss and its aux_weight'))

OTHER_NAMES: Dict[str, Tuple[List[str], str]] = {
    name: (ours.split(), remark) for names, ours, remark in _TABLE for name in names.split()}


def ours(name: str) -> Tuple[List[str], str]:
    """Our options for a name of another library, which may be none, and what differs."""
    return OTHER_NAMES.get(name.lower().replace('-', '_'), ([], ''))


def advice(name: str, known: Collection[str], listed: str,
           others: Mapping[str, Iterable[str]]) -> str:
    """What to use in place of an option that does not exist.

    known : the options that do, which ``listed`` says in words.
    others : the options of each other kind, by its name.
    """
    options, remark = ours(name)
    for kind, names in others.items():
        if name in names and not options:
            return f'it is one of {kind}'
    here = [each for each in options if each in known]
    elsewhere = [f'{options[0]} of {kind}' for kind, names in others.items()
                 if options and options[0] in names]
    meant = ' or '.join(here) or ''.join(elsewhere[:1])
    if meant:
        return f'did you mean {meant}{f" ({remark})" if remark else ""}?'
    if remark:
        return remark
    close = difflib.get_close_matches(name, known, 1)
    return listed + (f'; did you mean {close[0]}?' if close else '')
