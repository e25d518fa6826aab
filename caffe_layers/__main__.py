"""python -m caffe_layers COMMAND: exit status 0, 1 for a finding, 2 where it could not run."""
import argparse
import os
import sys
from typing import List, Optional

from soft_dice.arguments import parser_of
from soft_dice.arrays import CannotRun
from soft_dice.checker.command import add_without
from soft_dice.version import add_version

from . import add, framework
from .bundle import command as bundle


def _add_commands(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    reason = framework.why_not()
    if reason:
        add_without('Caffe', commands, 'check', reason)
    else:
        from . import check
        check.add_command(commands)
    add.add_command(commands)
    bundle.add_command(commands)


def main(arguments: Optional[List[str]] = None) -> int:
    parser = parser_of('python -m caffe_layers')
    add_version(parser)
    commands = parser.add_subparsers(dest='command', metavar='COMMAND')
    commands.required = True  # Python 3.6 does not take it above
    _add_commands(commands)
    chosen = parser.parse_args(arguments)
    try:
        return chosen.run(chosen)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except CannotRun as error:
        print(f'caffe_layers {chosen.command}: {error}', file=sys.stderr)
        return 2


if __name__ == '__main__':
    sys.exit(main())
