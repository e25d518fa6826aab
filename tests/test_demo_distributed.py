"""Two workers train the demo's U-Net like one process; and the comparison can fail."""
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mxnet.gluon import nn
from processes import HANG

from demo import distributed, scaling, worker
from demo.distributed import ONE, SHARES, TWO
from demo.worker import Record

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope='module')
def ran(tmp_path_factory):
    """Output, folder and records of a short run."""
    folder = tmp_path_factory.mktemp('out')
    done = subprocess.run([sys.executable, '-m', 'demo', '--distributed', '--quick', '--out',
                           str(folder)], cwd=str(ROOT), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=HANG)
    assert done.returncode == 0, done.stderr.decode()
    records = json.loads((folder / 'distributed.json').read_text())['records']
    return done.stdout.decode(), folder, {name: [Record(**one) for one in each]
                                          for name, each in records.items()}


@pytest.fixture(scope='module')
def curves(ran):
    return {name: distributed.curve(each) for name, each in ran[2].items()}


def test_two_workers_are_one_process(ran, curves):
    output, folder, records = ran
    assert {name: len(each) for name, each in curves.items()} == {ONE: 4, TWO: 4, SHARES: 4}
    assert distributed.difference(curves[ONE], curves[TWO]).max() <= distributed.LIMITS[10]
    assert distributed.difference(curves[ONE], curves[SHARES]).min() > 1e-3
    assert len(set(curves[ONE])) == 4 and curves[ONE][-1] < curves[ONE][0]
    assert [one.samples for one in records[TWO] + records[SHARES]] == [4, 3, 4, 3]
    assert (folder / 'distributed.png').read_bytes().startswith(b'\x89PNG')
    roles = [line.split()[0] for line in output.splitlines() if line.startswith('DMLC_ROLE')]
    assert [role.split('=')[1] for role in roles] == ['scheduler', 'server', 'worker', 'worker']
    assert f'{curves[TWO][-1]:.9f}' in output


def test_the_comparison_can_fail(curves, capsys):
    assert distributed.judged(curves) == 0
    assert distributed.judged({**curves, TWO: curves[SHARES]}) == 1
    assert 'demo: 2 workers train otherwise than one process: the losses of the first 4 steps ' \
        'differ' in capsys.readouterr().err
    assert distributed.judged({**curves, SHARES: curves[TWO]}) == 1
    assert 'the comparison says nothing' in capsys.readouterr().err
    for wrong in (curves[ONE] * (1 + 1e-5), curves[ONE] * np.nan):
        assert distributed.judged({**curves, TWO: wrong}) == 1


def test_a_late_difference_is_found(ran):
    """It may be larger than at first, and not as large as it likes."""
    one = np.ones(60)
    late = np.r_[one[:59], 1 + 1e-3]
    shares = one * 1.1
    assert distributed.findings({ONE: one, TWO: late, SHARES: shares}) == []
    late[-1] = 1.1
    assert 'first 60 steps differ by up to 1.0e-01, and 1e-02 is allowed' \
        in distributed.findings({ONE: one, TWO: late, SHARES: shares})[0]


def test_a_failing_worker_is_exit_status_2():
    with pytest.raises(distributed.DemoError, match=r'process \d of 1 ended with status 2'):
        distributed.run(1, '--no-such-option')


def test_no_normalization_over_a_share():
    found = []
    net = worker._network(0, 'float64')
    net.apply(found.append)
    assert any(isinstance(each, nn.GroupNorm) for each in found)
    assert not any(isinstance(each, nn.BatchNorm) for each in found)


def test_bytes(ran):
    """What is said to travel is what the system counts, but for headers; others may add to it."""
    record = ran[2][TWO][0]
    row = scaling.Row(2, record.loss_bytes, 8 * record.parameters, (0.1, 0.3, 0.2),
                      record.loopback)
    assert row.counts == 2 * 4 * (3 * (3 * 4 + 1) + 1)
    assert row.at_servers == 2 * 2 * (320 + 8 * 29268)
    assert 1 <= record.loopback / row.at_servers
    table = scaling.table([row, scaling.Row(8, 4 * 320, 117072)]).splitlines()
    assert table[2].startswith('| 2 | 200 (100) | 320 | 234,144 | 937,856 | ')
    assert table[3] == '| 8 |  | 1,280 | 117,072 | 1,893,632 | calculated |'


def test_docs_have_the_place_for_the_table():
    text = scaling.DOCS.read_text(encoding='utf-8')
    assert text.index(scaling.BEGIN) < text.index(scaling.END)
