"""python -m soft_dice compare, as its user runs it."""
import json
import re
import subprocess
import sys

import h5py
import nibabel
import numpy as np
import pytest
from matplotlib import pyplot
from PIL import Image
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
        ([__file__, label], r'must be a \.npy, \.npz, \.png, .* or \.nhdr file'),
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


# --- what the label is ---------------------------------------------------------------------------

def monai_loss(capsys, *arguments):
    status, out, err = compare(capsys, *arguments, '--json', '--presets', 'monai')
    assert status == 0, err
    found = json.loads(out)
    return found['presets']['monai']['loss'], found['remarks'][0]


def is_loss(value, *arrays, **fields):
    expected = soft_dice_loss(*arrays, DiceOptions(**fields)).mean()
    return relative_error(value, expected) <= TOLERANCE['loss, float32']


def test_masks_of_0_and_255(tmp_path, capsys):
    mask = (LABEL[:1] > 1).astype('uint8')
    Image.fromarray(mask[0] * np.uint8(255)).save(str(tmp_path / 'mask.png'))
    for classes, fields in ((1, dict(activation='sigmoid')), (2, {})):
        pred = save(tmp_path, 'p.npy', PRED[:1, :classes])
        value, read_as = monai_loss(capsys, pred, tmp_path / 'mask.png')
        assert is_loss(value, PRED[:1, :classes], mask, **fields)
        assert 'Read as: masks of 0 and 255; 255 counts as class 1; activation' in read_as
    pred = save(tmp_path, 'p.npy', PRED[:1])
    assert 'whole number in [0, 4)' in compare(capsys, pred, tmp_path / 'mask.png')[2]
    _, read_as = monai_loss(capsys, pred, tmp_path / 'mask.png', '--ignore-label', '255')
    assert 'Read as: index labels; ' in read_as and 'ignore_label 255' in read_as


@pytest.mark.parametrize('factor, axis', [(1, 1), (255, 1), (1, -1), (255, -1)])
def test_one_hot_labels_of_any_layout(factor, axis, tmp_path, files, capsys):
    one_hot = np.moveaxis(np.eye(4, dtype='uint8')[LABEL] * np.uint8(factor), -1, axis)
    label = save(tmp_path, 'one_hot.npy', one_hot)
    value, read_as = monai_loss(capsys, files[0], label, '--activation', 'softmax')
    assert is_loss(value, PRED, LABEL)
    assert 'label per class' in read_as or '4 channels of 0 and 255 on axis' in read_as


def test_channels_that_overlap_from_0_to_255(tmp_path, files, capsys):
    masks = np.stack([LABEL > c for c in range(4)], axis=1).astype('uint8')
    label = save(tmp_path, 'l.npy', masks * np.uint8(255))
    value, _ = monai_loss(capsys, files[0], label)
    assert is_loss(value, PRED, masks, activation='sigmoid', sparse_label=False)


def test_a_soft_mask_and_a_scale_slope(tmp_path, capsys):
    soft = RNG.rand(2, 12, 10)
    pred = save(tmp_path, 'p.npy', PRED[:, :1])
    value, _ = monai_loss(capsys, pred, save(tmp_path, 'l.npy', soft))
    assert is_loss(value, PRED[:, :1], soft[:, None], activation='sigmoid', sparse_label=False)
    value, read_as = monai_loss(capsys, save(tmp_path, 'p.npy', PRED),
                                save(tmp_path, 'l.npy', LABEL * 1.00002))
    assert is_loss(value, PRED, LABEL)
    assert re.search(r'class numbers 0 to 3, up to 6e-05 off, rounded; ', read_as)


def test_other_files(tmp_path, capsys):
    with h5py.File(str(tmp_path / 'both.h5'), 'w') as file:
        file['data'], file['label'] = PRED, LABEL
    value, _ = monai_loss(capsys, f'{tmp_path}/both.h5:data', f'{tmp_path}/both.h5:label')
    assert is_loss(value, PRED, LABEL)
    Image.fromarray(LABEL[0]).save(str(tmp_path / 'l.png'))
    pred = save(tmp_path, 'p.npy', PRED[0])
    value, _ = monai_loss(capsys, pred, tmp_path / 'l.png', '--no-batch')
    assert is_loss(value, PRED[:1], LABEL[:1])


# --- what is said --------------------------------------------------------------------------------

def test_a_formula_names_the_activation_that_was_computed(tmp_path, files, capsys):
    """drozdzal2016 has a sigmoid of its own."""
    row = re.compile('^drozdzal2016 .*$', flags=re.M)
    assert row.search(compare(capsys, *files)[1]).group().endswith(
        '- 2 sum p g / (sum p + sum g), softmax here, sigmoid of its own')
    binary = [save(tmp_path, 'p.npy', PRED[:, :1]), save(tmp_path, 'l.npy', LABEL // 2)]
    out = compare(capsys, *binary)[1]
    assert row.search(out).group().endswith('(sum p + sum g), sigmoid')
    for given in (files, binary):
        table = json.loads(compare(capsys, *given, '--json')[1])
        activation = re.search("activation '(.*?)'", table['remarks'][0]).group(1)
        for name, entry in table['presets'].items():
            for other in {'softmax', 'sigmoid', 'none'} - {activation}:
                assert other not in entry['formula'].replace('sigmoid of its own', '')


@pytest.mark.parametrize('fields', [
    dict(class_weights='inverse', weight_normalization='weights'),
    dict(class_weights='inverse', pool_classes=True, smooth=1e-6),
    dict(class_weights='inverse_square', pool_classes=True, batch_dice=True, smooth=0.0,
         smooth_dr=1e-6, include_background=False)])
def test_nearest_finds_automatic_class_weights(fields, files, capsys):
    options = DiceOptions(**fields)
    loss = soft_dice_loss(PRED, LABEL, options).mean()
    status, out, _ = compare(capsys, *files, '--nearest', f'{loss:.9f}', '--json')
    assert status == 0
    found = json.loads(out)['matches']
    same = dict(absent='count', overlap='product')  # no class is absent, and labels are hard
    assert options in [presets[match['preset']].options.replace(**{**match['changes'], **same})
                       for match in found if match['digits'] == 9]


@pytest.mark.parametrize('arguments, message', [
    (['--sample', '9'], '--sample and --slice are what --plot draws'),
    (['--sample', '0'], '--sample and --slice are what --plot draws'),
    (['--slice', '0'], '--sample and --slice are what --plot draws'),
    (['--plot', 'x.png', '--sample', '9'], r'--sample must lie in \[0, 2\); got 9'),
    (['--plot', 'x.png', '--sample', '-1'], r'--sample must lie in \[0, 2\); got -1'),
    (['--plot', 'x.png', '--slice', '0'], 'of volumes .* the plane of --slice; pred has shape')])
def test_what_draws_nothing_is_not_ignored(arguments, message, files, capsys):
    status, out, err = compare(capsys, *files, *arguments)
    assert (status, out) == (2, '') and re.search(message, err) and err.count('\n') == 1


# --- the picture ---------------------------------------------------------------------------------

@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, which would be closed."""
    drawn = []
    monkeypatch.setattr(pyplot, 'close', drawn.append)
    yield drawn
    monkeypatch.undo()
    for figure in drawn:
        pyplot.close(figure)


def drawn_by(figures, capsys, tmp_path, *arguments):
    status, _, err = compare(capsys, *arguments, '--plot', tmp_path / 'x.png')
    assert status == 0, err
    figure = figures[-1]
    width, height = figure.get_size_inches()
    assert Image.open(str(tmp_path / 'x.png')).size == (round(100 * width), round(100 * height))
    return figure, [axis for axis in figure.axes if axis.images]


def test_the_picture(figures, files, tmp_path, capsys):
    """Five rows of four panels: the label, and the default losses with a scale for each."""
    figure, panels = drawn_by(figures, capsys, tmp_path, *files, '--sample', '1')
    assert len(panels) == 5 * 4
    assert [panel.get_title() for panel in panels[:4]] == [f'class {c}' for c in range(4)]
    rows = [panel.get_ylabel() for panel in panels[::4]]
    loss = soft_dice_loss(PRED, LABEL)[1]
    assert rows[:2] == ['label', f'monai\nloss {loss:.4g}']
    assert [row.split('\n')[0] for row in rows[2:]] == ['milletari2016', 'sudre2017',
                                                        'keras_smooth1']
    _, vjp = soft_dice_loss_vjp(PRED.astype('float64'), LABEL)
    for c in range(4):
        np.testing.assert_array_equal(panels[c].images[0].get_array(), LABEL[1] == c)
        assert relative_error(panels[4 + c].images[0].get_array(), -vjp(1 / 2)[1, c]) \
            <= TOLERANCE['gradient, float32']
    scales = [{panel.images[0].get_clim() for panel in panels[i:i + 4]} for i in range(4, 20, 4)]
    assert [len(each) for each in scales] == [1] * 4 and len(set.union(*scales)) == 4
    said = figure._suptitle.get_text()
    assert 'sample 1: blue raises the logit of the class' in said
    assert 'Each loss has its own colour scale' in said
    boxes = [panel.get_window_extent() for panel in panels]
    assert min(box.width for box in boxes) > 180  # large, and all of a column below each other
    assert len({round(box.x0) for box in boxes}) == 4 and len({round(box.y0) for box in boxes}) == 5


def test_the_picture_of_a_mask_is_no_strip(figures, tmp_path, capsys):
    pred = save(tmp_path, 'p.npy', PRED[:, :1])
    figure, panels = drawn_by(figures, capsys, tmp_path, pred, save(tmp_path, 'l.npy', LABEL // 2))
    width, height = figure.get_size_inches()
    assert width > 2 * height and len(panels) == 5
    assert panels[0].get_ylabel() == 'foreground'
    np.testing.assert_array_equal(panels[0].images[0].get_array(), LABEL[0] // 2)
    assert [panel.get_title().split('\n')[0] for panel in panels][:2] == ['label', 'monai']


def test_the_picture_of_many_classes_has_the_largest(figures, tmp_path, capsys):
    label = RNG.choice(9, (1, 4, 12, 20), p=[0.2, 0, 0.1, 0.1, 0, 0.2, 0.2, 0, 0.2])
    label[0, 2, 0] = 255
    pred = save(tmp_path, 'p.npy', RNG.standard_normal((1, 9, 4, 12, 20)))
    figure, panels = drawn_by(figures, capsys, tmp_path, pred, save(tmp_path, 'l.npy', label),
                              '--presets', 'smp', '--slice', '2', '--ignore-label', '255')
    titles = [panel.get_title() for panel in panels[:6]]
    assert titles == [f'class {c}' for c in (0, 2, 3, 5, 6, 8)] and len(panels) == 12
    np.testing.assert_array_equal(panels[3].images[0].get_array(), label[0, 2] == 5)
    assert 'plane 2' in figure._suptitle.get_text()
    assert 'The 6 of 9 classes with most pixels here.' in figure._suptitle.get_text()


def test_the_picture_of_dense_labels(figures, tmp_path, files, capsys):
    dense = RNG.rand(2, 4, 12, 10)
    dense[0, 1, 3, 4] = 255
    label = save(tmp_path, 'l.npy', dense)
    _, panels = drawn_by(figures, capsys, tmp_path, files[0], label, '--ignore-label', '255')
    expected = dense[0, 1].copy()
    expected[3, 4] = 0
    np.testing.assert_array_equal(panels[1].images[0].get_array(), expected)


def test_one_outlier_does_not_pale_a_picture(figures, tmp_path, capsys):
    """A lone pixel of its class has by far the largest gradient, with these numbers."""
    rng = np.random.RandomState(0)
    label = np.zeros((1, 40, 40), 'uint8')
    label[0, 10:30, 10:30], label[0, 2, 2] = 1, 2
    pred = np.eye(3)[label].transpose(0, 3, 1, 2) + rng.standard_normal((1, 3, 40, 40))
    _, panels = drawn_by(figures, capsys, tmp_path, save(tmp_path, 'p.npy', pred),
                         save(tmp_path, 'l.npy', label), '--presets', 'monai')
    values = np.abs([panel.images[0].get_array() for panel in panels[3:]])
    end = panels[3].images[0].get_clim()[1]
    assert values.max() > 2 * end and (values > end).mean() < 0.006
