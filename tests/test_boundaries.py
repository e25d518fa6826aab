"""Who may import whom, proved in fresh processes and from the text of the modules."""
import ast
import subprocess
import sys
from importlib import import_module
from importlib.util import resolve_name
from itertools import accumulate
from pathlib import Path

import pytest
from processes import run_python

import soft_dice

PACKAGES = ['soft_dice', 'gluon_dice', 'caffe_layers']
FRAMEWORKS = ['mxnet', 'caffe', 'torch', 'tensorflow', 'scipy', 'matplotlib', 'tqdm']


def imported_by(module):
    code = f'import sys, {module}; print("\\n".join(sys.modules))'
    output = subprocess.run([sys.executable, '-c', code], check=True, stdout=subprocess.PIPE)
    return set(output.stdout.decode().split())


def test_the_core_imports_numpy_and_no_framework():
    modules = imported_by('soft_dice, soft_dice.gradcheck')
    assert 'numpy' in modules
    assert not modules & {*FRAMEWORKS, 'gluon_dice', 'caffe_layers'}


@pytest.mark.parametrize('plugin, foreign', [('gluon_dice', ['caffe', 'caffe_layers']),
                                             ('caffe_layers', ['mxnet', 'gluon_dice'])])
def test_a_plugin_does_not_import_the_other(plugin, foreign):
    modules = imported_by(plugin)
    assert 'soft_dice' in modules and not modules & set(foreign)


@pytest.mark.parametrize('order', ['caffe_layers, gluon_dice', 'gluon_dice, caffe_layers'])
def test_both_live_in_one_process(order):
    assert {'mxnet', 'caffe'} <= imported_by(order)


WITHOUT_CAFFE = "sys.modules['caffe'] = None\nsys.argv = ['-m', {words}]\n" \
                "runpy.run_module('caffe_layers', run_name='__main__')"


def test_without_caffe(tmp_path):
    """What needs none works; what needs one says so in a sentence."""
    refusal = 'this Python cannot import Caffe ('
    status, _, said = run_python("sys.modules['caffe'] = None\nimport caffe_layers")
    assert status == 1 and said.splitlines()[-1].startswith(f'ImportError: {refusal}'), said
    for words in ("'check', '--class', 'a:B'", "'check', '-h'"):
        status, printed, said = run_python(WITHOUT_CAFFE.format(words=words))
        assert (status, printed) == (2, '') and said.count('\n') == 1, said
        assert said.startswith(f'caffe_layers check: {refusal}'), said
    status, printed, _ = run_python(WITHOUT_CAFFE.format(words="'--help'"))
    assert status == 0 and 'needs Caffe' in printed
    status, printed, _ = run_python(WITHOUT_CAFFE.format(words="'add', '-h'"))
    assert status == 0 and 'Without Caffe the result is not proved' in printed
    (tmp_path / 'caffe.py').write_text('raise TypeError("Descriptors cannot be\\ncreated")')
    words = "'check'"
    status, _, said = run_python(f'sys.path.insert(0, {str(tmp_path)!r})\n'
                                 + WITHOUT_CAFFE.format(words=words).split('\n', 1)[1])
    assert status == 2 and said.startswith(
        'caffe_layers check: this Python cannot import Caffe (Descriptors cannot be): take')
    made = str(tmp_path / 'soft_dice_layer.py')
    status, printed, said = run_python(
        WITHOUT_CAFFE.format(words=f"'bundle', '--out', {made!r}"))
    if sys.version_info >= (3, 9):
        assert status == 0 and printed.startswith(f'Written: {made}'), said
    else:  # as docs/old-systems.md says
        assert (status, printed) == (2, '') and 'bundle needs Python 3.9 or later' in said, said


@pytest.mark.parametrize('module', [
    'caffe_layers.__main__', 'demo.__main__', 'benchmarks.__main__', 'mutation.__main__',
    'version_matrix.__main__', pytest.param('demo.scaling', id='demo.scaling, over gluon')])
def test_every_command_tells_its_version(module, monkeypatch, capsys):
    """Those of the other packages: tests/test_gluon_compat.py."""
    monkeypatch.setattr(sys, 'argv', ['', '--version'])
    with pytest.raises(SystemExit) as ended:
        import_module(module).main()
    assert not ended.value.code
    assert capsys.readouterr().out == f'gluon-dice {soft_dice.__version__}\n'


def test_public_names():
    names = ['DiceOptions', 'soft_dice_loss', 'soft_dice_loss_vjp', 'soft_dice_score', 'hard_dice',
             'DiceCEOptions', 'dice_ce_loss', 'dice_ce_loss_vjp']
    assert set(names) <= set(soft_dice.__all__)
    for name in soft_dice.__all__:
        assert getattr(soft_dice, name).__doc__


# --- no circle of imports ------------------------------------------------------------------------

def modules_in(folder, packages):
    """The file of every module by its dotted name; a package has that of its __init__.py."""
    files = [path.relative_to(folder) for package in packages
             for path in sorted((folder / package).rglob('*.py'))]
    return {'.'.join(path.parent.parts if path.stem == '__init__' else path.with_suffix('').parts):
            folder / path for path in files}


def imports_of(module, modules):
    """Which of the modules this one imports, at its top or inside of a function.

    ``from package import name`` is of package.name where that is a module, otherwise of package.
    """
    path = modules[module]
    package = module if path.name == '__init__.py' else module.rpartition('.')[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name('.' * node.level + (node.module or ''), package)
            names = [f'{base}.{alias.name}' for alias in node.names]
            found.update(name if name in modules else base for name in names)
    return found.intersection(modules)


def packages_begun_by(module, imported):
    """The packages whose __init__.py runs as ``module`` imports ``imported``: those around it,
    but for those that are around ``module``, too, which had begun before.
    """
    around = list(accumulate(imported.split('.'), '{}.{}'.format))[:-1]
    return {package for package in around if not f'{module}.'.startswith(f'{package}.')}


def circle_in(folder, packages):
    """The modules of a circle of imports, the first again at the end; [] where there is none."""
    modules = modules_in(folder, packages)
    seen = set()

    def search(module, path):
        if module in path:
            return [*path[path.index(module):], module]
        if module in seen:
            return []
        seen.add(module)
        imported = imports_of(module, modules)
        begun = imported.union(*(packages_begun_by(module, each) for each in imported))
        circles = (search(each, [*path, module]) for each in sorted(begun))
        return next(filter(None, circles), [])

    return next(filter(None, (search(module, []) for module in modules)), [])


def test_no_circle_of_imports():
    circle = circle_in(Path(__file__).parent.parent, PACKAGES)
    assert not circle, f'a circle of imports: {" -> ".join(circle)}'


@pytest.mark.parametrize('files, circle', [
    ({'a': 'from . import b', 'b': 'def f():\n    from .a import x'}, 'p.a p.b p.a'),
    ({'a': 'import p.b', 'b': 'from p.c import x', 'c': 'from . import a'}, 'p.a p.b p.c p.a'),
    ({'__init__': 'from .a import x', 'a': 'from . import y'}, 'p p.a p'),
    ({'a': 'from .q.c import x', 'q/__init__': 'from ..a import y', 'q/c': ''}, 'p.a p.q p.a'),
    ({'__init__': 'from . import a, b', 'a': 'from . import b', 'b': 'import p.q.c',
      'q/__init__': 'from .c import x', 'q/c': 'from . import d', 'q/d': 'import a, os'}, ''),
], ids=['inside a function', 'of three', 'a name of the package', 'through a package', 'none'])
def test_a_circle_of_imports_is_found(files, circle, tmp_path):
    for name, text in {'__init__': '', **files}.items():
        path = tmp_path / 'p' / f'{name}.py'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert circle_in(tmp_path, ['p']) == circle.split()
