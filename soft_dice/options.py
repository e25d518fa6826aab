"""DiceOptions: every choice a Dice loss of this family makes, in one frozen object.

Both plugins take these options and add none of their own about the loss.  An options object is
checked when it is made; what depends on the number of classes is checked by soft_dice.plan.
"""
import dataclasses
import json
from typing import Any, ClassVar, Collection, Dict, List, Optional, Tuple, Type, TypeVar, Union

from . import published, values
from .other_names import advice
from .param_str import parse_param_str
from .values import Check, Numbers

AnyOptions = TypeVar('AnyOptions', bound='Options')


def option(default: Any, check: Check) -> Any:
    """A field of an options class: its default, and the check of any other value."""
    return dataclasses.field(default=default, metadata={'check': check})


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class Options:
    """What the options of every loss and metric can do.

    A subclass is a frozen dataclass whose fields are made by :func:`option`; it refuses unknown
    names, calls :meth:`_set`, and refuses options that contradict each other.

    INSTEAD : what to do with these where another kind of options is wanted.
    COMPOUND : whether a preset may be one with a cross-entropy.
    """

    INSTEAD: ClassVar[str] = ''
    COMPOUND: ClassVar[bool] = True

    def _set(self, fields: Dict[str, Any]) -> None:
        """Check and set every option of this class; one that is not in ``fields`` is default."""
        for field in options_of(type(self)):
            value = field.metadata['check'](field.name, fields.get(field.name, field.default))
            object.__setattr__(self, field.name, value)

    @property
    def dice(self) -> 'DiceOptions':
        """The options of the Dice term."""
        raise NotImplementedError

    def to_dict(self) -> Dict[str, Any]:
        """Every option by name, which :meth:`from_dict` reads back."""
        return {field.name: getattr(self, field.name) for field in options_of(type(self))}

    def changes_from(self, start: Optional['Options'] = None) -> Dict[str, Any]:
        """The options by name that differ from those of ``start``, or else from the defaults;
        ``start.replace(**changes)`` are these options.
        """
        usual = (type(self)() if start is None else start).to_dict()
        return {name: value for name, value in self.to_dict().items() if value != usual[name]}

    def changed(self) -> List[str]:
        """'name=value' of every option that is not the default."""
        return [f'{name}={value!r}' for name, value in self.changes_from().items()]

    def __repr__(self) -> str:
        return f'{type(self).__name__}({", ".join(self.changed())})'

    def replace(self: AnyOptions, **changes: Any) -> AnyOptions:
        """The same options with some changed; checked again."""
        return type(self)(**{**self.to_dict(), **changes})

    def to_json(self) -> str:
        """All options as a JSON object, which :meth:`from_param_str` reads back."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_param_str(cls: Type[AnyOptions], text: str) -> AnyOptions:
        """Options from a Caffe param_str: a JSON object or a Python dict literal; empty is default.

        The key "preset" starts from a published loss, ``{"preset": "monai", "ignore_label": 255}``;
        the other keys override.  The text is parsed, never evaluated.

        Raises
        ------
        ValueError : text that is neither, that names an option twice, or an unknown preset.
        TypeError : unknown option.
        """
        return cls.from_dict(parse_param_str(text))

    @classmethod
    def from_dict(cls: Type[AnyOptions], fields: Dict[str, Any]) -> AnyOptions:
        """Options by name, among them perhaps "preset"; as :meth:`from_param_str`."""
        given = dict(fields)
        start = {}
        if 'preset' in given:
            start = cls._from_loss(published.find(given.pop('preset'), cls.COMPOUND).fields)
        return cls(**{**start, **given})

    @classmethod
    def _from_loss(cls, fields: Dict[str, Any]) -> Dict[str, Any]:
        """Those of a Dice loss's options that are options here, too."""
        return fields


def options_of(kind: Type[Options]) -> List[Any]:
    """The dataclass's fields that are options."""
    return [field for field in dataclasses.fields(kind) if 'check' in field.metadata]


def require(options: Any, kind: Type[AnyOptions]) -> AnyOptions:
    """``options``, which must be of this kind, or the name of a preset.

    Raises
    ------
    TypeError : they are not; says what to give.
    ValueError : an unknown preset.
    """
    if isinstance(options, str):
        return kind.from_dict({'preset': options})
    if isinstance(options, kind):
        return options
    instead = f'; {options.INSTEAD}' if isinstance(options, Options) else ''
    raise TypeError(f'options must be a soft_dice.{kind.__name__}, for example '
                    f'{kind.__name__}(smooth=1.0), or the name of a preset; got '
                    f'{type(options).__name__}{instead}')


def chosen(kind: Type[AnyOptions], options: Any, fields: Dict[str, Any]) -> AnyOptions:
    """What a caller asks for: options, the name of a preset, or neither, and options by name, among
    them perhaps "preset", on top.

    Raises
    ------
    TypeError : options of another kind, options and preset, an unknown option.
    ValueError : a value outside its range, options that contradict each other, an unknown preset.
    """
    if options is None:
        return kind.from_dict(fields)
    if 'preset' in fields:
        raise TypeError('give options or preset, not both; options may come from '
                        'soft_dice.preset(name)')
    return require(options, kind).replace(**fields)


def refuse_unknown(fields: Dict[str, Any], known: Collection[str],
                   listed: str = 'the options are') -> None:
    """
    Raises
    ------
    TypeError : a field that is none of the ``known`` options; says what to use instead.
    """
    unknown = sorted(set(fields).difference(known))
    if unknown:
        others = {kind.__name__: kind().to_dict() for kind in Options.__subclasses__()}
        instead = advice(unknown[0], known, f'{listed} {", ".join(known)}', others)
        raise TypeError(f'unknown option {unknown[0]!r}; {instead}')


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class DiceOptions(Options):
    """What a soft Dice loss computes.  Keywords only; an unknown one is refused.

    Per sample and class c, with p the activated prediction, g the label and m the pixel weight::

        tp = sum m p g                      (overlap 'product'; 'l1': sum m (p + g - |p - g|) / 2)
        fp = sum m p^exponent - tp
        fn = sum m g^exponent - tp
        S_c = (2 tp + smooth) / (2 (tp + alpha fp + beta fn) + smooth_dr)

    alpha = beta = 1/2 is Dice, 1 and 1 is Jaccard, anything else Tversky.  Where the denominator
    is 0, S_c is 1.  A class's loss is ``form`` of S_c; the loss of a sample is their weighted mean.

    Parameters
    ----------
    activation : 'softmax' (default), 'sigmoid' or 'none', applied to the prediction.
    sparse_label : bool, default True.  True: labels are class indices, (N, ...) or (N, 1, ...), and
        0 or 1 for a prediction of one channel.  False: labels have the shape of the prediction and
        values in [0, 1].  A label receives no gradient, a soft one neither: it is a constant, also
        where a network has computed it.
    axis : int, default 1.  The class axis of the prediction; never the batch axis 0.
    classes : sequence of int or None.  The classes that count, negative from the end; None is all.
    include_background : bool, default True.  False drops class 0.
    ignore_label : int or None.  Pixels with this label are in no sum and have gradient 0.  With
        dense labels: elements with this value, which must then lie outside [0, 1].
    batch_dice : bool, default False.  True adds up the counts of the batch first; every sample then
        has the same loss.
    alpha, beta : float >= 0, default 0.5.  Weight of false positives and of false negatives.
    exponent : float >= 1, default 1.  2 is the squared denominator of V-Net.
    overlap : 'product' (default) or 'l1', which is 0 loss at a perfect soft label.
    smooth : float >= 0, default 1e-5, or one per counted class.
    smooth_dr : the denominator's own smooth; None (default) is ``smooth``.  It must be above 0
        where ``smooth`` is.
    class_weights : one float >= 0 per class of the prediction, 'inverse', 'inverse_square' or None.
        The automatic ones are 1/label_sum and 1/label_sum^2, constants to the gradient; an
        infinite one (absent class) becomes the largest finite one of its row, and where none is
        finite the loss is 0.
    pool_classes : bool, default False.  True adds the weighted counts over classes before dividing.
    weight_normalization : 'classes' (default) sum(w L)/C, 'weights' sum(w L)/sum(w), or 'score'
        1 - sum(w S)/C.
    class_reduction : 'mean' (default), 'sum' of w L, or 'none': w L, shape (N, counted classes).
    absent : 'count' (default) a class without label pixels like any other, 'zero' its loss but keep
        it in the mean, or 'skip' it and average over the rest (pooled: leave it out of the pool).
    form : 'one_minus' (default) 1 - S, 'negative' -S, 'log' -log max(S, 1e-7), 'log_cosh'
        log cosh(1 - S).
    gamma : float > 0, default 1.  Focal exponent on 1 - S; form 'one_minus' only.
    resize : None (default): another size of prediction than of label is an error.  'bilinear': the
        prediction, before its activation, is interpolated to the label's size, along every space
        axis (of a volume: trilinear), the corners of the two aligned; its gradient has its own
        size.  Going down in size this takes single points and no mean, as such functions do.

    Raises
    ------
    TypeError : unknown option, or a positional argument.
    ValueError : a value outside its range, or options that contradict each other.

    Examples
    --------
    >>> DiceOptions(alpha=0.3, beta=0.7, include_background=False).replace(smooth=1.0).smooth
    1.0
    """

    activation: str = option('softmax', values.one_of('softmax', 'sigmoid', 'none'))
    sparse_label: bool = option(True, values.flag)
    axis: int = option(1, values.integer)
    classes: Optional[Tuple[int, ...]] = option(None, values.classes)
    include_background: bool = option(True, values.flag)
    ignore_label: Optional[int] = option(None, values.optional_integer)
    batch_dice: bool = option(False, values.flag)
    alpha: float = option(0.5, values.non_negative)
    beta: float = option(0.5, values.non_negative)
    exponent: float = option(1.0, values.exponent)
    overlap: str = option('product', values.one_of('product', 'l1'))
    smooth: Numbers = option(1e-5, values.number_or_list)
    smooth_dr: Optional[Numbers] = option(None, values.optional_number_or_list)
    class_weights: Union[None, str, Tuple[float, ...]] = option(
        None, values.fixed_or_automatic_weights)
    pool_classes: bool = option(False, values.flag)
    weight_normalization: str = option('classes', values.one_of('classes', 'weights', 'score'))
    class_reduction: str = option('mean', values.one_of('mean', 'sum', 'none'))
    absent: str = option('count', values.one_of('count', 'zero', 'skip'))
    form: str = option('one_minus', values.one_of('one_minus', 'negative', 'log', 'log_cosh'))
    gamma: float = option(1.0, values.positive)
    resize: Optional[str] = option(None, values.one_of(None, 'bilinear'))

    INSTEAD: ClassVar[str] = 'DiceCEOptions(**options.to_dict()) adds a cross-entropy to them'
    COMPOUND: ClassVar[bool] = False

    def __init__(self, **fields: Any) -> None:
        refuse_unknown(fields, FIELDS)
        self._set(fields)
        _refuse_contradictions(self)

    @property
    def dice(self) -> 'DiceOptions':
        """These options, which are of a Dice term alone."""
        return self

    @property
    def denominator_smooth(self) -> Numbers:
        return self.smooth if self.smooth_dr is None else self.smooth_dr


FIELDS: Dict[str, Any] = {field.name: field.default for field in options_of(DiceOptions)}


# --- options that contradict each other ----------------------------------------------------------

def _refuse_contradictions(options: DiceOptions) -> None:
    """Raise where one option would make another meaningless; nothing is ignored in silence."""
    o = options
    per_class_smooth = [name for name in ('smooth', 'smooth_dr')
                        if isinstance(getattr(o, name), tuple)]
    rules = (
        (o.axis == 0, 'axis must not be 0, the batch axis; the default is axis=1'),
        (_unbounded(o),
         'smooth > 0 needs a smooth_dr > 0, as smooth / 0 would be infinite; for example '
         f'smooth_dr=1e-5, or smooth=0; got smooth={o.smooth} with smooth_dr={o.smooth_dr}'),
        (o.alpha == 0 and o.beta == 0,
         'alpha and beta must not both be 0: no error would count; Dice is alpha=0.5, beta=0.5'),
        (o.gamma != 1 and o.form != 'one_minus',
         f"gamma is the exponent of form 'one_minus'; got gamma={o.gamma:g} with form={o.form!r}"),
        (not o.include_background and o.classes is not None and 0 in o.classes,
         f'include_background=False drops class 0, but classes={o.classes} names it; '
         'give one of the two'),
        (not o.sparse_label and o.ignore_label in (0, 1),
         f'ignore_label must lie outside [0, 1] with dense labels, for example 255; '
         f'got {o.ignore_label}'),
        (o.pool_classes and o.class_reduction == 'none',
         "pool_classes=True leaves one score, so class_reduction must be 'mean' or 'sum'; "
         "got 'none'"),
        (o.pool_classes and o.weight_normalization != 'classes',
         'pool_classes=True weights the counts, so weight_normalization has no meaning; '
         f'got {o.weight_normalization!r}'),
        (o.pool_classes and o.absent == 'zero',
         "pool_classes=True has no loss per class to zero; use absent='count' or 'skip'"),
        (o.pool_classes and bool(per_class_smooth),
         f'pool_classes=True needs one number for {"".join(per_class_smooth[:1])}, '
         'for example 1e-5; got a list'),
        (o.class_reduction != 'mean' and o.weight_normalization != 'classes',
         f'weight_normalization={o.weight_normalization!r} normalises a mean; '
         f'got class_reduction={o.class_reduction!r}'),
        (o.weight_normalization == 'score' and (o.form != 'one_minus' or o.gamma != 1),
         "weight_normalization='score' is 1 - sum(w S)/C, so it needs form='one_minus' and "
         f'gamma=1; got form={o.form!r}, gamma={o.gamma:g}'),
    )
    for broken, message in rules:
        if broken:
            raise ValueError(message)


def _unbounded(options: DiceOptions) -> bool:
    """Whether a class has a smooth and none in its denominator."""
    above, below = options.smooth, options.denominator_smooth
    if isinstance(above, tuple) and isinstance(below, tuple):
        return any(a > 0 and b == 0 for a, b in zip(above, below))
    largest = max(above) if isinstance(above, tuple) else above
    return largest > 0 and 0 in (below if isinstance(below, tuple) else (below,))
