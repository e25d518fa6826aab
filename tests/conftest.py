"""What every test shares.  Both frameworks are required: without one the suite fails, not skips.

Only version_matrix, which chooses tests that need no Caffe or no MXNet, sets TEST_WITHOUT.
"""
import functools
import os

os.environ.setdefault('GLOG_minloglevel', '2')  # Caffe prints every layer it makes otherwise
os.environ.setdefault('OMP_NUM_THREADS', '2')  # whatever the machine has
# Threads that wait must not spin: the processes that share out the tests have more than there are
# cores.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402
from processes import WITHOUT  # noqa: E402

from soft_dice.native import load  # noqa: E402

if 'caffe' not in WITHOUT:
    import caffe
    from caffe_2016 import why_not
    caffe.set_mode_cpu()
else:
    def why_not(file, function):
        return None
if 'mxnet' not in WITHOUT:
    import mxnet
    mxnet.random.seed(0)

# How long an example takes depends on what else the machine does.
settings.register_profile('tests', deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('tests')

CANNOT_SHOW = 'this machine could not show'


@pytest.fixture
def cannot_show(record_property):
    """Takes what this machine cannot show, which the run's last lines say.

    A test that asks the machine for it goes on with what is documented for such a machine.
    """
    return functools.partial(record_property, CANNOT_SHOW)


def pytest_collection_modifyitems(items):
    """Let what an older Caffe cannot do fail, with the reason, and only there."""
    for item in items:
        reason = why_not(item.fspath.basename, getattr(item, 'originalname', ''))
        if reason:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter):
    reports = [report for some in terminalreporter.stats.values() for report in some]
    said = {value for report in reports
            for name, value in getattr(report, 'user_properties', ()) if name == CANNOT_SHOW}
    for each in sorted(said):  # the reports of xdist's workers have them too
        terminalreporter.write_line(f'{CANNOT_SHOW}: {each}', yellow=True)


@pytest.fixture(params=['0', '1'], ids=['numpy', 'kernels'])
def implementation(request, monkeypatch):
    """Stages 1 and 3 in NumPy, then in the kernels; which soft_dice reads at every call."""
    monkeypatch.setenv('SOFT_DICE_NATIVE', request.param)
    return request.param


@pytest.fixture(params=['0', '1', 'custom'], ids=['operators', 'native', 'custom'])
def stage_one(request, monkeypatch):
    """Stage 1 in MXNet's operators, in the kernels' operator, and as before MXNet 1.5."""
    if request.param == 'custom':
        monkeypatch.setattr('gluon_dice.compat.has_operators', lambda: False)
    else:
        monkeypatch.setenv('SOFT_DICE_NATIVE', request.param)


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
