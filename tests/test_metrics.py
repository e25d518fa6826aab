"""Hard Dice: decisions, counts and what they give, by hand and by properties."""
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import TOLERANCE

from soft_dice import (DiceCEOptions, DiceOptions, HardCounts, hard_counts, hard_dice, preset,
                       soft_dice_loss)
from soft_dice.metric_options import MetricOptions
from soft_dice.metrics import Tally
from soft_dice.resize import resize

pytestmark = pytest.mark.usefixtures('implementation')

SIGMOID = DiceOptions(activation='sigmoid', sparse_label=False)
RNG = np.random.RandomState(0)
PRED = RNG.standard_normal((3, 4, 6, 5)).astype('float32')
LABEL = RNG.randint(0, 4, (3, 6, 5))


def one_hot(label, classes=4):
    return np.moveaxis(np.eye(classes)[label], -1, 1)


def counted(pred, label, classes=4, ignored=None):
    """The counts of decided classes, pixel by pixel."""
    counts = np.zeros((3, len(pred), classes), int)
    for image, (found, truth) in enumerate(zip(pred, label)):
        for p, g in zip(found.ravel(), truth.ravel()):
            if g == ignored:
                continue
            if p == g:
                counts[0, image, p] += 1
            else:
                counts[1, image, p] += 1
                counts[2, image, g] += 1
    return HardCounts(*counts)


# --- classes that are decided already ------------------------------------------------------------

def test_a_prediction_of_another_size_is_decided_at_the_label_s():
    small = np.random.RandomState(3).standard_normal((2, 4, 3, 5))
    label = np.random.RandomState(4).randint(0, 4, (2, 7, 9))
    large, _ = resize(small, (2, 4, 7, 9))
    options = DiceOptions(resize='bilinear')
    assert hard_counts(small, label, options) == hard_counts(large, label)
    with pytest.raises(ValueError, match="resize='bilinear' interpolates"):
        hard_counts(small, label)


def test_counts_by_hand():
    pred = np.array([[0, 1, 1], [2, 0, 0]])
    label = np.array([[0, 1, 2], [2, 0, 1]])
    np.testing.assert_array_equal(hard_dice(pred, label, 4), [4 / 5, 2 / 4, 2 / 3, np.nan])
    np.testing.assert_array_equal(hard_dice(pred, label, 4, per_image=True),
                                  [[1, 2 / 3, 0, np.nan], [2 / 3, 0, 1, np.nan]])


def test_ignored_pixels():
    pred, label = np.array([0, 1, 1, 9]), np.array([0, 1, 0, 255])
    np.testing.assert_array_equal(hard_dice(pred, label, 2, ignore_label=255), [2 / 3, 2 / 3])


def test_decided_classes_and_the_options_that_choose_some():
    pred, label = PRED.argmax(1), LABEL.copy()
    label[0, 0] = 255
    options = DiceOptions(classes=[3, -3], ignore_label=255)
    counts = hard_counts(pred, label, options, num_classes=4)
    every = counted(pred, label, ignored=255)
    assert counts == HardCounts(*(each[:, [3, 1]] for each in (every.tp, every.fp, every.fn)))


@pytest.mark.parametrize('pred, label, message', [
    (np.zeros((2, 3)), np.zeros((3, 2)), r'one shape.*got \(2, 3\) and \(3, 2\)'),
    (np.array([2]), np.array([0]), r'pred must hold whole numbers in \[0, 2\); got 2'),
    (np.array([0]), np.array([-1]), r'label must be a whole number in \[0, 2\).*got -1'),
    (np.array([0.5]), np.array([0]), 'got 0.5'),
    (np.array([0]), np.array([np.nan]), 'got nan'),
    (np.array(0), np.array(0), 'must have one shape'),
])
def test_bad_input(pred, label, message):
    with pytest.raises(ValueError, match=message):
        hard_dice(pred, label, 2)


@pytest.mark.parametrize('keywords, message', [
    (dict(num_classes=1), 'num_classes must be a whole number >= 2.*got 1'),
    (dict(num_classes=2.0), 'got 2.0'),
    (dict(num_classes=2, threshold=0.3), 'threshold=0.3 has no meaning'),
    (dict(num_classes=2, options=SIGMOID), 'sparse_label must be True'),
    (dict(num_classes=2, options=DiceOptions(classes=[5])), 'classes must lie in'),
])
def test_bad_keywords_for_decided_classes(keywords, message):
    with pytest.raises(ValueError, match=message):
        hard_dice(np.array([[0, 1]]), np.array([[0, 1]]), **keywords)


# --- how a prediction is decided -----------------------------------------------------------------

@pytest.mark.parametrize('axis', [1, 2, -1])
@pytest.mark.parametrize('dtype', ['float32', 'float64'])
def test_argmax_over_the_class_axis(axis, dtype):
    pred = np.moveaxis(PRED.astype(dtype), 1, axis)
    counts = hard_counts(pred, LABEL, DiceOptions(axis=axis))
    assert counts == counted(PRED.argmax(1), LABEL)
    assert counts.tp.dtype == np.int64


def test_of_equal_scores_the_lowest_class_is_taken():
    counts = hard_counts(np.array([[[1.0], [7.0], [7.0]]]), np.array([[1]]))
    np.testing.assert_array_equal(counts.dice(), [[np.nan, 1, np.nan]])


@pytest.mark.parametrize('activation', ['softmax', 'none'])
def test_probabilities_and_their_logits_are_decided_alike(activation):
    probability = np.exp(PRED) / np.exp(PRED).sum(axis=1, keepdims=True)
    assert hard_counts(probability, LABEL, DiceOptions(activation=activation)) \
        == hard_counts(PRED, LABEL)


@pytest.mark.parametrize('axis', [1, -1])
def test_softmax_with_a_one_hot_label_is_that_with_its_index(axis):
    label = np.where((LABEL == 3)[:, None], 0.2, one_hot(LABEL) * 0.4)
    label[:, 3] += 0.1 * (LABEL == 3)  # soft: each largest value is that of the class
    pred, label = np.moveaxis(PRED, 1, axis), np.moveaxis(label, 1, axis)
    options = DiceOptions(sparse_label=False, axis=axis)
    assert hard_counts(pred, label, options) == hard_counts(PRED, LABEL)


def test_softmax_label_without_any_class():
    counts = hard_counts(np.array([[[2.0], [1.0]]]), np.zeros((1, 2, 1)),
                         DiceOptions(sparse_label=False))
    assert counts == HardCounts([[0, 0]], [[1, 0]], [[0, 0]])


@pytest.mark.parametrize('threshold', [0.1, 0.5, 0.9])
def test_sigmoid_is_above_the_threshold(threshold):
    probability = 1 / (1 + np.exp(-PRED.astype('float64')))
    label = RNG.uniform(size=PRED.shape)
    expected, truth = probability > threshold, label > threshold
    counts = hard_counts(PRED, label, SIGMOID, threshold)
    np.testing.assert_array_equal(counts.tp, (expected & truth).sum(axis=(2, 3)))
    np.testing.assert_array_equal(counts.fp, (expected & ~truth).sum(axis=(2, 3)))
    np.testing.assert_array_equal(counts.fn, (~expected & truth).sum(axis=(2, 3)))
    assert hard_counts(probability, label, SIGMOID.replace(activation='none'), threshold) == counts


def test_sigmoid_is_not_decided_by_rounding():
    """In float32 the sigmoid of these is exactly 1/2, and 1."""
    pred = np.array([[[1e-9, -1e-9, 0.0, 40.0]]], 'float32')
    options = DiceOptions(activation='sigmoid')
    assert hard_counts(pred, np.array([[1, 1, 1, 1]]), options).tp.item() == 2
    assert hard_counts(pred, np.ones((1, 4)), options, threshold=0.999999999).tp.item() == 1


def test_threshold_0_takes_everything_that_sigmoid_gives():
    assert hard_counts(PRED[:, :1] - 50, np.ones_like(LABEL), DiceOptions(activation='sigmoid'),
                       threshold=0).fn.sum() == 0


def test_one_channel_with_index_labels():
    options = DiceOptions(activation='none')
    pred, label = np.array([[[0.6, 0.6, 0.4, 0.4]]]), np.array([[1, 0, 1, 0]])
    assert hard_counts(pred, label, options) == HardCounts([[1]], [[1]], [[1]])
    assert hard_counts(pred, label, options, threshold=0.7) == HardCounts([[0]], [[0]], [[2]])


def test_dense_elements_that_are_ignored():
    pred = np.array([[[3.0, 3.0], [3.0, -3.0]]])
    label = np.array([[[1.0, 255.0], [0.0, 255.0]]])
    expected = HardCounts([[1, 0]], [[0, 1]], [[0, 0]])
    assert hard_counts(pred, label, SIGMOID.replace(ignore_label=255)) == expected
    softmax = DiceOptions(sparse_label=False, ignore_label=255)
    assert hard_counts(pred, label, softmax) == HardCounts([[1, 0]], [[0, 0]], [[0, 0]])
    only_one = np.array([[[255.0, 0.0], [0.0, 1.0]]])  # of pixel 0 class 1 counts
    assert hard_counts(pred, only_one, softmax) == HardCounts([[0, 0]], [[1, 0]], [[0, 1]])


def test_counts_are_exact_past_the_whole_numbers_of_float32():
    pixels = (1 << 24) + 3
    pred = np.zeros((1, 1, pixels), 'float32')
    pred[0, 0, 0] = 1
    counts = hard_counts(pred, np.ones((1, pixels), 'uint8'), DiceOptions(activation='none'))
    assert (counts.tp.item(), counts.fn.item()) == (1, pixels - 1)


def test_the_classes_that_count():
    counts = hard_counts(PRED, LABEL)
    assert hard_dice(PRED, LABEL, options=DiceOptions(include_background=False)).tolist() \
        == counts.total().dice()[0, 1:].tolist()
    assert hard_dice(PRED, LABEL, options=DiceOptions(classes=[-1, 0])).tolist() \
        == counts.total().dice()[0, [3, 0]].tolist()


def test_what_is_of_the_loss_alone_changes_nothing():
    loss = DiceOptions(batch_dice=True, alpha=0.1, beta=0.9, exponent=2.0, overlap='l1', smooth=3.0,
                       class_weights=[1, 2, 3, 4], form='log', absent='skip')
    assert hard_counts(PRED, LABEL, loss) == hard_counts(PRED, LABEL)


def test_nan():
    pred, label = PRED.copy(), LABEL.copy()
    pred[1, 2, 3, 4] = np.nan
    with pytest.raises(ValueError, match='NaN decides for no class; got nan in sample 1, class 2, '
                                         'pixel 19 of 30'):
        hard_counts(pred, label)
    label[1, 3, 4] = 255
    counts = hard_counts(pred, label, DiceOptions(ignore_label=255))
    assert counts == counted(PRED.argmax(1), label, ignored=255)
    with pytest.raises(ValueError, match='got nan in sample 1, class 2'):
        hard_counts(pred, one_hot(LABEL), SIGMOID)


def test_infinity_decides():
    pred = np.array([[[-np.inf, np.inf], [-np.inf, 0.0]]])
    assert hard_counts(pred, np.array([[0, 0]])).tp.tolist() == [[2, 0]]
    assert hard_counts(pred, np.ones((1, 2, 2)), SIGMOID).tp.tolist() == [[1, 0]]


@pytest.mark.parametrize('pred, label, options, message', [
    (PRED, LABEL[:1], DiceOptions(), 'label must have one value per pixel'),
    (PRED.astype(int), LABEL, DiceOptions(), 'pred must be float16, float32 or float64'),
    (PRED, LABEL + 1, DiceOptions(), r'label must be a whole number in \[0, 4\).*got 4'),
    (PRED, PRED, SIGMOID, r'a dense label must lie in \[0, 1\]'),
    (PRED, LABEL, DiceOptions(activation='sigmoid'), 'needs a prediction of one channel'),
    (PRED[:, :1], LABEL, DiceOptions(), 'softmax.*over one class is always 1'),
])
def test_bad_scores(pred, label, options, message):
    with pytest.raises(ValueError, match=message):
        hard_dice(pred, label, options=options)


# --- what counts give ----------------------------------------------------------------------------

COUNTS = HardCounts([[2, 0, 0, 0], [0, 0, 3, 0]], [[1, 0, 4, 0], [0, 2, 0, 0]],
                    [[0, 0, 0, 0], [1, 0, 1, 0]])


@pytest.mark.parametrize('empty, value', [('nan', np.nan), (0, 0), (1, 1)])
def test_empty_classes(empty, value):
    np.testing.assert_array_equal(COUNTS.dice(empty=empty), [[4 / 5, value, 0, value],
                                                             [0, 0, 6 / 7, value]])


def test_means_leave_nan_out():
    np.testing.assert_array_equal(COUNTS.per_class(), [2 / 5, 0, 3 / 7, np.nan])
    for empty, mean in (('nan', (2 / 5 + 0 + 3 / 7) / 3), (1, (2 / 5 + 1 / 2 + 3 / 7 + 1) / 4)):
        assert COUNTS.mean(empty=empty) == pytest.approx(mean, rel=TOLERANCE['value, float64'])
    np.testing.assert_array_equal(COUNTS.total().per_class(), [4 / 6, 0, 6 / 11, np.nan])
    assert np.isnan(HardCounts([[0]], [[0]], [[0]]).mean())


@pytest.mark.parametrize('beta', [0.5, 1, 2.0])
def test_f_beta_is_that_of_precision_and_recall(beta):
    tp, fp, fn = 6, 2, 4
    precision, recall = tp / (tp + fp), tp / (tp + fn)
    expected = (1 + beta ** 2) * precision * recall / (beta ** 2 * precision + recall)
    found = HardCounts([[tp]], [[fp]], [[fn]]).dice(beta)
    np.testing.assert_allclose(found, [[expected]], rtol=TOLERANCE['value, float64'])


@pytest.mark.parametrize('keywords, message', [
    (dict(beta=0), 'beta of F-beta must be a number in'), (dict(beta=np.nan), 'got nan'),
    (dict(beta=True), 'got True'), (dict(empty='NaN'), "must be 'nan', 0 or 1; got 'NaN'"),
    (dict(empty=0.5), 'got 0.5'), (dict(empty=True), 'got True'),
])
def test_bad_beta_and_empty(keywords, message):
    with pytest.raises(ValueError, match=message):
        COUNTS.dice(**keywords)
    with pytest.raises(ValueError, match=message):
        hard_dice(PRED, LABEL, **keywords)
    with pytest.raises(ValueError, match=message):
        MetricOptions(**keywords)


@pytest.mark.parametrize('threshold', [1, -0.1, np.nan, '0.5', True])
def test_bad_threshold(threshold):
    with pytest.raises(ValueError, match=r'threshold must be a number in \[0, 1\)'):
        hard_dice(PRED, one_hot(LABEL), options=SIGMOID, threshold=threshold)


@pytest.mark.parametrize('options', [DiceOptions(), DiceOptions(activation='none')])
def test_a_threshold_that_nothing_would_use(options):
    with pytest.raises(ValueError, match='threshold=0.3 has no meaning where each pixel is of one'):
        hard_dice(PRED, LABEL, options=options, threshold=0.3)


@pytest.mark.parametrize('arrays', [([1], [1], [1]), ([[0.5]], [[1]], [[1]]),
                                    ([[-1]], [[1]], [[1]]), ([['a']], [[1]], [[1]]),
                                    ([[1, 2]], [[1]], [[1]])])
def test_counts_of_something_else(arrays):
    with pytest.raises(ValueError, match='must hold whole numbers >= 0|must have one shape'):
        HardCounts(*arrays)


# --- merging -------------------------------------------------------------------------------------

def batches(classes=3):
    row = st.lists(st.integers(0, 1 << 40), min_size=classes, max_size=classes)
    counts = st.lists(st.tuples(row, row, row), min_size=1, max_size=4).map(
        lambda rows: HardCounts(*(np.array(each) for each in zip(*rows))))
    return st.lists(counts, min_size=1, max_size=5)


@settings(max_examples=25)
@given(parts=batches(), data=st.data())
def test_merged_in_any_order_and_grouping_is_all_at_once(parts, data):
    whole = HardCounts.join(parts)
    shuffled = data.draw(st.permutations(parts))
    assert HardCounts.join(shuffled).total() == whole.total()
    cut = data.draw(st.integers(0, len(shuffled) - 1))
    merged = shuffled[cut].total()
    for part in shuffled[:cut] + shuffled[cut + 1:]:
        merged = (part.total() + merged).total()
    assert merged == whole.total()
    for per_image in (False, True):
        tally = Tally(MetricOptions(per_image=per_image))
        for part in parts:
            tally.add(part)
        assert tally.counts == (whole if per_image else whole.total())


@settings(max_examples=25)
@given(seed=st.integers(0, 2 ** 32 - 1), size=st.integers(1, 5))
def test_batches_give_what_the_whole_set_gives(seed, size):
    rng = np.random.RandomState(seed)
    pred, label = rng.standard_normal((5, 3, 4)), rng.choice([0, 1, 2, 255], (5, 4))
    options = DiceOptions(ignore_label=255)
    whole = hard_counts(pred, label, options)
    parts = [hard_counts(pred[i:i + size], label[i:i + size], options) for i in range(0, 5, size)]
    assert HardCounts.join(parts) == whole == counted(pred.argmax(1), label, 3, 255)
    np.testing.assert_array_equal(HardCounts.join(parts).total().dice()[0],
                                  hard_dice(pred, label, options=options))


def test_counts_travel_between_processes():
    assert pickle.loads(pickle.dumps(COUNTS)) == COUNTS != COUNTS.total()


def test_counts_of_other_classes_do_not_merge():
    with pytest.raises(ValueError, match='must be of the same classes; got 1 and 4'):
        COUNTS + HardCounts([[1]], [[1]], [[1]])
    with pytest.raises(ValueError, match='got none'):
        HardCounts.join([])
    with pytest.raises(TypeError):
        COUNTS + 1
    for per_image in (False, True):
        tally = Tally(MetricOptions(per_image=per_image))
        tally.add(COUNTS)
        with pytest.raises(ValueError, match='must be of the same classes'):
            tally.add(HardCounts([[1]], [[1]], [[1]]))
        assert tally.counts == (COUNTS if per_image else COUNTS.total())


# --- the options both plugins take --------------------------------------------------------------

def test_metric_options_of_a_loss_and_back():
    options = MetricOptions.of_loss(DiceOptions(smooth=1.0, ignore_label=7), empty=1, beta=2.0,
                                    include_background=False)
    assert options.dice == DiceOptions(ignore_label=7, include_background=False)
    changes = dict(beta=2.0, empty=1, include_background=False, ignore_label=7)
    assert options.changes_from() == changes and options == MetricOptions(**changes)
    assert repr(options) == 'MetricOptions(' \
        'beta=2.0, empty=1, include_background=False, ignore_label=7)'
    assert MetricOptions.from_param_str(options.to_json()) == options
    assert options.replace(empty='nan') != options
    assert hash(options.replace(empty=np.float32(1))) == hash(options)


def test_a_preset_gives_a_metric_how_labels_are_read_and_not_its_beta():
    options = MetricOptions.from_param_str('{"preset": "salehi2017", "ignore_label": 255}')
    assert preset('salehi2017').beta == 0.7
    assert options == MetricOptions(include_background=False, ignore_label=255)
    with pytest.raises(TypeError, match='smooth is an option of the loss alone'):
        MetricOptions.from_param_str('{"preset": "monai", "smooth": 1}')


@pytest.mark.parametrize('fields, error, message', [
    (dict(smooth=1), TypeError, 'smooth is an option of the loss alone; the hard Dice takes activ'),
    (dict(smoth=1), TypeError, "unknown option 'smoth'; the hard Dice takes activation"),
    (dict(per_image=1), ValueError, 'per_image must be True or False'),
    (dict(threshold=0.2), ValueError, 'threshold=0.2 has no meaning'),
    (dict(ignore_label='x'), ValueError, 'ignore_label must be a whole number'),
])
def test_bad_metric_options(fields, error, message):
    with pytest.raises(error, match=message):
        MetricOptions(**fields)


def test_a_loss_s_options_of_another_kind():
    with pytest.raises(TypeError, match='options must be a soft_dice.DiceOptions, .*DiceCEOptions'):
        hard_dice(PRED, LABEL, options=DiceCEOptions())
    with pytest.raises(TypeError, match='options.dice are those'):
        soft_dice_loss(PRED, LABEL, MetricOptions())


def test_an_empty_tally():
    tally = Tally(MetricOptions())
    assert tally.counts is None and tally.per_class().size == 0 and np.isnan(tally.mean())


# --- intersection over union, averages -----------------------------------------------------------

# What the documentation of torchmetrics (dice, jaccard_index, fbeta_score) and of scikit-learn
# (f1_score) prints for these, as fractions.
PRINTED = [
    ([2, 0, 2, 1], [1, 1, 2, 0], 3, dict(average='micro'), 1 / 4),
    ([2, 1, 0, 1], [2, 1, 0, 0], 3, dict(metric='iou', average='macro'), 2 / 3),
    ([2, 1, 0, 1], [2, 1, 0, 0], 3, dict(metric='iou'), [1 / 2, 1 / 2, 1]),
    ([2, 1, 0, 1], [2, 1, 0, 0], 3, dict(beta=2.0), [5 / 9, 5 / 6, 1]),
    ([2, 1, 0, 1], [2, 1, 0, 0], 3, dict(beta=2.0, average='macro'), 43 / 54),
    ([0, 2, 1, 0, 0, 1], [0, 1, 2, 0, 1, 2], 3, dict(), [4 / 5, 0, 0]),
    ([0, 2, 1, 0, 0, 1], [0, 1, 2, 0, 1, 2], 3, dict(average='macro'), 4 / 15),
    ([0, 2, 1, 0, 0, 1], [0, 1, 2, 0, 1, 2], 3, dict(average='micro'), 1 / 3),
    ([0, 2, 1, 0, 0, 1], [0, 1, 2, 0, 1, 2], 3, dict(average='weighted'), 4 / 15)]


@pytest.mark.parametrize('pred, label, classes, how, expected', PRINTED)
def test_what_other_packages_print(pred, label, classes, how, expected):
    found = hard_dice(np.array([pred]), np.array([label]), classes, **how)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


# MONAI's test_compute_meandice: 2 x 2 pixels, for each image and class the pixels that are set.
MONAI = dict(empty_by='label', per_image=True)
MULTI = DiceOptions(activation='none', sparse_label=False)
FOUND = [[(0, 1, 2), (1,), (1, 2, 3)], [(0, 2, 3), (1, 2, 3), (1, 2)]]
TRUTH = [[(0, 1, 2, 3), (), ()], [(3,), (0, 1), (2,)]]
FIRST = [[(0, 1, 2, 3), (), ()], [(0, 1, 2, 3), (), ()]]
NAN = np.nan


def masks(pixels):
    array = np.zeros((len(pixels), len(pixels[0]), 4))
    for image, classes in enumerate(pixels):
        for index, each in enumerate(classes):
            array[image, index, list(each)] = 1
    return array


@pytest.mark.parametrize('pred, label, how, expected', [
    ([[(0, 3)]], [[(0, 2, 3)]], {}, [[0.8]]),
    ([[(1,), (2, 3), (0,)], [(3,), (0,), (1, 2)]], [[(3,), (0, 2), (1,)], [(3,), (0, 1), (2,)]],
     {}, [[0, 1 / 2, 0], [1, 2 / 3, 2 / 3]]),
    ([[(), (), (0, 1, 2, 3)]] * 2, [[(0, 1, 2, 3), (), ()], [(1, 2), (0, 3), ()]], {},
     [[0, NAN, NAN], [0, 0, NAN]]),
    (FOUND, TRUTH, {}, [[6 / 7, NAN, NAN], [1 / 2, 2 / 5, 2 / 3]]),
    (FOUND, TRUTH, dict(average='macro'), [6 / 7, 47 / 90]),
    (FOUND, FIRST, {}, [[6 / 7, NAN, NAN], [6 / 7, NAN, NAN]]),
    ([[(0, 1, 2, 3)] * 2], [[(0, 1, 2, 3)] * 2], {}, [[1, 1]]),
    ([[()] * 2], [[()] * 2], dict(empty=1, empty_by='both'), [[1, 1]]),
    ([[(0, 1, 2, 3)] * 2], [[()] * 2], dict(empty=1, empty_by='both'), [[0, 0]])])
def test_monai_s_own_table(pred, label, how, expected):
    found = hard_dice(masks(pred), masks(label), options=MULTI, **{**MONAI, **how})
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_monai_s_means():
    """Its 'mean_batch' is each class over its images, its 'mean' each image, then over them."""
    arrays = masks(FOUND), masks(TRUTH)
    classes = Tally(MetricOptions(**MONAI))
    classes.add(hard_counts(*arrays, MULTI))
    np.testing.assert_allclose(classes.per_class(), [19 / 28, 2 / 5, 2 / 3], rtol=1e-12)
    images = hard_dice(*arrays, options=MULTI, average='macro', **MONAI)
    assert round(images.mean(), 6) == 0.689683


def test_averages_leave_out_what_has_no_value():
    counts = HardCounts([[3, 0, 1], [0, 0, 0]], [[1, 0, 0], [0, 0, 0]], [[1, 0, 3], [0, 0, 0]])
    average = {name: counts.average(MetricOptions(average=name))
               for name in ('macro', 'weighted', 'micro')}
    np.testing.assert_allclose(average['macro'], [(6 / 8 + 2 / 5) / 2, NAN])
    np.testing.assert_allclose(average['weighted'], [(4 * 6 / 8 + 4 * 2 / 5) / 8, NAN])
    np.testing.assert_allclose(average['micro'], [8 / 13, NAN])
    for name, each in average.items():
        tally = Tally(MetricOptions(average=name, per_image=True))
        assert np.isnan(tally.mean())
        tally.add(counts)
        np.testing.assert_allclose(tally.mean(), each[0])


def test_dice_is_a_function_of_iou():
    iou = hard_dice(PRED, LABEL, metric='iou')
    np.testing.assert_allclose(hard_dice(PRED, LABEL), 2 * iou / (1 + iou))
    counts = hard_counts(PRED, LABEL)
    np.testing.assert_array_equal(counts.total().iou()[0], iou)


@pytest.mark.parametrize('how, message', [
    (dict(metric='jaccard'), "metric must be one of 'dice', 'iou'; got 'jaccard'"),
    (dict(average='mean'), "average must be one of 'macro', 'micro', 'weighted'; got 'mean'"),
    (dict(empty_by='pred'), "empty_by must be one of 'both', 'label'; got 'pred'"),
    (dict(metric='iou', beta=2), "beta is of metric='dice'; got beta=2 with metric='iou'")])
def test_bad_metric_average_and_empty_by(how, message):
    with pytest.raises(ValueError, match=message):
        hard_dice(PRED, LABEL, **how)
