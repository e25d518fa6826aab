"""python -m gluon_dice COMMAND: exit status 0, 1 for a finding, 2 where it could not run."""
import argparse
import contextlib
import difflib
import importlib
import json
import os
import sys
from typing import Any, Dict, List, Optional, Tuple

import mxnet as mx

from soft_dice import native as kernels
from soft_dice.arrays import CannotRun
from soft_dice.checker import report
from soft_dice.checker.subject import INPUTS
from soft_dice.native.build import BuildError, cached

from . import native
from .gradcheck import LABEL_KINDS, example_of, full_report
from .target import read


def build(arguments: argparse.Namespace) -> int:
    """Compile the operator for the installed MXNet into the cache."""
    print(native.install(arguments.force))
    return 0


def info(arguments: argparse.Namespace) -> int:
    """Say what computes the sums over pixels and why; status 1 where it is not the kernels."""
    requested = kernels.requested()
    reason = f'{kernels.VARIABLE}=0' if requested is False else native.unavailable()
    print(f'mxnet     {mx.__version__}, {mx.context.num_gpus()} GPUs')
    print(f'in use    {"F operators" if reason else "the operator over the kernels"}')
    print(f'because   {reason or kernels.status().reason}')
    try:
        print(f'operator  {cached(native.recipe())}')
    except BuildError:  # the reason says so already
        pass
    return 1 if reason and requested is not False else 0


def check(arguments: argparse.Namespace) -> int:
    """Is a loss right?  Looks at a gluon Block, HybridBlock or function of (pred, label): gradient,
    hybridizing, head gradient, weight, empty images, shapes; status 1 where it has a defect."""
    example, signed = example_of(arguments.pred, arguments.label, arguments.input,
                                 arguments.label_kind)
    given = _imported(arguments.loss)
    try:
        target = read(given, arguments.kwargs, arguments.loss)
    except (TypeError, ValueError) as error:
        raise CannotRun(str(error)) from None
    target.signed = signed
    found = full_report(target, example, arguments.seed,
                        picture=bool(arguments.plot or arguments.html))
    return report.emit(arguments, found.findings, found.evidence, found.name, found.details)


def _imported(text: str) -> Any:
    """The object that module:name names, a module of the current folder too."""
    module, colon, path = text.partition(':')
    if not module or not path:
        raise CannotRun('the loss must be written as module:Class, for example '
                        f'gluon_dice:SoftDiceLoss; got {text!r}')
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for --json
            found = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever the user's module raises
        raise CannotRun(f'the module {module} cannot be imported: {type(error).__name__}: {error}'
                        ) from None
    for name in path.split('.'):
        close = difflib.get_close_matches(name, dir(found), n=1)
        try:
            found = getattr(found, name)
        except AttributeError:
            raise CannotRun(f'{module} has no {path}'
                            + ''.join(f'; did you mean {each}?' for each in close)) from None
    return found


def _shape(text: str) -> Tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(','))
    except ValueError:
        raise argparse.ArgumentTypeError(f'a shape is written as 2,4,9,8; got {text!r}') from None


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
    parser.add_argument('--pred', type=_shape, required=True, metavar='SHAPE',
                        help='of the prediction, (N, C, ...), for example 2,4,9,8')
    parser.add_argument('--label', type=_shape, required=True, metavar='SHAPE',
                        help='of the label, for example 2,9,8')
    parser.add_argument('--input', choices=INPUTS, default='raw',
                        help='what the loss wants as prediction; default raw numbers')
    parser.add_argument('--label-kind', choices=LABEL_KINDS,
                        help='class indices, one-hot, 0 and 1, or -1 and 1; default index, but for '
                             'a label of the shape of pred onehot, or binary for one channel')
    parser.add_argument('--seed', type=int, default=0)
    report.add_output_arguments(parser)


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog='python -m gluon_dice')
    commands = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    each = commands.add_parser('build', help='compile the operator', description=build.__doc__)
    each.add_argument('--force', action='store_true', help='even if it is there')
    each.set_defaults(run=build)
    commands.add_parser('info', help='what is in use and why',
                        description=info.__doc__).set_defaults(run=info)
    each = commands.add_parser('check', help='is a loss right? of anybody, not only ours',
                               description=check.__doc__)
    _add_check_arguments(each)
    each.set_defaults(run=check)
    chosen = parser.parse_args(arguments)
    try:
        return chosen.run(chosen)
    except BuildError as error:
        print(f'gluon_dice {chosen.command}: the operator cannot be built: {error}',
              file=sys.stderr)
        return 2
    except (CannotRun, ValueError) as error:
        print(f'gluon_dice {chosen.command}: {error}', file=sys.stderr)
        return 2


if __name__ == '__main__':
    sys.exit(main())
