"""Lines that an editor shows whole: ast.unparse writes every statement into one."""
import io
import tokenize
from typing import Dict, List

WIDTH = 99
INDENT = 8


def wrapped(text: str) -> str:
    """The code with lines broken inside of brackets, behind a comma or before a keyword, where they
    would be longer than WIDTH.  A single string may be longer.
    """
    places: Dict[int, List[int]] = {}
    depth = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.OP and token.string in '([{':
            depth += 1
        elif token.type == tokenize.OP and token.string in ')]}':
            depth -= 1
        elif depth and token.string == ',':
            places.setdefault(token.end[0], []).append(token.end[1])
        elif depth and token.string in ('and', 'or', 'for', 'if', 'else'):
            places.setdefault(token.start[0], []).append(token.start[1])
    lines = text.split('\n')
    for row, columns in places.items():
        lines[row - 1] = _broken(lines[row - 1], columns)
    return '\n'.join(lines)


def _broken(line: str, columns: List[int]) -> str:
    """The line in pieces, each as long as may be."""
    indent = ' ' * (len(line) - len(line.lstrip()) + INDENT)
    pieces: List[str] = []
    start = 0
    while start + WIDTH - len(indent) * bool(pieces) < len(line):
        end = start + WIDTH - len(indent) * bool(pieces)
        later = [column for column in columns if column > start + len(indent)]
        if not later:
            break
        stop = max([column for column in later if column <= end], default=later[0])
        pieces.append(line[start:stop].rstrip())
        start = stop + (line[stop] == ' ')
    return f'\n{indent}'.join([*pieces, line[start:]])
