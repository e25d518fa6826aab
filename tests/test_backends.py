"""Every case of the table on every backend, against the reference in float64."""
import backends
import numpy as np
import pytest
from cases import CASES
from cases_ce import CE_CASES
from tolerances import TOLERANCE

from soft_dice.gradcheck import assert_gradient, check_gradient, relative_error

ALL_CASES = CASES + CE_CASES
reference = backends.ARRAY_BACKENDS['reference']
each_case = pytest.mark.parametrize('case', ALL_CASES,
                                    ids=lambda case: case.name.replace(' ', '-'))


def test_case_names_are_unique():  # they seed the arrays
    assert len({case.name for case in ALL_CASES}) == len(ALL_CASES)


@each_case
def test_gradient_is_that_of_its_forward(case, implementation):
    arrays = case.arrays()

    def function(pred):
        loss_vjp = backends.family(case.options).function
        return loss_vjp(pred, arrays.label, case.options, arrays.pixel_weight)

    result = check_gradient(function, arrays.pred, arrays.upstream)
    assert_gradient(result, TOLERANCE['gradient against finite differences, float64'])
    if arrays.pred.size <= 120:
        every = check_gradient(function, arrays.pred, arrays.upstream, every_element=True)
        assert_gradient(every, TOLERANCE['gradient against finite differences, float64'])


@each_case
@pytest.mark.parametrize('dtype', ['float64', 'float32'])
@pytest.mark.parametrize('backend', list(backends.ARRAY_BACKENDS))
def test_backend_equals_reference(backend, dtype, case):
    loss, gradient = backends.ARRAY_BACKENDS[backend](case.arrays(dtype), case.options)
    expected_loss, expected_gradient = reference(case.arrays(), case.options)
    value = 'value, float64' if dtype == 'float64' else 'loss, float32'
    assert loss.shape == expected_loss.shape
    assert gradient.shape == expected_gradient.shape and gradient.dtype == dtype
    assert relative_error(loss, expected_loss) <= TOLERANCE[value]
    assert relative_error(gradient, expected_gradient) <= TOLERANCE[f'gradient, {dtype}']


@each_case
def test_caffe_equals_reference(case, implementation):
    arrays = case.arrays('float32')
    if case.options.dice.axis != 1:  # Caffe's channels are axis 1
        with pytest.raises(ValueError, match='axis must be 1'):
            backends.caffe_layer(arrays, case.options)
        return
    value, gradient = backends.caffe_layer(arrays, case.options)
    same = case.arrays()
    same = same._replace(upstream=np.full_like(same.upstream, same.upstream.flat[0]))
    loss, expected_gradient = reference(same, case.options)
    assert relative_error(value, loss.mean(axis=0)) <= TOLERANCE['loss, float32']
    assert relative_error(gradient, expected_gradient) <= TOLERANCE['gradient, float32']
