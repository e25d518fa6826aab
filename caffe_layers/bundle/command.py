"""The file itself: its head, the shim, what the modules give, and the proof at its end."""
import argparse
import ast
import json
import os
import shlex
import sys
import textwrap
from pathlib import Path
from typing import Any, Dict, FrozenSet, Tuple

from soft_dice.arrays import CannotRun
from soft_dice.ce_options import DiceCEOptions
from soft_dice.checker.report import replacing
from soft_dice.options import FIELDS, DiceOptions, Options
from soft_dice.param_str import parse_param_str
from soft_dice.version import __version__

from ..params import of_caffe
from .layout import wrapped
from .modules import Module, collect
from .names import Key, Part, join
from .syntax import as_python_2

USUAL = 'soft_dice_layer.py'
PUBLIC: Tuple[Key, ...] = (
    ('caffe_layers.loss', 'SoftDiceLossLayer'), ('caffe_layers.loss', 'DiceCELossLayer'),
    ('caffe_layers.metric', 'DiceScoreLayer'),
    ('soft_dice.options', 'DiceOptions'), ('soft_dice.ce_options', 'DiceCEOptions'),
    ('soft_dice.presets', 'preset'), ('soft_dice.presets', 'presets'),
    ('soft_dice.presets', 'compound_presets'),
    ('soft_dice.loss', 'soft_dice_loss'), ('soft_dice.loss', 'soft_dice_loss_vjp'),
    ('soft_dice.loss', 'soft_dice_score'),
    ('soft_dice.compound', 'dice_ce_loss'), ('soft_dice.compound', 'dice_ce_loss_vjp'),
    ('soft_dice.metrics', 'HardCounts'), ('soft_dice.metrics', 'hard_counts'),
    ('soft_dice.metrics', 'hard_dice'))
PROOF: Key = ('caffe_layers.bundle.proof', 'main')
DEFAULTS: Key = ('caffe_layers.params', 'DEFAULTS')

HEAD = '''\
# -*- coding: utf-8 -*-
"""Soft Dice losses as Caffe Python layers, all in this file.

It needs NumPy 1.7 or later and runs on Python 2.7 and 3.4 to 3.13, under every Caffe that has
Python layers (WITH_PYTHON_LAYER := 1).  Put it into a folder that PYTHONPATH names, and write into
the train prototxt, for the blobs "score" and "label" of your net::

    layer {{
      name: "loss"  type: "Python"  loss_weight: 1
      bottom: "score"  bottom: "label"  top: "loss"
      python_param {{ module: "{module}"  layer: "SoftDiceLossLayer"
                     param_str: '{{"ignore_label": 255}}' }}
    }}

DiceCELossLayer adds a cross-entropy, and DiceScoreLayer measures in the test net.  The docstrings
of the three name bottoms and tops; DiceOptions and DiceCEOptions explain the options.  {baked}

    python {module}.py

proves in seconds, without Caffe, that each backward is the gradient of its forward; where this
Python can import Caffe, a net is run, too.  The same losses of NumPy arrays::

    from {module} import soft_dice_loss, soft_dice_loss_vjp, dice_ce_loss, hard_dice

gluon-dice {version}, Apache License 2.0, http://www.apache.org/licenses/LICENSE-2.0
Made from the modules of that project, which have the comments, by

    {command}
"""
from __future__ import absolute_import, division, print_function

'''


def bundle(arguments: argparse.Namespace) -> int:
    """Write the layers of this package into one file that needs NumPy only and runs on Python 2.7
    and 3.4 to 3.13 under any Caffe.  `python soft_dice_layer.py` then proves its gradients there.
    Exit status 0: written; 2: nothing was written.
    """
    if sys.version_info < (3, 9):
        raise CannotRun('bundle needs Python 3.9 or later to run; the file that it makes needs '
                        f'Python 2.7 only, and a ready-made one, {USUAL}, comes with the project')
    path = Path(arguments.out)
    if not path.stem.isidentifier() or path.suffix != '.py':
        raise CannotRun('--out must be a name that a prototxt can give as a module, for example '
                        f'{USUAL}; got {path.name}')
    if path.exists() and not arguments.force:
        raise CannotRun(f'{path} exists; name another with --out, or overwrite it with --force')
    text = make(path.stem, _defaults(arguments), _command(arguments))
    with replacing(str(path)) as file:
        file.write(text.encode('utf-8'))
    print(f'Written: {path}; prove it where it is to run with `python {path}`')
    return 0


def make(module: str, defaults: Dict[str, Any], command: str) -> str:
    """The text of the file.

    module : its name without .py.
    defaults : what an empty param_str means; {} is what it means in the package.
    command : how to make it, for its head.

    Raises
    ------
    CannotRun : the package uses something that cannot be rewritten for Python 2.7.
    """
    modules = collect([*dict.fromkeys(module for module, _ in PUBLIC), PROOF[0]])
    for each in modules:
        if each.name == DEFAULTS[0]:
            _put_defaults(each, defaults)
    shim = (Path(__file__).parent / 'shim.py').read_text(encoding='utf-8')
    head, shim = shim.split('"""\n', 1)
    parts = join(modules, [*PUBLIC, PROOF], _names_of(ast.parse(shim)))
    imports = sorted({line for part in parts for line in part.module.imports
                      if f'\n{line}\n' not in f'\n{shim}'})
    public = ', '.join(repr(name) for _, name in PUBLIC)
    text = ''.join([
        HEAD.format(module=module, baked=_baked(defaults), version=__version__, command=command),
        '\n'.join(imports), '\n', shim, *map(_section, parts),
        '\n\n', textwrap.fill(f'__all__ = [{public}]', 99, subsequent_indent=' ' * 11),
        "\n\nif __name__ == '__main__':\n"
        '    sys.exit(main(os.path.splitext(os.path.basename(__file__))[0], sys.argv[1:]))\n'])
    return text.replace('module: "caffe_layers"', f'module: "{module}"')


def _put_defaults(module: Module, defaults: Dict[str, Any]) -> None:
    made = as_python_2(ast.parse(f'{DEFAULTS[1]} = {defaults!r}')).body
    module.statements[:] = [made.pop() if ast.unparse(each).startswith(DEFAULTS[1] + ' = ')
                            else each for each in module.statements]
    assert not made


def _names_of(tree: ast.Module) -> FrozenSet[str]:
    names = [node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef,
                                                                       ast.ClassDef))]
    return frozenset(names + [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)
                              and isinstance(node.ctx, ast.Store)])


def _section(part: Part) -> str:
    """The statements of a module, below its name and docstring as a comment."""
    title = f'# --- {part.module.name} '
    lines = [title.ljust(99, '-'), '#',
             *(f'# {line}'.rstrip() for line in part.module.docstring.splitlines())]
    return '\n\n' + '\n'.join(lines) + '\n' + ''.join(
        ('\n\n' if isinstance(each, (ast.FunctionDef, ast.ClassDef)) else '\n')
        + wrapped(ast.unparse(ast.fix_missing_locations(each))) + '\n' for each in part.statements)


def _baked(defaults: Dict[str, Any]) -> str:
    if not defaults:
        return 'An empty\nparam_str means their defaults.'
    return ('An empty\nparam_str means here\n\n'
            '    ' + json.dumps(defaults) + '\n\n'
            'of which a layer takes what it knows.  What a param_str says comes on top; one that\n'
            'names a preset starts from that alone.')


def _defaults(arguments: argparse.Namespace) -> Dict[str, Any]:
    """Those of the command line.  Raises CannotRun where no layer would take them."""
    try:
        given = parse_param_str(arguments.options)
        if 'preset' in given and arguments.preset:
            raise ValueError('give the preset once')
        if arguments.preset:
            given = {'preset': arguments.preset, **given}
        for_dice_alone = set(given) <= {'preset', *FIELDS}
        kind = DiceOptions if for_dice_alone else DiceCEOptions
        options: Options = kind.from_dict(given)
        of_caffe(options)
    except (TypeError, ValueError) as error:
        raise CannotRun(str(error)) from None
    return given


def _command(arguments: argparse.Namespace) -> str:
    """How it was called, without folders."""
    words = {'out': os.path.basename(arguments.out), 'preset': arguments.preset,
             'options': arguments.options}
    return 'python -m caffe_layers bundle' + ''.join(
        f' --{name} {shlex.quote(word)}' for name, word in words.items()
        if word and word != USUAL)


def add_command(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    each = commands.add_parser('bundle', help='the layers as one file for Python 2.7 and any Caffe',
                               description=bundle.__doc__)
    each.add_argument('--out', metavar='FILE.py', default=USUAL, help=f'default {USUAL}')
    each.add_argument('--force', action='store_true', help='overwrite it if it exists')
    each.add_argument('--preset', metavar='NAME', help='what an empty param_str means there')
    each.add_argument('--options', metavar='JSON', default='', help='the same, or on top of it')
    each.set_defaults(run=bundle)
