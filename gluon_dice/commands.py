"""What ``python -m gluon_dice`` does, all of it with MXNet."""
import argparse
import json
from typing import Any, Dict

import mxnet as mx

from soft_dice import native as kernels
from soft_dice.arrays import CannotRun
from soft_dice.checker import command
from soft_dice.native.build import BuildError, cached

from . import compat, native
from .checker.subject import GluonLoss
from .checker.target import read
from .gradcheck import findings_of
from .stage_one import Custom, Kernels, Operators, choose

PICTURE = 1024  # elements in it: each takes two calls of some milliseconds


def build(arguments: argparse.Namespace) -> int:
    """Compile the operator for the installed MXNet into the cache."""
    print(native.install(arguments.force))
    return 0


def info(arguments: argparse.Namespace) -> int:
    """Say what computes the sums over pixels and why; status 1 where it is not the kernels."""
    used, over = choose(), kernels.status()
    by_kernels = used.kind is Kernels or used.kind is Custom and over.in_use
    print(f'mxnet     {mx.__version__}, {compat.gpus()} GPUs')
    for sentence in compat.lacking():
        print(f'lacks     {sentence}')
    name = {Kernels: 'the operator over the kernels', Operators: 'F operators',
            Custom: f'a Custom operator over {"the kernels" if over.in_use else "NumPy"}'}
    print(f'in use    {name[used.kind]}')
    print(f'because   {used.reason or over.reason}')
    try:
        print(f'operator  {cached(native.recipe())}')
    except BuildError:  # the reason says so already
        pass
    return int(not by_kernels and kernels.requested() is not False)


def check(arguments: argparse.Namespace) -> int:
    """Is a loss right?  Looks at a gluon Block, HybridBlock or function of (pred, label): gradient,
    hybridizing, head gradient, weight, empty images, shapes; status 1 where it has a defect."""
    command.check_output_arguments(arguments)
    if arguments.pred is None or arguments.label is None:
        raise CannotRun('give the shapes, for example --pred 2,4,9,8 --label 2,9,8')
    example, feed = command.asked(arguments).read()
    given = command.find(arguments.loss)
    try:
        target = read(given, arguments.kwargs, arguments.loss)
    except (TypeError, ValueError) as error:
        raise CannotRun(str(error)) from None
    target.feed = feed
    with command.watch(arguments) as watch, GluonLoss(target, example, watch=watch) as loss:
        findings = findings_of(loss, example, arguments.seed, command.given(arguments))
        picture = command.picture(arguments, loss, example, findings, PICTURE)
    return command.emit(arguments, findings, picture, target.name, [
        f'Read as {target.assumed}.', f'Computed in {loss.dtype}.', f'Seed {arguments.seed}.',
        command.versions(mx)])


def _kwargs(text: str) -> Dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'not JSON: {error}') from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'must be a JSON object, for example \'{{"axis": 1}}\'; '
                                         f'got {text}')
    return value


def _add_check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('loss', metavar='module:Class', help='or an instance, or a function of '
                        '(F, pred, label) or of (pred, label)')
    parser.add_argument('--kwargs', type=_kwargs, metavar='JSON', help='arguments of the class')
    command.add_input_arguments(parser)
    command.add_output_arguments(parser)


def add_commands(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    each = commands.add_parser('build', help='compile the operator', description=build.__doc__)
    each.add_argument('--force', action='store_true', help='even if it is there')
    each.set_defaults(run=build)
    commands.add_parser('info', help='what is in use and why',
                        description=info.__doc__).set_defaults(run=info)
    each = commands.add_parser('check', help='is a loss right? of anybody, not only ours',
                               description=check.__doc__)
    _add_check_arguments(each)
    each.set_defaults(run=check)
