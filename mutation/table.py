"""Which files have mutants, and which tests judge them.

A test is a file, or a file and a pattern of the ids of its tests (``*`` is anything).  They run in
the order of the table until one fails, so those that are quick and tell most stand first.
"""
import glob
import os
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple


class Row(NamedTuple):
    """files : patterns of paths from the root of the checkout; each must match a file."""

    files: Tuple[str, ...]
    tests: Tuple[str, ...]


def _backend(name: str, dtype: str = 'float64', cases: str = '') -> str:
    return f'tests/test_backends.py::test_backend_equals_reference[[]{name}-{dtype}-{cases}*'


GRADIENT = 'tests/test_backends.py::test_gradient_is_that_of_its_forward[[]numpy-'
FLOAT16 = 'tests/test_float16.py::*float16_label*'
LOSS = ('tests/test_loss.py::test_[!f]*', 'tests/test_loss.py::test_formula*')
FINITE = 'tests/test_loss.py::test_finite_input_gives_finite_loss_and_gradient*'  # 9 seconds
GLUON = ('tests/test_gluon.py', 'tests/test_dice_ce_gluon.py', _backend('gluon imperative'))
GLUON_NATIVE = ('tests/test_gluon_native.py', 'tests/test_gluon_native_entropy.py',
                _backend('gluon native nested', 'float32'), _backend('symbol native', 'float32'))
NATIVE = ('tests/test_native.py', 'tests/test_native_entropy.py')

TABLE: Tuple[Row, ...] = (
    Row(('soft_dice/score.py',),
        (*LOSS, GRADIENT + '*', _backend('gluon imperative'), 'tests/test_presets.py', FINITE)),
    Row(('soft_dice/counts.py',),
        (*LOSS, GRADIENT + '*', _backend('gluon imperative'), 'tests/test_inputs.py',
         'tests/test_native.py', FINITE)),
    Row(('soft_dice/entropy.py', 'soft_dice/compound.py'),
        ('tests/test_dice_ce.py', GRADIENT + 'ce-*', _backend('gluon imperative', cases='ce-'),
         'tests/test_native_entropy.py', 'tests/test_dice_ce_caffe.py')),
    Row(('soft_dice/inputs.py',),
        ('tests/test_inputs.py', *LOSS, GRADIENT + '*', FLOAT16, 'tests/test_gluon.py',
         'tests/test_caffe.py', 'tests/test_resize.py', 'tests/test_native.py')),
    Row(('soft_dice/loss.py', 'soft_dice/stages.py'),
        (*LOSS, 'tests/test_inputs.py', 'tests/test_dice_ce.py', GRADIENT + '*', *NATIVE,
         'tests/test_resize.py')),
    Row(('gluon_dice/base.py', 'gluon_dice/loss.py', 'gluon_dice/compound.py'),
        (*GLUON, _backend('symbol', 'float32'), *GLUON_NATIVE, 'tests/test_parallel.py',
         'tests/test_resize.py', 'tests/test_gluon_compat.py', 'tests/test_float16.py')),
    Row(('gluon_dice/score.py', 'gluon_dice/entropy.py', 'gluon_dice/counts.py'),
        (*GLUON[::-1], _backend('gluon nested', 'float32'), _backend('gluon native'),
         'tests/test_parallel.py', 'tests/test_gluon_compat.py')),
    Row(('caffe_layers/loss.py',),
        ('tests/test_caffe.py', 'tests/test_dice_ce_caffe.py',
         'tests/test_backends.py::test_caffe_equals_reference*', 'tests/test_resize.py',
         'tests/test_metric_caffe.py')),
    Row(('soft_dice/native/*.cpp', 'soft_dice/native/*.h'),
        (*NATIVE, _backend('kernels', '*'), _backend('gluon native', 'float32'))),
    Row(('gluon_dice/native/operator.cc',),
        (*GLUON_NATIVE, _backend('gluon native'))))

# What no mutant meets: the kernels of a workspace have one instruction set, and these compile them
# or the operator, for half a minute each.
EXCLUDED = ('tests/test_native.py::test_what_this_machine_has_is_tested',
            'tests/test_gluon_native.py::test_commands',
            'tests/test_gluon_native.py::test_a_half_written_operator_is_compiled_again',
            'tests/test_gluon_native.py::test_without_an_operator_the_f_operators_serve',
            'tests/test_gluon_native.py::test_exported_graph_needs_the_plugin')


def files_of(root: Path, table: Tuple[Row, ...], wanted: List[str]) -> Dict[str, Row]:
    """The files in the table's order, those that contain one of the ``wanted`` words, if any.

    Raises
    ------
    ValueError : a pattern or a word matches no file.
    """
    rows: Dict[str, Row] = {}
    for row in table:
        for pattern in row.files:
            found = sorted(glob.glob(str(root / pattern)))
            if not found:
                raise ValueError(f'table.py names {pattern}, and there is no such file')
            rows.update((os.path.relpath(each, str(root)), row) for each in found)
    for word in wanted:
        if not any(word in path for path in rows):
            raise ValueError(f'no file in table.py has {word!r} in its path')
    return {path: row for path, row in rows.items()
            if not wanted or any(word in path for word in wanted)}
