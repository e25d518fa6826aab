"""Errors that are seen.  The caffe command ends on a Python exception without printing it."""
import functools
import sys
from typing import Any, Callable


def reported(method: Callable[..., None]) -> Callable[..., None]:
    """A layer's method that, under the caffe command, prints its error before it raises it."""
    @functools.wraps(method)
    def reporting(self: Any, *args: Any) -> None:
        try:
            method(self, *args)
        except Exception as error:
            if in_caffe_command():
                print(f'{type(self).__name__}.{method.__name__}: {error}', file=sys.stderr,
                      flush=True)
            raise
    return reporting


def in_caffe_command() -> bool:
    # Python inside the caffe command never saw a command line.  (Nor did an interactive Python,
    # where the message then comes twice.)
    return sys.argv == ['']
