"""The kernels: stages 1 and 3 in compiled code.  Here is decided whether they are used.

``SOFT_DICE_NATIVE=0`` in the environment keeps to plain NumPy (and, in Gluon, to F operators);
``1`` makes it an error where the kernels cannot be used; unset, they are used where they are there.
It is read at every call.
"""
import os
from typing import NamedTuple, Optional

from .library import Library, load

VARIABLE = 'SOFT_DICE_NATIVE'


class Status(NamedTuple):
    """Whether the kernels are in use, and why or why not."""

    in_use: bool
    reason: str


def requested() -> Optional[bool]:
    """What SOFT_DICE_NATIVE says; None where it is unset or empty.

    Raises
    ------
    ValueError : anything but 0 and 1.
    """
    value = os.environ.get(VARIABLE, '')
    if value not in ('', '0', '1'):
        raise ValueError(f'{VARIABLE} must be 0 (never use the kernels) or 1 (always), or be '
                         f'unset; got {value!r}')
    return {'': None, '0': False, '1': True}[value]


def kernels() -> Optional[Library]:
    """The kernels where they are to be used; None where NumPy is.

    Raises
    ------
    RuntimeError : SOFT_DICE_NATIVE=1, and they cannot be used.
    """
    wanted = requested()
    if wanted is False:
        return None
    library, reason = load()
    if library is None and wanted:
        raise RuntimeError(f'{VARIABLE}=1, but the kernels cannot be used: {reason}')
    return library


def status() -> Status:
    """Whether a call now would use the kernels; never raises for want of them.

    Raises
    ------
    ValueError : as :func:`requested`.
    """
    if requested() is False:
        return Status(False, f'{VARIABLE}=0; unset it to use the kernels')
    library, reason = load()
    return Status(library is not None, reason)
