"""A mutant: one small change of one file that a test should notice."""
import hashlib
from typing import Iterable, List, NamedTuple


class Mutant(NamedTuple):
    """``old`` at the byte ``start`` of the file becomes ``new``.

    path : of the file, from the root of the checkout, with slashes.
    line : number of the line where the change begins, from 1.
    removed, added : the changed lines before and after, with single spaces between words.
    """

    path: str
    start: int
    old: bytes
    new: bytes
    line: int
    removed: str
    added: str

    def applied(self, source: bytes) -> bytes:
        return source[:self.start] + self.new + source[self.start + len(self.old):]

    def __str__(self) -> str:
        return f'{self.path}:{self.line}\n    - {self.removed}\n    + {self.added}'


def make(path: str, source: bytes, start: int, end: int, new: str) -> Mutant:
    """The mutant that has ``new`` in place of the bytes [start, end)."""
    first = source.rfind(b'\n', 0, start) + 1
    last = source.find(b'\n', end)
    last = len(source) if last < 0 else last
    mutant = Mutant(path, start, source[start:end], new.encode(), source.count(b'\n', 0, start) + 1,
                    _words(source[first:last]), '')
    changed = mutant.applied(source)
    return mutant._replace(added=_words(changed[first:last + len(changed) - len(source)]))


def sample(mutants: Iterable[Mutant], seed: int) -> List[Mutant]:
    """The mutants in the order that the seed gives, without those that change nothing.

    A mutant's place depends on its own lines alone, so that an edit elsewhere in the file leaves
    most of a sample as it was.
    """
    def place(mutant: Mutant) -> str:
        text = f'{seed} {mutant.path} {mutant.removed} {mutant.added}'
        return hashlib.sha256(text.encode()).hexdigest()

    different = {(each.start, each.old, each.new): each for each in mutants
                 if each.removed != each.added}
    return sorted(different.values(), key=lambda each: (place(each), each.start))


def _words(text: bytes) -> str:
    return ' '.join(text.decode().split())
