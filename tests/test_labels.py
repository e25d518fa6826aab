"""Ordinary label files: how they are read, what is recognised in them, and what `weights` says."""
import json
import re

import h5py
import nibabel
import nrrd
import numpy as np
import pytest
from PIL import Image
from processes import run_python
from tolerances import TOLERANCE

from soft_dice import DiceCEOptions, DiceOptions, class_frequencies, class_weights
from soft_dice import labels as labels_module
from soft_dice.__main__ import main
from soft_dice.arrays import READERS, load
from soft_dice.labels import look, recognise

EXACT = TOLERANCE['value, float64']
INDEX = np.zeros((12, 10), 'uint8')  # 90, 20, 6 and 4 pixels
INDEX[2:7, 1:5], INDEX[8:10, 1:4], INDEX[8:10, 6:8] = 1, 2, 3
PIXELS = [90, 20, 6, 4]
MASK = np.where(INDEX > 0, 255, 0).astype('uint8')
VOLUME = np.stack([INDEX, INDEX, INDEX], axis=-1)
ONE_HOT = np.eye(4, dtype='uint8')[INDEX]  # channels last


def weights(capsys, *arguments):
    status = main(['weights', *map(str, arguments)])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def found_in(capsys, *arguments):
    status, out, err = weights(capsys, *arguments, '--json')
    assert status == 0, err
    return json.loads(out)


def pixels_in(capsys, *arguments):
    return [each['pixels'] for each in found_in(capsys, *arguments)['classes']]


def save(path, array):
    np.save(str(path), array)
    return path


# --- files ---------------------------------------------------------------------------------------

def write_image(path, array, **keywords):
    Image.fromarray(array).save(str(path), **keywords)


def write_palette(path, array):
    image = Image.fromarray(array)
    image.putpalette([color for i in range(256) for color in (i * 70 % 256, i * 3 % 256, 255 - i)])
    image.save(str(path))


def write_pages(path, array):
    first, *others = [Image.fromarray(page) for page in np.moveaxis(array, -1, 0)]
    first.save(str(path), save_all=True, append_images=others)


def write_nifti(path, array, slope=None):
    image = nibabel.Nifti1Image(array, np.eye(4))
    if slope is not None:
        image.header.set_slope_inter(slope, 0)
    nibabel.save(image, str(path))


def write_hdf5(path, array):
    with h5py.File(str(path), 'w') as file:
        file['group/label'] = array


FILES = {
    'grey.png': (write_image, INDEX, (1, 12, 10)),
    'upper case.PNG': (write_image, INDEX, (1, 12, 10)),
    'grey16.png': (write_image, INDEX.astype('uint16'), (1, 12, 10)),
    'palette.png': (write_palette, INDEX, (1, 12, 10)),
    'palette.gif': (write_palette, INDEX, (1, 12, 10)),
    'grey.tif': (write_image, INDEX, (1, 12, 10)),
    'float.tiff': (write_image, INDEX.astype('float32'), (1, 12, 10)),
    'volume.tif': (write_pages, VOLUME, (1, 3, 12, 10)),
    'grey.bmp': (write_image, INDEX, (1, 12, 10)),
    'slice.nii': (write_nifti, INDEX, (1, 12, 10)),
    'volume.nii.gz': (write_nifti, VOLUME, (1, 12, 10, 3)),
    'pair.img': (lambda path, array: nibabel.save(nibabel.Nifti1Pair(array, np.eye(4)), str(path)),
                 VOLUME, (1, 12, 10, 3)),
    'volume.mgz': (lambda path, array: nibabel.save(nibabel.MGHImage(array, np.eye(4)), str(path)),
                   VOLUME.astype('int32'), (1, 12, 10, 3)),
    'volume.nrrd': (lambda path, array: nrrd.write(str(path), array), VOLUME, (1, 12, 10, 3)),
    'label.h5': (write_hdf5, INDEX, (12, 10)),
}


@pytest.mark.parametrize('name', FILES)
def test_the_numbers_in_a_file(name, tmp_path, capsys):
    write, array, shape = FILES[name]
    write(tmp_path / name, array)
    loaded = load(str(tmp_path / name)).array
    assert loaded.shape == shape
    moved = np.moveaxis(array, -1, 0) if name == 'volume.tif' else array
    np.testing.assert_array_equal(loaded.reshape(moved.shape), moved)
    assert pixels_in(capsys, tmp_path / name) == [array.size // 120 * each for each in PIXELS]


def test_masks_of_one_bit(tmp_path, capsys):
    write_image(tmp_path / 'mask.png', INDEX > 0)
    assert found_in(capsys, tmp_path / 'mask.png')['sentence'] \
        == 'Recognised in 1 file (one-bit images): class numbers 0 to 1.'
    assert pixels_in(capsys, tmp_path / 'mask.png') == [90, 30]


def test_the_kinds_of_files_are_said(tmp_path, capsys):
    write_palette(tmp_path / 'a.png', INDEX)
    write_nifti(tmp_path / 'b.nii', VOLUME)
    assert found_in(capsys, tmp_path / 'a.png', tmp_path / 'b.nii')['sentence'] \
        == 'Recognised in 2 files (palette images, volumes): class numbers 0 to 3.'


@pytest.mark.parametrize('mode, array, message', [
    ('RGB', np.stack([INDEX, INDEX + 1, INDEX], -1), 'of mode RGB: turn each colour into the num'),
    ('RGB', np.stack([MASK] * 3, -1), 'of mode RGB, whose colours are alike: save one of them'),
    ('RGBA', np.stack([MASK] * 4, -1), 'of mode RGBA, whose colours are alike'),
    ('LA', np.stack([MASK, INDEX], -1), 'of mode LA, whose colours are alike'),
    ('CMYK', np.stack([MASK, INDEX, INDEX, INDEX], -1), 'of mode CMYK: turn each colour')])
@pytest.mark.parametrize('ending', ['png', 'tif'])
def test_colours_are_no_labels(mode, array, message, ending, tmp_path, capsys):
    if (mode, ending) in (('CMYK', 'png'), ('LA', 'tif')):
        ending = {'png': 'tif', 'tif': 'png'}[ending]
    path = tmp_path / f'label.{ending}'
    Image.fromarray(array, mode).save(str(path))
    status, _, err = weights(capsys, path)
    assert status == 2 and err.count('\n') == 1
    assert 'must hold one number per pixel; it is an image ' + message in err


def test_of_many_arrays_one_is_named(tmp_path, capsys):
    with h5py.File(str(tmp_path / 'two.h5'), 'w') as file:
        file['data'], file['masks/label'] = INDEX.astype('f4'), INDEX
    path = tmp_path / 'two.h5'
    assert pixels_in(capsys, f'{path}:masks/label') == PIXELS
    for name in (path, f'{path}:label', f'{path}:masks'):
        assert f'{path} holds data, masks/label: name one, for example {path}:data' \
            in weights(capsys, name)[2]
    with h5py.File(str(tmp_path / 'many.h5'), 'w') as file:
        for i in range(30):
            file[f'label{i:02}'] = INDEX
    assert 'holds label00, label01, ' in weights(capsys, tmp_path / 'many.h5')[2]
    assert 'label08' not in weights(capsys, tmp_path / 'many.h5')[2]


def test_files_that_cannot_be_read(tmp_path, capsys):
    Image.fromarray(MASK).save(str(tmp_path / 'label.jpg'))
    assert 'label.jpg is a JPEG, which does not keep the numbers of a label' \
        in weights(capsys, tmp_path / 'label.jpg')[2]
    for ending in sorted(set(READERS) - {'.npy', '.npz'}):
        path = tmp_path / f'text{ending}'
        path.write_text('hello\nworld')
        status, _, err = weights(capsys, path)
        assert status == 2 and f'{path} cannot be read: ' in err and err.count('\n') == 1
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2, 1, 3)), np.eye(4)),
                 str(tmp_path / 'five.nii'))
    assert 'must be a volume (X, Y, Z) or (X, Y, Z, C); it has shape (2, 2, 2, 1, 3)' \
        in weights(capsys, tmp_path / 'five.nii')[2]


@pytest.mark.parametrize('module, package, name', [
    ('PIL', 'pillow', 'a.png'), ('nibabel', 'nibabel', 'a.nii.gz'), ('nibabel', 'nibabel', 'a.mgz'),
    ('h5py', 'h5py', 'a.h5:label'), ('nrrd', 'pynrrd', 'a.nrrd')])
def test_a_library_that_is_missing_is_named(module, package, name, tmp_path):
    path = tmp_path / name.partition(':')[0]
    path.write_bytes(b'')
    status, _, said = run_python(
        f"sys.modules[{module!r}] = None\nfrom soft_dice.__main__ import main\n"
        f"sys.exit(main(['weights', {str(tmp_path / name)!r}]))")
    assert status == 2
    assert said == f'soft_dice weights: {path} needs the package {package}: pip install {package}\n'


@pytest.mark.parametrize('slope, factor', [
    (float(np.nextafter(np.float32(1), np.float32(2))), 1), (1.00002, 1), (0.99998, 1),
    (float(np.float32(0.1)), 10), (1 / 3, 3)])
def test_a_scale_slope_leaves_class_numbers(slope, factor, tmp_path, capsys):
    """The scaled values are no whole numbers, which is said."""
    write_nifti(tmp_path / 'l.nii.gz', VOLUME * factor, slope)
    scaled = load(str(tmp_path / 'l.nii.gz')).array
    assert (scaled != np.rint(scaled)).any()
    assert pixels_in(capsys, tmp_path / 'l.nii.gz') == [3 * each for each in PIXELS]
    sentence = found_in(capsys, tmp_path / 'l.nii.gz')['sentence']
    assert re.search(r'class numbers 0 to 3, up to \de-0\d off, rounded\.$', sentence)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf, 0.5, -1.0, 5000.0, 1e10])
def test_a_number_that_is_no_class_is_told_with_its_place(value, tmp_path, capsys):
    label = INDEX.astype('float64')
    label[3, 4] = value
    status, out, err = weights(capsys, save(tmp_path / 'l.npy', label))
    assert (status, out) == (2, '') and err.count('\n') == 1
    assert 'l.npy: label must be a whole number in [0, 4096)' in err
    assert f'; got {value} in sample 0, pixel 34 of 120' in err


def test_a_scale_slope_that_makes_fractions(tmp_path, capsys):
    write_nifti(tmp_path / 'l.nii.gz', VOLUME, 1.25)
    status, _, err = weights(capsys, tmp_path / 'l.nii.gz')
    assert status == 2 and 'label must be a whole number' in err and 'got 1.25' in err


# --- masks ---------------------------------------------------------------------------------------

@pytest.mark.parametrize('mask, full', [
    (MASK, 255), (MASK.astype('uint16') * 257, 65535), (MASK.astype('float32'), 255),
    (MASK * np.uint8(1), 255), (MASK.astype('int64'), 255)])
def test_a_mask_keeps_its_foreground(mask, full, tmp_path, capsys):
    found = found_in(capsys, save(tmp_path / 'l.npy', mask))
    assert found['recognised'] == 'mask'
    assert f'masks of 0 and {full}; {full} counts as class 1.' in found['sentence']
    assert [each['pixels'] for each in found['classes']] == [90, 30]
    assert found['remarks'][0] \
        == 'The losses take labels of 0 and 1, as `label > 0` makes them of these.'
    expected = class_weights(class_frequencies([INDEX > 0]))
    assert [each['weight'] for each in found['classes']] == expected.tolist()


def test_what_a_mask_is_shows_in_all_files_together(tmp_path, capsys):
    """One file has no foreground, another nothing else."""
    files = [save(tmp_path / f'{i}.npy', each)
             for i, each in enumerate([MASK, MASK * 0, np.full_like(MASK, 255)])]
    assert pixels_in(capsys, *files) == [90 + 120, 30 + 120]
    assert pixels_in(capsys, files[0], files[0]) == [180, 60]
    index = save(tmp_path / 'index.npy', INDEX)
    assert '--ignore-label 255' in weights(capsys, files[0], index)[2]


def test_the_user_may_know_better(tmp_path, capsys):
    path = save(tmp_path / 'l.npy', MASK)
    assert pixels_in(capsys, path, '--ignore-label', 255) == [90]
    assert 'Every pixel that counts is of class 0.' \
        in weights(capsys, path, '--ignore-label', 255)[1]
    assert pixels_in(capsys, path, '--classes', 256)[::255] == [90, 30]
    assert pixels_in(capsys, path, '--kind', 'index', '--classes', 256)[::255] == [90, 30]
    seven = save(tmp_path / 'seven.npy', np.where(INDEX, 7, 0))
    assert 'the labels are 0 and 7: if 7 is the foreground, give --kind mask; if it is a class, ' \
        '--classes 8; if it is no class, --ignore-label 7' in weights(capsys, seven)[2]
    assert pixels_in(capsys, seven, '--kind', 'mask') == [90, 30]
    index = save(tmp_path / 'i.npy', INDEX)
    assert pixels_in(capsys, index, '--kind', 'mask') == [90, 30]
    assert pixels_in(capsys, index, '--kind', 'mask', '--ignore-label', 3) == [90, 26]
    assert 'masks of whole numbers; all but 0 counts as class 1' \
        in weights(capsys, index, '--kind', 'mask')[1]


def test_grey_levels_and_codes_are_no_class_numbers(tmp_path, capsys):
    for levels in ([0, 85, 170, 255], [0, 2, 41, 251], [10, 20, 30, 40]):
        path = save(tmp_path / 'l.npy', np.array(levels)[INDEX])
        status, out, err = weights(capsys, path)
        assert (status, out) == (2, '') and 'ignore-label' not in err
        assert f'the labels are {str(levels)[1:-1]}, as grey levels or codes are' in err
    assert 'the largest label is 255' in weights(
        capsys, save(tmp_path / 'l.npy', np.array([0, 1, 2, 255])[INDEX]))[2]


def test_soft_edges_are_no_classes(tmp_path, capsys):
    """Interpolated, and out of a JPEG."""
    image = Image.fromarray(np.kron(MASK, np.ones((9, 9), 'uint8')))
    image.resize((95, 112), Image.BILINEAR).save(str(tmp_path / 'edges.png'))
    image.save(str(tmp_path / 'l.jpg'), quality=95)
    lossy = Image.fromarray(np.asarray(Image.open(str(tmp_path / 'l.jpg'))))
    lossy.save(str(tmp_path / 'lossy.png'))
    for name in ('edges.png', 'lossy.png'):
        assert len(np.unique(load(str(tmp_path / name)).array)) > 5
        status, out, err = weights(capsys, tmp_path / name)
        assert (status, out) == (2, ''), name
        assert 'as of a mask with soft edges or out of a JPEG: make it hard first' in err


def test_a_soft_mask(tmp_path, capsys):
    soft = np.where(INDEX, 0.75, 0.125)
    found = found_in(capsys, save(tmp_path / 'l.npy', soft))
    assert 'masks of numbers from 0 to 1; the values count as class 1' in found['sentence']
    foreground = 30 * 0.75 + 90 * 0.125
    assert [each['pixels'] for each in found['classes']] == [120 - foreground, foreground]


# --- channels ------------------------------------------------------------------------------------

@pytest.mark.parametrize('label, axis', [
    (ONE_HOT, 2), (np.moveaxis(ONE_HOT, -1, 0), 0), (np.moveaxis(ONE_HOT, -1, 0)[None], 1),
    (ONE_HOT * np.uint8(255), 2), (ONE_HOT.astype('float32'), 2), (ONE_HOT > 0, 2)])
def test_one_hot_labels_are_a_channel_per_class(label, axis, tmp_path, capsys):
    found = found_in(capsys, save(tmp_path / 'l.npy', label))
    assert found['recognised'] == 'channels' and f'on axis {axis}, one' in found['sentence']
    assert [each['pixels'] for each in found['classes']] == PIXELS
    expected = class_weights(class_frequencies([INDEX]))
    assert [each['weight'] for each in found['classes']] == expected.tolist()
    assert found['keywords']['sparse_label'] is False
    assert ('as `label > 0`' in found['remarks'][0]) == (label.max() == 255)


def test_channels_of_several_images(tmp_path, capsys):
    batch = np.stack([ONE_HOT, ONE_HOT[::-1], np.eye(4, dtype='uint8')[INDEX * 0]])
    files = [save(tmp_path / 'a.npy', batch), save(tmp_path / 'b.npy', batch[:1])]
    found = found_in(capsys, *files, '--batched')
    assert found['images'] == 4
    assert [each['pixels'] for each in found['classes']] == [3 * 90 + 120, 60, 18, 12]
    expected = class_weights(class_frequencies([INDEX, INDEX, INDEX, INDEX * 0]))
    np.testing.assert_allclose([each['weight'] for each in found['classes']], expected, rtol=EXACT)


def test_channels_of_volumes(tmp_path, capsys):
    one_hot = np.eye(4, dtype='uint8')[VOLUME]
    write_nifti(tmp_path / 'l.nii.gz', one_hot)
    nrrd.write(str(tmp_path / 'l.seg.nrrd'), np.moveaxis(one_hot, -1, 0),
               {'kinds': ['list', 'domain', 'domain', 'domain']})
    for name in ('l.nii.gz', 'l.seg.nrrd'):
        assert load(str(tmp_path / name)).array.shape == (1, 4, 12, 10, 3)
        assert pixels_in(capsys, tmp_path / name) == [3 * each for each in PIXELS]


def test_soft_channels(tmp_path, capsys):
    logits = np.random.RandomState(0).standard_normal((4, 12, 10))
    soft = np.exp(logits) / np.exp(logits).sum(axis=0)
    found = found_in(capsys, save(tmp_path / 'l.npy', soft.astype('float32')))
    assert '4 channels of numbers from 0 to 1 on axis 0' in found['sentence']
    sums = soft.sum(axis=(1, 2))
    np.testing.assert_allclose([each['pixels'] for each in found['classes']], sums, rtol=1e-5)
    inverse = (1 / sums) / (1 / sums).mean()
    np.testing.assert_allclose([each['weight'] for each in found['classes']], inverse, rtol=1e-5)
    assert f'\n    0 {sums[0]:14.1f} ' in weights(capsys, tmp_path / 'l.npy')[1]


def test_channels_in_pieces_are_the_same(monkeypatch):
    label = np.moveaxis(ONE_HOT, -1, 0)
    monkeypatch.setattr(labels_module, 'PIECE', 37)
    assert look(label).channels[0].tolist() == PIXELS
    wrong = label.copy()
    wrong[:, -1, -1] = 1
    assert look(wrong).channels == {}


def test_channels_that_overlap_are_named(tmp_path, capsys):
    """By their values they are like a binary volume."""
    overlapping = np.stack([INDEX > 0, INDEX > 1, INDEX > 2]).astype('uint8')
    path = save(tmp_path / 'l.npy', overlapping)
    assert pixels_in(capsys, path) == [360 - 44, 44]
    assert 'channels are found where those of each pixel add up to the same; here name their axis' \
        in weights(capsys, path, '--kind', 'channels')[2]
    for axis in (0, -3):
        assert pixels_in(capsys, path, '--kind', 'channels', '--axis', axis) == [30, 10, 4]


@pytest.mark.parametrize('label', [
    np.zeros((1, 12, 10), 'uint8'), (INDEX > 0)[None],
    np.eye(10, dtype='uint8')[None],  # one pixel in each column, as of a boundary
    np.array([[0, 1], [1, 0]]), np.array([0, 1]), np.stack([INDEX > 0] * 3)])
def test_what_has_no_channels(label):
    assert recognise([look(label)]).kind == 'index'


@pytest.mark.parametrize('arguments, message', [
    (['--axis', '0'], '--axis is that of channels: give --kind channels with it'),
    (['--kind', 'channels', '--axis', '2'], r'--axis must be an axis of .*l\.npy, in \[-2, 2\); '
                                            'got 2'),
    (['--kind', 'channels', '--axis', '0'], 'channels must hold 0 and 1, or numbers between them; '
                                            'got 3'),
    (['--batched', '--kind', 'channels', '--axis', '1'], r'in \[-1, 1\); got 1'),
    (['--clip', '0.5'], 'clip must be a number >= 1, for example 50; got 0.5'),
    (['--clip', 'nan'], 'clip must be a number >= 1'), (['--clip', 'inf'], 'got inf')])
def test_what_cannot_be_asked_for(arguments, message, tmp_path, capsys):
    status, out, err = weights(capsys, save(tmp_path / 'l.npy', INDEX), *arguments)
    assert (status, out) == (2, '') and err.count('\n') == 1
    assert re.search(message, err), err


def test_channels_and_masks_that_are_none(tmp_path, capsys):
    one_hot = save(tmp_path / 'one_hot.npy', ONE_HOT)
    assert 'there must be a channel for each of 3 classes; got 4' in weights(
        capsys, one_hot, '--kind', 'channels', '--classes', 3)[2]
    half = save(tmp_path / 'half.npy', INDEX / 2)
    assert 'a mask must hold 0 and 1, or numbers between them; got 1.5' in weights(
        capsys, half, '--kind', 'mask')[2]
    assert 'must have a pixel' in weights(capsys, save(tmp_path / 'e.npy', np.zeros((0, 3))))[2]
    assert 'must have a pixel, and an axis of images' in weights(
        capsys, save(tmp_path / 's.npy', np.array(3)))[2]


# --- the weights ---------------------------------------------------------------------------------

def test_the_largest_weight_is_clipped():
    """1/60, 1/30 and 1/10 are as 1, 2 and 6; at most 4 times the least are 1, 2 and 4."""
    found = class_frequencies([np.repeat([0, 1, 2], [60, 30, 10])], 4)
    np.testing.assert_allclose(class_weights(found, 'inverse', clip=4),
                               np.array([1, 2, 4, 4]) / (7 / 3), rtol=EXACT)
    np.testing.assert_allclose(class_weights(found, 'inverse', clip=6.5),
                               np.array([1, 2, 6, 6]) / 3, rtol=EXACT)
    np.testing.assert_allclose(class_weights(found, 'inverse_square', clip=1), 1, rtol=EXACT)
    for clip in (0, True, '4', np.nan):
        with pytest.raises(ValueError, match='clip must be a number >= 1, for example 50; got'):
            class_weights(found, clip=clip)


def test_the_ratio_of_the_weights_is_said(tmp_path, capsys):
    path = save(tmp_path / 'l.npy', np.repeat([0, 1], [24000, 10]))
    found = found_in(capsys, path)
    assert found['ratio'] == pytest.approx(2400, rel=EXACT)
    assert found['remarks'][-1].startswith('The largest weight is 2,400 times the smallest.  Then')
    assert '--clip 100 limits that' in found['remarks'][-1]
    clipped = found_in(capsys, path, '--clip', 100)
    assert clipped['ratio'] == pytest.approx(100, rel=EXACT)
    assert clipped['remarks'][-1] == 'The largest weight is 100 times the smallest.'


def test_both_kinds_of_weights_with_what_they_are_for(tmp_path, capsys):
    out = weights(capsys, save(tmp_path / 'l.npy', INDEX), '--ignore-label', 9)[1]
    expected = [float(f'{w:.6g}') for w in class_weights(class_frequencies([INDEX]))]
    entropy, dice = re.findall(r"^  Caffe:   param_str: '(.*)'$", out, flags=re.M)
    assert DiceCEOptions.from_param_str(entropy) == DiceCEOptions(
        ce_class_weights=expected, ignore_label=9)
    assert DiceOptions.from_param_str(dice) == DiceOptions(class_weights=expected, ignore_label=9)
    entropy, dice = re.findall('^  Python:  (.*)$', out, flags=re.M)
    assert eval(f'DiceCEOptions({entropy}, {dice.replace(", ignore_label=9", "")})') \
        == DiceCEOptions(ce_class_weights=expected, class_weights=expected, ignore_label=9)
    assert out.splitlines()[-1].startswith('ce_class_weights is for the cross-entropy of DiceCELos')
    found = found_in(capsys, tmp_path / 'l.npy')
    assert DiceCEOptions.from_param_str(found['ce_param_str']) \
        == DiceCEOptions(**found['ce_keywords'])
