"""Reads of a net what ``add`` asks for, without Caffe.

The messages look like those of Caffe's own caffe_pb2, with the names, the defaults and the numbers
of caffe.proto.  What is not named here, a fork's fields for example, may be there and is passed by.
"""
import dataclasses
import re
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple, Union

from soft_dice.arrays import CannotRun

from . import spans
from .spans import QUOTES, Field

TRAIN, TEST = 0, 1  # a Phase
FULL, VALID, BATCH_SIZE, NONE = 0, 1, 2, 3  # a NormalizationMode

_ESCAPE = re.compile(rb'\\([0-7]{1,3}|[xX][0-9a-fA-F]{1,2}|.)', re.DOTALL)
_ESCAPED = {b'n': b'\n', b'r': b'\r', b't': b'\t', b'a': b'\a', b'b': b'\b', b'f': b'\f',
            b'v': b'\v'}


class Message(SimpleNamespace):
    """Values by the names of their fields; ``given`` are the names that the text has."""

    given: Tuple[str, ...] = ()

    def HasField(self, name: str) -> bool:
        return name in self.given


class Scalar(NamedTuple):
    """How a value is read from its words, ValueError where it is none, and what it is called."""

    read: Callable[[Sequence[str]], Any]
    called: str


class Known(NamedTuple):
    """A field: what its values are, and what it is by default or, where ``many``, a list of all."""

    value: Union[Scalar, 'Kind']
    default: Any
    many: bool


Kind = Dict[str, Known]


def read_text(path: str) -> str:
    """What is in a file, line ends and all.  What is not UTF-8 (a comment may be in anything) is
    kept by ``surrogateescape``, with which it is to be written again.

    Raises
    ------
    CannotRun : it cannot be read, or is binary.
    """
    try:
        with open(path, 'rb') as file:
            data = file.read()
    except OSError as error:
        raise CannotRun(f'{path} cannot be read: {error.strerror}') from None
    if b'\0' in data:
        raise CannotRun(f'{path} cannot be read: it is not a text file')
    return data.decode('utf-8', 'surrogateescape')


def read(text: str, path: str) -> Message:
    """The net in the text of ``path``.  Raises CannotRun where there is none."""
    if text.startswith('\ufeff'):
        raise CannotRun(f'{path} begins with a byte order mark, which Caffe does not read: save '
                        'it without')
    fields = spans.parse(text, path)
    there = {field.name for field in fields}
    if 'layers' in there:
        raise CannotRun(f'{path} is in the old format ("layers")')
    try:
        if 'layer' not in there and there.intersection(OF_A_SOLVER):
            solver = _message(fields, SOLVER)
            raise CannotRun(f'{path} is a solver file; give the net that it trains, '
                            f'{solver.net or solver.train_net or "which it holds itself"}')
        return _message(fields, NET)
    except ValueError as error:
        raise CannotRun(f'{path} is not the prototxt of a net: {error}') from None


def layer(text: str = '') -> Message:
    """The layer that has the fields in a text."""
    return _message(spans.parse(text, 'the layer'), LAYER)


def numbers(field: Field) -> List[float]:
    """The number that a field holds, and no more than that: of a fork's field nothing is known."""
    try:
        return [_float(field.words)]
    except (ValueError, LookupError):
        return []


def _message(fields: Sequence[Field], kind: Kind) -> Message:
    """Raises ValueError for a value that is none of its field, or one too many."""
    values: Dict[str, Any] = {}
    for name, known in kind.items():
        each = [each for field in fields if field.name == name
                for each in ((field,) if field.items is None else field.items)]
        if isinstance(known.value, dict) and not known.many and each[1:]:
            each = [_together(each)]
        found = [_value(one, known.value) for one in each]
        if len(found) > 1 and not known.many:
            raise ValueError(f'{name} is there {len(found)} times')
        values[name] = found if known.many else found[0] if found else known.default
    there = {field.name for field in fields}
    return Message(given=tuple(name for name in kind if name in there), **values)


def _together(messages: Sequence[Field]) -> Field:
    """One message of several, as an older protobuf reads them; nets of forks rely on it."""
    wrong = [each for each in messages if each.words]
    return (wrong or [dataclasses.replace(messages[0], fields=tuple(
        field for each in messages for field in each.fields))])[0]


def _value(field: Field, value: Union[Scalar, Kind]) -> Any:
    words = ' '.join(field.words) or '{ ... }'
    if isinstance(value, dict):
        if field.words:
            raise ValueError(f'{field.name} must be a message, {{ ... }}; got {words}')
        return _message(field.fields, value)
    try:
        return value.read(field.words)
    except (ValueError, LookupError):
        raise ValueError(f'{field.name} must be {value.called}; got {words}') from None


def _string(words: Sequence[str]) -> str:
    """Strings side by side are one; a C escape is a byte."""
    if words[0][0] not in QUOTES:
        raise ValueError
    quoted = b''.join(word[1:-1].encode('utf-8', 'surrogateescape') for word in words)
    return _ESCAPE.sub(_unescaped, quoted).decode('utf-8', 'surrogateescape')


def _unescaped(match: 're.Match[bytes]') -> bytes:
    code = match.group(1)
    if code.isdigit():
        return bytes([int(code, 8) & 255])
    return bytes([int(code[1:], 16)]) if len(code) > 1 else _ESCAPED.get(code, code)


def _float(words: Sequence[str]) -> float:
    """Also 1f, as in C."""
    return float(re.sub('(?<=[0-9.])[fF]$', '', words[0]))


def _integer(words: Sequence[str]) -> int:
    """Also 0x1f and 017, as in C."""
    return int(words[0], 8 if re.match('-?0[0-7]+$', words[0]) else 0)


def _boolean(words: Sequence[str]) -> bool:
    return {'true': True, 'True': True, 't': True, '1': True,
            'false': False, 'False': False, 'f': False, '0': False}[words[0]]


def _enum(**numbers: int) -> Scalar:
    """By name or number; the name of a fork's value stays a name."""
    def read_one(words: Sequence[str]) -> Union[int, str]:
        (word,) = words
        return int(word) if word.isdigit() else numbers[word] if word in numbers else word
    return Scalar(read_one, f'one of {", ".join(numbers)}')


def _one(value: Union[Scalar, Kind], default: Any = None) -> Known:
    return Known(value, _message((), value) if isinstance(value, dict) else default, False)


def _many(value: Union[Scalar, Kind]) -> Known:
    return Known(value, None, True)


STRING = Scalar(_string, 'a string in quotes')
FLOAT = Scalar(_float, 'a number')
INTEGER = Scalar(_integer, 'a whole number')
BOOLEAN = Scalar(_boolean, 'true or false')

RULE = {'phase': _one(_enum(TRAIN=TRAIN, TEST=TEST), TRAIN)}
OUTPUTS = {'num_output': _one(INTEGER, 0)}
LAYER = {
    'name': _one(STRING, ''), 'type': _one(STRING, ''), 'bottom': _many(STRING),
    'top': _many(STRING), 'loss_weight': _many(FLOAT), 'propagate_down': _many(BOOLEAN),
    'include': _many(RULE), 'exclude': _many(RULE),
    'loss_param': _one({
        'ignore_label': _one(INTEGER, 0), 'normalize': _one(BOOLEAN, False), 'normalization':
        _one(_enum(FULL=FULL, VALID=VALID, BATCH_SIZE=BATCH_SIZE, NONE=NONE), VALID)}),
    'softmax_param': _one({'axis': _one(INTEGER, 1)}),
    'infogain_loss_param': _one({'axis': _one(INTEGER, 1)}),
    'python_param': _one({name: _one(STRING, '') for name in ('module', 'layer', 'param_str')}),
    'convolution_param': _one({**OUTPUTS, 'weight_filler': _one({'type': _one(
        STRING, 'constant')})}), 'inner_product_param': _one(OUTPUTS)}
NET = {'input': _many(STRING), 'layer': _many(LAYER)}
SOLVER = {'net': _one(STRING, ''), 'train_net': _one(STRING, '')}
# What a solver file has, and no net.
OF_A_SOLVER = (*SOLVER, 'net_param', 'train_net_param', 'base_lr', 'lr_policy')
