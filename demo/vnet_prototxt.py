"""Writes the files of prototxt_examples/vnet_3d/: python -m demo.vnet_prototxt

By hand the layers of the network would have to be written, and changed, twice.
"""
import json
from pathlib import Path
from typing import Dict, List, Sequence

from . import blocks, brain
from .training import VNET

FOLDER = Path(__file__).resolve().parent.parent / 'prototxt_examples' / 'vnet_3d'
WIDTHS = (8, 16, 32)  # channels of each level
MOVING_AVERAGE = 0.9  # how much of the mean and variance before it a step leaves, as in Gluon

TRAIN = '''\
# A small V-Net that finds grey and white matter in blocks of a brain. From the repository's root:
#
#   .runtime/bin/caffe train -solver prototxt_examples/vnet_3d/solver.prototxt
#
# The first two layers read the blocks (demo/brain_layer.py), the last is the loss; between them is
# the network of deploy.prototxt, layer by layer. Convolution, Deconvolution, BatchNorm, Scale,
# ReLU, Eltwise and Tile take volumes as they take images; Pooling does not, and strided
# convolutions halve the volume instead. `python -m demo.vnet_prototxt` writes this file.
name: "vnet_3d"'''

DEPLOY = '''\
# The network of train.prototxt by itself: a volume in, the probability of each voxel's classes out.
# Its sides can be any multiple of 4. `python -m demo.vnet_prototxt` writes this file.
name: "vnet_3d"'''

LOSS = '''
# "exponent": 2 is V-Net's squared denominator; "log" keeps a gradient for a class that the network
# has lost; "skip" leaves out a class that a batch has no voxel of, "smooth" calms one that has few
# there; "batch_dice" counts over the whole batch.
# loss_weight is not optional: without it Caffe never calls a Python layer's backward.'''

SOLVER = '''\
# Paths are relative to the folder in which caffe runs: the root of the repository.
# `python -m demo.vnet_prototxt` writes this file.
net: "prototxt_examples/vnet_3d/train.prototxt"
type: "Adam"
base_lr: {schedule.learning_rate}
momentum: 0.9
momentum2: 0.999
lr_policy: "poly"    # base_lr (1 - iteration / max_iter)^power
power: {schedule.power}
max_iter: {schedule.steps}
test_iter: 1         # one batch holds all windows of the test region
test_interval: {schedule.test_every}
display: 20
average_loss: 20
snapshot_prefix: "prototxt_examples/vnet_3d/vnet_3d"
random_seed: 0
solver_mode: CPU
'''


def files() -> Dict[str, str]:
    """Name and text of each file."""
    return {'train.prototxt': _lines(TRAIN, *_data(), *_network(), LOSS, _loss()),
            'deploy.prototxt': _lines(DEPLOY, _input(), *_network(),
                                      '\n' + _layer('probability', 'Softmax', 'score')),
            'solver.prototxt': SOLVER.format(schedule=VNET)}


def _lines(*lines: str) -> str:
    return '\n'.join(lines) + '\n'


def _layer(name: str, kind: str, *bottoms: str, top: str = '', more: str = '') -> str:
    text = f'layer {{ name: "{name}"  type: "{kind}"'
    text += ''.join(f'  bottom: "{bottom}"' for bottom in bottoms)
    return f'{text}  top: "{top or name}"{more} }}'


def _python(module: str, name: str, options: Dict[str, object]) -> str:
    return (f'\n  python_param {{ module: "{module}"  layer: "{name}"\n'
            f"                 param_str: '{json.dumps(options)}' }}")


def _data() -> List[str]:
    sizes = {'train': VNET.batch_size, 'test': len(blocks.windows())}
    return [_layer('blocks', 'Python', top='image"  top: "label',
                   more=f'  include {{ phase: {part.upper()} }}' + _python(
                       'demo.brain_layer', 'BrainBlocksLayer',
                       {'part': part, 'batch_size': size, 'seed': 0}))
            for part, size in sizes.items()]


def _input() -> str:
    size = '  '.join(f'dim: {n}' for n in (1, 1) + blocks.WINDOW)
    return _layer('image', 'Input', more=f'\n  input_param {{ shape {{ {size} }} }}')


def _loss() -> str:
    default = type(VNET.loss)().to_dict()
    changed = {name: value for name, value in VNET.loss.to_dict().items() if value != default[name]}
    return _layer('loss', 'Python', 'score', 'label', more='  loss_weight: 1' + _python(
        'caffe_layers', 'SoftDiceLossLayer', changed))


def _network(widths: Sequence[int] = WIDTHS) -> List[str]:
    """The layers from "image" to "score"."""
    lines, x = [], 'image'
    for level, channels in enumerate(widths, start=1):
        lines.append(f'\n# Left {level}: {channels} channels, a convolution and a way around it')
        if level == 1:
            around = 'tiles'
            lines.append(_layer(around, 'Tile', x, more=f'  tile_param {{ tiles: {channels} }}'))
        else:
            lines += _filters(f'down{level - 1}', x, channels, size=2) + [_relu(f'down{level - 1}')]
            x = around = f'down{level - 1}'
        lines += _residual(f'left{level}', x, around, channels)
        x = f'left{level}_sum'
    for level, channels in reversed(list(enumerate(widths[:-1], start=1))):
        lines.append(f'\n# Right {level}: {channels} channels from below, added to left {level}')
        lines += _filters(f'up{level}', x, channels, size=2, kind='Deconvolution')
        x = f'join{level}'
        lines += [_relu(f'up{level}'), _layer(x, 'Eltwise', f'left{level}_sum', f'up{level}')]
        lines += _residual(f'right{level}', x, x, channels)
        x = f'right{level}_sum'
    return lines + ['\n# One score per class and voxel',
                    _convolution('score', x, len(brain.CLASSES), 'kernel_size: 1')]


def _residual(name: str, bottom: str, around: str, channels: int) -> List[str]:
    total = f'{name}_sum'
    return _filters(name, bottom, channels) + [_layer(total, 'Eltwise', name, around), _relu(total)]


def _filters(name: str, bottom: str, channels: int, size: int = 3, kind: str = 'Convolution'
             ) -> List[str]:
    steps = 'kernel_size: 2  stride: 2' if size == 2 else 'kernel_size: 3  pad: 1'
    return [_convolution(name, bottom, channels, f'{steps}  bias_term: false', kind),
            _layer(f'{name}_norm', 'BatchNorm', name, top=name, more='\n  batch_norm_param '
                   f'{{ moving_average_fraction: {MOVING_AVERAGE} }}'),
            _layer(f'{name}_scale', 'Scale', name, top=name,
                   more='  scale_param { bias_term: true }')]


def _convolution(name: str, bottom: str, channels: int, settings: str, kind: str = 'Convolution'
                 ) -> str:
    return _layer(name, kind, bottom, more='\n  convolution_param '
                  f'{{ num_output: {channels}  {settings}  '
                  'weight_filler { type: "msra" } }')


def _relu(name: str) -> str:
    return _layer(f'{name}_relu', 'ReLU', name, top=name)


if __name__ == '__main__':
    FOLDER.mkdir(exist_ok=True)
    for file, content in files().items():
        (FOLDER / file).write_text(content)
