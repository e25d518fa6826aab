"""What every test shares.  Both frameworks are required: without one the suite fails, not skips.

Only version_matrix, which chooses tests that need no Caffe, sets TEST_WITHOUT_CAFFE=1.
"""
import os

os.environ.setdefault('GLOG_minloglevel', '2')  # Caffe prints every layer it makes otherwise

import mxnet  # noqa: E402
import pytest  # noqa: E402

from soft_dice.native import load  # noqa: E402

if os.environ.get('TEST_WITHOUT_CAFFE') != '1':
    import caffe
    caffe.set_mode_cpu()
mxnet.random.seed(0)


@pytest.fixture(params=['0', '1'], ids=['numpy', 'kernels'])
def implementation(request, monkeypatch):
    """Stages 1 and 3 in NumPy, then in the kernels; which soft_dice reads at every call."""
    monkeypatch.setenv('SOFT_DICE_NATIVE', request.param)
    return request.param


@pytest.fixture
def kernels(monkeypatch):
    """The kernels, or an error."""
    monkeypatch.setenv('SOFT_DICE_NATIVE', '1')
    return load()[0]


@pytest.fixture
def using(kernels):
    """Switches the instruction set, and back afterwards."""
    before = kernels.instruction_set
    yield kernels.use
    kernels.use(before)
