"""Class frequencies, weights from them, and python -m soft_dice weights as its user runs it."""
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import TOLERANCE

from soft_dice import ClassFrequencies, DiceOptions, class_frequencies, class_weights
from soft_dice import frequencies as module
from soft_dice.__main__ import main
from soft_dice.plan import resolve

EXACT = TOLERANCE['value, float64']
FIRST = np.array([[0, 0, 0, 0], [0, 0, 1, 255]])
SECOND = np.array([[0, 3, 3]])


def frequencies(pixels, around=None, images=1, ignored=0):
    around = np.zeros(len(pixels), int) if around is None else np.array(around)
    return ClassFrequencies(np.array(pixels), around, images, ignored)


def weights_of(*labels, **keywords):
    return class_weights(class_frequencies(labels), **keywords)


# --- counting ------------------------------------------------------------------------------------

def test_counts_by_hand():
    found = class_frequencies(iter([FIRST, SECOND]), 4, ignore_label=255)
    assert found == frequencies([7, 1, 0, 2], [10, 7, 0, 3], images=2, ignored=1)
    assert found.pixels.dtype == np.int64
    assert class_frequencies([FIRST, SECOND], ignore_label=255) == found


def test_the_first_axis_of_a_batch_is_images():
    batch = np.array([[0, 0], [0, 1], [1, 1]])
    assert class_frequencies([batch], batched=True) == class_frequencies(list(batch)) \
        == frequencies([3, 3], [4, 4], images=3)
    assert class_frequencies([batch]) == frequencies([3, 3], [6, 6])


@pytest.mark.parametrize('dtype', ['bool', 'uint8', 'int64', 'uint64', 'float16', 'float32'])
@pytest.mark.parametrize('order', ['C', 'F'])
def test_dtypes_and_orders(dtype, order):
    label = np.array([[0, 1, 1], [0, 0, 0]], dtype, order=order)
    assert class_frequencies([label]) == frequencies([4, 2], [6, 6])


def labels_lists():
    label = st.lists(st.sampled_from([0, 1, 2, 5, 255]), min_size=1, max_size=9).map(np.array)
    return st.lists(label, min_size=2, max_size=5)


@settings(max_examples=40)
@given(labels=labels_lists(), data=st.data())
def test_sets_merge_in_any_order(labels, data):
    cut = data.draw(st.integers(1, len(labels) - 1))
    parts = [class_frequencies(part, ignore_label=255) for part in (labels[cut:], labels[:cut])]
    whole = class_frequencies(labels, ignore_label=255)
    assert parts[0] + parts[1] == parts[1] + parts[0] == whole
    counted = np.concatenate(labels)
    np.testing.assert_array_equal(whole.pixels, [(counted == c).sum()
                                                 for c in range(len(whole.pixels))])
    assert whole.ignored == (counted == 255).sum() and whole.images == len(labels)
    with pytest.raises(TypeError):
        whole + 1


def test_in_pieces_is_the_same(monkeypatch):
    whole = class_frequencies([FIRST, SECOND], ignore_label=255)
    monkeypatch.setattr(module, 'PIECE', 3)
    assert class_frequencies([FIRST, SECOND], ignore_label=255) == whole
    with pytest.raises(ValueError, match='got 255 in sample 0, pixel 7 of 8'):
        class_frequencies([FIRST, SECOND], 4)


@pytest.mark.parametrize('labels, classes, message', [
    ([SECOND, SECOND - 1], 4, r'label must be a whole number in \[0, 4\).*got -1 in sample 1'),
    ([SECOND], 3, r'got 3 in sample 0, pixel 1 of 3'),
    ([SECOND + 0.5], 4, 'got 0.5'), ([SECOND * np.nan], None, 'got nan'),
    ([np.array([70000])], None, r'must be a whole number in \[0, 4096\)'),
    ([np.array(['a'])], None, 'label must be an array of numbers'),
    ([], 3, 'labels must have at least one array'),
    ([SECOND], 1, 'num_classes must be a whole number >= 2.*got 1'),
    ([SECOND], 4.0, 'got 4.0'),
])
def test_bad_labels(labels, classes, message):
    with pytest.raises(ValueError, match=message):
        class_frequencies(labels, classes)


# --- weights -------------------------------------------------------------------------------------

def test_inverse_by_hand():
    found = frequencies([60, 30, 0, 10])
    inverse = np.array([1 / 6, 1 / 3, 1, 1])  # of which the third is absent
    np.testing.assert_allclose(class_weights(found, 'inverse'), inverse / (1.5 / 3), rtol=EXACT)
    square = np.array([1 / 36, 1 / 9, 1, 1])
    np.testing.assert_allclose(class_weights(found, 'inverse_square'), square / (41 / 36 / 3),
                               rtol=EXACT)


def test_median_frequency_by_hand():
    """Shares in the images that have the class: 3/6, 2/6 and 1/2; their median is 1/2."""
    labels = np.array([[0, 0], [0, 1], [1, 2]])
    found = class_frequencies(labels)
    weights = class_weights(found)
    balanced = np.array([(1 / 2) / (3 / 4), (1 / 2) / (2 / 4), (1 / 2) / (1 / 2)])
    np.testing.assert_allclose(weights, balanced / balanced.mean(), rtol=EXACT)
    np.testing.assert_array_equal(found.pixels_around, [4, 4, 2])


@pytest.mark.parametrize('beta', [0.0, 0.5, 0.99, 0.9999])
def test_effective_number_is_the_formula_in_exact_fractions(beta):
    pixels = [1, 7, 40, 1000]
    b = Fraction(beta)
    each = [(1 - b) / (1 - b ** n) for n in pixels]
    expected = [float(w * len(each) / sum(each)) for w in each]
    found = class_weights(frequencies(pixels), 'effective_number', beta)
    np.testing.assert_allclose(found, expected, rtol=EXACT)


def test_effective_number_of_millions_of_pixels_tells_them_apart():
    found = frequencies([50_000_000, 900_000, 1000])
    weights = class_weights(found, 'effective_number')
    assert weights[1] > 5 * weights[0] and weights[2] > 500 * weights[1]
    alike = class_weights(found, 'effective_number', 0.9)
    np.testing.assert_allclose(alike, 1, rtol=EXACT)


@settings(max_examples=60)
@given(pixels=st.lists(st.integers(0, 10 ** 12), min_size=2, max_size=8).filter(any),
       method=st.sampled_from(module.METHODS), data=st.data())
def test_weights_have_mean_1_and_fall_with_the_pixels(pixels, method, data):
    around = [n and data.draw(st.integers(n, 10 ** 13)) for n in pixels]
    weights = class_weights(frequencies(pixels, around), method)
    present = np.array(pixels) > 0
    assert np.isfinite(weights).all() and (weights > 0).all()
    assert weights[present].mean() == pytest.approx(1, rel=EXACT)
    assert (weights[~present] == weights[present].max()).all()
    if method != 'median_frequency':
        assert (np.diff(weights[present][np.argsort(np.array(pixels)[present])]) <= 0).all()
    assert resolve(DiceOptions(class_weights=weights), len(pixels))


@pytest.mark.parametrize('keywords, message', [
    (dict(method='median'), "method must be one of 'inverse', 'inverse_square', 'median_freq.*got"),
    (dict(method='inverse', effective_beta=0.9), "effective_beta is of method 'effective_number'"),
    (dict(method='effective_number', effective_beta=1), r'must be a number in \[0, 1\).*got 1'),
    (dict(method='effective_number', effective_beta='x'), "got 'x'"),
])
def test_bad_method(keywords, message):
    with pytest.raises(ValueError, match=message):
        weights_of(FIRST % 255, **keywords)


def test_nothing_counted():
    with pytest.raises(ValueError, match='weights need one pixel that counts'):
        class_weights(class_frequencies([FIRST * 0], 3, ignore_label=0))


# --- the command ---------------------------------------------------------------------------------

@pytest.fixture
def files(tmp_path):
    np.save(str(tmp_path / 'a.npy'), FIRST)
    np.savez(str(tmp_path / 'b.npz'), label=SECOND, other=FIRST)
    return [str(tmp_path / 'a.npy'), str(tmp_path / 'b.npz:label')]


def command(capsys, *arguments):
    status = main(['weights', *map(str, arguments)])
    output = capsys.readouterr()
    return status, output.out, output.err


def test_what_is_printed_can_be_pasted(files, capsys):
    status, out, err = command(capsys, *files, '--ignore-label', 255)
    found = class_frequencies([FIRST, SECOND], 4, ignore_label=255)
    expected = DiceOptions(class_weights=[float(f'{w:.6g}') for w in class_weights(found)],
                           ignore_label=255)
    dice = out[out.index('\nDice\n'):]
    param_str = re.search(r"^ +Caffe: +param_str: '(.*)'$", dice, flags=re.M).group(1)
    keywords = re.search('^ +Python: +(.*)$', dice, flags=re.M).group(1)
    assert status == 0 and err == ''
    assert DiceOptions.from_param_str(param_str) == expected
    assert eval(f'DiceOptions({keywords})') == expected
    assert re.search(r'^ +0 +7 +70\.0000%', out, flags=re.M)
    assert '2 images, 10 pixels counted, 1 ignored' in out
    assert 'No pixel is of class 2; it gets the largest weight.\nIf 3 is no class, give' in out


@pytest.mark.parametrize('arguments, keywords', [
    (['--method', 'inverse'], dict(method='inverse')),
    (['--method', 'inverse_square'], dict(method='inverse_square')),
    (['--method', 'effective_number'], dict(method='effective_number')),
    (['--method', 'effective_number', '--effective-beta', '0.5'],
     dict(method='effective_number', effective_beta=0.5)),
    (['--classes', '6'], {}),
])
def test_json(arguments, keywords, files, capsys):
    status, out, _ = command(capsys, *files, '--ignore-label', 255, '--json', *arguments)
    read = json.loads(out)
    classes = 6 if '--classes' in arguments else 4
    found = class_frequencies([FIRST, SECOND], classes, ignore_label=255)
    assert status == 0
    assert [each['weight'] for each in read['classes']] == class_weights(found, **keywords).tolist()
    assert [each['pixels'] for each in read['classes']] == found.pixels.tolist()
    assert sum(each['share'] for each in read['classes']) == pytest.approx(1, rel=EXACT)
    assert DiceOptions.from_param_str(read['param_str']) == DiceOptions(**read['keywords'])
    assert (read['images'], read['pixels'], read['ignored']) == (2, 10, 1)


def test_batched_files(tmp_path, capsys):
    np.save(str(tmp_path / 'batch.npy'), [[0, 0], [0, 1], [1, 2]])
    assert json.loads(command(capsys, tmp_path / 'batch.npy', '--batched', '--json')[1])['images'] \
        == 3


def test_a_label_that_should_be_ignored_is_pointed_out(files, capsys):
    status, out, err = command(capsys, files[0])
    assert status == 2 and out == ''
    assert 'if 255 is no class, give --ignore-label 255; if it is, --classes 256' in err
    _, out, _ = command(capsys, files[0], '--classes', 256)
    assert 'No pixel is of classes 2, 3, 4, 5, ..., 254; they get the largest weight.' in out
    _, out, _ = command(capsys, files[1], '--method', 'effective_number', '--effective-beta', 0)
    assert 'All weights are alike.' in out


@pytest.mark.parametrize('arguments, message', [
    (['{0}', '--classes', '3'], r'a\.npy: label must be a whole number in \[0, 3\).*got 255'),
    (['{0}', '{1}', '--classes', '1'], 'num_classes must be a whole number >= 2'),
    (['nowhere.npy'], 'there is no file nowhere.npy'),
    (['{0}', '--effective-beta', '0.9'], "effective_beta is of method 'effective_number'"),
    (['{0}', '--method', 'effective_number', '--effective-beta', '7'], r'in \[0, 1\)'),
    (['{1}', '--ignore-label', '99999999'], 'ignore_label must be a whole number up to 2'),
])
def test_mistakes(arguments, message, files, capsys):
    status, out, err = command(capsys, *(word.format(*files) for word in arguments))
    assert status == 2 and out == ''
    assert re.match(rf'soft_dice weights: .*{message}', err) and err.count('\n') == 1


def test_progress_is_shown_on_a_terminal_only(files):
    arguments = [sys.executable, '-m', 'soft_dice', 'weights', *files, '--ignore-label', '255']
    quiet = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    shown = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=end, check=True)
    os.close(end)
    assert quiet.stderr == b'' and shown.stdout == quiet.stdout
    assert b'2/2' in os.read(terminal, 10000)
    os.close(terminal)
