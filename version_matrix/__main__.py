"""Run the tests on every release of MXNet and every Python there is: python -m version_matrix

Exit status 0 where all is as the tables promise, 1 where something is not, 2 where it could not
run.
"""
import argparse
import json
import sys
from pathlib import Path
from typing import List, Optional, Tuple

from tqdm import tqdm  # type: ignore[import-untyped]

from soft_dice.arrays import CannotRun
from soft_dice.version import add_version

from . import install, one_file, plan, report
from .run import Record, check_sources, run

README = plan.ROOT / 'README.md'
VERSIONS = plan.ROOT / 'docs' / 'versions.md'


def main(arguments: Optional[List[str]] = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        record = _load(options.load) if options.load else _measure(*_chosen(options.only))
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


def _measure(releases: Tuple[plan.Release, ...], with_one_file: bool) -> Record:
    jobs = plan.jobs(releases)
    one_file_jobs = one_file.jobs() if with_one_file else []
    pythons = list(dict.fromkeys([plan.own_python(), *(job.python for job in jobs)]))
    results = []
    steps = len(pythons) + len(releases) + len(jobs) + len(one_file_jobs) + 1
    with tqdm(total=steps, unit='step', dynamic_ncols=True, disable=None) as bar:
        def step(what: str) -> None:
            bar.set_postfix_str(what)
            bar.update()

        for python in pythons:
            step(f'packages for Python {python.version}')
            install.install_tools(python)
        for release in releases:
            step(f'MXNet {release.version}')
            install.install_mxnet(plan.own_python(), release)
        for job in jobs:
            step(str(job))
            results.append(run(job))
            bar.write(f'{job}: {report.outcome(results[-1])}, {results[-1].seconds:.0f} s')
        for job in one_file_jobs:
            step(str(job))
            install.install_numpy(job.python)
            results.append(one_file.run(job))
            bar.write(f'{job}: {report.outcome(results[-1])}, {results[-1].seconds:.0f} s')
        step('vermin')
        return Record(results, check_sources())


def _chosen(names: Optional[List[str]]) -> Tuple[Tuple[plan.Release, ...], bool]:
    """The releases of MXNet, and whether the one file is to be tried."""
    known = [*(release.version for release in plan.RELEASES), 'bundle']
    unknown = sorted(set(names or []) - set(known))
    if unknown:
        raise CannotRun(f'--only takes {", ".join(known)}; got {unknown[0]}')
    return (tuple(each for each in plan.RELEASES if not names or each.version in names),
            not names or 'bundle' in names)


def _load(path: Path) -> Record:
    try:
        return Record.from_json(json.loads(path.read_text(encoding='utf-8')))
    except OSError as error:
        raise CannotRun(f'{path} cannot be read: {error.strerror}') from None
    except (KeyError, TypeError, ValueError) as error:
        raise CannotRun(f'{path} was not written by --json: {error!r}') from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m version_matrix', description='Run the tests on every release of MXNet and '
        'every Python there is.  Installs what is missing into .runtime-matrix/ (2 GB).')
    add_version(parser)
    parser.add_argument('--only', nargs='+', metavar='RELEASE', help='of MXNet, for example 1.5.1; '
                        'bundle is the one file for Caffe')
    parser.add_argument('--readme', action='store_true',
                        help='write the tables into README.md and docs/versions.md')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write what was found')
    parser.add_argument('--load', type=Path, metavar='FILE', help='show that again; run nothing')
    return parser


if __name__ == '__main__':
    sys.exit(main())
