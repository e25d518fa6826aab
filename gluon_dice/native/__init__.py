"""Stage 1 as one MXNet operator over the kernels; its backward is stage 3.

The operator (operator.cc) is compiled against the MXNet that is installed, when it is first wanted
or by ``python -m gluon_dice build``, and kept in the cache of soft_dice.native.build.  What stands
in the way of that is a reason, never an error, unless SOFT_DICE_NATIVE=1 asks for one.
"""
import contextlib
import ctypes
import inspect
import itertools
import re
import sys
import threading
from pathlib import Path
from typing import Any, Iterator, Optional

import mxnet as mx

from soft_dice import native as kernels
from soft_dice.native import build
from soft_dice.plan import Plan
from soft_dice.sums import Sums

from ..compat import gpus
from ..layout import Layout
from ..memory import on_cpu
from . import checks

HERE = Path(__file__).resolve().parent
OLDEST_API = 11  # MXNet 1.9; 1.8 has another one, and its wheel not all of it


def elsewhere(pred: Any) -> str:
    """Why this prediction, an NDArray or a Symbol, is none for an operator that only runs on the
    CPU; empty where it is one, and for None."""
    if isinstance(pred, mx.nd.NDArray):
        return '' if on_cpu(pred) else f'the prediction is on {pred.context}'
    if pred is not None and kernels.requested() is None and gpus():
        return 'a graph may run on a GPU of this machine, and the operator cannot'
    return ''


class _State:
    """The reason why the operator is not loaded; None before it was tried."""

    lock = threading.Lock()
    reason: Optional[str] = None


def unavailable() -> str:
    """Why the operator cannot be used; empty where it is loaded.  The first call loads it."""
    if _State.reason is None:
        with _State.lock:
            if _State.reason is None:
                _State.reason = _load()
    return _State.reason


def load() -> None:
    """Make the operator known to MXNet, before a graph that was exported with it is loaded.

    Raises
    ------
    RuntimeError : it cannot be.
    """
    reason = unavailable()
    if reason:
        raise RuntimeError(f'the operator of gluon_dice cannot be used: {reason}')


def recipe() -> build.Recipe:
    """How to compile the operator.

    Raises
    ------
    BuildError : for this MXNet it cannot be.
    """
    mxnet = Path(mx.__file__).resolve().parent
    header, source = mxnet / 'include/mxnet/lib_api.h', mxnet / 'src/lib_api.cc'
    for file in (header, source):
        if not file.is_file():
            raise build.BuildError(f'mxnet {mx.__version__} comes without {file.name}, which '
                                   'external operators are built with')
    found = re.search(r'define MX_LIBRARY_VERSION (\d+)', header.read_text(errors='replace'))
    version = int(found.group(1)) if found else 0
    if version < OLDEST_API:
        raise build.BuildError(f'mxnet {mx.__version__} has version {version} of the interface for '
                               f'external operators; {OLDEST_API} is the oldest supported')
    # MXNet finds the functions by their names.  operator.cc has better _msgSize and _msgGet.
    visible = ('-fvisibility=default', f'-I{header.parent}', f'-I{header.parent.parent}')
    return build.Recipe(
        f'mxnet-{mx.__version__}-operator',
        (build.Part(source, (*visible, '-D_msgSize=_lib_api_msgSize', '-D_msgGet=_lib_api_msgGet')),
         build.Part(HERE / 'operator.cc', (*visible, f'-I{build.HERE}'))),
        (header, build.HERE / 'kernels.h'))


def install(force: bool = False) -> Path:
    """Compile the operator into the cache, even if that failed before.

    Raises
    ------
    BuildError
    """
    library = build.cached(recipe())
    build.build(recipe(), library, force)
    return library


def _load() -> str:
    """Load the operator into MXNet, compiling it if need be; returns why that cannot be done."""
    functions, reason = kernels.load()
    if functions is None:
        return reason
    try:
        library = build.cached(recipe())
        build.build(recipe(), library, retry=False)
        operator = ctypes.CDLL(str(library))
        operator.soft_dice_connect(*(ctypes.cast(functions.function(name), ctypes.c_void_p)
                                     for name in ('count', 'gradient')), checks.answer)
        verbose = 'verbose' in inspect.signature(mx.library.load).parameters
        with _operators_kept():
            mx.library.load(str(library), **({'verbose': False} if verbose else {}))
    except (build.BuildError, OSError, AttributeError, mx.base.MXNetError) as error:
        return str(error).splitlines()[0]
    return ''


@contextlib.contextmanager
def _operators_kept() -> Iterator[None]:
    """mx.library.load makes every operator of MXNet anew, and what amp.init() had made of them
    would be gone in silence; here only those that are new stay."""
    names = [f'mxnet.{name}' for name in ('ndarray', 'symbol', 'contrib.ndarray', 'contrib.symbol')]
    modules = [module for name, module in sys.modules.items()
               if any(name == each or name.startswith(each + '.') for each in names)]
    before = [dict(vars(module)) for module in modules]
    try:
        yield
    finally:
        for module, content in zip(modules, before):
            vars(module).update(content)


def alias(pred: mx.nd.NDArray) -> mx.nd.NDArray:
    """``pred``, such that the operator's gradient is written to a new array and never added to one.

    MXNet does not tell an external operator which of the two it has to do.  A gradient may be added
    only where ``pred`` is itself a variable, not what a network has computed; that of this view is
    not, and MXNet then adds or copies it.
    """
    return pred if pred.grad is None else pred.reshape(pred.shape)


_number = itertools.count()


def own(F: Any, pred: Any, dtype: str) -> Any:
    """What :func:`alias` does, in a graph: the gradient of a cast may be added, or copied.

    Without a type to change it costs nothing, as MXNet then works in place.  The number is here
    as MXNet would make equal casts of several losses one, and add their gradients up before it.
    """
    return F.cast(pred, dtype=dtype, attr={'__soft_dice_cast__': str(next(_number))})


def count(F: Any, pred: Any, label: Any, pixel_weight: Optional[Any], plan: Plan, layout: Layout,
          arrays: bool) -> Sums:
    """The sums, of float32 or float64 ``pred``; E is divided by W, which has no gradient.

    arrays : label and pixel_weight are arrays that want no gradient; in a graph they get zeros.

    Raises
    ------
    MXNetError : shapes that do not match; when the result is read, a value that is not allowed.
    """
    options, ce = plan.dice, plan.ce
    inputs = [pred, label] + [pixel_weight] * (pixel_weight is not None)
    if layout.batch_axis != 0:
        one_class = F.slice_axis(pred, axis=layout.axis, begin=0, end=1)
        per_pixel = slice(1 if options.sparse_label else 2, None)
        inputs[per_pixel] = [F.reshape_like(each, one_class) for each in inputs[per_pixel]]
        inputs = [F.swapaxes(each, dim1=0, dim2=layout.batch_axis) for each in inputs]
    entropy = {} if ce is None else dict(
        entropy=1, smoothing=repr(ce.label_smoothing), gamma=repr(ce.ce_gamma),
        entropy_weights=','.join(map(repr, ce.ce_class_weights or ())))
    *sums, = F.soft_dice_counts(
        *inputs, activation=options.activation, overlap=options.overlap,
        exponent=repr(options.exponent), axis=layout.axis,
        sparse_label=int(options.sparse_label),
        ignore_label='' if options.ignore_label is None else options.ignore_label,
        weighted=int(pixel_weight is not None), zero_gradients=int(not arrays), **entropy)
    if ce is not None:
        sums[4] = F.BlockGrad(sums[4])
    return Sums(*sums)
