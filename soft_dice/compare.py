"""`python -m soft_dice compare`: what every published loss says about one pair of arrays."""
import argparse
import json
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from . import arrays, labels
from .arrays import CannotRun
from .options import DiceOptions
from .pictures import DRAWN, Place, check_plot, draw_gradients
from .presets import presets
from .survey import Evaluated, Pair, Survey
from .values import AUTOMATIC_WEIGHTS

SMOOTHINGS = (0.0, 1e-8, 1e-7, 1e-6, 2e-6, 1e-5, 2e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 1.0, 2.0, 10.0,
              100.0)
USUAL_SMOOTHINGS = (0.0, 1e-6, 1e-5, 1.0)  # of losses with automatic class weights


class Match(NamedTuple):
    """One reading of a printed value.

    preset, changes : the formula that gives it.
    value : what the formula gives.
    said_as : how the value relates to the loss: 'loss', '1 - loss' or '-loss'.
    digits : how many decimals of the value asked for agree.
    """

    preset: str
    changes: Dict[str, Any]
    value: float
    said_as: str
    digits: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('pred', help='prediction (N, C, ...): .npy, .npz, .npz:name, .h5:name, '
                                     '.nii.gz, .nrrd')
    parser.add_argument('label', help='label (N, ...) of class indices, or of the shape of pred; '
                                      'also .png, .tif, .mgz')
    parser.add_argument('--activation', choices=('softmax', 'sigmoid', 'none'),
                        help='what to apply to pred; default softmax, but sigmoid for one channel '
                             'or a label of the shape of pred')
    parser.add_argument('--ignore-label', type=int, metavar='N')
    parser.add_argument('--axis', type=int, default=1, help='class axis of pred; default 1')
    parser.add_argument('--no-batch', action='store_true', help='the arrays have no batch axis')
    parser.add_argument('--presets', metavar='A,B', help='only these')
    parser.add_argument('--per-class', action='store_true', help='the score of each class too')
    parser.add_argument('--nearest', metavar='VALUE',
                        help='which formula gives this value, as your old code printed it')
    parser.add_argument('--json', action='store_true', help='machine-readable')
    parser.add_argument('--plot', metavar='FILE.png',
                        help=f'draw the gradients of one slice, of {", ".join(DRAWN)} or of '
                             '--presets')
    parser.add_argument('--sample', type=int, help='to draw; default 0')
    parser.add_argument('--slice', type=int, help='plane to draw of a volume; default the middle')


def run(arguments: argparse.Namespace) -> int:
    names = _chosen(arguments.presets)
    if arguments.nearest is not None and (arguments.plot or arguments.per_class):
        raise CannotRun('--nearest looks for a formula; leave out --plot and --per-class')
    if not arguments.plot and (arguments.sample, arguments.slice) != (None, None):
        raise CannotRun('--sample and --slice are what --plot draws: give --plot FILE.png')
    survey, read_as = _survey(arguments)
    at = Place(arguments.sample or 0, arguments.slice)
    if arguments.plot:
        check_plot(arguments.plot, survey, at)
    options = {name: survey.reading(presets[name].options) for name in names}
    remarks = describe(survey, read_as)
    if arguments.nearest is not None:
        matches = nearest(survey, arguments.nearest, names)
        _print_matches(arguments, matches, remarks)
        return 0 if matches else 1
    found = dict(zip(names, survey.evaluate(list(options.values()))))
    if arguments.json:
        json.dump(_finite(_as_json(found, options, remarks)), sys.stdout, indent=2)
        print()
    else:
        _print_table(found, options, remarks, arguments.per_class)
    if arguments.plot:
        drawn = names if arguments.presets else DRAWN
        draw_gradients(arguments.plot, survey, {name: options[name] for name in drawn}, at)
        if not arguments.json:
            print(f'\nGradients drawn in {arguments.plot}.')
    return 0


def describe(survey: Survey, read_as: str) -> List[str]:
    """How the arrays were read, NaNs, absent classes and empty images, in words.

    read_as : what the label is.
    """
    own = survey.read_as
    remarks = [f'Read as: {read_as}; activation {own.activation!r} for every preset'
               + (f'; ignore_label {own.ignore_label}' if own.ignore_label is not None else '')
               + ('; the one channel is the foreground' if survey.classes == 1 else '') + '.']
    counts = survey.counts(survey.reading(DiceOptions()))
    for sample in np.flatnonzero(~np.isfinite(counts.pred_sum).all(axis=1)):
        remarks.append(f'Sample {sample}: the prediction is not finite, and so is no loss.')
    for sample, row in enumerate(counts.label_sum):
        absent = [c for c in range(survey.classes) if row[c] == 0]
        if len(absent) == survey.classes and survey.classes > 1 and survey.read_as.sparse_label:
            remarks.append(f'Sample {sample}: every pixel is ignored.')
        elif survey.classes > 1 and absent == list(range(1, survey.classes)):
            remarks.append(f'Sample {sample}: an empty image, all background.')
        elif survey.classes == 1 and absent:
            remarks.append(f'Sample {sample}: an empty image, no foreground.')
        elif absent:
            classes = f'class{"es" * (len(absent) > 1)} {", ".join(map(str, absent))}'
            remarks.append(f'Sample {sample}: no pixel of the label is of {classes}. The losses '
                           'differ most here: some score that by smooth alone, some drop it.')
    return remarks


def nearest(survey: Survey, text: str, names: List[str], most: int = 10) -> List[Match]:
    """The formulas that agree with the printed ``text`` best: all such, and at least three."""
    target, decimals = _printed(text)
    matches = []
    for name in names:
        own = survey.reading(presets[name].options)
        for changes in _variations(name, survey):
            try:
                loss = float(np.mean(survey.loss(own.replace(**changes))))
            except ValueError:  # this option does not go with this preset, or not with the arrays
                continue
            for said_as, value in (('loss', loss), ('1 - loss', 1 - loss), ('-loss', -loss)):
                matches.append(Match(name, changes, value, said_as,
                                     _agreeing(value, target, decimals)))
    matches.sort(key=lambda match: (-match.digits, len(match.changes), match.said_as != 'loss',
                                    abs(match.value - target)))
    matches = _distinct([match for match in matches if match.digits > 0])
    best = [match for match in matches if match.digits == matches[0].digits]
    return matches[:max(3, min(len(best), most))]


def _survey(arguments: argparse.Namespace) -> Tuple[Survey, str]:
    """The arrays, and what the label was read as."""
    pred, label = arrays.load(arguments.pred).array, arrays.load(arguments.label).array
    if arguments.no_batch:
        pred, label = pred[None], label[None]
    if pred.dtype.kind != 'f':
        raise CannotRun(f'{arguments.pred} must hold floating point numbers; it holds {pred.dtype}')
    if not (1 <= arguments.axis < pred.ndim or -pred.ndim < arguments.axis < 0):
        raise CannotRun(f'--axis must be an axis of pred after the batch, which has shape '
                        f'{pred.shape}; got {arguments.axis}')
    label, dense, read_as = _read(label, pred.shape, arguments.axis, arguments.ignore_label)
    if label.ndim == pred.ndim:
        label = np.moveaxis(label, arguments.axis, 1)
    pred = np.moveaxis(pred, arguments.axis, 1)
    activation = arguments.activation or ('sigmoid' if pred.shape[1] == 1 or dense else 'softmax')
    options = DiceOptions(activation=activation, sparse_label=not dense,
                          ignore_label=arguments.ignore_label)
    return Survey(Pair(pred, label), options), read_as


def _read(label: np.ndarray, pred: Tuple[int, ...], axis: int, ignore_label: Optional[int]
          ) -> Tuple[np.ndarray, bool, str]:
    """The label as the losses take it; has it a channel per class; what was it read as?

    pred : the prediction's shape, whose classes are on ``axis``.
    """
    classes, seen = pred[axis], labels.look(label)
    dense = label.shape == pred and not (classes == 1 and label.dtype.kind in 'biu')
    reading = labels.recognise([seen], None if dense else max(classes, 2), ignore_label)
    soft = seen.pixels is None
    if not dense and reading.kind == 'channels' and label.ndim == len(pred):
        label = np.moveaxis(label, reading.axis, axis)
        dense = label.shape == pred
    elif not dense and reading.kind == 'mask' and soft and label.size == np.prod(pred):
        label, dense = label.reshape(pred), True
    if reading.full > 1:
        return (label > 0).astype(np.uint8), dense, reading.sentence
    if seen.off and not soft:
        return labels.rounded(label), dense, reading.sentence
    return label, dense, 'a label per class' if dense else 'index labels'


def _chosen(text: Optional[str]) -> List[str]:
    if text is None:
        return list(presets)
    names = [name.strip() for name in text.split(',')]
    for name in names:
        if name not in presets:
            raise CannotRun(f'--presets must name some of {", ".join(presets)}; got {name!r}')
    return names


def _printed(text: str) -> Tuple[float, int]:
    """A printed number and its decimals: '0.3569' has 4, '3.5e-3' as many as it takes, 4."""
    try:
        value = float(text)
        if not np.isfinite(value):
            raise ValueError
    except ValueError:
        raise CannotRun(f'--nearest must be a number as your code printed it, for example 0.3569; '
                        f'got {text!r}') from None
    mantissa, _, exponent = text.lower().partition('e')
    decimals = len(mantissa.partition('.')[2]) - int(exponent or 0)
    return value, min(max(decimals, 1), 15)


def _agreeing(value: float, target: float, decimals: int) -> int:
    """How many of the target's decimals the value has after rounding."""
    for digits in range(decimals, 0, -1):
        if abs(value - target) <= 0.5000001 * 10.0 ** -digits:
            return digits
    return 0


def _variations(name: str, survey: Survey) -> List[Dict[str, Any]]:
    """Changes to a preset that people make: smoothing, its place, batch or image, background, and
    automatic class weights, of a mean or pooled.
    """
    own = presets[name].options
    score = [{}, *_smoothings(SMOOTHINGS)]
    for weights in AUTOMATIC_WEIGHTS if survey.classes > 1 else ():
        for use in ({}, {'pool_classes': True}, {'weight_normalization': 'weights'}):
            score += [{'class_weights': weights, **use, **smooth}
                      for smooth in [{}, *_smoothings(USUAL_SMOOTHINGS)]]
    counts: List[Dict[str, Any]] = [{}, {'batch_dice': not own.batch_dice}]
    if survey.classes > 1:
        counts += [{**batch, 'include_background': not own.include_background} for batch in counts]
    return [{field: value for field, value in {**each, **more}.items()
             if getattr(own, field) != value} for more in counts for each in score]


def _smoothings(values: Sequence[float]) -> List[Dict[str, Any]]:
    """Each value in numerator and denominator, and in the denominator only."""
    return [{'smooth': both, 'smooth_dr': below} for value in values
            for both, below in ((value, None), (0.0, value))]


def _distinct(matches: List[Match]) -> List[Match]:
    """One entry for each formula: presets that a change turns into each other appear once."""
    seen, kept = set(), []
    for match in matches:
        key = presets[match.preset].options.replace(**match.changes), match.said_as
        if key not in seen:
            seen.add(key)
            kept.append(match)
    return kept


def _sorted(found: Dict[str, Evaluated]) -> List[Tuple[str, Evaluated]]:
    return sorted(found.items(), key=lambda item: float(np.mean(item[1].loss)))


def _formula(name: str, options: DiceOptions) -> str:
    """A preset's, which may name its own activation, as it is computed here."""
    own = presets[name].options.activation
    return presets[name].formula if own == options.activation else presets[name].formula.replace(
        f', {own}', f', {options.activation} here, {own} of its own')


def _print_table(found: Dict[str, Evaluated], options: Dict[str, DiceOptions], remarks: List[str],
                 per_class: bool) -> None:
    print(f'{"preset":20} {"loss":>12} {"|gradient|":>12}  formula')
    for name, each in _sorted(found):
        print(f'{name:20} {np.mean(each.loss):12.6f} {each.gradient_norm:12.3e}  '
              f'{_formula(name, options[name])}')
        if per_class:
            scores = ' '.join(f'{score:.4f}' for score in each.score.mean(axis=0))
            print(f'{"":20} score of each counted class: {scores}')
    for remark in [''] * bool(remarks) + remarks:
        print(remark)


def _print_matches(arguments: argparse.Namespace, matches: List[Match], remarks: List[str]) -> None:
    if arguments.json:
        json.dump({'value': arguments.nearest, 'matches': [match._asdict() for match in matches],
                   'remarks': remarks}, sys.stdout, indent=2)
        print()
        return
    if not matches:
        print(f'No formula searched gives {arguments.nearest}, not even to one decimal.')
    for match in matches:
        settings = ', '.join(f'{field}={value!r}' for field, value in match.changes.items())
        print(f'{match.digits} decimals agree: {match.value:.8f} is {match.said_as} of '
              f'{match.preset}{" with " + settings if settings else ""}')
    for remark in [''] * bool(remarks) + remarks:
        print(remark)


def _finite(value: Any) -> Any:
    """NaN and infinity, which JSON does not have, as null."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _as_json(found: Dict[str, Evaluated], options: Dict[str, DiceOptions], remarks: List[str]
             ) -> Dict[str, Any]:
    return {'presets': {name: {
        'loss': float(np.mean(each.loss)), 'loss_per_sample': each.loss.tolist(),
        'gradient_norm': each.gradient_norm, 'score': each.score.tolist(),
        'formula': _formula(name, options[name]),
        'options': options[name].changes_from()} for name, each in _sorted(found)},
            'remarks': remarks}
