"""Every refusal in the same words on every backend, or what refusals.py says instead."""
import ast
import importlib
import inspect
import re
from collections import Counter

import backends
import numpy as np
import pytest
from cases import Arrays
from families import with_native
from refusals import (ARRAYS, ARRAYS_CUSTOM, ARRAYS_NATIVE, BACKENDS, CANNOT, GRAPHS, GRAPHS_CUSTOM,
                      GRAPHS_NATIVE, LOSS, MXNET, MXNET_ERROR, NAN, OPERATOR, SOME_NAN, TABLE)

from soft_dice import counts, inputs, plan

RUN = {**backends.ARRAY_BACKENDS,
       'caffe': with_native('0', backends.caffe_layer),
       'caffe native': with_native('1', backends.caffe_layer)}


def run(backend, refusal):
    arrays = Arrays(refusal.pred, refusal.label, refusal.pixel_weight, refusal.upstream)
    out = () if refusal.out is None else (refusal.out,)
    return RUN[backend](arrays, refusal.options, *out)


def outcome(backend, refusal):
    """What the backend does, in the words of refusals.py."""
    try:
        loss, gradient = run(backend, refusal)
    except ValueError as error:
        return str(error)
    except Exception as error:
        assert type(error).__name__ == 'MXNetError', error  # which was no RuntimeError before 1.5
        said = re.findall(r'Extension Traceback:\n\t\[0\] (.*)\n\n$', str(error))
        return OPERATOR + said[0] if said else MXNET_ERROR
    spoilt = np.isnan(loss)
    in_gradient = np.isnan(gradient).reshape(len(loss), -1)
    assert (in_gradient.any(axis=1) == spoilt).all()
    if not spoilt.any():
        return LOSS
    return NAN + str(np.flatnonzero(spoilt).tolist()) if in_gradient[spoilt].all() else SOME_NAN


def compat():
    return importlib.import_module('gluon_dice.compat')  # here, as a row of the matrix has no MXNet


def is_possible(refusal):
    """Whether MXNet has such arrays, and survives them."""
    weight = [1] if refusal.pixel_weight is None else refusal.pixel_weight
    has_axes = np.ndim(refusal.label) * np.ndim(weight) > 0  # which every array has before 1.4
    fits = np.shape(refusal.upstream) == (2,)  # before 1.2, another head gradient ends the process
    return (has_axes or compat().RELEASE >= (1, 4)) and (fits or compat().RELEASE >= (1, 2))


def as_here(backend):
    """The backend whose refusals those of this one are: a Custom operator's before MXNet 1.5."""
    if backend not in MXNET or compat().has_operators():
        return backend
    return next(custom for kinds, custom in ((ARRAYS + ARRAYS_NATIVE, ARRAYS_CUSTOM[0]),
                                             (GRAPHS + GRAPHS_NATIVE, GRAPHS_CUSTOM[0]),
                                             ((backend,), backend)) if backend in kinds)


@pytest.mark.parametrize('backend', BACKENDS)
def test_refusals(backend):
    for rule, refusals in TABLE.items():
        wanted = {each.name: CANNOT if backend in MXNET and not is_possible(each) else
                  each.expected(rule)[as_here(backend)] for each in refusals}
        found = {each.name: CANNOT if wanted[each.name] == CANNOT else outcome(backend, each)
                 for each in refusals}
        assert found == wanted


def test_nothing_is_left_out():
    """A row or a backend that is lost changes these numbers."""
    kinds = Counter()
    names = set()
    for rule, refusals in TABLE.items():
        for refusal in refusals:
            names.add(refusal.name)
            for what in refusal.expected(rule).values():
                same = what in (refusal.message, OPERATOR + refusal.message)
                another = '; got' in what or what.startswith(OPERATOR)
                kinds['same' if same else 'another' if another else what] += 1
    assert len(names) == sum(map(len, TABLE.values())) == 101
    assert sum(kinds.values()) == 101 * len(BACKENDS) == 101 * 16
    assert kinds == {'same': 884, 'another': 35, MXNET_ERROR: 218, NAN + '[1]': 206,
                     NAN + '[0, 1]': 14, SOME_NAN: 8, LOSS: 42, CANNOT: 209}


# The functions of the reference that refuse a batch, and what no batch of a caller reaches there.
REFUSING = (inputs, counts, plan)
UNREACHED = {"raise ValueError(f'pred must be resized before, to {shape}; got {pred.shape}')",
             "raise ValueError(f'pred must have at least one class; got {num_classes}')"}


def raising(module):
    """The lines of each statement that raises, and how it begins."""
    source = inspect.getsource(module)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Raise):
            lines = [getattr(each, 'lineno', 0) for each in ast.walk(node)]
            yield range(node.lineno, max(lines) + 1), source.splitlines()[node.lineno - 1].strip()


def test_every_refusal_of_the_reference_has_a_row():
    raised = set()
    for refusal in (each for refusals in TABLE.values() for each in refusals):
        with pytest.raises(ValueError) as caught:
            run('reference', refusal)
        last = caught.traceback[-1]
        raised.add((str(last.path), last.lineno + 1))
    unreached = set()
    for module in REFUSING:
        for lines, text in raising(module):
            if not any((module.__file__, line) in raised for line in lines):
                unreached.add(text)
    assert unreached == UNREACHED
