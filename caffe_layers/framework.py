"""Imports Caffe before anything else here does, or says in one sentence what is missing."""
import sys


def why_not() -> str:
    """Why there is no Caffe to work with; empty where there is."""
    try:
        import caffe  # noqa: F401
    except Exception as error:  # with a protobuf that is too new it is a TypeError of many lines
        first = (str(error) or type(error).__name__).splitlines()[0]
        return (f'this Python cannot import Caffe ({first}): take the Python that your Caffe was '
                'built for, or let `make env` build both')
    return ''


def present() -> bool:
    """Whether there is a Caffe; it need not be where Python only runs a command of this package.

    Raises
    ------
    ImportError : there is none, and it is needed.
    """
    reason = why_not()
    # '-m' is what Python puts there until it has found the module that it is to run; a Python in
    # the caffe command may have nothing there.
    if reason and getattr(sys, 'argv', [])[:1] != ['-m']:
        raise ImportError(reason)
    return not reason
