"""Arrays from files, for the commands: .npy memory-mapped, .npz, and NIfTI through nibabel."""
from pathlib import Path
from typing import Any, Tuple

import numpy as np


class CannotRun(Exception):
    """The user's mistake, in one sentence; a command prints it and exits with status 2."""


def load(text: str) -> np.ndarray:
    """The array in a file; ``file.npz:name`` names one of several.

    .npy is memory-mapped and so may be larger than memory.  .npz and NIfTI files are read whole.
    NIfTI volumes (X, Y, Z) and (X, Y, Z, C) become (1, X, Y, Z) and (1, C, X, Y, Z).

    Raises
    ------
    CannotRun : no such file, another format, or an array that is not of numbers.
    """
    path, name = _split(text)
    if not path.is_file():
        raise CannotRun(f'there is no file {path}')
    if path.suffix == '.npy':
        array = _npy(path)
    elif path.suffix == '.npz':
        array = _npz(path, name)
    elif path.name.endswith(('.nii', '.nii.gz')):
        array = _nifti(path)
    else:
        raise CannotRun(f'{path} must be a .npy, .npz, .nii or .nii.gz file')
    if array.dtype.kind not in 'biuf':
        raise CannotRun(f'{path} must hold numbers; it holds {array.dtype}')
    return array


def _split(text: str) -> Tuple[Path, str]:
    head, _, name = text.rpartition(':')
    if head.endswith('.npz'):
        return Path(head), name
    return Path(text), ''


def _npy(path: Path) -> np.ndarray:
    try:
        array = np.load(str(path), mmap_mode='r', allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise CannotRun(_unreadable(path, error)) from None
    if not isinstance(array, np.ndarray):
        raise CannotRun(f'{path} is an archive of arrays; name it .npz')
    return array


def _npz(path: Path, name: str) -> np.ndarray:
    try:
        archive = np.load(str(path), allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise CannotRun(f'{path} is a single array; name it .npy')
        with archive:
            names = list(archive.files)
            if not name and len(names) == 1:
                name = names[0]
            if name not in names:
                raise CannotRun(f'{path} holds {", ".join(names) or "nothing"}: name one, for '
                                f'example {path}:{names[0] if names else "pred"}')
            return archive[name]
    except (ValueError, OSError, EOFError) as error:
        raise CannotRun(_unreadable(path, error)) from None
    except Exception as error:  # zipfile's own errors have no common class
        if isinstance(error, CannotRun):
            raise
        raise CannotRun(_unreadable(path, error)) from None


def _unreadable(path: Path, error: Exception) -> str:
    if 'pickle' in str(error) or 'Python objects' in str(error):
        return (f'{path} is a pickled array or no array at all; pickles can run code and are not '
                'read: save it again with np.save and a numeric dtype')
    return f'{path} cannot be read: {error}'


def _nifti(path: Path) -> np.ndarray:
    try:
        import nibabel
    except ImportError:
        raise CannotRun(f'{path} needs the package nibabel: pip install nibabel') from None
    try:
        image: Any = nibabel.load(str(path))
        array = np.asarray(image.dataobj)
    except Exception as error:  # nibabel's own errors have no common class
        raise CannotRun(_unreadable(path, error)) from None
    if array.ndim == 4:
        array = np.moveaxis(array, -1, 0)
    elif array.ndim != 3:
        raise CannotRun(f'{path} must be a volume (X, Y, Z) or (X, Y, Z, C); it has shape '
                        f'{array.shape}')
    return array[None]
