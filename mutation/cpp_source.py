"""The mutants of a C++ file, from its tokens.

A binary operator is told from ``T *p``, ``T &r`` and ``Tile<T>`` by the spaces around it, as this
project writes them.  What does not compile is left out later.
"""
import re
from typing import Iterator, List, NamedTuple

from .mutant import Mutant, make

OPERATORS = {'+': '-', '-': '+', '*': '/', '/': '*', '%': '*', '|': '&', '&': '|', '^': '|',
             '<<': '>>', '<': '<=', '<=': '<', '>': '>=', '>=': '>', '==': '!=', '!=': '==',
             '&&': '||', '||': '&&', '+=': '-=', '-=': '+=', '*=': '/=', '/=': '*=', '|=': '&=',
             '&=': '|='}
_PAIRS = ('min max', 'minimum maximum', 'floor ceil')
CALLS = {a: b for pair in _PAIRS for a, b in (pair.split(), pair.split()[::-1])}
COMMUTATIVE = ('min', 'max', 'minimum', 'maximum')
CONSTANTS = {'true': 'false', 'false': 'true', '0': '1', '1': '0'}
OPENING, CLOSING = '([{', ')]}'
TOKEN = re.compile(r"""
    (?P<skipped> //[^\n]* | /\*.*?\*/ | ^[ ]*\#(?:\\\n|[^\n])* )
  | (?P<text> "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' )
  | (?P<number> \d[\w.]*(?:(?<=[eE])[+-]\d+)? )
  | (?P<word> [A-Za-z_]\w* )
  | (?P<operator> <<=|>>=|<=|>=|==|!=|&&|\|\||\+=|-=|\*=|/=|\|=|&=|\^=|\+\+|--|->|::|<<|>>|\S )
""", re.VERBOSE | re.DOTALL | re.MULTILINE)
# What begins a statement that cannot simply be left out.
KEYWORDS = ('return', 'const', 'constexpr', 'static', 'typedef', 'using', 'template', 'class',
            'struct', 'enum', 'for', 'if', 'while', 'do', 'switch', 'case', 'default', 'break',
            'continue', 'explicit', 'extern', 'inline', 'operator', 'else', 'sizeof')


class Token(NamedTuple):
    start: int
    end: int
    text: str
    kind: str


def mutants(path: str, source: bytes) -> List[Mutant]:
    """Every mutant of the file."""
    return list(_Finder(path, source).find())


class _Finder:
    def __init__(self, path: str, source: bytes) -> None:
        self.path, self.source = path, source
        text = source.decode('latin-1')  # a character is a byte
        self.tokens = [Token(found.start(), found.end(), found.group(), str(found.lastgroup))
                       for found in TOKEN.finditer(text) if found.lastgroup != 'skipped']

    def find(self) -> Iterator[Mutant]:
        for i in range(1, len(self.tokens) - 1):
            yield from self._operator(i)
            yield from self._sign(i)
            yield from self._constant(i)
            yield from self._condition(i)
            yield from self._choice(i)
            yield from self._call(i)
            yield from self._statement(i)

    def _replace(self, start: int, end: int, new: str) -> Mutant:
        return make(self.path, self.source, start, end, new)

    def _between(self, first: int, last: int) -> str:
        """The source from token ``first`` to token ``last``, which is left out."""
        return self.source[self.tokens[first].start:self.tokens[last - 1].end].decode()

    def _closing(self, i: int) -> int:
        """The token that closes the bracket at i."""
        depth = 0
        for j in range(i, len(self.tokens)):
            depth += self.tokens[j].text in OPENING
            depth -= self.tokens[j].text in CLOSING
            if depth == 0:
                return j
        raise ValueError(f'{self.path}: a bracket is never closed')

    def _find(self, i: int, wanted: str) -> int:
        """The first of the ``wanted`` tokens from i on, outside brackets; or the bracket's end."""
        while self.tokens[i].text not in (*wanted, *CLOSING):
            i = self._closing(i) + 1 if self.tokens[i].text in OPENING else i + 1
        return i

    def _operator(self, i: int) -> Iterator[Mutant]:
        before, token, after = self.tokens[i - 1:i + 2]
        spaced = before.end < token.start and token.end < after.start
        if token.text in OPERATORS and spaced and 'text' not in (before.kind, after.kind):
            yield self._replace(token.start, token.end, OPERATORS[token.text])

    def _sign(self, i: int) -> Iterator[Mutant]:
        """-x and !x as x."""
        before, token, after = self.tokens[i - 1:i + 2]
        prefix = before.kind == 'operator' and before.text not in ')]' or before.text == 'return'
        if token.text == '!' or token.text == '-' and token.end == after.start and prefix:
            yield self._replace(token.start, token.end, '')

    def _constant(self, i: int) -> Iterator[Mutant]:
        token = self.tokens[i]
        if token.text in CONSTANTS:
            yield self._replace(token.start, token.end, CONSTANTS[token.text])
        elif token.kind == 'number' and re.fullmatch(r'\d+', token.text):
            yield self._replace(token.start, token.end, str(int(token.text) + 1))
        elif token.kind == 'number' and re.fullmatch(r'\d*\.\d*f?', token.text):
            yield self._replace(token.start, token.end, f'({token.text} + 1)')

    def _condition(self, i: int) -> Iterator[Mutant]:
        if self.tokens[i].text == '(' and self.tokens[i - 1].text in ('if', 'while'):
            last = self._closing(i)
            yield self._replace(self.tokens[i].end, self.tokens[last].start,
                                f'!({self._between(i + 1, last)})')

    def _choice(self, i: int) -> Iterator[Mutant]:
        """c ? a : b as c ? b : a."""
        if self.tokens[i].text != '?':
            return
        colon, inner = self._find(i + 1, '?:'), 0
        while self.tokens[colon].text == '?' or inner:
            inner += 1 if self.tokens[colon].text == '?' else -1
            colon = self._find(colon + 1, '?:')
        if self.tokens[colon].text != ':':
            return
        last = self._find(colon + 1, ';,')
        yield self._replace(self.tokens[i + 1].start, self.tokens[last - 1].end,
                            f'({self._between(colon + 1, last)}) : {self._between(i + 1, colon)}')

    def _call(self, i: int) -> Iterator[Mutant]:
        token, after = self.tokens[i:i + 2]
        if token.kind != 'word' or after.text != '(' or token.text in KEYWORDS:
            return
        if token.text in CALLS:
            yield self._replace(token.start, token.end, CALLS[token.text])
        last = self._closing(i + 1)
        commas = [i + 1]
        while self.tokens[commas[-1]].text != ')':
            commas.append(self._find(commas[-1] + 1, ','))
        if len(commas) > 2 and commas[-1] == last and token.text not in COMMUTATIVE:
            for first in {0, len(commas) - 3}:
                begin, middle, end = commas[first:first + 3]
                yield self._replace(self.tokens[begin + 1].start, self.tokens[end - 1].end,
                                    f'{self._between(middle + 1, end)}, '
                                    f'{self._between(begin + 1, middle)}')

    def _statement(self, i: int) -> Iterator[Mutant]:
        """A call or an assignment that begins at i, left out."""
        before, token, after = self.tokens[i - 1:i + 2]
        begins = before.text in tuple(';{})') or before.text == 'else'
        effect = after.text in ('(', '[', '.', '->', '=', '+=', '-=', '*=', '/=', '|=', '&=')
        if begins and effect and token.kind == 'word' and token.text not in KEYWORDS:
            last = self._find(i, ';{')
            words = [each.text for each in self.tokens[i:last]]
            if self.tokens[last].text == ';' and not {'delete', 'default'} & set(words):
                yield self._replace(token.start, self.tokens[last].start, '')
