"""The compiled kernels through ctypes; kernels.h says what the functions do."""
import ctypes
import functools
from typing import Any, Callable, List, Optional, Tuple

import numpy as np

from ..ce_options import DiceCEOptions
from ..counts import Counts
from ..entropy import EntropySums
from ..inputs import check_batch
from ..options import DiceOptions
from .build import locate_kernels

TYPES = {name: number for number, name in enumerate(
    ['float32', 'float64', 'int8', 'uint8', 'int16', 'int32', 'int64'])}
# What the kernels do not read, and what holds its values.
WIDER = {'bool': 'uint8', 'uint16': 'int32', 'uint32': 'int64', 'uint64': 'float64',
         'float16': 'float32'}
ACTIVATIONS = {'softmax': 0, 'sigmoid': 1, 'none': 2}
OVERLAPS = {'product': 0, 'l1': 1}
MESSAGE_SIZE = 512


class Batch(ctypes.Structure):
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


Arrays = Tuple[np.ndarray, np.ndarray, Optional[np.ndarray]]
CountsVJP = Callable[..., np.ndarray]


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

    def count(self, pred: np.ndarray, label: np.ndarray, options: DiceOptions,
              pixel_weight: Optional[np.ndarray] = None) -> Tuple[Counts, CountsVJP]:
        """As :func:`soft_dice.stages.count`."""
        counts, _, vjp = self._run(options, _settings(options),
                                   _arrays(pred, label, options, pixel_weight))

        def counts_vjp(d_intersection: np.ndarray, d_pred_sum: np.ndarray,
                       out: Optional[np.ndarray] = None) -> np.ndarray:
            return vjp(d_intersection, d_pred_sum, None, out)

        return counts, counts_vjp

    def count_both(self, pred: np.ndarray, label: np.ndarray, options: DiceCEOptions,
                   pixel_weight: Optional[np.ndarray] = None
                   ) -> Tuple[Counts, EntropySums, CountsVJP]:
        """As :func:`soft_dice.stages.count_both`."""
        arrays = _arrays(pred, label, options.dice, pixel_weight)
        options.resolve(arrays[0].shape[options.dice.axis])  # as many weights as classes
        return self._run(options.dice, _both_settings(options), arrays)

    def _run(self, options: DiceOptions, settings: Settings, arrays: Arrays
             ) -> Tuple[Counts, EntropySums, CountsVJP]:
        batch = _batch(options, *arrays)
        sums, entropy = np.empty((3, batch.samples, batch.classes)), np.zeros((2, batch.samples))
        message = ctypes.create_string_buffer(MESSAGE_SIZE)
        _check(self.function('count')(ctypes.byref(batch), ctypes.byref(settings),
                                      sums.ctypes.data, entropy.ctypes.data, message,
                                      MESSAGE_SIZE), message)

        def vjp(d_intersection: np.ndarray, d_pred_sum: np.ndarray,
                d_entropy: Optional[np.ndarray], out: Optional[np.ndarray] = None) -> np.ndarray:
            pred = arrays[0]  # and keeps alive all three, into which the batch points
            d_counts = np.array([d_intersection, d_pred_sum], dtype=np.float64)
            d_loss = None if d_entropy is None else np.array(d_entropy, dtype=np.float64)
            gradient = np.empty_like(pred) if out is None or not _fits(out, pred) else out
            _check(self.function('gradient')(ctypes.byref(batch), ctypes.byref(settings),
                                             d_counts.ctypes.data,
                                             None if d_loss is None else d_loss.ctypes.data,
                                             gradient.ctypes.data, 0), message)
            if out is not None and out is not gradient:
                out[...] = gradient
            return gradient if out is None else out

        return Counts(*sums), EntropySums(*entropy), vjp


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


def _arrays(pred: np.ndarray, label: np.ndarray, options: DiceOptions,
            pixel_weight: Optional[np.ndarray]) -> Arrays:
    """The three, checked but for their values, as the kernels read them."""
    pred, label, pixel_weight = check_batch(pred, label, options, pixel_weight)
    return (_readable(pred), _readable(label),
            None if pixel_weight is None else _readable(pixel_weight))


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


def _batch(options: DiceOptions, pred: np.ndarray, label: np.ndarray,
           weight: Optional[np.ndarray]) -> Batch:
    axis = options.axis % pred.ndim
    return Batch(samples=len(pred), outer=int(np.prod(pred.shape[1:axis])),
                 classes=pred.shape[axis], inner=int(np.prod(pred.shape[axis + 1:])),
                 pred=pred.ctypes.data, label=label.ctypes.data,
                 weight=None if weight is None else weight.ctypes.data,
                 pred_type=TYPES[pred.dtype.name], label_type=TYPES[label.dtype.name],
                 weight_type=0 if weight is None else TYPES[weight.dtype.name])


def _settings(options: DiceOptions) -> Settings:
    ignore = options.ignore_label
    return Settings(activation=ACTIVATIONS[options.activation], overlap=OVERLAPS[options.overlap],
                    dense_label=not options.sparse_label, has_ignore=ignore is not None,
                    ignore_label=ignore or 0, exponent=options.exponent)


def _both_settings(options: DiceCEOptions) -> Settings:
    settings, weights = _settings(options.dice), options.ce_class_weights
    settings.entropy = 1
    settings.smoothing, settings.gamma = options.label_smoothing, options.ce_gamma
    if weights is not None:  # ctypes keeps the array alive
        settings.entropy_weights = (ctypes.c_double * len(weights))(*weights)
    return settings


def _check(status: int, message: ctypes.Array) -> None:
    if status == 1:
        raise ValueError(message.value.decode())
    if status == 2:
        raise MemoryError('the kernels of soft_dice had no memory for their sums')
