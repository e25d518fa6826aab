"""The version of all three packages; setup.py reads it from here, and the one file has it too."""
from typing import Any

__version__ = '0.1.0'


def add_version(parser: Any) -> None:
    """Let a command, an ArgumentParser, tell its version."""
    parser.add_argument('--version', action='version', version=f'gluon-dice {__version__}')
