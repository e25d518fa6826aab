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
                sys.stderr.write(f'{type(self).__name__}.{method.__name__}: {error}\n')
                sys.stderr.flush()
            raise
    return reporting


def in_caffe_command() -> bool:
    # Python inside the caffe command never saw a command line: there is no argv (2.7 to 3.6), or []
    # (3.7) or [''].  (Nor did an interactive Python, where the message then comes twice.)
    return getattr(sys, 'argv', []) in ([], [''])
