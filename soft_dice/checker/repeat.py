"""Does a loss answer the same input alike, whatever it was asked before?"""
from typing import Optional

import numpy as np

from .findings import Finding
from .numeric import quantum, relative_error
from .subject import Evaluation, Example, Subject
from .trial import inputs

SAME = {'float32': 1e-4, 'float64': 1e-7}  # relative: so far may sums in another order be apart


def repeatable(subject: Subject, example: Example, seed: int) -> Optional[Finding]:
    """None where it is; else the finding, for which no gradient can be judged.

    Another input comes first, so that what a loss keeps of its first call is not the input that is
    looked at.  Between the two calls that must be alike comes one that is nearly right, whose loss
    is another for sure: a running mean moves.

    Raises
    ------
    Refused, Died.
    """
    subject.evaluate(*inputs(subject, example, seed + 2))
    one = subject.evaluate(*inputs(subject, example, seed))
    label = example.arrays(seed + 1)[1]
    subject.evaluate(*inputs(subject, example, seed, (example.towards(label, 2.0), label)))
    again = subject.evaluate(*inputs(subject, example, seed))
    if _alike(one, again, subject.dtype):
        return None
    values = [float(np.sum(each.value)) for each in (one, again)]
    seen = f'the losses {values[0]:.6g} and {values[1]:.6g}' if values[0] != values[1] else \
        'two gradients'
    return Finding('not repeatable', {'values': values}, 'Two calls with the same input, and '
                   f'another in between, gave {seen}. The loss is random, or remembers '
                   'something of earlier calls, as a running mean does: there is no gradient to '
                   'compare with, and no other finding would mean anything.')


def _alike(one: Evaluation, other: Evaluation, dtype: str) -> bool:
    """NaN is like NaN: that is for other findings."""
    if one.value.shape != other.value.shape or one.gradient.shape != other.gradient.shape:
        return False
    values = [np.nan_to_num(each.value) for each in (one, other)]
    gradients = [np.nan_to_num(each.gradient) for each in (one, other)]
    rounding = 64 * quantum(float(np.max(np.abs(values))), dtype)
    return bool(np.max(np.abs(values[0] - values[1])) <= rounding
                and relative_error(*gradients) <= SAME[dtype])
