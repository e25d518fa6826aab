"""What the operator asks Python of a graph: whether its shapes and options belong together.

The rules and the words are those of soft_dice.  MXNet asks in the thread that calls or binds a
graph, never in one of its own.
"""
import ctypes
import functools
from typing import Dict, Tuple

from soft_dice.ce_options import DiceCEOptions
from soft_dice.inputs import check_shapes
from soft_dice.options import DiceOptions, Options
from soft_dice.plan import resolve


@functools.lru_cache(maxsize=1024)
def refusal(question: str) -> str:
    """Why the operator must not take its inputs; empty where it may.

    question : lines of name=value: attributes of the operator (operator.cc) and the shapes of its
        inputs, with a comma behind every size.
    """
    asked = dict(line.split('=', 1) for line in question.splitlines())
    try:
        options = _options(asked)
        pred = _shape(asked, 'pred')
        check_shapes(options.dice, pred, _shape(asked, 'label'),
                     _shape(asked, 'pixel_weight') if 'pixel_weight' in asked else None)
        resolve(options, pred[options.dice.axis])
    except Exception as error:  # which C++ would not see
        return str(error) if isinstance(error, ValueError) else repr(error)
    return ''


def _options(asked: Dict[str, str]) -> Options:
    """What matters to shapes and to the number of classes."""
    dice = DiceOptions(activation=asked['activation'], axis=int(asked['axis']),
                       sparse_label=asked['sparse_label'] != '0')
    if not asked.get('entropy_weights'):
        return dice
    weights = [float(each) for each in asked['entropy_weights'].split(',')]
    return DiceCEOptions(ce_class_weights=weights, **dice.to_dict())


def _shape(asked: Dict[str, str], name: str) -> Tuple[int, ...]:
    return tuple(int(size) for size in asked[name].split(',')[:-1])


@ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
def answer(question: bytes, room: int, size: int) -> None:
    """:func:`refusal` for C++, which has ``room`` for ``size`` bytes, all 0."""
    sentence = refusal(question.decode()).encode()[:size - 1]
    ctypes.memmove(room, sentence, len(sentence))
