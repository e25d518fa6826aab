"""Puts our layer into the text of a net; every other character stays as it is."""
import re
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from soft_dice.arrays import CannotRun

from . import reader, spans
from .spans import Field

RULES = ('include', 'exclude')  # in which phase, level and stage a layer is there


def goes(name: str) -> bool:
    """Is this field of a loss that is replaced no field of our layer?  Our python_param comes."""
    return name == 'param' or name.endswith('_param') and name != 'transform_param'


class Layer(NamedTuple):
    """What the text is to say of our layer.

    top : None keeps the old layer's.
    loss_weight : as text; None keeps the old layer's, or is 1.
    param_str : empty for none.
    propagate_down : as text, one for each bottom; empty keeps the old layer's.
    module : that Python imports it from.
    """

    name: str
    bottoms: Sequence[str]
    top: Optional[str]
    loss_weight: Optional[str]
    class_name: str
    param_str: str
    propagate_down: Sequence[str] = ()
    module: str = 'caffe_layers'


def put(text: str, net: Any, layer: Layer, at: Optional[int], replaces: bool, path: str) -> str:
    """The text with ``layer`` in it.

    net : what the text says.
    at : index in net.layer of the layer that it replaces or goes beside; None: at the end.
    path : of the net, for messages.

    Raises
    ------
    CannotRun : the text is written in a way that would change more than the layer.
    """
    fields = spans.parse(text, path)
    blocks = [field for field in fields if field.name == 'layer' and field.items is None]
    if len(blocks) != len(net.layer):
        raise CannotRun(f'{path} writes layers as a list, "layer: [...]": give each its own '
                        '"layer {...}"')
    if at is None:
        new_text, place = _append(text, layer), len(net.layer)
    elif replaces:
        new_text, place = _replace(text, blocks[at], layer), at
    else:
        new_text, place = _beside(text, blocks[at], layer), at + 1
    made = reader.read(new_text, path).layer[place]
    same = (made.name, made.bottom, made.python_param.param_str) == \
        (layer.name, list(layer.bottoms), layer.param_str)
    others = [_without(spans.parse(new_text, path), place),
              _without(fields, at if replaces else None)]
    if others[0] != others[1] or not same:
        raise CannotRun(f'{path} is written in a way that this command cannot edit without '
                        'changing more than the loss')
    return new_text


def _without(fields: Sequence[Field], place: Optional[int]) -> List[Tuple[object, ...]]:
    """What the fields of a net mean, but for that layer."""
    layers = [field for field in fields if field.name == 'layer']
    gone = None if place is None else layers[place]
    return [field.meaning() for field in fields if field is not gone]


def _replace(text: str, block: Field, layer: Layer) -> str:
    """The text with this loss turned into ``layer``.

    Its comments, its rules and the order of its fields stay.  Its type changes, and our
    python_param takes the place of loss_param, or of another python_param.
    """
    editor = _Editor(text, block)
    editor.set('type', ['"Python"'])
    editor.set('name', [_quoted(layer.name)])
    editor.set('bottom', [_quoted(name) for name in layer.bottoms])
    if layer.top is not None:
        editor.set('top', [_quoted(layer.top)])
    if layer.loss_weight is not None or not block.named('loss_weight'):
        editor.set('loss_weight', [layer.loss_weight or '1'])
    if layer.propagate_down:
        editor.set('propagate_down', layer.propagate_down)
    editor.python_param(_python_param(layer, editor.lines, editor.indent))
    return editor.text()


def _beside(text: str, block: Field, layer: Layer) -> str:
    """The text with ``layer`` after this one, written like this one and with its rules."""
    line_by_line = '\n' in text[block.start:block.end]
    rules = [text[field.start:field.end].rstrip(',; ') for field in block.fields
             if field.name in RULES]
    base = _indent(text, block.start)
    written = _written(layer, rules, line_by_line, base, _Editor(text, block).indent)
    at = _line_end(text, block.end) if _nothing_follows(text, block.end) else block.end
    return text[:at] + _newline(text) + base + _in_lines_of(text, written) + text[at:]


def _append(text: str, layer: Layer) -> str:
    """The text with ``layer`` as its last."""
    written = _in_lines_of(text, _written(layer, [], True, '', '  '))
    ends = text.endswith('\n')
    return text + written + _newline(text) if ends else text + _newline(text) + written


def _written(layer: Layer, rules: Sequence[str], line_by_line: bool, base: str,
             indent: str) -> str:
    """A whole layer; the first line without its indentation."""
    fields = [f'name: {_quoted(layer.name)}', 'type: "Python"']
    fields += [f'bottom: {_quoted(name)}' for name in layer.bottoms]
    fields += [f'top: {_quoted(layer.top or layer.name)}', f'loss_weight: {layer.loss_weight or 1}']
    fields += [*rules, _python_param(layer, line_by_line, indent)]
    if not line_by_line:
        return f'layer {{ {" ".join(fields)} }}'
    return ''.join(['layer {\n', *(f'{indent}{field}\n' for field in fields), f'{base}}}'])


def _python_param(layer: Layer, line_by_line: bool, indent: str) -> str:
    """The whole field; the first line without its indentation, which is ``indent``."""
    fields = [f'module: {_quoted(layer.module)}', f'layer: {_quoted(layer.class_name)}']
    if layer.param_str:
        fields.append(f'param_str: {_quoted(layer.param_str)}')
    if not line_by_line:
        return f'python_param {{ {" ".join(fields)} }}'
    return ''.join(['python_param {\n', *(f'{_deeper(indent)}{field}\n' for field in fields),
                    f'{indent}}}'])


def _quoted(text: str) -> str:
    """As a string of prototxt; JSON as people write it there."""
    if '"' in text and not re.search(r"['\\\x00-\x1f]", text):
        return f"'{text}'"
    return '"' + re.sub(r'["\\\x00-\x1f]', _escaped, text) + '"'


def _escaped(match: 're.Match[str]') -> str:
    character = match.group()
    return f'\\{character}' if character in '"\\' else f'\\{ord(character):03o}'


class _Editor:
    """Changes to the text of one layer.

    lines : is every field on a line of its own?
    indent : of the fields that begin a line.
    """

    def __init__(self, text: str, block: Field) -> None:
        self._text, self._block = text, block
        self._edits: List[Tuple[int, int, str]] = []
        self.lines = _begins_line(text, block.value[1] - 1)
        inside = [field.start for field in block.fields if _begins_line(text, field.start)]
        base = _indent(text, block.start)
        self.indent = _indent(text, inside[0]) if inside else _deeper(base)

    def set(self, name: str, values: Sequence[str]) -> None:
        """Give the layer exactly these values of a field."""
        there = self._block.named(name)
        new = [f'{name}: {value}' for value in values]
        old = [self._text[field.start:field.end] for field in there]
        if _says_the_same(old, new):
            return
        if any(self._text[field.value[0]] == '[' for field in there):
            self._edits.append((there[0].start, there[0].end, ' '.join(new)))
            for field in there[1:]:
                self._drop(field)
            return
        for i, field in enumerate(there[:len(values)]):
            if not _says_the_same([old[i]], [new[i]]):
                self._edits.append((*field.value, values[i]))
        for field in there[len(values):]:
            self._drop(field)
        for each in new[len(there):]:
            self._insert(there[-1] if there else self._after(name), each)

    def python_param(self, written: str) -> None:
        """In place of what our layer does not read, or at the end."""
        gone = [field for field in self._block.fields if goes(field.name)]
        for field in gone[1:]:
            self._drop(field)
        if gone:
            self._edits.append((gone[0].start, gone[0].end, written))
            return
        last = self._block.fields[-1]
        if not self.lines and '\n' in self._text[self._block.start:last.end]:
            self._edits.append((last.end, last.end, f'\n{self.indent}{written}'))
        else:
            self._insert(last, written)

    def text(self) -> str:
        """The edited text."""
        edited, at = '', 0
        for start, end, new in sorted(self._edits, key=lambda edit: edit[:2]):
            edited = _joined(edited, self._text[at:start])
            edited = _joined(edited, _in_lines_of(self._text, new))
            at = end
        return _joined(edited, self._text[at:])

    def _after(self, name: str) -> Field:
        """The field that a new one of this name is to follow."""
        order: Dict[str, Tuple[str, ...]] = {'top': ('bottom',),
                                             'loss_weight': ('top', 'bottom')}
        for each in order.get(name, ()):
            if self._block.named(each):
                return self._block.named(each)[-1]
        return self._block.named('type')[-1]

    def _insert(self, field: Field, written: str) -> None:
        """After a field: on a line of its own where the field has one."""
        text = self._text
        if _begins_line(text, field.start) and _nothing_follows(text, field.end):
            at = _line_end(text, field.end)
            self._edits.append((at, at, f'\n{_indent(text, field.start)}{written}'))
            return
        before = text[:field.start]
        gap = '' if _begins_line(text, field.start) else before[len(before.rstrip(' \t')):]
        self._edits.append((field.end, field.end, (gap or ' ') + written))

    def _drop(self, field: Field) -> None:
        """With its line, where it has one; a comment beside it stays."""
        text, start, end = self._text, field.start, field.end
        if not _begins_line(text, start):
            start -= len(text[:start]) - len(text[:start].rstrip(' \t'))
        elif text[end:_line_end(text, end)].strip():
            end += len(text[end:]) - len(text[end:].lstrip(' \t'))
        else:
            start -= len(_indent(text, start))
            end = text.index('\n', end) + 1
        self._edits.append((start, end, ''))


def _says_the_same(fields: Sequence[str], others: Sequence[str]) -> bool:
    """Do these fields of a layer mean what the others mean, however they are written?"""
    return reader.layer('\n'.join(fields)) == reader.layer('\n'.join(others))


def _joined(text: str, more: str) -> str:
    """One after the other; two words stay two."""
    words = re.match(r'\w', text[-1:]) and re.match(r'\w', more)
    return f'{text} {more}' if words else text + more


def _newline(text: str) -> str:
    """How the text ends its lines."""
    return '\r\n' if 2 * text.count('\r\n') > text.count('\n') else '\n'


def _in_lines_of(text: str, new: str) -> str:
    """``new`` with the text's line ends."""
    return new.replace('\r\n', '\n').replace('\n', _newline(text))


def _line_end(text: str, at: int) -> int:
    """Where the line ends, before its line end."""
    end = text.find('\n', at)
    end = len(text) if end < 0 else end
    return end - (text[end - 1:end] == '\r' and end > at)


def _indent(text: str, at: int) -> str:
    """The white space that the line begins with."""
    line = text[text.rfind('\n', 0, at) + 1:at]
    return line[:len(line) - len(line.lstrip(' \t'))]


def _deeper(indent: str) -> str:
    return indent + ('\t' if '\t' in indent else '  ')


def _begins_line(text: str, at: int) -> bool:
    return not text[text.rfind('\n', 0, at) + 1:at].strip(' \t')


def _nothing_follows(text: str, at: int) -> bool:
    """Is the rest of the line empty, or a comment?"""
    return text[at:_line_end(text, at)].strip()[:1] in ('', '#')
