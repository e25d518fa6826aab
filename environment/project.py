"""Step 4: the project itself, as an editable install, with its kernels compiled."""
import configparser
import json
from pathlib import Path

from pypi import pip_install
from runtime import Runtime

NATIVE = Path('soft_dice/native')


def inputs(runtime: Runtime) -> list:
    """What the step depends on: setup.py, setup.cfg less the tools' sections, and the sources of
    the kernels, which it compiles.
    """
    config = configparser.RawConfigParser()
    config.read(runtime.project / 'setup.cfg', encoding='utf-8')
    sections = {name: dict(config[name]) for name in config.sections()
                if name.split('.')[0] in ('metadata', 'options', 'build_ext')}
    sources = [file for file in sorted((runtime.project / NATIVE).glob('*'))
               if file.suffix in ('.cpp', '.h') or file.name == 'build.py']
    return [sections, *(file.read_text(encoding='utf-8')
                        for file in [runtime.project / 'setup.py', *sources])]


def build(runtime: Runtime) -> None:
    pip_install(runtime, 'Project, editable', runtime.logs / 'project.log', 0,
                '--no-deps', '--no-build-isolation', '-e', '.')
    record = runtime.project / NATIVE / '_kernels.json'
    reason = json.loads(record.read_text()).get('error') if record.exists() else 'see the log'
    if reason:
        print(f'The compiled kernels are left out: {reason}. All works without them, slower.')
