"""Start the scheduler, the servers and the workers of MXNet's dist_sync KVStore on this machine::

    python -m gluon_dice.launch --workers 2 -- python train.py

or, with --print, say what to start on several.  Exit status 0, 1 where a worker failed, 2 where it
could not run.  When a worker has failed, the others get ``--grace`` seconds to find that out; what
is left is then killed, as are scheduler and servers, which MXNet never ends by themselves then.
"""
import argparse
import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any, Dict, Iterator, List, Optional, Tuple

from soft_dice.version import add_version

from . import framework

# Such a process is nothing but this import, which returns when all is over.
SERVICE = ('-c', 'import mxnet')
POLL = 0.05
END = 10.0  # seconds that scheduler and servers have after the last worker


def environment(role: str, host: str, port: int, workers: int, servers: int) -> Dict[str, str]:
    """What tells MXNet who a process is, and who the others are."""
    return {'DMLC_ROLE': role, 'DMLC_PS_ROOT_URI': host, 'DMLC_PS_ROOT_PORT': str(port),
            'DMLC_NUM_WORKER': str(workers), 'DMLC_NUM_SERVER': str(servers)}


def processes(command: List[str], workers: int, servers: int) -> List[Tuple[str, str, List[str]]]:
    """(name, role, command) of all of them."""
    service = [sys.executable, *SERVICE]
    return [('scheduler', 'scheduler', service),
            *((f'server {i}', 'server', service) for i in range(servers)),
            *((f'process {i}', 'worker', command) for i in range(workers))]


@contextlib.contextmanager
def _exit_on_signals() -> Iterator[None]:
    """What would end this process on the spot raises SystemExit; scheduler and servers would stay
    for ever.  A signal that is ignored or handled already is left alone."""
    def leave(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    ours = [each for each in (signal.SIGTERM, signal.SIGHUP)
            if threading.current_thread() is threading.main_thread()
            and signal.getsignal(each) == signal.SIG_DFL]
    for each in ours:
        signal.signal(each, leave)
    try:
        yield
    finally:
        for each in ours:
            signal.signal(each, signal.SIG_DFL)


@_exit_on_signals()
def run(command: List[str], workers: int, servers: int = 1, grace: float = 90.0,
        port: Optional[int] = None) -> Dict[str, int]:
    """Run them on this machine until all workers have ended.

    SIGTERM and SIGHUP end this process with status 128 + signal, and what it started with it.

    Returns
    -------
    The exit status of each worker by its name, 'process 0' and so on, which is not MXNet's rank:
    negative for a signal, and that of SIGKILL where it was killed here because its time was over.

    Raises
    ------
    OSError : the command cannot be started.
    """
    port = port or free_port()
    started: Dict[str, subprocess.Popen] = {}
    names = []
    try:
        for name, role, line in processes(command, workers, servers):
            variables = environment(role, '127.0.0.1', port, workers, servers)
            started[name] = subprocess.Popen(line, env={**os.environ, **variables})
            names += [name] * (role == 'worker')
        _wait({name: started[name] for name in names}, grace)
        _wait({name: each for name, each in started.items() if name not in names}, END,
              END if all(started[name].returncode == 0 for name in names) else 0)
    finally:
        for each in started.values():
            if each.poll() is None:
                each.kill()
            each.wait()
    return {name: started[name].returncode for name in names}


def _wait(some: Dict[str, subprocess.Popen], grace: float, limit: Optional[float] = None) -> None:
    """Until all have ended, or ``grace`` seconds after one has failed, or ``limit`` seconds."""
    end = None if limit is None else time.monotonic() + limit
    while any(each.poll() is None for each in some.values()):
        failed = any(each.poll() for each in some.values())
        if failed and end is None:
            end = time.monotonic() + grace
        if end is not None and time.monotonic() >= end:
            return
        time.sleep(POLL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def printed(command: List[str], host: str, port: int, workers: int, servers: int) -> str:
    """What to start on several machines, one line each."""
    lines = [f'# The scheduler on {host}, the others anywhere that reaches it; one line each.']
    for _, role, line in processes(command, workers, servers):
        variables = environment(role, host, port, workers, servers)
        line = ['python', *line[1:]] if role != 'worker' else line
        lines.append(' '.join([*(f'{name}={shlex.quote(value)}'
                                 for name, value in variables.items()), *map(shlex.quote, line)]))
    return '\n'.join(lines)


def described(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f'status {status}'
    return f'signal {-status} ({signal.Signals(-status).name})'


def positive(text: str) -> int:
    """An option of a command that is a whole number > 0."""
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f'must be a whole number > 0, for example 2; got {text}')
    return value


def _port(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 2 ** 16):
        raise argparse.ArgumentTypeError(f'must be in [1, 65535], for example 9091; got {text}')
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f'must be seconds > 0, for example 90; got {text}')
    return value


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog='python -m gluon_dice.launch', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add_version(parser)
    parser.add_argument('--workers', type=positive, default=2, help='how many (2)')
    parser.add_argument('--servers', type=positive, default=1, help='how many (1)')
    parser.add_argument('--grace', type=_seconds, default=90.0, metavar='SECONDS',
                        help='that the others have after a worker has failed (90)')
    parser.add_argument('--print', action='store_true',
                        help='start nothing; print the command of each process')
    parser.add_argument('--host', default='127.0.0.1', help='of the scheduler, with --print')
    parser.add_argument('--port', type=_port, help='of the scheduler (a free one)')
    parser.add_argument('command', nargs='+', help='of a worker, after --')
    given = parser.parse_args(arguments)
    if given.print:
        print(printed(given.command, given.host, given.port or 9091, given.workers,
                      given.servers))
        return 0
    reason = framework.why_not()
    if reason:
        print(f'gluon_dice.launch: {reason}', file=sys.stderr)
        return 2
    try:
        ended = run(given.command, given.workers, given.servers, given.grace, given.port)
    except OSError as error:
        print(f'gluon_dice.launch: {given.command[0]} cannot be started: {error.strerror}',
              file=sys.stderr)
        return 2
    failed = {name: status for name, status in ended.items() if status}
    for name, status in failed.items():
        print(f'gluon_dice.launch: {name} of {given.workers} ended with {described(status)}',
              file=sys.stderr)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
