"""What only a Gluon loss can get wrong: its shape, its graph, its weights, its head gradients."""
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np

from soft_dice.checker.findings import Finding, Findings
from soft_dice.checker.numeric import relative_error
from soft_dice.checker.subject import Died, Example, Refused
from soft_dice.checker.trial import Trial, inputs

from ..compat import RELEASE
from .subject import GluonLoss
from .target import Call, Outcome

GRAPHS: Dict[str, Dict[str, bool]] = {'hybridize()': {}}
if RELEASE >= (1, 3):
    GRAPHS.update({'hybridize(static_alloc=True)': {'static_alloc': True},
                   'hybridize(static_alloc=True, static_shape=True)': {'static_alloc': True,
                                                                       'static_shape': True}})
SAME = 1e-4  # relative norm: float32 in another order of sums, and no more


def output_shape(trial: Trial, findings: Findings) -> Finding:
    """The finding about the batch, with the shape of the loss."""
    batch, shape, samples = findings['batch'], trial.answer.value.shape, len(trial.pred)
    value = {**(batch.value if isinstance(batch.value, dict) else {'found': batch.value}),
             'output_shape': list(shape)}
    if shape == (samples,):
        return batch._replace(value=value)
    if shape[:1] == (samples,):
        return batch._replace(value=value, message=f'{batch.message} The loss has the shape '
                              f'{shape}, more than one number per sample; their sum is trained.')
    message = (f'For {samples} samples the loss has the shape {shape}, not ({samples},). If it is '
               f'their mean, Trainer.step({samples}), which divides by {samples} once more, trains '
               f'{samples} times too weakly; and no sample can be weighted.')
    return Finding('not (N,)', value, message if batch.good else f'{batch.message} {message}')


def hybridize(subject: GluonLoss, trial: Trial, findings: Findings) -> Finding:
    """Are value and gradient of the hybridized loss those of the imperative one?

    In float32, as people train; the first call makes the graph, the second has other numbers, the
    third fewer samples, as the last batch of an epoch.
    """
    target = subject.target
    if not target.hybridizable:
        return Finding('not applicable', None, 'Hybridizing has no effect on what this is: '
                       f'{target.assumed}.')
    try:
        return _in_graphs(subject, trial)
    finally:
        subject.renew()


def _in_graphs(subject: GluonLoss, trial: Trial) -> Finding:
    """Leaves the loss hybridized."""
    found: Dict[str, Any] = {}
    calls = list(_imperative(subject, trial.example, trial.seed))
    for graph, flags in GRAPHS.items():
        subject.ask('hybridize', flags)
        for when, call, expected in calls:
            try:
                got = subject.ask('run', call)
            except (Refused, Died) as error:
                found[graph] = str(error)
                return Finding('raises', found, f'The loss works imperatively; after {graph}, at '
                               f'{when}, it fails: {error}')
            found[graph] = max(found.get(graph, 0.0), _error(expected.value, got.value),
                               _error(expected.gradient, got.gradient))
            if found[graph] > SAME:
                return Finding('differs', found, f'After {graph}, at {when}, loss or gradient is '
                               'not that of the same loss run imperatively (relative error '
                               f'{found[graph]:.2g}).')
    return Finding('equal', found, 'Hybridized, with static memory too, and called again with '
                   'other numbers and fewer samples, it has the same loss and gradient.')


def _imperative(subject: GluonLoss, example: Example, seed: int
                ) -> Iterator[Tuple[str, Call, Outcome]]:
    """Calls that work imperatively, and what they give; what fails is for the other checks."""
    subject.ask('hybridize', None)
    first, second = example.arrays(seed), example.arrays(seed + 1)
    calls = {'the first call': Call(*first, 'float32', 1.5),
             'the second call': Call(*second, 'float32', -0.5)}
    if len(first[0]) > 1:
        calls['a call with fewer samples'] = Call(first[0][:1], first[1][:1], 'float32')
    for when, call in calls.items():
        try:
            yield when, call, subject.ask('run', call)
        except (Refused, Died):
            pass


def weight(subject: GluonLoss, trial: Trial, findings: Findings) -> Finding:
    """Does Loss(weight=3) triple loss and gradient; does sample_weight multiply a sample's?"""
    parts: List[Finding] = []
    if subject.target.weighted is not None:
        parts.append(_global_weight(subject, trial.pred, trial.label))
    if 'sample_weight' in subject.target.takes[len(subject.target.feed.further):]:
        parts.append(_sample_weight(subject, trial.pred, trial.label))
    if not parts:
        return Finding('not applicable', None, 'The loss has no weight, as gluon Losses have, and '
                       'no argument sample_weight.')
    value = {key: number for part in parts for key, number in part.value.items()}
    bad = [part for part in parts if not part.good]
    return Finding(bad[0].verdict if bad else 'honoured', value,
                   ' '.join(part.message for part in bad or parts))


def _global_weight(subject: GluonLoss, pred: np.ndarray, label: np.ndarray) -> Finding:
    plain = subject.run(pred, label)
    try:
        heavy = subject.ask('run_weighted', 3.0, Call(pred, label, subject.dtype))
    except (Refused, Died) as error:
        return Finding('raises', {}, f'With weight=3 the loss fails: {error}')
    value = {'loss': _ratio(plain.value, heavy.value),
             'gradient': _ratio(plain.gradient, heavy.gradient)}
    if _error(3 * plain.value, heavy.value) <= SAME \
            and _error(3 * plain.gradient, heavy.gradient) <= SAME:
        return Finding('honoured', value, 'weight=3 triples loss and gradient.')
    ignored = max(_error(plain.value, heavy.value), _error(plain.gradient, heavy.gradient)) <= SAME
    return Finding('ignored' if ignored else 'wrong', value, 'With weight=3 the loss is '
                   f'{value["loss"]:.3g} times as large and the gradient {value["gradient"]:.3g} '
                   'times; both should be 3 times.')


def _sample_weight(subject: GluonLoss, pred: np.ndarray, label: np.ndarray) -> Finding:
    """Gluon wants weights that broadcast to the loss before its mean, (N, 1, ...); take (N,) too.

    For each sample the gradient must be multiplied; the loss may be their mean.
    """
    weights = np.linspace(0.5, 2.0, len(pred))
    plain = subject.run(pred, label)
    expected = _per_sample(weights, plain.gradient)
    errors: Dict[str, Any] = {}
    for shape in ((-1,) + (1,) * (pred.ndim - 1), (-1,)):
        key = f'sample_weight of {len(shape)} axes'
        try:
            got = subject.run(pred, label, sample_weight=weights.reshape(shape))
        except (Refused, Died) as error:
            errors[key] = str(error)
            continue
        errors[key] = _error(expected, got.gradient)
        if errors[key] <= SAME:
            return Finding('honoured', {key: errors[key]},
                           "sample_weight multiplies each sample's gradient.")
    return Finding('wrong', errors, "sample_weight does not multiply each sample's gradient by "
                   "that sample's weight.")


def head_gradient(subject: GluonLoss, trial: Trial, findings: Findings) -> Finding:
    """The finding about one head for all, with that about a head for each sample."""
    uniform, samples = findings['loss_weight'], len(trial.pred)
    if trial.answer.value.shape[:1] != (samples,) or samples == 1 or not uniform.good:
        return uniform
    rng = np.random.RandomState(trial.seed)
    heads = rng.uniform(0.5, 2.0, samples) * rng.permutation(np.resize([1.0, -1.0], samples))
    error = _error(_with_heads(subject, trial, heads),
                   subject.run(trial.pred, trial.label, upstream=heads).gradient)
    value = {**(uniform.value if isinstance(uniform.value, dict) else {'ratios': uniform.value}),
             'error_with_a_head_per_sample': error}
    if error <= SAME:
        return uniform._replace(value=value)
    return Finding('wrong per sample', value, "One head gradient for all samples is honoured, but "
                   "with one for each sample a sample's gradient is not that of its own loss "
                   f'(relative error {error:.2g}): weighting samples goes wrong.')


def _with_heads(subject: GluonLoss, trial: Trial, heads: np.ndarray) -> np.ndarray:
    """The gradient of sum_n heads_n loss_n, from what the samples' losses depend on."""
    pred, label, value = trial.pred, trial.label, trial.answer.value
    if np.allclose(value, value[:1], rtol=1e-6, atol=0):  # of the batch, for each sample
        return heads.mean() * trial.gradient
    others = inputs(subject, trial.example, trial.seed + 1)[0]
    apart = True
    for n in range(len(pred)):
        changed = pred.copy()
        changed[n] = others[n]
        moved = subject.value(changed, label) - value
        moved[n] = 0
        apart = apart and bool((abs(moved) <= 1e-5 * abs(value)).all())
    if apart:
        return _per_sample(heads, trial.gradient)
    return sum(head * subject.run(pred, label, upstream=unit).gradient
               for head, unit in zip(heads, np.eye(len(pred))))


def _per_sample(numbers: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    return numbers.reshape((-1,) + (1,) * (gradient.ndim - 1)) * gradient


def _error(a: np.ndarray, b: np.ndarray) -> float:
    """Relative error; NaN equals NaN."""
    if a.shape != b.shape:
        return float('inf')
    return relative_error(np.nan_to_num(a), np.nan_to_num(b))


def _ratio(a: np.ndarray, b: np.ndarray) -> float:
    """How many times a is b, by least squares."""
    return float(np.sum(a * b) / np.sum(a * a)) if np.any(a) else float('nan')
