"""What the workers of a dist_sync KVStore tell each other, and how long one waits for the others.

MXNet waits forever where a worker, a server or the scheduler has died or never came.  So whatever
may wait is done in a thread of its own here, and waited for as long as was asked.  Nothing can end
such a thread, and MXNet cannot be left in good order while it waits: see :func:`_leave`.
"""
import atexit
import logging
import os
import queue
import socket
import sys
import threading
from typing import Any, Callable, Dict, List, Optional, Tuple

import mxnet as mx
import numpy as np

FIRST_KEY = 100000  # Trainer numbers its parameters from 0; from 215331 on MXNet's hash overflows
DIGITS, BITS = 3, 22  # of a float64
ANSWER = 1.0  # seconds in which a machine accepts a connection


class Lost(RuntimeError):
    """A worker, a server or the scheduler was waited for in vain; the process has to end."""


class Connection:
    """A dist_sync KVStore, and the addresses of its workers.

    Every worker must make it at the same time.

    Raises
    ------
    ValueError : another kind of KVStore.
    Lost : not all workers made it within ``timeout`` seconds.
    RuntimeError : as :meth:`gather`.
    """

    known: Dict[int, 'Connection'] = {}  # by the id of a KVStore, which is kept here as well
    lost: Optional[str] = None  # why; of the process, which has one connection to the scheduler

    def __init__(self, kvstore: Any, timeout: float) -> None:
        kind = getattr(kvstore, 'type', type(kvstore).__name__)
        if 'dist' not in kind or 'sync' not in kind or 'async' in kind:
            raise ValueError("kvstore must be one of kind 'dist_sync', for example "
                             f'gluon_dice.parallel.connect(); got {kind!r}')
        self.kvstore = kvstore
        self.timeout = timeout
        self.rank, self.number = kvstore.rank, kvstore.num_workers
        self._next_key = FIRST_KEY
        self._peers: List[Tuple[str, int]] = []
        # Never accepted from: that the system lets others connect to it says that this process is.
        self._presence = socket.socket()
        self._exchange_addresses()
        self.known[id(kvstore)] = self

    @classmethod
    def of(cls, kvstore: Any, timeout: float) -> 'Connection':
        """The one connection of a KVStore."""
        return cls.known.get(id(kvstore)) or cls(kvstore, timeout)

    def new_key(self, size: int, timeout: float) -> int:
        """A key of so many numbers per worker.  Every worker must ask for it, in the same order.
        """
        key, self._next_key = self._next_key, self._next_key + 1
        zeros = mx.nd.zeros((self.number, DIGITS * size + 1))
        self.wait(lambda: self.kvstore.init(key, zeros), timeout, 'to agree on a key')
        return key

    def bytes_of(self, size: int) -> int:
        """That a worker sends to gather so many numbers."""
        return 4 * self.number * (DIGITS * size + 1)

    def gather(self, key: int, numbers: Callable[[], np.ndarray], timeout: float, what: str
               ) -> np.ndarray:
        """What ``numbers``, (size,) float64, gives on every worker, (workers, size).

        The servers add up, in float32 and in any order; so every worker has a row of its own, zeros
        elsewhere, and its numbers arrive to the last bit.

        Raises
        ------
        Lost : not every worker has called this within ``timeout`` seconds.
        RuntimeError : the servers do not add up what is pushed.
        """
        def exchange() -> Tuple[np.ndarray, np.ndarray]:
            pushed = _encoded(numbers())
            table = np.zeros((self.number, len(pushed)), dtype='float32')
            table[self.rank] = pushed
            out = mx.nd.zeros(table.shape)
            self.kvstore.push(key, mx.nd.array(table))
            self.kvstore.pull(key, out=out)
            return pushed, out.asnumpy()

        own, found = self.wait(exchange, timeout, what)
        if not (found[:, 0] == 1).all() or not (found[self.rank] == own).all():
            raise RuntimeError(
                f'the servers must add up what the workers push, but 1 came back as '
                f'{found[self.rank, 0]:g}: they run an optimizer on it, or compress it; make the '
                'Trainer with update_on_kvstore=False and without compression_params')
        return _decoded(found)

    def wait(self, function: Callable[[], Any], timeout: float, what: str) -> Any:
        """What ``function`` returns or raises, unless it takes more than ``timeout`` seconds."""
        return bounded(function, timeout,
                       lambda: f'worker {self.rank} of {self.number} has waited {timeout:g} s '
                               f'{what}; {self.present()}')

    def present(self) -> str:
        """Which workers are there, as far as can be found out."""
        missing = [rank for rank, (host, port) in enumerate(self._peers)
                   if port and not _answers(host, port)]
        if not self._peers:
            return f'not all of the {self.number} workers are there; {scheduler_state()}'
        there = f'{self.number - len(missing)} of {self.number} workers are there'
        if missing:
            names = ', '.join(f'worker {rank} on {self._peers[rank][0]}' for rank in missing)
            return f'{there}, and no answer comes from {names}'
        return (f'{there}, so that one of them is stuck or makes other calls than the rest, or a '
                f'server is gone; {scheduler_state()}')

    def _exchange_addresses(self) -> None:
        own = np.array(self._listen(), dtype='float64')
        key = self.new_key(len(own), self.timeout)
        found = self.gather(key, lambda: own, self.timeout, 'for the other workers to join')
        self._peers = [(socket.inet_ntoa(int(host).to_bytes(4, 'big')), int(port))
                       for host, port in found]

    def _listen(self) -> Tuple[int, int]:
        """The address of ``_presence`` as two numbers, zeros where there is none."""
        try:
            with socket.create_connection(_scheduler(), ANSWER) as route:
                host = route.getsockname()[0]
            packed = socket.inet_aton(host)
            self._presence.bind((host, 0))
            self._presence.listen()
        except OSError:  # IPv6, or no sockets allowed: then nobody can tell who is missing
            return 0, 0
        return int.from_bytes(packed, 'big'), self._presence.getsockname()[1]


def _encoded(numbers: np.ndarray) -> np.ndarray:
    """A 1, and the bits of float64 as whole numbers that a float32 holds."""
    bits = np.ascontiguousarray(numbers, dtype='float64').view('uint64')
    digits = [bits >> np.uint64(BITS * i) & np.uint64(2 ** BITS - 1) for i in range(DIGITS)]
    return np.concatenate([[1], *digits]).astype('float32')


def _decoded(found: np.ndarray) -> np.ndarray:
    digits = np.split(found[:, 1:].astype('uint64'), DIGITS, axis=1)
    bits = sum(digit << np.uint64(BITS * i) for i, digit in enumerate(digits))
    return np.ascontiguousarray(bits, dtype='uint64').view('float64')


def connect(timeout: float = 60.0) -> Any:
    """The KVStore 'dist_sync' of this worker, once all workers and servers are there.

    Who and where they are says the environment, DMLC_ROLE and so on, as
    ``python -m gluon_dice.launch`` sets it.

    Parameters
    ----------
    timeout : seconds to wait for them.

    Raises
    ------
    ValueError : the environment does not say it.
    RuntimeError : not all came in time.  The process has to end then; it does so with status 1.
    """
    wanted = ('DMLC_ROLE', 'DMLC_PS_ROOT_URI', 'DMLC_PS_ROOT_PORT', 'DMLC_NUM_WORKER',
              'DMLC_NUM_SERVER')
    missing = [name for name in wanted if not os.environ.get(name)]
    if missing:
        raise ValueError(f'{missing[0]} must be in the environment; start the workers with, for '
                         'example, python -m gluon_dice.launch --workers 2 -- python train.py')
    timeout = checked_timeout(timeout)
    kvstore = bounded(lambda: mx.kv.create('dist_sync'), timeout, lambda: (
        f'a worker has waited {timeout:g} s to join; not all of the '
        f'{os.environ["DMLC_NUM_WORKER"]} workers and {os.environ["DMLC_NUM_SERVER"]} server(s) '
        f'have come; {scheduler_state()}'))
    Connection(kvstore, timeout)
    return kvstore


def bounded(function: Callable[[], Any], timeout: float, reason: Callable[[], str]) -> Any:
    """What ``function`` returns or raises.

    Raises
    ------
    Lost : it takes more than ``timeout`` seconds, or did so before.
    """
    if Connection.lost:
        raise Lost(Connection.lost)
    done: 'queue.Queue[Tuple[bool, Any]]' = queue.Queue()

    def run() -> None:
        try:
            done.put((True, function()))
        except BaseException as error:  # raised in the thread that waits
            done.put((False, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        succeeded, result = done.get(timeout=timeout)
    except queue.Empty:
        Connection.lost = reason()
        raise Lost(Connection.lost) from None
    if succeeded:
        return result
    raise result


def checked_timeout(timeout: float) -> float:
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < 1e6:
        raise ValueError('timeout must be a number of seconds > 0, for example 60; '
                         f'got {timeout!r}')
    return float(timeout)


def _scheduler() -> Tuple[str, int]:
    return os.environ['DMLC_PS_ROOT_URI'], int(os.environ['DMLC_PS_ROOT_PORT'])


def scheduler_state() -> str:
    host, port = _scheduler()
    state = 'answers' if _answers(host, port) else 'does not answer'
    return f'the scheduler, {host}:{port}, {state}'


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), ANSWER).close()
    except OSError:
        return False
    return True


@atexit.register
def _leave() -> None:
    """End the process although MXNet waits, or would wait, for others that are not there.

    MXNet's destructors wait until nothing is under way, and for the other workers.  That they are
    there is asked first.  Where they are not, or an exception ends this process and they could wait
    long, it ends without these destructors: status 1, output flushed.  What other modules
    registered with atexit before this one is not called then.
    """
    if not Connection.known and not Connection.lost:
        return
    failed = bool(Connection.lost) or hasattr(sys, 'last_type')  # an exception was printed
    try:
        for connection in [] if failed else Connection.known.values():
            connection.wait(connection.kvstore._barrier, connection.timeout,
                            'for the other workers to end')
    except Lost as error:
        print(f'gluon_dice: {error}', file=sys.stderr)
        failed = True
    if failed:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
