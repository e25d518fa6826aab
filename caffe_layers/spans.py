"""Where in the text of a net its layers and their fields are.

The text is one that ``prototxt.parse_net`` takes.  Positions are indices into it.
"""
import dataclasses
import re
from typing import List, Tuple

CLOSING = {'{': '}', '<': '>', '[': ']'}
SEPARATORS = (',', ';')

_TOKEN = re.compile(r'''(?P<space>\s+|\#[^\n]*)
                      | "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*'
                      | [{}<>\[\]:;,] | [^\s{}<>\[\]:;,"'\#]+''', re.VERBOSE)


@dataclasses.dataclass(frozen=True)
class Field:
    """``name: value`` or ``name { ... }``.

    start, end : of all of it, with a separator that follows.
    value : where the value begins and ends.
    fields : those of a message.
    """

    name: str
    start: int
    end: int
    value: Tuple[int, int]
    fields: Tuple['Field', ...] = ()

    def named(self, *names: str) -> List['Field']:
        return [field for field in self.fields if field.name in names]


def layers(text: str) -> List[Field]:
    """The layers of a net, in order; one in a list, ``layer: [{...}]``, is not among them."""
    return [field for field in _Parser(text).fields()
            if field.name == 'layer' and text[field.value[0]] != '[']


class _Parser:
    """Finds the fields of a text, which must be well-formed."""

    def __init__(self, text: str) -> None:
        self._tokens = [each for each in _TOKEN.finditer(text) if each.lastgroup != 'space']
        self._at = 0

    def fields(self) -> Tuple[Field, ...]:
        """Up to the end of the message, or of the text."""
        found = []
        while self._token() not in ('', '}', '>'):
            found.append(self._field())
        return tuple(found)

    def _field(self) -> Field:
        name = self._next()
        if self._token() == ':':
            self._next()
        value, fields = self._value()
        end = value[1]
        if self._token() in SEPARATORS:
            end = self._next().end()
        return Field(name.group(), name.start(), end, value, fields)

    def _value(self) -> Tuple[Tuple[int, int], Tuple[Field, ...]]:
        first = last = self._next()
        fields: Tuple[Field, ...] = ()
        if first.group() == '[':
            while self._token() != ']':
                self._value()
                if self._token() == ',':
                    self._next()
            last = self._next()
        elif first.group() in CLOSING:
            fields = self.fields()
            last = self._next()
        while first.group()[0] in '"\'' and self._token()[:1] in ('"', "'"):
            last = self._next()  # strings side by side are one
        return (first.start(), last.end()), fields

    def _token(self) -> str:
        return self._tokens[self._at].group() if self._at < len(self._tokens) else ''

    def _next(self) -> 're.Match[str]':
        self._at += 1
        return self._tokens[self._at - 1]
