"""MetricOptions: how a prediction is decided, counted, scored and averaged."""
import dataclasses
from typing import Any, ClassVar, Dict, Union

from . import values
from .options import FIELDS, DiceOptions, Options, option, options_of, refuse_unknown

Empty = Union[str, int]

# The options that say how to read prediction and label; the others are the loss's.
READING = ('activation', 'sparse_label', 'axis', 'classes', 'include_background', 'ignore_label',
           'resize')


def check_beta(name: str, value: Any) -> float:
    if not values.is_number(value) or not 0.001 <= value <= 1000:
        raise ValueError(f'{name} of F-beta must be a number in [0.001, 1000], for example 1, '
                         f'which is Dice; got {value!r}')
    return float(value)


def check_empty(name: str, value: Any) -> Empty:
    if isinstance(value, bool) or value not in ('nan', 0, 1):
        raise ValueError(f"{name}, what a class gives that is empty (neither predicted nor "
                         f"labelled), must be 'nan', 0 or 1; got {value!r}")
    return value if value == 'nan' else int(value)


check_threshold = values.fraction(example=0.5)


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class MetricOptions(Options):
    """What a metric of hard Dice is told.  Keywords only; an unknown one is refused.

    Parameters
    ----------
    threshold, beta, empty, per_image, metric, empty_by : as of :func:`soft_dice.hard_dice`; beta is
        that of F-beta.
    average : 'macro' (default), 'micro' or 'weighted', of the one value over all classes; as of
        :func:`soft_dice.hard_dice`.
    **fields : activation, sparse_label, axis, classes, include_background, ignore_label and resize
        as of :class:`soft_dice.DiceOptions`; they come to stand in the attribute ``dice``.

    Raises
    ------
    TypeError : unknown option, or one of the loss alone.
    ValueError : a value outside its range, a threshold that nothing would use, or a beta of iou.

    Examples
    --------
    >>> MetricOptions.of_loss(DiceOptions(smooth=1.0, ignore_label=255), beta=2)
    MetricOptions(beta=2.0, ignore_label=255)
    """

    dice: DiceOptions = DiceOptions()
    threshold: float = option(0.5, check_threshold)
    beta: float = option(1.0, check_beta)
    empty: Empty = option('nan', check_empty)
    per_image: bool = option(False, values.flag)
    metric: str = option('dice', values.one_of('dice', 'iou'))
    average: str = option('macro', values.one_of('macro', 'micro', 'weighted'))
    empty_by: str = option('both', values.one_of('both', 'label'))

    INSTEAD: ClassVar[str] = 'options.dice are those of them that a loss has, too'

    def __init__(self, **fields: Any) -> None:
        _refuse_unknown(fields)
        object.__setattr__(self, 'dice', DiceOptions(**_reading(fields)))
        self._set(fields)
        if self.dice.activation == 'softmax':
            refuse_threshold(self.threshold)
        if self.metric == 'iou' and self.beta != 1:
            raise ValueError(f"beta is of metric='dice'; got beta={self.beta:g} with metric='iou'")

    @classmethod
    def of_loss(cls, options: Union[None, str, DiceOptions], **fields: Any) -> 'MetricOptions':
        """Those that read prediction and label as a loss of ``options`` does; ``fields`` override.

        Raises
        ------
        TypeError : ``options`` that are neither DiceOptions nor a preset's name; and as the class.
        ValueError : an unknown preset; and as the class.
        """
        if options is None:
            return cls(**fields)
        if isinstance(options, str):
            return cls.from_dict({'preset': options, **fields})
        if not isinstance(options, DiceOptions):
            raise TypeError('options must be a soft_dice.DiceOptions, for example '
                            'DiceOptions(ignore_label=255), or the name of a preset; got '
                            f'{type(options).__name__}')
        return cls(**{**cls._from_loss(options.to_dict()), **fields})

    @classmethod
    def _from_loss(cls, fields: Dict[str, Any]) -> Dict[str, Any]:
        return _reading(fields)

    def to_dict(self) -> Dict[str, Any]:
        """Every option by name, those of reading among them."""
        return {**super().to_dict(), **_reading(self.dice.to_dict())}


KNOWN = (*READING, *(field.name for field in options_of(MetricOptions)))


def refuse_threshold(threshold: float) -> None:
    """Refuse one other than the default where none is used."""
    if threshold != MetricOptions.threshold:
        raise ValueError(f'threshold={threshold} has no meaning where each pixel is of one class: '
                         "leave it out, or use activation='sigmoid' (or 'none' with a dense "
                         'label)')


def _reading(fields: Dict[str, Any]) -> Dict[str, Any]:
    return {name: value for name, value in fields.items() if name in READING}


def _refuse_unknown(fields: Dict[str, Any]) -> None:
    for name in fields:
        if name in FIELDS and name not in KNOWN:
            raise TypeError(f'{name} is an option of the loss alone; the hard Dice takes '
                            f'{", ".join(KNOWN)}')
    refuse_unknown(fields, KNOWN, 'the hard Dice takes')
