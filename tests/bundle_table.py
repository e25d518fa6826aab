"""What soft_dice_layer.py has to do, computed by the package, for a Python that has no package.

``write`` puts inputs and what comes of them into a folder; bundle_runner.py, which any Python
from 2.7 on can run, holds the one file to them.  ``python bundle_table.py FOLDER`` does the first.
"""
import json
import sys
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
from cases import CASES
from cases_ce import CE_CASES
from refusals import TABLE
from tolerances import TOLERANCE

from soft_dice import (DiceCEOptions, DiceOptions, dice_ce_loss_vjp, hard_counts, hard_dice,
                       presets, soft_dice_loss_vjp, soft_dice_score)

FUNCTIONS = {'DiceOptions': soft_dice_loss_vjp, 'DiceCEOptions': dice_ce_loss_vjp}
KINDS = {'DiceOptions': DiceOptions, 'DiceCEOptions': DiceCEOptions}
LAYERS = {'DiceOptions': 'SoftDiceLossLayer', 'DiceCEOptions': 'DiceCELossLayer'}

# Of each kind one that is read in a way of its own: text, numbers, lists, names, JSON and literals.
BAD_OPTIONS: List[Dict[str, Any]] = [
    {'smoth': 1}, {'activation': 'relu'}, {'activation': None}, {'overlap': 'm\u00edn "1"'},
    {'sparse_label': 'false'}, {'sparse_label': 1}, {'axis': 1.0}, {'axis': True}, {'axis': 0},
    {'classes': []}, {'classes': '12'}, {'classes': [1, 1]}, {'classes': [0.5]},
    {'classes': [1, [2.5, "it's"]]}, {'ignore_label': '255'}, {'ignore_label': 10 ** 400},
    {'ignore_label': 1 << 40}, {'alpha': -0.1}, {'alpha': 2e300}, {'beta': float('nan')},
    {'exponent': 0.5}, {'exponent': float('inf')}, {'smooth': None}, {'smooth': [1, -1]},
    {'smooth': True}, {'smooth_dr': '1'}, {'class_weights': 'square'}, {'class_weights': {'a': 1}},
    {'class_weights': [0, 0]}, {'class_weights': 0.1 + 0.2}, {'gamma': 0}, {'gamma': -1e-17},
    {'gamma': 2, 'form': 'log'}, {'include_background': False, 'classes': [0, 1]},
    {'sparse_label': False, 'ignore_label': 1}, {'pool_classes': True, 'smooth': [1, 2]},
    {'preset': 'monay'}, {'preset': ['monai']}, {'weight_normalization': 'score', 'gamma': 2.5}]
BAD_CE_OPTIONS: List[Dict[str, Any]] = [
    {'ce_weigth': 1}, {'label_smoothing': 1}, {'ce_class_weights': [-1e-5]},
    {'dice_weight': 0, 'ce_weight': 0}, {'activation': 'none'}, {'class_reduction': 'none'}]
TEXTS = ['', '  \n', '{"smooth": 1', '[1, 2]', '3', '"text"', '{1: 2}', '{"smooth": 1 + 1}',
         'smooth=1', '{"smooth": 1, "smooth": 2}', "{'smooth': 1, 'smooth': 2}", '(' * 5000,
         '{"form": "log", "batch_dice": true}', "{'class_weights': (1, 2.5), 'classes': None}",
         "{'form': 'l\u00f6g'}", '[' * 99999, "{'smooth': float('1')}", '{"classes": "\u00fc"}']


class Table:
    """Rows as JSON, and their arrays by number."""

    def __init__(self) -> None:
        self.rows: List[Dict[str, Any]] = []
        self.arrays: Dict[str, np.ndarray] = {}

    def add(self, kind: str, name: str, **fields: Any) -> None:
        self.rows.append({'kind': kind, 'name': f'{kind} {name}', **fields})

    def put(self, array: Any) -> Any:
        """Its number, and whether it was of objects, which no .npz should hold."""
        if array is None:
            return None
        array = np.asarray(array)
        of_objects = array.dtype == object
        number = f'a{len(self.arrays)}'
        self.arrays[number] = array.astype('float32') if of_objects else array
        return [number, of_objects]


def write(folder: Path) -> int:
    """Table.json and arrays.npz; returns how many rows."""
    table = Table()
    for case in [*CASES, *CE_CASES]:
        for dtype in ('float64', 'float32'):
            _loss(table, case, dtype)
        _layer(table, case)
    for case in CASES:
        _score(table, case)
        _hard(table, case)
    for refusals in TABLE.values():
        for refusal in refusals:
            _refusal(table, refusal)
    _options(table)
    _objects(table)
    _metric_layer(table)
    text = json.dumps({'tolerance': TOLERANCE, 'rows': table.rows})
    (folder / 'table.json').write_text(text)
    np.savez(str(folder / 'arrays.npz'), **table.arrays)
    return len(table.rows)


def _inputs(table: Table, arrays: Any) -> Dict[str, Any]:
    return {name: table.put(getattr(arrays, name)) for name in ('pred', 'label', 'pixel_weight',
                                                                'upstream')}


def _loss(table: Table, case: Any, dtype: str) -> None:
    arrays, kind = case.arrays(dtype), type(case.options).__name__
    exact = case.arrays()
    loss, vjp = FUNCTIONS[kind](exact.pred, exact.label, case.options, exact.pixel_weight)
    table.add('loss', f'{case.name}, {dtype}', options=[kind, case.options.to_json()],
              dtype=dtype, **_inputs(table, arrays), loss=table.put(loss),
              gradient=table.put(vjp(exact.upstream)))


def _layer(table: Table, case: Any) -> None:
    """A layer on stand-ins for blobs, with loss_weight 3."""
    if case.options.dice.axis != 1:
        return
    arrays, kind = case.arrays('float32'), type(case.options).__name__
    exact = case.arrays()
    loss, vjp = FUNCTIONS[kind](exact.pred, exact.label, case.options, exact.pixel_weight)
    score = soft_dice_score(exact.pred, exact.label, case.options.dice, exact.pixel_weight)
    table.add('layer', case.name, layer=LAYERS[kind], param_str=case.options.to_json(),
              **_inputs(table, arrays), loss=table.put(loss.mean(axis=0)), score=table.put(score),
              gradient=table.put(vjp(3 / len(loss))))


def _score(table: Table, case: Any) -> None:
    arrays = case.arrays()
    score = soft_dice_score(arrays.pred, arrays.label, case.options, arrays.pixel_weight)
    table.add('score', case.name, options=['DiceOptions', case.options.to_json()],
              **_inputs(table, arrays), score=table.put(score))


def _said(function: Any, *arguments: Any, **keywords: Any) -> Any:
    """What the error says; None where there is none."""
    try:
        function(*arguments, **keywords)
    except (TypeError, ValueError) as error:
        return [type(error).__name__, str(error)]
    return None


def _hard(table: Table, case: Any) -> None:
    arrays = case.arrays()
    given = arrays.pred, arrays.label
    error = _said(hard_dice, *given, options=case.options)
    dice = None if error else hard_dice(*given, options=case.options, beta=2.0, per_image=True)
    table.add('hard', case.name, options=['DiceOptions', case.options.to_json()],
              **_inputs(table, arrays), dice=table.put(dice), error=error)


def _refusal(table: Table, refusal: Any) -> None:
    kind = type(refusal.options).__name__
    table.add('refusal', refusal.name, options=[kind, refusal.options.to_json()],
              **_inputs(table, refusal), out=table.put(refusal.out), message=refusal.message)


def _options(table: Table) -> None:
    for kind, several in (('DiceOptions', BAD_OPTIONS), ('DiceCEOptions', BAD_CE_OPTIONS)):
        for fields in several:
            said = _said(KINDS[kind].from_dict, fields)
            assert said, fields
            table.add('fields', str(fields)[:60], options=[kind, fields], error=said)
    for text in TEXTS:
        error = _said(DiceOptions.from_param_str, text)
        made = None if error else repr(DiceOptions.from_param_str(text))
        table.add('text', repr(text)[:60], text=text, error=error, made=made)
    for name, each in presets.items():
        table.add('preset', name, preset=name, made=each.options.to_json())


def _objects(table: Table) -> None:
    """What a frozen dataclass and a NamedTuple can do."""
    counts = hard_counts(np.zeros((2, 3, 4)), np.zeros((2, 4)))
    table.add('objects', 'made', counts=repr(counts + counts), total=repr(counts.total()),
              options=repr(DiceCEOptions(classes=[1, 2], smooth=0.1, ce_gamma=2)),
              weighed=repr(DiceOptions().replace(class_weights=[1, 0.3], form='log')))


def _metric_layer(table: Table) -> None:
    """Two forwards of a test run, as Caffe averages them: D_1, then 2 D_2 - D_1."""
    rng = np.random.RandomState(3)
    options = DiceOptions(ignore_label=255)
    preds = rng.standard_normal((2, 2, 4, 5, 6)).astype('float32')
    labels = rng.randint(0, 3, (2, 2, 1, 5, 6)).astype('float32')
    labels[0, 0, 0, :2] = 255
    first = hard_counts(preds[0], labels[0], options)
    both = first + hard_counts(preds[1], labels[1], options)
    means = [first.total().mean(), both.total().mean()]
    table.add('metric layer', 'two batches', param_str='{"ignore_label": 255, "test_iter": 2}',
              preds=table.put(preds), labels=table.put(labels),
              means=[means[0], 2 * means[1] - means[0]])


if __name__ == '__main__':
    print(write(Path(sys.argv[1])))
