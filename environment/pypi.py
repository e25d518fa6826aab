"""Step 2: the virtual environment, and the packages that pip adds to it from PyPI."""
import os
import re
from pathlib import Path

from running import Progress, clean_environment, run, why
from runtime import Problem, Runtime, remove
from wrappers import DEEPBIND, wrappers, write_environment


def inputs(runtime: Runtime) -> list:
    """What the step depends on; the place too, as pip's scripts in bin/ hold absolute paths."""
    return [str(runtime.root), wrappers(runtime), DEEPBIND, *pins(runtime)]


def build(runtime: Runtime) -> None:
    kept = (runtime.debian, runtime.caffe, runtime.stamps, runtime.logs, runtime.lock,
            runtime.bundle)
    for entry in runtime.root.iterdir():
        if entry not in kept:
            remove(entry)
    write_environment(runtime)
    compile_debian(runtime)
    install(runtime, runtime.release.requirements)


def install(runtime: Runtime, requirements: list) -> None:
    pip_install(runtime, 'PyPI packages', runtime.logs / 'pip.log', count(requirements),
                *only_these(requirements))


def fetch_wheels(runtime: Runtime, folder: Path) -> None:
    """Download into the folder what `build` installs."""
    requirements = runtime.release.requirements
    pip(runtime, 'PyPI download', runtime.logs / 'bundle-pip.log', count(requirements), 'download',
        '--dest', folder, *only_these(requirements))


def only_these(requirements: list) -> list:
    """What tells pip to take the wheels that the files pin, by their hashes, and nothing else. It
    need not look for dependencies, as the files name them all.
    """
    return ['--only-binary', ':all:', '--require-hashes', '--no-deps',
            *(word for file in requirements for word in ('-r', file))]


def count(requirements: list) -> int:
    return sum(len(pinned(file)) for file in requirements)


def pins(runtime: Runtime) -> list:
    """The packages that pip adds, as a list for each file."""
    return [pinned(file) for file in runtime.release.requirements]


def pinned(requirements: Path) -> list:
    """The lines of a requirements file without their comments."""
    return re.findall(r'^[^#\s]+', requirements.read_text(encoding='utf-8'), re.MULTILINE)


def compile_debian(runtime: Runtime) -> None:
    """What Debian does on installing: imports are faster, and old code gives its warnings here."""
    progress, library = Progress('Python byte code'), runtime.debian / 'usr/lib'
    run([runtime.python, '-m', 'compileall', '-q', '-j', '0',
         library / f'python{runtime.release.python}',
         library / 'python3/dist-packages'], runtime.logs / 'compile.log', progress,
        env=clean_environment())
    progress.done('')


def pip_install(runtime: Runtime, label: str, log: Path, total: int, *arguments) -> None:
    """Install what the arguments say, from the bundle if there is one; the rest as in pip()."""
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
