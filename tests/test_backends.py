"""Every case of the table on every backend, against the reference in float64."""
import functools

import backends
import numpy as np
import pytest
from cases import CASES
from cases_ce import CE_CASES
from families import family
from refusals import MXNET, NUMPY
from tolerances import TOLERANCE

from soft_dice import native
from soft_dice.gradcheck import assert_gradient, check_gradient, relative_error

ALL_CASES = {case.name: case for case in CASES + CE_CASES}
# In a graph, float32 differs from float64 in dtypes and tracing, which these have all kinds of.
IN_FLOAT32 = ['defaults', 'channels last', 'pixel weights', 'soft ignored', 'sigmoid binary index',
              'batch', 'ce defaults', 'ce channels last', 'ce pixel weights', 'ce batch']
GRAPHS = {name for name in MXNET if {'hybridized', 'nested', 'symbol'} & set(name.split())}


def each(cases):
    return pytest.mark.parametrize('case', cases, ids=lambda case: case.name.replace(' ', '-'))


each_case = each(ALL_CASES.values())


def test_case_names_are_unique():  # they seed the arrays
    assert len(ALL_CASES) == len(CASES + CE_CASES)


def test_the_backends_of_gluon_are_those_that_run_here():
    assert {*backends.ARRAY_BACKENDS} == {*NUMPY, *MXNET}


@functools.lru_cache(maxsize=None)
def expected(case, one_upstream=False):
    """Loss and gradient by the reference in float64; ``one_upstream``, the first, for all."""
    arrays = case.arrays()
    if one_upstream:
        arrays = arrays._replace(upstream=np.full_like(arrays.upstream, arrays.upstream.flat[0]))
    return backends.ARRAY_BACKENDS['reference'](arrays, case.options)


@each_case
def test_gradient_is_that_of_its_forward(case, implementation):
    arrays = case.arrays()

    def function(pred):
        loss_vjp = family(case.options).function
        return loss_vjp(pred, arrays.label, case.options, arrays.pixel_weight)

    result = check_gradient(function, arrays.pred, arrays.upstream)
    assert_gradient(result, TOLERANCE['gradient against finite differences, float64'])
    if arrays.pred.size <= 120:
        every = check_gradient(function, arrays.pred, arrays.upstream, every_element=True)
        assert_gradient(every, TOLERANCE['gradient against finite differences, float64'])


def assert_equals_reference(backend, dtype, case):
    loss, gradient = backend(case.arrays(dtype), case.options)
    expected_loss, expected_gradient = expected(case)
    value = 'value, float64' if dtype == 'float64' else 'loss, float32'
    assert loss.shape == expected_loss.shape
    assert gradient.shape == expected_gradient.shape and gradient.dtype == dtype
    assert relative_error(loss, expected_loss) <= TOLERANCE[value]
    assert relative_error(gradient, expected_gradient) <= TOLERANCE[f'gradient, {dtype}']


@each_case
@pytest.mark.parametrize('backend', MXNET)
def test_float64(backend, case):
    assert_equals_reference(backends.ARRAY_BACKENDS[backend], 'float64', case)


@each_case
@pytest.mark.parametrize('backend', ['reference', *sorted({*MXNET} - GRAPHS)])
def test_float32(backend, case):
    assert_equals_reference(backends.ARRAY_BACKENDS[backend], 'float32', case)


@each([ALL_CASES[name] for name in IN_FLOAT32])
@pytest.mark.parametrize('backend', sorted(GRAPHS))
def test_float32_graph(backend, case):
    assert_equals_reference(backends.ARRAY_BACKENDS[backend], 'float32', case)


@each_case
@pytest.mark.parametrize('dtype', ['float64', 'float32'])
@pytest.mark.parametrize('instruction_set', native.load()[0].instruction_sets)
def test_kernels(instruction_set, dtype, case, using):
    using(instruction_set)
    assert_equals_reference(backends.ARRAY_BACKENDS['kernels'], dtype, case)


@each_case
def test_caffe(case, implementation):
    arrays = case.arrays('float32')
    if case.options.dice.axis != 1:  # Caffe's channels are axis 1
        with pytest.raises(ValueError, match='axis must be 1'):
            backends.caffe_layer(arrays, case.options)
        return
    value, gradient = backends.caffe_layer(arrays, case.options)
    loss, expected_gradient = expected(case, one_upstream=True)
    assert relative_error(value, loss.mean(axis=0)) <= TOLERANCE['loss, float32']
    assert relative_error(gradient, expected_gradient) <= TOLERANCE['gradient, float32']
