"""The arguments of a command: one that does not exist is answered with ours, as an option is."""
import argparse
import difflib
from typing import Any, Collection

from .ce_options import KNOWN
from .other_names import ours


def parser_of(prog: str) -> argparse.ArgumentParser:
    """A parser of subcommands, which has to put the name of the chosen one into ``command``."""
    return _Parser(prog=prog)


class _Parser(argparse.ArgumentParser):

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        chosen, unknown = self.parse_known_args(args, namespace)
        if unknown:
            words = [word for word in unknown if word.startswith('--')]
            flags = self._flags_of(chosen.command)
            self.error(f'unrecognized arguments: {" ".join(unknown)}'
                       + (instead(words[0], flags) if words else ''))
        return chosen

    def _flags_of(self, command: str) -> Collection[str]:
        choices = next(each.choices for each in self._actions
                       if isinstance(each, argparse._SubParsersAction))
        return choices[command]._option_string_actions


def instead(word: str, flags: Collection[str]) -> str:
    """The end of a sentence about a word that is none of the ``flags``; may be empty."""
    name = word.lstrip('-').partition('=')[0].replace('-', '_')
    options = [each for each in (*ours(name)[0], name) if each in KNOWN]
    meant = [flag for flag in (f'--{each.replace("_", "-")}' for each in options) if flag in flags]
    if options and '--option' in flags:
        meant.append(f'--option {options[0]}=VALUE')
    meant += difflib.get_close_matches(word.partition('=')[0], flags, 1, cutoff=0.75)
    return f'; did you mean {meant[0]}?' if meant else ''
