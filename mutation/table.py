"""Which files have mutants, and which tests judge them.

A test is a file, or a file and a pattern of the ids of its tests (``*`` is anything).  They run in
the order of the table until one fails, so those that are quick and tell most stand first.  Those of
`make check` take no part.
"""
import glob
import os
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple


class Row(NamedTuple):
    """files : patterns of paths from the root of the checkout; each must match a file."""

    files: Tuple[str, ...]
    tests: Tuple[str, ...]


BACKENDS = 'tests/test_backends.py::'
GRADIENT = BACKENDS + 'test_gradient_is_that_of_its_forward[[]numpy-*'
F_OPERATORS, OPERATOR, IN_A_GRAPH = (
    f'{BACKENDS}test_float64[[]{name}-*'
    for name in ('gluon imperative', 'gluon native', 'gluon nested'))
FLOAT32_GRAPHS = BACKENDS + 'test_float32_graph*'
LOSS = ('tests/test_loss.py::test_[!f]*', 'tests/test_loss.py::test_formula*')
FINITE = 'tests/test_loss.py::test_finite*'  # 9 seconds
FLOAT16 = 'tests/test_float16.py::*float16_label*'
REFUSALS = 'tests/test_refusals.py'
GLUON = ('tests/test_gluon.py', 'tests/test_dice_ce_gluon.py')

TABLE: Tuple[Row, ...] = (
    Row(('soft_dice/score.py', 'soft_dice/ops.py'),
        (*LOSS, GRADIENT, F_OPERATORS, 'tests/test_presets.py', 'tests/test_gluon.py', FINITE)),
    Row(('soft_dice/counts.py',),
        (*LOSS, GRADIENT, F_OPERATORS, 'tests/test_inputs.py', 'tests/test_native.py', FINITE)),
    Row(('soft_dice/entropy.py', 'soft_dice/compound.py'),
        ('tests/test_dice_ce.py', GRADIENT, F_OPERATORS, 'tests/test_native_entropy.py',
         'tests/test_dice_ce_caffe.py')),
    Row(('soft_dice/inputs.py',),
        ('tests/test_inputs.py', REFUSALS, *LOSS, GRADIENT, FLOAT16, 'tests/test_gluon.py',
         'tests/test_caffe.py', 'tests/test_resize.py', 'tests/test_metrics.py',
         'tests/test_native.py')),
    Row(('soft_dice/loss.py', 'soft_dice/stages.py'),
        (*LOSS, 'tests/test_inputs.py', 'tests/test_dice_ce.py', GRADIENT, 'tests/test_native.py',
         'tests/test_native_entropy.py', 'tests/test_resize.py')),
    Row(('gluon_dice/base.py', 'gluon_dice/loss.py', 'gluon_dice/compound.py',
         'gluon_dice/stage_one.py', 'gluon_dice/layout.py'),
        (*GLUON, F_OPERATORS, FLOAT32_GRAPHS, OPERATOR, REFUSALS, 'tests/test_gluon_native.py',
         'tests/test_gluon_native_entropy.py', 'tests/test_resize.py', 'tests/test_parallel.py',
         'tests/test_gluon_compat.py', 'tests/test_float16.py')),
    Row(('soft_dice/other_names.py', 'soft_dice/arguments.py'), ('tests/test_other_names.py',)),
    Row(('gluon_dice/door.py',), ('tests/test_gluon_door.py',)),
    Row(('gluon_dice/aux_loss.py',), ('tests/test_aux_loss.py',)),
    Row(('gluon_dice/stage_two.py', 'gluon_dice/entropy.py', 'gluon_dice/counts.py'),
        (F_OPERATORS, *GLUON, IN_A_GRAPH, OPERATOR, REFUSALS, 'tests/test_parallel.py',
         'tests/test_gluon_compat.py')),
    Row(('caffe_layers/loss.py',),
        ('tests/test_caffe.py', 'tests/test_dice_ce_caffe.py', BACKENDS + 'test_caffe*', REFUSALS,
         'tests/test_resize.py', 'tests/test_metric_caffe.py')),
    Row(('caffe_layers/reader.py', 'caffe_layers/spans.py'),
        ('tests/test_reader.py', 'tests/test_add.py')),
    Row(('caffe_layers/carried.py', 'caffe_layers/place.py'),
        ('tests/test_replace.py', 'tests/test_add.py')),
    Row(('caffe_layers/learning.py',), ('tests/test_learning.py',)),
    Row(('caffe_layers/old_format.py',), ('tests/test_old_nets.py',)),
    Row(('caffe_layers/caffe_proto.py',), ('tests/test_forks.py', 'tests/test_add.py')),
    Row(('soft_dice/labels.py', 'soft_dice/frequencies.py'),
        ('tests/test_labels.py', 'tests/test_weights.py',
         'tests/test_compare.py::test_[!n]*')),
    Row(('soft_dice/native/*.cpp', 'soft_dice/native/*.h'),
        ('tests/test_native.py', 'tests/test_native_entropy.py', *LOSS, 'tests/test_inputs.py',
         BACKENDS + 'test_kernels*', REFUSALS, OPERATOR)),
    Row(('gluon_dice/native/operator.cc',),
        ('tests/test_gluon_native.py', 'tests/test_gluon_native_entropy.py', OPERATOR,
         FLOAT32_GRAPHS, REFUSALS)))

# No mutant meets it: the kernels of a workspace have one instruction set.
EXCLUDED = ('tests/test_native.py::test_what_this_machine_has_is_tested',)


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
