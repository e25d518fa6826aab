"""Where in the text of a net its layers and their fields are.

A prototxt is taken apart here without caffe.proto, which only Caffe has: a field of a fork is a
field, too.  Positions are indices into the text.
"""
import dataclasses
import re
from typing import List, Optional, Tuple

from soft_dice.arrays import CannotRun

CLOSING = {'{': '}', '<': '>', '[': ']'}
SEPARATORS = (',', ';')
QUOTES = ('"', "'")

_TOKEN = re.compile(r'''(?P<space>\s+|\#[^\n]*)
                      | (?P<string>"(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*')
                      | (?P<sign>[{}<>\[\]:;,]) | (?P<word>[^\s{}<>\[\]:;,"'\#]+)
                      | (?P<bad>.)''', re.VERBOSE)


@dataclasses.dataclass(frozen=True)
class Field:
    """``name: value``, ``name { ... }`` or ``name: [value, ...]``.

    start, end : of all of it, with a separator that follows.
    value : where the value begins and ends.
    fields : those of a message.
    words : the tokens of a value that is no message: one, or strings side by side.
    items : those of a list, as fields of their own; None for what is no list.
    """

    name: str
    start: int
    end: int
    value: Tuple[int, int]
    fields: Tuple['Field', ...] = ()
    words: Tuple[str, ...] = ()
    items: Optional[Tuple['Field', ...]] = None

    def named(self, *names: str) -> List['Field']:
        return [field for field in self.fields if field.name in names]

    def meaning(self) -> Tuple[object, ...]:
        """Equal where texts differ in white space, comments, colons and separators only."""
        inside = self.fields if self.items is None else self.items
        return (self.name, self.words, *(each.meaning() for each in inside))


def parse(text: str, path: str) -> Tuple[Field, ...]:
    """The fields of a prototxt.

    path : how the text is called.

    Raises
    ------
    CannotRun : it is no prototxt, with the line.
    """
    return _Parser(text, path).all()


class _Parser:
    def __init__(self, text: str, path: str) -> None:
        self._text, self._path = text, path
        self._tokens = [each for each in _TOKEN.finditer(text) if each.lastgroup != 'space']
        self._at = 0

    def all(self) -> Tuple[Field, ...]:
        found = self._fields()
        if self._token():
            raise self._error('a field')
        return found

    def _fields(self) -> Tuple[Field, ...]:
        """Up to the end of the message, or of the text."""
        found = []
        while self._token() not in ('', '}', '>'):
            found.append(self._field())
        return tuple(found)

    def _field(self) -> Field:
        name = self._next('word', 'the name of a field')
        if self._token() == ':':
            self._next('sign', "':'")
        elif self._token() not in CLOSING:
            raise self._error("':'")
        field = self._value(name.group())
        end = self._next('sign', "','").end() if self._token() in SEPARATORS else field.end
        return dataclasses.replace(field, start=name.start(), end=end)

    def _value(self, name: str) -> Field:
        """A field as if it began with its value."""
        first = self._token()
        if first not in CLOSING:
            return self._scalar(name)
        start, closing = self._next('sign', 'a value').start(), CLOSING[first]
        fields = self._fields() if first != '[' else ()
        items = self._items(name) if first == '[' else None
        if self._token() != closing:
            raise self._error(repr(closing))
        end = self._next('sign', repr(closing)).end()
        return Field(name, start, end, (start, end), fields, items=items)

    def _items(self, name: str) -> Tuple[Field, ...]:
        found: List[Field] = []
        while self._token() != ']':
            if found and self._token() != ',':
                raise self._error("',' or ']'")
            if found:
                self._next('sign', "','")
            found.append(self._value(name))
        return tuple(found)

    def _scalar(self, name: str) -> Field:
        kind = 'string' if self._token()[:1] in QUOTES else 'word'
        words = [self._next(kind, 'a value')]
        while kind == 'string' and self._token()[:1] in QUOTES:
            words.append(self._next(kind, 'a value'))  # strings side by side are one
        start, end = words[0].start(), words[-1].end()
        return Field(name, start, end, (start, end), words=tuple(each.group() for each in words))

    def _token(self) -> str:
        return self._tokens[self._at].group() if self._at < len(self._tokens) else ''

    def _next(self, kind: str, wanted: str) -> 're.Match[str]':
        if not self._token() or self._tokens[self._at].lastgroup != kind:
            raise self._error(wanted)
        self._at += 1
        return self._tokens[self._at - 1]

    def _error(self, wanted: str) -> CannotRun:
        token = self._token()
        at = self._tokens[self._at].start() if token else len(self._text)
        line, column = self._text.count('\n', 0, at) + 1, at - self._text.rfind('\n', 0, at)
        shown = (repr(token) if token else 'the end').encode('utf-8', 'backslashreplace').decode()
        return CannotRun(f'{self._path} is not the prototxt of a net: line {line}:{column}: '
                         f'{wanted} is expected; got {shown}')
