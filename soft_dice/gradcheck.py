"""Is a backward the gradient of its forward?  A checker for any function with a vjp.

It knows nothing of losses.  A *function with a vjp* takes a float64 array and returns its value
(any shape) and ``vjp``, which takes an upstream array of the value's shape to a gradient of the
argument's shape::

    result = check_gradient(lambda x: (np.sin(x), lambda upstream: upstream * np.cos(x)), x)
    assert_gradient(result, tolerance=1e-8)

Errors are relative norms, ||a - n|| / max(||a||, ||n||), never absolute: gradients of a mean over
pixels are about 1/pixels, and any absolute tolerance would accept zeros for them.

A *loss* of prediction and label is looked at from all sides, batches, empty images, rare classes
and wrong labels included, in one line of a test::

    def test_my_loss():
        assert_loss(my_loss, pred=(2, 4, 9, 8), label=(2, 9, 8))

``caffe_layers.gradcheck`` and ``gluon_dice.gradcheck`` do the same for losses of these frameworks.
"""
from typing import Any, Callable, Iterable, NamedTuple, Optional, Tuple, Union

import numpy as np

from .checker.asked import Asked
from .checker.checks import check
from .checker.findings import Findings
from .checker.function import FunctionSubject, Loss
from .checker.numeric import (Point, along, element_by_element, largest_element, relative_error,
                              unit, worst_element)
from .checker.report import assert_good
from .checker.subject import Shape
from .checker.watch import Watch

VJP = Callable[[np.ndarray], np.ndarray]
Function = Callable[[np.ndarray], Tuple[np.ndarray, VJP]]


class GradcheckResult(NamedTuple):
    """What was found.

    error : relative norm of analytic minus numeric derivative; inf where either is not finite.
    worst : index into x of the element that is most wrong.
    analytic, numeric : derivative of sum(upstream * value) with respect to that element.
    checked : 'directions' or 'elements', what ``error`` was measured over.
    note : why error is infinite without a comparison; empty otherwise.
    """

    error: float
    worst: Tuple[int, ...]
    analytic: float
    numeric: float
    checked: str
    note: str = ''

    def __str__(self) -> str:
        return (f'relative error {self.error:.3g} over {self.checked}; worst element {self.worst}: '
                f'analytic {self.analytic:.9g}, numeric {self.numeric:.9g}'
                + (f'; {self.note}' if self.note else ''))


def check_gradient(function: Function, x: np.ndarray, upstream: Optional[np.ndarray] = None,
                   step: float = 1e-3, directions: int = 8, every_element: bool = False,
                   accept: float = 1e-8, seed: int = 0) -> GradcheckResult:
    """Compare ``function``'s vjp with finite differences of its value.

    Derivatives along ``directions`` random +-1 vectors are compared, by a 4-point stencil.  That
    is cheap at any size.  Where ``every_element`` is asked for each element is differentiated by
    itself; where the directions disagree by more than ``accept`` the worst element is looked for.

    Parameters
    ----------
    function : x -> (value, vjp).
    x : float64, any shape.  Not modified.
    upstream : shape of the value; by default random, so that a vjp that ignores it is found out.
    step : of the stencil (f(-2h) - 8 f(-h) + 8 f(h) - f(2h)) / 12 h.

    Returns
    -------
    GradcheckResult.  Nothing is asserted here.

    Raises
    ------
    ValueError : x is empty or not float64; in float32 differences drown in rounding.
    """
    x = np.asarray(x)
    if x.dtype != np.float64 or x.size == 0:
        raise ValueError('x must be a non-empty float64 array, for example x.astype("float64"); '
                         f'got {x.dtype} of shape {x.shape}')
    rng = np.random.RandomState(seed)
    value, vjp = function(x.copy())
    if upstream is None:
        upstream = rng.uniform(0.5, 1.5, np.shape(value)) * rng.choice([-1.0, 1.0], np.shape(value))
    upstream = np.asarray(upstream, dtype=np.float64)
    gradient = np.array(vjp(upstream), dtype=np.float64)
    problem = _misbehaviour(vjp, upstream, gradient, x.shape)
    if problem:
        return GradcheckResult(float('inf'), (0,) * x.ndim, float('nan'), float('nan'), 'vjp',
                               problem)

    point = Point(lambda move: float(np.sum(upstream * function(x + move)[0])))

    def derivative(lines: np.ndarray) -> np.ndarray:
        return point.stencil(lines, step)

    if every_element:
        numeric = element_by_element(derivative, x.shape).reshape(x.shape)
        worst = largest_element(gradient - numeric)
        return GradcheckResult(relative_error(gradient, numeric), worst, float(gradient[worst]),
                               float(numeric[worst]), 'elements')
    lines = rng.choice([-1.0, 1.0], (directions,) + x.shape)
    error = relative_error(along(gradient, lines), derivative(lines))
    worst = (largest_element(gradient) if error <= accept else
             worst_element(gradient, derivative, rng))
    return GradcheckResult(error, worst, float(gradient[worst]),
                           float(derivative(unit(x.shape, worst))[0]), 'directions')


def assert_gradient(result: GradcheckResult, tolerance: float) -> None:
    """Raise AssertionError unless ``result.error <= tolerance``."""
    if not result.error <= tolerance:
        raise AssertionError(f'the backward is not the gradient of the forward: {result} '
                             f'(tolerance {tolerance:g})')


def check_loss(function: Loss, pred: Shape, label: Shape, input: str = 'raw',
               label_kind: Optional[str] = None, seed: int = 0,
               pixel_weight: Optional[Shape] = None, background: Union[None, int, str] = None,
               axis: int = 1, seconds: Optional[float] = None) -> Findings:
    """What is right and wrong with a loss in NumPy.

    Parameters
    ----------
    function : (pred, label) -> loss, () or (N,), and vjp, which takes an upstream of the loss's
        shape to the gradient, as of :func:`soft_dice.soft_dice_loss_vjp`.  It gets float64 arrays.
    pred : (N, C, ...), the shape to check on; N of 2 or more tells the samples apart.
    label : (N, ...), (N, 1, ...) or pred's shape.
    input : what the loss is given: 'softmax' or 'sigmoid' probabilities, or 'raw' scores.
    label_kind : 'index' class numbers, 'onehot' or 'binary'; by default told from the shapes.
    pixel_weight : the shape of a third argument, which is filled with random positive numbers.
    background, axis : as :class:`soft_dice.checker.asked.Asked`.
    seconds : the time that it may take; what is then not looked at has the verdict 'left out'.

    Returns
    -------
    A Finding (verdict, value, message) for each of soft_dice.checker.checks.KEYS.

    Raises
    ------
    ValueError : shapes that contradict each other.
    CannotRun : there was no time to judge its gradient.
    """
    example, feed = Asked(pred, label, input, label_kind, pixel_weight, background, axis).read()
    return check(FunctionSubject(function, feed, Watch(seconds)), example, seed)


def assert_loss(function: Loss, *arguments: Any, allow: Iterable[str] = (), **keywords: Any
                ) -> None:
    """``check_loss`` in a test: AssertionError with the table of findings unless all are good.

    allow : keys of findings that may be bad, for a weakness one has decided to live with.
    """
    name = getattr(function, '__name__', type(function).__name__)
    assert_good(check_loss(function, *arguments, **keywords), name, allow)


def _misbehaviour(vjp: VJP, upstream: np.ndarray, gradient: np.ndarray,
                  shape: Tuple[int, ...]) -> str:
    """What no gradient may do, whatever its value."""
    if gradient.shape != shape:
        return f'the gradient must have the shape of x, {shape}; got {gradient.shape}'
    if relative_error(np.array(vjp(upstream)), gradient) != 0 and np.isfinite(gradient).all():
        return 'a second call of vjp with the same upstream gave another gradient'
    if relative_error(np.array(vjp(-3 * upstream)), -3 * gradient) > 1e-12 \
            and np.isfinite(gradient).all():
        return 'the gradient does not scale with upstream: -3 * upstream must give -3 * gradient'
    return ''
