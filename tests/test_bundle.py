"""`caffe_layers bundle`: the one file is Python 2.7, does what the package does, and proves itself.

What it does on other Pythons: `make test-matrix MATRIX='--only bundle'`.
"""
import ast
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import bundle_table
import caffe
import numpy as np
import pytest
from backends import input_layer, loss_prototxt, make_net
from cases import CASES
from cases_ce import CE_CASES
from families import family
from processes import TESTS
from tolerances import TOLERANCE

from caffe_layers import params
from caffe_layers.__main__ import main
from caffe_layers.bundle import command, layout, modules, names, proof, syntax
from soft_dice import DiceOptions, hard_counts, soft_dice_score
from soft_dice.arrays import CannotRun
from soft_dice.gradcheck import relative_error
from soft_dice.version import __version__
from version_matrix.plan import find_pythons

ROOT = TESTS.parent
NAME = 'soft_dice_layer'


@pytest.fixture(scope='module')
def one_file(tmp_path_factory):
    """Made by the command, in a folder with the table of what it has to do."""
    path = tmp_path_factory.mktemp('one file') / f'{NAME}.py'
    assert main(['bundle', '--out', str(path)]) == 0
    bundle_table.write(path.parent)
    return path


def run(path, *arguments, python=sys.executable, **environment):
    done = subprocess.run([python, '-W', 'ignore', str(path), *arguments], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, cwd='/', env={**os.environ, **environment})
    return done.returncode, done.stdout.decode(), done.stderr.decode()


# --- the file -------------------------------------------------------------------------------------

def test_the_copy_in_the_project_is_what_the_command_makes(one_file):
    """Compared as code, as Pythons lay it out in different ways."""
    ours, made = (path.read_text(encoding='utf-8') for path in (ROOT / one_file.name, one_file))
    same = ast.dump(ast.parse(ours)) == ast.dump(ast.parse(made))  # 1 MB, which none shall see
    assert same, 'the package has changed: python -m caffe_layers bundle --force'
    assert ours.startswith('# -*- coding: utf-8 -*-\n')


def test_it_tells_its_version(one_file):
    assert run(one_file, '--version') == (0, f'gluon-dice {__version__}\n', '')


def test_it_is_python_2_7(one_file, cannot_show):
    text = one_file.read_text(encoding='utf-8')
    tree = ast.parse(text, feature_version=(3, 4))
    assert [syntax.lacking(node) for node in ast.walk(tree) if syntax.lacking(node)] == []
    old = [each for each in find_pythons(['2.7'])]
    if not old:
        cannot_show('that soft_dice_layer.py compiles on Python 2.7, which is not here')
    for python in old:
        assert run('-m', 'py_compile', str(one_file), python=python.command) == (0, '', '')


@pytest.mark.parametrize('code, what', [
    ('f"{x}"', 'JoinedStr'), ('x: int = 1', 'AnnAssign'), ('def f(x: int): pass', 'annotations'),
    ('def f() -> int: pass', 'annotations'), ('def f(*, a=1): pass', 'keyword-only'),
    ('def f(a, /): pass', 'positional-only'), ('raise A from None', 'raise ... from'),
    ('a @ b', '@'), ('{**a}', '** in a dict'), ('(*a, 1)', '* in a display'),
    ('[*a]', '* in a display'), ('{*a}', '* in a display'), ('f(*a, 1)', '* or **'),
    ('f(**a, **b)', '* or **'), ('class A(metaclass=B): pass', 'keywords of a class'),
    ('super().f()', 'super()'), ('print(1, flush=True)', 'flush'), ('(x := 1)', 'NamedExpr'),
    ('async def f(): pass', 'AsyncFunctionDef'),
    ('def f():\n def g():\n  nonlocal a', 'Nonlocal'), ('def f(): yield from a', 'YieldFrom'),
    ('f(*a, x=1, **b); (1, 2); {"a": 1}; raise A(1); print(1); super(A, self).f()', '')])
def test_what_python_2_7_lacks_is_known(code, what):
    found = [syntax.lacking(node) for node in ast.walk(ast.parse(code))]
    found = [each for each in found if each]
    assert (len(found) == 1 and what in found[0]) if what else not found


@pytest.mark.parametrize('code', [
    'x = (y := 1)', 'async def f(): pass', 'f(**a, **b)', 'raise A from error', 'f"{a:{b}}"',
    'def f(*a, b=1): pass', 'print(1, flush=True)'])
def test_what_cannot_be_rewritten_is_refused(code):
    with pytest.raises(CannotRun, match='cannot (be rewritten|rewrite it) yet'):
        syntax.as_python_2(ast.parse(code))


LONG = '''
def f(a):
    """A docstring, that has, and goes on, and is never broken, however long, for good reasons"""
    if a and b:
        return g(a, [first for first in 'one, two' if first], {'key': (value, value)}, a and b)
'''


@pytest.mark.parametrize('width', [45, 60, 80, 99])
def test_long_lines_are_broken_and_mean_the_same(width, monkeypatch):
    monkeypatch.setattr(layout, 'WIDTH', width)
    broken = layout.wrapped(LONG)
    assert ast.dump(ast.parse(broken)) == ast.dump(ast.parse(LONG))
    lines = [line for line in broken.splitlines() if 'docstring' not in line]
    assert all(len(line) <= width for line in lines)
    assert (broken == LONG) == (width == 99)


# --- modules side by side -------------------------------------------------------------------------

def joined(public, **sources):
    """What the public names mean, of modules that import each other as ``from .a import x``."""
    found = []
    for name, text in sources.items():
        module = modules.Module(f'p.{name}', '', [], [], {}, {})
        for node in ast.parse(text).body:
            if not isinstance(node, ast.ImportFrom):
                module.statements.append(node)
            for alias in node.names if isinstance(node, ast.ImportFrom) else ():
                if node.module:
                    module.names[alias.asname or alias.name] = (f'p.{node.module}', alias.name)
                else:
                    module.modules[alias.asname or alias.name] = f'p.{alias.name}'
        found.append(module)
    parts = names.join(found, [('p.b', name) for name in public], frozenset(['_shim']))
    text = '\n'.join(ast.unparse(ast.fix_missing_locations(each))
                     for part in parts for each in part.statements)
    space = {'_Namespace': SimpleNamespace}
    exec(text, space)
    return space, text


@pytest.mark.parametrize('a, b, value', [
    ('def _x(): return 1', 'from .a import _x as y\ndef _x(): return 2\ndef f(): return y() + _x()',
     3),
    ('def x(): return 1', 'from . import a\ndef x(): return 2\ndef f(): return a.x() + x()', 3),
    ('def x(): return 1', 'from . import a\ndef g(m): return m.x()\ndef f(): return g(a)', 1),
    ('x = 1', 'from .a import x\ndef f(y=x):\n x = 5\n return [x for x in [y]][0] + x', 6),
    ('x = 1', 'from . import a\ndef f():\n a = type("", (), {"x": 5})\n return a.x', 5),
    ('abs = max', 'from . import a\ndef f(): return a.abs(1, 2) + abs(-1)', 3),
    ('x = 1', 'from .a import x\nclass C:\n y = x\n def x(self): return x\ndef f(): return C().x()',
     1),
], ids=['two of a name', 'through the module', 'the module as an object', 'local names',
        'a local name like the module', 'like a builtin', 'a method'])
def test_names_side_by_side_mean_what_they_meant(a, b, value):
    if 'y = x' in b:  # a class's own name, or the module's?
        with pytest.raises(CannotRun, match='x is of the class or of the module'):
            joined(['f'], a=a, b=b)
        b = b.replace(' y = x\n', '')
    space, text = joined(['f'], a=a + '\ndef unused(): pass', b=b)
    assert space['f']() == value
    assert 'm.x' in b or 'unused' not in text


@pytest.mark.parametrize('a, b, message', [
    ('', 'from .a import x\ndef f(): return x', 'p.b: there is no p.a.x'),
    ('x = 1', 'from . import a\ndef f(a_x): return a.x', 'a_x would mean something else'),
    ('x = 1', 'from . import a\na_x = 2\ndef f(): return a.x + a_x', 'two things would be called'),
])
def test_names_that_cannot_stand_side_by_side(a, b, message):
    with pytest.raises(CannotRun, match=message):
        joined(['f'], a=a, b=b)


def test_head_and_docstrings(one_file):
    text = one_file.read_text(encoding='utf-8')
    head = ast.get_docstring(ast.parse(text))
    for said in (f'python_param {{ module: "{NAME}"  layer: "SoftDiceLossLayer"',
                 f'gluon-dice {__version__}, Apache License 2.0',
                 'python -m caffe_layers bundle', f'python {NAME}.py'):
        assert said in head
    assert 'module: "caffe_layers"' not in text
    tree = ast.parse(text)
    docstrings = {node.name: ast.get_docstring(node) for node in tree.body
                  if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    for module, name in command.PUBLIC:
        source = ast.parse(modules.path_of(module).read_text(encoding='utf-8'))
        wanted = [ast.get_docstring(node) for node in source.body
                  if getattr(node, 'name', '') == name]
        if name not in ('presets', 'compound_presets'):  # dicts
            assert docstrings[name] == wanted[0].replace('"caffe_layers"', f'"{NAME}"')


# --- what it does ---------------------------------------------------------------------------------

def rows(folder, python):
    status, output, errors = run(TESTS / 'bundle_runner.py', str(folder), python=python)
    assert status == 0, errors
    return json.loads(output.splitlines()[-1])


def test_it_does_what_the_package_does(one_file):
    """Every case in float64, in float32 and as a layer; scores, hard Dice, every refusal, options
    that are wrong, texts of a param_str, presets.
    """
    found = rows(one_file.parent, sys.executable)
    assert found['failed'] == []
    cases = len(CASES) + len(CE_CASES)
    assert found['passed'] > 2 * cases + 2 * len(CASES) + 98 + 45 + len(bundle_table.TEXTS)


def test_the_runner_tells_a_wrong_file(one_file, tmp_path):
    """One that has a wrong slope, another message, and no class weights."""
    text = one_file.read_text(encoding='utf-8')
    for right, wrong in (('return (miss, -1)', 'return (miss, -1.01)'),
                         ('must be one of {1}; got', 'must be of {1}; got'),
                         ('label must have at least one pixel', 'label must have pixels')):
        assert text.count(right) >= 1
        text = text.replace(right, wrong)
    (tmp_path / f'{NAME}.py').write_text(text, encoding='utf-8')
    for name in ('table.json', 'arrays.npz'):
        os.link(str(one_file.parent / name), str(tmp_path / name))
    failed = ' '.join(rows(tmp_path, sys.executable)['failed'])
    for name in ('loss defaults, float64', 'loss defaults, float32', 'layer defaults',
                 'fields {\'activation\': \'relu\'}', 'refusal resized, label without pixels'):
        assert name in failed
    assert 'loss log, float64' not in failed


def in_one_file(text):
    return text.replace("module: 'caffe_layers'", f"module: '{NAME}'")


@pytest.fixture
def importable(one_file, monkeypatch):
    monkeypatch.syspath_prepend(str(one_file.parent))
    yield
    sys.modules.pop(NAME, None)


@pytest.mark.parametrize('case', [CASES[0], CE_CASES[0]], ids=['dice', 'dice and cross-entropy'])
def test_in_a_net_of_caffe(case, importable):
    """loss_weight, and the second top."""
    arrays = case.arrays('float32')
    layer = family(case.options).layer
    text = loss_prototxt({'pred': arrays.pred.shape, 'label': arrays.label.shape},
                         case.options.to_json(), tops=2, loss_weight=3.0, layer=layer)
    net = make_net(in_one_file(text))
    net.blobs['pred'].data[...], net.blobs['label'].data[...] = arrays.pred, arrays.label
    net.forward()
    net.backward()
    exact = case.arrays()
    loss, vjp = family(case.options).function(exact.pred, exact.label, case.options)
    score = soft_dice_score(exact.pred, exact.label, case.options.dice)
    for found, wanted, tolerance in (('loss', loss.mean(), 'loss, float32'),
                                     ('score', score, 'loss, float32')):
        assert relative_error(net.blobs[found].data, wanted) <= TOLERANCE[tolerance]
    assert relative_error(net.blobs['pred'].diff, vjp(3 / len(loss))) \
        <= TOLERANCE['gradient, float32']
    assert not net.blobs['label'].diff.any()


def test_errors_in_a_net_of_caffe(importable):
    text = in_one_file(loss_prototxt({'pred': (2, 4, 5, 6), 'label': (2, 1, 5, 6)},
                                     '{"smoth": 1}'))
    with pytest.raises(TypeError, match="unknown option 'smoth'; the options are activation"):
        make_net(text)


def score_net():
    text = (input_layer('pred', (2, 4, 5, 6)) + input_layer('label', (2, 1, 5, 6))
            + f'layer {{ name: "dice" type: "Python" bottom: "pred" bottom: "label" top: "dice" '
            f'python_param {{ module: "{NAME}" layer: "DiceScoreLayer" '
            'param_str: \'{"ignore_label": 255, "test_iter": 2}\' } }')
    return make_net(text, caffe.TEST)


def test_v_net_s_own_net(importable):
    """Its softmax and its bottoms, (N, 2, pixels) and (N, 1, pixels), with what the docs say."""
    page = (ROOT / 'docs' / 'old-systems.md').read_text(encoding='utf-8')
    param_str, = [line.split("'")[1] for line in page.splitlines() if 'milletari2016' in line]
    text = 'force_backward: true\n' + ''.join(
        input_layer(name, shape) for name, shape in
        [('flat', (2, 2, 60)), ('label_flat', (2, 1, 60))])
    text += 'layer { name: "s" type: "Softmax" bottom: "flat" top: "softmax_out" }\n'
    text += loss_prototxt({}, param_str, force_backward=False).replace(
        ' top: "loss"', ' bottom: "softmax_out" bottom: "label_flat" top: "loss"')
    net, rng = make_net(in_one_file(text)), np.random.RandomState(0)
    pred, label = rng.standard_normal((2, 2, 60)), rng.randint(0, 2, (2, 1, 60))
    net.blobs['flat'].data[...], net.blobs['label_flat'].data[...] = pred, label
    net.forward()
    net.backward()
    loss, vjp = bundle_table.soft_dice_loss_vjp(pred, label, bundle_table.presets[
        'milletari2016'].options)
    assert relative_error(net.blobs['loss'].data, loss.mean()) <= TOLERANCE['loss, float32']
    assert relative_error(net.blobs['flat'].diff, vjp(0.5)) <= TOLERANCE['gradient, float32']


def test_the_metric_in_a_net_of_caffe(importable):
    rng = np.random.RandomState(0)
    net, preds = score_net(), rng.standard_normal((2, 2, 4, 5, 6)).astype('float32')
    labels = rng.randint(0, 3, (2, 2, 1, 5, 6))
    labels[0, 0, 0, :2] = 255
    outputs = []
    for pred, label in zip(preds, labels):
        net.blobs['pred'].data[...], net.blobs['label'].data[...] = pred, label
        outputs.append(float(net.forward()['dice']))
    counts = hard_counts(preds.reshape((4, 4, 5, 6)), labels.reshape((4, 1, 5, 6)),
                         DiceOptions(ignore_label=255))
    assert relative_error(np.mean(outputs), counts.total().mean()) <= TOLERANCE['loss, float32']


@pytest.mark.slow
def test_a_unet_trains_with_the_same_curve(importable, monkeypatch, tmp_path):
    """The demo's, 50 iterations."""
    from demo.caffe_training import EXAMPLES, _solver_file
    monkeypatch.setenv('SOFT_DICE_NATIVE', '0')
    curves = []
    for change in (lambda text: text, lambda text: text.replace('"caffe_layers"', f'"{NAME}"')):
        solver = _solver_file(EXAMPLES / 'brain_unet', 0, 50, tmp_path)
        net = tmp_path / 'train_val.prototxt'
        before = net.read_text()
        net.write_text(change(before))
        assert 'SoftDiceLossLayer' in before and (curves == []) == (net.read_text() == before)
        trained = caffe.get_solver(str(solver))
        curves.append([])
        for _ in range(50):
            trained.step(1)
            curves[-1].append(float(trained.net.blobs['loss'].data))
    assert curves[0] == curves[1] and curves[0][-1] < curves[0][0]


# --- its own proof --------------------------------------------------------------------------------

def test_it_proves_itself_in_caffe_and_without(one_file, tmp_path):
    status, output, _ = run(one_file)
    assert (status, output.count('e-1')) == (0, 3 * len(proof.ROWS) + 2 * len(proof.CE_ROWS))
    assert 'In a net of this Caffe, with loss_weight 3:' in output and 'all is well' in output
    for text in ('raise ImportError("as where there is none")', '"""as for a mere folder"""'):
        (tmp_path / 'caffe.py').write_text(text)
        status, output, _ = run(one_file, PYTHONPATH=str(tmp_path))
        assert status == 0 and 'Caffe cannot be imported' in output and 'all is well' in output


def test_the_proof_has_every_form_and_activation():
    options = [DiceOptions(**fields) for _, fields in proof.ROWS]
    assert {each.form for each in options} == {'one_minus', 'negative', 'log', 'log_cosh'}
    assert proof.ACTIVATIONS == ('softmax', 'sigmoid', 'none')


@pytest.mark.parametrize('right, wrong', [
    ('return p * (1 - p) * d_p', 'return 1.0001 * p * (1 - p) * d_p'),  # the vjp of a sigmoid
    ('each = top[0].diff / shape[0]', 'each = np.array(1 / shape[0])'),  # no loss_weight
], ids=['a gradient', 'a layer'])
def test_a_wrong_file_exits_with_1(right, wrong, one_file, tmp_path):
    text = one_file.read_text(encoding='utf-8')
    assert text.count(right) == 1
    path = tmp_path / f'{NAME}.py'
    path.write_text(text.replace(right, wrong), encoding='utf-8')
    status, output, _ = run(path)
    assert status == 1 and ' WRONG' in output and 'SOMETHING IS WRONG' in output


def test_a_layer_that_does_not_run_exits_with_1(one_file, tmp_path):
    """Caffe without Python layers ends the process; so does an exception in a layer."""
    text = one_file.read_text(encoding='utf-8').replace('class SoftDiceLossLayer', 'class Other')
    path = tmp_path / f'{NAME}.py'
    path.write_text(text, encoding='utf-8')
    status, output, _ = run(path)
    assert status == 1 and 'WITH_PYTHON_LAYER := 1' in output


# --- defaults baked in ----------------------------------------------------------------------------

BAKED = ['--preset', 'nnunet', '--options', '{"ignore_label": 255, "ce_weight": 0.5}']


@pytest.fixture
def baked(monkeypatch):
    """The package's own way of it, which the file has as a literal."""
    monkeypatch.setattr(params, 'DEFAULTS', {'preset': 'nnunet', 'ignore_label': 255,
                                             'ce_weight': 0.5})


@pytest.mark.parametrize('text, kind, wanted', [
    ('', 'DiceOptions', dict(preset='nnunet', ignore_label=255)),
    ('{"smooth": 1}', 'DiceOptions', dict(preset='nnunet', ignore_label=255, smooth=1)),
    ('{"ignore_label": 0}', 'DiceOptions', dict(preset='nnunet', ignore_label=0)),
    ('{"preset": "smp"}', 'DiceOptions', dict(preset='smp')),
    ('', 'DiceCEOptions', dict(preset='nnunet', ignore_label=255, ce_weight=0.5))])
def test_a_param_str_comes_on_top(text, kind, wanted, baked):
    options_class = bundle_table.KINDS[kind]
    assert params.read(text, options_class) == options_class.from_dict(wanted)


def test_baked_in(tmp_path):
    path = tmp_path / 'with_nnunet.py'
    assert main(['bundle', '--out', str(path), *BAKED]) == 0
    text = path.read_text(encoding='utf-8')
    assert '{"preset": "nnunet", "ignore_label": 255, "ce_weight": 0.5}' in ast.get_docstring(
        ast.parse(text))
    assert 'module: "with_nnunet"' in text
    code = ('import sys; sys.path.insert(0, sys.argv[1]); import with_nnunet as one\n'
            'for layer in (one.SoftDiceLossLayer, one.DiceCELossLayer):\n'
            '    print(one.params_read("", layer.KIND).to_json())\n'
            'print(one.params_fields("", one.MetricOptions))')
    done = subprocess.run([sys.executable, '-c', code, str(tmp_path)], stdout=subprocess.PIPE)
    dice, both, metric = done.stdout.decode().splitlines()
    fields = dict(preset='nnunet', ignore_label=255)
    assert DiceOptions.from_param_str(dice) == DiceOptions.from_dict(fields)
    assert json.loads(both)['ce_weight'] == 0.5 and json.loads(both)['form'] == 'negative'
    assert ast.literal_eval(metric) == fields


# --- the command ----------------------------------------------------------------------------------

def test_a_file_is_not_overwritten_without_force(tmp_path, capsys):
    path = tmp_path / 'mine.py'
    path.write_text('mine')
    assert main(['bundle', '--out', str(path)]) == 2
    assert capsys.readouterr().err == (f'caffe_layers bundle: {path} exists; name another with '
                                       '--out, or overwrite it with --force\n')
    assert path.read_text() == 'mine'
    assert main(['bundle', '--out', str(path), '--force']) == 0
    assert 'class SoftDiceLossLayer' in path.read_text(encoding='utf-8')


@pytest.mark.parametrize('arguments, message', [
    (['--out', 'soft-dice.py'], '--out must be a name that a prototxt can give as a module'),
    (['--out', 'layer.txt'], '--out must be a name that a prototxt can give as a module'),
    (['--out', 'nowhere/x.py'], 'nowhere/x.py cannot be written: No such file'),
    (['--preset', 'monay'], 'preset must be one of milletari2016, '),
    (['--options', '{"smoth": 1}'], "unknown option 'smoth'"),
    (['--options', 'smooth=1'], 'param_str must be a JSON object'),
    (['--options', '{"axis": 2}'], 'axis must be 1, the channels of Caffe'),
    (['--options', '{"alpha": 0, "beta": 0}'], 'alpha and beta must not both be 0'),
    (['--preset', 'smp', '--options', '{"preset": "monai"}'], 'give the preset once')])
def test_bad_arguments(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(['bundle', *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith('caffe_layers bundle: ') and message in error
    assert error.count('\n') == 1 and list(tmp_path.iterdir()) == []


def test_the_command_needs_python_3_9(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(command, 'sys', SimpleNamespace(version_info=(3, 8, 18)))
    assert main(['bundle', '--out', str(tmp_path / 'x.py')]) == 2
    assert 'bundle needs Python 3.9 or later to run; the file' in capsys.readouterr().err


# --- the package, where a bundle showed a mistake -------------------------------------------------

def test_arithmetic_in_a_param_str_is_refused():
    """Python 3.6 would add it up."""
    with pytest.raises(ValueError, match='must be a JSON object or a Python dict literal'):
        DiceOptions.from_param_str("{'smooth': 1 + 1j}")


def test_log_softmax_ties():
    """Two largest logits: one of them is 'the' largest."""
    pred = np.zeros((1, 3, 2))
    pred[0, :, 0] = [2, 2, -9]
    label = np.array([[1, 0]])
    p = np.exp(pred) / np.exp(pred).sum(axis=1, keepdims=True)
    wanted = -np.log([p[0, 1, 0], p[0, 0, 1]]).mean()
    options = bundle_table.DiceCEOptions(dice_weight=0)
    assert relative_error(bundle_table.dice_ce_loss_vjp(pred, label, options)[0], [wanted]) \
        <= TOLERANCE['value, float64']
