"""Is the backward the gradient of the forward, and proportional to what comes from above?"""
from typing import Any, Dict, Optional, Tuple

import numpy as np

from . import numeric
from .comparison import BARS, Comparison, compare
from .findings import Finding, Findings
from .trial import Trial, begin

SHARP = 0.01  # with larger error bars another input is tried
BLURRED = 0.25  # with larger error bars nothing can be said


def gradient(trial: Trial) -> Findings:
    """The findings 'gradient' and 'relative_error'."""
    finding, found = _judge(trial)
    if found is None:
        return {'gradient': finding, 'relative_error': Finding(
            'not applicable', None, f'Not measured, as the gradient is "{finding.verdict}".')}
    return {'gradient': finding, 'relative_error': Finding(
        'wrong' if found.wrong else 'correct', found.error,
        f'Relative error {found.error:.2g}, error bar {found.bar:.1g}, with steps of '
        f'{found.step:.2g}; rounding errors of the loss: {found.noise:.1g}.')}


def _judge(trial: Trial) -> Tuple[Finding, Optional[Comparison]]:
    unwritten, elsewhere = _left_over(trial)
    if unwritten == trial.pred.size and not trial.gradient.any():
        return Finding('none', {'unwritten': 1.0},
                       'The backward writes no gradient: nothing would be trained.'), None
    origin = trial
    trial, found = _sharpest(trial)
    smooth = found.bar < SHARP and found.slope > BARS * found.bar
    lines = trial.subject.watch.most((1, 3), lambda number: 30 * number)
    if not smooth and origin.near.piecewise_constant(origin.lines(lines, seed=1)):
        return Finding('zero-forward', {'slope': 0.0},
                       'The loss does not follow small changes of the prediction: it stands still, '
                       'then jumps, as with an argmax or a threshold. It has no gradient, and what '
                       'the backward gives belongs to another function.'), None
    if found.bar > BLURRED and not found.wrong:
        return Finding('error', {'error_bar': found.bar, 'noise': found.noise},
                       f'The loss is too noisy to be judged: its rounding errors of '
                       f'{found.noise:.1g} hide its slope.'), None
    measured = _measured(trial, found)
    if unwritten or elsewhere:
        return _stale(trial, unwritten + elsewhere, measured), found
    if found.wrong:
        return Finding('wrong', measured, _wrong(trial, found, measured)), found
    return Finding('correct', measured, 'The backward is the gradient of the forward: they differ '
                   f'by {found.error:.1g} of their size, no more than can be measured.'), found


def _sharpest(trial: Trial) -> Tuple[Trial, Comparison]:
    """The comparison at this input or, where kinks nearby blur it, at the clearest of three."""
    best = trial, compare(trial)
    for seed in (1000 + trial.seed, 2000 + trial.seed):
        if best[1].wrong or best[1].bar < SHARP or not trial.subject.watch.affords(200):
            break
        other = begin(trial.subject, trial.example, seed)
        found = compare(other)
        if found.wrong or found.bar < best[1].bar:
            best = other, found
    return best


def _left_over(trial: Trial) -> Tuple[int, int]:
    """How many elements of the gradient's buffer stay as they were, and how many others depend on
    what it held."""
    mark = 1.0
    marked = trial.subject.evaluate(trial.pred, trial.label, before=mark).gradient
    moved = np.abs(marked - trial.gradient)
    same = moved > 0.5 * mark
    size = np.abs(trial.gradient).max()
    return int(same.sum()), int(((moved > 1e-3 * size) & ~same).sum()) if size > 0 else 0


def _stale(trial: Trial, elements: int, measured: Dict[str, Any]) -> Finding:
    share = elements / trial.pred.size
    return Finding('stale', dict(measured, unwritten=share),
                   f'{100 * share:.3g} % of the gradient depends on what its buffer held before: '
                   'the backward does not assign these elements (or adds to them), and they pass '
                   'on a gradient of an earlier step.')


def _measured(trial: Trial, found: Comparison) -> Dict[str, Any]:
    """The numbers behind the verdict.  Where something is wrong the worst element is looked for,
    if there is time; else the largest is shown."""
    def derivative(lines: np.ndarray) -> np.ndarray:
        return trial.near.central(lines, found.step).derivative

    gradient = trial.gradient_near
    bisects = found.wrong and trial.subject.watch.affords(12 * gradient.size.bit_length())
    worst = (numeric.worst_element(gradient, derivative, np.random.RandomState([trial.seed, 2]))
             if bisects else numeric.largest_element(gradient))
    at_worst = trial.near.derivatives(numeric.unit(gradient.shape, worst), found.noise).value[0]
    return {'relative_error': found.error, 'error_bar': found.bar, 'cosine': found.cosine,
            'times_too_large': found.times, 'worst': list(worst),
            'analytic': float(trial.gradient[worst]) + 0.0,  # no -0
            'numeric': float(at_worst / trial.room[worst])}


def _wrong(trial: Trial, found: Comparison, measured: Dict[str, Any]) -> str:
    if not np.isfinite(trial.gradient).all():
        return 'The gradient of an ordinary input is not finite: it holds NaN or infinity.'
    if not trial.gradient.any():
        how = 'the backward gives 0 everywhere, though the loss changes with the prediction'
    elif found.cosine > 0.99995 and abs(1 - 1 / found.times) > 0.9 * found.error:
        how = f'it points the right way, but is {found.times:.4g} times as large as it should be'
    elif found.cosine < -0.99995:
        how = 'it points exactly the wrong way' + (
            f', and is {-found.times:.4g} times as large as it should be'
            if abs(found.times + 1) > 0.005 else '')
    else:
        how = (f'they differ by {100 * found.error:.3g} % of their size (cosine of the angle '
               f'between them: {found.cosine:.4f})')
    return (f'The backward is not the gradient of the forward: {how}. At element '
            f'{tuple(measured["worst"])} backward says {measured["analytic"]:.4g}, the loss itself '
            f'{measured["numeric"]:.4g}.')


def upstream(trial: Trial, findings: Findings) -> Finding:
    """The finding 'loss_weight': the gradient must be proportional to what comes from above."""
    if not trial.usable:
        return Finding('not applicable', None, 'There is no gradient that could be scaled.')
    one = trial.gradient
    ratios, straight = {}, True
    for weight in (3.0, -1.0, 1.0):
        other = trial.subject.evaluate(trial.pred, trial.label, upstream=weight).gradient
        ratio = float(np.sum(other * one) / np.sum(one * one))
        ratios[f'{weight:g}'] = ratio
        straight &= bool(np.linalg.norm(other - ratio * one) <= 1e-3 * np.linalg.norm(one))
    verdict = _law(ratios['3'], ratios['-1'], ratios['1']) if straight else 'wrong'
    seen = (f'a weight of 3 multiplies it by {ratios["3"]:.4g}, one of -1 by '
            f'{ratios["-1"]:.4g}, one of 1 by {ratios["1"]:.4g}')
    return Finding(verdict, ratios, {
        'honoured': 'The gradient is proportional to the weight of the loss: ',
        'ignored': 'The weight of the loss is ignored: ',
    }.get(verdict, 'The weight of the loss does not multiply the gradient: ') + seen + '.')


def _law(three: float, minus: float, one: float) -> str:
    laws = {'honoured': (3, -1), 'ignored': (1, 1), 'squared': (9, 1), 'absolute': (3, 1),
            'sign only': (1, -1), 'inverted': (-3, 1)}
    for name, expected in laws.items():
        if np.allclose((three, minus, one), expected + (1,), rtol=1e-3, atol=1e-3):
            return name
    return 'wrong'
