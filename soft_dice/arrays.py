"""Arrays from files, for the commands: of NumPy, and of the libraries that read other formats."""
import importlib
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np


class Loaded(NamedTuple):
    """array, and what the file is one of, in the plural."""

    array: np.ndarray
    form: str


Reader = Callable[[Path, str], Loaded]  # of a path, and of a name inside of the file


class CannotRun(Exception):
    """The user's mistake, in one sentence; a command prints it and exits with status 2."""


def load(text: str) -> Loaded:
    """What is in a file; ``file.npz:name`` and ``file.h5:name`` name one of several.

    .npy is memory-mapped and so may be larger than memory; others are read whole.  A file that
    holds a single image or volume gets a first axis of length 1: an image becomes (1, Y, X), a
    volume of NIfTI, .mgz or .nrrd (1, X, Y, Z) and one with channels (1, C, X, Y, Z).  Of a palette
    image come the numbers of the colours.

    Raises
    ------
    CannotRun : no such file, another format, a library that is missing, or an array that is not of
        numbers.
    """
    path, name = _split(text)
    if not path.is_file():
        raise CannotRun(f'there is no file {path}')
    file = path.name.lower()
    if file.endswith(('.jpg', '.jpeg')):
        raise CannotRun(f'{path} is a JPEG, which does not keep the numbers of a label: save it as '
                        'a PNG from where it came')
    reader = next((READERS[each] for each in READERS if file.endswith(each)), None)
    if reader is None:
        *some, last = READERS
        raise CannotRun(f'{path} must be a {", ".join(some)} or {last} file')
    loaded = reader(path, name)
    if loaded.array.dtype.kind not in 'biuf':
        raise CannotRun(f'{path} must hold numbers; it holds {loaded.array.dtype}')
    return loaded


def _split(text: str) -> Tuple[Path, str]:
    head, _, name = text.rpartition(':')
    if head.lower().endswith(('.npz', *HDF5)):
        return Path(head), name
    return Path(text), ''


def _npy(path: Path, _: str) -> Loaded:
    try:
        array = np.load(str(path), mmap_mode='r', allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise CannotRun(_unreadable(path, error)) from None
    if not isinstance(array, np.ndarray):
        raise CannotRun(f'{path} is an archive of arrays; name it .npz')
    return Loaded(array, 'arrays')


def _npz(path: Path, name: str) -> Loaded:
    try:
        archive = np.load(str(path), allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise CannotRun(f'{path} is a single array; name it .npy')
        with archive:
            return Loaded(archive[_chosen(path, name, archive.files)], 'arrays')
    except CannotRun:
        raise
    except Exception as error:  # zipfile's own errors have no common class
        raise CannotRun(_unreadable(path, error)) from None


def _chosen(path: Path, name: str, names: Sequence[str]) -> str:
    """The one that was named, or the only one."""
    if not name and len(names) == 1:
        return names[0]
    if name not in names:
        shown = [*names[:8], '...'] if len(names) > 8 else names
        raise CannotRun(f'{path} holds {", ".join(shown) or "nothing"}: name one, for example '
                        f'{path}:{names[0] if names else "pred"}')
    return name


def _unreadable(path: Path, error: Exception) -> str:
    if 'pickle' in str(error) or 'Python objects' in str(error):
        return (f'{path} is a pickled array or no array at all; pickles can run code and are not '
                'read: save it again with np.save and a numeric dtype')
    return f'{path} cannot be read: {" ".join(str(error).split())}'


def _by_library(module: str, package: str, read: Callable[[Any, Path, str], Loaded]) -> Reader:
    """A reader that needs a library, which need not be installed."""
    def reader(path: Path, name: str) -> Loaded:
        try:
            library = importlib.import_module(module)
        except ImportError:
            raise CannotRun(f'{path} needs the package {package}: pip install {package}') from None
        try:
            return read(library, path, name)
        except CannotRun:
            raise
        except Exception as error:  # the libraries' own errors have no common class
            raise CannotRun(_unreadable(path, error)) from None
    return reader


def _image(pillow: Any, path: Path, _: str) -> Loaded:
    """(1, Y, X), or (1, pages, Y, X)."""
    pillow.MAX_IMAGE_PIXELS = None  # which is against bombs from strangers
    pages = []
    with pillow.open(str(path)) as image:
        form = {'P': 'palette images', '1': 'one-bit images'}.get(image.mode, 'grey images')
        for page in range(getattr(image, 'n_frames', 1)):
            image.seek(page)
            pages.append(np.asarray(image))
            if len(image.getbands()) > 1:
                raise CannotRun(f'{path} must hold one number per pixel; it is an image of mode '
                                f'{image.mode}' + _advice(pages[-1], image.getbands()))
    return Loaded(np.stack(pages)[None] if len(pages) > 1 else pages[0][None], form)


def _advice(pixels: np.ndarray, bands: Sequence[str]) -> str:
    colours = pixels[..., [i for i, band in enumerate(bands) if band != 'A']]
    if (colours == colours[..., :1]).all():
        return ', whose colours are alike: save one of them, with Pillow image.getchannel(0)'
    return ': turn each colour into the number of its class'


def _volume(nibabel: Any, path: Path, _: str) -> Loaded:
    array = np.asarray(nibabel.load(str(path)).dataobj)
    return Loaded(_with_channels_first(path, array, -1), 'volumes')


def _nrrd(nrrd: Any, path: Path, _: str) -> Loaded:
    array, header = nrrd.read(str(path))
    channels = [axis for axis, kind in enumerate(header.get('kinds', []))
                if kind in ('list', 'vector')]
    return Loaded(_with_channels_first(path, array, channels[0] if channels else -1), 'volumes')


def _with_channels_first(path: Path, array: np.ndarray, axis: int) -> np.ndarray:
    """(1, X, Y), (1, X, Y, Z), or (1, C, X, Y, Z) of an array whose channels are on ``axis``."""
    if array.ndim == 4:
        array = np.moveaxis(array, axis, 0)
    elif array.ndim not in (2, 3):
        raise CannotRun(f'{path} must be a volume (X, Y, Z) or (X, Y, Z, C); it has shape '
                        f'{array.shape}')
    return array[None]


def _hdf5(h5py: Any, path: Path, name: str) -> Loaded:
    with h5py.File(str(path), 'r') as file:
        names: List[str] = []
        file.visititems(lambda each, item: names.append(each) if isinstance(item, h5py.Dataset)
                        else None)
        return Loaded(np.asarray(file[_chosen(path, name, names)]), 'arrays')


HDF5 = ('.h5', '.hdf5')
READERS: Dict[str, Reader] = {
    '.npy': _npy, '.npz': _npz,
    **dict.fromkeys(('.png', '.tif', '.tiff', '.bmp', '.gif'),
                    _by_library('PIL.Image', 'pillow', _image)),
    **dict.fromkeys(('.nii', '.nii.gz', '.mgz', '.mgh', '.img', '.hdr'),
                    _by_library('nibabel', 'nibabel', _volume)),
    **dict.fromkeys(HDF5, _by_library('h5py', 'h5py', _hdf5)),
    **dict.fromkeys(('.nrrd', '.nhdr'), _by_library('nrrd', 'pynrrd', _nrrd))}
