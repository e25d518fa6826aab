"""python -m caffe_layers check: proves or refutes a loss layer."""
import argparse
from typing import List

import caffe

from soft_dice.arrays import CannotRun
from soft_dice.checker import command

from . import gradcheck
from .checker import cases


def check(arguments: argparse.Namespace) -> int:
    """Prove or refute a loss layer: is its backward the gradient of its forward, does it honour
    loss_weight, does it survive empty images, one sample, other shapes?  Give a net, or a Python
    class with the shapes to check it on.
    """
    command.check_output_arguments(arguments)
    chosen = _cases(arguments)
    if len(chosen) > 1 and (arguments.json or arguments.plot or arguments.html):
        raise CannotRun(f'{arguments.net} has several losses; for a file name one with --layer: '
                        + ', '.join(case.name for case in chosen))
    return max([_check_case(case, arguments) for case in chosen])


def _cases(arguments: argparse.Namespace) -> List[cases.Case]:
    if (arguments.net is None) == (arguments.layer_class is None):
        raise CannotRun('give either a net or --class module:Class')
    if arguments.layer_class is None:
        if arguments.param_str:
            raise CannotRun('--param-str goes with --class; a net has its own')
        return cases.net_cases(arguments.net, arguments.layer, command.asked(arguments))
    if arguments.layer is not None:
        raise CannotRun('--layer names a layer of a net; --class is the layer itself')
    if arguments.pred is None:
        raise CannotRun('--class needs the shape of a prediction, for example --pred 2,4,9,8')
    case = cases.class_case(arguments.layer_class, command.asked(arguments), arguments.param_str,
                            command.given(arguments))
    if arguments.input is None:
        case.assumed.append('the prediction is raw')
    return [case]


def _check_case(case: cases.Case, arguments: argparse.Namespace) -> int:
    with command.watch(arguments) as watch, gradcheck.subject(case, watch) as layer:
        findings = gradcheck.check_subject(layer, case, arguments.seed)
        picture = command.picture(arguments, layer, case.example, findings)
    assumed = f'Assumed: {"; ".join(case.assumed)}.' if case.assumed else 'Nothing was assumed.'
    if arguments.json != '-':
        print(assumed)
    return command.emit(arguments, findings, picture, case.title,
                        [assumed, f'Seed {arguments.seed}; numbers in {layer.dtype}.',
                         command.versions(caffe)])


def add_command(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    each = commands.add_parser('check', help='prove or refute a loss layer',
                               description=check.__doc__)
    each.add_argument('net', metavar='NET.prototxt', nargs='?', help='a net with a loss layer')
    each.add_argument('--layer', metavar='NAME', help='of the net; by default every loss in it')
    each.add_argument('--class', dest='layer_class', metavar='MODULE:CLASS',
                      help='a Python layer, from the current directory or PYTHONPATH')
    each.add_argument('--param-str', metavar='S', default='', help="the class's")
    command.add_input_arguments(each)
    command.add_output_arguments(each)
    each.set_defaults(run=check)
