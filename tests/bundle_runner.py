"""Holds soft_dice_layer.py to a table that bundle_table.py has written: python FILE FOLDER.

It needs no package, and is written for Python 2.7 and later, as the one file is.  The last line of
what it prints is JSON: how many rows passed, and which failed with why.
"""
from __future__ import absolute_import, division, print_function

import io
import json
import os
import sys
import types

import numpy as np

if len(sys.argv) != 2:
    sys.exit('python bundle_runner.py FOLDER')
FOLDER = sys.argv[1]
sys.path.insert(0, FOLDER)

stand_in = types.ModuleType(str('caffe'))
stand_in.Layer, stand_in.Net, stand_in.TRAIN, stand_in.TEST = object, None, 0, 1
sys.modules['caffe'] = stand_in

import soft_dice_layer as one_file  # noqa: E402

if sys.version_info[0] > 2:
    unicode = str


class Blob(object):
    def __init__(self, array=None):
        self.data = array
        self.shape = () if array is None else list(array.shape)
        self.diff = None if array is None else np.zeros_like(array)
        if array is not None:
            self.diff[...] = 7

    def reshape(self, *shape):
        self.__init__(np.zeros(shape, np.float32))


def relative_error(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        return float('inf')
    size = max(np.linalg.norm(a.ravel()), np.linalg.norm(b.ravel()))
    error = np.linalg.norm((a - b).ravel()) / size if size else 0.0
    return error if error == error else float('inf')


def expect(true, what):
    if not true:
        raise AssertionError(what)


class Rows(object):
    """A method for each kind of row."""

    def __init__(self, tolerance, arrays):
        self.tolerance, self.arrays = tolerance, arrays

    def array(self, stored):
        if stored is None:
            return None
        array = self.arrays[stored[0]]
        return array.astype(object) if stored[1] else array

    def inputs(self, row):
        return [self.array(row[name]) for name in ('pred', 'label', 'pixel_weight', 'upstream')]

    def options(self, row):
        kind, text = row['options']
        return getattr(one_file, kind).from_param_str(text)

    def function(self, row):
        return (one_file.soft_dice_loss_vjp if row['options'][0] == 'DiceOptions'
                else one_file.dice_ce_loss_vjp)

    def near(self, found, wanted, tolerance):
        error = relative_error(found, wanted)
        expect(error <= self.tolerance[tolerance], '%s: %g' % (tolerance, error))

    def loss(self, row):
        pred, label, weight, upstream = self.inputs(row)
        loss, vjp = self.function(row)(pred, label, self.options(row), weight)
        gradient = vjp(upstream)
        single = row['dtype'] == 'float32'
        self.near(loss, self.array(row['loss']), 'loss, float32' if single else 'value, float64')
        self.near(gradient, self.array(row['gradient']), 'gradient, ' + row['dtype'])
        expect(gradient.dtype == pred.dtype, gradient.dtype)

    def score(self, row):
        pred, label, weight, _ = self.inputs(row)
        score = one_file.soft_dice_score(pred, label, self.options(row), weight)
        self.near(score, self.array(row['score']), 'value, float64')

    def says(self, wanted, function, *arguments, **keywords):
        try:
            value = function(*arguments, **keywords)
        except (TypeError, ValueError) as error:
            said = str(error)
            said = said if isinstance(said, unicode) else said.decode('utf-8')
            expect([type(error).__name__, said] == wanted, said)
            return None
        expect(wanted is None, 'nothing was refused')
        return value

    def hard(self, row):
        pred, label = self.inputs(row)[:2]
        dice = self.says(row['error'], one_file.hard_dice, pred, label, options=self.options(row),
                         beta=2.0, per_image=True)
        if row['error'] is None:
            self.same(dice, self.array(row['dice']))

    def same(self, found, wanted):
        known = ~np.isnan(wanted)
        expect(found.shape == wanted.shape and (np.isnan(found) != known).all(), 'NaN')
        self.near(found[known], wanted[known], 'value, float64')

    def refusal(self, row):
        pred, label, weight, upstream = self.inputs(row)
        out = self.array(row['out'])

        def run():
            vjp = self.function(row)(pred, label, self.options(row), weight)[1]
            vjp(upstream, out=out)
        self.says(['ValueError', row['message']], run)

    def fields(self, row):
        kind, fields = row['options']
        fields = dict((str(name), value) for name, value in fields.items())
        self.says(row['error'], getattr(one_file, kind).from_dict, fields)

    def text(self, row):
        for text in (row['text'], row['text'].encode('utf-8')) if str is bytes else (row['text'],):
            options = self.says(row['error'], one_file.DiceOptions.from_param_str, text)
            expect(row['made'] is None or repr(options) == row['made'], repr(options))

    def preset(self, row):
        expect(one_file.preset(row['preset']).to_json() == row['made'], 'options')

    def objects(self, row):
        counts = one_file.hard_counts(np.zeros((2, 3, 4)), np.zeros((2, 4)))
        kind, both = one_file.DiceOptions, one_file.DiceCEOptions
        for found, wanted in (
                (counts + counts, row['counts']), (counts.total(), row['total']),
                (both(classes=[1, 2], smooth=0.1, ce_gamma=2), row['options']),
                (kind().replace(class_weights=[1, 0.3], form='log'), row['weighed'])):
            expect(repr(found) == wanted, repr(found))
        expect(kind(smooth=1) == kind(smooth=1.0) != kind(smooth=2) and kind() != both(), 'equal')
        expect(len(set([kind(), kind(smooth=1e-5), both()])) == 2, 'hash')
        expect(counts == counts and not counts != counts and counts != counts + counts, 'counts')
        for change in (lambda: setattr(kind(), 'smooth', 1), lambda: delattr(kind(), 'smooth'),
                       lambda: setattr(counts, 'tp', 1)):
            try:
                change()
            except AttributeError as error:
                expect('cannot assign to field' in str(error), str(error))
            else:
                raise AssertionError('it can be changed')
        for refused in (lambda: kind(1), lambda: one_file.hard_dice(0, 0, betta=1),
                        lambda: one_file.HardCounts(tp=[[1]]), lambda: hash(counts)):
            try:
                refused()
            except TypeError:
                continue
            raise AssertionError('nothing was refused')

    def layer(self, row):
        """As a Caffe that knows param_str_ only, and no phase, in every second row."""
        pred, label, weight, _ = self.inputs(row)
        bottom = [Blob(each.astype(np.float32)) for each in (pred, label, weight)
                  if each is not None]
        top = [Blob(), Blob()]
        layer = getattr(one_file, row['layer'])()
        if len(pred) % 2:
            layer.param_str_ = row['param_str']
        else:
            layer.param_str, layer.phase = row['param_str'], 0
        layer.setup(bottom, top)
        layer.reshape(bottom, top)
        layer.forward(bottom, top)
        top[0].diff[...], top[1].diff[...] = 3, 0
        layer.backward(top, [True] * len(bottom), bottom)
        self.near(top[0].data, self.array(row['loss']), 'loss, float32')
        self.near(top[1].data, self.array(row['score']), 'loss, float32')
        self.near(bottom[0].diff, self.array(row['gradient']), 'gradient, float32')
        expect(not any(each.diff.any() for each in bottom[1:]), 'diff')

    def metric_layer(self, row):
        preds, labels = self.array(row['preds']), self.array(row['labels'])
        layer, top = one_file.DiceScoreLayer(), [Blob()]
        layer.param_str, layer.phase = row['param_str'], 1
        for i, mean in enumerate(row['means']):
            bottom = [Blob(preds[i]), Blob(labels[i])]
            if i == 0:
                layer.setup(bottom, top)
            layer.reshape(bottom, top)
            layer.forward(bottom, top)
            self.near(top[0].data, mean, 'loss, float32')


def main():
    with io.open(os.path.join(FOLDER, 'table.json'), encoding='ascii') as file:
        table = json.load(file)
    rows = Rows(table['tolerance'], np.load(os.path.join(FOLDER, 'arrays.npz')))
    passed, failed = 0, []
    for row in table['rows']:
        try:
            getattr(rows, str(row['kind'].replace(' ', '_')))(row)
            passed += 1
        except Exception as error:  # whatever it is, the row has failed
            failed.append('%s: %s: %s' % (row['name'], type(error).__name__, error))
    print(json.dumps({'passed': passed, 'failed': failed, 'numpy': np.__version__,
                      'python': sys.version.split()[0]}))


if __name__ == '__main__':
    main()
