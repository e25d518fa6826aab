"""Mutation testing: change one line of the code after the other, and see whether a test fails.

A mutant that no test notices, a survivor, shows a line that the tests do not check, or a change
that makes no difference; the latter are listed in mutation/equivalents.txt with the reason.  The
mutants live in a copy of the checkout.  Results are kept in mutation/out/: a run that was stopped
goes on where it was, as long as neither code nor tests have changed.

Exit status 0: no survivors; 1: there are some, or an entry of the list is outdated; 2: it could not
run, for example as a test fails without any mutant.
"""
import argparse
import signal
import sys
from pathlib import Path

from soft_dice.version import add_version

from . import equivalents, report
from .run import CannotRun, Run
from .table import TABLE

HERE = Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(prog='python -m mutation', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add_version(parser)
    parser.add_argument('files', nargs='*', metavar='WORD',
                        help='only files with this in their path; default all in table.py')
    parser.add_argument('--per-file', type=int, default=10, metavar='N',
                        help='mutants of each file, and one in 40 of a large file; default '
                             '10; 0 is all')
    parser.add_argument('--seed', type=int, default=0, help='which of them; default 0')
    parser.add_argument('--survivors', action='store_true',
                        help='only the survivors of the last run, for example after new tests')
    parser.add_argument('--list', action='store_true', help='print the mutants and run nothing')
    parser.add_argument('--root', type=Path, default=HERE.parent, metavar='FOLDER',
                        help='a checkout; default this one')
    parser.add_argument('--out', type=Path, default=HERE / 'out', metavar='FOLDER',
                        help='where results are kept; default mutation/out')
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # the workspace is deleted
        signal.signal(number, signal.default_int_handler)
    try:
        run = Run(arguments.root.resolve(), arguments.out, TABLE, equivalents.read(),
                  arguments.seed, arguments.per_file, arguments.files)
        if arguments.list:
            print('\n'.join(str(each) for path in run.rows for each in run.sample(path)))
            return 0
        results = run.judge_survivors() if arguments.survivors else run.judge_all()
    except (CannotRun, ValueError, OSError) as error:
        print(f'mutation: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('\nmutation: stopped; the same command goes on from here', file=sys.stderr)
        return 2
    return report.show(results, run.outdated())


if __name__ == '__main__':
    sys.exit(main())
