"""The compiled kernels through ctypes; kernels.h says what the functions do."""
import ctypes
import functools
from typing import Any, Callable, List, Optional, Tuple

import numpy as np

from ..ce_options import DiceCEOptions
from ..inputs import Batch
from ..options import DiceOptions
from ..plan import Plan
from ..sums import Slopes, Sums
from .build import locate_kernels

TYPES = {name: number for number, name in enumerate(
    ['float32', 'float64', 'int8', 'uint8', 'int16', 'int32', 'int64'])}
# What the kernels do not read, and what holds its values.
WIDER = {'bool': 'uint8', 'uint16': 'int32', 'uint32': 'int64', 'uint64': 'float64',
         'float16': 'float32'}
ACTIVATIONS = {'softmax': 0, 'sigmoid': 1, 'none': 2}
OVERLAPS = {'product': 0, 'l1': 1}
MESSAGE_SIZE = 512


class Arrays(ctypes.Structure):
    """soft_dice_batch."""

    _fields_ = [*((name, ctypes.c_int64) for name in ('samples', 'outer', 'classes', 'inner')),
                *((name, ctypes.c_void_p) for name in ('pred', 'label', 'weight')),
                *((name, ctypes.c_int32) for name in ('pred_type', 'label_type', 'weight_type'))]


class Settings(ctypes.Structure):
    """soft_dice_settings."""

    _fields_ = [*((name, ctypes.c_int32) for name in ('activation', 'overlap', 'dense_label',
                                                      'has_ignore')),
                ('ignore_label', ctypes.c_double), ('exponent', ctypes.c_double),
                ('entropy', ctypes.c_int32), ('entropy_weights', ctypes.POINTER(ctypes.c_double)),
                ('smoothing', ctypes.c_double), ('gamma', ctypes.c_double)]


SumsVJP = Callable[..., np.ndarray]


class Library:
    """The loaded kernels."""

    def __init__(self, path: str) -> None:
        """Raises OSError or AttributeError where the file is no library of the kernels."""
        self.path = path
        self._functions = ctypes.CDLL(path)
        for name in ('instruction_sets', 'instruction_set'):
            self.function(name).restype = ctypes.c_char_p
        self.function('count').argtypes = [ctypes.c_void_p] * 5 + [ctypes.c_size_t]
        self.function('gradient').argtypes = [ctypes.c_void_p] * 5 + [ctypes.c_int32]

    def function(self, name: str) -> Any:
        """soft_dice_<name>, for those who hand it on."""
        return getattr(self._functions, f'soft_dice_{name}')

    @property
    def instruction_sets(self) -> List[str]:
        """What is compiled in and present on this machine, best first."""
        return self.function('instruction_sets')().decode().split(',')

    @property
    def instruction_set(self) -> str:
        return self.function('instruction_set')().decode()

    def use(self, instruction_set: str) -> None:
        """Raises ValueError for one that ``instruction_sets`` lacks."""
        if self.function('use')(instruction_set.encode()):
            raise ValueError(f'the instruction set must be one of {self.instruction_sets}; '
                             f'got {instruction_set!r}')

    @property
    def threads(self) -> int:
        """How many a call from here may use."""
        return self.function('threads')()

    def count(self, batch: Batch, plan: Plan) -> Tuple[Sums, SumsVJP]:
        """As :func:`soft_dice.stages.count`, but E is divided by W."""
        call = _Call(batch, plan)
        counts, entropy = np.empty((3, call.arrays.samples, call.arrays.classes)), None
        if plan.ce is not None:
            entropy = np.empty((2, call.arrays.samples))
        message = ctypes.create_string_buffer(MESSAGE_SIZE)
        _check(self.function('count')(*call.pointers, counts.ctypes.data, _address(entropy),
                                      message, MESSAGE_SIZE), message)
        return Sums(*counts, *(() if entropy is None else entropy)), self._vjp(call)

    def vjp(self, batch: Batch, plan: Plan) -> SumsVJP:
        """As :func:`soft_dice.stages.sums_vjp`."""
        return self._vjp(_Call(batch, plan))

    def _vjp(self, call: '_Call') -> SumsVJP:
        def vjp(slopes: Slopes, out: Optional[np.ndarray] = None) -> np.ndarray:
            pred = call.pred
            gradient = np.empty_like(pred) if out is None or not _fits(out, pred) else out
            d_counts = np.array(slopes[:2], dtype=np.float64)
            d_entropy = None if slopes.entropy is None else np.array(slopes.entropy, np.float64)
            _check(self.function('gradient')(*call.pointers, d_counts.ctypes.data,
                                             _address(d_entropy), gradient.ctypes.data, 0))
            if out is not None and out is not gradient:
                out[...] = gradient
            return gradient if out is None else out

        return vjp


class _Call:
    """A batch and its options as the kernels take them; it keeps alive what they point to."""

    def __init__(self, batch: Batch, plan: Plan) -> None:
        self.pred, label = _readable(batch.pred), _readable(batch.label)
        weight = None if batch.pixel_weight is None else _readable(batch.pixel_weight)
        self._others = label, weight
        self.arrays = _arrays(plan.dice, self.pred, label, weight)
        self._settings = _settings(plan.dice, plan.ce)
        self.pointers = ctypes.byref(self.arrays), ctypes.byref(self._settings)


@functools.lru_cache(maxsize=None)
def load() -> Tuple[Optional[Library], str]:
    """The kernels, or None; and the reason.  Never raises; what is built later is not seen."""
    path, reason = locate_kernels()
    if path is None:
        return None, reason
    try:
        return Library(str(path)), reason
    except (OSError, AttributeError) as error:
        return None, f'the library of the kernels cannot be loaded ({error})'


def _readable(array: np.ndarray) -> np.ndarray:
    """C-contiguous and of a type the kernels read; a copy only where it is not."""
    array = array.astype(array.dtype.newbyteorder('='), copy=False)
    name = array.dtype.name
    if name == 'bool':
        array = np.ascontiguousarray(array).view(np.uint8)
    elif name not in TYPES:
        array = array.astype(WIDER.get(name, 'float64'))
    return np.ascontiguousarray(array)


def _fits(out: np.ndarray, pred: np.ndarray) -> bool:
    return out.dtype == pred.dtype and out.flags.c_contiguous and out.flags.writeable


def _address(array: Optional[np.ndarray]) -> Optional[int]:
    return None if array is None else array.ctypes.data


def _arrays(options: DiceOptions, pred: np.ndarray, label: np.ndarray,
            weight: Optional[np.ndarray]) -> Arrays:
    axis = options.axis % pred.ndim
    return Arrays(samples=len(pred), outer=int(np.prod(pred.shape[1:axis])),
                  classes=pred.shape[axis], inner=int(np.prod(pred.shape[axis + 1:])),
                  pred=pred.ctypes.data, label=label.ctypes.data, weight=_address(weight),
                  pred_type=TYPES[pred.dtype.name], label_type=TYPES[label.dtype.name],
                  weight_type=0 if weight is None else TYPES[weight.dtype.name])


def _settings(options: DiceOptions, ce: Optional[DiceCEOptions]) -> Settings:
    ignore = options.ignore_label
    settings = Settings(activation=ACTIVATIONS[options.activation],
                        overlap=OVERLAPS[options.overlap], dense_label=not options.sparse_label,
                        has_ignore=ignore is not None, ignore_label=ignore or 0,
                        exponent=options.exponent)
    if ce is not None:
        settings.entropy, settings.smoothing, settings.gamma = 1, ce.label_smoothing, ce.ce_gamma
        if ce.ce_class_weights is not None:  # ctypes keeps the array alive
            settings.entropy_weights = (ctypes.c_double * len(ce.ce_class_weights))(
                *ce.ce_class_weights)
    return settings


def _check(status: int, message: Any = None) -> None:
    if status == 1:
        raise ValueError(message.value.decode())
    if status == 2:
        raise MemoryError('the kernels of soft_dice had no memory for their sums')
