"""Nets in the formats of 2013 and 2014, "layers {", which Caffe's own tool converts."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple, Optional

from soft_dice.arrays import CannotRun
from soft_dice.checker.words import condensed

from . import reader, spans

TOOL = 'upgrade_net_proto_text'
LIMIT = 120.0  # seconds
PROTOBUF = re.compile(r'Error parsing text-format caffe\.NetParameter: (.*)')


class Text(NamedTuple):
    """What is in a file, and as a net of today's format; the same where it is one."""

    written: str
    today: str


def read_text(path: str) -> Text:
    """The net in a file.

    Raises
    ------
    CannotRun : it cannot be read or, in the old format, not converted.
    """
    written = reader.read_text(path)
    there = {field.name for field in spans.parse(written, path)}
    if 'layers' not in there:
        return Text(written, written)
    if 'layer' in there:
        raise CannotRun(f'{path} has both "layer" and "layers": Caffe heeds one of them alone, so '
                        'take the others out')
    return Text(written, _converted(written, path))


def _converted(text: str, path: str) -> str:
    tool = _tool()
    if tool is None:
        raise CannotRun(f'{path} is in the old format ("layers"), and the tool of Caffe that '
                        f'converts it, {TOOL}, is not on PATH: `make env` puts it into '
                        '.runtime/bin, and a Caffe that was compiled has it in build/tools')
    with tempfile.TemporaryDirectory() as folder:
        old, new = (os.path.join(folder, name) for name in ('old', 'new'))
        with open(old, 'wb') as file:
            file.write(text.encode('utf-8', 'surrogateescape'))
        try:
            done = subprocess.run([tool, old, new], env={**os.environ, 'GLOG_logtostderr': '1'},
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=LIMIT)
        except (OSError, subprocess.SubprocessError) as error:
            raise CannotRun(f'{path} is in the old format ("layers"), and {tool}, which converts '
                            f'it, cannot run: {error}') from None
        if done.returncode or not os.path.exists(new):
            raise CannotRun(_refusal(path, done.stdout.decode(errors='replace')))
        return reader.read_text(new)


def _tool() -> Optional[str]:
    """Beside this Python, or on PATH."""
    folders = [os.path.dirname(sys.executable or ''), os.environ.get('PATH', '')]
    return shutil.which(TOOL, path=os.pathsep.join(folders))


def _refusal(path: str, said: str) -> str:
    found = [f'line {each}' for each in PROTOBUF.findall(said)]
    lines = [line for line in said.splitlines() if line.strip()] or ['it said nothing']
    reason = condensed([*lines[-1:], *found][-1]).rstrip('.')
    return (f'{path} is in the old format ("layers"), and {TOOL} cannot convert it: {reason}; what '
            "a fork of Caffe added, that fork's own tool converts")
