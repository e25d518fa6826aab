"""Run the tests on every release of MXNet and every Python there is: python -m version_matrix

Exit status 0 where all is as the tables promise, 1 where something is not, 2 where it could not
run.
"""
import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Callable, List, Optional, Sequence, Tuple

from tqdm import tqdm  # type: ignore[import-untyped]

from soft_dice.arrays import CannotRun
from soft_dice.version import add_version

from . import install, one_file, plan, report
from .run import Record, check_sources, run

README = plan.ROOT / 'README.md'
VERSIONS = plan.ROOT / 'docs' / 'versions.md'
OF_NAMES = '--only {}: its Pythons are not on this machine, or not among those of --python'
OF_PYTHONS = '--python {}: it is not on this machine, or not tried with what --only names'


def main(arguments: Optional[List[str]] = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        record = (_load(options.load) if options.load else
                  _measure(_chosen(options.only, options.python)))
        if options.json:
            options.json.write_text(json.dumps(record.to_json(), indent=1) + '\n')
        if options.readme:
            report.write(README, VERSIONS, record)
    except (CannotRun, OSError, ValueError) as error:
        print(f'version_matrix: {error}', file=sys.stderr)
        return 2
    print(report.table(record))
    found = report.findings(record)
    for finding in found:
        print(f'FINDING  {finding}')
    return int(bool(found))


def _measure(jobs: List[plan.Job]) -> Record:
    installing = _installing(jobs)
    results = []
    with tqdm(total=len(installing) + len(jobs) + 1, unit='step', dynamic_ncols=True,
              disable=None) as bar:
        def step(what: str) -> None:
            bar.set_postfix_str(what)
            bar.update()

        for what, do in installing:
            step(what)
            do()
        for job in jobs:
            step(str(job))
            results.append(one_file.run(job) if job.kind == 'bundle' else run(job))
            bar.write(f'{job}: {report.outcome(results[-1])}, {results[-1].seconds:.0f} s')
        step('vermin')
        return Record(results, check_sources())


def _installing(jobs: List[plan.Job]) -> List[Tuple[str, Callable[[], object]]]:
    """What the rows need: each step, and what it is called."""
    own = plan.own_python()
    pythons = dict.fromkeys([own, *(job.python for job in jobs if job.kind != 'bundle')])
    numpys = {install.numpy_folder(job): job for job in jobs}
    releases = dict.fromkeys(job.release for job in jobs if job.release)
    return [*((f'packages for Python {each.version}', partial(install.install_tools, each))
              for each in pythons),
            *((f'{each.numpy} for Python {each.python.version}',
               partial(install.install_numpy, each)) for each in numpys.values()),
            *((f'MXNet {each.version}', partial(install.install_mxnet, own, each))
              for each in releases)]


def _chosen(only: Optional[List[str]], pythons: Optional[List[str]]) -> List[plan.Job]:
    """The rows of these names and Pythons, or of all that this machine has."""
    names = [*(release.version for release in plan.RELEASES), 'core', 'bundle']
    for option, given, known in (('--only', only, names), ('--python', pythons, plan.ALL_PYTHONS)):
        unknown = sorted(set(given or []).difference(known))
        if unknown:
            raise CannotRun(f'{option} takes {", ".join(known)}; got {unknown[0]}')
    jobs = plan.jobs(only or names, pythons or plan.ALL_PYTHONS)
    if 'bundle' in (only or names):
        jobs += one_file.jobs(pythons or plan.ALL_PYTHONS)
    for message, asked, found in ((OF_NAMES, only, {job.name for job in jobs}),
                                  (OF_PYTHONS, pythons, {job.python.version for job in jobs})):
        missing = [each for each in asked or [] if each not in found]
        if missing:
            raise CannotRun(message.format(missing[0]))
    return jobs


def _load(paths: Sequence[Path]) -> Record:
    record = Record([], [])
    for path in paths:
        try:
            record = record.updated(Record.from_json(json.loads(path.read_text(encoding='utf-8'))))
        except OSError as error:
            raise CannotRun(f'{path} cannot be read: {error.strerror}') from None
        except (KeyError, TypeError, ValueError) as error:
            raise CannotRun(f'{path} was not written by --json: {error!r}') from None
    return record


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m version_matrix', description='Run the tests on every release of MXNet and '
        'every Python there is.  A row is a Python with one release, or without any: the core, and '
        'the one file for Caffe.  Installs what is missing into .runtime-matrix/.')
    add_version(parser)
    parser.add_argument('--only', nargs='+', metavar='ROW', help='the rows of a release of MXNet, '
                        'for example 1.5.1, or those called core or bundle, the one file')
    parser.add_argument('--python', nargs='+', metavar='PYTHON',
                        help='the rows of this Python, for example 3.13')
    parser.add_argument('--readme', action='store_true',
                        help='write the tables into README.md and docs/versions.md')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write what was found')
    parser.add_argument('--load', nargs='+', type=Path, metavar='FILE', help='show that again and '
                        'run nothing; of several files each adds its rows, or renews them')
    return parser


if __name__ == '__main__':
    sys.exit(main())
