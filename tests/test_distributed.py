"""Workers, a server and a scheduler as real processes on loopback: tests/distributed_worker.py."""
import re
import subprocess
import sys

import mxnet as mx
import pytest
from processes import HANG, TESTS, surroundings

from gluon_dice import SoftDiceLoss
from gluon_dice.launch import environment, free_port, main, printed
from gluon_dice.parallel import DistributedLoss, connect

pytestmark = pytest.mark.slow

WORKER = [sys.executable, str(TESTS / 'distributed_worker.py')]
AROUND = surroundings(OMP_NUM_THREADS='1')


def launch(workers, *task):
    """Output and exit status of the launcher."""
    line = [sys.executable, '-m', 'gluon_dice.launch', '--workers', str(workers),
            '--grace', '300', '--', *WORKER, *task]
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=HANG,
                          env=AROUND)
    return done.stdout.decode(), done.returncode


def test_two_workers_and_a_server_with_an_optimizer():
    """6 losses, 3 splits, with and without kernels; bytes as documented, for 4 classes."""
    output, status = launch(2, 'optimizer', '4,4:7,1:8,0')
    assert status == 0, output
    assert output.count('refused the optimizer') == output.count('done optimizer') == 2
    for numbers in (3 * 4 + 1, 3 * 4 + 3, 1):
        assert f'equal 0 {2 * (12 * numbers + 4)}\n' in output, output


def test_three_workers_of_which_one_is_killed():
    output, status = launch(3, 'killed', '0,3,5')
    assert status == 1, output
    assert output.count('equal') == 3 * 6, output
    for rank in (0, 2):
        assert (f"lost: worker {rank} of 3 has waited 10 s for the other workers' gradients; 2 of "
                '3 workers are there, and no answer comes from worker 1 on 127.0.0.1') in output
    assert output.count('lost: ') == 4  # each once more at its next call, at once
    assert output.count('done killed') == 2, output
    assert output.count('SIGKILL') == 1 and output.count('ended with status 1') == 2, output


def test_workers_that_differ_and_one_that_ends_in_an_error():
    output, status = launch(2, 'raising')
    assert status == 1, output
    assert 'ValueError: preds must keep the number of classes of the first call, 3; got 4' in output
    assert ("lost: worker 0 of 2 has waited 10 s for the other workers' counts; 1 of 2 workers are "
            'there, and no answer comes from worker 1 on 127.0.0.1') in output, output
    assert output.count('done raising') == 1, output


def test_the_server_is_killed():
    """Both workers say so in time; that it is the server they cannot know."""
    port = free_port()
    roles = ['scheduler', 'server', 'worker', 'worker']
    started = [start(role, port, 'orphaned', stdin=subprocess.PIPE) for role in roles]
    workers = started[2:]
    try:
        for each in workers:
            assert each.stdout.readline() == b'ready\n'
        started[1].kill()
        for each in workers:
            each.stdin.write(b'\n')
            each.stdin.flush()
        for each in workers:
            output = each.communicate(timeout=HANG)[0].decode()
            assert 'done orphaned' in output and each.returncode == 1
            assert (" has waited 10 s for the other workers' counts; 2 of 2 workers are there, so "
                    'that one of them is stuck or makes other calls than the rest, or a server is '
                    f'gone; the scheduler, 127.0.0.1:{port}, answers') in output, output
    finally:
        end(started)


def start(role, port, task, **more):
    """One of a scheduler, a server and two workers."""
    line = [*WORKER, task] if role == 'worker' else [sys.executable, '-c', 'import mxnet']
    return subprocess.Popen(line, env={**AROUND, **environment(role, '127.0.0.1', port, 2, 1)},
                            stdout=subprocess.PIPE, **more)


def end(started):
    for each in started:
        with each:  # which closes its pipes and waits
            each.kill()


@pytest.mark.parametrize('others, state', [
    ([], 'does not answer'), (['scheduler', 'server'], 'answers')], ids=['alone', 'no worker'])
def test_a_worker_never_joins(others, state):
    port = free_port()
    started = [start(role, port, 'joining') for role in [*others, 'worker']]
    try:
        output = started[-1].communicate(timeout=HANG)[0].decode()
        assert started[-1].returncode == 1
    finally:
        end(started)
    assert ('lost: a worker has waited 3 s to join; not all of the 2 workers and 1 server(s) have '
            f'come; the scheduler, 127.0.0.1:{port}, {state}\ndone joining\n') in output


def test_example():
    """Both workers report the same loss, which has gone down."""
    line = [sys.executable, '-m', 'gluon_dice.launch', '--', sys.executable, '-m',
            'examples.gluon_workers']
    done = subprocess.run(line, stdout=subprocess.PIPE, env=AROUND, timeout=HANG)
    assert done.returncode == 0
    losses = [line.split()[-1] for line in done.stdout.decode().splitlines() if 'loss' in line]
    assert len(losses) == 2 and losses[0] == losses[1] and float(losses[0]) < 0.4, losses


def test_a_launcher_that_is_terminated_leaves_nothing_behind():
    """Scheduler, server and worker have the pipe open as long as they live."""
    line = [sys.executable, '-m', 'gluon_dice.launch', '--workers', '1', '--', sys.executable, '-c',
            'import time; print("here", flush=True); time.sleep(1000)']
    started = subprocess.Popen(line, stdout=subprocess.PIPE, env=AROUND)
    assert started.stdout.readline() == b'here\n'
    started.terminate()
    assert started.communicate(timeout=HANG)[0] == b'' and started.returncode == 128 + 15


# --- what needs no other process -----------------------------------------------------------------

def test_another_kind_of_kvstore():
    with pytest.raises(ValueError, match="kind 'dist_sync', for example.*got 'local'"):
        DistributedLoss(SoftDiceLoss(), mx.kv.create('local'))


@pytest.mark.parametrize('timeout', [0, -1, None, True, '60', float('nan'), float('inf')])
def test_bad_timeout(timeout):
    with pytest.raises(ValueError, match='timeout must be a number of seconds > 0'):
        DistributedLoss(SoftDiceLoss(), mx.kv.create('local'), timeout=timeout)


def test_no_environment(monkeypatch):
    monkeypatch.delenv('DMLC_ROLE', raising=False)
    with pytest.raises(ValueError, match='DMLC_ROLE must be in the environment; start the workers'):
        connect()


def test_commands_for_several_machines():
    text = printed(['python', 'my train.py'], '10.0.0.1', 9091, workers=2, servers=1).splitlines()
    assert [line.split()[0] for line in text[1:]] == [
        f'DMLC_ROLE={role}' for role in ('scheduler', 'server', 'worker', 'worker')]
    assert text[-1].endswith('DMLC_PS_ROOT_URI=10.0.0.1 DMLC_PS_ROOT_PORT=9091 DMLC_NUM_WORKER=2 '
                             "DMLC_NUM_SERVER=1 python 'my train.py'")


def test_a_command_that_is_not_there(capfd):
    assert main(['--workers', '1', '--', './no-such-command']) == 2
    assert 'no-such-command cannot be started: No such file' in capfd.readouterr().err


@pytest.mark.parametrize('arguments, message', [
    (['--port', '70000'], r'must be in \[1, 65535\], for example 9091; got 70000'),
    (['--port', '0'], r'must be in \[1, 65535\]'),
    (['--workers', '0'], 'must be a whole number > 0, for example 2; got 0'),
    (['--workers', '²'], 'must be a whole number > 0'),
    (['--grace', 'soon'], 'must be seconds > 0, for example 90; got soon')])
def test_bad_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, '--', 'true'])
    assert stopped.value.code == 2 and re.search(message, capsys.readouterr().err)
