"""Runs commands: their output goes into a log, and one line per step says how far it is."""
import os
import re
import subprocess
import sys
import time
from pathlib import Path


class Progress:
    """One line per step; on a terminal the line of a running step keeps counting."""

    interval = 0.2 if sys.stdout.isatty() else 15.0

    def __init__(self, label: str) -> None:
        self.label = label
        self.start = self.shown = time.monotonic()

    def text(self, detail: str) -> str:
        return f'{self.label:<22}{detail:<50}{time.monotonic() - self.start:5.0f} s'

    def update(self, detail: str) -> None:
        now = time.monotonic()
        if now - self.shown < self.interval:
            return
        self.shown = now
        if sys.stdout.isatty():
            print('\r' + self.text(detail), end='', flush=True)
        else:
            print(self.text(detail), flush=True)

    def done(self, detail: str) -> None:
        print(('\r' if sys.stdout.isatty() else '') + self.text(detail), flush=True)


def run(command, log: Path, progress: Progress, detail=lambda: '...', **options) -> int:
    """Run a command with its output in a log, counting on; return its exit code.

    The command inherits the lock: should this process be killed, the lock stays taken until the
    command has ended too, and the next run does not meet it at work.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, 'ab') as output:
        process = subprocess.Popen(
            [str(word) for word in command], close_fds=False, stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, **options)
        try:
            while True:
                try:
                    return process.wait(timeout=0.1)
                except subprocess.TimeoutExpired:
                    progress.update(detail())
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()


def output_of(command: list, folder='/') -> str:
    """What a short command prints, in English; nothing is said of one that fails."""
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, universal_newlines=True, cwd=folder,
                          env=dict(os.environ, LC_ALL='C')).stdout


def why(log: Path) -> str:
    """The line of a log that says most about a failure: the first error, else the last line."""
    lines = [line.strip() for line in log.read_text(errors='replace').splitlines() if line.strip()]
    pattern = r'E: |ERROR|dpkg[-a-z]*: error|\w*Error: '
    errors = [line for line in lines if re.match(pattern, line)]
    return (errors[:1] or lines[-1:] or ['it said nothing'])[0].rstrip('.')


def clean_environment() -> dict:
    """The environment without what would lead Python or pip to other folders."""
    redirecting = {'PIP_TARGET', 'PIP_PREFIX', 'PIP_ROOT', 'PIP_USER', 'PIP_REQUIRE_VIRTUALENV'}
    return {name: value for name, value in os.environ.items()
            if not name.startswith('PYTHON') and name not in redirecting}
