"""Custom operators run in a thread of MXNet's own; what that asks of forks and of contexts.

MXNet waits for all computations before a fork, in the thread that forks, which holds Python's lock
(the GIL); an operator that Python computes needs that lock, so both would wait for ever.  Here
MXNet is waited for before that, without the lock.  Every fork is meant, those of a DataLoader and
of ``subprocess`` too, so the C library is told.

Since MXNet 1.5 this is not enough: its threads need the lock once more when an operator has given
its result, and MXNet waits for these threads, too.
"""
import ctypes
import functools
import os
from typing import Any

import mxnet as mx

from .compat import RELEASE

_home = os.getpid()


def prepare(context: mx.Context) -> None:
    """What every Custom operator does when it is made.

    context : where it will run.

    Raises
    ------
    RuntimeError : as :func:`refuse_fork`.
    """
    refuse_fork()
    wait_before_forks()
    if RELEASE < (1, 3):  # MXNet's thread makes it everybody's default for as long as it runs
        context.__class__ = _Elsewhere


def refuse_fork() -> None:
    """Refuse a Custom operator where it would never give an answer.

    Raises
    ------
    RuntimeError : before MXNet 1.5, in a process forked from one that had imported this.
    """
    if RELEASE < (1, 5) and os.getpid() != _home:
        raise RuntimeError(f'MXNet {mx.__version__} runs no Custom operator in a forked process, '
                           'so the loss would never give an answer: start the process anew, for '
                           "example with multiprocessing.get_context('spawn')")


@functools.lru_cache(maxsize=None)
def wait_before_forks() -> None:
    """From now on let every fork wait for what MXNet computes."""
    libc = ctypes.CDLL(None)
    # Handlers run in the opposite order of their registration, so this one before MXNet's.
    if hasattr(libc, '__register_atfork'):  # of glibc, whose pthread_atfork no library exports
        libc['__register_atfork'](_wait, None, None, None)
    else:
        libc.pthread_atfork(_wait, None, None)


@ctypes.CFUNCTYPE(None)
def _wait() -> None:
    try:
        mx.nd.waitall()  # ctypes gives the lock away
    except mx.base.MXNetError:  # whoever reads the result gets it
        pass


class _Elsewhere(mx.Context):
    """A context that ``with`` does not make the default."""

    def __enter__(self) -> mx.Context:
        return self

    def __exit__(self, *_: Any) -> None:
        pass
