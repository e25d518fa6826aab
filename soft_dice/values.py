"""Checks of one option's value: each takes its name and the value, and returns it in its own type.

Raises
------
ValueError : the rule, an example, and what was given.
"""
import numbers
from typing import Any, Callable, Optional, Tuple, Union

Numbers = Union[float, Tuple[float, ...]]
Check = Callable[[str, Any], Any]

AUTOMATIC_WEIGHTS = ('inverse', 'inverse_square')


def one_of(*known: Optional[str]) -> Check:
    def choice(name: str, value: Any) -> Optional[str]:
        if not (value is None or isinstance(value, str)) or value not in known:
            raise ValueError(f'{name} must be one of {", ".join(map(repr, known))}; got {value!r}')
        return value
    return choice


def flag(name: str, value: Any) -> bool:
    # 0 and 1 are refused too: {"sparse_label": "false"} must not become True by accident.
    if isinstance(value, bool) or type(value).__name__ in ('bool_', 'bool'):
        return bool(value)
    raise ValueError(f'{name} must be True or False (true or false in JSON); got {value!r}')


def optional_flag(name: str, value: Any) -> Optional[bool]:
    return None if value is None else flag(name, value)


def integer(name: str, value: Any) -> int:
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if is_whole and abs(int(value)) <= 1 << 24:  # beyond that float32 labels are not exact
        return int(value)
    raise ValueError(f'{name} must be a whole number up to 2^24, for example 1; got {value!r}')


def optional_integer(name: str, value: Any) -> Optional[int]:
    return None if value is None else integer(name, value)


def is_number(value: Any) -> bool:
    """No check, but what several of them ask; True and False are no numbers."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _real(name: str, value: Any, least: float, above: bool = False) -> float:
    """``value`` as a float that is finite and >= least (> least where ``above``)."""
    if not is_number(value) or not -1e300 < value < 1e300 \
            or value < least or (above and value == least):
        raise ValueError(f'{name} must be a finite number {">" if above else ">="} {least:g}, '
                         f'for example {least + 1:g}; got {value!r}')
    return float(value)


def non_negative(name: str, value: Any) -> float:
    return _real(name, value, least=0.0)


def positive(name: str, value: Any) -> float:
    return _real(name, value, least=0.0, above=True)


def exponent(name: str, value: Any) -> float:
    # Below 1 the derivative exponent * p^(exponent - 1) is infinite at p = 0.
    return _real(name, value, least=1.0)


def fraction(example: float) -> Check:
    def check(name: str, value: Any) -> float:
        if not is_number(value) or not 0 <= value < 1:
            raise ValueError(f'{name} must be a number in [0, 1), for example {example:g}; '
                             f'got {value!r}')
        return float(value)
    return check


def _listed(name: str, value: Any) -> Tuple[Any, ...]:
    """``value`` as a non-empty tuple; text and mappings are not lists."""
    try:
        if isinstance(value, (str, bytes, dict, set, frozenset)):
            raise TypeError
        items = tuple(value)
    except TypeError:
        raise ValueError(f'{name} must be a list, for example [1, 2]; got {value!r}') from None
    if not items:
        raise ValueError(f'{name} must not be empty; leave it out or give for example [1, 2]')
    return items


def classes(name: str, value: Any) -> Optional[Tuple[int, ...]]:
    if value is None:
        return None
    indices = tuple(integer(name, item) for item in _listed(name, value))
    if len(set(indices)) < len(indices):
        raise ValueError(f'{name} must name each class once, for example [1, 2]; got {value!r}')
    return indices


def number_or_list(name: str, value: Any) -> Numbers:
    if isinstance(value, numbers.Real) or isinstance(value, (str, bytes)) or value is None:
        return non_negative(name, value)
    return tuple(non_negative(name, item) for item in _listed(name, value))


def optional_number_or_list(name: str, value: Any) -> Optional[Numbers]:
    return None if value is None else number_or_list(name, value)


def optional_weights(name: str, value: Any) -> Optional[Tuple[float, ...]]:
    if value is None:
        return None
    weights = tuple(non_negative(name, item) for item in _listed(name, value))
    if not any(weights):
        raise ValueError(f'{name} must have one number above 0, for example [0.2, 1, 1]; '
                         f'got {value!r}')
    return weights


def fixed_or_automatic_weights(name: str, value: Any) -> Union[None, str, Tuple[float, ...]]:
    if not isinstance(value, str):
        return optional_weights(name, value)
    if value not in AUTOMATIC_WEIGHTS:
        raise ValueError(f"{name} must be 'inverse', 'inverse_square' or one number per class, "
                         f'for example [0.2, 1, 1]; got {value!r}')
    return value
