"""param_str: the options of a layer as text, read and written."""
import json
from typing import Any, Dict, Optional, Type

from soft_dice.ce_options import DiceCEOptions
from soft_dice.options import AnyOptions, DiceOptions, Options, chosen
from soft_dice.param_str import parse_param_str

# The loss layers of this package by the names of their classes, and what their param_str holds.
LOSSES: Dict[str, Type[Options]] = {'SoftDiceLossLayer': DiceOptions,
                                    'DiceCELossLayer': DiceCEOptions}

# What an empty param_str means.  The command `bundle` writes its --options here, in its copy.
DEFAULTS: Dict[str, Any] = {}


def of_layer(layer: Any) -> Options:
    """The options of a LayerParameter whose class is one of LOSSES; raises as :func:`read`."""
    return read(layer.python_param.param_str, LOSSES[layer.python_param.layer])


def read(text: str, options_class: Type[AnyOptions]) -> AnyOptions:
    """The options in a param_str.

    Raises
    ------
    ValueError, TypeError : as ``options_class.from_param_str``; an axis that is not Caffe's.
    """
    return of_caffe(options_class.from_dict(fields(text, options_class)))


def fields(text: str, options_class: Type[Options]) -> Dict[str, Any]:
    """The options by name in a param_str, on top of those of DEFAULTS that the class has; one that
    names a preset starts from that alone.

    Raises
    ------
    ValueError : as :func:`soft_dice.param_str.parse_param_str`.
    """
    given = parse_param_str(text)
    known = {'preset', *options_class().to_dict()}
    start = {} if 'preset' in given else DEFAULTS
    return {**{name: value for name, value in start.items() if name in known}, **given}


def write(fields: Dict[str, Any], options_class: Type[Options] = DiceOptions,
          options: Optional[Options] = None) -> str:
    """The shortest param_str: what differs from the defaults, or from the preset, in fixed order.

    fields : options by name, in place of or on top of ``options``; "preset" as in a param_str.
    options : of ``options_class``, or the name of a preset; not together with a preset.

    Raises
    ------
    TypeError : unknown option, or options of another class.
    ValueError : a value outside its range, contradictory options, an axis that is not Caffe's.

    Examples
    --------
    >>> write({'ignore_label': 255, 'smooth': 1e-5, 'preset': 'smp'})
    '{"preset": "smp", "ignore_label": 255, "smooth": 1e-05}'
    """
    if isinstance(options, str):
        options, fields = None, {'preset': options, **fields}
    wanted = of_caffe(chosen(options_class, options, fields))
    preset = {name: value for name, value in fields.items() if name == 'preset'}
    changed = wanted.changes_from(options_class.from_dict(preset))
    return json.dumps({**preset, **changed}) if preset or changed else ''


def of_caffe(options: AnyOptions) -> AnyOptions:
    """The options, whose class axis must be 1.  Raises ValueError where it is not."""
    if options.dice.axis != 1:
        raise ValueError(f'axis must be 1, the channels of Caffe; got {options.dice.axis}')
    return options
