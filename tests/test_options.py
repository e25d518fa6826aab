"""DiceOptions: what is accepted, what is refused and in which words."""
import dataclasses
import json

import numpy as np
import pytest

from soft_dice import DiceOptions
from soft_dice.options import FIELDS
from soft_dice.plan import resolve

# What DESIGN promises; a changed default is a changed loss for everybody.
DEFAULTS = {
    'activation': 'softmax', 'sparse_label': True, 'axis': 1, 'classes': None,
    'include_background': True, 'ignore_label': None, 'batch_dice': False, 'alpha': 0.5,
    'beta': 0.5, 'exponent': 1.0, 'overlap': 'product', 'smooth': 1e-5, 'smooth_dr': None,
    'class_weights': None, 'pool_classes': False, 'weight_normalization': 'classes',
    'class_reduction': 'mean', 'absent': 'count', 'form': 'one_minus', 'gamma': 1.0,
    'resize': None,
}


def test_fields_and_defaults():
    assert DiceOptions().to_dict() == DEFAULTS
    assert FIELDS == DEFAULTS


def test_frozen_hashable_and_equal_by_value():
    options = DiceOptions(classes=[1, 2], class_weights=np.array([1.0, 2.0, 3.0]))
    assert options == DiceOptions(classes=(1, 2), class_weights=[1, 2, 3])
    assert hash(options) == hash(DiceOptions(classes=(1, 2), class_weights=[1, 2, 3]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.smooth = 1.0


def test_positional_arguments_are_refused():
    with pytest.raises(TypeError):
        DiceOptions('sigmoid')


def test_unknown_option_lists_the_known_ones():
    with pytest.raises(TypeError, match="unknown option 'smoth'.*activation, .*smooth, .*gamma"):
        DiceOptions(smoth=1)


def test_replace_checks_again():
    options = DiceOptions(smooth=1.0)
    assert options.replace(alpha=1).alpha == 1.0 and options.alpha == 0.5
    with pytest.raises(ValueError, match='alpha must be a finite number >= 0'):
        options.replace(alpha=-1)
    with pytest.raises(TypeError, match='unknown option'):
        options.replace(smoth=1)


def test_repr_shows_what_differs_from_the_defaults():
    assert repr(DiceOptions(smooth=1, classes=[1])) == 'DiceOptions(classes=(1,), smooth=1.0)'


@pytest.mark.parametrize('options', [
    DiceOptions(),
    DiceOptions(classes=[0, -1], smooth=[0, 2], smooth_dr=1, class_weights=[1, 2, 3],
                ignore_label=255, include_background=True, batch_dice=True),
    DiceOptions(class_weights='inverse_square', pool_classes=True, form='log'),
], ids=['defaults', 'lists', 'automatic'])
def test_json_round_trip(options):
    assert DiceOptions.from_param_str(options.to_json()) == options
    assert list(json.loads(options.to_json())) == list(DEFAULTS)


@pytest.mark.parametrize('text, expected', [
    ('', {}), ('  \n', {}), ('{}', {}),
    ('{"ignore_label": 255, "batch_dice": true, "smooth_dr": null}',
     {'ignore_label': 255, 'batch_dice': True}),
    ("{'ignore_label': 255, 'batch_dice': True, 'smooth_dr': None}",
     {'ignore_label': 255, 'batch_dice': True}),
    ("  {'class_weights': (1, 2.5)}", {'class_weights': [1, 2.5]}),
])
def test_param_str(text, expected):
    assert DiceOptions.from_param_str(text) == DiceOptions(**expected)


@pytest.mark.parametrize('text', [
    '{"smooth": 1', 'smooth=1', '__import__("os").getpid()', '{"smooth": 1 + 1}',
    "{'smooth': float('1')}", '[1, 2]', '3', '"text"', '{1: 2}', 'nonsense ' * 50, '(' * 5000,
    '[' * 99999,
])
def test_param_str_that_is_no_dict_of_options(text):
    with pytest.raises(ValueError, match='for example {"ignore_label": 255'):
        DiceOptions.from_param_str(text)


def test_param_str_is_never_evaluated(tmp_path):
    trace = tmp_path / 'trace'
    with pytest.raises(ValueError):
        DiceOptions.from_param_str(f'{{"smooth": open({str(trace)!r}, "w").close() or 1}}')
    assert not trace.exists()


@pytest.mark.parametrize('text', ['{"smooth": 1, "smooth": 2}', "{'smooth': 1, 'smooth': 2}"])
def test_param_str_naming_an_option_twice(text):
    with pytest.raises(ValueError, match="name an option once; got 'smooth' 2 times"):
        DiceOptions.from_param_str(text)


@pytest.mark.parametrize('field, bad, message', [
    ('activation', 'relu', "activation must be one of 'softmax', 'sigmoid', 'none'; got 'relu'"),
    ('activation', None, "got None"),
    ('sparse_label', 'false', 'sparse_label must be True or False'),
    ('sparse_label', 1, 'must be True or False'),
    ('axis', 1.0, 'axis must be a whole number'),
    ('axis', True, 'axis must be a whole number'),
    ('axis', 0, 'axis must not be 0, the batch axis'),
    ('classes', [], 'classes must not be empty'),
    ('classes', 1, 'classes must be a list'),
    ('classes', '12', 'classes must be a list'),
    ('classes', [1, 1], 'name each class once'),
    ('classes', [0.5], 'classes must be a whole number'),
    ('include_background', None, 'must be True or False'),
    ('ignore_label', 2.5, 'ignore_label must be a whole number'),
    ('ignore_label', '255', 'ignore_label must be a whole number'),
    ('batch_dice', 'yes', 'must be True or False'),
    ('alpha', -0.1, 'alpha must be a finite number >= 0'),
    ('alpha', 'x', 'alpha must be a finite number >= 0'),
    ('beta', float('nan'), 'beta must be a finite number >= 0'),
    ('exponent', 0.5, 'exponent must be a finite number >= 1'),
    ('exponent', float('inf'), 'exponent must be a finite number >= 1'),
    ('overlap', 'min', "overlap must be one of 'product', 'l1'"),
    ('smooth', -1, 'smooth must be a finite number >= 0'),
    ('smooth', None, 'smooth must be a finite number >= 0'),
    ('smooth', 10 ** 400, 'smooth must be a finite number >= 0'),
    ('ignore_label', 10 ** 400, 'must be a whole number up to 2'),
    ('class_weights', {1.0, 2.0}, 'class_weights must be a list'),
    ('smooth', True, 'smooth must be a finite number >= 0'),
    ('smooth', [], 'smooth must not be empty'),
    ('smooth', [1, -1], 'smooth must be a finite number >= 0'),
    ('smooth_dr', '1', 'smooth_dr must be a finite number >= 0'),
    ('class_weights', 'square', "class_weights must be 'inverse', 'inverse_square' or one number"),
    ('class_weights', [1, -1], 'class_weights must be a finite number >= 0'),
    ('class_weights', [0, 0], 'class_weights must have one number above 0'),
    ('class_weights', 2.0, 'class_weights must be a list'),
    ('class_weights', {'a': 1}, 'class_weights must be a list'),
    ('pool_classes', 0, 'must be True or False'),
    ('weight_normalization', 'sum', "weight_normalization must be one of 'classes'"),
    ('class_reduction', 'batch', "class_reduction must be one of 'mean', 'sum', 'none'"),
    ('absent', 'ignore', "absent must be one of 'count', 'zero', 'skip'"),
    ('form', '1-S', "form must be one of 'one_minus', 'negative', 'log', 'log_cosh'"),
    ('gamma', 0, 'gamma must be a finite number > 0'),
])
def test_bad_value(field, bad, message):
    with pytest.raises(ValueError, match=message.replace('(', r'\(')):
        DiceOptions(**{field: bad})


@pytest.mark.parametrize('fields, message', [
    (dict(alpha=0, beta=0), 'alpha and beta must not both be 0'),
    (dict(gamma=2, form='log'), "gamma is the exponent of form 'one_minus'"),
    (dict(include_background=False, classes=[0, 1]), 'give one of the two'),
    (dict(sparse_label=False, ignore_label=1), 'ignore_label must lie outside'),
    (dict(pool_classes=True, class_reduction='none'), 'leaves one score'),
    (dict(pool_classes=True, weight_normalization='weights'), 'weight_normalization has no'),
    (dict(pool_classes=True, absent='zero'), 'no loss per class to zero'),
    (dict(pool_classes=True, smooth=[1, 2]), 'needs one number for smooth'),
    (dict(smooth_dr=0), 'smooth > 0 needs a smooth_dr > 0, .*; got smooth=1e-05 with smooth_dr=0'),
    (dict(smooth=[0, 1], smooth_dr=[1, 0]), r'got smooth=\(0.0, 1.0\) with smooth_dr=\(1.0, 0.0\)'),
    (dict(smooth=[0, 1], smooth_dr=0), 'smooth > 0 needs a smooth_dr > 0'),
    (dict(smooth=1, smooth_dr=[1, 0]), 'smooth > 0 needs a smooth_dr > 0'),
    (dict(pool_classes=True, smooth_dr=[1, 2]), 'needs one number for smooth_dr'),
    (dict(class_reduction='sum', weight_normalization='weights'), 'normalises a mean'),
    (dict(weight_normalization='score', form='log'), "needs form='one_minus' and gamma=1"),
    (dict(weight_normalization='score', gamma=2), "needs form='one_minus' and gamma=1"),
])
def test_contradictions(fields, message):
    with pytest.raises(ValueError, match=message):
        DiceOptions(**fields)


def test_a_prediction_has_a_class():
    """What else does not fit the number of classes: refusals.py."""
    with pytest.raises(ValueError, match='pred must have at least one class; got 0'):
        resolve(DiceOptions(), 0)


def test_resolve_spells_out_every_class():
    options = DiceOptions(classes=[-1, 1], smooth=[1, 2], class_weights=[5, 6, 7, 8])
    plan = resolve(options, 4)
    assert plan.counted == (3, 1)
    assert plan.smooth == plan.smooth_dr == (1.0, 2.0)
    assert plan.fixed_weights == (8.0, 6.0)
