"""The study: its tasks are what they say, its wrong losses are wrong, a run can be resumed, and the
report says what the results say.  `make study` is the real thing.
"""
import json
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import caffe
import mxnet as mx
import numpy as np
import pytest
from backends import make_net
from processes import HANG, ends, surroundings

import gluon_dice
from demo import brain, gluon_training
from gluon_dice.gradcheck import check_loss
from soft_dice import DiceCEOptions, DiceOptions, dice_ce_loss, hard_dice
from study import __main__ as command
from study import gradients, on_caffe, on_gluon, pictures, report, results, wrong
from study.losses import LOSSES, caffe_layer, options
from study.results import Result, jobs
from study.tasks import TASKS, Images
from study.training import Job, false_alarms, train

# --- tasks ----------------------------------------------------------------------------------------


def shares(task, part='train'):
    """Of the classes, in pixels."""
    label = task.data(part, 0).label.astype(int)
    return np.bincount(label.ravel(), minlength=len(task.classes)) / label.size


@pytest.mark.parametrize('name', TASKS)
def test_images_and_labels_fit(name):
    task = TASKS[name]
    for part in ('train', 'test'):
        image, label = task.data(part, 0)
        assert image.shape == label.shape and image.dtype == label.dtype == np.float32
        assert np.isfinite(image).all()
        assert set(np.unique(label)) == set(range(len(task.classes)))
        assert shares(task, part).argmin() == task.rare
        assert image.shape[2] % 4 == image.shape[3] % 4 == 0  # the U-Net halves them twice


@pytest.mark.parametrize('name', TASKS)
def test_seeds_and_parts_differ_and_repeat(name):
    data = TASKS[name].data
    first = data('train', 0).image
    assert (first != data('train', 1).image).any()
    assert len(first) != len(data('test', 0).image) or (first != data('test', 0).image).any()
    again = getattr(data, 'func', data).__wrapped__('train', 0, *getattr(data, 'keywords', {}))
    np.testing.assert_array_equal(first, again.image)


def test_how_rare_and_how_many():
    for part in ('train', 'test'):
        images = TASKS['lesions'].data(part, 0).label == TASKS['lesions'].rare
        assert 0.0003 < images.mean() < 0.002  # well below 1 %
        assert 0.1 < images.any(axis=(1, 2, 3)).mean() < 0.4  # in few slices
        assert shares(TASKS['toy'], part)[2] == pytest.approx(6 / 1024)
        found = (TASKS['empty'].data(part, 0).label > 0).any(axis=(1, 2, 3))
        assert found.mean() == 0.5


def test_lesions_are_bright_and_the_rest_is_as_without(monkeypatch):
    monkeypatch.setattr(brain, 'corrupt', lambda image, rng: image)
    task = TASKS['lesions']
    with_lesions = task.data.func.__wrapped__('train', 0, lesions=True)
    without = task.data.func.__wrapped__('train', 0)
    lesions = with_lesions.label == task.rare
    assert set(np.unique(without.label[lesions])) == {brain.CLASSES.index('white')}
    assert with_lesions.image[lesions].min() > np.percentile(without.image[lesions], 99)
    for one, other in zip(with_lesions, without):
        np.testing.assert_array_equal(one[~lesions], other[~lesions])


# --- losses ---------------------------------------------------------------------------------------

INDEX = {'pred': (2, 3, 5, 4), 'label': (2, 1, 5, 4)}


def test_every_loss_can_be_made():
    task = TASKS['toy']
    for loss in LOSSES.values():
        assert callable(on_gluon.block(loss, task, 0))
        if loss.kind and not loss.wrong:
            assert loss.code.startswith(f'{loss.kind}(') and hasattr(gluon_dice, loss.kind)


def test_the_weights_are_inverse_to_the_frequencies():
    task = TASKS['toy']
    weights = np.array(options(LOSSES['weighted_ce'], task, 0)['ce_class_weights'])
    products = weights * shares(task)
    np.testing.assert_allclose(products, products[0])


def test_monai_s_dice_ce_is_left_out_as_it_is_dice_ce_here():
    """Without ignored pixels and weights of classes, where the two differ."""
    pred = np.random.RandomState(0).standard_normal((3, 4, 9, 8))
    label = np.random.RandomState(1).randint(0, 4, (3, 9, 8))
    ours, theirs = (dice_ce_loss(pred, label, each) for each in (DiceCEOptions(), 'monai_dice_ce'))
    np.testing.assert_allclose(ours.mean(), theirs.mean(), rtol=1e-12)


def test_both_frameworks_train_with_the_same_options():
    task = TASKS['toy']
    for loss in LOSSES.values():
        if loss.kind and not loss.wrong:
            text = re.search("param_str: '(.*)'", caffe_layer(loss, task, 0)).group(1)
            kind = DiceCEOptions if loss.kind == 'DiceCELoss' else DiceOptions
            assert kind.from_param_str(text) == on_gluon.block(loss, task, 0).options


def test_wrong_losses_say_so():
    kinds = {loss.kind for loss in LOSSES.values() if loss.wrong}
    assert kinds == {name for name, each in vars(wrong).items()
                     if getattr(each, '__module__', '') == wrong.__name__ and name[0] != '_'}
    assert all(getattr(wrong, kind).__doc__.startswith('WRONG: ') for kind in kinds)


@pytest.mark.parametrize('name', TASKS)
def test_both_frameworks_have_the_same_network(name):
    task = TASKS[name]
    shape = (2, *task.data('test', 0).image.shape[1:])
    net = on_gluon.network(task)
    net.initialize()
    assert net(mx.nd.zeros(shape)).shape == (2, len(task.classes), *shape[2:])
    gluon = sorted(each.shape for name, each in net.collect_params().items()
                   if name.endswith(('weight', 'bias')))
    if task.in_caffe:
        other = make_net(on_caffe.network(task, shape), caffe.TEST)
        types = dict(zip(other._layer_names, (layer.type for layer in other.layers)))
        assert gluon == sorted(tuple(blob.shape) for layer, blobs in other.params.items()
                               if types[layer] in ('Convolution', 'Deconvolution')
                               for blob in blobs)


# What the project's own checker says of each, beside what follows from 4-dimensional input.
FINDINGS = {'ArgmaxForward': ('gradient', 'zero-forward'), 'ScoreAsLoss': ('direction', 'rises'),
            'HeadGradientIgnored': ('head_gradient', 'wrong')}


@pytest.mark.parametrize('kind', FINDINGS)
def test_the_checker_finds_the_defect(kind):
    key, verdict = FINDINGS[kind]
    found = check_loss(getattr(wrong, kind), **INDEX)
    assert found[key].verdict == verdict and not found[key].good


def test_the_checker_finds_a_second_softmax_when_it_is_told_of_the_first():
    """What SoftmaxTwice does in one."""
    found = check_loss(gluon_dice.SoftDiceLoss, input='softmax', **INDEX)['activation']
    assert found.verdict == 'applied twice' and not found.good


def test_softmax_twice_is_by_itself_a_loss_with_the_right_gradient():
    """So that the checker, which does not know that scores were meant, has nothing to say."""
    assert all(found.good for found in check_loss(wrong.SoftmaxTwice, **INDEX).values())
    pred, label = mx.nd.array([[[[5.0]], [[0.0]]]]), mx.nd.zeros((1, 1, 1, 1))
    p = 1 / (1 + np.exp(-5.0))
    second = 1 / (1 + np.exp(1 - 2 * p))  # softmax of p and 1 - p
    assert wrong.SoftmaxTwice()(pred, label).asscalar() == pytest.approx(
        1 - (2 * second / (1 + second) + 0) / 2, abs=1e-4)


def test_a_denominator_per_pixel_is_no_dice():
    """Its gradient is that of its forward, so that only the value tells: pixels do not compete."""
    half = mx.nd.zeros((1, 2, 1, 4))  # p is 1/2 everywhere
    value = wrong.DenominatorPerPixel()(half, mx.nd.array([[[[0, 0, 0, 1]]]])).asscalar()
    # In every pixel the label's class scores 2 (1/2) / (3/2) = 2/3 and the other one 0.
    assert value == pytest.approx(1 - (2 / 3 + 0) / 2, abs=1e-4)
    assert gluon_dice.SoftDiceLoss()(half, mx.nd.array([[[[0, 0, 0, 1]]]])).asscalar() == \
        pytest.approx(1 - (3 / 5 + 1 / 3) / 2, abs=1e-4)  # 2 (3/2) / (2 + 3) and 2 (1/2) / (2 + 1)


# --- why: the picture of the gradients ------------------------------------------------------------

@pytest.mark.parametrize('form', gradients.FORMS.values(), ids=lambda form: form.title)
def test_formula_of_the_gradient(form):
    p = np.array([1e-6, 1e-3, 0.1, 0.5, 0.9])
    computed = [gradients.size(form, each) for each in p]
    np.testing.assert_allclose(computed, form.formula(p), rtol=1e-7)


@pytest.mark.parametrize('form', gradients.FORMS.values(), ids=lambda form: form.title)
def test_what_the_gradient_is_near_zero(form):
    """As the picture says it."""
    p = 1e-9
    names = {'n': gradients.RARE, 'P': gradients.PIXELS, 'p': p}
    said = eval(form.small.replace('2 p', '2 * p'), names)
    assert form.formula(np.array(p)) == pytest.approx(said, rel=0.02)


# --- trainings ------------------------------------------------------------------------------------

@pytest.mark.parametrize('framework', ['gluon', 'caffe'])
def test_a_training(framework):
    job = Job('toy', 'dice_ce', framework, seed=3, steps=25)
    outcome = train(job)
    assert [step for step, _ in outcome['curve']] == [20, 25]
    assert outcome['settings'] == job.settings() and np.isfinite(outcome['last_loss'])
    assert outcome['false_alarms'] is None  # there is a spot in every image
    again = train(job)
    assert again['curve'] == outcome['curve'] and again['last_loss'] == outcome['last_loss']
    json.dumps(outcome)


@pytest.mark.parametrize('framework', ['gluon', 'caffe'])
def test_every_loss_begins_with_the_weights_of_its_seed(framework):
    task, module = TASKS['toy'], {'gluon': on_gluon, 'caffe': on_caffe}[framework]
    images = task.data('test', 0).image

    def decided(loss, seed):
        _, predict = module.begin(Job('toy', loss, framework, seed, 10), task)
        return predict(images)

    first = decided('ce', 0)
    np.testing.assert_array_equal(first, decided('dice_ce', 0))
    assert (first != decided('ce', 1)).any()


def test_names_are_apart_and_inside_the_picture():
    for heights in ([0.0, 0.0, 0.01, 0.5], [0.2, 0.97, 0.98, 1.0]):
        moved = pictures._apart(heights, gap=0.05)
        assert min(np.diff(moved)) > 0.0499 and 0 <= moved[0] and moved[-1] <= 1


def test_false_alarms():
    label = np.zeros((4, 1, 2, 2))
    label[0, 0, 0, 0] = 1
    decided = np.zeros((4, 1, 2, 2))
    decided[0] = decided[1] = 1
    test = Images(np.zeros_like(label), label)
    assert false_alarms(decided, test, rare=1) == pytest.approx(1 / 3)
    assert hard_dice(decided, label, 2)[1] == pytest.approx(2 / (8 + 1))


# --- results: what is kept, and what is trained again ---------------------------------------------

def made(job, dice, seconds=1.0, false_alarms=None):
    """The outcome of a training whose Dice of every class rises to ``dice``."""
    rare = TASKS[job.task].rare
    curve = [[job.steps // 2, [0.5 if c == rare else each for c, each in enumerate(dice)]],
             [job.steps, dice]]
    return {'settings': job.settings(), 'curve': curve, 'false_alarms': false_alarms,
            'last_loss': 0.1, 'seconds': seconds}


def everything(seeds=5):
    """All results, of which the seed and the loss can be read off."""
    names = list(LOSSES)
    found = []
    for job in jobs(seeds):
        dice = [0.99] * len(TASKS[job.task].classes)
        dice[TASKS[job.task].rare] = round(
            0.95 - names.index(job.loss) / 100 - job.seed / 1000, 4)
        outcome = made(job, dice, false_alarms=None if job.task == 'toy' else 0.25)
        outcome.pop('settings')
        found.append(Result(job, **outcome))
    return found


def test_the_jobs():
    all_jobs = jobs(5)
    assert len(all_jobs) == len(set(all_jobs)) == len({job.name for job in all_jobs})
    gluon = [job for job in all_jobs if job.framework == 'gluon']
    assert len(gluon) == 5 * len(TASKS) * len(LOSSES)
    caffe = {(job.task, job.loss) for job in all_jobs if job.framework == 'caffe'}
    main = {name for name, loss in LOSSES.items() if loss.main}
    assert caffe == {(task, loss) for task in ('lesions', 'toy') for loss in main}
    assert len({job.seed for job in all_jobs[:len(all_jobs) // 5]}) == 1  # one after the other
    assert {job.steps for job in jobs(1, steps=40)} == {40}


def test_a_result_is_read_back_and_one_of_other_settings_is_not(tmp_path):
    job = Job('toy', 'dice', 'gluon', 0, 600)
    results.save(tmp_path, job, made(job, [1.0, 0.9, 0.8]))
    assert [path.name for path in tmp_path.iterdir()] == ['toy-dice-gluon-0.json']
    found, = results.load(tmp_path, [job])
    assert found.job == job and found.rare == 0.8 and found.worst == 0.8 and found.reached is None
    assert results.load(tmp_path, [job._replace(steps=300), job._replace(seed=1)]) == []
    text = (tmp_path / 'toy-dice-gluon-0.json').read_text()
    (tmp_path / 'toy-dice-gluon-0.json').write_text(text.replace('SoftDiceLoss()', 'Other()'))
    assert results.load(tmp_path, [job]) == []
    (tmp_path / 'toy-dice-gluon-0.json').write_text(text[:40])  # as after a full disk
    assert results.load(tmp_path, [job]) == []


def test_when_a_result_reached_it():
    job = Job('toy', 'dice', 'gluon', 0, 600)
    curve = [[20, [1, 1, 0.3]], [40, [1, 1, 0.9]], [60, [1, 1, 0.8]], [80, [1, 1, 0.95]]]
    assert Result(job, curve, None, 0.0, 1.0).reached == 40


# --- the report -----------------------------------------------------------------------------------

def rows_below(text, heading):
    """The cells of the first table after a heading, without its rule."""
    lines = text[text.index(heading):].split('\n')
    start = next(i for i, line in enumerate(lines) if line.startswith('| loss'))
    found = []
    for line in lines[start:]:
        if not line.startswith('|'):
            break
        found.append([cell.strip() for cell in line.strip('|').split('|')])
    return [found[0], *found[2:]]


def test_tables():
    text = report.tables(everything())
    head, *rows = rows_below(text, '')
    assert head == ['loss', 'brain', 'lesions', 'toy', 'half empty']
    assert [row[0] for row in rows] == [
        'WRONG: ' * bool(loss.wrong) + loss.title for loss in LOSSES.values()]  # as made
    assert rows[1][1:] == ['0.94 (0.94)'] * 4  # the second loss: 0.94 - 0.002, at least 0.936
    head, *rows = rows_below(text, '### toy')
    assert head == ['loss', 'spot', 'background', 'disc', 'worst class', 'spot reaches 0.9',
                    'seconds']
    assert rows[0] == ['cross-entropy', '0.95 (0.95 to 0.95)', '0.99', '0.99',
                       '0.95 (0.95 to 0.95)', '5 of 5, step 600', '1.0']
    assert rows[5][5] == '1 of 5, step 600' and rows[6][5] == '0 of 5'  # 0.90 - 0.001 seed; 0.89
    head, *rows = rows_below(text, '### half empty')
    assert head[-2:] == ['false alarms', 'seconds'] and rows[0][-2] == '25%'
    assert '| toy | cross-entropy | 0.95 (0.95 to 0.95) | 0.95 (0.95 to 0.95) |' in text
    assert "| Dice over the batch | `SoftDiceLoss(batch_dice=True)` |" in text


def test_the_best_is_first_and_the_wrong_are_last():
    some = [Result(Job('toy', loss, 'gluon', 0, 600), [[600, [1, 1, dice]]], None, 0.0, 1.0)
            for loss, dice in (('wrong_score', 1.0), ('ce', 0.2), ('dice', 0.7))]
    assert report.ranked(report.of(some)['toy']) == ['dice', 'ce', 'wrong_score']
    assert [row[0] for row in rows_below(report.tables(some), '')[1:]] == [
        'Dice per image (MONAI\'s)', 'cross-entropy', 'WRONG: score as loss']


def test_spread():
    assert results.spread([0.5, 0.7, 0.9]) == '0.70 (0.50 to 0.90)'


def test_the_page_is_written_between_its_markers_with_its_pictures(tmp_path):
    page = tmp_path / 'which-loss.md'
    page.write_text(f'before\n{report.BEGIN}\nold\n{report.END}\nafter\n')
    report.write(page, everything())
    text = page.read_text()
    assert text.startswith(f'before\n{report.BEGIN}\n') and text.endswith(f'{report.END}\nafter\n')
    assert 'old' not in text and f'{len(everything())} trainings, 5 seeds' in text
    names = re.findall(r'!\[.*?\]\((.*?)\)', text)
    assert names == [report.SEEDS, report.CURVES]
    assert all((tmp_path / name).read_bytes().startswith(b'\x89PNG') for name in names)
    page.write_text('no markers')
    with pytest.raises(ValueError, match='which-loss.md must have the lines'):
        report.write(page, everything())


def test_pictures_of_a_part(tmp_path):
    few = [each for each in everything(2) if each.job.task == 'toy']
    assert report.draw(tmp_path, few) == [report.SEEDS]
    assert [path.name for path in tmp_path.iterdir()] == [report.SEEDS]
    pictures.draw_gradients(tmp_path / 'gradients.png')
    assert (tmp_path / 'gradients.png').read_bytes().startswith(b'\x89PNG')


def test_the_real_page_has_the_markers_and_the_picture():
    text = report.PAGE.read_text(encoding='utf-8')
    assert text.index(report.BEGIN) < text.index(report.END)
    assert f']({pictures.GRADIENTS.name})' in text and pictures.GRADIENTS.exists()


# --- the command ----------------------------------------------------------------------------------

@pytest.fixture
def trained(monkeypatch):
    """The jobs that the command trains, in a thread, with an outcome that is there at once."""
    done = []

    def train(job):
        done.append(job)
        return made(job, [0.9] * len(TASKS[job.task].classes))

    monkeypatch.setattr(command, '_pool', ThreadPoolExecutor)
    monkeypatch.setattr(command, 'train', train)
    return done


def test_a_run_goes_on_where_it_was_stopped(trained, tmp_path, capsys):
    assert command.main(['--only', 'toy/dice', '--seeds', '1', '--out', str(tmp_path)]) == 0
    assert [job.name for job in trained] == ['toy-dice-gluon-0', 'toy-dice-caffe-0']
    assert command.main(['--only', 'toy/d*', '--seeds', '2', '--out', str(tmp_path)]) == 0
    assert len(trained) == len(set(trained)) == 2 * len(
        [job for job in jobs(1) if job.task == 'toy' and job.loss[0] == 'd'])
    assert f'{len(trained)} trainings. ' in capsys.readouterr().out
    assert command.main(['--only', 'toy/d*', '--seeds', '2', '--out', str(tmp_path)]) == 0
    assert len(set(trained)) == len(trained)


def test_what_was_trained_is_kept_when_a_training_fails(trained, tmp_path, monkeypatch):
    def fails(job):
        raise ZeroDivisionError

    good = command.train
    monkeypatch.setattr(command, 'train', lambda job: (fails if job.seed else good)(job))
    with pytest.raises(ZeroDivisionError):
        command.main(['--only', 'brain/ce', '--seeds', '2', '--processes', '1', '--out',
                      str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ['brain-ce-gluon-0.json']


def test_quick_and_whole_results_do_not_meet(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(command, 'OUT', tmp_path)
    assert command.main(['--quick', '--only', 'toy/ce']) == 0
    assert {job.steps for job in trained} == {command.QUICK_STEPS}
    assert {path.name for path in tmp_path.iterdir()} == {'quick'}


def test_a_whole_run_writes_the_page_and_a_part_does_not(trained, tmp_path, monkeypatch, capsys):
    page = tmp_path / 'which-loss.md'
    monkeypatch.setattr(report, 'PAGE', page)
    monkeypatch.setattr(report, 'draw', lambda folder, found: [])  # other tests look at these
    page.write_text(f'{report.BEGIN}\n{report.END}\n')
    before = page.read_text()
    out = ['--out', str(tmp_path / 'out')]
    assert command.main(['--seeds', '4', *out]) == 0
    assert page.read_text() == before
    assert command.main(['--report', *out]) == 0  # of 5 seeds, of which one is missing
    assert page.read_text() == before and 'nothing is left out' in capsys.readouterr().out
    assert command.main(out) == 0
    assert f'{len(trained)} trainings, 5 seeds' in page.read_text()
    assert len(trained) == len(jobs(5))


def test_a_process_that_ends(monkeypatch, tmp_path, capsys):
    def train(job):
        raise BrokenProcessPool

    monkeypatch.setattr(command, '_pool', ThreadPoolExecutor)
    monkeypatch.setattr(command, 'train', train)
    assert command.main(['--only', 'toy/ce', '--out', str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith('study: a process ended')


def test_stopped_by_hand(monkeypatch, tmp_path, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, '_pool', stop)
    assert command.main(['--only', 'toy/ce', '--out', str(tmp_path)]) == 2
    assert capsys.readouterr().err == '\nstudy: stopped; the same command goes on from here\n'


@pytest.mark.parametrize('arguments, message', [
    (['--only', 'toy'], '--only takes TASK/LOSS, for example toy/dice or toy/*; the tasks are '
     'brain, lesions, toy, empty, and the losses ce, '),
    (['--only', 'toy/dice', 'toy/DICE'], '; got toy/DICE\n'),
    (['--out', '/proc/nowhere'], 'cannot write into /proc/nowhere: '),
    (['--report', '--out', '{empty}'], 'there are no results in {empty}; leave out --report to '
     'train'),
])
def test_bad_arguments(arguments, message, tmp_path, capsys):
    assert command.main([each.format(empty=tmp_path) for each in arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith('study: ') and message.format(empty=tmp_path) in err
    assert err.count('\n') == 1


@pytest.mark.parametrize('arguments', [['--seeds', '0'], ['--processes', '-1'], ['--seeds', '1.5']])
def test_bad_numbers(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2
    assert f'must be a whole number > 0; got {arguments[1]!r}' in capsys.readouterr().err


def test_without_nilearn(monkeypatch, tmp_path, capsys):
    def train(job):
        raise brain.DemoError('no nilearn')

    monkeypatch.setattr(command, '_pool', ThreadPoolExecutor)
    monkeypatch.setattr(command, 'train', train)
    assert command.main(['--only', 'brain/ce', '--out', str(tmp_path)]) == 2
    assert capsys.readouterr().err == 'study: no nilearn\n'


@pytest.mark.slow
def test_the_command_in_both_frameworks(tmp_path):
    """In processes of its own."""
    done = subprocess.run(
        [sys.executable, '-m', 'study', '--quick', '--only', 'toy/ce', 'toy/dice_ce', '--seeds',
         '1', '--out', str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        timeout=HANG, env=surroundings(), universal_newlines=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('| loss | toy |')
    names = {f'toy-{loss}-{framework}-0.json' for loss in ('ce', 'dice_ce')
             for framework in ('gluon', 'caffe')}
    assert {path.name for path in tmp_path.iterdir()} == names | {report.SEEDS}
    assert 'Traceback' not in done.stderr


@pytest.mark.slow
def test_a_run_that_is_stopped_leaves_its_results_and_no_process(tmp_path):
    run = subprocess.Popen([sys.executable, '-m', 'study', '--only', 'toy/*', '--processes', '1',
                            '--out', str(tmp_path)], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, env=surroundings(), universal_newlines=True)
    for _ in range(10 * HANG):
        kept = list(tmp_path.glob('*.json'))
        if kept or run.poll() is not None:
            break
        time.sleep(0.1)
    with open(f'/proc/{run.pid}/task/{run.pid}/children') as file:
        children = [int(each) for each in file.read().split()]
    run.terminate()
    _, err = run.communicate(timeout=HANG)
    assert run.returncode == 2 and kept, err
    assert err.endswith('study: stopped; the same command goes on from here\n')
    assert children and all(map(ends, children))
    assert not list(tmp_path.glob('*.unfinished'))


def test_both_frameworks_train_alike_from_the_same_weights():
    """Step by step: images, batches, loss, Adam and its falling rate.  The weights are Caffe's."""
    task, steps = TASKS['toy'], 12
    job = Job('toy', 'dice_ce', 'caffe', 0, steps)
    net, data = on_gluon.network(task), task.data('train', 0)
    net.initialize()
    net(mx.nd.array(data.image[:1]))
    with tempfile.TemporaryDirectory() as folder:
        weights = [blob.data for some in on_caffe.solver(job, task, Path(folder))[0].net.params
                   .values() for blob in some]
        for parameter, each in zip(net.collect_params().values(), weights):
            parameter.set_data(mx.nd.array(each))
    gluon = gluon_training.stepper(net, on_gluon.block(LOSSES['dice_ce'], task, 0), data,
                                   task.schedule, 0, steps)
    in_caffe, _ = on_caffe.begin(job, task)
    losses = np.array([[gluon(), in_caffe()] for _ in range(steps)])
    assert losses[-1, 0] < 0.99 * losses[0, 0]
    np.testing.assert_allclose(losses[:, 0], losses[:, 1], rtol=1e-4)
