"""`python -m soft_dice weights`: class weights from labels, to paste into a loss."""
import argparse
import json
import sys
from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np

from . import arrays, labels
from .arrays import CannotRun
from .frequencies import (METHODS, ClassFrequencies, class_frequencies, class_weights, settings,
                          shown)
from .labels import Reading, Seen

DIGITS = 6
FAR_APART = 100  # weights of such a ratio deserve a word
EDGES = 0.9  # of the pixels are 0 or 255 in a mask with soft edges
FOR_WHAT = ('ce_class_weights is for the cross-entropy of DiceCELoss, in which a frequent class '
            'outweighs the others; class_weights is for the Dice of either loss, in which all '
            'classes count alike already and rare ones then count more.')


class Labels(NamedTuple):
    """The labels of all files.

    images : what was seen in each file, after its name.
    forms : what the files are.
    reading : what their labels were recognised as.
    """

    images: List[Tuple[str, List[Seen]]]
    forms: List[str]
    reading: Reading

    @property
    def sentence(self) -> str:
        files = f'{len(self.images)} file{"s" * (len(self.images) > 1)}'
        return f'Recognised in {files} ({", ".join(self.forms)}): {self.reading.sentence}.'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('labels', nargs='+', metavar='LABELS',
                        help='labels of an image each: .npy, .npz:name, .h5:name, .png, .tif, '
                             '.nii.gz, .mgz, .nrrd')
    parser.add_argument('--kind', choices=labels.KINDS,
                        help='what the labels hold: class numbers, 0 and one other value, or a '
                             'channel per class; by default told from all values')
    parser.add_argument('--axis', type=int, metavar='A',
                        help='of the channels, with --kind channels')
    parser.add_argument('--classes', type=int, metavar='N', help='default: up to the largest label')
    parser.add_argument('--ignore-label', type=int, metavar='I')
    parser.add_argument('--method', choices=METHODS, default='median_frequency',
                        help='default median_frequency')
    parser.add_argument('--effective-beta', type=float, metavar='B',
                        help='of effective_number; default 1 - 1 / (mean pixels of a class)')
    parser.add_argument('--clip', type=float, metavar='R',
                        help='no weight is more than R times the smallest')
    parser.add_argument('--batched', action='store_true',
                        help='the first axis of each array holds images')
    parser.add_argument('--json', action='store_true', help='machine-readable')


def run(arguments: argparse.Namespace) -> int:
    if arguments.axis is not None and arguments.kind != 'channels':
        raise CannotRun('--axis is that of channels: give --kind channels with it')
    settings(arguments.classes, arguments.ignore_label)
    seen = _look(arguments)
    found = _count(seen, arguments)
    weights = class_weights(found, arguments.method, arguments.effective_beta, arguments.clip)
    if arguments.classes is None and seen.reading.kind == 'index':
        refuse_gaps(found)
    keywords = _keywords(weights, seen.reading, arguments)
    remarks = describe(found, weights, seen.reading, from_data=arguments.classes is None)
    if arguments.json:
        json.dump(_as_json(arguments, found, weights, seen, keywords, remarks), sys.stdout,
                  indent=2)
        print()
    else:
        _print_table(found, weights, seen, keywords, remarks)
    return 0


def refuse_gaps(found: ClassFrequencies) -> None:
    """Numbers far apart are no class numbers: a label to ignore, a foreground, grey levels.

    Raises
    ------
    CannotRun : there are more gaps than classes; with what may be meant.
    """
    present = np.flatnonzero(found.pixels)
    last, gaps = present[-1], len(found.pixels) - len(present)
    if last == 255 and len(present) > 2 and (present[:-1] > 127).any() \
            and found.pixels[[0, 255]].sum() > EDGES * found.pixels.sum():
        raise CannotRun(f'the labels are 0 and 255 but for a few pixels of {len(present) - 2} '
                        'numbers between them, as of a mask with soft edges or out of a JPEG: make '
                        'it hard first, for example label > 127')
    if gaps <= len(present):
        return
    if len(present) == 2 and present[0] == 0:
        raise CannotRun(f'the labels are 0 and {last}: if {last} is the foreground, give --kind '
                        f'mask; if it is a class, --classes {last + 1}; if it is no class, '
                        f'--ignore-label {last}')
    others = present[:-1]
    if not len(others) or others[-1] + 1 - len(others) <= len(others):
        raise CannotRun(f'the largest label is {last}, but no pixel is of {gaps} of the classes '
                        f'below it: if {last} is no class, give --ignore-label {last}; if it is, '
                        f'--classes {last + 1}')
    raise CannotRun(f'the labels are {_listed(present)}, as grey levels or codes are: turn them '
                    'into class numbers without gaps first, for example with numpy.searchsorted; '
                    f'if they are class numbers, give --classes {last + 1}')


def describe(found: ClassFrequencies, weights: np.ndarray, reading: Reading, from_data: bool
             ) -> List[str]:
    """What in the numbers may be a mistake, in words."""
    remarks = []
    if reading.full > 1:
        remarks.append('The losses take labels of 0 and 1, as `label > 0` makes them of these.')
    present, absent = np.flatnonzero(found.pixels), np.flatnonzero(found.pixels == 0)
    if len(present) == 1:
        remarks.append(f'Every pixel that counts is of class {present[0]}.')
    if len(absent):
        several = len(absent) > 1
        remarks.append(f'No pixel is of class{"es" * several} {_listed(absent)}; '
                       f'{"they get" if several else "it gets"} the largest weight.')
        if from_data and reading.kind == 'index':
            last = len(found.pixels) - 1
            remarks.append(f'If {last} is no class, give --ignore-label {last}.')
    ratio = weights.max() / weights.min()
    shown_ratio = f'{ratio:,.0f}' if ratio > FAR_APART else f'{ratio:.3g}'
    remarks.append(f'The largest weight is {shown_ratio} times the smallest.')
    if ratio > FAR_APART:
        remarks[-1] += ('  Then a few pixels, which may be labelled wrongly, rule the loss: '
                        f'--clip {FAR_APART} limits that.')
    if len(present) > 1 and np.ptp(weights) < 1e-6:
        remarks.append('All weights are alike. With effective_number, effective_beta must be near '
                       '1 - 1 / (pixels of a class) to tell classes apart.')
    return remarks


def _listed(numbers: np.ndarray) -> str:
    named = [str(number) for number in numbers]
    return ', '.join(named if len(named) <= 8 else [*named[:4], '...', named[-1]])


def _look(arguments: argparse.Namespace) -> Labels:
    """At every file, once."""
    images: List[Tuple[str, List[Seen]]] = []
    forms = set()
    for name in shown(arguments.labels, progress=True):
        label, form = arrays.load(name)
        forms.add(form)
        axes = label.ndim - arguments.batched
        if label.size == 0 or axes < 1:
            raise CannotRun(f'{name} must have a pixel, and an axis of images for --batched; it '
                            f'has shape {label.shape}')
        if arguments.axis is not None and not -axes <= arguments.axis < axes:
            raise CannotRun(f'--axis must be an axis of {name}, in [-{axes}, {axes}); got '
                            f'{arguments.axis}')
        images.append((name, [labels.look(image, arguments.axis)
                              for image in (label if arguments.batched else [label])]))
    try:
        reading = labels.recognise([each for _, seen in images for each in seen],
                                   arguments.classes, arguments.ignore_label, arguments.kind)
    except ValueError as error:
        raise CannotRun(str(error)) from None
    return Labels(images, sorted(forms), reading)


def _count(seen: Labels, arguments: argparse.Namespace) -> ClassFrequencies:
    classes, ignored = arguments.classes, arguments.ignore_label
    parts = []
    for name, images in seen.images:
        if seen.reading.kind != 'index' or all(
                labels.are_class_numbers(each, classes, ignored) for each in images):
            parts += [labels.count(each, seen.reading, classes, ignored) for each in images]
            continue
        try:  # which says where the label is that is no class
            parts.append(class_frequencies([labels.rounded(arrays.load(name).array)], classes,
                                           ignored, batched=arguments.batched))
        except ValueError as error:
            raise CannotRun(f'{name}: {error}') from None
    return sum(parts[1:], parts[0])


def _keywords(weights: np.ndarray, reading: Reading, arguments: argparse.Namespace
              ) -> Dict[str, Dict[str, Any]]:
    """Options to paste, for each of the two terms of a loss."""
    others: Dict[str, Any] = {}
    if arguments.ignore_label is not None:
        others['ignore_label'] = arguments.ignore_label
    if reading.kind == 'channels':
        others['sparse_label'] = False
    shortened = [float(f'{weight:.{DIGITS}g}') for weight in weights]
    return {name: {name: shortened, **others} for name in ('ce_class_weights', 'class_weights')}


def _print_table(found: ClassFrequencies, weights: np.ndarray, seen: Labels,
                 keywords: Dict[str, Dict[str, Any]], remarks: List[str]) -> None:
    counted = found.pixels.sum()
    decimals = '.0f' if counted.dtype.kind == 'i' else '.1f'
    print(seen.sentence)
    print(f'{"class":>5} {"pixels":>14} {"share":>10} {"weight":>12}')
    for index, (pixels, weight) in enumerate(zip(found.pixels, weights)):
        print(f'{index:5} {pixels:14{decimals}} {pixels / counted:10.4%} {weight:12.{DIGITS}g}')
    ignored = f', {found.ignored} ignored' if found.ignored else ''
    print(f'{found.images} image{"s" * (found.images != 1)}, {counted:{decimals}} pixels counted'
          + ignored)
    for remark in remarks:
        print(remark)
    for name, title in (('ce_class_weights', 'Cross-entropy'), ('class_weights', 'Dice')):
        print(f"\n{title}\n  Caffe:   param_str: '{json.dumps(keywords[name])}'")
        print('  Python:  ' + ', '.join(f'{key}={each!r}' for key, each in keywords[name].items()))
    print(f'\n{FOR_WHAT}')


def _as_json(arguments: argparse.Namespace, found: ClassFrequencies, weights: np.ndarray,
             seen: Labels, keywords: Dict[str, Dict[str, Any]], remarks: List[str]
             ) -> Dict[str, Any]:
    counted = found.pixels.sum()
    dice, entropy = keywords['class_weights'], keywords['ce_class_weights']
    return {'recognised': seen.reading.kind, 'sentence': seen.sentence,
            'classes': [{'class': index, 'pixels': pixels.item(), 'share': float(pixels / counted),
                         'weight': float(weight)}
                        for index, (pixels, weight) in enumerate(zip(found.pixels, weights))],
            'images': found.images, 'pixels': counted.item(), 'ignored': found.ignored,
            'method': arguments.method, 'ratio': float(weights.max() / weights.min()),
            'param_str': json.dumps(dice), 'keywords': dice,
            'ce_param_str': json.dumps(entropy), 'ce_keywords': entropy, 'remarks': remarks}
