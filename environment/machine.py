"""What this machine must have before anything is downloaded."""
import ctypes
import os
import platform
import re
import shutil

from running import output_of
from runtime import Problem, Runtime

KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'
LOADER = '/lib64/ld-linux-x86-64.so.2'
NEEDED = {'debian': 1.5e9, 'source': 2e9}  # bytes of disk
OWN_PYTHON = 'or give a Python that has both frameworks, `make PYTHON=python3 test`'


def check_machine(runtime: Runtime) -> None:
    """Raise Problem for a machine on which the build cannot work."""
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ('Linux', 'x86_64'):
        raise Problem(f'The runtime is for Linux on x86-64, and this is {system} on {machine}: use '
                      f'environment/Dockerfile on such a machine, {OWN_PYTHON}.')
    for tool in ('apt-get', 'dpkg-deb'):
        if not shutil.which(tool):
            raise Problem(f'{tool} is missing, so this is not Debian or a relative of it: use '
                          f'environment/Dockerfile, {OWN_PYTHON}.')
    if not os.path.exists(KEYRING):
        raise Problem("The keys that Debian's packages are signed with are missing: get them with "
                      '`apt-get install debian-archive-keyring`.')
    check_libc(runtime)
    try:
        ctypes.CDLL('libgomp.so.1')
    except OSError:
        raise Problem('libgomp.so.1 is missing: get it with `apt-get install libgomp1`.') from None
    if runtime.way == 'source' and not shutil.which((os.environ.get('CXX') or 'g++').split()[0]):
        raise Problem('A C++ compiler is missing, with which Caffe is compiled: get it with '
                      '`apt-get install g++`.')
    free, needed = shutil.disk_usage(runtime.project).free, NEEDED[runtime.way]
    if not runtime.debian.exists() and free < needed:
        raise Problem(f'Only {free / 1e9:.1f} GB of disk are free for {runtime.root}, and building '
                      f'it takes {needed / 1e9:.1f} GB: make room.')


def check_libc(runtime: Runtime) -> None:
    """The packages use that of the machine, which must not be older than they are; and the loader
    of glibc 2.33 is the first that takes --argv0.
    """
    found = re.search(r'glibc (\d+)\.(\d+)', os.confstr('CS_GNU_LIBC_VERSION') or '')
    version = tuple(map(int, found.groups())) if found else (0, 0)
    if version < runtime.release.glibc or '--argv0' not in output_of([LOADER, '--help']):
        raise Problem('The C library is older than glibc {}.{}: use Debian 12 or newer, or '
                      'environment/Dockerfile, {}.'.format(*runtime.release.glibc, OWN_PYTHON))
