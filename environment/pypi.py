"""Step 2: the virtual environment, and the packages that pip adds to it from PyPI."""
import os
import re
from pathlib import Path

from running import Progress, clean_environment, run, why
from runtime import Problem, Runtime, remove
from wrappers import DEEPBIND, wrappers, write_environment

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / 'requirements.txt'
DATA_REQUIREMENTS = HERE / 'requirements-data.txt'
# Wheels alone, and none whose hash the requirement files do not have.
ONLY_PINNED = ['--only-binary', ':all:', '--require-hashes']


def inputs(runtime: Runtime) -> list:
    """What the step depends on; the place too, as pip's scripts in bin/ hold absolute paths."""
    return [str(runtime.root), wrappers(), DEEPBIND, *pins()]


def build(runtime: Runtime) -> None:
    for entry in runtime.root.iterdir():
        if entry not in (runtime.debian, runtime.stamps, runtime.logs, runtime.lock,
                         runtime.bundle):
            remove(entry)
    write_environment(runtime)
    compile_debian(runtime)
    pip_install(runtime, 'PyPI packages', runtime.logs / 'pip.log', len(pinned(REQUIREMENTS)),
                *ONLY_PINNED, '-r', REQUIREMENTS)
    install_data(runtime)


def install_data(runtime: Runtime) -> None:
    pip_install(runtime, 'PyPI data', runtime.logs / 'pip-data.log', 1,
                *ONLY_PINNED, '--no-deps', '-r', DATA_REQUIREMENTS)


def pins() -> list:
    """What pip adds, as lists of the lines of each requirements file."""
    return [pinned(REQUIREMENTS), pinned(DATA_REQUIREMENTS)]


def fetch_wheels(runtime: Runtime, folder: Path) -> None:
    """Download into the folder what `build` installs."""
    requirements = [word for file in (REQUIREMENTS, DATA_REQUIREMENTS) for word in ('-r', file)]
    pip(runtime, 'PyPI download', runtime.logs / 'bundle-pip.log', sum(map(len, pins())), 'download',
        *ONLY_PINNED, '--no-deps', '--dest', folder, *requirements)


def pinned(requirements: Path) -> list:
    """The lines of a requirements file without their comments."""
    return re.findall(r'^[^#\s]+', requirements.read_text(encoding='utf-8'), re.MULTILINE)


def compile_debian(runtime: Runtime) -> None:
    """What Debian does on installing: imports are faster, and old code gives its warnings here."""
    progress, library = Progress('Python byte code'), runtime.debian / 'usr/lib'
    run([runtime.python, '-m', 'compileall', '-q', '-j', '0', library / 'python3.9',
         library / 'python3/dist-packages'], runtime.logs / 'compile.log', progress,
        env=clean_environment())
    progress.done('')


def pip_install(runtime: Runtime, label: str, log: Path, total: int, *arguments) -> None:
    """Install what the arguments say, from the bundle if there is one; the rest as in :func:`pip`."""
    options = ['--no-index', '--find-links', runtime.bundle / 'wheels'] if runtime.bundle else []
    pip(runtime, label, log, total, 'install', '--no-warn-script-location', *options, *arguments)


def pip(runtime: Runtime, label: str, log: Path, total: int, action: str, *arguments) -> None:
    """Run pip.

    total : how many packages these are, for the line that counts them; 0 where none are counted.
    """
    progress = Progress(label)

    def counter() -> str:
        text = log.read_text(errors='replace') if total else ''
        if not text:
            return ''
        if 'Installing collected packages' in text:
            return f'installing {total} packages'
        count = len(re.findall('^(?:Collecting|Processing) ', text, re.MULTILINE))
        return f'{min(count, total)} of {total} packages'

    remove(log)
    command = [runtime.python, '-m', 'pip', action, '--disable-pip-version-check', '--no-input',
               '--progress-bar', 'off', *arguments]
    environment = clean_environment()
    if runtime.bundle:  # what the machine's configuration adds needs a network
        environment = {**{name: value for name, value in environment.items()
                          if not name.startswith('PIP_')}, 'PIP_CONFIG_FILE': os.devnull}
    if run(command, log, progress, counter, cwd=runtime.project, env=environment) != 0:
        raise Problem(f'pip failed ({why(log)}; all in {log}).')
    progress.done(f'{total} packages' if total > 1 else '')
