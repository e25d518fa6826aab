"""Prototxts as Caffe itself reads them, with every field that it knows, and what it does not know.

A fork of Caffe has fields, enum values and layers of its own.  They are left out of the text before
this Caffe parses it, and named.
"""
import difflib
import functools
from typing import Any, Dict, FrozenSet, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import caffe
from caffe.proto import caffe_pb2
from google.protobuf import text_format  # type: ignore[import-untyped]

from soft_dice.arrays import CannotRun

from . import old_format, prototxt, reader, spans
from .spans import Field

MOST = 8  # things that are named in one message


class Unknown(NamedTuple):
    """Something in a net that this Caffe does not have.

    what : "the field bn_param", for example.
    line : where.
    layer : index in net.layer; None for what is in no layer.
    """

    what: str
    line: int
    layer: Optional[int]


class Reading(NamedTuple):
    """A net as far as this Caffe can read it.

    net : the NetParameter, without what is unknown.
    text : its prototxt, with blanks in place of what is unknown.
    unknown : that, and the layers whose type this Caffe has not.
    """

    net: Any
    text: str
    unknown: List[Unknown]

    def unknown_in(self, phase: int) -> List[Unknown]:
        """What keeps this Caffe from making the net of that phase."""
        return [each for each in self.unknown if each.layer is None
                or prototxt.in_phase(self.net.layer[each.layer], phase)]


def parse(text: str, message: Any) -> Any:
    """The message, filled from prototxt."""
    return text_format.Parse(text, message)


def read(path: str) -> Reading:
    """The net in a file.  Raises CannotRun where there is none."""
    return read_net(old_format.read_text(path).today, path)


def read_net(text: str, path: str) -> Reading:
    """The net in the text of ``path``.  Raises CannotRun where there is none."""
    reader.read(text, path)  # which knows what else it may be
    fields = spans.parse(text, path)
    blocks = [each for field in fields if field.name == 'layer' for each in _each(field)]
    unread = list(_unreadable(fields, caffe_pb2.NetParameter.DESCRIPTOR))
    unknown = [Unknown(what, _line(text, field), _layer(blocks, field)) for field, what in unread]
    for field, _ in unread:
        gone = text[field.start:field.end]
        text = text[:field.start] + ''.join(' ' if each != '\n' else each for each in gone) \
            + text[field.end:]
    try:
        net = parse(text, caffe_pb2.NetParameter())
    except text_format.ParseError as error:
        shown = str(error).encode('utf-8', 'backslashreplace').decode('utf-8')
        raise CannotRun(f'{path} is not the prototxt of a net: line {shown}') from None
    unknown += [Unknown(f'the layer type {layer.type or "(none)"}', _line(text, block), i)
                for i, (layer, block) in enumerate(zip(net.layer, blocks))
                if not has_type(layer)]
    return Reading(net, text, unknown)


def has_type(layer: Any) -> bool:
    """Has this Caffe layers of that type?  One from before 2015 does not tell."""
    return not hasattr(caffe, 'layer_type_list') or layer.type in _types()


def listed(unknown: Sequence[Unknown]) -> str:
    """For a message: each kind of thing once, with the line where it is first."""
    lines: Dict[str, List[int]] = {}
    for each in unknown:
        lines.setdefault(each.what, []).append(each.line)
    shown = [f'{what} (line {found[0]}' + (f' and {len(found) - 1} more)' if found[1:] else ')')
             for what, found in lines.items()]
    return ', '.join(shown[:MOST]) + (f' and {len(shown) - MOST} more' if shown[MOST:] else '')


def foreign(unknown: Sequence[Unknown]) -> str:
    """Why this Caffe cannot make a net with these in it, and what can be done."""
    return (f'this Caffe does not know {listed(unknown)}, which a fork of Caffe may: run this '
            "command with that fork's own Python to have the net loaded")


def python_layer(module: str, class_name: str, param_str: str) -> Any:
    """The LayerParameter of a Python layer with a top of its own."""
    layer = caffe_pb2.LayerParameter(name='loss', type='Python', top=['loss'])
    layer.python_param.module, layer.python_param.layer = module, class_name
    layer.python_param.param_str = param_str
    return layer


def _unreadable(fields: Sequence[Field], message: Any) -> Iterator[Tuple[Field, str]]:
    """Fields that a message has not, or with an enum's value that it has not.

    A second value of a message that can be there once is among them: an older protobuf put the two
    together, as some nets of forks need it.
    """
    seen = set()
    for field in fields:
        known = message.fields_by_name.get(field.name)
        if known is None:
            yield field, f'the field {field.name}{_meant(field.name, message)}'
        elif known.enum_type is not None:
            bad = [word for each in _each(field) for word in each.words
                   if not _in_enum(word, known.enum_type)]
            if bad:
                yield field, f'the value {bad[0]} of {field.name}'
        elif known.message_type is not None and field.name in seen \
                and known.label != known.LABEL_REPEATED:
            yield field, f'a second {field.name}'
        elif known.message_type is not None:
            for each in _each(field):
                yield from _unreadable(each.fields, known.message_type)
        seen.add(field.name)


def _each(field: Field) -> Sequence[Field]:
    """The values of a field, which may have a list of them."""
    return (field,) if field.items is None else field.items


def _in_enum(word: str, kind: Any) -> bool:
    return word in kind.values_by_name or word.isdigit() and int(word) in kind.values_by_number


def _meant(name: str, message: Any) -> str:
    """A field of nearly that name; the parameters of layers all have names that are near."""
    close = difflib.get_close_matches(name, message.fields_by_name, n=1, cutoff=0.75)
    return ''.join(f', unless it is {each}' for each in close if not name.endswith('_param'))


@functools.lru_cache()
def _types() -> FrozenSet[str]:
    return frozenset(caffe.layer_type_list())


def _line(text: str, field: Field) -> int:
    return text.count('\n', 0, field.start) + 1


def _layer(blocks: Sequence[Field], field: Field) -> Optional[int]:
    return next((i for i, block in enumerate(blocks)
                 if block.start <= field.start < block.end), None)
