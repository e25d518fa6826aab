"""Graphs that automatic mixed precision (mx.contrib.amp) leaves alone."""
import os
import tempfile
from typing import Any, Callable, Optional

import mxnet as mx

NAMES = 'dice_input{}_'


def without_amp(F: Any, function: Callable[..., Any], *inputs: Optional[Any]) -> Any:
    """``function(*inputs)``, a Symbol or an array, with no cast but the function's own.

    After ``amp.init()`` most operators on Symbols cast what they are given.  The losses choose the
    dtype of every sum themselves, and MXNet 1.9.1 fails on the CPU where such a cast meets float64.
    So the graph is made of variables first, the casts are taken out, and then ``inputs`` put in,
    whose own casts stay.  Operators on arrays leave float32 and float64 alone.

    inputs : of F; None is handed on.
    """
    if F is not mx.sym or not _amp_is_on():
        return function(*inputs)
    given = {NAMES.format(i): each for i, each in enumerate(inputs) if each is not None}
    graph = function(*(None if each is None else mx.sym.var(NAMES.format(i))
                       for i, each in enumerate(inputs)))
    return _without_casts(graph)(**given)


def _without_casts(graph: mx.sym.Symbol) -> mx.sym.Symbol:
    """By way of a file: that is how every release of MXNet that has amp can take them out."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'graph.json')
        graph.save(path, remove_amp_cast=True)
        return mx.sym.load(path)


def _amp_is_on() -> bool:
    amp = getattr(mx.contrib, 'amp', None)  # missing in old versions
    return amp is not None and amp.amp._amp_initialized
