"""The modules side by side in one file: only what is needed of them, under names that differ."""
import ast
import builtins
import copy
from collections import Counter
from typing import Callable, Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Set, Tuple

from soft_dice.arrays import CannotRun

from .modules import LEFT_OUT, Module

Key = Tuple[str, str]  # a module, and a name at its top
WHOLE = ''  # in place of a name: the module itself, as an object


class Part(NamedTuple):
    """What goes into the file of one module."""

    module: Module
    statements: List[ast.stmt]


def join(modules: Sequence[Module], public: Sequence[Key], taken: FrozenSet[str]) -> List[Part]:
    """What the public names need of the modules, so that it can stand in one file.

    A name keeps its own where it can.  It is preceded by that of its module where another one has
    it, or where the module is imported as such: ``values.flag`` becomes ``values_flag``.

    taken : names that the shim has.

    Raises
    ------
    CannotRun : a name that is not there, or that would mean something else in the one file.
    """
    tops = {(module.name, name): statement for module in modules
            for statement in module.statements for name in _defined(statement)}
    resolvers = {module.name: _Resolver(module, modules, tops) for module in modules}
    needed = _needed(tops, resolvers, public)
    new = _new_names(modules, needed, public, taken)
    parts = []
    for module in modules:
        kept = [each for each in module.statements
                if any((module.name, name) in needed for name in _defined(each))]
        resolver = resolvers[module.name]

        def rename(name: str, attribute: Optional[str]) -> Optional[str]:
            key = resolver.key(name, attribute)  # called within this turn
            return None if key is None else new[key]

        kept = [_Globals(rename).visit(each) for each in kept]
        if (module.name, WHOLE) in needed:
            kept.append(_as_object(module, needed, new))
        if kept:
            parts.append(Part(module, kept))
    return parts


def _defined(statement: ast.stmt) -> List[str]:
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return [statement.name]
    return [node.id for node in ast.walk(statement)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]


class _Resolver:
    """What a name at the top of one module is, in whatever module it is defined."""

    def __init__(self, module: Module, modules: Sequence[Module], tops: Dict[Key, ast.stmt]
                 ) -> None:
        self._module, self._tops = module, tops
        self._by_name = {each.name: each for each in modules}

    def key(self, name: str, attribute: Optional[str]) -> Optional[Key]:
        """None where it is none of the package.  ``attribute`` : of it, where one is asked for."""
        here = self._module
        if name in here.modules:
            other = here.modules[name]
            return (other, WHOLE) if attribute is None else self._defined_in(other, attribute)
        if attribute is not None:
            return None
        if name in here.names:
            return self._defined_in(*here.names[name])
        return (here.name, name) if (here.name, name) in self._tops else None

    def _defined_in(self, module: str, name: str) -> Key:
        while module not in LEFT_OUT and (module, name) not in self._tops:
            if name not in self._by_name[module].names:
                raise CannotRun(f'{self._module.name}: there is no {module}.{name}')
            module, name = self._by_name[module].names[name]
        return module, name


def _needed(tops: Dict[Key, ast.stmt], resolvers: Dict[str, _Resolver], public: Sequence[Key]
            ) -> Set[Key]:
    """The public names, and all that they use in turn."""
    found: Set[Key] = set()
    waiting = list(public)
    while waiting:
        key = waiting.pop()
        if key in found:
            continue
        found.add(key)
        module, name = key
        if name == WHOLE:
            waiting += [each for each in tops if each[0] == module]
        elif module not in LEFT_OUT:
            waiting += _used(tops[key], resolvers[module])
    return found


def _used(statement: ast.stmt, resolver: _Resolver) -> List[Key]:
    used: List[Key] = []

    def note(name: str, attribute: Optional[str]) -> Optional[str]:
        key = resolver.key(name, attribute)
        used.extend([] if key is None else [key])
        return None if key is None else ' '  # no name

    _Globals(note).visit(copy.deepcopy(statement))
    return used


def _new_names(modules: Sequence[Module], needed: Set[Key], public: Sequence[Key],
               taken: FrozenSet[str]) -> Dict[Key, str]:
    short = {module.name: module.short for module in modules}
    as_modules = {name for module in modules for name in module.modules.values()}
    times = Counter(name for _, name in needed)
    new: Dict[Key, str] = {}
    for module, name in sorted(needed):
        if module in LEFT_OUT:
            new[module, name] = LEFT_OUT[module][name]
        elif name == WHOLE:
            new[module, name] = short[module]
        elif (module, name) not in public and (module in as_modules or times[name] > 1
                                               or name in taken or hasattr(builtins, name)):
            new[module, name] = '_' * name.startswith('_') + f'{short[module]}_{name.lstrip("_")}'
        else:
            new[module, name] = name
    times = Counter(new.values())
    twice = [name for name, number in times.items() if number > 1 or name in taken - _STAND_INS]
    if twice:
        raise CannotRun(f'two things would be called {twice[0]} in the one file')
    return new


_STAND_INS = {name for names in LEFT_OUT.values() for name in names.values()}


def _as_object(module: Module, needed: Set[Key], new: Dict[Key, str]) -> ast.stmt:
    names = [ast.keyword(name, ast.Name(new[key], ast.Load())) for key in sorted(needed)
             for name in key[1:] if key[0] == module.name and name != WHOLE]
    value = ast.Call(ast.Name('_Namespace', ast.Load()), [], names)
    return ast.fix_missing_locations(
        ast.Assign([ast.Name(new[module.name, WHOLE], ast.Store())], value))


class _Globals(ast.NodeTransformer):
    """Puts another name in place of every one that means something at the top of its module.

    rename : of a name, and of an attribute of it or None, to the new name or None.
    """

    def __init__(self, rename: Callable[[str, Optional[str]], Optional[str]]) -> None:
        self._rename = rename
        self._scopes: List[Tuple[Set[str], bool]] = []  # names, and whether it is a class's

    def _local(self, name: str) -> bool:
        """Is it bound nearer than at the top?  A class's names are seen in its body alone."""
        last = len(self._scopes) - 1
        return any(name in names for i, (names, of_class) in enumerate(self._scopes)
                   if i == last or not of_class)

    def _new(self, name: str, attribute: Optional[str] = None) -> Optional[str]:
        new = None if self._local(name) else self._rename(name, attribute)
        if new is not None and self._local(new):
            raise CannotRun(f'{new} would mean something else in the one file')
        return new

    def visit_Name(self, node: ast.Name) -> ast.AST:
        in_class = bool(self._scopes) and self._scopes[-1][1] and node.id in self._scopes[-1][0]
        if in_class and isinstance(node.ctx, ast.Load) and self._rename(node.id, None):
            raise CannotRun(f'{node.id} is of the class or of the module, which is not clear')
        return ast.copy_location(ast.Name(self._new(node.id) or node.id, node.ctx), node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name):
            new = self._new(node.value.id, node.attr)
            if new is not None:
                return ast.copy_location(ast.Name(new, node.ctx), node)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = node.name if self._scopes else self._new(node.name) or node.name
        node.decorator_list = [self.visit(each) for each in node.decorator_list]
        self._defaults(node.args)
        self._scopes.append((_parameters(node.args) | _bound(node.body), False))
        node.body = [self.visit(each) for each in node.body]
        self._scopes.pop()
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        self._defaults(node.args)
        self._scopes.append((_parameters(node.args), False))
        node.body = self.visit(node.body)
        self._scopes.pop()
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.name = node.name if self._scopes else self._new(node.name) or node.name
        node.decorator_list = [self.visit(each) for each in node.decorator_list]
        node.bases = [self.visit(each) for each in node.bases]
        self._scopes.append((_bound(node.body), True))
        node.body = [self.visit(each) for each in node.body]
        self._scopes.pop()
        return node

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> ast.AST:
        first = node.generators[0]
        first.iter = self.visit(first.iter)
        targets = [each.target for each in node.generators]
        self._scopes.append((_bound(targets), False))
        node.elt = self.visit(node.elt)
        for each in node.generators:
            each.ifs = [self.visit(condition) for condition in each.ifs]
            each.iter = each.iter if each is first else self.visit(each.iter)
        self._scopes.pop()
        return node

    visit_SetComp = visit_GeneratorExp  # type: ignore[assignment]

    def _defaults(self, arguments: ast.arguments) -> None:
        arguments.defaults = [self.visit(each) for each in arguments.defaults]


def _parameters(arguments: ast.arguments) -> Set[str]:
    return {node.arg for node in ast.walk(arguments) if isinstance(node, ast.arg)}


SCOPES = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.GeneratorExp, ast.SetComp)


def _bound(nodes: Sequence[ast.AST]) -> Set[str]:
    """The names that these bind, without those that are bound in a scope of their own."""
    found: Set[str] = set()
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).split('.')[0])
        if not isinstance(node, SCOPES):
            found |= _bound(list(ast.iter_child_nodes(node)))
    return found
