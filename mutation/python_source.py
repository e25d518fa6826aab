"""The mutants of a Python file, from its syntax tree.

Messages of exceptions, docstrings, annotations and decorators are left alone.
"""
import ast
import io
import tokenize
from typing import Any, Dict, Iterator, List, Set, Tuple

from .mutant import Mutant, make

OPERATORS = {'+': '-', '-': '+', '*': '/', '/': '*', '//': '/', '%': '*', '**': '*', '|': '&',
             '&': '|', '<': '<=', '<=': '<', '>': '>=', '>=': '>', '==': '!=', '!=': '==',
             'is': 'is not', 'is not': 'is', 'in': 'not in', 'not in': 'in', 'and': 'or',
             'or': 'and', '+=': '-=', '-=': '+=', '*=': '/=', '/=': '*=', '|=': '&=', '&=': '|='}
SYMBOLS: Dict[type, str] = {
    ast.Add: '+', ast.Sub: '-', ast.Mult: '*', ast.Div: '/', ast.FloorDiv: '//', ast.Mod: '%',
    ast.Pow: '**', ast.BitOr: '|', ast.BitAnd: '&', ast.Lt: '<', ast.LtE: '<=', ast.Gt: '>',
    ast.GtE: '>=', ast.Eq: '==', ast.NotEq: '!=', ast.Is: 'is', ast.IsNot: 'is not', ast.In: 'in',
    ast.NotIn: 'not in', ast.And: 'and', ast.Or: 'or'}
_PAIRS = ('min max', 'any all', 'ones zeros', 'ones_like zeros_like', 'minimum maximum',
          'argmin argmax', 'floor ceil', 'broadcast_add broadcast_sub',
          'broadcast_mul broadcast_div', 'elemwise_add elemwise_sub', 'log log1p', 'exp expm1',
          'sin cos', 'broadcast_lesser broadcast_lesser_equal',
          'broadcast_greater broadcast_greater_equal')
CALLS = {a: b for pair in _PAIRS for a, b in (pair.split(), pair.split()[::-1])}
# Namespaces of array functions that the formulas take as an argument: no argument to swap.
NAMESPACES = ('F', 'ops')
# Calls that give the same in any order of their arguments.
COMMUTATIVE = ('min', 'max', 'minimum', 'maximum', 'broadcast_add', 'broadcast_mul',
               'elemwise_add')
# Calls whose argument cannot stand in their place.
NEEDED = ('len', 'range', 'list', 'tuple', 'dict', 'set', 'next', 'iter', 'zip', 'enumerate', 'map',
          'super', 'type', 'isinstance', 'int', 'float', 'str', 'bool', 'repr', 'print', 'getattr')
SKIPPED_FIELDS = ('annotation', 'returns', 'decorator_list', 'bases')


def mutants(path: str, source: bytes) -> List[Mutant]:
    """Every mutant of the file."""
    return list(_Finder(path, source).find())


class _Finder:
    def __init__(self, path: str, source: bytes) -> None:
        self.path, self.source = path, source
        self.tree = ast.parse(source)
        self.lines = [0]
        for line in source.splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(line))
        self.tokens = list(self._read_tokens())
        # What is called on one of these is a function, and on anything else a method of a value.
        self.modules = {alias.asname or alias.name.split('.')[0] for node in ast.walk(self.tree)
                        if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names}
        self.modules.update(NAMESPACES, ('self', 'cls'))
        self.statements: Set[ast.Call] = set()

    def find(self) -> Iterator[Mutant]:
        yield from self._below(self.tree)

    def _below(self, node: ast.AST) -> Iterator[Mutant]:
        for name, value in ast.iter_fields(node):
            if name not in SKIPPED_FIELDS:
                for child in value if isinstance(value, list) else [value]:
                    if isinstance(child, ast.AST) and not _is_text(child):
                        yield from getattr(self, f'_of_{type(child).__name__}', _nothing)(child)
                        if not isinstance(child, ast.Raise):
                            yield from self._below(child)

    # --- places in the source ---

    def _read_tokens(self) -> Iterator[Tuple[int, int, str]]:
        lines = self.source.decode().splitlines(keepends=True)

        def offset(place: Tuple[int, int]) -> int:
            row, column = place
            return self.lines[row - 1] + len(lines[row - 1][:column].encode())

        for token in tokenize.tokenize(io.BytesIO(self.source).readline):
            if token.type in (tokenize.OP, tokenize.NAME):
                yield offset(token.start), offset(token.end), token.string

    def _span(self, node: Any) -> Tuple[int, int]:
        return (self.lines[node.lineno - 1] + node.col_offset,
                self.lines[node.end_lineno - 1] + node.end_col_offset)

    def _text(self, node: Any) -> str:
        start, end = self._span(node)
        return self.source[start:end].decode()

    def _replace(self, node: Any, new: str) -> Mutant:
        return make(self.path, self.source, *self._span(node), new)

    def _operator(self, left: Any, right: Any, symbol: str) -> Iterator[Mutant]:
        """Another operator between the two nodes."""
        begin, end = self._span(left)[1], self._span(right)[0]
        words = symbol.split()
        between = [token for token in self.tokens if begin <= token[0] < end and token[2] in words]
        if between and symbol in OPERATORS:
            yield make(self.path, self.source, between[0][0], between[len(words) - 1][1],
                       OPERATORS[symbol])

    def _swap(self, one: Any, other: Any) -> Mutant:
        (start, middle), (after, end) = self._span(one), self._span(other)
        return make(self.path, self.source, start, end, self._text(other)
                    + self.source[middle:after].decode() + self._text(one))

    # --- operators ---

    def _of_BinOp(self, node: ast.BinOp) -> Iterator[Mutant]:
        if not (_is_text(node.left) or _is_text(node.right)):
            yield from self._operator(node.left, node.right, SYMBOLS.get(type(node.op), ''))

    def _of_AugAssign(self, node: ast.AugAssign) -> Iterator[Mutant]:
        yield from self._operator(node.target, node.value, SYMBOLS.get(type(node.op), '') + '=')
        yield self._replace(node, 'pass')

    def _of_Compare(self, node: ast.Compare) -> Iterator[Mutant]:
        operands = [node.left, *node.comparators]
        for left, operator, right in zip(operands, node.ops, operands[1:]):
            yield from self._operator(left, right, SYMBOLS[type(operator)])

    def _of_BoolOp(self, node: ast.BoolOp) -> Iterator[Mutant]:
        for left, right in zip(node.values, node.values[1:]):
            yield from self._operator(left, right, SYMBOLS[type(node.op)])

    def _of_UnaryOp(self, node: ast.UnaryOp) -> Iterator[Mutant]:
        yield self._replace(node, f'({self._text(node.operand)})')

    def _of_Constant(self, node: ast.Constant) -> Iterator[Mutant]:
        value = node.value
        if isinstance(value, bool):
            yield self._replace(node, str(not value))
        elif isinstance(value, (int, float)):
            yield self._replace(node, repr(value - 1 if value == 1 else value + 1))

    # --- conditions ---

    def _of_If(self, node: Any) -> Iterator[Mutant]:
        if not isinstance(node.test, (ast.Compare, ast.BoolOp, ast.UnaryOp)):
            yield self._replace(node.test, f'not ({self._text(node.test)})')

    _of_IfExp = _of_If

    def _of_comprehension(self, node: ast.comprehension) -> Iterator[Mutant]:
        for test in node.ifs:
            yield self._replace(test, 'True')

    # --- calls ---

    def _of_Call(self, node: ast.Call) -> Iterator[Mutant]:
        function = node.func
        name = getattr(function, 'attr', getattr(function, 'id', ''))
        if name in ('TypeVar', 'property'):
            return
        if name in CALLS:
            end = self._span(function)[1]
            yield make(self.path, self.source, end - len(name), end, CALLS[name])
        given = [each for each in node.args if not isinstance(each, ast.Starred)
                 and getattr(each, 'id', '') not in NAMESPACES]
        if len(given) > 1 and name not in COMMUTATIVE:
            yield self._swap(*given[:2])
            yield self._swap(*given[-2:])
        for keyword in node.keywords:
            if keyword.arg and len(node.args) + len(node.keywords) > 1:
                yield self._without(keyword)
        if node in self.statements:  # left out as a whole
            return
        if isinstance(function, ast.Attribute) and not self._is_module(function.value):
            yield self._replace(node, self._text(function.value))
        elif len(given) == 1 == len(node.args) and _may_go(name):
            yield self._replace(node, f'({self._text(given[0])})')

    def _is_module(self, node: Any) -> bool:
        while isinstance(node, ast.Attribute):
            node = node.value
        return isinstance(node, ast.Name) and node.id in self.modules

    def _without(self, keyword: ast.keyword) -> Mutant:
        """The call without this argument, and without one comma beside it."""
        start, end = self._span(keyword.value)
        start = self.source.rfind(str(keyword.arg).encode(), 0, start)
        before = [token for token in self.tokens if token[1] <= start][-1]
        after = next(token for token in self.tokens if token[0] >= end)
        if before[2] == ',':
            start = before[0]
        elif after[2] == ',':
            end = after[1]
        return make(self.path, self.source, start, end, '')

    # --- statements ---

    def _of_Expr(self, node: ast.Expr) -> Iterator[Mutant]:
        if isinstance(node.value, ast.Call):
            self.statements.add(node.value)
            yield self._replace(node, 'pass')

    def _of_Raise(self, node: ast.Raise) -> Iterator[Mutant]:
        yield self._replace(node, 'pass')

    def _of_Assign(self, node: ast.Assign) -> Iterator[Mutant]:
        """Left out where the program still has a value without it."""
        target = node.targets[0]
        used = {name.id for name in ast.walk(node.value) if isinstance(name, ast.Name)}
        set_anew = {name.id for name in ast.walk(target) if isinstance(name, ast.Name)}
        if not isinstance(target, (ast.Name, ast.Tuple)) or set_anew <= used:
            yield self._replace(node, 'pass')

    def _of_Return(self, node: ast.Return) -> Iterator[Mutant]:
        if isinstance(node.value, ast.Tuple) and len(node.value.elts) > 1:
            yield self._swap(*node.value.elts[:2])


def _nothing(node: ast.AST) -> Iterator[Mutant]:
    return iter(())


def _is_text(node: ast.AST) -> bool:
    """Text, docstrings among it; what an f-string holds has no place of its own before 3.12."""
    if isinstance(node, ast.Expr):
        return _is_text(node.value)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant)
                                               and isinstance(node.value, (str, bytes)))


def _may_go(name: str) -> bool:
    """Whether the argument of a call to ``name`` may stand in the call's place."""
    return name not in NEEDED and name[:1].islower()
