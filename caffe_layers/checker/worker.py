"""Runs code that may end its process, or hang, in another process.

A failed CHECK in Caffe aborts.  So a *template* process imports Caffe once and forks a *child* for
each session, which imports the user's module afresh and does what it is asked::

    with Session(Make, *arguments) as session:      # in the child: tool = Make(*arguments)
        session.call('method', *arguments)          # in the child: tool.method(*arguments)

A child that ends is a Died, and the next call starts another one.
"""
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from multiprocessing import reduction
from multiprocessing.connection import Connection, Pipe
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set

from soft_dice.arrays import CannotRun
from soft_dice.checker.subject import Died, Hung, Refused
from soft_dice.checker.words import condensed, described

SILENT = {'GLOG_minloglevel': '2', 'GLOG_logtostderr': '1', 'MPLBACKEND': 'Agg'}
START = 120.0  # seconds to import Caffe, or a user's module and whatever it imports


class Begin(NamedTuple):
    """What a child needs to see the world as its caller does, and what it is to make."""

    path: List[str]
    folder: str
    environment: Dict[str, str]
    make: Callable[..., Any]
    arguments: Any


class Answer(NamedTuple):
    """kind : 'value', or the name of the exception to raise, whose message the value then is."""

    kind: str
    value: Any


class Template:
    """The process that has imported Caffe; started when first needed, again if it has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: Optional[subprocess.Popen] = None
        self._control: Optional[Connection] = None

    def fork(self, *handles: int) -> int:
        """A child that holds these open files; its process id."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()
            assert self._control is not None and self._process is not None
            self._control.send(len(handles))
            for handle in handles:
                reduction.send_handle(self._control, handle, self._process.pid)
            return self._control.recv()

    def kill(self, child: int) -> int:
        """End a child, if it has not ended; its wait status."""
        with self._lock:
            assert self._control is not None
            try:
                self._control.send(-child)
                return self._control.recv()
            except (OSError, EOFError):  # the template itself has ended, with all its children
                return signal.SIGKILL

    def _start(self) -> None:
        self._control, theirs = Pipe()
        command = [sys.executable, '-c', 'from caffe_layers.checker.worker import template; '
                   f'template({theirs.fileno()})']
        path = os.pathsep.join([os.getcwd()] + sys.path)
        with tempfile.TemporaryFile() as errors:
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], env={**os.environ, **SILENT,
                                                          'PYTHONPATH': path},
                stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
            theirs.close()
            try:
                self._control.recv()
            except EOFError:
                errors.seek(0)
                words = errors.read().decode(errors='replace').strip().splitlines()
                raise CannotRun(f'Caffe cannot be imported: {words[-1] if words else "?"}') \
                    from None


_template = Template()


class Session:
    """A child process that holds one object, made by ``make(*arguments)``.

    Raises
    ------
    CannotRun : the object cannot be made: the user's mistake.
    Refused : code in the child raised an exception; the message begins with its type.
    Died : the child ended; Hung, a Died, where it gave no answer within ``limit`` seconds.
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any, limit: float = 20.0) -> None:
        self._make, self._arguments, self.limit = make, arguments, limit
        self._child: Optional[int] = None
        self._begin()

    def __enter__(self) -> 'Session':
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def call(self, method: str, *arguments: Any) -> Any:
        if self._child is None:
            self._begin()
        return self._ask((method, arguments), self.limit)

    def close(self) -> int:
        """End the child; its wait status."""
        child, self._child = getattr(self, '_child', None), None
        if child is None:
            return 0
        self._connection.close()
        return _template.kill(child)

    def _begin(self) -> None:
        self._connection, theirs = Pipe()
        self._said = tempfile.TemporaryFile()
        self._child = _template.fork(theirs.fileno(), self._said.fileno())
        theirs.close()
        self._ask(Begin(sys.path, os.getcwd(), dict(os.environ), self._make, self._arguments),
                  START)

    def _ask(self, request: Any, limit: float) -> Any:
        try:
            self._connection.send(request)
            if not self._connection.poll(limit):
                self.close()
                raise Hung(f'gave no answer within {limit:.3g} seconds')
            answer = self._connection.recv()
        except (OSError, EOFError):
            status = self.close()
            self._said.seek(0)
            raise Died(_last_words(self._said.read().decode(errors='replace'), status)) from None
        except BaseException:  # an answer that comes after a KeyboardInterrupt is nobody's
            self.close()
            raise
        if answer.kind == 'value':
            return answer.value
        raise {'CannotRun': CannotRun, 'Refused': Refused}[answer.kind](answer.value)


def _last_words(said: str, status: int) -> str:
    """Caffe's last fatal message, or what else is known of how a process ended."""
    fatal = re.findall(r'^F\d{4,8} [^\]]*?([\w.]+:\d+)\] (.*)$', said, re.MULTILINE)
    if fatal:
        place, message = fatal[-1]
        return f'{message.strip()} ({place})'
    if os.WIFSIGNALED(status):
        how = f'ended by {signal.Signals(os.WTERMSIG(status)).name}'
    else:
        how = f'ended with exit status {os.WEXITSTATUS(status)}'
    lines = [condensed(line) for line in said.splitlines()]
    return ': '.join([how] + [line for line in lines if line][-1:])


def template(control_handle: int) -> None:
    """The template process.  A positive number n: fork a child with the n open files that follow;
    a negative number: kill and wait for that child.
    """
    import caffe  # noqa: F401
    caffe.set_mode_cpu()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller decides what Ctrl-C ends
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    control = Connection(control_handle)
    control.send('ready')
    living: Set[int] = set()
    while True:
        try:
            order = control.recv()
        except EOFError:  # the caller has ended; a child that hangs would not notice
            for child in living:
                os.kill(child, signal.SIGKILL)
            return
        if order < 0:
            living.discard(-order)
            os.kill(-order, signal.SIGKILL)  # not waited for yet, so the id is still its own
            control.send(os.waitpid(-order, 0)[1])
            continue
        handles = [reduction.recv_handle(control) for _ in range(order)]
        child = os.fork()
        if not child:
            control.close()
            _serve(*handles)
            os._exit(0)
        for handle in handles:
            os.close(handle)
        living.add(child)
        control.send(child)


def _serve(connection_handle: int, said_handle: int) -> None:
    """The child: what the code under test prints goes where the caller reads its last words."""
    os.dup2(said_handle, 1)
    os.dup2(said_handle, 2)
    connection = Connection(connection_handle)
    tool: Any = None
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        said_before = os.fstat(2).st_size
        try:
            if isinstance(request, Begin):
                _enter(request)
                answer, tool = Answer('value', None), request.make(*request.arguments)
            else:
                method, arguments = request
                answer = Answer('value', getattr(tool, method)(*arguments))
        except CannotRun as error:
            answer = Answer('CannotRun', str(error))
        except BaseException as error:  # SystemExit, too: a layer may raise anything
            answer = Answer('Refused', _described(error, said_before))
        connection.send(answer)


def _described(error: BaseException, said_before: int) -> str:
    """The error in one line.  Where Caffe met one of Python's it printed that and left none."""
    if 'without setting an error' not in str(error):
        return described(error)
    sys.stderr.flush()
    printed = os.pread(2, 1 << 20, said_before).decode(errors='replace')
    return condensed(printed) or described(error)


def _enter(begin: Begin) -> None:
    os.environ.clear()
    os.environ.update({**begin.environment, **SILENT})
    os.chdir(begin.folder)
    sys.path[:] = [begin.folder] + [entry for entry in begin.path if entry != begin.folder]
