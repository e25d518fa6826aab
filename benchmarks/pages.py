"""Tables in Markdown pages, between markers that say which command writes them."""
from pathlib import Path
from typing import Sequence


def row(cells: Sequence[str]) -> str:
    return '| ' + ' | '.join(cells) + ' |'


def write_between(path: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between the markers.

    Raises
    ------
    ValueError : the file has no markers.
    """
    before, found_begin, rest = path.read_text(encoding='utf-8').partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise ValueError(f'{path.name} must have the lines {begin} and {end}')
    path.write_text(f'{before}{begin}\n{text}\n{end}{after}', encoding='utf-8')
