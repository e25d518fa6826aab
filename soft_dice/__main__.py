"""python -m soft_dice COMMAND: exit status 0, 1 for a finding, 2 where it could not run."""
import os
import sys
from typing import List, Optional

from . import compare, weights
from .arguments import parser_of
from .arrays import CannotRun
from .native import commands as native
from .native.build import BuildError
from .version import add_version


def main(arguments: Optional[List[str]] = None) -> int:
    parser = parser_of('python -m soft_dice')
    add_version(parser)
    commands = parser.add_subparsers(dest='command', metavar='COMMAND')
    commands.required = True  # Python 3.6 does not take it above
    each = commands.add_parser('compare', help='every published loss on a pair of arrays',
                               description=compare.__doc__)
    compare.add_arguments(each)
    each.set_defaults(run=compare.run)
    each = commands.add_parser('weights', help='class weights from labels',
                               description=weights.__doc__)
    weights.add_arguments(each)
    each.set_defaults(run=weights.run)
    each = commands.add_parser('info', help='what computes, the kernels or NumPy, and why',
                               description=native.info.__doc__)
    each.set_defaults(run=native.info)
    each = commands.add_parser('build', help='compile the kernels',
                               description=native.build.__doc__)
    native.add_build_arguments(each)
    each.set_defaults(run=native.build)
    chosen = parser.parse_args(_joined(sys.argv[1:] if arguments is None else arguments))
    try:
        return chosen.run(chosen)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (CannotRun, BuildError, RuntimeError, ValueError, TypeError) as error:
        print(f'soft_dice {chosen.command}: {error}', file=sys.stderr)
        return 2


def _joined(arguments: List[str]) -> List[str]:
    """``--nearest -4.8e-1`` as one word, as argparse takes -4.8e-1 for an option."""
    joined: List[str] = []
    for word in arguments:
        if joined and joined[-1] == '--nearest':
            joined[-1] += f'={word}'
        else:
            joined.append(word)
    return joined


if __name__ == '__main__':
    sys.exit(main())
