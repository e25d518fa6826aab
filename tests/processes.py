"""What the processes that tests start have around them, and what they measure of themselves."""
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent
# What this Python is without, in the version matrix alone: caffe, mxnet.
WITHOUT = os.environ.get('TEST_WITHOUT', '').split()
HANG = 900  # seconds after which a process is said to hang; others compute on this machine as well


def surroundings(**more):
    """The environment, in which this project and the tests' modules are imported before all that
    PYTHONPATH names: the version matrix's MXNet, for example, which is to stay.
    """
    path = [str(TESTS.parent), str(TESTS), os.environ.get('PYTHONPATH', '')]
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, path)), **more}


def copy_checkout(folder):
    """What `make env` and `make dist` need of this one, without what was built in it."""
    folder.mkdir()
    for name in ('Makefile', 'setup.py', 'setup.cfg', 'MANIFEST.in', 'README.md', 'CHANGELOG.md',
                 'LICENSE'):
        if (TESTS.parent / name).exists():
            shutil.copy(str(TESTS.parent / name), str(folder))
    for name in ('environment', 'soft_dice', 'gluon_dice', 'caffe_layers'):
        shutil.copytree(str(TESTS.parent / name), str(folder / name),
                        ignore=shutil.ignore_patterns('__pycache__', '_kernels.*'))


def without_network(cannot_show, *command, cwd='/'):
    """Run a command in a network namespace in which there is nothing, not even the loopback."""
    alone = ['unshare', '--map-root-user', '--net']
    if subprocess.run([*alone, 'true'], stderr=subprocess.DEVNULL).returncode:
        cannot_show('a network namespace; only what heeds proxies was without a network')
        alone = []
    nowhere = {name: 'http://127.0.0.1:9' for name in ('http_proxy', 'https_proxy', 'ALL_PROXY')}
    return subprocess.run([*alone, *map(str, command)], cwd=str(cwd), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env={**os.environ, **nowhere}, timeout=HANG,
                          universal_newlines=True)


def peak_memory():
    """Bytes.  getrusage's maximum would do only in a process that no larger one has started."""
    with open('/proc/self/status') as file:
        return next(int(line.split()[1]) for line in file if line.startswith('VmHWM')) << 10


def ends(process):
    """Whether the process with this id, no child of this one, ends."""
    for _ in range(10 * HANG):
        try:
            with open(f'/proc/{process}/stat') as file:
                if file.read().rpartition(')')[2].split()[0] == 'Z':  # and nobody waits for it
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.1)
    return False


def processor_time():
    """Seconds of all processes that were started here and have ended, whatever else ran."""
    times = os.times()
    return times.children_user + times.children_system


def run_python(code):
    """Status, output and errors of some code in a Python of its own."""
    done = subprocess.run([sys.executable, '-c', f'import runpy, sys\n{code}'], env=surroundings(),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=HANG)
    return done.returncode, done.stdout.decode(), done.stderr.decode()
