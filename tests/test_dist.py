"""`make dist`, and what is installed without a network: its wheel, and a checkout."""
import os
import subprocess
import sys

import pytest
from processes import HANG, copy_checkout, without_network

from soft_dice.version import __version__

pytestmark = pytest.mark.slow

WHEEL = f'gluon_dice-{__version__}-py3-none-linux_x86_64.whl'
ASK = '''
import sys
sys.path.insert(0, sys.argv[1])
import caffe_layers, gluon_dice, soft_dice
from soft_dice.native import load
print(soft_dice.__file__, load()[1])
'''


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    folder = tmp_path_factory.mktemp('dist') / 'a checkout'
    copy_checkout(folder)
    subprocess.run(['make', 'dist', f'PYTHON={sys.executable}'], check=True, cwd=str(folder),
                   timeout=HANG, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder


def test_a_wheel_for_every_python_3_and_the_source_package(checkout):
    made = {path.name for path in (checkout / 'dist').iterdir()}
    assert made == {WHEEL, f'gluon-dice-{__version__}.tar.gz'}


@pytest.mark.parametrize('what', [[f'dist/{WHEEL}'], ['--no-build-isolation', '.']],
                         ids=['wheel', 'checkout'])
def test_installs_without_a_network_and_with_kernels(checkout, tmp_path, cannot_show, what):
    done = without_network(cannot_show, sys.executable, '-m', 'pip', 'install', '--no-deps',
                           '--target', tmp_path, *what, cwd=checkout)
    assert done.returncode == 0, done.stderr
    found = subprocess.run([sys.executable, '-I', '-c', ASK, str(tmp_path)], cwd='/',
                           env={**os.environ, 'SOFT_DICE_CACHE': str(tmp_path / 'cache')},
                           stdout=subprocess.PIPE, check=True, universal_newlines=True)
    place, _, kernels = found.stdout.partition(' ')
    assert place == str(tmp_path / 'soft_dice/__init__.py') and kernels.startswith('built with ')
