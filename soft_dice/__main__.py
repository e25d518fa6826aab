"""python -m soft_dice COMMAND: exit status 0, 1 for a finding, 2 where it could not run."""
import argparse
import sys
from typing import List, Optional

from . import compare
from .arrays import CannotRun


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog='python -m soft_dice')
    commands = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    each = commands.add_parser('compare', help='every published loss on a pair of arrays',
                               description=compare.__doc__)
    compare.add_arguments(each)
    each.set_defaults(run=compare.run)
    chosen = parser.parse_args(arguments)
    try:
        return chosen.run(chosen)
    except (CannotRun, ValueError, TypeError) as error:
        print(f'soft_dice {chosen.command}: {error}', file=sys.stderr)
        return 2


if __name__ == '__main__':
    sys.exit(main())
