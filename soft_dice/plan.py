"""Plan: options for a number of classes, with every class spelled out; it is what the stages take.

What depends on the number of classes is checked here, once.  A graph may not know that number; its
plan leaves open what cannot be known.
"""
import functools
from typing import Any, NamedTuple, Optional, Tuple

from .ce_options import DiceCEOptions
from .options import DiceOptions, Options
from .values import Numbers

Columns = Any  # (K,) indices, or a slice


class Plan(NamedTuple):
    """Options for predictions of C classes, K of which count.

    dice : the options of the Dice term.
    ce : those of a loss with a cross-entropy; None without one.
    num_classes : C; 0 where it is not known.
    counted : the counted classes, (K,) indices.  Where C is not known also indices from the end, or
        a slice.
    smooth, smooth_dr : a number, or one per counted class, (K,).
    fixed_weights : one number per counted class, (K,); None where all are alike or automatic.
    """

    dice: DiceOptions
    ce: Optional[DiceCEOptions]
    num_classes: int
    counted: Columns
    smooth: Numbers
    smooth_dr: Numbers
    fixed_weights: Optional[Tuple[float, ...]]

    @property
    def ce_batch(self) -> bool:
        """Whether the sums of the cross-entropy are added up over the batch."""
        if self.ce is None or self.ce.ce_batch is None:
            return self.dice.batch_dice
        return self.ce.ce_batch

    @property
    def scores(self) -> int:
        """How many scores a sample has: K, or 1 where classes are pooled; C must be known."""
        return 1 if self.dice.pool_classes else len(self.counted)

    @property
    def losses(self) -> Tuple[int, ...]:
        """The shape of a sample's loss: () or, with class_reduction 'none', (K,)."""
        return (len(self.counted),) if self.dice.class_reduction == 'none' else ()


@functools.lru_cache(maxsize=256)
def resolve(options: Options, num_classes: Optional[int] = None) -> Plan:
    """The options for predictions of ``num_classes`` channels, or of a number that is not known.

    Raises
    ------
    ValueError : a class that is not there, a list of the wrong length, no class left to count, or
        an activation that makes no sense for this number of classes.
    """
    dice, ce = options.dice, options if isinstance(options, DiceCEOptions) else None
    if num_classes is None:
        num_classes = _told(dice, ce)
    else:
        _refuse_activation(dice, num_classes)
    counted = _counted_classes(dice, num_classes)
    plan = Plan(dice, ce, num_classes or 0, counted,
                smooth=_per_class('smooth', dice.smooth, counted),
                smooth_dr=_per_class('smooth_dr', dice.denominator_smooth, counted),
                fixed_weights=_fixed_weights(dice, num_classes, counted))
    if ce is not None and ce.ce_class_weights is not None \
            and len(ce.ce_class_weights) != num_classes:
        raise ValueError(f'ce_class_weights must have one number per class of pred, here '
                         f'{num_classes}; got {len(ce.ce_class_weights)}')
    return plan


def _told(dice: DiceOptions, ce: Optional[DiceCEOptions]) -> Optional[int]:
    """The number of classes that a list with one number per class of pred tells."""
    if isinstance(dice.class_weights, tuple):
        return len(dice.class_weights)
    return len(ce.ce_class_weights) if ce is not None and ce.ce_class_weights else None


def _refuse_activation(options: DiceOptions, num_classes: int) -> None:
    if num_classes < 1:
        raise ValueError(f'pred must have at least one class; got {num_classes}')
    if options.activation == 'softmax' and num_classes == 1:
        raise ValueError("activation='softmax' over one class is always 1; for a binary prediction "
                         "of one channel use activation='sigmoid'")
    if options.activation == 'sigmoid' and options.sparse_label and num_classes > 1:
        raise ValueError("activation='sigmoid' with index labels needs a prediction of one "
                         "channel; use activation='softmax', or sparse_label=False with a label "
                         f'per class; got {num_classes} classes')


def _counted_classes(options: DiceOptions, num_classes: Optional[int]) -> Columns:
    if num_classes is None:
        if options.classes is not None:
            return options.classes
        return slice(0 if options.include_background else 1, None)
    named = range(num_classes) if options.classes is None else options.classes
    for index in named:
        if not -num_classes <= index < num_classes:
            raise ValueError(f'classes must lie in [-{num_classes}, {num_classes}) for a '
                             f'prediction of {num_classes} classes; got {index}')
    counted = tuple(index % num_classes for index in named)
    if len(set(counted)) < len(counted):
        raise ValueError(f'classes must name each class once; for {num_classes} classes '
                         f'{options.classes} names one twice')
    if not options.include_background:
        if options.classes is not None and 0 in counted:
            raise ValueError('include_background=False drops class 0, but for '
                             f'{num_classes} classes classes={options.classes} names it')
        counted = tuple(index for index in counted if index != 0)
    if not counted:
        raise ValueError('include_background=False leaves no class of a prediction of one class')
    return counted


def _per_class(name: str, value: Numbers, counted: Columns) -> Numbers:
    listed = isinstance(value, tuple) and not isinstance(counted, slice)
    if listed and len(value) != len(counted):  # type: ignore[arg-type]
        raise ValueError(f'{name} must be a number or one per counted class, here '
                         f'{len(counted)}; got {len(value)}')  # type: ignore[arg-type]
    return value


def _fixed_weights(options: DiceOptions, num_classes: Optional[int], counted: Columns
                   ) -> Optional[Tuple[float, ...]]:
    weights = options.class_weights
    if weights is None or isinstance(weights, str):
        return None
    if len(weights) != num_classes:
        raise ValueError(f'class_weights must have one number per class of pred, here '
                         f'{num_classes} (dropped classes included); got {len(weights)}')
    kept = tuple(weights[index] for index in counted)
    if not any(kept):
        raise ValueError('class_weights must be above 0 for a class that counts; got '
                         f'{weights} with counted classes {counted}')
    return kept
