"""python -m gluon_dice COMMAND: exit status 0, 1 for a finding, 2 where it could not run."""
import os
import sys
from typing import List, Optional

from soft_dice.arguments import parser_of
from soft_dice.arrays import CannotRun
from soft_dice.checker.command import add_without
from soft_dice.native.build import BuildError
from soft_dice.version import add_version

from . import framework


def main(arguments: Optional[List[str]] = None) -> int:
    parser = parser_of('python -m gluon_dice')
    add_version(parser)
    commands = parser.add_subparsers(dest='command', metavar='COMMAND')
    commands.required = True  # Python 3.6 does not take it above
    reason = framework.why_not()
    if reason:
        for name in ('build', 'info', 'check'):
            add_without('MXNet', commands, name, reason)
    else:
        from .commands import add_commands
        add_commands(commands)
    chosen = parser.parse_args(arguments)
    try:
        return chosen.run(chosen)
    except BuildError as error:
        print(f'gluon_dice {chosen.command}: the operator cannot be built: {error}',
              file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (CannotRun, RuntimeError, ValueError) as error:
        print(f'gluon_dice {chosen.command}: {error}', file=sys.stderr)
        return 2


if __name__ == '__main__':
    sys.exit(main())
