"""The list of mutants that no test can kill, as they compute the same: equivalents.txt.

An entry is the file and the reason, then the changed line before and after::

    soft_dice/score.py: an exponent of 1 gives the same
    - if gamma == 1:
    + if gamma != 1:

It is found again by these texts, wherever the line has moved to.
"""
from pathlib import Path
from typing import Dict, Iterable, List, Tuple

from .mutant import Mutant

LIST = Path(__file__).with_name('equivalents.txt')
Key = Tuple[str, str, str]


def key_of(mutant: Mutant) -> Key:
    return mutant.path, mutant.removed, mutant.added


def read(path: Path = LIST) -> Dict[Key, str]:
    """The reasons.

    Raises
    ------
    ValueError : an entry that has another form.
    """
    reasons = {}
    for entry in path.read_text(encoding='utf-8').split('\n\n'):
        lines = [line.strip() for line in entry.splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith('#')]
        if not lines:
            continue
        file, colon, reason = lines[0].partition(': ')
        if len(lines) != 3 or not colon or lines[1][:1] != '-' or lines[2][:1] != '+':
            raise ValueError(f'{path.name}: an entry must be three lines, "file: reason", '
                             f'"- line" and "+ line"; got {lines}')
        reasons[file, lines[1][1:].strip(), lines[2][1:].strip()] = reason
    return reasons


def outdated(reasons: Dict[Key, str], mutants: Iterable[Mutant]) -> List[Key]:
    """The entries that are of none of the mutants, though of a file of theirs."""
    mutants = list(mutants)
    known, files = set(map(key_of, mutants)), {mutant.path for mutant in mutants}
    return [key for key in reasons if key[0] in files and key not in known]
