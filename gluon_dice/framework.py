"""Imports MXNet before anything else here does, or says in one sentence what to install."""
import sys

import numpy


class Unsupported(ImportError):
    """An MXNet on which nothing here can work."""


def refuse_unsupported(version: str) -> None:
    """
    Raises
    ------
    Unsupported : an MXNet without ``hybrid_forward``.
    """
    if int(version.split('.')[0]) >= 2:
        raise Unsupported('gluon_dice needs MXNet 1.x, for example `pip install mxnet==1.9.1`, as '
                          f'blocks have no hybrid_forward in 2.x; this is mxnet {version}')


def why_not() -> str:
    """Why there is no MXNet to work with; empty where there is."""
    try:
        import mxnet
        refuse_unsupported(mxnet.__version__)
    except AttributeError as error:  # since 1.24 NumPy lacks names that MXNet uses
        return (f'MXNet cannot be imported with NumPy {numpy.__version__}: install an older one, '
                f'pip install "numpy<1.24" ({error})')
    except Unsupported as error:
        return str(error)
    except ImportError as error:
        return f'gluon_dice needs MXNet: pip install "mxnet==1.9.1" "numpy<1.24" ({error})'
    return ''


def present() -> bool:
    """Whether there is an MXNet; it need not be where Python only runs a command of this package.

    Raises
    ------
    ImportError : there is none, and it is needed.
    """
    reason = why_not()
    if reason and sys.argv[:1] != ['-m']:  # Python's own entry until it has found the module
        raise ImportError(reason)
    return not reason
