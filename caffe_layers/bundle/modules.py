"""Which modules of the package go into the one file, in the order in which they need each other."""
import ast
from importlib.util import resolve_name
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

import soft_dice
from soft_dice.arrays import CannotRun

from .syntax import as_python_2

FOLDERS = {'soft_dice': Path(soft_dice.__file__).parent,
           'caffe_layers': Path(__file__).parent.parent}
# A file by itself has no compiled kernels; the shim says so in its place.
LEFT_OUT = {'soft_dice.native': {'kernels': '_no_kernels'}}
# What the shim has in place of these, or brings itself.
NOT_IMPORTED = ('typing', 'dataclasses', 'caffe')


class Module(NamedTuple):
    """A module, in the syntax of Python 2.7.

    name : with its packages.
    statements : without imports and docstring.
    imports : those of modules of other projects, as text.
    modules : the name here of each module of the package that it imports, and the module's name.
    names : the name here of each name that it imports from one, and that module's and its name.
    """

    name: str
    docstring: str
    statements: List[ast.stmt]
    imports: List[str]
    modules: Dict[str, str]
    names: Dict[str, Tuple[str, str]]

    @property
    def short(self) -> str:
        return self.name.rpartition('.')[2]


def path_of(name: str) -> Path:
    """The file of a module of the package; there may be none."""
    package, *rest = name.split('.')
    path = FOLDERS[package].joinpath(*rest)
    return path / '__init__.py' if path.is_dir() else path.with_suffix('.py')


def collect(roots: Sequence[str]) -> List[Module]:
    """The modules and all that they import of the package; each behind those it imports.

    Raises
    ------
    CannotRun : a module that bundle cannot take apart.
    """
    found: Dict[str, Module] = {}

    def add(name: str) -> None:
        if name in found or name in LEFT_OUT:
            return
        module = _read(name)
        for imported in [*module.modules.values(), *(each for each, _ in module.names.values())]:
            add(imported)
        found[name] = module

    for name in roots:
        add(name)
    return list(found.values())


def _read(name: str) -> Module:
    tree = ast.parse(path_of(name).read_text(encoding='utf-8'))
    docstring = ast.get_docstring(tree) or ''
    module = Module(name, docstring, [], [], {}, {})
    try:
        body = as_python_2(tree).body[1 if docstring else 0:]
    except CannotRun as error:
        raise CannotRun(f'{name}: {error}') from None
    for node in body:
        if isinstance(node, ast.Import):
            _import(module, node)
        elif isinstance(node, ast.ImportFrom):
            _import_from(module, node)
        else:
            module.statements.append(node)
    return module


def _import(module: Module, node: ast.Import) -> None:
    for alias in node.names:
        if alias.name.split('.')[0] in FOLDERS:
            raise CannotRun(f'{module.name}: import {alias.name} must be from ... import')
        if alias.name not in NOT_IMPORTED:
            module.imports.append(ast.unparse(ast.Import([alias])))


def _import_from(module: Module, node: ast.ImportFrom) -> None:
    base = resolve_name('.' * node.level + (node.module or ''), module.name.rpartition('.')[0])
    for alias in node.names:
        name, here = f'{base}.{alias.name}', alias.asname or alias.name
        if base.split('.')[0] not in FOLDERS:
            if base not in NOT_IMPORTED:
                module.imports.append(ast.unparse(ast.ImportFrom(base, [alias], 0)))
        elif name in LEFT_OUT or path_of(name).exists():
            module.modules[here] = name
        else:
            module.names[here] = (base, alias.name)
