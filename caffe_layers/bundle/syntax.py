"""From the syntax of current Python to that of Python 2.7, with the help of shim.py.

What is rewritten is what the package uses; anything else that Python 2.7 lacks is refused, so that
no file is made that cannot be read there.
"""
import ast
from typing import Any, Iterable, List, Optional

from soft_dice.arrays import CannotRun

# In place of a function of a module, one of the shim.
REPLACED = {
    'caffe.Layer': '_Layer', 'dataclasses.field': '_Field', 'dataclasses.fields': '_fields',
    'functools.lru_cache': '_lru_cache', 'json.JSONDecodeError': '_JSONDecodeError',
    'json.loads': '_json_loads', 'math.inf': '_INF', 'np.broadcast_to': '_np_broadcast_to',
    'np.full': '_np_full', 'np.full_like': '_np_full_like', 'np.matmul': '_np_matmul',
    'np.moveaxis': '_np_moveaxis'}
BUILTINS = {'str': '_text', 'dict': '_Dict', 'repr': '_repr', 'RecursionError': '_RecursionError'}

# Neither in Python 2.7 nor rewritten here.
LACKING = ('AsyncFor', 'AsyncFunctionDef', 'AsyncWith', 'Await', 'NamedExpr', 'Nonlocal',
           'YieldFrom', 'Match', 'TryStar', 'TypeAlias', 'JoinedStr', 'AnnAssign')


def as_python_2(tree: ast.Module) -> ast.Module:
    """The tree of a module, rewritten; what is no longer used (typing) is still imported.

    Raises
    ------
    CannotRun : it uses something that Python 2.7 lacks and that cannot be rewritten.
    """
    found = ast.fix_missing_locations(_Rewriter().visit(tree))
    for node in ast.walk(found):
        why = lacking(node)
        if why:
            raise CannotRun(f'line {getattr(node, "lineno", "?")}: Python 2.7 has no {why}, and '
                            'bundle cannot rewrite it yet')
    return found


def lacking(node: ast.AST) -> str:
    """What of this node Python 2.7 does not have, in words; empty where it has it."""
    if type(node).__name__ in LACKING:
        return type(node).__name__
    if isinstance(node, ast.arguments) and (node.kwonlyargs or node.posonlyargs):
        return 'parameters that are keyword-only or positional-only'
    if getattr(node, 'annotation', None) or getattr(node, 'returns', None):
        return 'annotations'
    if isinstance(node, ast.ClassDef) and node.keywords:
        return 'keywords of a class'
    if isinstance(node, ast.Raise) and node.cause:
        return 'raise ... from'
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        return '@'
    if isinstance(node, ast.Dict) and None in node.keys:
        return '** in a dict'
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        return '* in a display' if _starred(node.elts) else ''
    if isinstance(node, ast.Call):
        stars = [isinstance(each, ast.Starred) for each in node.args]
        double = [each.arg is None for each in node.keywords]
        if any(stars[:-1]) or any(double[:-1]):
            return '* or ** before other arguments'
        if isinstance(node.func, ast.Name) and node.func.id == 'super' and not node.args:
            return 'super() without arguments'
        if isinstance(node.func, ast.Name) and node.func.id == 'print' \
                and any(each.arg == 'flush' for each in node.keywords):
            return 'flush of print'
    return ''


def name(text: str) -> ast.Name:
    return ast.Name(text, ast.Load())


def call(function: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(name(function), list(arguments), [])


def _starred(items: Iterable[ast.expr]) -> bool:
    return any(isinstance(each, ast.Starred) for each in items)


def _dotted(node: ast.AST) -> str:
    return ast.unparse(node) if isinstance(node, (ast.Name, ast.Attribute)) else ''


class _Rewriter(ast.NodeTransformer):
    """``_class`` : the name of the class around the function that is being rewritten."""

    def __init__(self) -> None:
        self._class = ''
        self._self = ''

    # --- functions --------------------------------------------------------------------------------

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        outer = self._self
        self._self = node.args.args[0].arg if node.args.args else ''
        node.returns = None
        self.generic_visit(node)
        self._self = outer
        if node.args.kwonlyargs:
            self._keyword_only(node)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def _keyword_only(self, node: ast.FunctionDef) -> None:
        """def f(a, *, b=1) becomes def f(a, **_keywords), which unpacks them first."""
        given = node.args
        if given.kwarg or given.vararg or None in given.kw_defaults:
            raise CannotRun(f'{node.name}: keyword-only parameters beside * or **, or without a '
                            'default, cannot be rewritten yet')
        defaults = [ast.Tuple([ast.Constant(each.arg), default], ast.Load())
                    for each, default in zip(given.kwonlyargs, given.kw_defaults) if default]
        names = ast.Tuple([ast.Name(each.arg, ast.Store()) for each in given.kwonlyargs],
                          ast.Store())
        value = call('_keyword_only', ast.Constant(node.name), name('_keywords'),
                     *defaults)
        behind_docstring = 1 if ast.get_docstring(node) else 0
        node.body.insert(behind_docstring, ast.Assign([names], value))
        given.kwonlyargs, given.kw_defaults, given.kwarg = [], [], ast.arg('_keywords', None)

    # --- classes ----------------------------------------------------------------------------------

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        outer, self._class = self._class, node.name
        fields = [each for each in node.body if isinstance(each, ast.AnnAssign)
                  and 'ClassVar' not in ast.unparse(each.annotation)]
        names = ast.List([ast.Constant(ast.unparse(each.target)) for each in fields], ast.Load())
        if [_dotted(base) for base in node.bases] == ['NamedTuple']:
            self._named_tuple(node, fields, names)
        for each in node.decorator_list:
            if isinstance(each, ast.Call) and _dotted(each.func) == 'dataclasses.dataclass':
                each.func, each.args = name('_dataclass'), [names]
        node.bases = node.bases or [name('object')]
        self.generic_visit(node)
        self._class = outer
        return node

    def _named_tuple(self, node: ast.ClassDef, fields: List[ast.AnnAssign], names: ast.List
                     ) -> None:
        """class A(NamedTuple) becomes class A(_named_tuple('A', its fields, their defaults))."""
        defaults = [each.value for each in fields if each.value is not None]
        node.bases = [call('_named_tuple', ast.Constant(node.name), names, *defaults)]
        node.body = [each for each in node.body if each not in fields]
        slots = ast.Assign([ast.Name('__slots__', ast.Store())], ast.Tuple([], ast.Load()))
        node.body.insert(1 if ast.get_docstring(node) else 0, slots)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Optional[ast.AST]:
        if node.value is None:
            return None
        return ast.Assign([node.target], self.visit(node.value))

    # --- statements and expressions ---------------------------------------------------------------

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.cause, ast.Constant) and node.cause.value is None and node.exc:
            node.exc, node.cause = call('_without_context', node.exc), None
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        """f'a {b!r}' becomes _format('a {0!r}', b)."""
        text = ''
        values: List[ast.expr] = []
        for each in node.values:
            if isinstance(each, ast.Constant):
                text += str(each.value).replace('{', '{{').replace('}', '}}')
            elif isinstance(each, ast.FormattedValue):
                conversion = '' if each.conversion == -1 else f'!{chr(each.conversion)}'
                text += f'{{{len(values)}{conversion}{_spec(each)}}}'
                values.append(self.visit(each.value))
        return call('_format', ast.Constant(text), *values)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if _dotted(node) in REPLACED:
            return name(REPLACED[_dotted(node)])
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if isinstance(node.ctx, ast.Load) and node.id in BUILTINS:
            return name(BUILTINS[node.id])
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        return call('_np_matmul', node.left, node.right) if isinstance(node.op, ast.MatMult) \
            else node

    def visit_ListComp(self, node: ast.ListComp) -> ast.AST:
        """As a generator: the variable of a list comprehension outlives it in Python 2."""
        self.generic_visit(node)
        return call('list', ast.GeneratorExp(node.elt, node.generators))

    def visit_DictComp(self, node: ast.DictComp) -> ast.AST:
        self.generic_visit(node)
        pair = ast.Tuple([node.key, node.value], ast.Load())
        return call('_Dict', ast.GeneratorExp(pair, node.generators))

    def visit_Dict(self, node: ast.Dict) -> ast.AST:
        """In its order; {**a, 'b': 1} becomes _merged(a, _Dict([('b', 1)]))."""
        self.generic_visit(node)
        parts: List[Any] = []
        for key, value in zip(node.keys, node.values):
            if key is None:
                parts.append(value)
            else:
                if not parts or not isinstance(parts[-1], list):
                    parts.append([])
                parts[-1].append(ast.Tuple([key, value], ast.Load()))
        dicts = [call('_Dict', ast.List(each, ast.Load())) if isinstance(each, list) else each
                 for each in parts]
        if len(dicts) == 1 and isinstance(parts[0], list):
            return dicts[0]
        return call('_merged', *dicts)

    def visit_Tuple(self, node: ast.Tuple) -> ast.AST:
        self.generic_visit(node)
        return call('tuple', _chained(node.elts)) if _starred(node.elts) else node

    def visit_List(self, node: ast.List) -> ast.AST:
        self.generic_visit(node)
        return call('list', _chained(node.elts)) if _starred(node.elts) else node

    def visit_Set(self, node: ast.Set) -> ast.AST:
        self.generic_visit(node)
        return call('set', _chained(node.elts)) if _starred(node.elts) else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        function = _dotted(node.func)
        if function == 'super' and not node.args:
            return call('super', name(self._class), name(self._self))
        if function == 'isinstance':
            return self._isinstance(node)
        self.generic_visit(node)
        if _starred(node.args[:-1]):
            node.args = [ast.Starred(_chained(node.args), ast.Load())]
        if sum(each.arg is None for each in node.keywords) > 1:
            raise CannotRun('several ** in a call cannot be rewritten yet')
        return node

    def _isinstance(self, node: ast.Call) -> ast.AST:
        """Text is of two types in Python 2, and a dict is a dict."""
        node.args[0] = self.visit(node.args[0])
        for each in ast.walk(node.args[1]):
            if isinstance(each, ast.Name) and each.id == 'str':
                each.id = '_STRINGS'
        return node


def _spec(value: ast.FormattedValue) -> str:
    if value.format_spec is None:
        return ''
    spec = value.format_spec.values[0]  # type: ignore[attr-defined]
    if not isinstance(spec, ast.Constant):
        raise CannotRun('a format that is computed cannot be rewritten yet')
    return f':{spec.value!s}'


def _chained(items: List[ast.expr]) -> ast.expr:
    """Items of which some are starred, as one iterable: itertools.chain(a, (x, y), b)."""
    parts: List[Any] = []
    for each in items:
        if isinstance(each, ast.Starred):
            parts.append(each.value)
        else:
            if not parts or not isinstance(parts[-1], list):
                parts.append([])
            parts[-1].append(each)
    groups = [ast.Tuple(each, ast.Load()) if isinstance(each, list) else each for each in parts]
    return groups[0] if len(groups) == 1 else call('_chain', *groups)
