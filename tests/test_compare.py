"""python -m soft_dice compare, as its user runs it."""
import json
import re
import subprocess
import sys

import nibabel
import numpy as np
import pytest
from tolerances import TOLERANCE

from soft_dice import DiceOptions, presets, soft_dice_loss, soft_dice_loss_vjp
from soft_dice import survey as survey_module
from soft_dice.__main__ import main
from soft_dice.gradcheck import relative_error

RNG = np.random.RandomState(0)
LABEL = RNG.randint(0, 4, (2, 12, 10)).astype('uint8')
PRED = (2 * np.eye(4)[LABEL].transpose(0, 3, 1, 2) + RNG.standard_normal((2, 4, 12, 10))
        ).astype('float32')


@pytest.fixture
def files(tmp_path):
    np.save(str(tmp_path / 'pred.npy'), PRED)
    np.save(str(tmp_path / 'label.npy'), LABEL)
    return [str(tmp_path / 'pred.npy'), str(tmp_path / 'label.npy')]


def compare(capsys, *arguments):
    status = main(['compare', *map(str, arguments)])
    output = capsys.readouterr()
    return status, output.out, output.err


def save(tmp_path, name, array):
    np.save(str(tmp_path / name), array)
    return str(tmp_path / name)


def test_every_preset_with_its_value_and_gradient(files, capsys):
    status, out, _ = compare(capsys, *files, '--json')
    table = json.loads(out)['presets']
    assert status == 0 and set(table) == set(presets)
    for name, entry in table.items():
        options = presets[name].options.replace(activation='softmax')
        loss, vjp = soft_dice_loss_vjp(PRED.astype('float64'), LABEL, options)
        gradient = vjp(1 / len(PRED))
        assert relative_error(entry['loss'], loss.mean()) <= TOLERANCE['loss, float32']
        assert relative_error(entry['gradient_norm'], np.linalg.norm(gradient)) \
            <= TOLERANCE['gradient, float32']
        assert DiceOptions(**entry['options']) == options
    assert [entry['loss'] for entry in table.values()] == sorted(entry['loss'] for entry in
                                                                 table.values())


def test_table(files, capsys):
    status, out, _ = compare(capsys, *files, '--per-class', '--presets', 'monai,smp')
    assert status == 0
    value = soft_dice_loss(PRED, LABEL).mean()
    assert re.search(rf'^monai +{value:.6f} +\d\.\d{{3}}e-\d\d +1 - mean_c', out, flags=re.M)
    assert out.count('score of each counted class:') == 2


def test_in_pieces_is_the_same(files, capsys, monkeypatch):
    whole = compare(capsys, *files, '--json')[1]
    monkeypatch.setattr(survey_module, 'PIECE', 50)
    pieces = compare(capsys, *files, '--json')[1]
    for name, entry in json.loads(whole)['presets'].items():
        other = json.loads(pieces)['presets'][name]
        for key in ('loss', 'gradient_norm', 'score'):
            assert relative_error(entry[key], other[key]) <= TOLERANCE['loss, float32']


def test_absent_classes_and_empty_images_in_words(tmp_path, files, capsys):
    label = LABEL.copy()
    label[0], label[1][label[1] == 2] = 0, 0
    _, out, _ = compare(capsys, files[0], save(tmp_path, 'l.npy', label))
    assert 'Sample 0: an empty image, all background.' in out
    assert 'Sample 1: no pixel of the label is of class 2. The losses' in out
    label[0] = 255
    _, out, _ = compare(capsys, files[0], save(tmp_path, 'l.npy', label), '--ignore-label', 255)
    assert 'Sample 0: every pixel is ignored.' in out


NEAREST = {
    'smooth 1': dict(smooth=1.0),
    'batch': dict(batch_dice=True, smooth=1.0),
    'no background': dict(include_background=False),
    'epsilon below': dict(smooth=0.0, smooth_dr=0.1),
}


@pytest.mark.parametrize('name', list(presets))
@pytest.mark.parametrize('said_as', ['loss', 'score'])
def test_nearest_finds_every_preset(name, said_as, files, capsys):
    options = presets[name].options.replace(activation='softmax')
    loss = soft_dice_loss(PRED.astype('float64'), LABEL, options).mean()
    printed = f'{loss if said_as == "loss" else 1 - loss:.6f}'
    status, out, _ = compare(capsys, *files, f'--nearest={printed}', '--json')
    matches = json.loads(out)['matches']
    assert status == 0 and matches[0]['digits'] == 6
    assert (name, {}) in [(match['preset'], match['changes']) for match in matches]


@pytest.mark.parametrize('name', list(NEAREST))
def test_nearest_finds_changed_settings(name, files, capsys):
    options = DiceOptions(**NEAREST[name])
    loss = soft_dice_loss(PRED, LABEL, options).mean()
    status, out, _ = compare(capsys, *files, '--nearest', f'{loss:.10f}', '--json')
    first = json.loads(out)['matches'][0]
    assert status == 0 and first['digits'] == 10 and first['said_as'] == 'loss'
    # No class is absent, labels are hard and weights 1, so these make no difference here.
    same = dict(absent='count', overlap='product', weight_normalization='classes')
    assert presets[first['preset']].options.replace(**{**first['changes'], **same}) == options


def test_nearest_says_when_nothing_agrees(files, capsys):
    status, out, _ = compare(capsys, *files, '--nearest', '77.123')
    assert status == 1 and 'No formula searched gives 77.123' in out


def test_binary_and_dense_labels(tmp_path, capsys):
    binary = (LABEL > 1).astype('uint8')
    status, out, _ = compare(capsys, save(tmp_path, 'p.npy', PRED[:, :1]),
                             save(tmp_path, 'l.npy', binary), '--json')
    options = DiceOptions(activation='sigmoid')
    expected = soft_dice_loss(PRED[:, :1], binary, options).mean()
    assert relative_error(json.loads(out)['presets']['monai']['loss'], expected) \
        <= TOLERANCE['loss, float32']
    dense = np.eye(4)[LABEL].transpose(0, 3, 1, 2)
    status, out, _ = compare(capsys, save(tmp_path, 'p.npy', PRED),
                             save(tmp_path, 'l.npy', dense), '--activation', 'softmax', '--json')
    expected = soft_dice_loss(PRED, LABEL).mean()
    assert relative_error(json.loads(out)['presets']['monai']['loss'], expected) \
        <= TOLERANCE['loss, float32']


def test_nan_is_said_and_json_stays_json(tmp_path, files, capsys):
    pred = PRED.copy()
    pred[1, 0, 0, 0] = np.nan
    status, out, _ = compare(capsys, save(tmp_path, 'n.npy', pred), files[1], '--json')
    read = json.loads(out, parse_constant=lambda name: pytest.fail(f'{name} is not JSON'))
    assert status == 0 and read['presets']['monai']['loss'] is None
    assert 'Sample 1: the prediction is not finite, and so is no loss.' in read['remarks']


def test_how_the_arrays_were_read_is_said(tmp_path, files, capsys):
    dense = np.eye(4)[LABEL].transpose(0, 3, 1, 2)
    assert "Read as: index labels; activation 'softmax'" in compare(capsys, *files)[1]
    out = compare(capsys, files[0], save(tmp_path, 'd.npy', dense))[1]
    assert "Read as: a label per class; activation 'sigmoid' for every preset." in out


@pytest.mark.parametrize('printed', ['-4.8e-1', '-0.48'])
def test_negative_value(printed, files, capsys):
    status, out, _ = compare(capsys, *files, '--nearest', printed, '--json')
    assert status == 0 and json.loads(out)['value'] == printed


def test_float16(tmp_path, files, capsys):
    half = save(tmp_path, 'h.npy', PRED.astype('float16'))
    _, out, _ = compare(capsys, half, files[1], '--json', '--presets', 'monai')
    expected = soft_dice_loss(PRED.astype('float16').astype('float64'), LABEL).mean()
    assert relative_error(json.loads(out)['presets']['monai']['loss'], expected) \
        <= TOLERANCE['loss, float32']


def test_file_formats(tmp_path, capsys):
    pred, label = PRED[:1].transpose(0, 1, 3, 2)[..., None], LABEL[:1].transpose(0, 2, 1)[..., None]
    expected = soft_dice_loss(pred, label).mean()
    np.savez(str(tmp_path / 'both.npz'), pred=pred, label=label)
    np.save(str(tmp_path / 'p.npy'), np.moveaxis(pred[0], 0, -1))
    np.save(str(tmp_path / 'l.npy'), label[0])
    nibabel.save(nibabel.Nifti1Image(np.moveaxis(pred[0], 0, -1), np.eye(4)),
                 str(tmp_path / 'p.nii.gz'))
    nibabel.save(nibabel.Nifti1Image(label[0], np.eye(4)), str(tmp_path / 'l.nii.gz'))
    for arguments in ([f'{tmp_path}/both.npz:pred', f'{tmp_path}/both.npz:label'],
                      [f'{tmp_path}/p.nii.gz', f'{tmp_path}/l.nii.gz'],
                      [f'{tmp_path}/p.npy', f'{tmp_path}/l.npy', '--no-batch', '--axis', '-1']):
        status, out, err = compare(capsys, *arguments, '--json', '--presets', 'monai')
        assert status == 0, err
        assert relative_error(json.loads(out)['presets']['monai']['loss'], expected) \
            <= TOLERANCE['loss, float32']


@pytest.mark.parametrize('shape', [(2, 4, 12, 10), (1, 3, 5, 8, 6)])
def test_plot(shape, tmp_path, capsys):
    pred = RNG.standard_normal(shape)
    label = RNG.randint(0, shape[1], shape[:1] + shape[2:])
    picture = tmp_path / 'gradients.png'
    arrays = save(tmp_path, 'p.npy', pred), save(tmp_path, 'l.npy', label)
    status, out, err = compare(capsys, *arrays, '--plot', picture, '--presets', 'monai,sudre2017')
    assert status == 0, err
    assert picture.read_bytes().startswith(b'\x89PNG') and picture.stat().st_size > 5000


def test_drawn_gradient_is_that_of_the_loss():
    survey = survey_module.Survey(survey_module.Pair(PRED, LABEL), DiceOptions())
    _, vjp = soft_dice_loss_vjp(PRED, LABEL)
    assert relative_error(survey.gradient(DiceOptions(), 1, None), vjp(1 / 2)[1]) \
        <= TOLERANCE['gradient, float32']


def test_bad_input(tmp_path, files, capsys):
    pickled = tmp_path / 'pickled.npy'
    np.save(str(pickled), np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / 'text.npy').write_text('hello')
    (tmp_path / 'text.npz').write_text('hello')
    (tmp_path / 'text.nii.gz').write_text('hello')
    np.savez(str(tmp_path / 'two.npz'), a=PRED, b=LABEL)
    zipped, single = tmp_path / 'zipped.npy', tmp_path / 'single.npz'
    zipped.write_bytes((tmp_path / 'two.npz').read_bytes())
    pred, label = files
    with open(pred, 'rb') as file:
        single.write_bytes(file.read())
    out_of_range = save(tmp_path, 'range.npy', np.where(LABEL == 3, 9, LABEL))
    cases = [
        (['nowhere.npy', label], 'there is no file nowhere.npy'),
        ([pickled, label], 'is a pickled array'),
        ([tmp_path / 'text.npy', label], 'is a pickled array or no array at all'),
        ([tmp_path / 'text.npz', label], 'text.npz'),
        ([tmp_path / 'text.nii.gz', label], 'text.nii.gz cannot be read'),
        ([tmp_path / 'two.npz', label], 'holds a, b: name one'),
        ([__file__, label], 'must be a .npy, .npz, .nii or .nii.gz file'),
        ([pred, save(tmp_path, 's.npy', LABEL[:1])], 'label must have one value per pixel'),
        ([pred, out_of_range], r'whole number in \[0, 4\).*got 9 in sample 0, pixel'),
        ([label, label], 'must hold floating point numbers; it holds uint8'),
        ([save(tmp_path, 't.npy', np.array(['a'])), label], 'must hold numbers'),
        ([pred, label, '--presets', 'dice'], "--presets must name some of milletari2016"),
        ([pred, label, '--nearest', 'x'], '--nearest must be a number'),
        ([pred, label, '--nearest', 'nan'], '--nearest must be a number'),
        ([pred, label, '--axis', '0'], '--axis must be an axis of pred after the batch'),
        ([pred, label, '--axis', '9'], '--axis must be an axis'),
        ([pred, label, '--plot', tmp_path / 'no' / 'such.png'], 'cannot be written'),
        ([pred, label, '--plot', tmp_path / 'x.png', '--sample', '2'], r'--sample must lie in'),
        ([pred, label, '--plot', tmp_path], 'must name a file that ends in .png'),
        ([pred, label, '--plot', 'x'], 'must name a file that ends in .png'),
        ([pred, label, '--nearest', '1', '--plot', 'x.png'], 'leave out --plot'),
        ([zipped, label], 'zipped.npy is an archive of arrays'),
        ([single, label], 'single.npz is a single array'),
    ]
    for arguments, message in cases:
        status, _, err = compare(capsys, *arguments)
        assert status == 2 and re.search(message, err), (arguments, err)
        assert len(err.strip().split('\n')) == 1 and 'Traceback' not in err


def test_as_a_command(files):
    done = subprocess.run([sys.executable, '-m', 'soft_dice', 'compare', *files, '--axis', '7'],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 2 and b'Traceback' not in done.stderr
    usage = subprocess.run([sys.executable, '-m', 'soft_dice'], stderr=subprocess.PIPE)
    assert usage.returncode == 2 and b'COMMAND' in usage.stderr
