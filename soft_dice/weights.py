"""`python -m soft_dice weights`: class weights from labels, to paste into a loss."""
import argparse
import json
import sys
from typing import Any, Dict, List

import numpy as np

from . import arrays
from .arrays import CannotRun
from .frequencies import METHODS, ClassFrequencies, class_frequencies, class_weights, shown

DIGITS = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('labels', nargs='+', metavar='LABELS',
                        help='class indices of an image each: .npy, .npz, .npz:name, .nii.gz')
    parser.add_argument('--classes', type=int, metavar='N', help='default: up to the largest label')
    parser.add_argument('--ignore-label', type=int, metavar='I')
    parser.add_argument('--method', choices=METHODS, default='median_frequency',
                        help='default median_frequency')
    parser.add_argument('--effective-beta', type=float, metavar='B',
                        help='of effective_number; default 1 - 1 / (mean pixels of a class)')
    parser.add_argument('--batched', action='store_true',
                        help='the first axis of each array holds images')
    parser.add_argument('--json', action='store_true', help='machine-readable')


def run(arguments: argparse.Namespace) -> int:
    found = _count(arguments)
    weights = class_weights(found, arguments.method, arguments.effective_beta)
    if arguments.classes is None:
        _refuse_lone_label(found)
    keywords: Dict[str, Any] = {'class_weights': [float(f'{w:.{DIGITS}g}') for w in weights]}
    if arguments.ignore_label is not None:
        keywords['ignore_label'] = arguments.ignore_label
    remarks = describe(found, weights, from_data=arguments.classes is None)
    if arguments.json:
        json.dump(_as_json(arguments, found, weights, keywords, remarks), sys.stdout, indent=2)
        print()
    else:
        _print_table(found, weights, keywords, remarks)
    return 0


def _refuse_lone_label(found: ClassFrequencies) -> None:
    """A largest label far from all others is one to ignore, not the last of hundreds of classes."""
    present = np.flatnonzero(found.pixels)
    absent = len(found.pixels) - len(present)
    if absent > len(present):
        last = present[-1]
        raise CannotRun(f'the largest label is {last}, but no pixel is of {absent} of the classes '
                        f'below it: if {last} is no class, give --ignore-label {last}; if it is, '
                        f'--classes {last + 1}')


def describe(found: ClassFrequencies, weights: np.ndarray, from_data: bool) -> List[str]:
    """What in the numbers may be a mistake, in words."""
    remarks = []
    absent = [str(index) for index in np.flatnonzero(found.pixels == 0)]
    if absent:
        several = len(absent) > 1
        named = ', '.join(absent if len(absent) <= 8 else [*absent[:4], '...', absent[-1]])
        remarks.append(f'No pixel is of class{"es" * several} {named}; '
                       f'{"they get" if several else "it gets"} the largest weight.')
        if from_data:
            last = len(found.pixels) - 1
            remarks.append(f'If {last} is no class, give --ignore-label {last}.')
    if (found.pixels > 0).sum() > 1 and np.ptp(weights) < 1e-6:
        remarks.append('All weights are alike. With effective_number, effective_beta must be near '
                       '1 - 1 / (pixels of a class) to tell classes apart.')
    return remarks


def _count(arguments: argparse.Namespace) -> ClassFrequencies:
    """File by file, so that a mistake can be told with its file."""
    parts = []
    for name in shown(arguments.labels, progress=True):
        label = arrays.load(name)
        try:
            parts.append(class_frequencies([label], arguments.classes, arguments.ignore_label,
                                           batched=arguments.batched))
        except (ValueError, TypeError) as error:
            raise CannotRun(f'{name}: {error}') from None
    return sum(parts[1:], parts[0])


def _print_table(found: ClassFrequencies, weights: np.ndarray, keywords: Dict[str, Any],
                 remarks: List[str]) -> None:
    counted = found.pixels.sum()
    print(f'{"class":>5} {"pixels":>14} {"share":>10} {"weight":>12}')
    for index, (pixels, weight) in enumerate(zip(found.pixels, weights)):
        print(f'{index:5} {pixels:14} {pixels / counted:10.4%} {weight:12.{DIGITS}g}')
    ignored = f', {found.ignored} ignored' if found.ignored else ''
    print(f'{found.images} image{"s" * (found.images != 1)}, {counted} pixels counted{ignored}')
    for remark in remarks:
        print(remark)
    print(f"\nCaffe:   param_str: '{json.dumps(keywords)}'")
    print('Python:  ' + ', '.join(f'{name}={value!r}' for name, value in keywords.items()))


def _as_json(arguments: argparse.Namespace, found: ClassFrequencies, weights: np.ndarray,
             keywords: Dict[str, Any], remarks: List[str]) -> Dict[str, Any]:
    counted = int(found.pixels.sum())
    return {'classes': [{'class': index, 'pixels': int(pixels), 'share': int(pixels) / counted,
                         'weight': float(weight)}
                        for index, (pixels, weight) in enumerate(zip(found.pixels, weights))],
            'images': found.images, 'pixels': counted, 'ignored': found.ignored,
            'method': arguments.method, 'param_str': json.dumps(keywords), 'keywords': keywords,
            'remarks': remarks}
