"""The version of all three packages; setup.py reads it from here."""
import argparse

__version__ = '0.1.0'


def add_version(parser: argparse.ArgumentParser) -> None:
    """Let a command tell its version."""
    parser.add_argument('--version', action='version', version=f'gluon-dice {__version__}')
