"""Does what the loss is given fit what it does with it: logits, probabilities, or anything?

A loss that applies a softmax does not change where a number is added to all classes of a pixel.
One with a sigmoid stands still, exponentially, as scores grow.  One that wants probabilities is
bounded where they grow, or better than perfect, or not a number.
"""
from typing import Any, Dict, NamedTuple, Optional

import numpy as np

from .findings import Finding
from .numeric import quantum
from .subject import Example, Refused, Subject

SAME = 1e-5  # relative: the change of a loss that does not change
SLOW = 4.0  # the scale of a sigmoid of a high temperature
GROWN = 1e3  # a score so large is no probability, and no softmax is left to be seen in it


class Given(NamedTuple):
    """What a loss is fed.

    input : 'softmax' or 'sigmoid' probabilities, 'raw' scores; None where nobody said.
    source : who gives it, as the subject of a sentence: "The Softmax layer 'prob'".
    """

    input: Optional[str]
    source: str

    @classmethod
    def of(cls, input: str) -> 'Given':
        """As an argument says."""
        return cls(input, f'input={input!r}')


class Wants(NamedTuple):
    """What a loss expects, as far as it shows.

    input : 'raw', 'softmax' or 'sigmoid'; None where any number will do, or nothing shows.
    applies : 'softmax', 'sigmoid' or, along pixels or samples, 'softmax over pixels'; or ''.
    value : the numbers behind it.
    """

    input: Optional[str]
    applies: str
    value: Dict[str, Any]

    def example(self, example: Example) -> Example:
        """The example, with the input that the loss expects."""
        return expected(example, self.input)


def expected(example: Example, input: Optional[str]) -> Example:
    """The example, with this input or, where it has none that fits it, its own."""
    probabilities = input in ('softmax', 'sigmoid')
    fits = input is None or (example.input != 'raw') == probabilities
    return example if fits else example.replace(input=input)


def wants(subject: Subject, example: Example, seed: int = 0) -> Wants:
    """What the loss expects.  Raises Died."""
    probe = _Probe(subject, example, seed)
    value = {'probabilities': probe.range(probe.likely), 'raw': probe.range(probe.scores)}
    if probe.spread < 100 * probe.rounding:  # not if it is NaN
        return Wants(None, '', value)
    applies = probe.normalised()
    if applies:
        return Wants('raw', applies, value)
    if probe.saturates() or probe.saturates(SLOW):
        return Wants('raw', 'sigmoid', value)
    if probe.needs_probabilities():
        return Wants('softmax' if example.channels > 1 else 'sigmoid', '', value)
    return Wants(None, '', value)


class _Probe:
    """The loss of one label, at scores, at probabilities, and far outside of both."""

    def __init__(self, subject: Subject, example: Example, seed: int) -> None:
        self.subject, self.example = subject, example
        self.label = example.arrays(seed)[1]
        self.truth = example.truth(self.label)
        self.rng = np.random.RandomState([seed, 5])
        self.z = self.scores()
        self._right: Dict[float, float] = {}
        self.raw = self.loss(self.z)
        self.perfect = self.loss(np.clip(self.truth, 1e-4, 1 - 1e-4))
        self.better = self.perfect - self.loss(self.likely())
        self.spread = abs(self.better)

    def loss(self, pred: np.ndarray) -> float:
        """The mean of what the loss gives; NaN where it refuses."""
        try:
            return float(np.mean(self.subject.value(pred, self.label)))
        except Refused:
            return float('nan')

    def right(self, size: float) -> float:
        """The loss of scores that are right, and as large as this."""
        if size not in self._right:
            self._right[size] = self.loss(size * self.truth)
        return self._right[size]

    def scores(self) -> np.ndarray:
        return 2 * self.rng.standard_normal(self.example.pred)

    def likely(self) -> np.ndarray:
        """Random probabilities."""
        kind = 'sigmoid' if self.example.input == 'sigmoid' else 'softmax'
        return self.example.replace(input=kind).prediction(self.scores())

    def range(self, make: Any, number: int = 5) -> Any:
        number = self.subject.watch.most((1, number), lambda number: 50 * number)
        found = [self.loss(make()) for _ in range(number)]
        return [min(found), max(found)] if np.isfinite(found).all() else found

    @property
    def rounding(self) -> float:
        return 16 * quantum(max(abs(self.perfect), abs(np.nan_to_num(self.raw))),
                            self.subject.dtype)

    def still(self, change: float) -> bool:
        return abs(change) <= SAME * self.spread + self.rounding

    def normalised(self) -> str:
        """The axis over which a softmax takes out what is added to all."""
        one = (1,) * (len(self.example.pred) - 2)
        pixels, n, c = self.example.pred[2:], self.example.pred[0], self.example.channels
        if self.still(self.loss(0.5 * self.z) - self.raw):
            return ''  # an argmax, for example, which sees no scale, as a softmax does
        if c > 1 and self._stays((n, 1) + pixels):
            return 'softmax'
        over_pixels = np.prod(pixels) > 1 and self._stays((n, c) + one)
        over_samples = n > 1 and len(self.example.pred) > 1 and self._stays((1, c) + pixels)
        if (over_pixels or over_samples) and self.saturates():
            return 'softmax over ' + ('pixels' if over_pixels else 'samples')
        return ''

    def _stays(self, shape: Any) -> bool:
        return self.still(self.loss(self.z + self.rng.standard_normal(shape)) - self.raw)

    def saturates(self, scale: float = 1.0) -> bool:
        """Does the loss still get better as right scores grow beyond the scale, and less and less,
        as e^-t?"""
        one, four, much, more = (self.right(scale * t) for t in (1, 4, 16, 32))
        change = (four - one) * np.sign(self.better)
        return bool(change > 1e-3 * abs(one) and abs(more - much) < 1e-4 * change)

    def needs_probabilities(self) -> bool:
        if not np.isfinite(self.spread):
            return False
        if not np.isfinite(self.raw):
            return True
        return bool(self._better_than_perfect() or self._bounded())

    def _better_than_perfect(self) -> bool:
        """Is four times the truth better than the truth?  Of log-probabilities, too, of which a
        loss is a linear function."""
        none, one, four = map(self.right, (0, 1, 4))
        falls = self.better < 0
        better = self.perfect - four if falls else four - self.perfect
        linear = abs((four - one) - 3 * (one - none)) <= SAME * abs(four - one)
        return bool(better > 0.01 * self.spread and not linear)

    def _bounded(self) -> bool:
        """Does it stay within bounds as all scores grow?  If their scale has no meaning, that says
        nothing."""
        grown = np.abs(self.z)
        large, larger = (self.loss(t * GROWN * grown) for t in (1, 2))
        scaled = self.right(0.5) - self.right(1)
        return bool(abs(larger - large) < 0.01 * self.spread and not self.still(scaled))


def activation(given: Given, wanted: Wants, example: Example) -> Finding:
    """The finding: does one fit the other?"""
    value = {'given': given.input, 'expected': wanted.input, 'applies': wanted.applies,
             **wanted.value}
    if wanted.applies.startswith('softmax over'):
        return Finding('wrong axis', value, f'The loss applies a {wanted.applies} instead of '
                       'classes: it does not change where a number is added along these, and it '
                       'does where a number is added to all classes.')
    if wanted.input is None:
        return Finding('undecided', value, 'The loss shows no softmax or sigmoid, and does not '
                                           'need probabilities: it takes numbers as they are.')
    kind = f'logits, to which it applies a {wanted.applies}' if wanted.applies else 'probabilities'
    if given.input is None:
        return Finding('undecided', value, f'The loss expects {kind}; {given.source} does not say '
                                           'whether it gives that.')
    if (given.input == 'raw') == (wanted.input == 'raw'):
        return Finding('fits', value, f'The loss expects {kind}, and that is what it is given.')
    if wanted.applies:
        return _twice(given, wanted, example, value)
    return Finding('missing', value, f'{given.source} gives raw scores, and the loss, which '
                   'applies no softmax or sigmoid, expects probabilities: '
                   f'{_ranges(wanted)}.{OTHERS}')


OTHERS = ' The other rows are of the loss fed with what it expects.'


def _twice(given: Given, wanted: Wants, example: Example, value: Dict[str, Any]) -> Finding:
    largest = np.e / (np.e + example.channels - 1) if wanted.applies == 'softmax' else \
        np.e / (1 + np.e)
    return Finding('applied twice', value, f'{given.source} gives probabilities, and the loss '
                   f'applies a {wanted.applies} to them once more: what it sees as probability is '
                   f'then never more than {largest:.2g}, and the gradient is weak. Give it the '
                   f'scores before the {given.input}.{OTHERS}')


def _ranges(wanted: Wants) -> str:
    low, high = wanted.value['raw'][0], wanted.value['raw'][-1]
    if not np.isfinite(wanted.value['raw']).all():
        return 'it has no finite value for them'
    inside = wanted.value['probabilities']
    return (f'it was between {low:.3g} and {high:.3g} at random scores, and between '
            f'{inside[0]:.3g} and {inside[-1]:.3g} at random probabilities')
