"""What a check found: the same for every framework."""
from typing import Any, Dict, NamedTuple, Tuple

# Verdicts that are no defect; any other is one.
GOOD = ('correct', 'finite', 'works', 'honoured', 'refused', 'separate', 'pooled', 'equal',
        'fits', 'undecided', 'left out', 'not applicable')
SILENT = ('undecided', 'left out', 'not applicable')  # that say neither yes nor no

CAFFE_KEYS: Tuple[str, ...] = ('gradient', 'relative_error', 'direction', 'activation',
                               'loss_weight', 'force_backward', 'empty', 'batch', 'classes',
                               'shapes')
GLUON_KEYS = CAFFE_KEYS + ('hybridize', 'weight', 'head_gradient')


class Finding(NamedTuple):
    """One thing that was looked at.

    verdict : one or two words, see each check.
    value : the number behind it, or a dict or list of numbers; JSON can hold it.
    message : a sentence that a layman understands.
    """

    verdict: str
    value: Any
    message: str

    @property
    def good(self) -> bool:
        return self.verdict in GOOD


Findings = Dict[str, Finding]


def said(error: object) -> str:
    """A loss's own words, which end a message, as the end of a sentence."""
    return str(error).strip().rstrip('.') + '.'
