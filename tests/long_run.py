"""Thousands of steps of changing batch and image sizes: does memory stay flat, and does what the
kernels compute stay what the reference computes?

    make long-run

It stands beside the tests and not in benchmarks/, as it measures no speed, and asks the tests' own
backends and tolerances.  Each subject has a process of its own, so that it shows who grows.  Exit
status 0; 1 where memory grows or a difference is too large; 2 where it could not run.
"""
import argparse
import gc
import json
import os
import sys
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

os.environ.setdefault('GLOG_minloglevel', '2')  # Caffe prints every layer it makes otherwise

import mxnet as mx  # noqa: E402
import numpy as np  # noqa: E402
from backends import loss_net  # noqa: E402
from benchmarks.worker import resident  # noqa: E402
from cases import IGNORE, Arrays  # noqa: E402
from families import FAMILIES, Evaluated, reference, with_native  # noqa: E402
from on_gluon import differentiate, in_mode, ndarray  # noqa: E402
from releases import STATIC  # noqa: E402
from tolerances import TOLERANCE  # noqa: E402

from gluon_dice import native as operator  # noqa: E402
from soft_dice import DiceCEOptions, DiceOptions  # noqa: E402
from soft_dice import native as kernels  # noqa: E402
from soft_dice.arrays import CannotRun  # noqa: E402
from soft_dice.gradcheck import relative_error  # noqa: E402
from soft_dice.options import Options  # noqa: E402

CLASSES = 4
CHANNELS = 3
MEGABYTE = 1 << 20
Step = Callable[[Arrays], Evaluated]


class Subject(NamedTuple):
    """make : gives a step, from arrays to the loss (N,), or its mean, and the gradient.
    setting : of SOFT_DICE_NATIVE.
    """

    make: Callable[[Options], Step]
    options: Options
    setting: str


class Plan(NamedTuple):
    """steps : of each subject.
    marks : how many lines are printed, and how often memory is looked at, in the steps.
    every : how many steps there are from one that is compared with the reference to the next.
    shapes : how many there are, all seen before the first mark; 0 for any of 4,356.
    memory : how many MB may be added after the first mark.
    """

    steps: int = 10000
    marks: int = 10
    every: int = 20
    shapes: int = 50
    memory: float = 4.0


class Mark(NamedTuple):
    """memory : resident, in MB.
    loss, gradient : the largest relative error since the last mark.
    """

    step: int
    memory: float
    loss: float
    gradient: float
    seconds: float


# --- subjects -------------------------------------------------------------------------------------

class Network(mx.gluon.HybridBlock):
    """A convolution and the loss in one graph; the score's gradient is that of ``offset``."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        with self.name_scope():
            self.convolution = mx.gluon.nn.Conv2D(CLASSES, 3, padding=1, in_channels=CHANNELS)
            self.loss = FAMILIES[type(options)].block(options)

    def hybrid_forward(self, F: Any, offset: Any, image: Any, label: Any) -> Any:
        score = self.convolution(image) + offset
        return self.loss(score, label), F.BlockGrad(score)


class Trained:
    """A network that learns at every step; the arrays' prediction is made its score."""

    def __init__(self, options: Options) -> None:
        mx.random.seed(0)
        self.rng = np.random.RandomState(1)
        self.net = Network(options)
        self.net.initialize(mx.init.Xavier())
        self.net.hybridize(**STATIC)
        self.trainer = mx.gluon.Trainer(self.net.collect_params(), 'sgd', {'learning_rate': 0.1})

    def __call__(self, arrays: Arrays) -> Evaluated:
        samples, _, *space = arrays.pred.shape
        image = self.rng.standard_normal((samples, CHANNELS, *space)).astype('float32')
        offset = ndarray(arrays.pred)
        offset.attach_grad()
        with mx.autograd.record():
            value, score = self.net(offset, ndarray(image), ndarray(arrays.label))
        value.backward(ndarray(arrays.upstream.astype('float32')))
        arrays.pred[...] = score.asnumpy()  # that the reference is to take
        self.trainer.step(1)
        return value.asnumpy(), offset.grad.asnumpy()


def gluon(mode: str) -> Callable[[Options], Step]:
    def make(options: Options) -> Step:
        loss = in_mode(mode, options)
        return lambda arrays: differentiate(loss, arrays)
    return make


def caffe_net(options: Options) -> Step:
    """One net, reshaped for every step."""
    family = FAMILIES[type(options)]
    net = loss_net(arrays_of((1, CLASSES, 8, 8), np.random.RandomState(0)), options.to_json(),
                   layer=family.layer)

    def step(arrays: Arrays) -> Evaluated:
        for name, array in (('pred', arrays.pred), ('label', arrays.label)):
            net.blobs[name].reshape(*array.shape)
            net.blobs[name].data[...] = array
        net.reshape()
        net.forward()
        net.backward()
        return net.blobs['loss'].data.copy(), net.blobs['pred'].diff.copy()

    return step


DICE, DICE_CE = DiceOptions(ignore_label=IGNORE), DiceCEOptions(ignore_label=IGNORE)
SUBJECTS: Dict[str, Subject] = {
    'gluon network': Subject(Trained, DICE, '1'),
    'gluon hybridized': Subject(gluon('hybridized'), DICE_CE, '1'),
    'gluon imperative': Subject(gluon('imperative'), DICE, '1'),
    'gluon operators': Subject(gluon('hybridized'), DICE, '0'),
    'caffe dice': Subject(caffe_net, DICE, '1'),
    'caffe dice ce': Subject(caffe_net, DICE_CE, '1'),
}


# --- a run ----------------------------------------------------------------------------------------

def arrays_of(shape: Tuple[int, ...], rng: np.random.RandomState) -> Arrays:
    """A batch, a tenth of it ignored, and the gradient of the mean of its losses."""
    label = rng.randint(0, shape[1], shape[:1] + shape[2:])
    label[rng.uniform(size=label.shape) < 0.1] = IGNORE
    return Arrays(rng.standard_normal(shape).astype('float32'), label.astype('float32'), None,
                  np.full(shape[0], 1 / shape[0]))


def any_shape(rng: np.random.RandomState) -> Tuple[int, ...]:
    return (rng.randint(1, 5), CLASSES, rng.randint(8, 41), rng.randint(8, 41))


def run(name: str, subject: Subject, plan: Plan, print_mark: Callable[[str, Mark], None]
        ) -> List[Mark]:
    """Make the steps in this process."""
    os.environ[kernels.VARIABLE] = subject.setting
    rng = np.random.RandomState(0)
    known = [any_shape(rng) for _ in range(plan.shapes)]
    step = subject.make(subject.options)
    truth = with_native('0', reference)
    marks: List[Mark] = []
    loss = gradient = 0.0
    start = time.monotonic()
    for number in range(1, plan.steps + 1):
        if known:
            shape = known[(number if number <= plan.shapes else rng.randint(plan.shapes))
                          % plan.shapes]
        else:
            shape = any_shape(rng)
        arrays = arrays_of(shape, rng)
        found = step(arrays)
        if number % plan.every == 0:
            wide = arrays._replace(pred=arrays.pred.astype('float64'))
            expected, expected_gradient = truth(wide, subject.options)
            # A maximum over NaN must be NaN, and Python's is not.
            loss = np.maximum(loss, relative_error(found[0].mean(), expected.mean()))
            gradient = np.maximum(gradient, relative_error(found[1], expected_gradient))
        if number % (plan.steps // plan.marks) == 0:
            gc.collect()
            marks.append(Mark(number, resident() / MEGABYTE, float(loss), float(gradient),
                              time.monotonic() - start))
            print_mark(name, marks[-1])
            loss = gradient = 0.0
    return marks


def growth(marks: List[Mark]) -> float:
    """MB that came after the first mark, at most."""
    return max(each.memory for each in marks) - marks[0].memory


def finding(name: str, marks: List[Mark], plan: Plan) -> Optional[str]:
    """What is wrong, in a sentence."""
    loss = float(np.max([each.loss for each in marks]))
    gradient = float(np.max([each.gradient for each in marks]))
    if not growth(marks) <= plan.memory:
        return (f'{name}: memory grew by {growth(marks):.1f} MB after step {marks[0].step}; '
                f'{plan.memory:g} MB are allowed')
    for what, error, allowed in (('loss', loss, TOLERANCE['loss, float32']),
                                 ('gradient', gradient, TOLERANCE['gradient, float32'])):
        if not error <= allowed:
            return f'{name}: the {what} differs from the reference by {error:.1e}, not {allowed:g}'
    return None


def print_line(name: str, mark: Mark) -> None:
    print(f'{name:<17} step {mark.step:6}  memory {mark.memory:7.1f} MB  largest difference: loss '
          f'{mark.loss:.1e}, gradient {mark.gradient:.1e}  {mark.seconds:5.0f} s', flush=True)


def run_alone(name: str, plan: Plan) -> List[Mark]:
    """Make the steps in a process of their own.

    Raises
    ------
    CannotRun : it ended before they were made.
    """
    spawn = get_context('spawn')
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_send_marks, args=(theirs, name, plan), daemon=True)
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        process.join()
        raise CannotRun(f'{name} ended with exit status {process.exitcode}') from None


def _send_marks(connection: Connection, name: str, plan: Plan) -> None:
    connection.send(run(name, SUBJECTS[name], plan, print_line))


# --- the command ----------------------------------------------------------------------------------

def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'must be a whole number above 0; got {text}')
    return number


def parse(arguments: Optional[List[str]]) -> Tuple[argparse.Namespace, Plan]:
    parser = argparse.ArgumentParser(prog='long_run')
    parser.add_argument('--steps', type=positive, default=Plan().steps)
    parser.add_argument('--shapes', type=int, default=Plan().shapes,
                        help='how many there are; 0 for any (default %(default)s)')
    parser.add_argument('--memory', type=float, default=Plan().memory, metavar='MB',
                        help='what may be added after the first tenth (default %(default)s)')
    parser.add_argument('--only', action='append', choices=list(SUBJECTS), metavar='SUBJECT',
                        help=f'one of {", ".join(SUBJECTS)}; may be given several times')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures here')
    chosen = parser.parse_args(arguments)
    plan = Plan(steps=chosen.steps, shapes=chosen.shapes, memory=chosen.memory)
    if plan.steps % plan.marks or plan.shapes < 0 or plan.shapes > plan.steps // plan.marks:
        parser.error(f'--steps must be a multiple of {plan.marks}, and a tenth of it at least '
                     f'--shapes, for example --steps 1000; got {plan.steps} and {plan.shapes}')
    return chosen, plan


def main(arguments: Optional[List[str]] = None) -> int:
    chosen, plan = parse(arguments)
    reason = operator.unavailable()
    if reason:
        print(f'long_run: there are no kernels to compare: {reason}', file=sys.stderr)
        return 2
    found: Dict[str, List[Mark]] = {}
    for name in chosen.only or SUBJECTS:
        try:
            found[name] = run_alone(name, plan)
        except CannotRun as error:
            print(f'long_run: {error}', file=sys.stderr)
            return 2
    wrong = {name: finding(name, marks, plan) for name, marks in found.items()}
    if chosen.json:
        subjects: Any = {name: dict(growth=growth(marks), finding=wrong[name],
                                    marks=[mark._asdict() for mark in marks])
                         for name, marks in found.items()}
        chosen.json.write_text(json.dumps(dict(plan=plan._asdict(), subjects=subjects), indent=1))
    for name, marks in found.items():
        print(wrong[name] or f'{name}: flat, {growth(marks):+.1f} MB after step {marks[0].step}')
    return 1 if any(wrong.values()) else 0


if __name__ == '__main__':
    sys.exit(main())
