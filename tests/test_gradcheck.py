"""The checker is itself checked: it must refuse gradients that are only slightly wrong."""
import numpy as np
import pytest
from tolerances import TOLERANCE

from soft_dice import DiceOptions, soft_dice_loss_vjp
from soft_dice.gradcheck import assert_gradient, check_gradient, relative_error

ACCEPT = TOLERANCE['gradient against finite differences, float64']


def dice(size):
    rng = np.random.RandomState(size)
    label = rng.randint(0, 3, (2, size, size))
    pred = rng.standard_normal((2, 3, size, size))
    return pred, lambda x: soft_dice_loss_vjp(x, label, DiceOptions(smooth=1.0))


def broken(function, breakage):
    """The same forward with a vjp that ``breakage`` spoils."""
    def spoilt(x):
        value, vjp = function(x)
        return value, lambda upstream: breakage(vjp, upstream)
    return spoilt


def one_pixel(vjp, upstream):
    gradient = vjp(upstream)
    gradient[1, 2, 3, 1] *= -1
    return gradient


BREAKAGES = {
    'zero': lambda vjp, upstream: 0 * vjp(upstream),
    'sign-flipped': lambda vjp, upstream: -vjp(upstream),
    'upstream-ignoring': lambda vjp, upstream: vjp(np.ones_like(upstream)),
    'only the sign of upstream': lambda vjp, upstream: vjp(np.sign(upstream)),
    '1 % too large': lambda vjp, upstream: 1.01 * vjp(upstream),
    'a tenth of a percent too large': lambda vjp, upstream: 1.001 * vjp(upstream),
    'one-pixel-wrong': one_pixel,
    'samples swapped': lambda vjp, upstream: vjp(upstream)[::-1],
    'nan': lambda vjp, upstream: vjp(upstream) * np.nan,
    'wrong shape': lambda vjp, upstream: vjp(upstream)[:1],
}


@pytest.mark.parametrize('size', [4, 64])
@pytest.mark.parametrize('every_element', [False, True], ids=['directions', 'elements'])
def test_right_gradient_is_accepted(size, every_element):
    if every_element and size == 64:
        size = 8  # every element of 64 x 64 would be 100,000 evaluations
    pred, function = dice(size)
    result = check_gradient(function, pred, every_element=every_element)
    assert_gradient(result, ACCEPT)
    assert relative_error(result.analytic, result.numeric) <= ACCEPT


@pytest.mark.parametrize('size', [4, 64])
@pytest.mark.parametrize('name', list(BREAKAGES))
def test_wrong_gradient_is_refused(name, size):
    pred, function = dice(size)
    result = check_gradient(broken(function, BREAKAGES[name]), pred)
    assert result.error > 100 * ACCEPT
    with pytest.raises(AssertionError, match='the backward is not the gradient of the forward'):
        assert_gradient(result, ACCEPT)


@pytest.mark.parametrize('name', [name for name in BREAKAGES if name != 'wrong shape'])
def test_wrong_gradient_is_refused_element_by_element(name):
    pred, function = dice(4)
    result = check_gradient(broken(function, BREAKAGES[name]), pred, every_element=True)
    assert result.error > 100 * ACCEPT


@pytest.mark.parametrize('size', [4, 64])
def test_the_wrong_pixel_is_named(size):
    pred, function = dice(size)
    result = check_gradient(broken(function, one_pixel), pred)
    assert result.worst == (1, 2, 3, 1)
    assert relative_error(result.analytic, -result.numeric) < 1e-6
    assert '(1, 2, 3, 1)' in str(result) and f'{result.analytic:.9g}' in str(result)


def test_vjp_that_is_not_repeatable():
    calls = []

    def drifting(vjp, upstream):
        calls.append(1)
        return vjp(upstream) * len(calls)

    pred, function = dice(4)
    result = check_gradient(broken(function, drifting), pred)
    assert result.error == float('inf') and 'second call' in result.note


def test_vjp_that_is_not_linear_in_upstream():
    pred, function = dice(4)
    result = check_gradient(broken(function, lambda vjp, u: vjp(np.abs(u))), pred)
    assert 'does not scale with upstream' in result.note


def test_any_function_will_do():
    x = np.linspace(-1, 2, 12).reshape(3, 4)
    result = check_gradient(lambda x: (np.sin(x), lambda upstream: upstream * np.cos(x)), x)
    assert_gradient(result, ACCEPT)
    constant = check_gradient(lambda x: (1.0, lambda upstream: np.zeros_like(x)), x)
    assert constant.error == 0.0


def test_argument_is_not_modified():
    x = np.ones(3)
    check_gradient(lambda x: (np.sum(x ** 2), lambda upstream: 2 * upstream * x), x)
    np.testing.assert_array_equal(x, np.ones(3))


@pytest.mark.parametrize('x', [np.ones(3, np.float32), np.ones(0), [1, 2]])
def test_only_float64_can_be_differenced(x):
    with pytest.raises(ValueError, match='non-empty float64 array'):
        check_gradient(lambda x: (x, lambda upstream: upstream), x)


@pytest.mark.parametrize('every_element', [False, True])
def test_a_function_that_is_infinite_nearby_has_no_derivative(every_element):
    """And no warning of NumPy is all that is said of it."""
    def pole(x):
        return np.inf if x.any() else 1.0, lambda upstream: upstream * x
    result = check_gradient(pole, np.zeros(3), every_element=every_element)
    assert result.error == np.inf and np.isnan(result.numeric)


@pytest.mark.parametrize('every_element', [False, True])
def test_an_element_that_is_not_finite_is_named(every_element):
    def infinite(vjp, upstream):
        gradient = vjp(upstream)
        gradient[1, 0, 2, 2:] = np.inf, -np.inf
        return gradient
    pred, function = dice(4)
    result = check_gradient(broken(function, infinite), pred, every_element=every_element)
    assert result.error == np.inf and result.worst == (1, 0, 2, 2) and result.analytic == np.inf


def test_how_often_the_function_is_called():
    """The tests do this thousands of times: a stencil of 4 for 8 directions and one element."""
    calls = []

    def sine(x):
        calls.append(x)
        return np.sin(x), lambda upstream: upstream * np.cos(x)
    check_gradient(sine, np.ones((5, 7)))
    assert len(calls) == 1 + 4 * 8 + 4
    calls.clear()
    check_gradient(sine, np.ones((5, 7)), every_element=True)
    assert len(calls) == 1 + 4 * 35
