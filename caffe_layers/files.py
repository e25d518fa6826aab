"""Which file ``add`` writes, and how: never half a file, never over a file that was not named."""
import os
from typing import Optional

from soft_dice.arrays import CannotRun
from soft_dice.checker.report import replacing


def target(path: str, output: Optional[str], in_place: bool, force: bool) -> str:
    """The file to write.  Raises CannotRun where it must not, or cannot, be written.

    path : of the net.
    output, in_place, force : as on the command line.
    """
    if in_place:
        if output or force:
            raise CannotRun('--in-place writes the net itself: give no --output or --force with it')
        return path
    root, extension = os.path.splitext(path)
    found = output or f'{root}_dice{extension}'
    if os.path.exists(found) and os.path.samefile(found, path):
        raise CannotRun(f'{found} is the net itself; --in-place rewrites it and keeps a backup')
    if os.path.exists(found) and not force:
        raise CannotRun(f'{found} exists; name another with --output, or overwrite it with '
                        '--force')
    if not os.path.isdir(os.path.dirname(os.path.abspath(found))):
        raise CannotRun(f'there is no folder for {found}')
    return found


def write(path: str, text: str) -> str:
    """Write a net; return what to tell the user.  Raises CannotRun where it cannot be written."""
    with replacing(path) as file:
        file.write(_bytes(text))
    return f'Written: {path}'


def rewrite(path: str, old_text: str, text: str) -> str:
    """As :func:`write`, over ``old_text``, which goes into a backup."""
    backup = _backup(path, _bytes(old_text))
    real = os.path.realpath(path)  # else a link would become a file
    mode = os.stat(real).st_mode
    try:
        write(real, text)
        os.chmod(real, mode)
    except CannotRun:
        os.unlink(backup)
        raise
    return f'Written: {path}; what it was is in {backup}'


def _bytes(text: str) -> bytes:
    return text.encode('utf-8', 'surrogateescape')  # as reader.read_text decodes


def _backup(path: str, data: bytes) -> str:
    """Write PATH.bak, or PATH.bak2 and so on: never over another."""
    number = 1
    while True:
        backup = f'{path}.bak{number if number > 1 else ""}'
        try:
            with open(backup, 'xb') as file:
                file.write(data)
            return backup
        except FileExistsError:
            number += 1
        except OSError as error:
            raise CannotRun(f'{backup} cannot be written: {error.strerror}') from None
