"""Train with every loss on every task, and report which to use: python -m study

Exit status 0, or 2 where it could not run or was stopped.
"""
import argparse
import concurrent.futures
import concurrent.futures.process
import fnmatch
import multiprocessing
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import List, Optional

from tqdm import tqdm  # type: ignore[import-untyped]

from demo.brain import DemoError
from soft_dice.arrays import CannotRun
from soft_dice.version import add_version

from . import report, results
from .training import Job, train

OUT = Path(__file__).resolve().parent / 'out'
SEEDS, QUICK_SEEDS, QUICK_STEPS = 5, 2, 40
SURROUNDINGS = {'OMP_NUM_THREADS': '1', 'GLOG_minloglevel': '2'}


def main(arguments: Optional[List[str]] = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        _study(options)
    except (CannotRun, DemoError, OSError, ValueError) as error:
        print(f'study: {error}', file=sys.stderr)
        return 2
    except concurrent.futures.process.BrokenProcessPool:
        print('study: a process ended, perhaps as memory was short; the same command goes on from '
              'here, with --processes 1 in less memory', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('\nstudy: stopped; the same command goes on from here', file=sys.stderr)
        return 2
    return 0


def _study(options: argparse.Namespace) -> None:
    out = options.out or (OUT / 'quick' if options.quick else OUT)
    seeds = options.seeds or (QUICK_SEEDS if options.quick else SEEDS)
    everything = results.jobs(seeds, QUICK_STEPS if options.quick else None)
    wanted = _chosen(everything, options.only)
    _check_folder(out)
    if not options.report:
        _train_all(out, wanted, options.processes)
    found = results.load(out, wanted)
    if not found:
        raise CannotRun(f'there are no results in {out}; leave out --report to train')
    print(report.tables(found))
    if options.quick or seeds < SEEDS or len(found) < len(everything):
        report.draw(out, found)
        print(f'{len(found)} trainings. The pictures are in {out}; docs/which-loss.md is written '
              f'when nothing is left out: every task, every loss, {SEEDS} seeds, all steps.')
    else:
        report.write(report.PAGE, found)
        print(f'{report.PAGE} is written.')


def _train_all(out: Path, wanted: List[Job], processes: int) -> None:
    there = {result.job for result in results.load(out, wanted)}
    missing = [job for job in wanted if job not in there]
    with tqdm(total=len(wanted), initial=len(there), unit='training', dynamic_ncols=True,
              disable=None) as bar, _pool(processes) as pool:
        running = {pool.submit(train, job): job for job in missing}
        try:
            for each in concurrent.futures.as_completed(running):
                results.save(out, running[each], each.result())
                bar.set_postfix_str(running[each].name)
                bar.update()
        except BaseException:  # or those that have begun would be waited for
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _pool(processes: int) -> concurrent.futures.Executor:
    """Processes of one thread each: networks as small as these have no use for two."""
    os.environ.update(SURROUNDINGS)
    return concurrent.futures.ProcessPoolExecutor(processes, multiprocessing.get_context('spawn'))


def _chosen(jobs: List[Job], only: Optional[List[str]]) -> List[Job]:
    chosen = set()
    for pattern in only or ['*/*']:
        some = [job for job in jobs if fnmatch.fnmatchcase(f'{job.task}/{job.loss}', pattern)]
        if not some:
            tasks, losses = (', '.join(dict.fromkeys(names)) for names in (
                (job.task for job in jobs), (job.loss for job in jobs)))
            raise CannotRun('--only takes TASK/LOSS, for example toy/dice or toy/*; the tasks are '
                            f'{tasks}, and the losses {losses}; got {pattern}')
        chosen.update(some)
    return [job for job in jobs if job in chosen]


def _check_folder(out: Path) -> None:
    """Now rather than after minutes of training."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=str(out)).close()
    except OSError as error:
        raise CannotRun(f'cannot write into {out}: {error.strerror}') from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m study', description='Train small networks with every loss, seed by seed, '
        'and report the Dice of the class that is hard to find. Results are kept: a run that was '
        'stopped goes on, and what is there is not trained again.',
        epilog='A whole run writes the tables and pictures of docs/which-loss.md. Exit status: 0; '
        '2 for what could not run.')
    add_version(parser)
    parser.add_argument('--quick', action='store_true', help=f'{QUICK_SEEDS} seeds, {QUICK_STEPS} '
                        'steps each: does it run? The networks learn little')
    parser.add_argument('--only', nargs='+', metavar='TASK/LOSS',
                        help='these trainings, for example toy/dice lesions/*')
    parser.add_argument('--seeds', type=_positive, metavar='N', help=f'(default: {SEEDS})')
    parser.add_argument('--report', action='store_true', help='train nothing')
    parser.add_argument('--processes', type=_positive, metavar='N',
                        default=len(os.sched_getaffinity(0)),
                        help='that train at once (default: one for each core)')
    parser.add_argument('--out', type=Path, metavar='FOLDER',
                        help='where results are kept (default: study/out, or study/out/quick)')
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'must be a whole number > 0; got {text!r}')
    return int(text)


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # its processes end as well
    sys.exit(main())
