"""The kernels' own test under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer."""
import os
import subprocess
from pathlib import Path

import pytest
from processes import HANG

from soft_dice.native import build

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent / 'native'
FLAGS = ['-g', '-O1', '-std=c++14', '-fopenmp', '-fno-math-errno', '-fno-trapping-math']


def compile_stress(folder, sanitizer, extra=(), edit=None):
    """The stress program; ``edit`` changes the text of kernels.cpp first."""
    flags = ['g++', *FLAGS, f'-fsanitize={sanitizer}', f'-I{build.HERE}']
    parts = [*build.kernels().parts, build.Part(HERE / 'stress.cpp')]
    if sanitizer == 'thread':
        parts.append(build.Part(HERE / 'openmp_edges.cpp'))
        extra = ['-Wl,--wrap=GOMP_parallel']
    running, objects = [], []
    for number, part in enumerate(parts):
        source = part.source
        if edit and source.name == 'kernels.cpp':
            source = folder / source.name
            source.write_text(edit(part.source.read_text()))
        objects.append(str(folder / f'{number}.o'))
        running.append(subprocess.Popen([*flags, *part.flags, '-c', str(source), '-o',
                                         objects[-1]]))
    assert all([process.wait() == 0 for process in running])
    program = str(folder / 'stress')
    subprocess.run([*flags, *extra, *objects, '-o', program], check=True)
    return program


def run(program):
    return subprocess.run([program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True, timeout=HANG,
                          env={**os.environ, 'TSAN_OPTIONS': 'halt_on_error=1'})


@pytest.mark.parametrize('sanitizer', ['address,undefined', 'thread'])
def test_clean(sanitizer, tmp_path):
    done = run(compile_stress(tmp_path, sanitizer))
    assert done.returncode == 0 and done.stdout.startswith('0 failures with '), done.stdout[:4000]


def test_a_planted_race_is_found(tmp_path):
    def two_chunks_into_one_sum(text):
        changed = text.replace('partial + number * each', 'partial + number / 2 * each')
        assert changed != text
        return changed

    done = run(compile_stress(tmp_path, 'thread', edit=two_chunks_into_one_sum))
    assert done.returncode != 0 and 'data race' in done.stdout
