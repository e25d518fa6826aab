"""The benchmark: small runs of it, and what it refuses.  No test here asserts how fast it is."""
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import measure, pictures, reference, report
from benchmarks.contestants import CONTESTANTS, SHAPES, Subject, arrays, elements, small
from benchmarks.worker import Worker

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
main = command.main
TITLES = [each.title for each in CONTESTANTS.values()]


def measurement(name, shape=report.CHECK_SHAPE, median=1.0, extra=0.0):
    return measure.Measurement(name, shape, median, median, 0.0, 5, 2.0, extra, {'Library': '1.0'})


def record(medians={}, extras={}, shapes=(report.CHECK_SHAPE,)):
    return report.Record(report.machine(2), [
        measurement(name, shape, medians.get(name, 1.0), extras.get(name, 0.0))
        for shape in shapes for name in CONTESTANTS])


@pytest.fixture
def quick(monkeypatch):
    """Turns of a moment: enough to see that everyone takes them."""
    monkeypatch.setattr(command, 'Settings', lambda rounds, threads, torch:
                        measure.Settings(rounds, threads, torch, turn=0.001))


@pytest.fixture
def options(tmp_path, quick):
    return ['--shapes', '2,3,16,12', '--rounds', '2', '--without-growth', '--out', str(tmp_path)]


def test_everyone_of_the_runtime(options, tmp_path, capsys):
    path = tmp_path / 'figures.json'
    assert main(options + ['--without-torch', '--json', str(path)]) == 0
    found = report.Record.from_json(json.loads(path.read_text()))
    names = [name for name, each in CONTESTANTS.items() if each.module != 'on_torch']
    assert [each.name for each in found.measurements] == names
    for each in found.measurements:
        assert each.shape == (2, 3, 16, 12) and each.steps >= 2
        assert 0 < each.minimum <= each.median and each.spread >= 0 and each.extra >= 0
        assert list(each.versions) in (['MXNet'], ['Caffe'], ['NumPy'])
    out = capsys.readouterr().out
    for name in names:
        assert re.search(rf'^{CONTESTANTS[name].title} +\d+\.\d+ ', out, re.MULTILINE)
    assert f'{min(2, command._cores())} threads for everyone' in out


def test_volumes(options):
    options[1] = '2,3,5,6,4'
    assert main(options + ['--only', 'gluon-plain', 'caffe-softmax']) == 0


def test_a_contestant_that_computes_something_else(options, monkeypatch, capsys):
    monkeypatch.setitem(CONTESTANTS, 'copy', CONTESTANTS['copy']._replace(computes='monai'))
    assert main(options + ['--only', 'copy']) == 1
    assert 'one copy of the logits does not compute monai' in capsys.readouterr().err


@pytest.mark.parametrize('computes', list(reference.EXPECTED))
def test_the_check_refuses(computes):
    contestant = CONTESTANTS['copy']._replace(computes=computes)
    pred, label = arrays((2, 5, 9, 8))
    loss, gradient = reference.EXPECTED[computes](pred.astype('float64'), label)

    def check(loss=loss, gradient=gradient):
        answer = {'loss': float(loss), 'gradient': gradient.ravel().tolist()}
        reference.check(contestant, json.loads(json.dumps(answer)), pred, label)

    check()
    one_pixel = gradient.copy()
    one_pixel[0, :, 4, 4] *= -1
    for wrong in (1.001 * gradient, -gradient, 0 * gradient, np.nan * gradient, one_pixel):
        with pytest.raises(reference.Mismatch, match='its gradient is .* away'):
            check(gradient=wrong)
    with pytest.raises(reference.Mismatch, match='its loss is .* away'):
        check(loss=1.001 * loss + 1e-3)
    answer = {'loss': float(loss), 'norm': float(np.linalg.norm(gradient))}
    reference.compare(contestant, answer, answer)
    with pytest.raises(reference.Mismatch, match=r'at full size .* \(norm\)'):
        reference.compare(contestant, dict(answer, norm=0.5 * answer['norm']), answer)


def test_cross_entropy_of_equal_logits():
    loss, gradient = reference.cross_entropy(np.zeros((1, 4, 2)), np.array([[0.0, 3.0]]))
    assert math.isclose(loss, math.log(4))
    np.testing.assert_allclose(gradient[0, :, 0], np.array([-0.75, 0.25, 0.25, 0.25]) / 2)


class FakeWorker(Worker):
    """A worker whose subject is given, not imported."""

    def __init__(self, step, name='gluon-native'):
        super().__init__(CONTESTANTS[name])
        self.step = step

    def _build(self, shape):
        return Subject(self.step, lambda: (0.0, np.zeros(1)))


def test_extra_memory_is_the_peak():
    shape = [4, 8, 256, 1024]  # 32 MB

    def step():
        for _ in range(2):  # one after the other: the first is freed
            both = np.ones(shape, 'float32'), np.ones(shape, 'float32')
            del both

    assert FakeWorker(step).prepare(shape)['extra'] == pytest.approx(2, abs=0.2)
    assert FakeWorker(lambda: None).prepare(shape)['extra'] == pytest.approx(0, abs=0.1)


def test_a_turn_is_one_step_at_least():
    worker, steps = FakeWorker(lambda: steps.append(0)), []
    worker.prepare([2, 3, 4])
    assert len(worker.time(1e-9)['seconds']) == len(steps) - 2 == 1
    assert sum(worker.time(0.01)['seconds']) >= 0.01


def test_kernels_that_are_not_there():
    def step():
        raise RuntimeError('no compiler')

    worker = FakeWorker(step)
    assert worker.check([2, 3, 4]) == {'missing': 'no compiler'}
    worker.ask = lambda command, **arguments: getattr(worker, command)(**arguments)
    with pytest.raises(measure.Problem, match='Gluon native cannot run: no compiler; --without-n'):
        measure._prepare(worker, (2, 3, 4), lambda what: None)
    with pytest.raises(RuntimeError):
        FakeWorker(step, 'gluon-plain').check([2, 3, 4])


def test_equal_surroundings_for_everyone(monkeypatch):
    for name in ('OMP_WAIT_POLICY', 'KMP_BLOCKTIME', 'MXNET_OMP_MAX_THREADS', 'SOFT_DICE_NATIVE'):
        monkeypatch.setenv(name, '1')
    for contestant in CONTESTANTS.values():
        environment = measure._environment(contestant, 3)
        said = {name: value for name, value in environment.items()
                if name.startswith(measure.TUNING)}
        assert said == {'OMP_NUM_THREADS': '3', 'MKL_NUM_THREADS': '3', 'OPENBLAS_NUM_THREADS': '3'}
        assert environment.get('SOFT_DICE_NATIVE', '') == contestant.native


def test_arrays_and_small_shapes():
    pred, label = arrays((2, 5, 700, 300))  # more than one tile
    assert pred.shape == (2, 5, 700, 300) and label.shape == (2, 700, 300)
    assert pred.dtype == label.dtype == 'float32'
    assert set(np.unique(label)) == set(range(5)) and abs(pred.std() - 2) < 0.01
    assert (pred[:, 0] != pred[:, 1]).mean() > 0.99
    for shape in SHAPES + ((2, 3, 40),):
        assert len(small(shape)) == len(shape) and 1500 < elements(small(shape)[2:]) < 2500


def test_torch_that_is_not_there(options, capsys):
    assert main(options + ['--only', 'monai', '--torch-python', '/nowhere/python']) == 2
    assert 'missing: `make bench` builds it' in capsys.readouterr().err
    assert main(options + ['--only', 'monai', '--torch-python', sys.executable]) == 2
    assert 'MONAI DiceLoss ended: ModuleNotFoundError: No module named' in capsys.readouterr().err
    assert main(options + ['--only', 'monai', '--torch-python', __file__]) == 2
    assert f'cannot run {__file__}: Permission denied' in capsys.readouterr().err


@pytest.mark.parametrize('arguments, message', [
    (['--shapes', '4,8'], 'must be whole numbers, for example 4,8,512,512'),
    (['--shapes', '4,1,8,8'], 'must have two classes or more'),
    (['--shapes', '4,8,0,8'], 'must be whole numbers'),
    (['--only', 'nobody'], 'invalid choice'),
    (['--only', 'monai', '--without-torch'], 'no contestant is left'),
    (['--rounds', '0'], 'must be a whole number > 0'),
    (['--threads', '100000'], '--threads must be at most the number of cores'),
    (['--check', '--without-torch'], '--check needs every contestant'),
    (['--check', '--threads', '1'], '--check needs'),
    (['--check', '--shapes', '2,3,8,8'], '--check needs'),
    (['--readme', '--quick'], '--readme needs every contestant at each of the five shapes'),
    (['--readme', '--only', 'copy'], '--readme needs'),
])
def test_bad_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize('arguments, message', [
    (['--out', '/proc/nowhere'], 'cannot write into /proc/nowhere'),
    (['--json', '/proc/nowhere/file'], 'cannot write into /proc/nowhere'),
    (['--from', '/nowhere'], 'cannot read /nowhere as what --json writes'),
    (['--shapes', '1000,1000,1000,1000'], 'GB of free memory'),
])
def test_what_cannot_run(arguments, message, capsys):
    assert main(arguments + ['--without-torch']) == 2
    err = capsys.readouterr().err
    assert message in err and err.count('\n') == 1


GOOD = {'gluon-plain': 12.0, 'monai': 3.0, 'caffe-softmax': 4.0, 'copy': 1 / 6,
        'gluon-operators': 7.9}  # where everyone else takes 1
BAD = {'gluon-plain': 11.9, 'monai': 2.9, 'caffe-softmax': 3.9, 'copy': 0.16,
       'gluon-operators': 8.1}


def test_conditions(tmp_path, capsys):
    path = tmp_path / 'figures.json'
    arguments = ['--from', str(path), '--out', str(tmp_path), '--check']

    def status(medians, extras={}):
        path.write_text(json.dumps(record(medians, extras).to_json()))
        return main(arguments), capsys.readouterr().out

    code, out = status(GOOD, {'kernels': 0.05})
    assert code == 0 and out.count('\nholds  ') == 8 and 'FAILS' not in out
    for name, median in BAD.items():
        code, out = status(dict(GOOD, **{name: median}))
        assert code == 1 and out.count('\nFAILS  time of ') == 1, name
    for name in ('gluon-native', 'caffe-native', 'kernels'):
        code, out = status(GOOD, {name: 0.051})
        assert code == 1 and f'FAILS  extra memory of {CONTESTANTS[name].title} ' in out


def test_json_and_back():
    everything = record(GOOD, shapes=SHAPES)._replace(classes=[measurement('copy')])
    assert report.Record.from_json(json.loads(json.dumps(everything.to_json()))) == everything


def rows_of(text):
    table = text.split(report.BEGIN)[1].split(report.END)[0].strip().split('\n\n')[0]
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in table.split('\n')]


def check_table(text):
    head, rule, *rows = rows_of(text)
    assert head == ['ms'] + [' x '.join(map(str, shape)) for shape in SHAPES] + ['extra memory']
    assert set(''.join(rule)) == {'-', ':'}
    assert [row[0] for row in rows] == TITLES
    for row in rows:
        assert all(re.fullmatch(r'\d+(\.\d+)? \(\d+\.\d+\)', cell) for cell in row[1:-1]), row
        assert re.fullmatch(r'\d+\.\d\d', row[-1])
    ours = rows[TITLES.index(CONTESTANTS[report.OURS].title)]
    assert all(cell.endswith(' (1.0)') for cell in ours[1:-1])


def test_table_in_the_readme():
    check_table((ROOT / 'README.md').read_text(encoding='utf-8'))


def test_writing_the_readme(tmp_path):
    path = tmp_path / 'README.md'
    path.write_text(f'before\n{report.BEGIN}\nold\n{report.END}\nafter\n')
    for _ in range(2):
        report.write_readme(path, record(GOOD, shapes=SHAPES))
        text = path.read_text()
        check_table(text)
        assert text.startswith(f'before\n{report.BEGIN}\n')
        assert text.endswith(f'\n{report.END}\nafter\n')
        assert 'old' not in text and 'Library 1.0' in text
    path.write_text('no markers')
    with pytest.raises(ValueError, match='README.md must have the lines'):
        report.write_readme(path, record(GOOD, shapes=SHAPES))


def test_picture(tmp_path):
    sizes = {'classes': command.CLASSES, 'pixels': command.PIXELS}
    growth = {name: [measurement(each, shape, elements(shape) / 1e8, 1.0)
                     for shape in shapes for each in command.GROWING]
              for name, shapes in sizes.items()}
    pictures.draw_growth(tmp_path / 'benchmark.png', record()._replace(**growth))
    assert (tmp_path / 'benchmark.png').read_bytes().startswith(b'\x89PNG')
    assert set(command.GROWING) == set(pictures.STYLES)
