# -*- coding: utf-8 -*-
"""Soft Dice losses as Caffe Python layers, all in this file.

It needs NumPy 1.7 or later and runs on Python 2.7 and 3.4 to 3.13, under every Caffe that has
Python layers (WITH_PYTHON_LAYER := 1).  Put it into a folder that PYTHONPATH names, and write into
the train prototxt, for the blobs "score" and "label" of your net::

    layer {
      name: "loss"  type: "Python"  loss_weight: 1
      bottom: "score"  bottom: "label"  top: "loss"
      python_param { module: "soft_dice_layer"  layer: "SoftDiceLossLayer"
                     param_str: '{"ignore_label": 255}' }
    }

DiceCELossLayer adds a cross-entropy, and DiceScoreLayer measures in the test net.  The docstrings
of the three name bottoms and tops; DiceOptions and DiceCEOptions explain the options.  An empty
param_str means their defaults.

    python soft_dice_layer.py

proves in seconds, without Caffe, that each backward is the gradient of its forward; where this
Python can import Caffe, a net is run, too.  The same losses of NumPy arrays::

    from soft_dice_layer import soft_dice_loss, soft_dice_loss_vjp, dice_ce_loss, hard_dice

gluon-dice 0.1.0, Apache License 2.0, http://www.apache.org/licenses/LICENSE-2.0
Made from the modules of that project, which have the comments, by

    python -m caffe_layers bundle
"""
from __future__ import absolute_import, division, print_function

import ast
import difflib
import itertools
import math
import numbers
import os
import subprocess
import tempfile
import warnings
import collections
import functools
import json
import string
import sys

import numpy as np

try:
    import caffe
    caffe.Net
except (ImportError, AttributeError):  # none, or a mere folder of that name
    caffe = None  # the functions and the proof need none

_OLD = sys.version_info[0] == 2
_STRINGS = basestring if _OLD else str  # noqa: F821
_UNICODE = unicode if _OLD else str  # noqa: F821
_INF = float('inf')
try:
    _RecursionError = RecursionError
except NameError:
    _RecursionError = RuntimeError


class _Layer(getattr(caffe, 'Layer', object)):
    """caffe.Layer with what its older versions do not give to a layer."""

    def __getattr__(self, name):
        if name == 'param_str':  # param_str_ before August 2015, or none at all
            return getattr(self, 'param_str_', '')
        if name == 'phase':  # since 2016; before, a layer could not know
            return caffe.TRAIN
        raise AttributeError(name)


# --- text: messages are those of Python 3 --------------------------------------------------------

def _text(value):
    """str(value), as Python 3 has it."""
    if not _OLD:
        return str(value)
    if isinstance(value, _UNICODE):
        return value.encode('utf-8')
    return _repr(value) if type(value) in (float, tuple, list, set, frozenset) else str(value)


def _repr(value):
    """repr(value), as Python 3 has it."""
    kind = type(value)
    if not _OLD:
        return repr(value)
    if kind in (str, _UNICODE):
        return _quoted(value if kind is _UNICODE else value.decode('utf-8', 'replace'))
    if kind is tuple:
        return '(' + ', '.join(map(_repr, value)) + (',)' if len(value) == 1 else ')')
    if kind is list:
        return '[' + ', '.join(map(_repr, value)) + ']'
    if kind in (dict, _Dict):
        return '{' + ', '.join(_repr(k) + ': ' + _repr(value[k]) for k in value) + '}'
    if kind is set and value:
        return '{' + ', '.join(map(_repr, value)) + '}'
    if kind is type(sys.maxsize + 1):
        return str(value)
    return repr(value)


def _quoted(text):
    quote = '"' if "'" in text and '"' not in text else "'"
    return quote + ''.join(
        each.encode('utf-8') if ord(each) > 160 else '\\' + quote if each == quote else
        str(each) if each in '\'"' else repr(each)[2:-1] for each in text) + quote


class _Formatter(string.Formatter):
    def convert_field(self, value, conversion):
        return _repr(value) if conversion == 'r' else _text(value) if conversion == 's' else value

    def format_field(self, value, spec):
        return format(value, spec) if spec else _text(value)


_format = _Formatter().format


# --- the language --------------------------------------------------------------------------------

class _Ordered(collections.OrderedDict):
    """A dict that keeps its order, and looks like one."""

    def __repr__(self):
        return '{' + ', '.join(_repr(k) + ': ' + _repr(self[k]) for k in self) + '}'


_Dict = dict if sys.version_info >= (3, 7) else _Ordered


def _merged(*dicts):
    """{**a, **b}"""
    return _Dict(item for each in dicts for item in each.items())


def _chain(*parts):
    """The items of (*a, b, *c)."""
    return (item for each in parts for item in each)


def _keyword_only(name, given, *defaults):
    """The values of the parameters behind a ``*``, in order; any other keyword is refused."""
    for each in given:
        if each not in dict(defaults):
            raise TypeError("%s() got an unexpected keyword argument '%s'" % (name, each))
    return tuple(given.get(each, default) for each, default in defaults)


def _without_context(error):
    """The error of ``raise error from None``."""
    error.__cause__ = None
    return error


def _lru_cache(maxsize):
    def decorate(function):
        found = {}

        @functools.wraps(function)
        def cached(*arguments):
            if arguments not in found:
                value = function(*arguments)
                if len(found) >= maxsize:
                    found.clear()
                found[arguments] = value
            return found[arguments]
        return cached
    return decorate


def _named_tuple(name, fields, *defaults):
    """The base of a NamedTuple class; the defaults are those of its last fields."""
    made = collections.namedtuple(name, fields)
    made.__new__.__defaults__ = defaults
    return made


class _Namespace(object):
    """A module of the package that is used as an object."""

    def __init__(self, **names):
        self.__dict__.update(names)


class _Field(object):
    """A field of a dataclass."""

    def __init__(self, name='', metadata=(), **default):
        self.name, self.metadata = name, dict(metadata)
        if default:
            self.default = default['default']


class FrozenInstanceError(AttributeError):
    """An options object cannot be changed; replace() makes another."""


def _fields(kind):
    return kind.__dataclass_fields__


def _dataclass(names, frozen, init=True, repr=True, eq=True):
    """Makes a class with fields of these names a frozen dataclass."""
    def decorate(cls):
        cls.__dataclass_fields__ = list(getattr(cls, '__dataclass_fields__', []))
        for name in names:
            field = cls.__dict__.get(name, _Field())
            if not isinstance(field, _Field):
                field = _Field(default=field)
            field.name = name
            if hasattr(field, 'default'):
                setattr(cls, name, field.default)
            cls.__dataclass_fields__.append(field)
        for name, method, wanted in (('__init__', _init, init), ('__repr__', _shown, repr),
                                     ('__eq__', _equal, eq), ('__hash__', _hash, eq)):
            if wanted:
                setattr(cls, name, method)
        cls.__ne__ = lambda self, other: not self == other
        cls.__setattr__ = cls.__delattr__ = _refuse_change
        if not eq and '__eq__' in cls.__dict__:
            cls.__hash__ = None
        return cls
    return decorate


def _init(self, *values, **named):
    names = [field.name for field in _fields(type(self))]
    given = dict(zip(names, values), **named)
    if len(values) > len(names) or sorted(given) != sorted(names):
        raise TypeError('%s() takes %s' % (type(self).__name__, ', '.join(names)))
    for name in names:
        object.__setattr__(self, name, given[name])
    self.__post_init__()


def _values(self):
    return tuple(getattr(self, field.name) for field in _fields(type(self)))


def _shown(self):
    pairs = zip(_fields(type(self)), _values(self))
    return '%s(%s)' % (type(self).__name__,
                       ', '.join('%s=%s' % (field.name, _repr(value)) for field, value in pairs))


def _equal(self, other):
    return _values(self) == _values(other) if type(self) is type(other) else NotImplemented


def _hash(self):
    return hash(_values(self))


def _refuse_change(self, name, *value):
    raise FrozenInstanceError("cannot assign to field '%s'" % name)


# --- the text of a param_str ---------------------------------------------------------------------

class _JSONDecodeError(ValueError):
    """No JSON; a ValueError of the hook is none of these."""


def _json_loads(text, object_pairs_hook):
    try:
        json.loads(text)
    except ValueError as error:
        raise _JSONDecodeError(str(error))

    def hook(pairs):
        return object_pairs_hook([(_native(name), value) for name, value in pairs])
    return _native(json.loads(text, object_pairs_hook=hook))


def _native(value):
    """Text of JSON as ``str``, which in Python 2 it is not."""
    if _OLD and isinstance(value, _UNICODE):
        return value.encode('utf-8')
    if isinstance(value, list):
        return [_native(each) for each in value]
    if isinstance(value, dict):
        return _Dict((_native(name), _native(each)) for name, each in value.items())
    return value


# --- NumPy ---------------------------------------------------------------------------------------

def _np_moveaxis(array, source, destination):
    order = [axis for axis in range(array.ndim) if axis != source % array.ndim]
    order.insert(destination % array.ndim, source % array.ndim)
    return array.transpose(order)


def _np_broadcast_to(array, shape):
    return np.broadcast_arrays(array, np.empty(shape, bool))[0]


def _np_full(shape, value):
    return _np_full_like(np.empty(shape), value)


def _np_full_like(array, value):
    filled = np.empty_like(array)
    filled[...] = value
    return filled


def _np_matmul(a, b):
    """Of b with up to two axes, or a with two and b with three."""
    if hasattr(np, 'matmul'):
        return np.matmul(a, b)
    return np.dot(a, b) if b.ndim < 3 else np.array([np.dot(a, each) for each in b])


def _no_kernels():
    """The compiled kernels are the package's; this file computes with NumPy."""
    return None


# --- soft_dice.values ----------------------------------------------------------------------------
#
# Checks of one option's value: each takes its name and the value, and returns it in its own type.
#
# Raises
# ------
# ValueError : the rule, an example, and what was given.

values_AUTOMATIC_WEIGHTS = ('inverse', 'inverse_square')


def values_one_of(*known):

    def choice(name, value):
        if not (value is None or isinstance(value, _STRINGS)) or value not in known:
            raise ValueError(_format('{0} must be one of {1}; got {2!r}', name,
                    ', '.join(map(_repr, known)), value))
        return value
    return choice


def values_flag(name, value):
    if isinstance(value, bool) or type(value).__name__ in ('bool_', 'bool'):
        return bool(value)
    raise ValueError(_format('{0} must be True or False (true or false in JSON); got {1!r}', name,
            value))


def values_optional_flag(name, value):
    return None if value is None else values_flag(name, value)


def values_integer(name, value):
    is_whole = isinstance(value, numbers.Integral) and (not isinstance(value, bool))
    if is_whole and abs(int(value)) <= 1 << 24:
        return int(value)
    raise ValueError(_format('{0} must be a whole number up to 2^24, for example 1; got {1!r}',
            name, value))


def values_optional_integer(name, value):
    return None if value is None else values_integer(name, value)


def values_is_number(value):
    """No check, but what several of them ask; True and False are no numbers."""
    return isinstance(value, numbers.Real) and (not isinstance(value, bool))


def _values_real(name, value, least, above=False):
    """``value`` as a float that is finite and >= least (> least where ``above``)."""
    if not values_is_number(value) or not -1e+300 < value < 1e+300 or value < least or (above
            and value == least):
        raise ValueError(_format('{0} must be a finite number {1} {2:g}, for example {3:g}; got {4!r}',
                name, '>' if above else '>=', least, least + 1, value))
    return float(value)


def values_non_negative(name, value):
    return _values_real(name, value, least=0.0)


def values_positive(name, value):
    return _values_real(name, value, least=0.0, above=True)


def values_exponent(name, value):
    return _values_real(name, value, least=1.0)


def values_fraction(example):

    def check(name, value):
        if not values_is_number(value) or not 0 <= value < 1:
            raise ValueError(_format('{0} must be a number in [0, 1), for example {1:g}; got {2!r}',
                    name, example, value))
        return float(value)
    return check


def _values_listed(name, value):
    """``value`` as a non-empty tuple; text and mappings are not lists."""
    try:
        if isinstance(value, (_STRINGS, bytes, dict, set, frozenset)):
            raise TypeError
        items = tuple(value)
    except TypeError:
        raise _without_context(ValueError(_format('{0} must be a list, for example [1, 2]; got {1!r}',
                name, value)))
    if not items:
        raise ValueError(_format('{0} must not be empty; leave it out or give for example [1, 2]',
                name))
    return items


def values_classes(name, value):
    if value is None:
        return None
    indices = tuple((values_integer(name, item) for item in _values_listed(name, value)))
    if len(set(indices)) < len(indices):
        raise ValueError(_format('{0} must name each class once, for example [1, 2]; got {1!r}',
                name, value))
    return indices


def values_number_or_list(name, value):
    if isinstance(value, numbers.Real) or isinstance(value, (_STRINGS, bytes)) or value is None:
        return values_non_negative(name, value)
    return tuple((values_non_negative(name, item) for item in _values_listed(name, value)))


def values_optional_number_or_list(name, value):
    return None if value is None else values_number_or_list(name, value)


def values_optional_weights(name, value):
    if value is None:
        return None
    weights = tuple((values_non_negative(name, item) for item in _values_listed(name, value)))
    if not any(weights):
        raise ValueError(_format('{0} must have one number above 0, for example [0.2, 1, 1]; got {1!r}',
                name, value))
    return weights


def values_fixed_or_automatic_weights(name, value):
    if not isinstance(value, _STRINGS):
        return values_optional_weights(name, value)
    if value not in values_AUTOMATIC_WEIGHTS:
        raise ValueError(_format("{0} must be 'inverse', 'inverse_square' or one number per class, for example [0.2, 1, 1]; got {1!r}",
                name, value))
    return value


# --- soft_dice.published -------------------------------------------------------------------------
#
# The published losses: what each is, and the fields of its options that reproduce it.
#
# Plain data, which knows no options, so that options can start from a published loss by its name.
# :mod:`soft_dice.presets` makes options of it.


class published_Published(_named_tuple('Published', ['title', 'formula', 'source', 'differs',
        'fields'])):
    """A published loss.

    title : what people call it.
    formula : the loss in one line; sums run over pixels, S_c is a class's score.
    source : the paper or project.
    differs : what sets it apart from its neighbours.
    fields : the fields of DiceOptions, or of DiceCEOptions, that are not at their default.
    """
    __slots__ = ()


def published_find(name, compound):
    """The published loss of this name.

    compound : whether it may be one with a cross-entropy.

    Raises
    ------
    ValueError : there is none; the message lists the names.
    """
    if isinstance(name, _STRINGS) and name in published_PUBLISHED:
        return published_PUBLISHED[name]
    if isinstance(name, _STRINGS) and name in published_COMPOUND:
        if compound:
            return published_COMPOUND[name]
        raise ValueError(_format('preset={0!r} has a cross-entropy: use DiceCELoss, DiceCELossLayer or DiceCEOptions',
                name))
    names = list(_chain(published_PUBLISHED, published_COMPOUND if compound else ()))
    raise ValueError(_format('preset must be one of {0}; got {1!r}', ', '.join(names), name))


def _published_published(title, formula, source, differs, **fields):
    return published_Published(title, formula, source, differs, fields)

published_PUBLISHED = _Dict([('milletari2016', _published_published('V-Net Dice',
        '1 - 2 sum p g / (sum p^2 + sum g^2), foreground',
        'Milletari, Navab, Ahmadi: V-Net, 3DV 2016', 'squares in the denominator, no smoothing',
        include_background=False, exponent=2, smooth=0)), ('drozdzal2016',
        _published_published('Dice of Drozdzal et al.', '- 2 sum p g / (sum p + sum g), sigmoid',
        'Drozdzal et al.: The Importance of Skip Connections, DLMIA 2016',
        'negative score of one sigmoid channel, no smoothing', activation='sigmoid', smooth=0,
        form='negative')), ('sudre2017', _published_published('Generalised Dice',
        '1 - 2 sum_c w_c sum p g / sum_c w_c (sum p + sum g), w_c = 1 / (sum g)^2',
        'Sudre et al.: Generalised Dice overlap, DLMIA 2017',
        'classes weighted by 1/volume^2 and pooled before dividing, no smoothing',
        pool_classes=True, class_weights='inverse_square', smooth=0)), ('salehi2017',
        _published_published('Tversky', '1 - sum p g / (sum p g + 0.3 fp + 0.7 fn), foreground',
        'Salehi, Erdogmus, Gholipour: Tversky loss, MLMI 2017',
        'false negatives weigh 0.7, false positives 0.3, no smoothing', include_background=False,
        alpha=0.3, beta=0.7, smooth=0)), ('abraham2019', _published_published('Focal Tversky',
        'sum_c (1 - S_c)^0.75, S_c Tversky with fp 0.3, fn 0.7, smooth 1',
        'Abraham, Khan: Focal Tversky loss, ISBI 2019',
        "the paper's (1 - S)^(1/gamma) with gamma = 4/3, as in its code; others raise to gamma",
        alpha=0.3, beta=0.7, smooth=2, gamma=0.75, class_reduction='sum')), ('isensee2017',
        _published_published('Soft Dice of Isensee et al.',
        '- mean_c 2 sum p g / (sum p + sum g + 1e-6), over the batch',
        'Isensee et al.: Automatic Cardiac Disease Assessment, STACOM 2017',
        'epsilon in the denominator only, negative, summed over the batch', smooth=0,
        smooth_dr=1e-06, form='negative', batch_dice=True)), ('monai',
        _published_published('MONAI DiceLoss',
        '1 - mean_c (2 sum p g + 1e-5) / (sum p + sum g + 1e-5)',
        'MONAI, DiceLoss(softmax=True, to_onehot_y=True)', 'the defaults of DiceOptions')),
        ('monai_generalized', _published_published('MONAI GeneralizedDiceLoss',
        '1 - (2 sum_c w_c sum p g + 1e-5) / (sum_c w_c (sum p + sum g) + 1e-5)',
        'MONAI, GeneralizedDiceLoss(softmax=True, to_onehot_y=True)',
        'sudre2017 with smoothing after the weighting, where 1e-5 is not small', pool_classes=True,
        class_weights='inverse_square')), ('monai_tversky',
        _published_published('MONAI TverskyLoss',
        '1 - mean_c (tp + 1e-5) / (tp + 0.5 fp + 0.5 fn + 1e-5)',
        'MONAI, TverskyLoss(softmax=True, to_onehot_y=True)',
        'smooth stands beside tp, not 2 tp: twice that of monai', smooth=2e-05)), ('smp',
        _published_published('segmentation_models.pytorch DiceLoss',
        'mean_c (1 - 2 sum p g / (sum p + sum g)), over the batch, absent classes 0',
        'segmentation_models.pytorch, DiceLoss("multiclass")',
        'over the batch, no smoothing, a class absent from it has loss 0; soft labels by l1',
        batch_dice=True, smooth=0, absent='zero', overlap='l1')), ('smp_jaccard',
        _published_published('segmentation_models.pytorch JaccardLoss',
        'mean_c (1 - sum p g / (sum p + sum g - sum p g)), over the batch, absent classes 0',
        'segmentation_models.pytorch, JaccardLoss("multiclass")',
        'smp with intersection over union', batch_dice=True, smooth=0, absent='zero', overlap='l1',
        alpha=1, beta=1)), ('log_dice', _published_published('Log-Dice',
        'mean_c -log max(2 sum p g / (sum p + sum g), 1e-7), over the batch, absent classes 0',
        'segmentation_models.pytorch, DiceLoss("multiclass", log_loss=True)',
        'smp with the logarithm of the score', batch_dice=True, smooth=0, absent='zero',
        overlap='l1', form='log')), ('nnunet', _published_published('nnU-Net Dice term',
        '- mean_{c>0} (2 sum p g + 1e-5) / (sum p + sum g + 1e-5)',
        'nnU-Net v2, MemoryEfficientSoftDiceLoss(do_bg=False, smooth=1e-5)',
        'negative, without background; its 2-D plans add batch_dice=True',
        include_background=False, form='negative')), ('segmentation_models',
        _published_published('Keras segmentation_models DiceLoss',
        '1 - mean_c (2 sum p g + 1e-5) / (sum p + sum g + 1e-5), over the batch',
        'segmentation_models (Keras), DiceLoss(), on softmax output',
        'over the batch; class weights multiply the score, not the loss', batch_dice=True,
        weight_normalization='score')), ('keras_smooth1',
        _published_published('Flattened Keras Dice, smooth 1',
        '1 - (2 sum p g + 1) / (sum p + sum g + 1), over batch, classes and pixels',
        'the Keras dice_coef of countless notebooks',
        'everything in one sum, so large objects and images rule; smooth 1', pool_classes=True,
        batch_dice=True, smooth=1)), ('keras_smooth100',
        _published_published('Flattened Keras Dice, smooth 100',
        '1 - (2 sum p g + 100) / (sum p + sum g + 100), over batch, classes and pixels',
        "the same with the 100 of keras-contrib's jaccard_distance",
        'keras_smooth1 with a smooth that small objects drown in', pool_classes=True,
        batch_dice=True, smooth=100))])

published_COMPOUND = _Dict([('monai_dice_ce', _published_published('MONAI DiceCELoss',
        'monai + sum_i -w log p_i / sum_i w over the batch',
        'MONAI, DiceCELoss(softmax=True, to_onehot_y=True)',
        'a Dice of each sample beside a cross-entropy over the batch', ce_batch=True)),
        ('nnunet_dice_ce', _published_published('nnU-Net DC_and_CE_loss',
        'nnunet + mean_i -log p_i over the batch',
        'nnU-Net v2, DC_and_CE_loss(MemoryEfficientSoftDiceLoss)',
        'as nnunet; its 2-D plans add batch_dice=True', include_background=False, form='negative',
        ce_batch=True)), ('nnunet_dice_bce', _published_published('nnU-Net DC_and_BCE_loss',
        'nnunet of every class + mean_ic -g log p - (1 - g) log (1 - p), sigmoid',
        'nnU-Net v2, DC_and_BCE_loss(MemoryEfficientSoftDiceLoss), for regions that overlap',
        'one label of 0 and 1 for each class; its 2-D plans add batch_dice=True',
        activation='sigmoid', sparse_label=False, form='negative', ce_batch=True))])


# --- soft_dice.other_names -----------------------------------------------------------------------
#
# What other libraries call the options of these losses, for a message that names ours.
#
# PyTorch, MONAI, nnU-Net, segmentation_models.pytorch, Keras, MXNet and Caffe each have words of
# their own.  Every message about an option that does not exist comes from here.

_TABLE = (('ignore_index ignore ignore_value ignore_class ignored_label ignore_lb void_label',
        'ignore_label', ''), ('epsilon eps smooth_nr smooth_factor laplace_smoothing', 'smooth',
        ''), ('smoothing', 'smooth label_smoothing', ''), ('smooth_denominator smooth_denom',
        'smooth_dr', ''), ('weight weights class_weight w_type weight_type',
        'class_weights ce_class_weights', 'one number per class'),
        ('from_logits logits apply_softmax apply_sigmoid softmax sigmoid nonlinearity apply_nonlin other_act mode',
        'activation',
        "'softmax' or 'sigmoid' of logits, 'none' for a prediction that is probabilities"),
        ('to_onehot_y to_onehot onehot one_hot sparse', 'sparse_label',
        'True for class numbers, False for a channel per class'), ('class_axis channel_axis dim',
        'axis', 'that of the classes'), ('do_bg exclude_background ignore_background background',
        'include_background', 'False drops class 0'), ('batch per_image per_sample', 'batch_dice',
        'True is one Dice of the whole batch'), ('squared_pred squared square p power', 'exponent',
        '2 squares the denominator'), ('log_loss', 'form', "'log'"), ('jaccard iou',
        'metric alpha', "alpha=1 with beta=1 in a loss, metric='iou' in a metric"), ('focal_gamma',
        'gamma ce_gamma', ''), ('upsample interpolate', 'resize', "'bilinear'"),
        ('lambda_dice weight_dice', 'dice_weight', ''),
        ('lambda_ce weight_ce lambda_focal weight_focal', 'ce_weight', ''),
        ('normalization normalize', 'ce_normalization', ''), ('reduction reduce size_average', '',
        'the loss is a number per sample, of which Caffe takes the mean and Gluon the sum, and class_reduction is of the classes'),
        ('loss_weight', '',
        'in Caffe it stands in the layer beside python_param, and in Gluon it is the argument weight'),
        ('num_classes nclass n_classes', '', 'the prediction tells the number of classes'),
        ('batch_axis', '', 'samples are on axis 0, and only a loss of Gluon takes a batch_axis'),
        ('aux aux_weight', '', 'gluon_dice.AuxLoss takes a loss and its aux_weight'))

OTHER_NAMES = _Dict(((name, (ours.split(), remark)) for (names, ours, remark) in _TABLE
        for name in names.split()))


def ours(name):
    """Our options for a name of another library, which may be none, and what differs."""
    return OTHER_NAMES.get(name.lower().replace('-', '_'), ([], ''))


def advice(name, known, listed, others):
    """What to use in place of an option that does not exist.

    known : the options that do, which ``listed`` says in words.
    others : the options of each other kind, by its name.
    """
    (options, remark) = ours(name)
    for (kind, names) in others.items():
        if name in names and (not options):
            return _format('it is one of {0}', kind)
    here = list((each for each in options if each in known))
    elsewhere = list((_format('{0} of {1}', options[0], kind) for (kind, names) in others.items()
            if options and options[0] in names))
    meant = ' or '.join(here) or ''.join(elsewhere[:1])
    if meant:
        return _format('did you mean {0}{1}?', meant, _format(' ({0})', remark) if remark else '')
    if remark:
        return remark
    close = difflib.get_close_matches(name, known, 1)
    return listed + (_format('; did you mean {0}?', close[0]) if close else '')


# --- soft_dice.param_str -------------------------------------------------------------------------
#
# The text of a Caffe param_str, read as named options.  It is parsed, never evaluated.

EXAMPLE = 'for example {"ignore_label": 255, "smooth": 1.0}'


def parse_param_str(text):
    """The dict that a JSON object or a Python dict literal holds; empty text is an empty dict.

    Raises
    ------
    ValueError : text that is neither, or that names an option twice.
    """
    if not text.strip():
        return _merged()
    try:
        value = _json_loads(text, object_pairs_hook=_named_once)
    except (_JSONDecodeError, _RecursionError):
        value = _literal(text)
    if not isinstance(value, dict) or not all((isinstance(name, _STRINGS) for name in value)):
        raise ValueError(_format('param_str must hold named options, {0}; got {1!r}', EXAMPLE,
                text))
    return value


def _literal(text):
    try:
        tree = ast.parse(text.strip(), mode='eval').body
        if any((isinstance(node, ast.BinOp) for node in ast.walk(tree))):
            raise ValueError('Python 3.6 adds up numbers in a literal')
        value = ast.literal_eval(tree)
    except (ValueError, SyntaxError, TypeError, _RecursionError, MemoryError):
        raise _without_context(ValueError(_format('param_str must be a JSON object or a Python dict literal, {0}; got {1!r}',
                EXAMPLE, text)))
    if isinstance(tree, ast.Dict):
        _named_once(list(((ast.literal_eval(key), None) for key in tree.keys if key)))
    return value


def _named_once(pairs):
    names = list((name for (name, _) in pairs))
    for name in names:
        if names.count(name) > 1:
            raise ValueError(_format('param_str must name an option once; got {0!r} {1} times',
                    name, names.count(name)))
    return _Dict(pairs)


# --- soft_dice.options ---------------------------------------------------------------------------
#
# DiceOptions: every choice a Dice loss of this family makes, in one frozen object.
#
# Both plugins take these options and add none of their own about the loss.  An options object is
# checked when it is made; what depends on the number of classes is checked by soft_dice.plan.


def option(default, check):
    """A field of an options class: its default, and the check of any other value."""
    return _Field(default=default, metadata=_Dict([('check', check)]))


@_dataclass([], frozen=True, init=False, repr=False)
class Options(object):
    """What the options of every loss and metric can do.

    A subclass is a frozen dataclass whose fields are made by :func:`option`; it refuses unknown
    names, calls :meth:`_set`, and refuses options that contradict each other.

    INSTEAD : what to do with these where another kind of options is wanted.
    COMPOUND : whether a preset may be one with a cross-entropy.
    """
    INSTEAD = ''
    COMPOUND = True

    def _set(self, fields):
        """Check and set every option of this class; one that is not in ``fields`` is default."""
        for field in options_of(type(self)):
            value = field.metadata['check'](field.name, fields.get(field.name, field.default))
            object.__setattr__(self, field.name, value)

    @property
    def dice(self):
        """The options of the Dice term."""
        raise NotImplementedError

    def to_dict(self):
        """Every option by name, which :meth:`from_dict` reads back."""
        return _Dict(((field.name, getattr(self, field.name)) for field in options_of(type(self))))

    def changes_from(self, start=None):
        """The options by name that differ from those of ``start``, or else from the defaults;
        ``start.replace(**changes)`` are these options.
        """
        usual = (type(self)() if start is None else start).to_dict()
        return _Dict(((name, value) for (name, value) in self.to_dict().items()
                if value != usual[name]))

    def changed(self):
        """'name=value' of every option that is not the default."""
        return list((_format('{0}={1!r}', name, value) for (name,
                value) in self.changes_from().items()))

    def __repr__(self):
        return _format('{0}({1})', type(self).__name__, ', '.join(self.changed()))

    def replace(self, **changes):
        """The same options with some changed; checked again."""
        return type(self)(**_merged(self.to_dict(), changes))

    def to_json(self):
        """All options as a JSON object, which :meth:`from_param_str` reads back."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_param_str(cls, text):
        """Options from a Caffe param_str: a JSON object or a Python dict literal; empty is default.

        The key "preset" starts from a published loss, ``{"preset": "monai", "ignore_label": 255}``;
        the other keys override.  The text is parsed, never evaluated.

        Raises
        ------
        ValueError : text that is neither, that names an option twice, or an unknown preset.
        TypeError : unknown option.
        """
        return cls.from_dict(parse_param_str(text))

    @classmethod
    def from_dict(cls, fields):
        """Options by name, among them perhaps "preset"; as :meth:`from_param_str`."""
        given = _Dict(fields)
        start = _merged()
        if 'preset' in given:
            start = cls._from_loss(published_find(given.pop('preset'), cls.COMPOUND).fields)
        return cls(**_merged(start, given))

    @classmethod
    def _from_loss(cls, fields):
        """Those of a Dice loss's options that are options here, too."""
        return fields


def options_of(kind):
    """The dataclass's fields that are options."""
    return list((field for field in _fields(kind) if 'check' in field.metadata))


def require(options, kind):
    """``options``, which must be of this kind, or the name of a preset.

    Raises
    ------
    TypeError : they are not; says what to give.
    ValueError : an unknown preset.
    """
    if isinstance(options, _STRINGS):
        return kind.from_dict(_Dict([('preset', options)]))
    if isinstance(options, kind):
        return options
    instead = _format('; {0}', options.INSTEAD) if isinstance(options, Options) else ''
    raise TypeError(_format('options must be a soft_dice.{0}, for example {1}(smooth=1.0), or the name of a preset; got {2}{3}',
            kind.__name__, kind.__name__, type(options).__name__, instead))


def refuse_unknown(fields, known, listed='the options are'):
    """
    Raises
    ------
    TypeError : a field that is none of the ``known`` options; says what to use instead.
    """
    unknown = sorted(set(fields).difference(known))
    if unknown:
        others = _Dict(((kind.__name__, kind().to_dict()) for kind in Options.__subclasses__()))
        instead = advice(unknown[0], known, _format('{0} {1}', listed, ', '.join(known)), others)
        raise TypeError(_format('unknown option {0!r}; {1}', unknown[0], instead))


@_dataclass(['activation', 'sparse_label', 'axis', 'classes', 'include_background', 'ignore_label',
        'batch_dice', 'alpha', 'beta', 'exponent', 'overlap', 'smooth', 'smooth_dr',
        'class_weights', 'pool_classes', 'weight_normalization', 'class_reduction', 'absent',
        'form', 'gamma', 'resize'], frozen=True, init=False, repr=False)
class DiceOptions(Options):
    """What a soft Dice loss computes.  Keywords only; an unknown one is refused.

    Per sample and class c, with p the activated prediction, g the label and m the pixel weight::

        tp = sum m p g                      (overlap 'product'; 'l1': sum m (p + g - |p - g|) / 2)
        fp = sum m p^exponent - tp
        fn = sum m g^exponent - tp
        S_c = (2 tp + smooth) / (2 (tp + alpha fp + beta fn) + smooth_dr)

    alpha = beta = 1/2 is Dice, 1 and 1 is Jaccard, anything else Tversky.  Where the denominator
    is 0, S_c is 1.  A class's loss is ``form`` of S_c; the loss of a sample is their weighted mean.

    Parameters
    ----------
    activation : 'softmax' (default), 'sigmoid' or 'none', applied to the prediction.
    sparse_label : bool, default True.  True: labels are class indices, (N, ...) or (N, 1, ...), and
        0 or 1 for a prediction of one channel.  False: labels have the shape of the prediction and
        values in [0, 1].  A label receives no gradient, a soft one neither: it is a constant, also
        where a network has computed it.
    axis : int, default 1.  The class axis of the prediction; never the batch axis 0.
    classes : sequence of int or None.  The classes that count, negative from the end; None is all.
    include_background : bool, default True.  False drops class 0.
    ignore_label : int or None.  Pixels with this label are in no sum and have gradient 0.  With
        dense labels: elements with this value, which must then lie outside [0, 1].
    batch_dice : bool, default False.  True adds up the counts of the batch first; every sample then
        has the same loss.
    alpha, beta : float >= 0, default 0.5.  Weight of false positives and of false negatives.
    exponent : float >= 1, default 1.  2 is the squared denominator of V-Net.
    overlap : 'product' (default) or 'l1', which is 0 loss at a perfect soft label.
    smooth : float >= 0, default 1e-5, or one per counted class.
    smooth_dr : the denominator's own smooth; None (default) is ``smooth``.  It must be above 0
        where ``smooth`` is.
    class_weights : one float >= 0 per class of the prediction, 'inverse', 'inverse_square' or None.
        The automatic ones are 1/label_sum and 1/label_sum^2, constants to the gradient; an
        infinite one (absent class) becomes the largest finite one of its row, and where none is
        finite the loss is 0.
    pool_classes : bool, default False.  True adds the weighted counts over classes before dividing.
    weight_normalization : 'classes' (default) sum(w L)/C, 'weights' sum(w L)/sum(w), or 'score'
        1 - sum(w S)/C.
    class_reduction : 'mean' (default), 'sum' of w L, or 'none': w L, shape (N, counted classes).
    absent : 'count' (default) a class without label pixels like any other, 'zero' its loss but keep
        it in the mean, or 'skip' it and average over the rest (pooled: leave it out of the pool).
    form : 'one_minus' (default) 1 - S, 'negative' -S, 'log' -log max(S, 1e-7), 'log_cosh'
        log cosh(1 - S).
    gamma : float > 0, default 1.  Focal exponent on 1 - S; form 'one_minus' only.
    resize : None (default): another size of prediction than of label is an error.  'bilinear': the
        prediction, before its activation, is interpolated to the label's size, along every space
        axis (of a volume: trilinear), the corners of the two aligned; its gradient has its own
        size.  Going down in size this takes single points and no mean, as such functions do.

    Raises
    ------
    TypeError : unknown option, or a positional argument.
    ValueError : a value outside its range, or options that contradict each other.

    Examples
    --------
    >>> DiceOptions(alpha=0.3, beta=0.7, include_background=False).replace(smooth=1.0).smooth
    1.0
    """
    activation = option('softmax', values_one_of('softmax', 'sigmoid', 'none'))
    sparse_label = option(True, values_flag)
    axis = option(1, values_integer)
    classes = option(None, values_classes)
    include_background = option(True, values_flag)
    ignore_label = option(None, values_optional_integer)
    batch_dice = option(False, values_flag)
    alpha = option(0.5, values_non_negative)
    beta = option(0.5, values_non_negative)
    exponent = option(1.0, values_exponent)
    overlap = option('product', values_one_of('product', 'l1'))
    smooth = option(1e-05, values_number_or_list)
    smooth_dr = option(None, values_optional_number_or_list)
    class_weights = option(None, values_fixed_or_automatic_weights)
    pool_classes = option(False, values_flag)
    weight_normalization = option('classes', values_one_of('classes', 'weights', 'score'))
    class_reduction = option('mean', values_one_of('mean', 'sum', 'none'))
    absent = option('count', values_one_of('count', 'zero', 'skip'))
    form = option('one_minus', values_one_of('one_minus', 'negative', 'log', 'log_cosh'))
    gamma = option(1.0, values_positive)
    resize = option(None, values_one_of(None, 'bilinear'))
    INSTEAD = 'DiceCEOptions(**options.to_dict()) adds a cross-entropy to them'
    COMPOUND = False

    def __init__(self, **fields):
        refuse_unknown(fields, FIELDS)
        self._set(fields)
        _options_refuse_contradictions(self)

    @property
    def dice(self):
        """These options, which are of a Dice term alone."""
        return self

    @property
    def denominator_smooth(self):
        return self.smooth if self.smooth_dr is None else self.smooth_dr

FIELDS = _Dict(((field.name, field.default) for field in options_of(DiceOptions)))


def _options_refuse_contradictions(options):
    """Raise where one option would make another meaningless; nothing is ignored in silence."""
    o = options
    per_class_smooth = list((name for name in ('smooth', 'smooth_dr') if isinstance(getattr(o,
            name), tuple)))
    rules = ((o.axis == 0, 'axis must not be 0, the batch axis; the default is axis=1'),
            (_unbounded(o),
            _format('smooth > 0 needs a smooth_dr > 0, as smooth / 0 would be infinite; for example smooth_dr=1e-5, or smooth=0; got smooth={0} with smooth_dr={1}',
            o.smooth, o.smooth_dr)), (o.alpha == 0 and o.beta == 0,
            'alpha and beta must not both be 0: no error would count; Dice is alpha=0.5, beta=0.5'),
            (o.gamma != 1 and o.form != 'one_minus',
            _format("gamma is the exponent of form 'one_minus'; got gamma={0:g} with form={1!r}",
            o.gamma, o.form)), (not o.include_background and o.classes is not None
            and (0 in o.classes),
            _format('include_background=False drops class 0, but classes={0} names it; give one of the two',
            o.classes)), (not o.sparse_label and o.ignore_label in (0, 1),
            _format('ignore_label must lie outside [0, 1] with dense labels, for example 255; got {0}',
            o.ignore_label)), (o.pool_classes and o.class_reduction == 'none',
            "pool_classes=True leaves one score, so class_reduction must be 'mean' or 'sum'; got 'none'"),
            (o.pool_classes and o.weight_normalization != 'classes',
            _format('pool_classes=True weights the counts, so weight_normalization has no meaning; got {0!r}',
            o.weight_normalization)), (o.pool_classes and o.absent == 'zero',
            "pool_classes=True has no loss per class to zero; use absent='count' or 'skip'"),
            (o.pool_classes and bool(per_class_smooth),
            _format('pool_classes=True needs one number for {0}, for example 1e-5; got a list',
            ''.join(per_class_smooth[:1]))), (o.class_reduction != 'mean'
            and o.weight_normalization != 'classes',
            _format('weight_normalization={0!r} normalises a mean; got class_reduction={1!r}',
            o.weight_normalization, o.class_reduction)), (o.weight_normalization == 'score'
            and (o.form != 'one_minus' or o.gamma != 1),
            _format("weight_normalization='score' is 1 - sum(w S)/C, so it needs form='one_minus' and gamma=1; got form={0!r}, gamma={1:g}",
            o.form, o.gamma)))
    for (broken, message) in rules:
        if broken:
            raise ValueError(message)


def _unbounded(options):
    """Whether a class has a smooth and none in its denominator."""
    (above, below) = (options.smooth, options.denominator_smooth)
    if isinstance(above, tuple) and isinstance(below, tuple):
        return any((a > 0 and b == 0 for (a, b) in zip(above, below)))
    largest = max(above) if isinstance(above, tuple) else above
    return largest > 0 and 0 in (below if isinstance(below, tuple) else (below,))


# --- soft_dice.ce_options ------------------------------------------------------------------------
#
# DiceCEOptions: a Dice loss and a cross-entropy, weighed against each other.


@_dataclass(['dice', 'dice_weight', 'ce_weight', 'ce_class_weights', 'label_smoothing', 'ce_gamma',
        'ce_normalization', 'ce_batch'], frozen=True, init=False, repr=False)
class DiceCEOptions(Options):
    """What a Dice loss with a cross-entropy (CE) computes.  Keywords only::

        loss = dice_weight * Dice + ce_weight * CE

    Dice takes the fields of :class:`DiceOptions`, which are fields here, too, and come to stand in
    the attribute ``dice``.  Of them the CE shares ``activation``, ``sparse_label``, ``axis``,
    and ``ignore_label``, and ``batch_dice`` where ``ce_batch`` is None; it is of all classes,
    whichever count for Dice.

    Per sample, with p the activated prediction, g the label, m the pixel weight, w the
    ``ce_class_weights``, C classes, and q = 1 - p::

        softmax   t = (1 - label_smoothing) g + label_smoothing / C
                  E = sum m w t q^ce_gamma (-log p)
                  W = sum m w g
        sigmoid   t = (1 - label_smoothing) g + label_smoothing / 2
                  E = sum m w (t q^ce_gamma (-log p) + (1 - t) p^ce_gamma (-log q))
                  W = sum m w

    over its pixels and classes.  CE is E / W, or 0 where W is 0 (nothing to learn from).  Without
    pixels to ignore and class weights that is the mean over the pixels, and for a sigmoid also over
    the classes.

    Parameters
    ----------
    dice_weight, ce_weight : float >= 0, default 1; not both 0.
    ce_class_weights : one float >= 0 per class of the prediction, or None (default), all 1.
    label_smoothing : float in [0, 1), default 0.  How much of the label is spread evenly.
    ce_gamma : float >= 0, default 0.  Focal exponent: 2 is that of Lin et al.
    ce_normalization : 'valid' (default) as above; 'pixels' divides E by the number of pixels,
        ignored or not, and for a sigmoid of elements.
    ce_batch : True: E and W are those of the batch, as torch's ``reduction='mean'`` and nnU-Net
        have it; False: of each sample; None (default): as ``batch_dice`` says.
    **fields : as of DiceOptions.  ``activation`` must not be 'none', as the CE needs logits, and
        ``class_reduction`` not 'none', as the CE is one number per sample.

    Raises
    ------
    TypeError : unknown option, or a positional argument.
    ValueError : a value outside its range, or options that contradict each other.

    Examples
    --------
    >>> options = DiceCEOptions(ce_weight=0.5, include_background=False)
    >>> options.dice
    DiceOptions(include_background=False)
    """
    dice = DiceOptions()
    dice_weight = option(1.0, values_non_negative)
    ce_weight = option(1.0, values_non_negative)
    ce_class_weights = option(None, values_optional_weights)
    label_smoothing = option(0.0, values_fraction(example=0.1))
    ce_gamma = option(0.0, values_non_negative)
    ce_normalization = option('valid', values_one_of('valid', 'pixels'))
    ce_batch = option(None, values_optional_flag)
    INSTEAD = 'options.dice are those of its Dice term alone'

    def __init__(self, **fields):
        refuse_unknown(fields, ce_options_KNOWN)
        dice = _Dict(((name, value) for (name, value) in fields.items() if name in FIELDS))
        object.__setattr__(self, 'dice', DiceOptions(**dice))
        self._set(fields)
        _ce_options_refuse_contradictions(self)

    def to_dict(self):
        """Every option by name, those of ``dice`` among them."""
        return _merged(self.dice.to_dict(), super(DiceCEOptions, self).to_dict())

ce_options_KNOWN = tuple(_chain(FIELDS, (field.name for field in options_of(DiceCEOptions))))


def _ce_options_refuse_contradictions(options):
    if options.dice_weight == 0 and options.ce_weight == 0:
        raise ValueError('dice_weight and ce_weight must not both be 0: nothing would count; the default is 1 and 1')
    if options.dice.activation == 'none':
        raise ValueError("activation='none' leaves the cross-entropy without logits; use 'softmax' or 'sigmoid', and a prediction before its activation")
    if options.dice.class_reduction == 'none':
        raise ValueError("class_reduction='none' gives a Dice loss per class, and the cross-entropy is one number per sample; use 'mean' or 'sum'")


# --- caffe_layers.params -------------------------------------------------------------------------
#
# param_str: the options of a layer as text, read and written.

params_DEFAULTS = _merged()


def params_read(text, options_class):
    """The options in a param_str.

    Raises
    ------
    ValueError, TypeError : as ``options_class.from_param_str``; an axis that is not Caffe's.
    """
    return params_of_caffe(options_class.from_dict(params_fields(text, options_class)))


def params_fields(text, options_class):
    """The options by name in a param_str, on top of those of DEFAULTS that the class has; one that
    names a preset starts from that alone.

    Raises
    ------
    ValueError : as :func:`soft_dice.param_str.parse_param_str`.
    """
    given = parse_param_str(text)
    known = set(_chain(('preset',), options_class().to_dict()))
    start = _merged() if 'preset' in given else params_DEFAULTS
    return _merged(_Dict(((name, value) for (name, value) in start.items() if name in known)),
            given)


def params_of_caffe(options):
    """The options, whose class axis must be 1.  Raises ValueError where it is not."""
    if options.dice.axis != 1:
        raise ValueError(_format('axis must be 1, the channels of Caffe; got {0}',
                options.dice.axis))
    return options


# --- soft_dice.inputs ----------------------------------------------------------------------------
#
# From the arrays a caller has to the one form the stages work on, refusing what makes no sense.
#
# Whatever the number of dimensions and wherever the class axis, the stages see N samples, C classes
# and P pixels.  Shapes never broadcast, and nothing here writes into an array it was given.

HALF_EXACT = 2048


class Batch(_named_tuple('Batch', ['pred', 'label', 'pixel_weight'])):
    """The arrays of a caller, whose dtypes and shapes belong together; see :func:`check_batch`."""
    __slots__ = ()


class Pixels(_named_tuple('Pixels', ['pred', 'label', 'mask'])):
    """One checked batch in the form of the stages.

    pred : (N, C, P) float32 or float64, before the activation.
    label : (N, P) integers, -1 where ignored; or (N, C, P) dense in pred's dtype, 0 where ignored.
    mask : (N, 1, P) or (N, C, P) pixel weights in pred's dtype, 0 where ignored; None is all ones.
    """
    __slots__ = ()


def prepare(batch, options):
    """Check the values of a batch and bring it into (N, C, P) form.

    Raises
    ------
    ValueError : values outside what :func:`soft_dice.soft_dice_loss` documents.
    """
    (pred, label, pixel_weight) = batch
    axis = options.axis % pred.ndim
    if options.sparse_label:
        (flat_label, valid) = _index_label(label.reshape(len(label), -1), pred.shape[axis],
                options.ignore_label)
    else:
        label = _flatten(label, axis)
        _check_dense(label, options.ignore_label)
        (flat_label, valid) = _dense_label(label, pred.dtype, options.ignore_label)
    mask = None if valid is None else valid.astype(pred.dtype)
    if pixel_weight is not None:
        weight = _pixel_weight(pixel_weight.reshape(len(pixel_weight), -1))
        weight = weight.astype(pred.dtype)[:, None, :]
        mask = weight if mask is None else mask * weight
    return Pixels(_flatten(pred, axis), flat_label, mask)


def check_batch(pred, label, options, pixel_weight=None):
    """The three as arrays whose dtypes and shapes belong together; values are not looked at.

    Raises
    ------
    ValueError
    """
    (pred, label) = (floating(pred), _numeric('label', label))
    if pixel_weight is not None:
        pixel_weight = _numeric('pixel_weight', pixel_weight)
    shape = check_shapes(options, pred.shape, label.shape, None if pixel_weight is None
            else pixel_weight.shape)
    if shape != pred.shape:
        raise ValueError(_format('pred must be resized before, to {0}; got {1}', shape,
                pred.shape))
    check_label_dtype(options, label.dtype, pred.shape[options.axis])
    return Batch(pred, label, pixel_weight)


def check_label_dtype(options, dtype, num_classes):
    """Refuse float16 for labels that it does not hold: above 2048 it has but every other whole
    number, then fewer, and from 65520 on infinity.

    Raises
    ------
    ValueError
    """
    if dtype != np.float16:
        return
    if options.sparse_label and num_classes > HALF_EXACT + 1:
        raise ValueError(_format('label must be made in a dtype that holds {0} classes, for example int32; got float16, which holds {1}',
                num_classes, HALF_EXACT + 1))
    ignored = options.ignore_label
    with np.errstate(over='ignore'):
        held = ignored is None or float(np.array(ignored).astype(np.float16)) == ignored
    if not held:
        raise ValueError(_format('label must be made in a dtype that holds ignore_label={0}, for example int32; got float16, which does not',
                ignored))


def check_shapes(options, pred, label, pixel_weight=None, batch_axis=0):
    """Refuse shapes that do not belong together; they never broadcast.

    Returns
    -------
    The shape of the prediction that is compared with the label: pred's, but with
    ``options.resize`` of the label's size.

    Raises
    ------
    ValueError : saying what the shapes must be.
    """
    _check_pred_shape(pred, options.axis, batch_axis)
    at_label_size = _at_size_of(label, pred, options, batch_axis)
    if options.resize is None:
        resizable = at_label_size != pred and label in _label_shapes(at_label_size, options)
        _check_sizes(options, pred, label, pixel_weight,
                "; the option resize='bilinear' interpolates pred to this size" * resizable)
        return pred
    _check_sizes(options, at_label_size, label, pixel_weight,
            _format('; pred has the shape {0} before it is resized', pred))
    if 0 in label:
        raise ValueError(_format('label must have at least one pixel; got shape {0}', label))
    return at_label_size


def _at_size_of(label, pred, options, batch_axis):
    """pred's shape with the sizes of label's space axes, if it has as many axes; else pred's."""
    axis = options.axis % len(pred)
    if options.sparse_label and len(label) == len(pred) - 1:
        label = label[:axis] + (1,) + label[axis:]
    if len(label) != len(pred):
        return pred
    return tuple((pred[i] if i in (batch_axis, axis) else label[i] for i in range(len(pred))))


def _label_shapes(pred, options):
    """What shapes a label may have."""
    return _pixel_shapes(pred, options.axis) if options.sparse_label else (pred,)


def _pixel_shapes(pred, axis):
    """The two shapes of an array of one value per pixel: without the class axis, and with one."""
    axis %= len(pred)
    return (pred[:axis] + pred[axis + 1:], pred[:axis] + (1,) + pred[axis + 1:])


def _check_sizes(options, pred, label, pixel_weight, remark=''):
    """Refuse a label or weight of another size than pred's; ``remark`` ends what is said of it."""
    per_pixel = _Dict([('label', label if options.sparse_label else None), ('pixel_weight',
            pixel_weight)])
    if not options.sparse_label and label != pred:
        raise ValueError(_format('a dense label (sparse_label=False) must have the shape of pred, {0}; got {1}{2}',
                pred, label, remark))
    allowed = _pixel_shapes(pred, options.axis)
    for (name, shape) in per_pixel.items():
        if shape is not None and shape not in allowed:
            hint = ', or sparse_label=False for one value per class' if name == 'label' and shape == pred else ''
            raise ValueError(_format('{0} must have one value per pixel of pred: for pred of shape {1} that is {2} or {3}{4}; got {5}{6}',
                    name, pred, allowed[0], allowed[1], hint, shape, remark))


def check_out(out, shape):
    """Refuse an array for the gradient that has not pred's shape."""
    if out is not None and out.shape != shape:
        raise ValueError(_format('out must have the shape of pred, {0}; got {1}', shape,
                out.shape))


def _check_pred_shape(shape, axis, batch_axis):
    if len(shape) < 2:
        raise ValueError(_format('pred must have a batch axis and a class axis, for example (2, 4, 9, 8); got shape {0}',
                shape))
    if not -len(shape) <= axis < len(shape):
        raise ValueError(_format('axis must be an axis of pred, which has {0}; got axis={1}',
                len(shape), axis))
    if axis % len(shape) == batch_axis:
        raise ValueError(_format('axis must not be the batch axis, {0}; axis={1} is, for pred of shape {2}',
                batch_axis, axis, shape))
    if 0 in shape:
        raise ValueError(_format('pred must have at least one sample, class and pixel; got shape {0}',
                shape))


def check_label(label, num_classes, options, sample):
    """Refuse bad values in the label (1, ...) of one sample of a larger batch."""
    check_values(label, None, num_classes, options, sample)


def check_values(label, pixel_weight, num_classes, options, first_sample=0):
    """Refuse bad values in a label and pixel weights (N, ...), as :func:`prepare` does.

    Raises
    ------
    ValueError
    """
    label = _numeric('label', label)
    if options.sparse_label:
        _check_index(label.reshape(len(label), -1), num_classes, options.ignore_label,
                first_sample)
    else:
        _check_dense(_flatten(label, options.axis), options.ignore_label, first_sample)
    if pixel_weight is not None:
        _pixel_weight(pixel_weight.reshape(len(pixel_weight), -1))


def restore(flat, shape, axis):
    """The (N, C, P) array as an array of ``shape`` with its class axis at ``axis``."""
    classes_second = tuple(_np_moveaxis(np.empty(shape, dtype=bool), axis, 1).shape)
    return np.ascontiguousarray(_np_moveaxis(flat.reshape(classes_second), 1, axis))


def _flatten(array, axis):
    array = _np_moveaxis(array, axis, 1)
    return array.reshape(array.shape[0], array.shape[1], -1)


def floating(pred):
    """pred as an array of this machine's float32, which float16 becomes, or float64; anything else
    is refused."""
    pred = np.asarray(pred)
    if pred.dtype.kind != 'f' or pred.dtype.itemsize not in (2, 4, 8):
        raise ValueError(_format('pred must be float16, float32 or float64, for example pred.astype("float32"); got {0}',
                pred.dtype))
    if pred.dtype == np.float16:
        return pred.astype(np.float32)
    return pred.astype(pred.dtype.newbyteorder('='), copy=False)


def _numeric(name, array):
    array = np.asarray(array)
    if array.dtype.kind not in 'biuf':
        raise ValueError(_format('{0} must be an array of numbers; got dtype {1}', name,
                array.dtype))
    return array


def written(number):
    """For a message: the shortest digits, as Python writes them; NumPy's own text of a float32
    depends on its version."""
    return _repr(float(_text(number))) if number.dtype.kind == 'f' else _text(number)


def _index_label(label, num_classes, ignore_label):
    """(N, P) whole numbers with -1 where ignored, and (N, 1, P) where valid (None: everywhere)."""
    _check_index(label, num_classes, ignore_label)
    if ignore_label is None:
        return (label.astype(np.intp), None)
    valid = label != ignore_label
    if valid.all():
        return (label.astype(np.intp), None)
    return (np.where(valid, label, -1).astype(np.intp), valid[:, None, :])


def _check_index(label, num_classes, ignore_label, first_sample=0):
    classes = max(num_classes, 2)
    good = (label >= 0) & (label < classes)
    if label.dtype.kind == 'f':
        good &= label == np.floor(label)
    if ignore_label is not None:
        good |= label == ignore_label
    if not good.all():
        where = tuple((int(i) for i in np.argwhere(~good)[0]))
        allowed = '' if ignore_label is None else _format(' or ignore_label={0}', ignore_label)
        raise ValueError(_format('label must be a whole number in [0, {0}){1}, for example {2}; got {3} in sample {4}, pixel {5} of {6}',
                classes, allowed, classes - 1, written(label[where]), first_sample + where[0],
                where[1], label.shape[1]))


def _check_dense(label, ignore_label, first_sample=0):
    good = (label >= 0) & (label <= 1)
    if ignore_label is not None:
        good |= label == ignore_label
    if not good.all():
        where = tuple((int(i) for i in np.argwhere(~good)[0]))
        allowed = '' if ignore_label is None else _format(' or ignore_label={0}', ignore_label)
        raise ValueError(_format('a dense label must lie in [0, 1]{0}, for example 0.5; got {1} in sample {2}, class {3}, pixel {4} of {5}',
                allowed, written(label[where]), first_sample + where[0], where[1], where[2],
                label.shape[2]))


def _dense_label(label, dtype, ignore_label):
    if ignore_label is None or (label != ignore_label).all():
        return (label.astype(dtype), None)
    valid = label != ignore_label
    return (np.where(valid, label, 0).astype(dtype), valid)


def _pixel_weight(weight):
    good = (weight >= 0) & np.isfinite(weight)
    if not good.all():
        where = tuple((int(i) for i in np.argwhere(~good)[0]))
        raise ValueError(_format('pixel_weight must be finite and not negative, for example 0.5; got {0} in sample {1}, pixel {2} of {3}',
                written(weight[where]), where[0], where[1], weight.shape[1]))
    return weight


# --- soft_dice.ops -------------------------------------------------------------------------------
#
# The array functions that stage 2 is written with, in NumPy.
#
# Beside these it uses + - * / ** < > == between arrays of one shape, or an array and a number, as
# every array library has them.  A plugin has a namespace of the same names over its own arrays.
# An array is (N, K), a row for each sample and a column for each counted class, or (N,).

ops_abs = np.abs

ops_exp = np.exp

ops_log = np.log

ops_log1p = np.log1p

ops_tanh = np.tanh

ops_where = np.where

ops_ones_like = np.ones_like


def ops_row(numbers, like):
    """(K,) numbers, the same for each sample, for arithmetic with ``like`` (N, K)."""
    return np.array(numbers)


def ops_over_classes(array):
    """Each sample's sum, (N, K) -> (N,)."""
    return array.sum(axis=1)


def ops_spread(array, like):
    """Each sample's number in every column, (N,) -> (N, K)."""
    return _np_broadcast_to(array[:, None], like.shape)


def ops_largest(array):
    """Each sample's largest number, (N, K) -> (N,)."""
    return array.max(axis=1)


def ops_over_batch(array):
    """The sum over the samples, in every row: the shape stays."""
    return _np_broadcast_to(array.sum(axis=0), array.shape)


def ops_inverse_power(array, exponent):
    """1 / array^exponent, infinite where array is 0."""
    with np.errstate(divide='ignore', over='ignore'):
        return 1 / array ** exponent

ops = _Namespace(abs=ops_abs, exp=ops_exp, inverse_power=ops_inverse_power, largest=ops_largest,
        log=ops_log, log1p=ops_log1p, ones_like=ops_ones_like, over_batch=ops_over_batch,
        over_classes=ops_over_classes, row=ops_row, spread=ops_spread, tanh=ops_tanh,
        where=ops_where)


# --- soft_dice.plan ------------------------------------------------------------------------------
#
# Plan: options for a number of classes, with every class spelled out; it is what the stages take.
#
# What depends on the number of classes is checked here, once.  A graph may not know that number; its
# plan leaves open what cannot be known.


class Plan(_named_tuple('Plan', ['dice', 'ce', 'num_classes', 'counted', 'smooth', 'smooth_dr',
        'fixed_weights'])):
    """Options for predictions of C classes, K of which count.

    dice : the options of the Dice term.
    ce : those of a loss with a cross-entropy; None without one.
    num_classes : C; 0 where it is not known.
    counted : the counted classes, (K,) indices.  Where C is not known also indices from the end, or
        a slice.
    smooth, smooth_dr : a number, or one per counted class, (K,).
    fixed_weights : one number per counted class, (K,); None where all are alike or automatic.
    """
    __slots__ = ()

    @property
    def ce_batch(self):
        """Whether the sums of the cross-entropy are added up over the batch."""
        if self.ce is None or self.ce.ce_batch is None:
            return self.dice.batch_dice
        return self.ce.ce_batch

    @property
    def scores(self):
        """How many scores a sample has: K, or 1 where classes are pooled; C must be known."""
        return 1 if self.dice.pool_classes else len(self.counted)

    @property
    def losses(self):
        """The shape of a sample's loss: () or, with class_reduction 'none', (K,)."""
        return (len(self.counted),) if self.dice.class_reduction == 'none' else ()


@_lru_cache(maxsize=256)
def resolve(options, num_classes=None):
    """The options for predictions of ``num_classes`` channels, or of a number that is not known.

    Raises
    ------
    ValueError : a class that is not there, a list of the wrong length, no class left to count, or
        an activation that makes no sense for this number of classes.
    """
    (dice, ce) = (options.dice, options if isinstance(options, DiceCEOptions) else None)
    if num_classes is None:
        num_classes = _told(dice, ce)
    else:
        _refuse_activation(dice, num_classes)
    counted = _counted_classes(dice, num_classes)
    plan = Plan(dice, ce, num_classes or 0, counted, smooth=_per_class('smooth', dice.smooth,
            counted), smooth_dr=_per_class('smooth_dr', dice.denominator_smooth, counted),
            fixed_weights=_fixed_weights(dice, num_classes, counted))
    if ce is not None and ce.ce_class_weights is not None and (len(ce.ce_class_weights) != num_classes):
        raise ValueError(_format('ce_class_weights must have one number per class of pred, here {0}; got {1}',
                num_classes, len(ce.ce_class_weights)))
    return plan


def _told(dice, ce):
    """The number of classes that a list with one number per class of pred tells."""
    if isinstance(dice.class_weights, tuple):
        return len(dice.class_weights)
    return len(ce.ce_class_weights) if ce is not None and ce.ce_class_weights else None


def _refuse_activation(options, num_classes):
    if num_classes < 1:
        raise ValueError(_format('pred must have at least one class; got {0}', num_classes))
    if options.activation == 'softmax' and num_classes == 1:
        raise ValueError("activation='softmax' over one class is always 1; for a binary prediction of one channel use activation='sigmoid'")
    if options.activation == 'sigmoid' and options.sparse_label and (num_classes > 1):
        raise ValueError(_format("activation='sigmoid' with index labels needs a prediction of one channel; use activation='softmax', or sparse_label=False with a label per class; got {0} classes",
                num_classes))


def _counted_classes(options, num_classes):
    if num_classes is None:
        if options.classes is not None:
            return options.classes
        return slice(0 if options.include_background else 1, None)
    named = range(num_classes) if options.classes is None else options.classes
    for index in named:
        if not -num_classes <= index < num_classes:
            raise ValueError(_format('classes must lie in [-{0}, {1}) for a prediction of {2} classes; got {3}',
                    num_classes, num_classes, num_classes, index))
    counted = tuple((index % num_classes for index in named))
    if len(set(counted)) < len(counted):
        raise ValueError(_format('classes must name each class once; for {0} classes {1} names one twice',
                num_classes, options.classes))
    if not options.include_background:
        if options.classes is not None and 0 in counted:
            raise ValueError(_format('include_background=False drops class 0, but for {0} classes classes={1} names it',
                    num_classes, options.classes))
        counted = tuple((index for index in counted if index != 0))
    if not counted:
        raise ValueError('include_background=False leaves no class of a prediction of one class')
    return counted


def _per_class(name, value, counted):
    listed = isinstance(value, tuple) and (not isinstance(counted, slice))
    if listed and len(value) != len(counted):
        raise ValueError(_format('{0} must be a number or one per counted class, here {1}; got {2}',
                name, len(counted), len(value)))
    return value


def _fixed_weights(options, num_classes, counted):
    weights = options.class_weights
    if weights is None or isinstance(weights, _STRINGS):
        return None
    if len(weights) != num_classes:
        raise ValueError(_format('class_weights must have one number per class of pred, here {0} (dropped classes included); got {1}',
                num_classes, len(weights)))
    kept = tuple((weights[index] for index in counted))
    if not any(kept):
        raise ValueError(_format('class_weights must be above 0 for a class that counts; got {0} with counted classes {1}',
                weights, counted))
    return kept


# --- soft_dice.resize ----------------------------------------------------------------------------
#
# A prediction interpolated to the size of its label, before anything else is done with it.
#
# Linear along each axis, corners aligned: of S points, point i of D lies at x = i (S - 1) / (D - 1),
# and its value is that of the straight line between the two points around x.  It is a linear map, so
# its derivative is the transposed one, and with float32 or float64 it stays in that.


def resize(pred, shape):
    """pred interpolated to ``shape``, along every axis whose size is another.

    Returns
    -------
    resized : of that shape and pred's dtype; pred itself where the sizes are equal.  A NaN or an
        infinity spreads to all of its rows, columns and so on.
    vjp : (upstream, of ``shape``) -> gradient of sum(upstream * resized), of pred's shape.
    """
    matrices = _Dict(((axis, interpolation(source, target).astype(pred.dtype)) for (axis, (source,
            target)) in enumerate(zip(pred.shape, shape)) if source != target))
    resized = pred
    for (axis, matrix) in matrices.items():
        resized = _along(axis, matrix, resized)

    def vjp(upstream):
        for (axis, matrix) in reversed(list(matrices.items())):
            upstream = _along(axis, matrix.T, upstream)
        return upstream
    return (resized, vjp)


def interpolation(source, target):
    """M, (target, source) float64: M @ values is values interpolated, each row of M adding up to 1.

    M_ij = max(0, 1 - |x_i - j|), x_i = i (source - 1) / (target - 1); one target is the first.
    """
    x = np.arange(target) * (source - 1) / max(target - 1, 1)
    return np.maximum(0, 1 - np.abs(x[:, None] - np.arange(source)))


def _along(axis, matrix, array):
    """The product of a matrix with every line of the array that lies along the axis."""
    (before, after) = (array.shape[:axis], array.shape[axis + 1:])
    if not after:
        return _np_matmul(array, matrix.T)
    lines = array.reshape(int(np.prod(before)), array.shape[axis], int(np.prod(after)))
    return _np_matmul(matrix, lines).reshape(before + (len(matrix),) + after)


def at_label_size(evaluate):
    """``evaluate`` for a prediction of another size than its label's, where options.resize says so.

    evaluate : (pred, label, options, pixel_weight) -> a NamedTuple with ``vjp``, which is
        (upstream, out=None) -> gradient of pred.
    """

    @functools.wraps(evaluate)
    def resizing(pred, label, options, pixel_weight):
        dice = options.dice
        if dice.resize is None:
            return evaluate(pred, label, options, pixel_weight)
        pred = floating(pred)
        shape = check_shapes(dice, pred.shape, np.shape(label), None if pixel_weight is None
                else np.shape(pixel_weight))
        if shape == pred.shape:
            return evaluate(pred, label, options, pixel_weight)
        (resized, resize_vjp) = resize(pred, shape)
        result = evaluate(resized, label, options, pixel_weight)

        def vjp(upstream, out=None):
            check_out(out, pred.shape)
            gradient = resize_vjp(result.vjp(upstream))
            if out is None:
                return gradient
            out[...] = gradient
            return out
        return result._replace(vjp=vjp)
    return resizing


# --- soft_dice.sums ------------------------------------------------------------------------------
#
# What passes between the stages: the sums over the pixels, and the loss's slopes along them.
#
# The arrays are NumPy's or another library's; nothing here looks inside.


class Sums(_named_tuple('Sums', ['intersection', 'pred_sum', 'label_sum', 'entropy',
        'entropy_norm'], None, None)):
    """Of stage 1, float64, with m the pixel weight, p the activated prediction, g the label, k the
    exponent.  The first three are the counts, each (N, C); of the cross-entropy, each (N,).

    intersection : sum m p g, or with overlap 'l1' sum m (p + g - |p - g|) / 2
    pred_sum : sum m p^k
    label_sum : sum m g^k
    entropy : E, the weighted losses of the pixels; :class:`soft_dice.DiceCEOptions` has the
        formula.  None without a cross-entropy.
    entropy_norm : what E is divided by; like label_sum, it depends on the label alone.
    """
    __slots__ = ()


class Slopes(_named_tuple('Slopes', ['intersection', 'pred_sum', 'entropy'], None)):
    """Derivatives of a loss with respect to the sums of the same names, and of their shapes."""
    __slots__ = ()


# --- soft_dice.score -----------------------------------------------------------------------------
#
# Stage 2: from the sums over the pixels to scores and a loss, and the slopes of the loss.
#
# Every variant of the loss is a few lines of this file, and of no other.  The file is written over
# ``ops``, a namespace of array functions (soft_dice.ops for NumPy), and takes a resolved plan.
# Arrays have a row for each of N samples and a column for each of K counted classes.  The loss of a
# class depends on its own sums only, so a slope has the shape of its sum.  It stands beside its
# value.
#
# A NaN among the sums must stay a NaN in the loss.  It compares as false, so every condition is asked
# in the way that keeps it then.

LOG_GUARD = 1e-07

EMPTY = 1e-30

HEAVIEST = 1000000000000000.0


class Evaluation(_named_tuple('Evaluation', ['loss', 'score', 'slopes'])):
    """What stage 2 gives.

    loss : (N,), or (N, K) with class_reduction 'none'.
    score : S of the Dice term, before any weight, form or mean: (N, K), or (N,) where classes are
        pooled.
    slopes : d loss_n / d sum_n, for the counts (N, K) and the entropy (N,).  Of sums that are added
        up over the batch they are d loss_n / d sum_m, for any samples n and m.
    """
    __slots__ = ()


def stage_two(ops, sums, plan):
    """The loss of the sums, whose counts are those of the counted classes only, (N, K)."""
    sums = score_over_batch(ops, sums, plan)
    found = (_pooled if plan.dice.pool_classes else _classwise)(ops, sums, plan)
    if plan.ce is None:
        return found
    (entropy, slope) = cross_entropy(ops, sums)
    (dice, ce) = (plan.ce.dice_weight, plan.ce.ce_weight)
    (tp, pred_sum, _) = found.slopes
    return found._replace(loss=dice * found.loss + ce * entropy, slopes=Slopes(dice * tp,
            dice * pred_sum, ce * slope))


def score_over_batch(ops, sums, plan):
    """Those of the batch in every row, of the terms that ask for it."""
    (counts, entropy) = (sums[:3], sums[3:])
    if plan.dice.batch_dice:
        counts = tuple(map(ops.over_batch, counts))
    if plan.ce is not None and plan.ce_batch:
        entropy = tuple(map(ops.over_batch, entropy))
    return Sums(*_chain(counts, entropy))


def cross_entropy(ops, sums):
    """E / W, or 0 where W is 0, as there is nothing to learn from; and its slope along E, 1 / W."""
    void = sums.entropy_norm < EMPTY
    slope = ops.where(void, 0, 1 / ops.where(void, 1, sums.entropy_norm))
    return (ops.where(void, 0, slope * sums.entropy), slope)


def tversky(ops, sums, plan):
    """S = (2 tp + smooth) / D with D = 2 (tp + alpha fp + beta fn) + smooth_dr; 1 where D is 0.

    Returns S, dS/d_tp = (2 - 2 (1 - alpha - beta) S) / D and dS/d_pred_sum = -2 alpha S / D.
    """
    (tp, alpha, beta) = (sums.intersection, plan.dice.alpha, plan.dice.beta)
    fp = sums.pred_sum - tp
    fn = sums.label_sum - tp
    denominator = 2 * (tp + alpha * fp + beta * fn) + _smooth(ops, plan.smooth_dr, tp)
    empty = ops.abs(denominator) < EMPTY
    safe = ops.where(empty, 1, denominator)
    score = ops.where(empty, 1, (2 * tp + _smooth(ops, plan.smooth, tp)) / safe)
    share = (1 - empty) / safe
    return (score, (2 - 2 * (1 - alpha - beta) * score) * share, -2 * alpha * score * share)


def class_loss(ops, score, options):
    """A class's loss L of its score S, and dL/dS, an array or a number.

    one_minus : (1 - S)^gamma, -gamma (1 - S)^(gamma - 1); for gamma other than 1 both are 0 at
        S >= 1, where a power below 1 has no finite derivative
    negative : -S, -1
    log : -log S, -1 / S; constant below S = 1e-7
    log_cosh : log cosh(1 - S), -tanh(1 - S)
    """
    (miss, gamma) = (1 - score, options.gamma)
    if options.form == 'negative':
        return (-score, -1)
    if options.form == 'log':
        low = score <= LOG_GUARD
        guarded = ops.where(low, LOG_GUARD, score)
        return (-ops.log(guarded), ops.where(low, 0, -1 / guarded))
    if options.form == 'log_cosh':
        size = ops.abs(miss)
        return (size + ops.log1p(ops.exp(-2 * size)) - math.log(2), -ops.tanh(miss))
    if gamma == 1:
        return (miss, -1)
    perfect = miss <= 0
    base = ops.where(perfect, 1, miss)
    return (ops.where(perfect, 0, base ** gamma), ops.where(perfect, 0,
            -gamma * base ** (gamma - 1)))


def _score_weights(ops, label_sum, plan):
    """The weights of the classes, constants to the gradient, (N, K) or 1 where all are alike; and
    which samples have a finite one, (N,) or 1 where all have.
    """
    if plan.fixed_weights is not None:
        return (ops.row(plan.fixed_weights, label_sum), 1)
    if plan.dice.class_weights is None:
        return (1, 1)
    weights = ops.inverse_power(label_sum, 1 if plan.dice.class_weights == 'inverse' else 2)
    infinite = weights >= HEAVIEST
    largest = ops.largest(ops.where(infinite, 0, weights))
    return (ops.where(infinite, ops.spread(largest, weights), weights), ops.largest(1 - infinite))


def _classwise(ops, sums, plan):
    """A loss per class, then their weighted reduction."""
    options = plan.dice
    (score, d_tp, d_pred_sum) = tversky(ops, sums, plan)
    (loss, d_loss) = class_loss(ops, score, options)
    (weights, live) = _score_weights(ops, sums.label_sum, plan)
    present = 1 if options.absent == 'count' else 1 - (sums.label_sum == 0)
    share = _spread(ops, live, score) * present / _norm(ops, weights, present, score, plan)
    if options.weight_normalization == 'score':
        terms = share * (1 - weights * score)
    else:
        terms = share * weights * loss
    if options.class_reduction != 'none':
        terms = ops.over_classes(terms)
    slope = share * weights * d_loss
    return Evaluation(terms, score, Slopes(slope * d_tp, slope * d_pred_sum))


def _norm(ops, weights, present, like, plan):
    """What the sum over classes is divided by, a number or of the shape of ``like``; never 0."""
    options = plan.dice
    if options.class_reduction != 'mean':
        return 1
    each = weights if options.weight_normalization == 'weights' else 1
    if options.absent == 'skip':
        each = each * present
    if isinstance(each, int) and plan.num_classes:
        return len(plan.counted)
    norm = ops.over_classes(ops.ones_like(like) * each)
    return ops.spread(ops.where(norm == 0, 1, norm), like)


def _pooled(ops, sums, plan):
    """One score from the weighted counts of all classes."""
    (weights, live) = _score_weights(ops, sums.label_sum, plan)
    if plan.dice.absent == 'skip':
        present = 1 - (sums.label_sum == 0)
        (weights, live) = (weights * present, live * ops.largest(present))
    pooled = Sums(*(ops.over_classes(weights * each) for each in sums[:3]))
    (score, d_tp, d_pred_sum) = tversky(ops, pooled, plan)
    (loss, d_loss) = class_loss(ops, score, plan.dice)
    slopes = (weights * ops.spread(live * d_loss * each, sums.label_sum) for each in (d_tp,
            d_pred_sum))
    return Evaluation(live * loss, score, Slopes(*slopes))


def _spread(ops, numbers, like):
    return numbers if isinstance(numbers, int) else ops.spread(numbers, like)


def _smooth(ops, smooth, like):
    return ops.row(smooth, like) if isinstance(smooth, tuple) else smooth


# --- soft_dice.counts ----------------------------------------------------------------------------
#
# Stages 1 and 3: from pixels to counts, and from the counts' derivatives back to the pixels.
#
# Everything here is linear in the number of pixels and knows nothing of how counts become a loss.
# Each backward stands beside its forward.


def counts_count(pixels, options):
    """Stage 1 of the Dice term, and stage 3 as the closure ``vjp``.

    Returns
    -------
    counts : Sums, without those of a cross-entropy.
    vjp : Slopes, (N, C) -> d_pred (N, C, P) in pred's dtype

    Raises
    ------
    ValueError : a negative prediction under a fractional exponent, which has no real power.
    """
    (pred, label, mask) = pixels
    dtype = pred.dtype
    k = options.exponent
    z = counts_without_ignored(pixels, options.activation)
    p = counts_activate(z, options.activation)
    _counts_check_power(p, k)
    g = label if label.ndim == 3 else counts_one_hot(label, pred.shape[1], dtype)
    m = np.ones((1, 1, 1), dtype) if mask is None else mask
    (overlap, overlap_derivative) = counts_overlap_of(p, g, options.overlap)
    counts = Sums(intersection=np.sum(m * overlap, axis=2, dtype=np.float64),
            pred_sum=np.sum(m * p ** k, axis=2, dtype=np.float64), label_sum=np.sum(m * g ** k,
            axis=2, dtype=np.float64))

    def vjp(slopes):
        d_intersection = slopes.intersection.astype(dtype)[:, :, None]
        d_pred_sum = slopes.pred_sum.astype(dtype)[:, :, None]
        d_p = m * (d_intersection * overlap_derivative + d_pred_sum * k * p ** (k - 1))
        return counts_activate_vjp(p, d_p, options.activation)
    return (counts, vjp)


def counts_activate(z, activation):
    """p of z, over the class axis 1.

    softmax : p_c = exp(z_c) / sum_j exp(z_j)
    sigmoid : p = 1 / (1 + exp(-z))
    none : p = z
    """
    if activation == 'softmax':
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)
    if activation == 'sigmoid':
        e = np.exp(-np.abs(z))
        return np.where(z >= 0, 1, e) / (1 + e)
    return z


def counts_activate_vjp(p, d_p, activation):
    """dz of dp, for p = activate(z).

    softmax : dz_c = p_c (dp_c - sum_j p_j dp_j)
    sigmoid : dz = p (1 - p) dp
    none : dz = dp
    """
    if activation == 'softmax':
        return p * (d_p - np.sum(p * d_p, axis=1, keepdims=True))
    if activation == 'sigmoid':
        return p * (1 - p) * d_p
    return d_p


def counts_overlap_of(p, g, overlap):
    """How much of p and g coincides, and its derivative with respect to p.

    product : p g, g
    l1 : (p + g - |p - g|) / 2, (1 - sign(p - g)) / 2
    """
    if overlap == 'product':
        return (p * g, g)
    return ((p + g - np.abs(p - g)) / 2, (1 - np.sign(p - g)) / 2)


def counts_one_hot(label, num_classes, dtype):
    """(N, P) indices as (N, C, P), all zero where -1; for one channel the label itself."""
    first = 1 if num_classes == 1 else 0
    classes = np.arange(first, first + num_classes).reshape(1, -1, 1)
    return (label[:, None, :] == classes).astype(dtype)


def counts_without_ignored(pixels, activation):
    """The prediction with zeros where it counts nowhere, so that a NaN there has no effect."""
    (pred, _, mask) = pixels
    if mask is None:
        return pred
    void = mask == 0
    if activation == 'softmax':
        void = void.all(axis=1, keepdims=True)
    return np.where(void, pred.dtype.type(0), pred)


def _counts_check_power(p, exponent):
    if exponent != int(exponent) and (p < 0).any():
        where = tuple((int(i) for i in np.argwhere(p < 0)[0]))
        raise ValueError(_format("a negative prediction has no power {0:g}: with activation='none' use predictions in [0, 1] or a whole exponent, for example 2; got {1} in sample {2}, class {3}, pixel {4}",
                exponent, written(p[where]), where[0], where[1], where[2]))


# --- soft_dice.entropy ---------------------------------------------------------------------------
#
# The cross-entropy's part of stages 1 and 3: from pixels to two sums per sample, and back.
#
# Beside soft_dice.counts, which is that of the Dice term.  Each backward stands by its forward.
# Logarithms of probabilities come from the logits, never from a probability that was rounded.


def entropy_count(pixels, options):
    """E and W, each (N,), and stage 3 of E as the closure ``vjp``: d_E (N,) -> d_pred (N, C, P).

    W is the sum of the weights that E is a sum with; it depends on the label alone.
    """
    z = counts_without_ignored(pixels, options.dice.activation)
    m = _entropy_weights(pixels, options)
    label = pixels.label
    g = label if label.ndim == 3 else counts_one_hot(label, z.shape[1], z.dtype)
    if options.dice.activation == 'softmax':
        (loss, d_z) = entropy_softmax_entropy(z, _entropy_smoothed(g, options, z.shape[1]),
                options.ce_gamma)
        weight = m * g
    else:
        (loss, d_z) = entropy_sigmoid_entropy(z, _entropy_smoothed(g, options, 2),
                options.ce_gamma)
        weight = _np_broadcast_to(m, z.shape)

    def vjp(d_entropy):
        return d_z(d_entropy.astype(z.dtype)[:, None, None] * m)
    return (_entropy_total(m * loss), _entropy_total(weight), vjp)


def entropy_softmax_entropy(z, t, gamma):
    """t (1 - p)^gamma (-log p) of each class, p the softmax over axis 1, and its vjp.

    vjp : upstream (N, C, P) -> dz_c = q_c d_c - p_c sum_{j != c} d_j, with q = 1 - p and d the
        derivative with respect to log p
    """
    log_p = entropy_log_softmax(z)
    with np.errstate(invalid='ignore'):
        q = -np.expm1(log_p)
    (loss, derivative) = entropy_focal(log_p, q, gamma)

    def vjp(upstream):
        d = upstream * t * derivative
        return q * d - np.exp(log_p) * (d.sum(axis=1, keepdims=True) - d)
    return (t * loss, vjp)


def entropy_sigmoid_entropy(z, t, gamma):
    """t q^gamma (-log p) + (1 - t) p^gamma (-log q), p the sigmoid and q = 1 - p, and its vjp."""
    small = np.log1p(np.exp(-np.abs(z)))
    (log_p, log_q) = (np.minimum(z, 0) - small, np.minimum(-z, 0) - small)
    (p, q) = (np.exp(log_p), np.exp(log_q))
    (of_p, d_log_p) = entropy_focal(log_p, q, gamma)
    (of_q, d_log_q) = entropy_focal(log_q, p, gamma)

    def vjp(upstream):
        return upstream * (t * q * d_log_p - (1 - t) * p * d_log_q)
    return (t * of_p + (1 - t) * of_q, vjp)


def entropy_log_softmax(z):
    """log p over the class axis 1, as exact near p = 1, where it is near 0, as elsewhere."""
    top = z.argmax(axis=1)[:, None] == np.arange(z.shape[1])[:, None]
    shifted = z - z.max(axis=1, keepdims=True)
    others = np.where(top, 0, np.exp(shifted))
    return shifted - np.log1p(others.sum(axis=1, keepdims=True))


def entropy_focal(log_p, q, gamma):
    """L = q^gamma (-log p), q = 1 - p, and its derivative with respect to log p.

    dL/d log p = gamma p q^gamma r - q^gamma, where r = log p / q, which is -1 at p = 1
    """
    if gamma == 0:
        return (-log_p, _np_full_like(log_p, -1))
    power = q ** gamma
    sure = q == 0
    r = np.where(sure, -1, log_p / np.where(sure, 1, q))
    return (-power * log_p, power * (gamma * np.exp(log_p) * r - 1))


def _entropy_smoothed(g, options, outcomes):
    epsilon = options.label_smoothing
    return g if epsilon == 0 else (1 - epsilon) * g + epsilon / outcomes


def _entropy_weights(pixels, options):
    """m w, of a shape that broadcasts to (N, C, P)."""
    (pred, _, mask) = pixels
    weights = np.ones(1) if options.ce_class_weights is None else np.array(options.ce_class_weights)
    weights = weights.astype(pred.dtype).reshape(1, -1, 1)
    return weights if mask is None else mask * weights


def _entropy_total(array):
    return np.sum(array, axis=(1, 2), dtype=np.float64)


# --- soft_dice.stages ----------------------------------------------------------------------------
#
# Stages 1 and 3 of arrays as the caller has them, by the implementation in use.
#
# That is the kernels (``soft_dice.native``, which decides) or plain NumPy (``soft_dice.counts`` and
# ``soft_dice.entropy``, which are the truth that the kernels are held to).


def stages_count(batch, plan):
    """Stage 1, and stage 3 as the closure ``vjp``.

    Returns
    -------
    sums : Sums, of all classes, with those of a cross-entropy where the plan has one.
    vjp : (Slopes, out=None) -> d_pred, of pred's shape and dtype; written into ``out`` where that
        is given.  The kernels read the arrays again for it: they must still be what they were.

    Raises
    ------
    ValueError : a value that is not allowed, as of :func:`soft_dice.soft_dice_loss`.
    """
    kernels = _no_kernels()
    (sums, vjp) = _by_numpy(batch, plan) if kernels is None else kernels.count(batch, plan)
    if plan.ce is not None and plan.ce.ce_normalization == 'pixels':
        sums = sums._replace(entropy_norm=_np_full(len(batch.pred), terms(batch.pred.shape, plan)))
    return (sums, vjp)


def terms(shape, plan):
    """How many terms the cross-entropy of a sample has: pixels, or for a sigmoid elements."""
    elements = float(np.prod(shape[1:]))
    return elements / shape[plan.dice.axis] if plan.dice.activation == 'softmax' else elements


def _by_numpy(batch, plan):
    pixels = prepare(batch, plan.dice)
    (sums, dice_vjp) = counts_count(pixels, plan.dice)
    if plan.ce is not None:
        (loss, weight, entropy_vjp) = entropy_count(pixels, plan.ce)
        sums = sums._replace(entropy=loss, entropy_norm=weight)

    def vjp(slopes, out=None):
        flat = dice_vjp(slopes)
        if slopes.entropy is not None:
            flat = flat + entropy_vjp(slopes.entropy)
        gradient = restore(flat, batch.pred.shape, plan.dice.axis)
        if out is None:
            return gradient
        out[...] = gradient
        return out
    return (sums, vjp)


# --- soft_dice.loss ------------------------------------------------------------------------------
#
# The soft Dice loss: the three stages, one after the other.


class DiceResult(_named_tuple('DiceResult', ['loss', 'score', 'vjp'])):
    """All of one evaluation: loss and score as the functions below return them, and the vjp."""
    __slots__ = ()


def soft_dice_loss(pred, label, options=DiceOptions(), pixel_weight=None):
    """Soft Dice loss of each sample; by default the mean over classes c of

        1 - (2 sum p g + smooth) / (sum p + sum g + smooth)

    with p the softmax of pred, g the one-hot label and sums over the sample's pixels.
    :class:`DiceOptions` has the general formula and every variant.

    Parameters
    ----------
    pred : (N, C, ...) float16, which is computed in float32, float32 or float64, any number of
        further axes; logits, or what ``options.activation`` applies to.
    label : (N, ...) or (N, 1, ...) class indices of any numeric dtype; with
        ``sparse_label=False`` the shape of pred, values in [0, 1], which may be soft.  With
        ``resize`` its sizes, those of the axes after the classes, may be others than pred's.
    options : DiceOptions, or the name of a preset, such as 'nnunet'.
    pixel_weight : (N, ...) or (N, 1, ...), finite and not negative; None is 1 everywhere.

    Returns
    -------
    (N,) float64; (N, K counted classes) with ``class_reduction='none'``.

    Raises
    ------
    ValueError : shapes that do not match (they never broadcast), a label outside its range,
        fractional or NaN, a negative pixel weight, an empty batch, or options that do not fit the
        number of classes.  A NaN in pred is no error and gives a NaN loss.

    Examples
    --------
    >>> logits = np.array([[[9.0, -9.0], [-9.0, 9.0]]])  # (1 sample, 2 classes, 2 pixels)
    >>> soft_dice_loss(logits, np.array([[0, 1]])).round(6)
    array([0.])

    References
    ----------
    Milletari, Navab, Ahmadi: V-Net, 3DV 2016; Drozdzal et al.: The Importance of Skip Connections
    in Biomedical Image Segmentation, 2016.
    """
    return evaluate(pred, label, require(options, DiceOptions), pixel_weight).loss


def soft_dice_loss_vjp(pred, label, options=DiceOptions(), pixel_weight=None):
    """The loss of :func:`soft_dice_loss`, and the function that takes it back to pred.

    A label receives no gradient, soft or not.

    Returns
    -------
    loss : as :func:`soft_dice_loss`.
    vjp : (upstream, out=None) -> gradient of sum(upstream * loss), shape and dtype of pred (of
        float16 in float32, as float16 has nothing below 6e-8), written into ``out`` where that is
        given.  ``upstream`` is d(objective)/d(loss): a number for every
        entry of the loss alike, or an array of loss's shape.  vjp raises ValueError for any other
        shape.  It may read pred, label and pixel_weight again: change none of them before.

    Examples
    --------
    >>> loss, vjp = soft_dice_loss_vjp(np.zeros((1, 2, 4)), np.array([[0, 0, 0, 1]]))
    >>> gradient = vjp(1 / len(loss))  # of the mean over the batch
    >>> gradient.shape
    (1, 2, 4)
    """
    result = evaluate(pred, label, require(options, DiceOptions), pixel_weight)
    return (result.loss, result.vjp)


def soft_dice_score(pred, label, options=DiceOptions(), pixel_weight=None):
    """The score S of each sample and class, before any weight, form or mean.

    Arguments and errors as :func:`soft_dice_loss`.

    Returns
    -------
    (N, K counted classes) float64, K = C by default; (N, 1) with ``pool_classes``.
    """
    return evaluate(pred, label, require(options, DiceOptions), pixel_weight).score


@at_label_size
def evaluate(pred, label, options, pixel_weight):
    """Stages 1 and 2 now, and stage 3 as the closure ``vjp``, for options of either kind."""
    batch = check_batch(pred, label, options.dice, pixel_weight)
    plan = resolve(options, batch.pred.shape[options.dice.axis])
    (sums, sums_vjp) = stages_count(batch, plan)
    found = score_sums(sums, plan)

    def vjp(upstream, out):
        return sums_vjp(times(upstream, found.slopes, plan), out)
    return DiceResult(found.loss, found.score, checked_vjp(vjp, found.loss.shape,
            batch.pred.shape))


def score_sums(sums, plan):
    """Stage 2 of the sums of all classes; a pooled score is (N, 1), and slopes are (N, K)."""
    (tp, pred_sum, label_sum) = (each[:, list(plan.counted)] for each in sums[:3])
    found = stage_two(ops, Sums(tp, pred_sum, label_sum, sums.entropy, sums.entropy_norm), plan)
    return found._replace(score=found.score.reshape(len(found.loss), -1))


def times(upstream, slopes, plan):
    """The derivatives of sum(upstream * loss) with respect to the sums of all classes.

    upstream : of the loss's shape, (N,) or (N, K).
    """

    def of_rows(over_batch):
        """Where sums are added up over the batch, every sample's loss depends on all samples'."""
        return _np_broadcast_to(upstream.sum(axis=0), upstream.shape) if over_batch else upstream
    of_counts = of_rows(plan.dice.batch_dice)

    def of_all(slope):
        derivative = np.zeros((len(slope), plan.num_classes))
        derivative[:, list(plan.counted)] = of_counts.reshape(len(slope), -1) * slope
        return derivative
    return Slopes(of_all(slopes.intersection), of_all(slopes.pred_sum), None
            if slopes.entropy is None else of_rows(plan.ce_batch) * slopes.entropy)


def checked_vjp(vjp, loss_shape, pred_shape):
    """The vjp for callers: upstream may be a number, and shapes that do not fit are refused."""

    def checked(upstream, out=None):
        each = _upstream(upstream, loss_shape)
        check_out(out, pred_shape)
        return vjp(each, out)
    return checked


def _upstream(upstream, shape):
    given = np.asarray(upstream)
    is_number = given.dtype.kind in 'iuf'
    if not is_number or given.shape not in ((), shape):
        what = _repr(given.tolist()) if given.ndim == 0 and (not is_number) else _format('shape {0} of {1}',
                given.shape, given.dtype)
        raise ValueError(_format('upstream must be a number, for example 1.0, or have the shape of the loss, {0}; got {1}',
                shape, what))
    return _np_broadcast_to(given.astype(np.float64), shape)


# --- caffe_layers.errors -------------------------------------------------------------------------
#
# Errors that are seen.  The caffe command ends on a Python exception without printing it.


def reported(method):
    """A layer's method that, under the caffe command, prints its error before it raises it."""

    @functools.wraps(method)
    def reporting(self, *args):
        try:
            method(self, *args)
        except Exception as error:
            if in_caffe_command():
                sys.stderr.write(_format('{0}.{1}: {2}\n', type(self).__name__, method.__name__,
                        error))
                sys.stderr.flush()
            raise
    return reporting


def in_caffe_command():
    return getattr(sys, 'argv', []) in ([], [''])


# --- caffe_layers.runs ---------------------------------------------------------------------------
#
# Where one test run ends and the next begins, which Caffe tells no layer.
#
# A solver trains between two test runs, and the layers of this package that train with it notice.
# Where none does, the layer has to be told how many forwards a run has.


class Training(object):
    """What the layers of this package have seen of training, in this process.

    layers : that were set up in phase TRAIN.
    passes : their forwards.
    """
    layers = 0
    passes = 0


def note_setup(layer):
    """To be called in the setup of every layer."""
    Training.layers += layer.phase == caffe.TRAIN


def note_forward(layer):
    """To be called in the forward of every layer."""
    Training.passes += layer.phase == caffe.TRAIN


class Runs(object):
    """The test runs of one layer in phase TEST.

    test_iter : how many forwards a run has, where that was said.
    forwards : of the current run.
    """

    def __init__(self, test_iter):
        self.test_iter = test_iter
        self.forwards = 0
        self._passes = Training.passes

    def reset(self):
        self.forwards = 0

    def forward(self):
        """Count a forward, the first of a new run where one begins.

        ``caffe test`` is one run.  Elsewhere one begins after a training pass, after ``test_iter``
        forwards and after ``reset()``.

        Raises
        ------
        ValueError : a solver is testing, and that cannot be told or is not what test_iter says.
        """
        trained = Training.passes != self._passes
        full = self.forwards == self.test_iter
        if not (_in_caffe_test() or called_from_python()):
            self._check(trained, full)
        if (trained or full) and (not _in_caffe_test()):
            self.forwards = 0
        self._passes = Training.passes
        self.forwards += 1

    def _check(self, trained, full):
        if not Training.layers and self.test_iter is None:
            raise ValueError('test_iter must be the solver\'s, for example {"test_iter": 20}, where no layer of caffe_layers is in the TRAIN net: nothing else tells where a test run ends')
        if Training.layers and self.test_iter is not None and self.forwards and (trained != full):
            raise ValueError(_format("test_iter must be the solver's; it is {0}, but a test run has {1}{2} forwards",
                    self.test_iter, '' if trained else 'more than ', self.forwards))


def called_from_python():
    """Whether the forward was asked for by pycaffe's Net.forward, not by a solver."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_globals.get('__name__') == 'caffe.pycaffe':
            return True
        frame = frame.f_back
    return False


def _in_caffe_test():
    """Whether this is the command ``caffe test``, which Python inside it can only ask Linux."""
    if not in_caffe_command():
        return False
    try:
        with open('/proc/self/cmdline') as file:
            words = file.read().split('\x00')
    except OSError:
        return False
    return 'test' in words and 'train' not in words


# --- caffe_layers.learning -----------------------------------------------------------------------
#
# Says once that nothing is learnt from a loss, because the prototxt gives it no loss_weight.
#
# Caffe then prints ``loss = 0``, trains nothing, and ends well.  A layer is not told its loss_weight,
# but Caffe writes it into the diff of the top before the first forward.  Where another layer takes
# the top, the diff comes with the first backward.  A weight of 0 looks like none, hence "or 0".

ADVICE = 'learns nothing: the prototxt gives it no loss_weight, or 0, so Caffe never asks for a gradient; add loss_weight: 1 to the layer.  (If it is only there to be looked at, that is as it should be.)'


class Learning(object):
    """Does Caffe learn from this layer?

    passes : of a solver that trains, as long as no weight was seen.
    known : need nobody look any more?
    """

    def __init__(self):
        self.passes = 0
        self.known = False

    def forward(self, layer, top):
        """To be called in every forward.  Warns in the second of a solver, without a weight yet."""
        training = vars(layer).get('phase') == caffe.TRAIN and (not isinstance(top, list))
        if self.known or not training or called_from_python():
            return
        self.look(top)
        self.passes += 1
        if self.passes == 2 and (not self.known):
            self.known = True
            warnings.warn(_format('{0} {1}', type(layer).__name__, ADVICE))

    def look(self, top):
        """To be called in every backward, too."""
        self.known = self.known or bool(top[0].diff.any())


# --- caffe_layers.loss ---------------------------------------------------------------------------
#
# The loss layers: they translate blobs; losses and gradients are those of soft_dice.


class _LossLayer(_Layer):
    """A layer of a loss in soft_dice.  A subclass names its options."""

    @reported
    def setup(self, bottom, top):
        self.options = params_read(self.param_str, self.KIND)
        if len(bottom) not in (2, 3):
            raise ValueError(_format('{0} takes the bottoms prediction, label and, if wanted, pixel weights; got {1}',
                    type(self).__name__, len(bottom)))
        if len(top) not in (1, 2):
            raise ValueError(_format('{0} has the tops loss and, if wanted, score; got {1}',
                    type(self).__name__, len(top)))
        self._learning = Learning()
        note_setup(self)

    @reported
    def reshape(self, bottom, top):
        shapes = list((tuple(bottom[i].shape) for i in range(len(bottom))))
        check_shapes(self.options.dice, shapes[0], shapes[1], shapes[2] if shapes[2:] else None)
        plan = resolve(self.options, shapes[0][1])
        top[0].reshape(*plan.losses)
        if len(top) == 2:
            top[1].reshape(shapes[0][0], plan.scores)

    @reported
    def forward(self, bottom, top):
        note_forward(self)
        self._learning.forward(self, top)
        weight = bottom[2].data if len(bottom) == 3 else None
        self._result = evaluate(bottom[0].data, bottom[1].data, self.options, weight)
        top[0].data[...] = self._result.loss.mean(axis=0)
        if len(top) == 2:
            top[1].data[...] = self._result.score

    @reported
    def backward(self, top, propagate_down, bottom):
        self._learning.look(top)
        if len(top) == 2 and top[1].diff.any():
            raise ValueError('the score (second top) has no gradient; write loss_weight: 1 loss_weight: 0')
        if propagate_down[0]:
            shape = self._result.loss.shape
            each = top[0].diff / shape[0]
            self._result.vjp(_np_broadcast_to(each, shape), out=bottom[0].diff)
        for i in range(1, len(bottom)):
            if propagate_down[i]:
                bottom[i].diff[...] = 0


class SoftDiceLossLayer(_LossLayer):
    """Soft Dice loss of a prediction, averaged over the batch::

        layer {
          name: "loss"  type: "Python"  loss_weight: 1
          bottom: "score"  bottom: "label"  top: "loss"
          python_param { module: "soft_dice_layer"  layer: "SoftDiceLossLayer"
                         param_str: '{"ignore_label": 255}' }
        }

    ``param_str`` holds the fields of :class:`soft_dice.DiceOptions` as a JSON object or a Python
    dict literal; empty is their defaults.  Without ``loss_weight`` Caffe never calls backward, and
    the layer warns once that nothing is learnt.

    Bottoms
    -------
    0 : prediction (N, C, ...).
    1 : label (N, 1, ...) or (N, ...) class indices; with ``"sparse_label": false`` as prediction.
        With ``"resize": "bilinear"`` it may have other sizes than the prediction.
    2 : pixel weights (N, 1, ...) or (N, ...), optional, of the label's sizes.

    Tops
    ----
    0 : loss, a scalar: the mean over the batch; with ``"class_reduction": "none"`` one per counted
        class, (K,), whose sum Caffe minimises.
    1 : score of each sample and counted class, (N, K), optional; to look at, without a gradient.
        Caffe then wants two weights: ``loss_weight: 1  loss_weight: 0``.

    Only the prediction receives a gradient, and a label none, soft or not; where Caffe asks for
    others (``force_backward``) they are 0.

    Raises
    ------
    ValueError, TypeError : options, number of bottoms or tops, shapes or label values that are
        wrong; as :func:`soft_dice.soft_dice_loss`.
    """
    KIND = DiceOptions


class DiceCELossLayer(_LossLayer):
    """Dice loss plus cross-entropy of a prediction before its softmax, averaged over the batch::

        layer {
          name: "loss"  type: "Python"  loss_weight: 1
          bottom: "score"  bottom: "label"  top: "loss"
          python_param { module: "soft_dice_layer"  layer: "DiceCELossLayer"
                         param_str: '{"ignore_label": 255, "ce_weight": 0.5}' }
        }

    ``param_str`` holds the fields of :class:`soft_dice.DiceCEOptions`.  Bottoms, tops and errors
    are those of :class:`SoftDiceLossLayer`; the loss is always a scalar, and the score is that of
    the Dice.
    """
    KIND = DiceCEOptions


# --- soft_dice.metric_options --------------------------------------------------------------------
#
# MetricOptions: how a prediction is decided, counted, scored and averaged.

READING = ('activation', 'sparse_label', 'axis', 'classes', 'include_background', 'ignore_label',
        'resize')


def check_beta(name, value):
    if not values_is_number(value) or not 0.001 <= value <= 1000:
        raise ValueError(_format('{0} of F-beta must be a number in [0.001, 1000], for example 1, which is Dice; got {1!r}',
                name, value))
    return float(value)


def check_empty(name, value):
    if isinstance(value, bool) or value not in ('nan', 0, 1):
        raise ValueError(_format("{0}, what a class gives that is empty (neither predicted nor labelled), must be 'nan', 0 or 1; got {1!r}",
                name, value))
    return value if value == 'nan' else int(value)

check_threshold = values_fraction(example=0.5)


@_dataclass(['dice', 'threshold', 'beta', 'empty', 'per_image', 'metric', 'average', 'empty_by'],
        frozen=True, init=False, repr=False)
class MetricOptions(Options):
    """What a metric of hard Dice is told.  Keywords only; an unknown one is refused.

    Parameters
    ----------
    threshold, beta, empty, per_image, metric, empty_by : as of :func:`soft_dice.hard_dice`; beta is
        that of F-beta.
    average : 'macro' (default), 'micro' or 'weighted', of the one value over all classes; as of
        :func:`soft_dice.hard_dice`.
    **fields : activation, sparse_label, axis, classes, include_background, ignore_label and resize
        as of :class:`soft_dice.DiceOptions`; they come to stand in the attribute ``dice``.

    Raises
    ------
    TypeError : unknown option, or one of the loss alone.
    ValueError : a value outside its range, a threshold that nothing would use, or a beta of iou.

    Examples
    --------
    >>> MetricOptions.of_loss(DiceOptions(smooth=1.0, ignore_label=255), beta=2)
    MetricOptions(beta=2.0, ignore_label=255)
    """
    dice = DiceOptions()
    threshold = option(0.5, check_threshold)
    beta = option(1.0, check_beta)
    empty = option('nan', check_empty)
    per_image = option(False, values_flag)
    metric = option('dice', values_one_of('dice', 'iou'))
    average = option('macro', values_one_of('macro', 'micro', 'weighted'))
    empty_by = option('both', values_one_of('both', 'label'))
    INSTEAD = 'options.dice are those of them that a loss has, too'

    def __init__(self, **fields):
        _refuse_unknown(fields)
        object.__setattr__(self, 'dice', DiceOptions(**_reading(fields)))
        self._set(fields)
        if self.dice.activation == 'softmax':
            refuse_threshold(self.threshold)
        if self.metric == 'iou' and self.beta != 1:
            raise ValueError(_format("beta is of metric='dice'; got beta={0:g} with metric='iou'",
                    self.beta))

    @classmethod
    def of_loss(cls, options, **fields):
        """Those that read prediction and label as a loss of ``options`` does; ``fields`` override.

        Raises
        ------
        TypeError : ``options`` that are neither DiceOptions nor a preset's name; and as the class.
        ValueError : an unknown preset; and as the class.
        """
        if options is None:
            return cls(**fields)
        if isinstance(options, _STRINGS):
            return cls.from_dict(_merged(_Dict([('preset', options)]), fields))
        if not isinstance(options, DiceOptions):
            raise TypeError(_format('options must be a soft_dice.DiceOptions, for example DiceOptions(ignore_label=255), or the name of a preset; got {0}',
                    type(options).__name__))
        return cls(**_merged(cls._from_loss(options.to_dict()), fields))

    @classmethod
    def _from_loss(cls, fields):
        return _reading(fields)

    def to_dict(self):
        """Every option by name, those of reading among them."""
        return _merged(super(MetricOptions, self).to_dict(), _reading(self.dice.to_dict()))

metric_options_KNOWN = tuple(_chain(READING, (field.name for field in options_of(MetricOptions))))


def refuse_threshold(threshold):
    """Refuse one other than the default where none is used."""
    if threshold != MetricOptions.threshold:
        raise ValueError(_format("threshold={0} has no meaning where each pixel is of one class: leave it out, or use activation='sigmoid' (or 'none' with a dense label)",
                threshold))


def _reading(fields):
    return _Dict(((name, value) for (name, value) in fields.items() if name in READING))


def _refuse_unknown(fields):
    for name in fields:
        if name in FIELDS and name not in metric_options_KNOWN:
            raise TypeError(_format('{0} is an option of the loss alone; the hard Dice takes {1}',
                    name, ', '.join(metric_options_KNOWN)))
    refuse_unknown(fields, metric_options_KNOWN, 'the hard Dice takes')


# --- soft_dice.metrics ---------------------------------------------------------------------------
#
# Hard Dice: how well a segmentation that has been decided agrees with its label.
#
# A prediction is decided first, one class for each pixel or yes and no for each class; then it is
# counted by stage 1 of the losses, so that shapes, classes and ignored pixels mean what they mean
# there.  Counts are whole numbers, which add up over batches and workers without a rounding error.


@_dataclass(['tp', 'fp', 'fn'], frozen=True, eq=False)
class HardCounts(object):
    """Pixels of each image and counted class: rows are images, or one row a whole set.

    tp : predicted and labelled as the class, (N, K) int64.
    fp : predicted as the class, and labelled as another, (N, K) int64.
    fn : labelled as the class, and not predicted as it, (N, K) int64.

    ``a + b`` has the images of a, then those of b; ``total()`` adds all images up.  Whole sets
    merge in any order: ``(a + b).total() == (b.total() + a.total()).total()``.

    Raises
    ------
    ValueError : shapes that differ, or anything but whole numbers >= 0.
    """

    def __post_init__(self):
        for name in ('tp', 'fp', 'fn'):
            array = np.asarray(getattr(self, name))
            whole = array.astype(np.int64) if array.dtype.kind in 'iuf' else array
            if array.ndim != 2 or whole.dtype != np.int64 or (whole != array).any() or (whole < 0).any():
                raise ValueError(_format('{0} must hold whole numbers >= 0, a row for each image, for example [[3, 0]]; got {1!r}',
                        name, getattr(self, name)))
            object.__setattr__(self, name, whole)
        if not self.tp.shape == self.fp.shape == self.fn.shape:
            raise ValueError(_format('tp, fp and fn must have one shape (images, classes); got {0}, {1} and {2}',
                    self.tp.shape, self.fp.shape, self.fn.shape))

    @classmethod
    def join(cls, parts):
        """The images of all parts, one after the other; quicker than + for many of them.

        Raises
        ------
        ValueError : no part, or parts of different numbers of classes.
        """
        parts = list(parts)
        classes = sorted({part.tp.shape[1] for part in parts})
        if len(classes) != 1:
            raise ValueError(_format('counts that merge must be of the same classes; got {0}',
                    ' and '.join(map(_text, classes)) or 'none'))
        return cls(*(np.concatenate(list((getattr(part, name) for part in parts)))
                for name in ('tp', 'fp', 'fn')))

    def __add__(self, other):
        return HardCounts.join([self, other]) if isinstance(other, HardCounts) else NotImplemented

    def __eq__(self, other):
        return isinstance(other, HardCounts) and all((np.array_equal(getattr(self, name),
                getattr(other, name)) for name in ('tp', 'fp', 'fn')))

    def total(self):
        """All images as one row."""
        return HardCounts(*(each.sum(axis=0, keepdims=True) for each in (self.tp, self.fp,
                self.fn)))

    def dice(self, beta=1.0, empty='nan'):
        """F-beta of each row and class, (N, K) float64; beta 1 is Dice 2 tp / (2 tp + fp + fn)

            (1 + beta^2) tp / ((1 + beta^2) tp + fp + beta^2 fn)

        Parameters
        ----------
        beta : in [0.001, 1000]; how many times as much recall matters as precision does.
        empty : 'nan', 0 or 1: what a class gives that is neither predicted nor labelled.

        Raises
        ------
        ValueError : beta or empty outside of that.
        """
        return self.scores(MetricOptions(beta=beta, empty=empty))

    def iou(self, empty='nan'):
        """Intersection over union of each row and class, tp / (tp + fp + fn); as :meth:`dice`."""
        return self.scores(MetricOptions(metric='iou', empty=empty))

    def scores(self, options):
        """The metric of each row and class, (N, K) float64, as the options say."""
        if options.metric == 'iou':
            (found, possible) = (self.tp, self.tp + self.fp + self.fn)
        else:
            weight = options.beta ** 2
            found = (1 + weight) * self.tp
            possible = found + self.fp + weight * self.fn
        labelled = self.tp + self.fn
        empty = labelled + (self.fp if options.empty_by == 'both' else 0) == 0
        return np.where(empty, float(options.empty), found / np.where(possible == 0, 1, possible))

    def average(self, options):
        """One number for each row, (N,), over its classes; without those that are NaN.

        average : 'macro', their mean; 'weighted', weighted by their pixels in the label; 'micro',
            the metric of the pixels of all classes.
        """
        if options.average == 'micro':
            pooled = HardCounts(*(each.sum(axis=1, keepdims=True) for each in (self.tp, self.fp,
                    self.fn)))
            return pooled.scores(options)[:, 0]
        scores = self.scores(options)
        if options.average == 'macro':
            return _mean_of_known(scores.T)
        weights = np.where(np.isnan(scores), 0, self.tp + self.fn)
        norm = weights.sum(axis=1)
        weighted = np.where(weights == 0, 0, weights * scores).sum(axis=1)
        return np.where(norm == 0, np.nan, weighted / np.where(norm == 0, 1, norm))

    def per_class(self, beta=1.0, empty='nan'):
        """Mean over the rows, (K,), without those that are NaN; NaN where all are."""
        return _mean_of_known(self.dice(beta, empty))

    def mean(self, beta=1.0, empty='nan'):
        """Mean over the classes of :meth:`per_class`, without those that are NaN."""
        return float(_mean_of_known(self.per_class(beta, empty)))


def hard_counts(pred, label, options=DiceOptions(), threshold=0.5, num_classes=None):
    """Decide a prediction, and count how it agrees with its label.

    How it is decided follows from the options:

    - softmax, or index labels of several classes: the class with the highest value (argmax), the
      lowest of those that tie.  A dense label is decided in the same way; a pixel in which it is 0
      for every class is of none.
    - otherwise (sigmoid, one channel, 'none' with a dense label): each class whose probability is
      above the threshold.  For sigmoid the logit is compared with log(t / (1 - t)), so that no
      rounding of the sigmoid decides.  A dense label is of each class where it is above the
      threshold.

    Parameters
    ----------
    pred : (N, C, ...) floating, as the losses take it; or, with ``num_classes``, the
        class that was decided for each pixel, whole numbers in [0, num_classes).
    label : as the losses take it; or, with ``num_classes``, the shape of pred.
    options : what is read of them is activation, sparse_label, axis, classes,
        include_background, ignore_label and resize.
    threshold : in [0, 1); only where it is used.

    Returns
    -------
    HardCounts, (N, K counted classes).

    Raises
    ------
    ValueError : as :func:`soft_dice.soft_dice_loss`; and a NaN in a prediction that counts, as it
        decides for no class.

    Examples
    --------
    >>> scores = np.array([[[0.9, 0.2, 0.4], [0.1, 0.8, 0.6]]])  # (1 image, 2 classes, 3 pixels)
    >>> counts = hard_counts(scores, np.array([[0, 1, 0]]), DiceOptions(activation='none'))
    >>> counts.tp.tolist(), counts.dice().round(3).tolist()
    ([[1, 1]], [[0.667, 0.667]])
    """
    check_threshold('threshold', threshold)
    if num_classes is not None:
        refuse_threshold(threshold)
        return _count_decided(np.asarray(pred), np.asarray(label), num_classes, options)
    if options.resize is not None:
        pred = floating(pred)
        (pred, _) = resize(pred, check_shapes(options, pred.shape, np.shape(label)))
    (pred, label, _) = check_batch(pred, label, options)
    plan = resolve(options, pred.shape[options.axis])
    _refuse_nan(pred, label, options)
    if takes_highest(options, plan.num_classes):
        refuse_threshold(threshold)
        hard = _highest(pred, options.axis)
    else:
        hard = _above(pred, _logit(threshold) if options.activation == 'sigmoid' else threshold)
    if not options.sparse_label:
        check_label(label, plan.num_classes, options, sample=0)
        label = _decide_label(label, options, threshold)
    return _count(hard, label, plan)


def takes_highest(options, num_classes):
    """Whether a prediction is decided by argmax, not by threshold."""
    return options.activation == 'softmax' or (options.sparse_label and num_classes > 1)


def hard_dice(pred, label, num_classes=None, ignore_label=None, **_keywords):
    """Dice 2 tp / (2 tp + fp + fn) of each counted class, or F-beta, or intersection over union,
    from whole pixels.

    Parameters
    ----------
    pred, label, num_classes, options, threshold : as :func:`hard_counts`, which says how a
        prediction is decided; with ``num_classes`` it has been.
    ignore_label : pixels with this label are left out; in place of that of the options.
    beta, empty : as :meth:`HardCounts.dice`.
    per_image : False counts over all images; True gives each image's own.
    metric : 'dice', or 'iou', tp / (tp + fp + fn), also called Jaccard.
    average : None gives each class; 'macro' the mean of the classes, 'weighted' a mean weighted by
        the classes' pixels in the label, both without classes that are NaN; 'micro' the metric of
        the pixels of all classes.
    empty_by : which classes are ``empty``: 'both', those that are neither predicted nor labelled,
        or 'label', all that are not labelled, as MONAI has it.

    Returns
    -------
    (K counted classes,) float64; (N, K) with ``per_image``; with an average one axis fewer.

    Raises
    ------
    ValueError : as :func:`hard_counts`, and a value outside its range.
    TypeError : ``options`` that are no DiceOptions.

    Examples
    --------
    >>> hard_dice(np.array([[0, 1, 1]]), np.array([[0, 1, 0]]), num_classes=3)
    array([0.66666667, 0.66666667,        nan])
    """
    (options, threshold, beta, empty, per_image, metric, average,
            empty_by) = _keyword_only('hard_dice', _keywords, ('options', None), ('threshold',
            0.5), ('beta', 1.0), ('empty', 'nan'), ('per_image', False), ('metric', 'dice'),
            ('average', None), ('empty_by', 'both'))
    given = _Dict([('ignore_label', ignore_label), ('average', average)])
    fields = _Dict(((name, value) for (name, value) in given.items() if value is not None))
    asked = MetricOptions.of_loss(options, threshold=threshold, beta=beta, empty=empty,
            per_image=per_image, metric=metric, empty_by=empty_by, **fields)
    counts = hard_counts(pred, label, asked.dice, threshold, num_classes)
    counts = counts if per_image else counts.total()
    found = counts.scores(asked) if average is None else counts.average(asked)
    return found if per_image else found[0]


class Tally(object):
    """Counts that come in over batches and workers, and what they say by the options."""

    def __init__(self, options):
        self.options = options
        self._parts = []

    def add(self, counts):
        """Raises ValueError for counts of another number of classes; they are then not added."""
        if self.options.per_image:
            HardCounts.join(list(_chain(self._parts[:1], (counts,))))
            self._parts.append(counts)
        else:
            self._parts = [HardCounts.join(list(_chain(self._parts, (counts,)))).total()]

    @property
    def counts(self):
        """A row for each image with per_image, otherwise one row; None before the first."""
        if len(self._parts) > 1:
            self._parts = [HardCounts.join(self._parts)]
        return self._parts[0] if self._parts else None

    def per_class(self):
        """(K,), empty before the first."""
        counts = self.counts
        return np.zeros(0) if counts is None else _mean_of_known(counts.scores(self.options))

    def mean(self):
        """Over the classes; NaN before the first."""
        if self.options.average == 'macro' or self.counts is None:
            return float(_mean_of_known(self.per_class()))
        return float(_mean_of_known(self.counts.average(self.options)))


def _highest(array, axis):
    """One-hot argmax over the class axis, float32, in array's shape."""
    index = array.argmax(axis).reshape(len(array), -1)
    return restore(counts_one_hot(index, array.shape[axis], np.dtype(np.float32)), array.shape,
            axis)


def _above(array, limit):
    return (array > limit).astype(np.float32)


def _logit(probability):
    return math.log(probability / (1 - probability)) if probability > 0 else -_INF


def _decide_label(label, options, threshold):
    """A dense label as zeros and ones, float32, and ignore_label where it was that."""
    ignored = np.zeros(label.shape, bool)
    if options.ignore_label is not None:
        ignored = label == options.ignore_label
        label = np.where(ignored, 0, label)
    if options.activation == 'softmax':
        hard = _highest(label, options.axis) * _above(label, 0)
    else:
        hard = _above(label, threshold)
    return np.where(ignored, np.float32(options.ignore_label or 0), hard)


def _refuse_nan(pred, label, options):
    if not np.isnan(pred).any():
        return
    pixels = prepare(check_batch(pred, label, options), options)
    bad = np.isnan(counts_without_ignored(pixels, options.activation))
    if bad.any():
        (sample, index, pixel) = (int(i) for i in np.argwhere(bad)[0])
        raise ValueError(_format('pred must be a number where it counts, for example 0.5, as NaN decides for no class; got nan in sample {0}, class {1}, pixel {2} of {3}',
                sample, index, pixel, bad.shape[2]))


def _count(hard, label, plan):
    """Stage 1 of zeros and ones.  The sums are whole numbers, far below where float64 has gaps."""
    reading = DiceOptions(activation='none', sparse_label=plan.dice.sparse_label,
            axis=plan.dice.axis, ignore_label=plan.dice.ignore_label)
    (sums, _) = stages_count(check_batch(hard, label, reading), resolve(reading, plan.num_classes))
    (tp, predicted, labelled) = (each[:, list(plan.counted)].astype(np.int64) for each in sums[:3])
    return HardCounts(tp, predicted - tp, labelled - tp)


def _count_decided(pred, label, num_classes, options):
    if not isinstance(num_classes, numbers.Integral) or num_classes < 2:
        raise ValueError(_format('num_classes must be a whole number >= 2, for example 2 for a mask; got {0!r}',
                num_classes))
    if not options.sparse_label:
        raise ValueError('num_classes says that pred holds classes, so sparse_label must be True')
    if pred.shape != label.shape or pred.ndim == 0:
        raise ValueError(_format('pred and label must have one shape, for example (2, 9, 8) each, where num_classes says that pred holds classes (leave it out for scores); got {0} and {1}',
                pred.shape, label.shape))
    reading = options.replace(activation='none', axis=1)
    (pred, label) = (array.reshape(len(array), -1) for array in (pred, label))
    good = (pred >= 0) & (pred < num_classes) & (pred == np.floor(pred))
    if options.ignore_label is not None:
        good |= label == options.ignore_label
    if not good.all():
        raise ValueError(_format('pred must hold whole numbers in [0, {0}); got {1}', num_classes,
                written(pred[~good][0])))
    hard = counts_one_hot(pred, int(num_classes), np.dtype(np.float32))
    return _count(hard, label, resolve(reading, int(num_classes)))


def _mean_of_known(values):
    """Mean over the first axis without NaN; NaN where all are."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


# --- caffe_layers.metric -------------------------------------------------------------------------
#
# DiceScoreLayer: translates blobs; the metric is that of soft_dice.

UNSEEN = -1.0


class DiceScoreLayer(_Layer):
    """Dice of what a network decides, over the whole of a test run::

        layer {
          name: "dice"  type: "Python"  include { phase: TEST }
          bottom: "score"  bottom: "label"  top: "dice"  top: "dice_per_class"
          python_param { module: "soft_dice_layer"  layer: "DiceScoreLayer"
                         param_str: '{"ignore_label": 255}' }
        }

    :func:`soft_dice.hard_counts` says how a prediction is decided.

    Caffe prints the mean of a top over the test_iter forwards of a run.  The mean of Dice over
    batches is not that of the set, so forward t outputs t D_t - (t - 1) D_(t-1), with D_t the Dice
    over all batches so far: the mean of these is D_t.  A single output may lie outside [0, 1].

    A new run begins when a layer of this package, in the TRAIN net of the same process, has trained
    in between: SoftDiceLossLayer, or a DiceScoreLayer without ``include``, which in phase TRAIN
    gives the Dice of each batch.  Without one, ``"test_iter"`` must say how many forwards a run
    has.  ``caffe test`` is one run.  From Python, ``net.layer_dict['dice'].reset()`` begins one,
    and ``.counts`` is what was counted in it, a :class:`soft_dice.HardCounts`.

    ``param_str`` is a JSON object or a Python dict literal with

    - activation, sparse_label, classes, include_background, ignore_label and resize, as of the
      loss, or "preset", which brings them;
    - threshold, beta (of F-beta), empty, empty_by, per_image, metric and average (that of the first
      top), as of :func:`soft_dice.hard_dice`;
    - test_iter.

    Bottoms
    -------
    0 : prediction (N, C, ...).
    1 : label (N, 1, ...) or (N, ...) class indices; with ``"sparse_label": false`` as prediction.

    Tops
    ----
    0 : mean over the classes, or what ``average`` says, a scalar.
    1 : each counted class, (K,), optional.

    Where empty is "nan", a class that was neither predicted nor labelled in the whole run gives -1,
    as Caffe's sum could not take a NaN back when the class comes; the mean leaves it out.

    Raises
    ------
    ValueError, TypeError : options, number of bottoms or tops, shapes, label values or NaN in the
        prediction, as :func:`soft_dice.hard_counts`; test_iter that is missing or not the solver's;
        a ``loss_weight``, as a decision has no gradient.
    """

    @reported
    def setup(self, bottom, top):
        fields = params_fields(self.param_str, MetricOptions)
        runs = Runs(check_test_iter(fields.pop('test_iter', None)))
        options = params_of_caffe(MetricOptions.from_dict(fields))
        if len(bottom) != 2:
            raise ValueError(_format('DiceScoreLayer takes the bottoms prediction and label; got {0}',
                    len(bottom)))
        if len(top) not in (1, 2):
            raise ValueError(_format('DiceScoreLayer has the tops mean and, if wanted, Dice per class; got {0}',
                    len(top)))
        (self.options, self._runs, self._tally) = (options, runs, Tally(options))
        note_setup(self)

    def reset(self):
        """Begin a new test run with the next forward."""
        self._runs.reset()
        self._tally = Tally(self.options)

    @property
    def counts(self):
        """What was counted in this test run; None before its first forward."""
        return self._tally.counts

    @reported
    def reshape(self, bottom, top):
        check_shapes(self.options.dice, tuple(bottom[0].shape), tuple(bottom[1].shape))
        plan = resolve(self.options, bottom[0].shape[1])
        top[0].reshape()
        if len(top) == 2:
            top[1].reshape(len(plan.counted))

    @reported
    def forward(self, bottom, top):
        note_forward(self)
        counts = hard_counts(bottom[0].data, bottom[1].data, self.options.dice,
                self.options.threshold)
        testing = self.phase == caffe.TEST
        if testing:
            self._runs.forward()
        if not testing or self._runs.forwards == 1:
            self._tally = Tally(self.options)
            self._summed = np.zeros(1, np.float32)
        self._tally.add(counts)
        values = np.array(list(_chain((self._tally.mean(),), self._tally.per_class())))
        values = np.where(np.isnan(values), UNSEEN, values)
        if testing:
            values = (self._runs.forwards * values - self._summed).astype(np.float32)
            self._summed = self._summed + values
        top[0].data[...] = values[0]
        if len(top) == 2:
            top[1].data[...] = values[1:]

    @reported
    def backward(self, top, propagate_down, bottom):
        if any((top[i].diff.any() for i in range(len(top)))):
            raise ValueError('a decision has no gradient: leave out the loss_weight of DiceScoreLayer, and train with SoftDiceLossLayer')
        for i in range(len(bottom)):
            if propagate_down[i]:
                bottom[i].diff[...] = 0


def check_test_iter(value):
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ValueError(_format("test_iter must be a whole number >= 1, the solver's, for example 20; got {0!r}",
                value))
    return value


# --- soft_dice.presets ---------------------------------------------------------------------------
#
# The published losses by name, with the options that reproduce each of them exactly.


class Preset(_named_tuple('Preset', ['title', 'formula', 'source', 'differs', 'options'])):
    """A published loss.

    title, formula, source, differs : as of :class:`soft_dice.published.Published`.
    options : those that compute it, DiceOptions or, in ``compound_presets``, DiceCEOptions.
    """
    __slots__ = ()


def preset(name):
    """The options of a published loss: ``preset('monai')`` are DiceOptions, and those of a loss
    with a cross-entropy, such as ``preset('nnunet_dice_ce')``, are DiceCEOptions.

    Raises
    ------
    ValueError : an unknown name; the message lists the names.
    """
    published_find(name, compound=True)
    return _merged(presets, compound_presets)[name].options


def _presets(losses, kind):
    return _Dict(((name, Preset(each.title, each.formula, each.source, each.differs,
            kind(**each.fields))) for (name, each) in losses.items()))

presets = _presets(published_PUBLISHED, DiceOptions)

compound_presets = _presets(published_COMPOUND, DiceCEOptions)


# --- soft_dice.compound --------------------------------------------------------------------------
#
# The Dice loss with a cross-entropy.


def dice_ce_loss(pred, label, options=DiceCEOptions(), pixel_weight=None):
    """Dice loss plus cross-entropy of each sample, by default

        mean over classes of 1 - (2 sum p g + smooth) / (sum p + sum g + smooth)
        + mean over pixels of -log p of the pixel's class

    with p the softmax of pred and g the one-hot label.  :class:`DiceCEOptions` has the general
    formula: weights of the two and of classes, label smoothing, focal exponent, sigmoid.

    Parameters
    ----------
    pred : (N, C, ...) float16, which is computed in float32, float32 or float64 logits, any number
        of further axes.
    label : (N, ...) or (N, 1, ...) class indices of any numeric dtype; with
        ``sparse_label=False`` the shape of pred, values in [0, 1].
    options : DiceCEOptions, or the name of a preset, such as 'nnunet'.
    pixel_weight : (N, ...) or (N, 1, ...), finite and not negative; None is 1 everywhere.  The
        cross-entropy is divided by the weights' sum: 0 is an ignored pixel.

    Returns
    -------
    (N,) float64.

    Raises
    ------
    ValueError : as :func:`soft_dice.soft_dice_loss`.
    TypeError : options of another kind.

    Examples
    --------
    >>> logits = np.zeros((1, 2, 2))  # p is 1/2 everywhere
    >>> dice_ce_loss(logits, np.array([[0, 1]])).round(6)  # 1/2 + log 2
    array([1.193145])

    References
    ----------
    Isensee et al.: nnU-Net, Nature Methods 2021; Lin et al.: Focal Loss, ICCV 2017.
    """
    return evaluate(pred, label, require(options, DiceCEOptions), pixel_weight).loss


def dice_ce_loss_vjp(pred, label, options=DiceCEOptions(), pixel_weight=None):
    """The loss of :func:`dice_ce_loss`, and the function that takes it back to pred.

    Returns
    -------
    loss : as :func:`dice_ce_loss`.
    vjp : (upstream, out=None) -> gradient of sum(upstream * loss), as of
        :func:`soft_dice.soft_dice_loss_vjp`.

    Examples
    --------
    >>> loss, vjp = dice_ce_loss_vjp(np.zeros((1, 2, 4)), np.array([[0, 0, 0, 1]]))
    >>> vjp(1 / len(loss)).shape
    (1, 2, 4)
    """
    result = evaluate(pred, label, require(options, DiceCEOptions), pixel_weight)
    return (result.loss, result.vjp)


# --- soft_dice.checker.numeric -------------------------------------------------------------------
#
# Numeric derivatives of a function near a point, along lines, and gradients compared with them.
#
# There is one way to take a derivative.  The central difference of the values a step up and a step
# down a line has an error that falls as the square of the step.  Two of them, with different steps,
# are extrapolated to a step of 0 (Richardson), and the error falls as the fourth power.
#
# - ``Point.stencil`` extrapolates from the steps 2h and h: this is the 4-point stencil.  It suits a
#   function that is exact to float64.
# - ``Point.derivatives`` tries one pair of steps after the other.  It suits a function whose value
#   carries rounding noise, and returns an error bar.
#
# Nothing here knows what a loss is.

STEPS = _Dict([('float32', 2.0 ** (-np.arange(1, 10))), ('float64', 4.0 ** (-np.arange(3, 11)))])

ENOUGH = _Dict([('float32', 0.0001), ('float64', 1e-07)])


def relative_error(a, b):
    """||a - b|| / max(||a||, ||b||); 0 where both are zero, inf where one is not finite."""
    (a, b) = (np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64))
    if a.shape != b.shape:
        raise ValueError(_format('a and b must have one shape; got {0} and {1}', a.shape, b.shape))
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float('inf')
    size = max(np.linalg.norm(a), np.linalg.norm(b))
    return float(np.linalg.norm(a - b) / size) if size else 0.0


def rms(x):
    return float(np.sqrt(np.mean(np.square(x))))


def quantum(size, dtype):
    """The distance between neighbouring numbers of this size."""
    return float(np.spacing(np.dtype(dtype).type(max(abs(size), 1e-30))))


class Central(_named_tuple('Central', ['up', 'down', 'step'])):
    """The values a step up and a step down each of K lines, (K,)."""
    __slots__ = ()

    @property
    def derivative(self):
        return (self.up - self.down) / (2 * self.step)

    def bend(self, middle):
        return self.up - 2 * middle + self.down


class Derivatives(_named_tuple('Derivatives', ['value', 'bar', 'step'])):
    """value : (K,), derivative along each line.  bar : its error, root mean square over lines.
    step : the step it was taken with."""
    __slots__ = ()


class Point(object):
    """A function near one point.

    function : of a move away from the point, an array, to a number.
    dtype : 'float32' or 'float64', what the function computes in.
    size : of the numbers that the function's value comes from, where it may be smaller itself.
    evaluations : how often it was called so far.

    ``lines`` are moves, (K,) + the shape of one.
    """

    def __init__(self, function, dtype='float64', size=0.0):
        (self.dtype, self.size) = (dtype, size)
        self.evaluations = 0
        self._function = function
        self._noise = None

    def at(self, move):
        self.evaluations += 1
        return self._function(move)

    def _values(self, moves):
        """Infinity becomes NaN, as the difference of two would, which would also warn."""
        values = np.array(list((self.at(move) for move in moves)))
        return np.where(np.isfinite(values), values, np.nan)

    def central(self, lines, step):
        return Central(self._values((step * line for line in lines)), self._values((-step * line
                for line in lines)), step)

    def stencil(self, lines, step):
        """(f(-2h) - 8 f(-h) + 8 f(h) - f(2h)) / 12 h along each line, where h is ``step``."""
        return _extrapolated(self.central(lines, 2 * step), self.central(lines, step))

    def noise(self, lines):
        """Standard deviation of the rounding errors in the function's value, measured once.

        Third differences of 8 values a hair apart hold no trend any more, only noise, whose
        variance they multiply by 20; a kink among the values spoils one line and not the median
        (Moré and Wild: Estimating computational noise, SIAM J. Sci. Comput. 2011).
        """
        if self._noise is not None:
            return self._noise
        hair = 2.0 ** (-12) if self.dtype == 'float32' else 2.0 ** (-24)
        values = list((self._values((t * hair * line for t in range(8))) for line in lines))
        found = list((rms(np.diff(each, 3)) / np.sqrt(20) for each in values))
        size = max(abs(values[0][0]), self.size)
        self._noise = max(float(np.median(found)), 0.3 * quantum(size, self.dtype))
        return self._noise

    def derivatives(self, lines, noise):
        """The derivative along each line, with an error bar.

        The step is the one where the extrapolation moves least from the step before, over all
        lines together, as over one alone it may stand still by accident.  That and ``noise`` make
        the error bar.  Kinks (max, relu, abs) inside a step show in the second difference; they
        widen the bar or call for a smaller step, and so are not taken for a wrong gradient.
        """
        steps = STEPS[self.dtype]
        best = Derivatives(_np_full(len(lines), np.nan), float('inf'), float(steps[-1]))
        middle = self.at(np.zeros_like(lines[0]))
        (coarse, previous) = (self.central(lines, steps[0]), None)
        for step in steps[1:]:
            fine = self.central(lines, step)
            value = _extrapolated(coarse, fine)
            if previous is not None:
                bar = float(np.linalg.norm([rms(value - previous), _kink(coarse, fine, middle),
                        noise / step]))
                if bar < best.bar:
                    best = Derivatives(value, bar, float(step))
            if noise / step > best.bar or best.bar < ENOUGH[self.dtype] * rms(best.value):
                break
            (coarse, previous) = (fine, value)
        return best

    def piecewise_constant(self, lines):
        """Does the value stand still and jump, as an argmax or a threshold does?

        On the shortest stretch over which it changes by 64 float32 roundings, a smooth function
        changes from each of 12 points to the next, and a staircase at a few.
        """
        start = self.at(np.zeros_like(lines[0]))
        least = 64 * quantum(start, 'float32')
        still = []
        for line in lines:
            for length in 2.0 ** np.arange(-20, 1):
                if abs(self.at(length * line) - start) > least:
                    values = list((self.at(t * length * line) for t in np.linspace(0, 1, 12)))
                    still.append(np.mean(np.diff(values) == 0))
                    break
        return not still or bool(np.mean(still) > 0.4)


def _extrapolated(coarse, fine):
    q = coarse.step / fine.step
    return (q ** 2 * fine.derivative - coarse.derivative) / (q ** 2 - 1)


def _kink(coarse, fine, middle):
    """How far kinks may move the derivative: of a smooth function bends are as the squares of the
    steps; a kink's are not."""
    q = coarse.step / fine.step
    return rms(coarse.bend(middle) - q ** 2 * fine.bend(middle)) / (2 * coarse.step)


def along(gradient, lines):
    """The derivative along each line, (K,), that a gradient claims."""
    with np.errstate(invalid='ignore'):
        return _np_matmul(lines.reshape(len(lines), -1), gradient.ravel())


# --- soft_dice.version ---------------------------------------------------------------------------
#
# The version of all three packages; setup.py reads it from here, and the one file has it too.

__version__ = '0.1.0'


# --- caffe_layers.bundle.proof -------------------------------------------------------------------
#
# What the one file does when it is run: it proves its gradients, in seconds and without Caffe.
#
# Where Caffe is there, one of its nets is run as well, in a process of its own, as Caffe ends a
# process for many a mistake.

(TOLERANCE, IN_FLOAT32) = (1e-08, 1e-05)

ACTIVATIONS = ('softmax', 'sigmoid', 'none')

GENERALISED = _Dict([('pool_classes', True), ('class_weights', 'inverse_square')])

ROWS = [('one_minus', _merged()), ('negative', _Dict([('form', 'negative')])), ('log',
        _Dict([('form', 'log')])), ('log_cosh', _Dict([('form', 'log_cosh')])),
        ('one_minus, gamma 2', _Dict([('gamma', 2.0)])), ('Tversky, no background',
        _Dict([('alpha', 0.3), ('beta', 0.7), ('include_background', False)])),
        ('Jaccard by l1, squares', _Dict([('alpha', 1), ('beta', 1), ('overlap', 'l1'),
        ('exponent', 2)])), ('generalised, per batch', _merged(_Dict([('batch_dice', True)]),
        GENERALISED)), ('per class, absent skipped', _Dict([('class_reduction', 'none'), ('absent',
        'skip')])), ('another size of label', _Dict([('resize', 'bilinear')]))]

CE_ROWS = [('with cross-entropy', _merged()), ('with focal cross-entropy', _Dict([('ce_gamma',
        2.0), ('label_smoothing', 0.1), ('ce_class_weights', [0.5, 1, 2, 1])]))]

NET = 'force_backward: true\ninput: "score"  input_dim: 2  input_dim: 4  input_dim: 5  input_dim: 6\ninput: "label"  input_dim: 2  input_dim: 1  input_dim: 5  input_dim: 6\nlayer {\n  name: "loss"  type: "Python"  loss_weight: 3\n  bottom: "score"  bottom: "label"  top: "loss"\n  python_param { module: "%s"  layer: "SoftDiceLossLayer" }\n}\n'


def main(module, arguments):
    """Exit status 0 where all gradients are right, otherwise 1.

    module : the name that a prototxt has to give.
    arguments : none, or '--version'; '--in-caffe' is what this tells the process of its own.
    """
    if list(arguments) == ['--version']:
        print(_format('gluon-dice {0}', __version__))
        return 0
    if list(arguments) == ['--in-caffe']:
        print(error_in_caffe(module))
        return 0
    print(_format('Is each backward the gradient of its forward?  Relative errors; they must be below {0:g}.',
            TOLERANCE))
    print(_line('', *ACTIVATIONS))
    errors = list((error for row in ROWS for error in _row(*_chain(row, (DiceOptions,
            ACTIVATIONS)))))
    errors += list((error for row in CE_ROWS for error in _row(*_chain(row, (DiceCEOptions,
            ACTIVATIONS[:2])))))
    good = all((error < TOLERANCE for error in errors))
    (said, good_in_caffe) = in_caffe(module)
    print(said)
    print(_format('{0} gradients, Python {1}, NumPy {2}: ', len(errors), sys.version.split()[0],
            np.__version__) + ('all is well.' if good and good_in_caffe
            else 'SOMETHING IS WRONG.'))
    return 0 if good and good_in_caffe else 1


def _row(title, fields, kind, activations):
    """Prints a row of the table; returns its errors."""
    errors = list((gradient_error(kind, activation, fields) for activation in activations))
    print(_line(title, *(_format('{0:.0e}', error) + ' WRONG' * (not error < TOLERANCE)
            for error in errors)))
    return errors


def _line(title, *cells):
    return (title.ljust(28) + ''.join((cell.ljust(13) for cell in cells))).rstrip()


def gradient_error(kind, activation, fields):
    """Between a vjp and finite differences along 8 random lines, in float64."""
    rng = np.random.RandomState(0)
    (pred, label) = example(rng, activation)
    if 'resize' in fields:
        pred = pred[:, :, :3, 1:]
    weight = rng.uniform(0, 2, (2, 5, 6))
    options = kind(activation=activation, sparse_label=activation != 'sigmoid', ignore_label=255,
            **fields)

    def loss(move):
        return evaluate(pred + move, label, options, weight)
    result = loss(0)
    upstream = rng.uniform(0.5, 1.5, result.loss.shape) * -1.5
    lines = rng.choice([-1.0, 1.0], (8,) + pred.shape)
    point = Point(lambda move: float(np.sum(upstream * loss(move).loss)))
    return relative_error(along(result.vjp(upstream), lines), point.stencil(lines, 0.001))


def example(rng, activation):
    """A prediction and its label, in which some pixels are ignored and a class is rare."""
    pred = rng.uniform(0.05, 0.95, (2, 4, 5, 6))
    if activation != 'none':
        pred = 2 * rng.standard_normal(pred.shape)
    label = rng.randint(0, 3, (2, 5, 6)).astype(float)
    (label[0, 0, :3], label[1, 4, 5]) = (255, 3)
    if activation != 'sigmoid':
        return (pred, label)
    dense = (rng.uniform(size=pred.shape) < 0.4).astype(float)
    return (pred, np.where(label[:, None] == 255, 255, dense))


def in_caffe(module):
    """What is to be said of a net in Caffe, and whether it is good."""
    if caffe is None:
        return ('Caffe cannot be imported by this Python; nothing above needs it.', True)
    process = subprocess.Popen([sys.executable, os.path.abspath(__file__), '--in-caffe'],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_Dict(os.environ,
            GLOG_minloglevel='2'))
    (output, errors) = (each.decode('utf-8', 'replace') for each in process.communicate())
    if process.returncode:
        told = list((line for line in errors.splitlines() if line.strip())) or ['nothing was said']
        return (_format('In Caffe the layer does not run WRONG.  Is it built with WITH_PYTHON_LAYER := 1?  It said: {0}',
                told[-1]), False)
    error = float(output.split()[-1])
    good = error < IN_FLOAT32
    return (_format('In a net of this Caffe, with loss_weight 3: {0:.0e}',
            error) + ' WRONG' * (not good), good)


def error_in_caffe(module):
    """Of the gradient that a net in Caffe gives."""
    (pred, label) = example(np.random.RandomState(0), 'softmax')
    label[label == 255] = 0
    with tempfile.NamedTemporaryFile('w', suffix='.prototxt') as file:
        file.write(NET % module)
        file.flush()
        net = caffe.Net(file.name, caffe.TRAIN)
    (net.blobs['score'].data[...], net.blobs['label'].data[...]) = (pred, label[:, None])
    net.forward()
    net.backward()
    wanted = evaluate(pred, label, DiceOptions(), None).vjp(np.array([1.5, 1.5]))
    return relative_error(net.blobs['score'].diff, wanted)


__all__ = ['SoftDiceLossLayer', 'DiceCELossLayer', 'DiceScoreLayer', 'DiceOptions',
           'DiceCEOptions', 'preset', 'presets', 'compound_presets', 'soft_dice_loss',
           'soft_dice_loss_vjp', 'soft_dice_score', 'dice_ce_loss', 'dice_ce_loss_vjp',
           'HardCounts', 'hard_counts', 'hard_dice']

if __name__ == '__main__':
    sys.exit(main(os.path.splitext(os.path.basename(__file__))[0], sys.argv[1:]))
