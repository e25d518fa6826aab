"""python -m gluon_dice COMMAND: exit status 0, 1 for a finding, 2 where it could not run."""
import argparse
import sys
from typing import List, Optional

import mxnet as mx

from soft_dice import native as kernels
from soft_dice.native.build import BuildError, cached

from . import native


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


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog='python -m gluon_dice')
    commands = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    each = commands.add_parser('build', help='compile the operator', description=build.__doc__)
    each.add_argument('--force', action='store_true', help='even if it is there')
    each.set_defaults(run=build)
    commands.add_parser('info', help='what is in use and why',
                        description=info.__doc__).set_defaults(run=info)
    chosen = parser.parse_args(arguments)
    try:
        return chosen.run(chosen)
    except BuildError as error:
        print(f'gluon_dice {chosen.command}: the operator cannot be built: {error}',
              file=sys.stderr)
        return 2
    except ValueError as error:
        print(f'gluon_dice {chosen.command}: {error}', file=sys.stderr)
        return 2


if __name__ == '__main__':
    sys.exit(main())
