"""Every refusal of a batch: what is given, and the whole message, for every backend.

A message is written by hand, as soft_dice/inputs.py, soft_dice/plan.py or soft_dice/counts.py say
it.  RULES says how each backend says it; where one says something else, or cannot be given such a
batch, the row names the backends, what happens there, and why.
"""
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from soft_dice import DiceCEOptions, DiceOptions
from soft_dice.options import Options

Names = Tuple[str, ...]

NUMPY = ('reference', 'kernels')
ARRAYS = ('gluon imperative', 'gluon hybridized')  # over MXNet's operators
ARRAYS_NATIVE = ('gluon native', 'gluon native hybridized')
GRAPHS = ('gluon nested', 'symbol')
GRAPHS_NATIVE = ('gluon native nested', 'symbol native')
ARRAYS_CUSTOM = ('gluon custom', 'gluon custom hybridized')
GRAPHS_CUSTOM = ('gluon custom nested', 'symbol custom')
CAFFE = ('caffe', 'caffe native')
MXNET = ARRAYS + ARRAYS_NATIVE + ARRAYS_CUSTOM + GRAPHS + GRAPHS_NATIVE + GRAPHS_CUSTOM
BACKENDS = NUMPY + MXNET + CAFFE

# What a backend can do with a batch, beside a ValueError with the message.
OPERATOR = 'the operator: '  # an MXNetError of soft_dice_counts, with the message or another one
MXNET_ERROR = 'an MXNetError in words of MXNet'
NAN = 'NaN in samples '  # and so the gradient of these, every element
SOME_NAN = 'NaN in samples [1], in some elements of the gradient'
LOSS = 'a loss'
CANNOT = 'cannot be given it'

RULES: Dict[str, Dict[Names, str]] = {
    # Where arrays are seen Python refuses; in a graph the operator does, or MXNet infers no shapes.
    'shape': {GRAPHS + GRAPHS_CUSTOM: MXNET_ERROR, GRAPHS_NATIVE: OPERATOR},
    # MXNet's operators cannot refuse a value, and a Custom operator must not.
    'value': {ARRAYS + GRAPHS + GRAPHS_CUSTOM: NAN + '[1]',
              ARRAYS_NATIVE + GRAPHS_NATIVE: OPERATOR},
    'activation': {GRAPHS: NAN + '[0, 1]', GRAPHS_NATIVE: OPERATOR, GRAPHS_CUSTOM: MXNET_ERROR},
    # Stage 2 is MXNet's operators in every graph.
    'classes': {GRAPHS + GRAPHS_NATIVE + GRAPHS_CUSTOM: MXNET_ERROR},
    # No graph knows the dtype, but a Custom operator does.
    'half': {GRAPHS + GRAPHS_NATIVE: LOSS, GRAPHS_CUSTOM: NAN + '[0, 1]', CAFFE: CANNOT},
    # Dtypes that neither framework has (the blobs of Caffe are float32), and the vjp's arguments.
    'numpy': {MXNET + CAFFE: CANNOT},
}

PRED = np.random.RandomState(0).uniform(0.1, 0.9, (2, 4, 3, 5)).astype('float32')
LABEL = np.random.RandomState(1).randint(0, 4, (2, 3, 5)).astype('float32')
DENSE = np.zeros_like(PRED)
WEIGHT = np.ones_like(LABEL)


class Refusal(NamedTuple):
    """``but`` : of some backends, what happens and why.

    options, upstream, out : of soft_dice_loss_vjp or, where a field begins with ce_, of
        dice_ce_loss_vjp.
    """

    name: str
    message: str
    pred: Any = PRED
    label: Any = LABEL
    pixel_weight: Any = None
    fields: Dict[str, Any] = {}
    but: Dict[Names, Tuple[str, str]] = {}
    upstream: Any = np.ones(2)
    out: Optional[np.ndarray] = None

    @property
    def options(self) -> Options:
        both = any(name.startswith('ce_') for name in self.fields)
        return (DiceCEOptions if both else DiceOptions)(**self.fields)

    def expected(self, rule: str) -> Dict[str, str]:
        """What happens on every backend."""
        found = dict.fromkeys(BACKENDS, self.message)
        exceptions = [*RULES[rule].items(), *((names, what) for names, (what, _) in
                                              self.but.items())]
        for names, what in exceptions:
            found.update(dict.fromkeys(names, what + self.message * (what == OPERATOR)))
        return found


def bad(array: np.ndarray, value: Any, dtype: Any = 'float32') -> np.ndarray:
    """The array in this dtype, with the value in sample 1, (class 2,) pixel 7."""
    array = array.astype(dtype)
    array[(1, 2, 1, 2) if array.ndim == 4 else (1, 1, 2)] = value
    return array


Exceptions = Dict[Names, Tuple[str, str]]


def in_graphs(message: str, why: str) -> Exceptions:
    """The operator says another message than where arrays are seen."""
    return {GRAPHS_NATIVE: (OPERATOR + message, why)}


def in_caffe(message: str) -> Exceptions:
    return {CAFFE: (message, 'its blobs are float32')}


# --- shapes ---------------------------------------------------------------------------------------

PER_PIXEL = ('must have one value per pixel of pred: for pred of shape (2, 4, 3, 5) that is '
             '(2, 3, 5) or (2, 1, 3, 5)')
LIKE_PRED = 'a dense label (sparse_label=False) must have the shape of pred, (2, 4, 3, 5)'
RESIZE = "; the option resize='bilinear' interpolates pred to this size"
EMPTY = 'pred must have at least one sample, class and pixel; got shape '
SPARSE, WIDE = dict(sparse_label=False), dict(resize='bilinear')

nothing = 'MXNet takes no array without elements'
flat = 'MXNet compares numbers of elements (docstring of SoftDiceLoss)'
weighs = "what resizes wants a weight of the label's size"
one_axis = 'a network resizes into one axis of pixels, and the operator sees that'
channels = 'the classes of Caffe are its channels, axis 1'

SHAPES = [
    Refusal('label of one sample', f'label {PER_PIXEL}; got (1, 3, 5)', label=LABEL[:1]),
    Refusal('label of more samples', f'label {PER_PIXEL}; got (4, 3, 5)',
            label=np.concatenate([LABEL, LABEL])),
    Refusal('label with its axes swapped', f'label {PER_PIXEL}; got (2, 5, 3){RESIZE}',
            label=LABEL.transpose(0, 2, 1),
            but={GRAPHS: (LOSS, flat)}),
    Refusal('label of fewer pixels', f'label {PER_PIXEL}; got (2, 1, 5){RESIZE}',
            label=LABEL[:, :1]),
    Refusal('label of one pixel', f'label {PER_PIXEL}; got (2, 1, 1, 1){RESIZE}',
            label=LABEL[:, None, :1, :1]),
    Refusal('label of one axis fewer', f'label {PER_PIXEL}; got (2, 15)',
            label=LABEL.reshape(2, 15),
            but={GRAPHS: (LOSS, flat)}),
    Refusal('label of the same total', f'label {PER_PIXEL}; got (6, 5)',
            label=LABEL.reshape(6, 5)),
    Refusal('label that is one number', f'label {PER_PIXEL}; got ()', label=np.float32(0),
            but={GRAPHS_NATIVE[:1]: (CANNOT, 'its shape is none to MXNet, whose error in the '
                                             'backward hides that of the operator'),
                 GRAPHS_NATIVE[1:]: (OPERATOR + 'label and pixel_weight must have a shape; to MXNet'
                                     ' a single number has none', 'it is seen when it runs')}),
    Refusal('dense for sparse', f'label {PER_PIXEL}, or sparse_label=False for one value per class;'
                                ' got (2, 4, 3, 5)', label=DENSE),
    Refusal('sparse for dense', f'{LIKE_PRED}; got (2, 3, 5)', fields=SPARSE),
    Refusal('dense label of one sample', f'{LIKE_PRED}; got (1, 4, 3, 5)', label=DENSE[:1],
            fields=SPARSE),
    Refusal('dense label of one class', f'{LIKE_PRED}; got (2, 1, 3, 5)', label=DENSE[:, :1],
            fields=SPARSE),
    Refusal('dense label of fewer pixels', f'{LIKE_PRED}; got (2, 4, 3, 4){RESIZE}',
            label=DENSE[..., :4], fields=SPARSE),
    Refusal('weight of one sample', f'pixel_weight {PER_PIXEL}; got (1, 3, 5)',
            pixel_weight=WEIGHT[:1]),
    Refusal('weight of one pixel', f'pixel_weight {PER_PIXEL}; got (2, 1, 1)',
            pixel_weight=WEIGHT[:, :1, :1]),
    Refusal('weight per class', f'pixel_weight {PER_PIXEL}; got (2, 4, 3, 5)',
            pixel_weight=np.ones_like(PRED)),
    Refusal('weight that is one number', f'pixel_weight {PER_PIXEL}; got ()',
            pixel_weight=np.float32(1),
            but={GRAPHS_NATIVE: (CANNOT, 'its shape is none to MXNet, which then writes behind a '
                                         'buffer of its own')}),
    Refusal('weight beside a dense label', f'pixel_weight {PER_PIXEL}; got (2, 4, 3, 5)',
            label=DENSE, pixel_weight=np.ones_like(PRED), fields=SPARSE),
    Refusal('label of one sample, cross-entropy', f'label {PER_PIXEL}; got (1, 3, 5)',
            label=LABEL[:1], fields=dict(ce_weight=2)),

    Refusal('resized, label of one sample',
            'label must have one value per pixel of pred: for pred of shape (2, 4, 9, 8) that is '
            '(2, 9, 8) or (2, 1, 9, 8); got (1, 9, 8); pred has the shape (2, 4, 3, 5) before it '
            'is resized', label=np.zeros((1, 9, 8)), fields=WIDE,
            but=in_graphs('label must have one value per pixel of pred: for pred of shape '
                          '(2, 4, 72) that is (2, 72) or (2, 1, 72); got (1, 72)', one_axis)),
    Refusal('resized, dense label of fewer classes',
            'a dense label (sparse_label=False) must have the shape of pred, (2, 4, 9, 8); got '
            '(2, 3, 9, 8); pred has the shape (2, 4, 3, 5) before it is resized',
            label=np.zeros((2, 3, 9, 8)), fields={**WIDE, **SPARSE},
            but=in_graphs('a dense label (sparse_label=False) must have the shape of pred, '
                          '(2, 4, 72); got (2, 3, 72)', one_axis)),
    Refusal('resized, index label for a dense one',
            'a dense label (sparse_label=False) must have the shape of pred, (2, 4, 3, 5); got '
            '(2, 9, 8); pred has the shape (2, 4, 3, 5) before it is resized',
            label=np.zeros((2, 9, 8)), fields={**WIDE, **SPARSE},
            but=in_graphs('a dense label (sparse_label=False) must have the shape of pred, '
                          '(2, 4, 8); got (2, 9, 8)', one_axis)),
    Refusal('resized, weight of one sample',
            'pixel_weight must have one value per pixel of pred: for pred of shape (2, 4, 9, 8) '
            'that is (2, 9, 8) or (2, 1, 9, 8); got (1, 9, 8); pred has the shape (2, 4, 3, 5) '
            'before it is resized', label=np.zeros((2, 9, 8)), pixel_weight=np.ones((1, 9, 8)),
            fields=WIDE, but={GRAPHS_NATIVE: (MXNET_ERROR, weighs)}),
    Refusal("resized, weight of the prediction's size",
            'pixel_weight must have one value per pixel of pred: for pred of shape (2, 4, 9, 8) '
            'that is (2, 9, 8) or (2, 1, 9, 8); got (2, 3, 5); pred has the shape (2, 4, 3, 5) '
            'before it is resized', label=np.zeros((2, 9, 8)), pixel_weight=WEIGHT, fields=WIDE,
            but={GRAPHS_NATIVE: (MXNET_ERROR, weighs)}),
    Refusal('resized, label without pixels',
            'label must have at least one pixel; got shape (2, 0, 8)', label=np.zeros((2, 0, 8)),
            fields=WIDE, but={GRAPHS_NATIVE: (MXNET_ERROR, nothing)}),

    Refusal('pred of one axis', 'pred must have a batch axis and a class axis, for example '
                                '(2, 4, 9, 8); got shape (4,)', pred=np.zeros(4, 'float32'),
            label=np.zeros(4, 'float32'), upstream=np.ones(4)),
    Refusal('axis behind the last', 'axis must be an axis of pred, which has 4; got axis=4',
            fields=dict(axis=4),
            but={CAFFE: ('axis must be 1, the channels of Caffe; got 4', channels)}),
    Refusal('axis before the first', 'axis must be an axis of pred, which has 4; got axis=-5',
            fields=dict(axis=-5),
            but={CAFFE: ('axis must be 1, the channels of Caffe; got -5', channels)}),
    Refusal('axis of the batch', 'axis must not be the batch axis, 0; axis=-4 is, for pred of '
                                 'shape (2, 4, 3, 5)', fields=dict(axis=-4),
            but={CAFFE: ('axis must be 1, the channels of Caffe; got -4', channels)}),
    Refusal('no samples', f'{EMPTY}(0, 4, 3, 5)', pred=PRED[:0], label=LABEL[:0],
            but={MXNET: (MXNET_ERROR, nothing)}),
    Refusal('no classes', f'{EMPTY}(2, 0, 3, 5)', pred=PRED[:, :0],
            but={MXNET: (MXNET_ERROR, nothing)}),
    Refusal('no pixels', f'{EMPTY}(2, 4, 0, 5)', pred=PRED[:, :, :0], label=LABEL[:, :0],
            but={MXNET: (MXNET_ERROR, nothing)}),
]


# --- values ---------------------------------------------------------------------------------------

def index(got: str, allowed: str = '[0, 4), for example 3') -> str:
    return f'label must be a whole number in {allowed}; got {got} in sample 1, pixel 7 of 15'


def dense(got: str, allowed: str = '[0, 1]') -> str:
    return (f'a dense label must lie in {allowed}, for example 0.5; got {got} in sample 1, class 2,'
            ' pixel 7 of 15')


def weight(got: str) -> str:
    return ('pixel_weight must be finite and not negative, for example 0.5; got '
            f'{got} in sample 1, pixel 7 of 15')


def power(got: str, exponent: str = '1.5') -> str:
    return (f"a negative prediction has no power {exponent}: with activation='none' use "
            f'predictions in [0, 1] or a whole exponent, for example 2; got {got} in sample 1, '
            'class 2, pixel 7')


powerless = 'to MXNet the power itself is NaN, which spoils the gradient of this class alone'
unseen = 'Python looks at labels and weights, which are there, and waits for no prediction'
as_float32 = 'the kernels read float16 as float32, and the blobs of Caffe are that'

VALUES = [
    Refusal('label too large', index('4.0'), label=bad(LABEL, 4)),
    Refusal('label 20', index('20.0'), label=bad(LABEL, 20)),
    Refusal('label 1e5', index('100000.0'), label=bad(LABEL, 1e5)),
    Refusal('label 1e15', index('1000000000000000.0'), label=bad(LABEL, 1e15)),
    Refusal('label 1e20', index('1e+20'), label=bad(LABEL, 1e20)),
    Refusal('label 1e-4', index('0.0001'), label=bad(LABEL, 1e-4)),
    Refusal('label negative', index('-1.0'), label=bad(LABEL, -1)),
    Refusal('label fractional', index('1.7'), label=bad(LABEL, 1.7)),
    Refusal('label NaN', index('nan'), label=bad(LABEL, np.nan)),
    Refusal('label infinite', index('inf'), label=bad(LABEL, np.inf)),
    Refusal('label minus infinite', index('-inf'), label=bad(LABEL, -np.inf)),
    Refusal('label of a third, float64', index('0.3333333333333333'),
            label=bad(LABEL, 1 / 3, 'float64'), but=in_caffe(index('0.33333334'))),
    Refusal('label of 1e-4, float64', index('0.0001'), label=bad(LABEL, 1e-4, 'float64')),
    Refusal('label -1, int32', index('-1'), label=bad(LABEL, -1, 'int32'),
            but=in_caffe(index('-1.0'))),
    Refusal('label 255, uint8', index('255'), label=bad(LABEL, 255, 'uint8'),
            but=in_caffe(index('255.0'))),
    Refusal('label -2^31, int32', index('-2147483648'), label=bad(LABEL, -2 ** 31, 'int32'),
            but=in_caffe(index('-2147483600.0'))),
    Refusal('label 2^62, int64', index('4611686018427387904'), label=bad(LABEL, 2 ** 62, 'int64'),
            but=in_caffe(index('4.611686e+18'))),
    Refusal('label 1.7, float16', index('1.7'), label=bad(LABEL, 1.7, 'float16'),
            but={('kernels', *CAFFE): (index('1.7001953'), as_float32),
                 ARRAYS_NATIVE + GRAPHS_NATIVE: (OPERATOR + index('1.7001953'), as_float32)}),
    Refusal('label 255, uint64', index('255'), label=bad(LABEL, 255, 'uint64'),
            but={MXNET: (CANNOT, 'MXNet has no uint64'),
                 ('kernels', *CAFFE): (index('255.0'), 'the kernels read it as float64')}),
    Refusal('label 254 beside an ignored one',
            index('254.0', '[0, 4) or ignore_label=255, for example 3'), label=bad(LABEL, 254),
            fields=dict(ignore_label=255)),
    Refusal('label beside the largest ignore_label',
            index('-1.0', '[0, 4) or ignore_label=16777216, for example 3'), label=bad(LABEL, -1),
            fields=dict(ignore_label=2 ** 24)),
    Refusal('label of one channel', index('2.0', '[0, 2), for example 1'), pred=PRED[:, :1],
            label=bad(LABEL > 1, 2), fields=dict(activation='sigmoid')),
    Refusal('label, cross-entropy', index('4.0'), label=bad(LABEL, 4), fields=dict(ce_weight=2)),
    Refusal('label and weight', index('4.0'), label=bad(LABEL, 4),
            pixel_weight=bad(WEIGHT, -1)),

    Refusal('dense label above 1', dense('1.25'), label=bad(DENSE, 1.25), fields=SPARSE),
    Refusal('dense label below 0', dense('-0.1'), label=bad(DENSE, -0.1), fields=SPARSE),
    Refusal('dense label NaN', dense('nan'), label=bad(DENSE, np.nan), fields=SPARSE),
    Refusal('dense label beside an ignored one', dense('-0.5', '[0, 1] or ignore_label=-1'),
            label=bad(DENSE, -0.5), fields=dict(sparse_label=False, ignore_label=-1)),
    Refusal('dense label, cross-entropy', dense('1.25'), label=bad(DENSE, 1.25),
            fields=dict(sparse_label=False, ce_weight=2)),

    Refusal('weight negative', weight('-0.5'), pixel_weight=bad(WEIGHT, -0.5)),
    Refusal('weight NaN', weight('nan'), pixel_weight=bad(WEIGHT, np.nan)),
    Refusal('weight infinite', weight('inf'), pixel_weight=bad(WEIGHT, np.inf)),
    Refusal('weight -1, int32', weight('-1'), pixel_weight=bad(WEIGHT, -1, 'int32'),
            but=in_caffe(weight('-1.0'))),

    Refusal('weight and prediction', weight('-1.0'), pred=bad(PRED, -0.25),
            pixel_weight=bad(WEIGHT, -1), fields=dict(activation='none', exponent=1.5)),
    Refusal('negative prediction', power('-0.25'), pred=bad(PRED, -0.25),
            fields=dict(activation='none', exponent=1.5),
            but={ARRAYS + GRAPHS: (SOME_NAN, powerless), ARRAYS_CUSTOM: (NAN + '[1]', unseen)}),
    Refusal('negative prediction, float64', power('-0.1', '2.25'),
            pred=bad(PRED, -0.1, 'float64'), fields=dict(activation='none', exponent=2.25),
            but={ARRAYS + GRAPHS: (SOME_NAN, powerless), ARRAYS_CUSTOM: (NAN + '[1]', unseen)}),
]


# --- options that do not fit the number of classes ------------------------------------------------

ACTIVATIONS = [
    Refusal('softmax of one class', "activation='softmax' over one class is always 1; for a binary "
            "prediction of one channel use activation='sigmoid'", pred=PRED[:, :1],
            label=np.zeros_like(LABEL)),
    Refusal('sigmoid with index labels', "activation='sigmoid' with index labels needs a prediction"
            " of one channel; use activation='softmax', or sparse_label=False with a label per "
            'class; got 4 classes', label=np.zeros_like(LABEL), fields=dict(activation='sigmoid')),
    Refusal('softmax of one class, cross-entropy',
            "activation='softmax' over one class is always 1; for a binary prediction of one "
            "channel use activation='sigmoid'", pred=PRED[:, :1], label=np.zeros_like(LABEL),
            fields=dict(ce_weight=2)),
    Refusal('softmax of one class, dense',
            "activation='softmax' over one class is always 1; for a binary prediction of one "
            "channel use activation='sigmoid'", pred=PRED[:, :1], label=DENSE[:, :1],
            fields=SPARSE,
            but={GRAPHS: (LOSS, 'they look at the number of classes for index labels only')}),
]

NO_WEIGHT = ('class_weights must be above 0 for a class that counts; got (1.0, 0.0, 0.0, 0.0) with '
             'counted classes (1, 2, 3)')
uncounted = 'a graph does not know how many classes there are; num_classes tells it'

CLASSES = [
    Refusal('class behind the last', 'classes must lie in [-4, 4) for a prediction of 4 classes; '
                                     'got 4', fields=dict(classes=[4])),
    Refusal('class before the first', 'classes must lie in [-4, 4) for a prediction of 4 classes; '
                                      'got -5', fields=dict(classes=[1, -5])),
    Refusal('class named twice', 'classes must name each class once; for 4 classes (-1, 3) names '
                                 'one twice', fields=dict(classes=[-1, 3]),
            but={GRAPHS + GRAPHS_NATIVE: (LOSS, uncounted)}),
    Refusal('background dropped and named', 'include_background=False drops class 0, but for 4 '
            'classes classes=(-4,) names it', fields=dict(classes=[-4], include_background=False),
            but={GRAPHS + GRAPHS_NATIVE: (LOSS, uncounted)}),
    Refusal('no class left', 'include_background=False leaves no class of a prediction of one '
            'class', pred=PRED[:, :1], label=np.zeros_like(LABEL),
            fields=dict(activation='sigmoid', include_background=False)),
    Refusal('class_weights of another length', 'class_weights must have one number per class of '
            'pred, here 4 (dropped classes included); got 2', fields=dict(class_weights=[1, 2])),
    Refusal('class_weights 0 for all that count', NO_WEIGHT,
            fields=dict(class_weights=[1, 0, 0, 0], include_background=False),
            but={GRAPHS + GRAPHS_NATIVE + GRAPHS_CUSTOM: (NO_WEIGHT,
                                                          'the list tells how many there are')}),
    Refusal('smooth of another length', 'smooth must be a number or one per counted class, here 4; '
                                        'got 2', fields=dict(smooth=[1, 2])),
    Refusal('smooth_dr of another length',
            'smooth_dr must be a number or one per counted class, here 3; got 4',
            fields=dict(smooth_dr=[1, 2, 3, 4], include_background=False)),
    Refusal('ce_class_weights of another length',
            'ce_class_weights must have one number per class of pred, here 4; got 2',
            fields=dict(ce_class_weights=[1, 2]),
            but=in_graphs('ce_class_weights must have one number per class of pred, here 4; got 2',
                          'the operator is given them')),
]


# --- dtypes, and what only NumPy is given ---------------------------------------------------------

casts = 'Gluon computes it in float32'
FLOATING = ('pred must be float16, float32 or float64, for example pred.astype("float32"); '
            'got ')

DTYPES = [
    Refusal('pred int64', f'{FLOATING}int64', pred=PRED.astype('int64'),
            but={MXNET: (LOSS, casts)}),
    Refusal('pred complex', f'{FLOATING}complex128', pred=PRED.astype(complex)),
    Refusal('no pred', f'{FLOATING}object', pred=None),
    Refusal('label of text', 'label must be an array of numbers; got dtype <U1',
            label=np.full(LABEL.shape, 'a')),
    Refusal('label of objects', 'label must be an array of numbers; got dtype object',
            label=LABEL.astype(object)),
    Refusal('dense label complex', 'label must be an array of numbers; got dtype complex128',
            label=DENSE.astype(complex), fields=SPARSE),
    Refusal('weight of objects', 'pixel_weight must be an array of numbers; got dtype object',
            pixel_weight=WEIGHT.astype(object)),
]

HALF_LABELS = [
    Refusal('float16 for 2050 classes', 'label must be made in a dtype that holds 2050 classes, for'
            ' example int32; got float16, which holds 2049',
            pred=np.zeros((2, 2050, 2, 2), 'float32'), label=np.zeros((2, 2, 2), 'float16')),
    Refusal('float16 for ignore_label 65535',
            'label must be made in a dtype that holds ignore_label=65535, for example int32; got '
            'float16, which does not', label=LABEL.astype('float16'),
            fields=dict(ignore_label=65535)),
    Refusal('float16 for ignore_label 2049',
            'label must be made in a dtype that holds ignore_label=2049, for example int32; got '
            'float16, which does not', label=LABEL.astype('float16'),
            fields=dict(ignore_label=2049)),
    Refusal('dense float16 for ignore_label -70000',
            'label must be made in a dtype that holds ignore_label=-70000, for example int32; got '
            'float16, which does not', label=DENSE.astype('float16'),
            fields=dict(sparse_label=False, ignore_label=-70000)),
]


# --- backward: what only callers of the vjp can get wrong -----------------------------------------

UPSTREAM = 'upstream must be a number, for example 1.0, or have the shape of the loss, (2,); got '
OUT = 'out must have the shape of pred, (2, 4, 3, 5); got '

BACKWARD = [
    Refusal('upstream of another length', f'{UPSTREAM}shape (3,) of float64', upstream=np.ones(3),
            but={MXNET: (MXNET_ERROR, 'MXNet itself checks the shape of a head gradient')}),
    Refusal('upstream of one sample', f'{UPSTREAM}shape (1,) of float64', upstream=np.ones(1)),
    Refusal('upstream of two axes', f'{UPSTREAM}shape (2, 1) of float64', upstream=np.ones((2, 1))),
    Refusal('upstream of no number', f'{UPSTREAM}None', upstream=None),
    Refusal('upstream of a text', f"{UPSTREAM}'1'", upstream='1'),
    Refusal('upstream, cross-entropy', f'{UPSTREAM}shape (3,) of float64', upstream=np.ones(3),
            fields=dict(ce_weight=2)),
    Refusal('out of fewer pixels', f'{OUT}(2, 4, 3, 4)', out=np.empty((2, 4, 3, 4), 'float32')),
    Refusal("out of the label's size", f'{OUT}(2, 4, 9, 8)', label=np.zeros((2, 9, 8)),
            out=np.empty((2, 4, 9, 8), 'float32'), fields=WIDE),
]

TABLE: Dict[str, List[Refusal]] = {
    'shape': SHAPES, 'value': VALUES, 'activation': ACTIVATIONS, 'classes': CLASSES,
    'numpy': DTYPES + BACKWARD, 'half': HALF_LABELS}
