"""Code that may end its process, in another process, so that a crash or a hang is a finding.

The child is forked, which MXNet supports, so that it holds the object as it is, made by whatever
means, and does with it what its caller's own must not suffer (hybridize, another weight).  Before
MXNet 1.5 a forked process runs no Custom operator, so there is none, and a crash ends the check.
"""
import faulthandler
import io
import multiprocessing
import os
import re
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any, Optional, Tuple

from soft_dice.checker.subject import Died, Hung, Refused
from soft_dice.checker.words import condensed, typed

from ..compat import RELEASE

FORKS = RELEASE >= (1, 5)


class Child:
    """An object in a child process, forked at the first call and again after it died::

        with Child(tool) as child:
            answer = child.call('method', *arguments)      # tool.method(*arguments)

    Raises
    ------
    Refused : the method raised an exception; the message begins with its type.
    Died : the child ended.
    Hung : it gave no answer within ``limit`` seconds.
    """

    def __init__(self, tool: Any, limit: Optional[float] = None) -> None:
        self._tool, self.limit = tool, limit
        self._process: Optional[Any] = None

    def call(self, method: str, *arguments: Any) -> Any:
        if not FORKS:
            return self._call_here(method, arguments)
        if self._process is None:
            self._fork()
        assert self._process is not None
        try:
            self._connection.send((method, arguments))
            answered = self._connection.poll(self.limit)
            error, value = self._connection.recv() if answered else (None, None)
        except (EOFError, OSError):
            self._process.join(self.limit)
            status = self._process.exitcode
            self.close()
            raise Died(_how(status)) from None
        except BaseException:  # an answer that comes after a KeyboardInterrupt is nobody's
            self.close()
            raise
        if not answered:
            self.close()
            raise Hung(f'gave no answer within {self.limit:.3g} seconds')
        if error is not None:
            raise Refused(error)
        return value

    def _call_here(self, method: str, arguments: Tuple[Any, ...]) -> Any:
        try:
            return getattr(self._tool, method)(*arguments)
        except (Exception, SystemExit) as error:
            raise Refused(describe(error)) from None

    def close(self) -> None:
        """End the process; the next call forks another."""
        if self._process is not None:
            self._connection.close()
            if self._process.is_alive():
                os.kill(self._process.pid, signal.SIGKILL)
            self._process.join()
            self._process = None

    def __enter__(self) -> 'Child':
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _fork(self) -> None:
        fork = multiprocessing.get_context('fork')
        self._connection, theirs = fork.Pipe()
        self._process = fork.Process(target=_serve, args=(self._tool, theirs, self._connection),
                                     daemon=True)
        self._process.start()
        theirs.close()


def _serve(tool: Any, connection: Connection, other_end: Connection) -> None:
    other_end.close()  # else the end of the parent would not be the end of the pipe
    faulthandler.disable()  # pytest's would print where the child died
    for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE):  # MXNet's handlers exit with 255
        signal.signal(number, signal.SIG_DFL)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # what a loss prints is no part of the report
        os.dup2(nowhere, stream)
    while True:
        sys.stdout = sys.stderr = said = io.StringIO()
        try:
            method, arguments = connection.recv()
        except (EOFError, OSError):
            return
        answer: Tuple[Optional[str], Any]
        try:
            answer = None, getattr(tool, method)(*arguments)
        except (Exception, SystemExit) as error:  # an exit of the loss's code is an answer too
            answer = describe(error, said.getvalue()), None
        connection.send(answer)


def describe(error: BaseException, said: str = '') -> str:
    """The error in one line.

    said : what was printed: where a CustomOp or an autograd.Function raised, MXNet prints that
        error and raises its own.
    """
    custom = re.search(r'Error in [\w.]+: Traceback[^\0]*', said)
    if custom:
        return typed(error, custom.group())
    extension = re.search(r'Extension Traceback:\s*\[0\] (.*)', str(error))
    if extension:
        return typed(error, extension.group(1))
    words = condensed(str(error))
    # Where a check was is not of interest, nor what it was, unless nothing else is said.
    check = re.search(r'Check failed: .*?: (?!:)(.*)', words)
    if check and check.group(1):
        return typed(error, check.group(1))
    return typed(error, words[max(words.find('Check failed: '), 0):])


def _how(status: Optional[int]) -> str:
    if status is not None and status < 0:
        return f'its process ended with {signal.Signals(-status).name}'
    return f'its process ended with exit status {status}'
