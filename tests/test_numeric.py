"""Numeric derivatives are those of calculus, within the error that calculus says."""
import numpy as np
import pytest

from soft_dice.checker.numeric import (Point, along, element_by_element, largest_element,
                                       relative_error, rms, worst_element)

ONE = np.ones((1, 1))  # a line of one element


def power(n):
    """(1 + move)^n, whose derivative is n."""
    return Point(lambda move: float((1 + move[0]) ** n))


# Fixed steps --------------------------------------------------------------------------------------

@pytest.mark.parametrize('n, error', [(1, 0), (2, 0), (3, 1), (4, 4)])
def test_error_of_a_central_difference(n, error):
    """It is h^2 / 6 times the third derivative, 6 for n = 3 and 24 for n = 4."""
    (found,) = power(n).central(ONE, 0.25).derivative
    assert found == pytest.approx(n + error * 0.25 ** 2, rel=1e-14)


@pytest.mark.parametrize('n, error', [(1, 0), (2, 0), (3, 0), (4, 0), (5, -4), (6, -24)])
def test_error_of_the_stencil(n, error):
    """It is -h^4 / 30 times the fifth derivative, 120 for n = 5 and 720 for n = 6."""
    (found,) = power(n).stencil(ONE, 0.25)
    assert found == pytest.approx(n + error * 0.25 ** 4, rel=1e-14)


def test_the_stencil_is_the_one_of_four_points():
    moves = []

    def function(move):
        moves.append(float(move[0]))
        return float(np.exp(3 * move[0]))
    (found,) = Point(function).stencil(ONE, 0.5)
    assert sorted(moves) == [-1.0, -0.5, 0.5, 1.0]
    f = {move: np.exp(3 * move) for move in moves}
    assert found == pytest.approx((f[-1.0] - 8 * f[-0.5] + 8 * f[0.5] - f[1.0]) / 6, rel=1e-14)


def test_lines_are_moved_along_as_long_as_they_are():
    a = np.arange(6.0).reshape(2, 3)
    point = Point(lambda move: float(np.sum(a * move)))
    lines = np.random.RandomState(0).standard_normal((4, 2, 3))
    expected = [np.sum(a * line) for line in lines]
    np.testing.assert_allclose(along(a, lines), expected, rtol=1e-13)
    np.testing.assert_allclose(point.stencil(lines, 0.25), expected, rtol=1e-12)
    assert point.evaluations == 4 * 4


def test_derivatives_element_by_element():
    a = np.arange(6.0).reshape(2, 3)

    def derivative(lines):
        return along(a, lines)
    np.testing.assert_array_equal(element_by_element(derivative, (2, 3)), [0, 1, 2, 3, 4, 5])
    np.testing.assert_array_equal(element_by_element(derivative, (2, 3), 4), [0, 1, 2, 3])


# Steps that are looked for ------------------------------------------------------------------------

@pytest.mark.parametrize('dtype', ['float32', 'float64'])
def test_noise_is_that_which_was_added(dtype):
    rng = np.random.RandomState(0)
    x = rng.standard_normal(50)
    point = Point(lambda move: float(np.sin(x + move).sum() + 1e-4 * rng.standard_normal()), dtype)
    assert 0.5e-4 < point.noise(rng.choice([-1.0, 1.0], (9, 50))) < 2e-4


@pytest.mark.parametrize('dtype, digits', [('float32', 23), ('float64', 52)])
def test_noise_is_no_less_than_that_of_rounding(dtype, digits):
    """Rounding errors are uniform between -1/2 and 1/2 of the last digit."""
    point = Point(lambda move: 1.0, dtype)
    assert point.noise(np.ones((3, 4))) == pytest.approx(2.0 ** -digits / 12 ** 0.5, rel=0.05)


def test_a_kink_along_one_line_is_no_noise():
    rng = np.random.RandomState(0)

    def function(move):
        return float(100 * abs(move[0] - 1e-3) + 1e-6 * rng.standard_normal())

    assert 0.5e-6 < Point(function, 'float32').noise(np.eye(9)) < 2e-6
    assert Point(function, 'float32').noise(np.eye(9)[:1]) > 1e-3


@pytest.mark.parametrize('noise, dtype, bar', [
    (0.0, 'float64', 1e-6), (1e-9, 'float64', 1e-5), (1e-6, 'float32', 1e-3),
    (1e-4, 'float32', 1e-2)])
def test_derivatives_lie_within_their_bar(noise, dtype, bar):
    for seed in range(20):
        rng = np.random.RandomState(seed)
        x = rng.standard_normal(50)
        lines = rng.choice([-1.0, 1.0], (8, 50))
        point = Point(lambda move: float(np.exp(np.sin(x + move)).sum()
                                         + noise * rng.standard_normal()), dtype)
        found = point.derivatives(lines, noise or 1e-14)
        gap = rms(found.value - lines @ (np.cos(x) * np.exp(np.sin(x))))
        assert gap < 3 * found.bar
        assert found.bar < bar * rms(found.value)


def test_derivatives_lie_within_their_bar_beside_kinks():
    """abs has its kink at 0, which is crossed by every line of a step longer than |x|."""
    for seed in range(50):
        rng = np.random.RandomState(seed)
        x = rng.standard_normal(200)
        lines = rng.choice([-1.0, 1.0], (8, 200))
        point = Point(lambda move: float(np.abs(x + move).sum() + 1e-5 * rng.standard_normal()),
                      'float32')
        found = point.derivatives(lines, 1e-5)
        assert rms(found.value - lines @ np.sign(x)) < 3 * found.bar


def test_at_a_kink_the_bar_reaches_from_side_to_side():
    """The derivative of abs is -1 on one side of 0 and 1 on the other: 0, give or take 1."""
    found = Point(lambda move: float(abs(move[0])), 'float32').derivatives(ONE, 1e-9)
    assert found.value == 0 and found.bar == pytest.approx(1)


def test_no_more_steps_are_taken_than_are_needed():
    """A parabola's first extrapolation is exact; the second, from a third step, shows that."""
    lines = np.random.RandomState(0).choice([-1.0, 1.0], (8, 5))
    point = Point(lambda move: float(np.sum(move + move ** 2)))
    found = point.derivatives(lines, 1e-16)
    np.testing.assert_allclose(found.value, lines.sum(axis=1), rtol=1e-9)
    assert point.evaluations == 1 + 3 * 2 * 8


def test_smaller_steps_are_not_taken_where_noise_rules():
    """A straight line is exact from the first, so the error bar is the noise over the step."""
    point = Point(lambda move: float(np.sum(move)), 'float32')
    found = point.derivatives(np.ones((2, 3)), 1e-3)
    assert found.step == 2.0 ** -3 and found.bar == pytest.approx(1e-3 / found.step)
    assert point.evaluations == 1 + 4 * 2 * 2


def test_a_function_without_a_value_has_no_derivative():
    found = Point(lambda move: np.inf if move.any() else 0.0).derivatives(np.ones((2, 3)), 1e-16)
    assert np.isnan(found.value).all() and found.bar == np.inf


def test_piecewise_constant():
    x = np.linspace(-1, 1, 101)
    lines = np.random.RandomState(0).choice([-1.0, 1.0], (3, 101))

    def constant(function):
        return Point(lambda move: float(function(x + move))).piecewise_constant(lines)
    assert constant(lambda x: np.mean(x > 0.005))
    assert constant(lambda x: 0.5)
    assert not constant(lambda x: np.mean(np.abs(x)))
    assert not constant(lambda x: np.float32(1 + np.mean(np.tanh(x))))
    beside = x.copy()  # a relu that stands still for the first third of the stretch
    assert not constant(lambda x: 1 + max(np.abs(x - beside).max() - 5e-6, 0))


# Gradients beside them ----------------------------------------------------------------------------

@pytest.mark.parametrize('shape', [(1,), (7,), (3, 5, 4), (2, 3, 8, 8)])
def test_the_worst_element_is_found(shape):
    for seed in range(10):
        rng = np.random.RandomState(seed)
        right = rng.standard_normal(shape)
        where = np.unravel_index(rng.randint(right.size), shape)
        wrong = right.copy()
        wrong[where] += 0.5
        assert worst_element(wrong, lambda lines: along(right, lines), rng) == where


def test_an_element_that_is_not_finite_is_the_worst():
    gradient = np.array([[1.0, 2.0], [np.nan, np.inf]])
    assert worst_element(gradient, lambda lines: 1 / 0, np.random.RandomState(0)) == (1, 0)


def test_an_element_along_which_there_is_no_derivative_is_the_worst():
    gradient = np.arange(5.0)

    def derivative(lines):
        return np.where(lines[:, 3] != 0, np.nan, along(gradient, lines))
    assert worst_element(gradient, derivative, np.random.RandomState(0)) == (3,)


def test_the_largest_element():
    assert largest_element(np.array([[1.0, -3.0], [2.0, 0.0]])) == (0, 1)
    assert largest_element(np.array([1.0, np.inf, np.nan])) == (2,)


def test_relative_error():
    assert relative_error(np.zeros(3), np.zeros(3)) == 0
    assert relative_error(np.zeros(3), 1e-12 * np.ones(3)) == 1
    assert relative_error(np.ones(1), -np.ones(1)) == 2
    assert relative_error(np.array([np.nan]), np.ones(1)) == float('inf')
    with pytest.raises(ValueError, match='one shape'):
        relative_error(np.ones(2), np.ones(3))
