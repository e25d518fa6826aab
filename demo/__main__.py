"""Train one network in Gluon and in Caffe, and show what came of it.

``python -m demo`` is a U-Net on slices, ``python -m demo --3d`` a V-Net on blocks of the volume;
``python -m demo --distributed`` trains the U-Net by two workers and compares with one process.
"""
import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from soft_dice import hard_dice
from soft_dice.version import add_version

from . import blocks, brain

OUT = Path(__file__).resolve().parent / 'out'
QUICK_STEPS = 4
NEEDED = ('caffe', 'matplotlib', 'mxnet', 'nibabel', 'tqdm')

Predictions = Dict[str, np.ndarray]


def main(arguments: Optional[List[str]] = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        out = options.out or (OUT / '3d' if options.volume else OUT)
        _check_folder(out)
        if options.distributed:
            from . import distributed
            return distributed.demo(out, options.seed,
                                    **({'steps': QUICK_STEPS} if options.quick else {}))
        demo(out, options.seed, options.quick, options.volume)
    except brain.DemoError as error:
        print(f'demo: {error}', file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        print(f'demo: it needs {error.name}, which make env installs: use .runtime/bin/python',
              file=sys.stderr)
        return 2
    return 0


def demo(out: Path, seed: int, quick: bool, volume: bool = False) -> None:
    start = time.time()
    load: Any = blocks.region if volume else brain.load
    train, test = load('train', seed), load('test', seed)
    predictions = {'baseline': brain.histogram_baseline(train, test)}
    _introduce(train, test, predictions['baseline'])

    # Caffe logs each layer of each net, which would break into the progress bar. It reads this
    # once, when it is imported; and that happens only here, so that mistakes are answered quickly.
    os.environ.setdefault('GLOG_minloglevel', '2')
    from . import pictures, training, unet_caffe, unet_gluon, vnet_caffe, vnet_gluon
    on_gluon, on_caffe = (vnet_gluon, vnet_caffe) if volume else (unet_gluon, unet_caffe)
    schedule = training.VNET if volume else training.UNET
    steps = QUICK_STEPS if quick else schedule.steps
    outcomes = {'gluon': on_gluon.train(seed, steps), 'caffe': on_caffe.train(seed, steps, out)}

    predictions.update((name, outcome.prediction) for name, outcome in outcomes.items())
    dice = {name: _dice(prediction, test) for name, prediction in predictions.items()}
    seconds = {name: outcome.seconds for name, outcome in outcomes.items()}
    _print_table(dice, seconds)
    picture = 'planes.png' if volume else 'slices.png'
    draw = pictures.draw_planes if volume else pictures.draw_slices
    draw(out / picture, test, predictions)
    pictures.draw_curves(out / 'curves.png', outcomes, brain.foreground(dice['baseline']),
                         'Test region' if volume else 'Test slices')
    results: Dict[str, Any] = {name: _summary(values) for name, values in dice.items()}
    for name, value in seconds.items():
        results[name]['seconds'] = round(value, 1)
    results.update(seed=seed, steps=steps, seconds=round(time.time() - start, 1))
    (out / 'results.json').write_text(json.dumps(results, indent=2) + '\n')
    print(f'{picture}, curves.png and results.json are in {out}')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m demo', description='Trains one U-Net on brain slices in Gluon and in '
        'Caffe, and compares both with an intensity histogram.')
    add_version(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--3d', action='store_true', dest='volume',
                      help='a V-Net on blocks of the volume, in place of the U-Net on slices')
    what.add_argument('--distributed', action='store_true',
                      help='the U-Net in Gluon by two workers, in place of both frameworks; exit '
                      'status 1 where the curve is not that of one process')
    parser.add_argument('--out', type=Path, metavar='FOLDER',
                        help='where pictures and numbers go (default: demo/out or demo/out/3d)')
    parser.add_argument('--seed', type=_seed, default=0, metavar='N',
                        help='of the bias fields, the noise and the networks (default: 0)')
    parser.add_argument('--quick', action='store_true',
                        help=f'{QUICK_STEPS} steps only: does it run? The networks learn nothing')
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2 ** 31:  # what NumPy, MXNet and Caffe all accept
        raise argparse.ArgumentTypeError(f'must be a whole number in [0, 2^31); got {text!r}')
    return int(text)


def _check_folder(out: Path) -> None:
    """Now rather than after minutes of training."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=str(out)).close()
    except OSError as error:
        raise brain.DemoError(f'cannot write into {out}: {error.strerror}') from error


def _introduce(train: Any, test: Any, prediction: np.ndarray) -> None:
    easy = brain.histogram_baseline(train._replace(image=train.clean),
                                    test._replace(image=test.clean))
    if isinstance(test, brain.Slices):
        print(f'{len(train.z)} slices to train on and {len(test.z)} to test on, '
              f'{_times(brain.SHAPE)} pixels')
    else:
        print(f'{blocks.BLOCKS} blocks of {_times(blocks.BLOCK)} voxels to train on and a region '
              f'of {_times(test.image.shape[2:])} to test on')
    print('Dice of an intensity histogram, mean of grey and white: '
          f'{brain.foreground(_dice(easy, test)):.3f} on the clean images, '
          f'{brain.foreground(_dice(prediction, test)):.3f} with bias field and noise')


def _times(shape: Sequence[int]) -> str:
    return ' x '.join(map(str, shape))


def _print_table(dice: Dict[str, np.ndarray], seconds: Dict[str, float]) -> None:
    columns = {'Dice in Gluon': 'gluon', 'Dice in Caffe': 'caffe', 'histogram': 'baseline'}
    rows = [[name] + [f'{dice[key][c]:.3f}' for key in columns.values()]
            for c, name in enumerate(brain.CLASSES)]
    rows.append(['grey and white'] + [f'{brain.foreground(dice[key]):.3f}'
                                      for key in columns.values()])
    rows.append(['seconds'] + [f'{seconds[key]:.0f}' if key in seconds else ''
                               for key in columns.values()])
    print()
    for name, *cells in [['class', *columns]] + rows:
        print(f'{name:14}' + ''.join(f'{cell:>16}' for cell in cells))
    print()


def _dice(prediction: np.ndarray, test: Any) -> np.ndarray:
    return hard_dice(prediction, test.label, len(brain.CLASSES))


def _summary(dice: np.ndarray) -> Dict[str, Any]:
    return {'dice': {name: float(value) for name, value in zip(brain.CLASSES, dice)},
            'foreground': brain.foreground(dice)}


if __name__ == '__main__':
    sys.exit(main())
