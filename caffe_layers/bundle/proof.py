"""What the one file does when it is run: it proves its gradients, in seconds and without Caffe.

Where Caffe is there, one of its nets is run as well, in a process of its own, as Caffe ends a
process for many a mistake.
"""
import os
import subprocess
import sys
import tempfile
from typing import Any, Dict, List, Sequence, Tuple

import caffe
import numpy as np

from soft_dice.ce_options import DiceCEOptions
from soft_dice.checker.numeric import Point, along, relative_error
from soft_dice.loss import evaluate
from soft_dice.options import DiceOptions, Options
from soft_dice.version import __version__

TOLERANCE, IN_FLOAT32 = 1e-8, 1e-5
ACTIVATIONS = ('softmax', 'sigmoid', 'none')
GENERALISED: Dict[str, Any] = {'pool_classes': True, 'class_weights': 'inverse_square'}
ROWS: List[Tuple[str, Dict[str, Any]]] = [
    ('one_minus', {}),
    ('negative', {'form': 'negative'}),
    ('log', {'form': 'log'}),
    ('log_cosh', {'form': 'log_cosh'}),
    ('one_minus, gamma 2', {'gamma': 2.0}),
    ('Tversky, no background', {'alpha': 0.3, 'beta': 0.7, 'include_background': False}),
    ('Jaccard by l1, squares', {'alpha': 1, 'beta': 1, 'overlap': 'l1', 'exponent': 2}),
    ('generalised, per batch', {'batch_dice': True, **GENERALISED}),
    ('per class, absent skipped', {'class_reduction': 'none', 'absent': 'skip'}),
    ('another size of label', {'resize': 'bilinear'}),
]
CE_ROWS: List[Tuple[str, Dict[str, Any]]] = [
    ('with cross-entropy', {}),
    ('with focal cross-entropy', {'ce_gamma': 2.0, 'label_smoothing': 0.1,
                                  'ce_class_weights': [0.5, 1, 2, 1]}),
]
NET = '''force_backward: true
input: "score"  input_dim: 2  input_dim: 4  input_dim: 5  input_dim: 6
input: "label"  input_dim: 2  input_dim: 1  input_dim: 5  input_dim: 6
layer {
  name: "loss"  type: "Python"  loss_weight: 3
  bottom: "score"  bottom: "label"  top: "loss"
  python_param { module: "%s"  layer: "SoftDiceLossLayer" }
}
'''


def main(module: str, arguments: Sequence[str]) -> int:
    """Exit status 0 where all gradients are right, otherwise 1.

    module : the name that a prototxt has to give.
    arguments : none, or '--version'; '--in-caffe' is what this tells the process of its own.
    """
    if list(arguments) == ['--version']:
        print(f'gluon-dice {__version__}')
        return 0
    if list(arguments) == ['--in-caffe']:
        print(error_in_caffe(module))
        return 0
    print('Is each backward the gradient of its forward?  Relative errors; they must be below '
          f'{TOLERANCE:g}.')
    print(_line('', *ACTIVATIONS))
    errors = [error for row in ROWS for error in _row(*row, DiceOptions, ACTIVATIONS)]
    errors += [error for row in CE_ROWS for error in _row(*row, DiceCEOptions, ACTIVATIONS[:2])]
    good = all(error < TOLERANCE for error in errors)
    said, good_in_caffe = in_caffe(module)
    print(said)
    print(f'{len(errors)} gradients, Python {sys.version.split()[0]}, NumPy {np.__version__}: '
          + ('all is well.' if good and good_in_caffe else 'SOMETHING IS WRONG.'))
    return 0 if good and good_in_caffe else 1


def _row(title: str, fields: Dict[str, Any], kind: Any, activations: Sequence[str]) -> List[float]:
    """Prints a row of the table; returns its errors."""
    errors = [gradient_error(kind, activation, fields) for activation in activations]
    print(_line(title, *(f'{error:.0e}' + ' WRONG' * (not error < TOLERANCE) for error in errors)))
    return errors


def _line(title: str, *cells: str) -> str:
    return (title.ljust(28) + ''.join(cell.ljust(13) for cell in cells)).rstrip()


def gradient_error(kind: Any, activation: str, fields: Dict[str, Any]) -> float:
    """Between a vjp and finite differences along 8 random lines, in float64."""
    rng = np.random.RandomState(0)
    pred, label = example(rng, activation)
    if 'resize' in fields:
        pred = pred[:, :, :3, 1:]
    weight = rng.uniform(0, 2, (2, 5, 6))
    options: Options = kind(activation=activation, sparse_label=activation != 'sigmoid',
                            ignore_label=255, **fields)

    def loss(move: Any) -> Any:
        return evaluate(pred + move, label, options, weight)

    result = loss(0)
    upstream = rng.uniform(0.5, 1.5, result.loss.shape) * -1.5
    lines = rng.choice([-1.0, 1.0], (8,) + pred.shape)
    point = Point(lambda move: float(np.sum(upstream * loss(move).loss)))
    return relative_error(along(result.vjp(upstream), lines), point.stencil(lines, 1e-3))


def example(rng: Any, activation: str) -> Tuple[np.ndarray, np.ndarray]:
    """A prediction and its label, in which some pixels are ignored and a class is rare."""
    pred = rng.uniform(0.05, 0.95, (2, 4, 5, 6))
    if activation != 'none':
        pred = 2 * rng.standard_normal(pred.shape)
    label = rng.randint(0, 3, (2, 5, 6)).astype(float)
    label[0, 0, :3], label[1, 4, 5] = 255, 3
    if activation != 'sigmoid':
        return pred, label
    dense = (rng.uniform(size=pred.shape) < 0.4).astype(float)
    return pred, np.where(label[:, None] == 255, 255, dense)


def in_caffe(module: str) -> Tuple[str, bool]:
    """What is to be said of a net in Caffe, and whether it is good."""
    if caffe is None:
        return 'Caffe cannot be imported by this Python; nothing above needs it.', True
    process = subprocess.Popen(
        [sys.executable, os.path.abspath(__file__), '--in-caffe'], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=dict(os.environ, GLOG_minloglevel='2'))
    output, errors = (each.decode('utf-8', 'replace') for each in process.communicate())
    if process.returncode:
        told = [line for line in errors.splitlines() if line.strip()] or ['nothing was said']
        return ('In Caffe the layer does not run WRONG.  Is it built with WITH_PYTHON_LAYER := 1?  '
                f'It said: {told[-1]}'), False
    error = float(output.split()[-1])
    good = error < IN_FLOAT32
    return (f'In a net of this Caffe, with loss_weight 3: {error:.0e}' + ' WRONG' * (not good),
            good)


def error_in_caffe(module: str) -> float:
    """Of the gradient that a net in Caffe gives."""
    pred, label = example(np.random.RandomState(0), 'softmax')
    label[label == 255] = 0
    with tempfile.NamedTemporaryFile('w', suffix='.prototxt') as file:
        file.write(NET % module)
        file.flush()
        net = caffe.Net(file.name, caffe.TRAIN)
    net.blobs['score'].data[...], net.blobs['label'].data[...] = pred, label[:, None]
    net.forward()
    net.backward()
    wanted = evaluate(pred, label, DiceOptions(), None).vjp(np.array([1.5, 1.5]))
    return relative_error(net.blobs['score'].diff, wanted)
