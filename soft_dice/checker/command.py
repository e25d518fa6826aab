"""What the check commands of both frameworks have in common: arguments, and what comes out."""
import argparse
import contextlib
import difflib
import importlib
import os
import platform
import sys
from typing import Any, List, Optional, Sequence, Union

import numpy as np

from ..arrays import CannotRun
from . import report
from .activation import Given, expected
from .asked import NONE, Asked
from .checks import PICTURE, Evidence, evidence
from .findings import Findings
from .subject import INPUTS, LABELS, Died, Example, Refused, Shape, Subject
from .watch import OutOfTime, Watch
from .words import described


def find(text: str) -> Any:
    """The object that module:name names, where module may be a file in the current folder.

    Raises
    ------
    CannotRun : there is none; with the nearest name there is.
    """
    module, colon, path = text.partition(':')
    if not module or not path:
        raise CannotRun(f'write module:Class, for example my_losses:DiceLoss; got {text!r}')
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for --json
            found = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever the user's module raises
        raise CannotRun(f'the module {module} cannot be imported: {described(error)}; it must be '
                        'in the current directory or on PYTHONPATH') from None
    for name in path.split('.'):
        close = difflib.get_close_matches(name, dir(found), n=1)
        try:
            found = getattr(found, name)
        except AttributeError:
            raise CannotRun(f'{module} has no {path}'
                            + ''.join(f'; did you mean {each}?' for each in close)) from None
    return found


def versions(framework: Any) -> str:
    """What was run, for a bug report."""
    return (f'Python {platform.python_version()}, NumPy {np.__version__}, '
            f'{framework.__name__} {framework.__version__}.')


def add_without(framework: str, commands: 'argparse._SubParsersAction[argparse.ArgumentParser]',
                name: str, reason: str) -> None:
    """A command that cannot run without its framework; whatever is asked of it, it says why."""
    def refuse(_: argparse.Namespace) -> int:
        raise CannotRun(reason)

    each = commands.add_parser(name, help=f'needs {framework}', add_help=False, prefix_chars='\0')
    each.add_argument('rest', nargs='*')
    each.set_defaults(run=refuse)


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--pred', type=shape, metavar='N,C,...',
                        help="the prediction's shape, for example 2,4,9,8")
    parser.add_argument('--label', type=shape, metavar='N,...',
                        help="the label's shape, for example 2,9,8 or 2,1,9,8")
    parser.add_argument('--input', choices=INPUTS,
                        help='what the prediction holds: probabilities, or raw scores')
    parser.add_argument('--label-kind', choices=LABELS + ('signed',),
                        help='class numbers, one-hot, 0 and 1, or -1 and 1')
    parser.add_argument('--pixel-weight', type=shape, metavar='N,1,...',
                        help='the shape of a third input, which gets random positive numbers')
    parser.add_argument('--background', type=_background, metavar='CHANNEL',
                        help='of class 0 in the prediction: 0, which is assumed, -1 for the last, '
                        f'or {NONE}')
    parser.add_argument('--axis', type=int, default=1,
                        help='of the classes: 1, or -1 for channels last')
    parser.add_argument('--seconds', type=_seconds, default=120.0,
                        help='that a check may take; default 120.  It says what it left out')
    parser.add_argument('--seed', type=_seed, default=0, help='of the random input')


def asked(arguments: argparse.Namespace) -> Asked:
    return Asked(*(getattr(arguments, name) for name in Asked._fields))


def given(arguments: argparse.Namespace) -> Given:
    """What --input says the loss is fed."""
    if arguments.input is None:
        return Given('raw', 'The --input raw that is assumed')
    return Given(arguments.input, f'--input {arguments.input}')


def shape(text: str) -> Shape:
    """Of an argument such as 2,4,9,8."""
    try:
        sizes = tuple(int(size) for size in text.split(','))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f'a shape is numbers from 1 upwards, for example 2,4,9,8; '
                                         f'got {text!r}')
    return sizes


def _background(text: str) -> Union[int, str]:
    try:
        return text if text == NONE else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'the background is a channel, for example 0 or -1, or '
                                         f'{NONE}; got {text!r}') from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float('inf'):
        raise argparse.ArgumentTypeError(f'seconds are a number above 0, for example 300; got '
                                         f'{text!r}')
    return seconds


def _seed(text: str) -> int:
    if not (text.isdigit() and int(text) < 2 ** 31):
        raise argparse.ArgumentTypeError(f'a seed is a whole number from 0 upwards; got {text!r}')
    return int(text)


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--json', metavar='FILE', nargs='?', const='-',
                        help='findings as JSON into a file; - or nothing: print it, not the table')
    parser.add_argument('--plot', metavar='FILE.png',
                        help='draw analytic gradient, numeric gradient and difference')
    parser.add_argument('--html', metavar='FILE', help='a page with all of it, for a bug report')


def check_output_arguments(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be written, before anything is computed.

    Raises
    ------
    CannotRun : a picture that is no .png, or a file in a folder that does not exist.
    """
    if arguments.plot and not arguments.plot.endswith('.png'):
        raise CannotRun(f'--plot must name a file that ends in .png; got {arguments.plot}')
    for option in ('json', 'plot', 'html'):
        path = getattr(arguments, option)
        if path and path != '-' and not os.path.isdir(os.path.dirname(os.path.abspath(path))):
            raise CannotRun(f'--{option}: there is no folder for {path}')


def watch(arguments: argparse.Namespace) -> Watch:
    """The budget that --seconds gives, which a terminal shows the use of."""
    return Watch(arguments.seconds, sys.stderr)


def picture(arguments: argparse.Namespace, subject: Subject, example: Example,
            findings: Findings, elements: int = PICTURE) -> Optional[Evidence]:
    """What --plot and --html draw, of the input that the loss expects, in the same time once more;
    None where there is nothing to draw, or it is not asked for."""
    if not (arguments.plot or arguments.html):
        return None
    subject.watch.again()
    subject.watch.look('the picture')
    try:
        wanted = (findings['activation'].value or {}).get('expected')
        return evidence(subject, expected(example, wanted), arguments.seed, elements)
    except (Refused, Died, OutOfTime):  # of which the findings tell
        return None


def emit(arguments: argparse.Namespace, findings: Findings, seen: Optional[Evidence],
         title: str, details: Sequence[str] = ()) -> int:
    """Print and write what the arguments ask for.

    seen : None where no picture could be made.

    Returns
    -------
    The exit status.

    Raises
    ------
    CannotRun : a file cannot be written.
    """
    if arguments.json and arguments.json != '-':
        with report.replacing(arguments.json) as file:
            file.write((report.to_json(findings) + '\n').encode('utf-8'))
    written: List[str] = [arguments.json] if arguments.json not in (None, '-') else []
    if arguments.plot and seen is not None:
        report.plot(arguments.plot, seen, title)
        written.append(arguments.plot)
    if arguments.html:
        report.html(arguments.html, findings, seen, title, details)
        written.append(arguments.html)
    if arguments.json == '-':
        print(report.to_json(findings))
    else:
        print(report.table(findings, title, sys.stdout.isatty()))
        if written:
            print(f'Written: {", ".join(written)}')
    if arguments.plot and seen is None:
        print(f'{arguments.plot} was not drawn: there is no gradient to show, or no time to '
              'measure it', file=sys.stderr)
    return report.exit_status(findings)
