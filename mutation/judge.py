"""Runs tests on a workspace's code: imports what is slow once, and forks for each run of tests.

``Judge`` starts this module as a process in the workspace; the rest runs there.
"""
import contextlib
import fnmatch
import json
import os
import resource
import signal
import subprocess
import sys
import time
from typing import Any, List, NamedTuple, Optional

from .table import EXCLUDED
from .workspace import Workspace

WAITING = 8  # times the limit of processor time, on a machine that does other things too


class Verdict(NamedTuple):
    """What tests said.

    test : that failed first; 'time' where they took too much of it; None where all passed.
    seconds : of processor time that they took.
    """

    test: Optional[str]
    seconds: float


class Judge:
    """A process that judges the code of a workspace as it is at each call."""

    def __init__(self, workspace: Workspace) -> None:
        command = [sys.executable, '-c', 'from mutation.judge import serve; serve()']
        path = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        environment = {**workspace.environment, 'GLOG_minloglevel': '2', 'MUTATION_FROM': path,
                       'PYTHONPATH': os.pathsep.join([str(workspace.root), path])}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         cwd=str(workspace.root), env=environment)

    def run(self, test: str, limit: float) -> Verdict:
        """The tests of an entry of the table, until one fails or ``limit`` seconds of processor
        time are over."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([test, EXCLUDED, limit]).encode() + b'\n')
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError('the process that runs the tests has ended')
        return Verdict(*json.loads(answer))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve() -> None:
    """Answer requests from standard input, [test, excluded, limit], until it ends."""
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # what an import prints is no answer
    sys.path.remove(os.environ['MUTATION_FROM'])
    os.environ['PYTHONPATH'] = os.getcwd()
    import caffe  # noqa: F401
    import hypothesis  # noqa: F401
    import mxnet  # noqa: F401
    import pytest  # noqa: F401
    for line in sys.stdin:
        answers.write(json.dumps(_judge(*json.loads(line))) + '\n')
        answers.flush()


def _judge(test: str, excluded: List[str], limit: float) -> Verdict:
    found = os.path.join(os.environ['SOFT_DICE_CACHE'], 'failed')
    with open(found, 'w') as file:
        file.write('no test, or an ended process')
    begin = time.monotonic()
    child = os.fork()
    if not child:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os._exit(_test(test, excluded, found))
    ended, status = 0, 0
    while not ended and time.monotonic() < begin + WAITING * limit:
        time.sleep(0.01)
        ended, status, used = os.wait4(child, os.WNOHANG)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # and what it left behind
    if not ended:
        _, status, used = os.wait4(child, 0)
    seconds = used.ru_utime + used.ru_stime
    if not ended or os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
        return Verdict('time', seconds)
    with open(found) as file:
        return Verdict(file.read() if status else None, seconds)


def _test(test: str, excluded: List[str], found: str) -> int:
    """In the child: pytest's exit status; the first test that failed is written to a file."""
    import pytest
    output = os.open(os.path.join(os.path.dirname(found), 'output'),
                     os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(output, stream)
    options = ['-x', '-q', '--tb=short', '--hypothesis-seed=0', '-p', 'no:cacheprovider', '-p',
               'no:xdist', '-m', 'not slow']
    return pytest.main([*options, test.partition('::')[0]],
                       plugins=[_Selection(test, excluded), _FirstFailure(found)])


class _Selection:
    """A plugin of pytest: the tests that are asked for."""

    def __init__(self, test: str, excluded: List[str]) -> None:
        self.wanted = test if '::' in test else f'{test}::*'
        self.excluded = excluded

    def pytest_collection_modifyitems(self, items: List[Any]) -> None:
        items[:] = [item for item in items if fnmatch.fnmatchcase(item.nodeid, self.wanted)
                    and item.nodeid.partition('[')[0] not in self.excluded]


class _FirstFailure:
    """A plugin of pytest."""

    def __init__(self, path: str) -> None:
        self.path = path

    def pytest_runtest_logreport(self, report: Any) -> None:
        self._note(report)

    def pytest_collectreport(self, report: Any) -> None:
        self._note(report)

    def _note(self, report: Any) -> None:
        if report.failed:
            with open(self.path, 'w') as file:
                file.write(report.nodeid)
