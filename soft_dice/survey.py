"""Many losses of one pair of arrays, piece by piece, so that arrays larger than memory will do.

Counts add up over pieces of the image (stage 1), the options only see counts (stage 2), and the
gradient of a piece needs only the counts' derivatives (stage 3).  So all losses are computed in two
passes over the pieces, and no more than a piece is in memory.
"""
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

from .inputs import check_batch, check_label, check_shapes
from .loss import score_sums, times
from .options import DiceOptions
from .plan import Plan, resolve
from .score import Evaluation
from .stages import SumsVJP, count
from .sums import Slopes, Sums

PIECE = 1 << 20  # elements of pred


class Pair(NamedTuple):
    """pred (N, C, ...) and label, both possibly memory-mapped, classes at axis 1."""

    pred: np.ndarray
    label: np.ndarray


class Evaluated(NamedTuple):
    """loss (N,), score (N, K) and the norm of the gradient of the mean loss."""

    loss: np.ndarray
    score: np.ndarray
    gradient_norm: float


class Survey:
    """The counts of one pair of arrays, from which any loss follows.

    Raises
    ------
    ValueError : shapes that do not match, or a label out of range; at once, with its place.
    """

    def __init__(self, pair: Pair, options: DiceOptions) -> None:
        """``options`` say how to read the arrays: activation, sparse_label, ignore_label."""
        check_shapes(options, pair.pred.shape, pair.label.shape)
        self.pair = pair
        self.read_as = options
        self.samples, self.classes = pair.pred.shape[:2]
        for sample in range(self.samples):
            check_label(np.asarray(pair.label[sample:sample + 1]), self.classes, options, sample)
        self._counts: Dict[Tuple[float, str], Sums] = {}

    def reading(self, options: DiceOptions) -> DiceOptions:
        """``options`` for these arrays: their activation, kind of label and ignore_label."""
        own = self.read_as
        changes = dict(activation=own.activation, sparse_label=own.sparse_label,
                       ignore_label=own.ignore_label)
        if self.classes == 1:  # one channel is the foreground
            changes['include_background'] = True
        return options.replace(**changes)

    def counts(self, options: DiceOptions) -> Sums:
        """Stage 1 of the whole arrays; once for each exponent and overlap."""
        key = options.exponent, options.overlap
        if key not in self._counts:
            totals = [np.zeros((self.samples, self.classes)) for _ in range(3)]
            for sample, piece in self._pieces():
                counts, _ = self._count(piece, options)
                for total, each in zip(totals, counts):
                    total[sample] += each[0]
            self._counts[key] = Sums(*totals)
        return self._counts[key]

    def loss(self, options: DiceOptions) -> np.ndarray:
        """(N,)"""
        return self._stage_two(options).loss

    def evaluate(self, losses: List[DiceOptions]) -> List[Evaluated]:
        """Loss, score and gradient norm of each of the options."""
        found = [self._stage_two(options) for options in losses]
        slopes = [self._of_mean(each, options) for each, options in zip(found, losses)]
        squares = np.zeros(len(losses))
        for sample, piece in self._pieces():
            for i, gradient in enumerate(self._gradients(piece, sample, losses, slopes)):
                squares[i] += np.sum(np.square(gradient, dtype=np.float64))
        return [Evaluated(each.loss, each.score, float(norm))
                for each, norm in zip(found, np.sqrt(squares))]

    def gradient(self, options: DiceOptions, sample: int, index: Optional[int]) -> np.ndarray:
        """Gradient of one sample, (C, ...); of the plane ``index`` of its first space axis."""
        slopes = self._of_mean(self._stage_two(options), options)
        piece = self._piece(sample, slice(None) if index is None else slice(index, index + 1))
        gradient = next(self._gradients(piece, sample, [options], [slopes]))
        gradient = gradient.reshape(piece.pred.shape[1:])
        return gradient if index is None else gradient[:, 0]

    def label(self, sample: int, index: Optional[int]) -> np.ndarray:
        """The label of each class, (C, ...), 0 where a pixel is ignored; of a plane as above."""
        piece = self._piece(sample, slice(None) if index is None else slice(index, index + 1))
        label = piece.label[0]
        if self.read_as.sparse_label:
            label = label.reshape(piece.pred.shape[2:])
            of_classes = np.stack([label == c for c in range(self.classes)])
            if self.classes == 1:  # which is the foreground
                of_classes = label[None]
        else:
            of_classes = np.where(label == self.read_as.ignore_label, 0, label)
        return (of_classes if index is None else of_classes[:, 0]).astype(np.float64)

    def _plan(self, options: DiceOptions) -> Plan:
        return resolve(options, self.classes)

    def _count(self, piece: Pair, options: DiceOptions) -> Tuple[Sums, SumsVJP]:
        return count(check_batch(*piece, options), self._plan(options))

    def _stage_two(self, options: DiceOptions) -> Evaluation:
        return score_sums(self.counts(options), self._plan(options))

    def _of_mean(self, found: Evaluation, options: DiceOptions) -> Slopes:
        """The derivatives of the mean loss with respect to the counts of all classes."""
        upstream = np.full(found.loss.shape, 1 / self.samples)
        return times(upstream, found.slopes, self._plan(options))

    def _gradients(self, piece: Pair, sample: int, losses: List[DiceOptions],
                   slopes: List[Slopes]) -> Iterator[np.ndarray]:
        """Stage 3 of a piece for each loss; stage 1 once per exponent and overlap."""
        vjps: Dict[Tuple[float, str], SumsVJP] = {}
        for options, each in zip(losses, slopes):
            key = options.exponent, options.overlap
            if key not in vjps:
                vjps[key] = self._count(piece, options)[1]
            yield vjps[key](Slopes(*(slope[sample:sample + 1] for slope in each[:2])))

    def _pieces(self) -> Iterator[Tuple[int, Pair]]:
        shape = self.pair.pred.shape
        if len(shape) == 2:
            length, step = 1, 1
        else:
            length = shape[2]
            step = max(1, PIECE * length // int(np.prod(shape[1:])))
        for sample in range(self.samples):
            for start in range(0, length, step):
                yield sample, self._piece(sample, slice(start, start + step))

    def _piece(self, sample: int, rows: slice) -> Pair:
        pred, label = (array[sample:sample + 1] for array in self.pair)
        if pred.ndim > 2:
            label = label[:, :, rows] if label.ndim == pred.ndim else label[:, rows]
            pred = pred[:, :, rows]
        if pred.dtype.itemsize not in (4, 8):
            pred = pred.astype(np.float32)
        return Pair(np.asarray(pred), np.asarray(label))
