"""What ``add`` prints: what happens to the net, and the lines that change."""
import difflib
import os
import sys
from typing import Any, Iterator

from soft_dice.checker.report import GREEN, PLAIN, RED

from . import prototxt
from .edit import Layer
from .place import Site


def what_happens(net: Any, site: Site, layer: Layer) -> str:
    """In one sentence, and a second on every other loss that stays."""
    blobs = ', '.join(layer.bottoms)
    if site.at is None:
        return f'{layer.name!r} is added at the end: {layer.class_name} of {blobs}.'
    old = net.layer[site.at]
    if not site.replaces:
        return (f'{layer.name!r} is added beside {prototxt.described(old)}: {layer.class_name} of '
                f'{blobs}.')
    rest = [f'  {prototxt.kind(each)} stays {prototxt.described(each)}.'
            for i, each in enumerate(net.layer)
            if i != site.at and prototxt.is_loss(each, net.layer)]
    return (f'{old.name!r}, {prototxt.kind(old)}, becomes {layer.class_name} of {blobs}.'
            + ''.join(rest))


def show_difference(text: str, new_text: str, path: str, target: str) -> None:
    """Print a unified diff; in colours on a terminal."""
    paint = sys.stdout.isatty()
    for line in _difference(text, new_text, path, target):
        code = {'+': GREEN, '-': RED}.get(line[:1], '') if paint else ''
        say(code + line + PLAIN if code else line)


def _difference(text: str, new_text: str, path: str, target: str) -> Iterator[str]:
    """A unified diff; the lines end as those of the terminal do."""
    old, new = ([line + '\n' for line in each.split('\n')] for each in (text, new_text))
    for lines in (old, new):
        lines[-1] = lines[-1][:-1]  # no line end at the end, or an empty line too many
        if not lines[-1]:
            lines.pop()
    for line in difflib.unified_diff(old, new, path, target):
        yield line.rstrip('\r\n')
        if not line.endswith('\n'):
            yield '\\ No newline at end of file'


def say(line: str) -> None:
    """Print a line whose characters the terminal may lack.  A reader that has seen enough, and
    leaves, does not keep the net from being written.
    """
    encoding = sys.stdout.encoding or 'ascii'
    try:
        print(line.encode(encoding, 'backslashreplace').decode(encoding), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
