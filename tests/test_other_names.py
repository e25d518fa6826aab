"""An option under the name of another library is answered with ours, wherever options are given."""
import json
import subprocess
import sys

import pytest
from processes import surroundings

from soft_dice import DiceCEOptions, DiceOptions, other_names
from soft_dice.metric_options import MetricOptions

KINDS = (DiceOptions, DiceCEOptions, MetricOptions)

# A name, what the message says after it, and of which options.
SAID = [
    (DiceOptions, 'ignore_index', 'did you mean ignore_label?'),
    (DiceCEOptions, 'ignore_index', 'did you mean ignore_label?'),
    (MetricOptions, 'ignore_index', 'did you mean ignore_label?'),
    (DiceOptions, 'Ignore-Index', 'did you mean ignore_label?'),
    (DiceOptions, 'epsilon', 'did you mean smooth?'), (DiceOptions, 'eps', 'did you mean smooth?'),
    (DiceOptions, 'smooth_nr', 'did you mean smooth?'),
    (DiceOptions, 'smoothing', 'did you mean smooth?'),
    (DiceCEOptions, 'smoothing', 'did you mean smooth or label_smoothing?'),
    (MetricOptions, 'epsilon', 'did you mean smooth of DiceOptions?'),
    (DiceOptions, 'weight', 'did you mean class_weights (one number per class)?'),
    (DiceCEOptions, 'weight',
     'did you mean class_weights or ce_class_weights (one number per class)?'),
    (DiceOptions, 'from_logits', "did you mean activation ('softmax' or 'sigmoid' of logits, "
                                 "'none' for a prediction that is probabilities)?"),
    (DiceOptions, 'to_onehot_y', 'did you mean sparse_label (True for class numbers, False for a '
                                 'channel per class)?'),
    (DiceOptions, 'class_axis', 'did you mean axis (that of the classes)?'),
    (DiceOptions, 'squared_pred', 'did you mean exponent (2 squares the denominator)?'),
    (DiceOptions, 'do_bg', 'did you mean include_background (False drops class 0)?'),
    (DiceOptions, 'batch', 'did you mean batch_dice (True is one Dice of the whole batch)?'),
    (DiceOptions, 'lambda_ce', 'did you mean ce_weight of DiceCEOptions?'),
    (DiceCEOptions, 'lambda_ce', 'did you mean ce_weight?'),
    (DiceCEOptions, 'normalization', 'did you mean ce_normalization?'),
    (DiceOptions, 'ce_weight', 'it is one of DiceCEOptions'),
    (DiceOptions, 'threshold', 'it is one of MetricOptions'),
    (DiceOptions, 'reduction', 'the loss is a number per sample, of which Caffe takes the mean and '
                               'Gluon the sum, and class_reduction is of the classes'),
    (DiceOptions, 'num_classes', 'the prediction tells the number of classes'),
    (DiceOptions, 'loss_weight', 'in Caffe it stands in the layer beside python_param, and in '
                                 'Gluon it is the argument weight'),
]


@pytest.mark.parametrize('kind, name, said', SAID, ids=[f'{kind.__name__} {name}'
                                                        for kind, name, _ in SAID])
def test_what_is_said(kind, name, said):
    for make in (lambda: kind(**{name: 1}), lambda: kind.from_param_str(json.dumps({name: 1})),
                 lambda: kind().replace(**{name: 1})):
        with pytest.raises(TypeError) as caught:
            make()
        assert str(caught.value) == f'unknown option {name!r}; {said}'


@pytest.mark.parametrize('kind, listed', [
    (DiceOptions, 'the options are activation, sparse_label, '),
    (MetricOptions, 'the hard Dice takes activation, sparse_label, ')])
def test_others_are_answered_with_the_list(kind, listed):
    for name, end in (('ignore_labl', '; did you mean ignore_label?'), ('xyzzy', '')):
        with pytest.raises(TypeError) as caught:
            kind(**{name: 1})
        said = str(caught.value)
        assert said.startswith(f'unknown option {name!r}; {listed}')
        assert said.endswith(end) if end else not said.endswith('?')


def test_the_table_names_options_that_there_are():
    known = [set(kind().to_dict()) for kind in KINDS]
    for name, (options, remark) in other_names.OTHER_NAMES.items():
        assert options or remark
        assert all(any(each in names for names in known) for each in options), name
        assert name not in known[0] | known[1]
    assert len(other_names.OTHER_NAMES) == sum(len(names.split())
                                               for names, _, _ in other_names._TABLE)


def test_gluon_says_it():
    from gluon_dice import DiceCELoss, DiceMetric, SoftDiceLoss
    for kind in (SoftDiceLoss, DiceCELoss, DiceMetric):
        with pytest.raises(TypeError, match=r"^unknown option 'ignore_index'; did you mean "
                                            r'ignore_label\?$'):
            kind(ignore_index=255)


@pytest.mark.parametrize('weight', [[1, 2, 3], '2', True])
def test_a_weight_in_gluon_is_that_of_the_loss(weight):
    from gluon_dice import SoftDiceLoss
    with pytest.raises(ValueError, match='^weight must be a number, for example 0.5, which .*; for '
                                         'one per class use class_weights; got'):
        SoftDiceLoss(weight=weight)


@pytest.mark.parametrize('layer, also', [('SoftDiceLossLayer', ''), ('DiceCELossLayer', ''),
                                         ('DiceScoreLayer', ', "test_iter": 1')])
def test_caffe_layers_say_it(layer, also):
    import caffe_layers
    made = getattr(caffe_layers, layer).__new__(getattr(caffe_layers, layer))
    made.param_str = '{"ignore_index": 255%s}' % also
    with pytest.raises(TypeError, match=r"unknown option 'ignore_index'; did you mean "
                                        r'ignore_label\?'):
        made.setup([], [])


@pytest.mark.parametrize('command, said', [
    ('soft_dice compare pred label --ignore-index 255', '; did you mean --ignore-label?'),
    ('soft_dice weights folder --ignore_index=255', '; did you mean --ignore-label?'),
    ('soft_dice weights folder --ignroe-label 255', '; did you mean --ignore-label?'),
    ('soft_dice weights folder --reduction mean', '--reduction mean'),
    ('caffe_layers add net --ignore-index 255', '; did you mean --option ignore_label=VALUE?'),
    ('soft_dice compare pred label another --ignore-index 255', '; did you mean --ignore-label?'),
    ('soft_dice info another', 'arguments: another'),
    ('caffe_layers add net --ignore-label 255', '; did you mean --option ignore_label=VALUE?'),
    ('caffe_layers add net --reduction mean', 'arguments: --reduction mean'),
    ('caffe_layers add net --eps 1', '; did you mean --option smooth=VALUE?'),
    ('gluon_dice check module:Loss --lable 2,4', '; did you mean --label?')])
def test_commands_say_it(command, said):
    done = subprocess.run([sys.executable, '-m', *command.split()], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=surroundings())
    last = done.stderr.decode().strip().splitlines()[-1]
    assert done.returncode == 2 and 'error: unrecognized arguments: ' in last
    assert last.endswith(said)
