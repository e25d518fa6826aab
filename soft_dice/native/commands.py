"""``python -m soft_dice info`` and ``build``."""
import argparse

from . import kernels, requested, status
from .build import install_kernels
from .library import load


def add_build_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--force', action='store_true', help='even if they are there')


def build(arguments: argparse.Namespace) -> int:
    """Compile the kernels: beside their sources, or in the cache where that is not writable."""
    print(install_kernels(arguments.force))
    return 0


def info(_: argparse.Namespace) -> int:
    """Say what computes the sums over pixels and why; status 1 where it is not the kernels."""
    in_use, reason = status()
    kernels()  # with SOFT_DICE_NATIVE=1 the error that every call would raise
    print(f'in use            {"the kernels" if in_use else "NumPy"}')
    print(f'because           {reason}')
    library = load()[0]
    if in_use and library is not None:
        print(f'library           {library.path}')
        print(f'instruction sets  {", ".join(library.instruction_sets)}; '
              f'in use {library.instruction_set}')
        print(f'threads           {library.threads} (OMP_NUM_THREADS)')
    return 0 if in_use or requested() is False else 1
