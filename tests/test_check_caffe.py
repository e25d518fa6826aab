"""The checker of Caffe layers, on layers with known defects and on Caffe's own."""
import glob
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import numpy as np
import pytest
import zoo_caffe
from backends import input_layer, loss_prototxt
from processes import HANG, ends, processor_time, surroundings
from session_tool import Tool

from caffe_layers import caffe_proto, gradcheck, prototxt
from caffe_layers.__main__ import main
from caffe_layers.checker import worker
from caffe_layers.checker.cases import class_case, net_cases
from caffe_layers.checker.rig import Blob
from caffe_layers.checker.subject import LayerSubject
from caffe_layers.gradcheck import assert_layer, check_layer, check_net
from soft_dice.arrays import CannotRun
from soft_dice.checker.asked import Asked
from soft_dice.checker.findings import CAFFE_KEYS
from soft_dice.checker.subject import Died, Refused

PRED, LABEL = (2, 4, 9, 8), (2, 1, 9, 8)
SEEDS = range(int(os.environ.get('ZOO_SEEDS', 2)))


def zoo(name, pred=PRED, label=LABEL):
    layer = getattr(zoo_caffe, name)
    asked = {'pred': pred, 'label': label, 'input': layer.given, **layer.asked}
    return class_case(f'zoo_caffe:{name}', Asked(**asked))


def bad(findings):
    return {key: finding.verdict for key, finding in findings.items() if not finding.good}


# The zoo: right layers.

def judge(layer_class):
    """Findings at every seed, and whether float64 stand-ins spoke for the layer."""
    case = zoo(layer_class.__name__)
    with gradcheck.subject(case) as layer:
        return [gradcheck.check_subject(layer, case, seed) for seed in SEEDS], layer.dtype


@pytest.fixture(scope='module')
def right():
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(zoo_caffe.RIGHT, pool.map(judge, zoo_caffe.RIGHT)))


@pytest.mark.parametrize('layer_class', zoo_caffe.RIGHT, ids=lambda each: each.__name__)
def test_no_false_alarm(layer_class, right):
    findings, dtype = right[layer_class]
    assert len(findings) == len(SEEDS)
    assert {seed: bad(each) for seed, each in enumerate(findings) if bad(each)} == {}
    for each in findings:
        assert tuple(each) == CAFFE_KEYS
        assert each['gradient'].verdict == each['relative_error'].verdict == 'correct'
        assert each['direction'].verdict == 'correct'
        assert each['loss_weight'].verdict == 'honoured'
        assert each['force_backward'].verdict == 'works'
        assert each['empty'].verdict == 'finite'
        assert each['shapes'].verdict == 'works'
        assert each['relative_error'].value < (1e-2 if dtype == 'float32' else 1e-6)


@pytest.mark.parametrize('layer_class, batch, classes', [
    (zoo_caffe.Linear, 'separate', 'separate'), (zoo_caffe.Squared, 'separate', 'separate'),
    (zoo_caffe.PooledClasses, 'separate', 'pooled'),
    (zoo_caffe.PooledBatch, 'pooled', 'separate'), (zoo_caffe.PooledAll, 'pooled', 'pooled'),
    (zoo_caffe.CrossEntropy, 'separate', 'pooled'),
    (zoo_caffe.Euclidean, 'separate', 'pooled')])
def test_what_is_pooled(layer_class, batch, classes, right):
    for each in right[layer_class][0]:
        assert (each['batch'].verdict, each['classes'].verdict) == (batch, classes)


def test_float64_where_the_layer_allows_it(right):
    in_float32 = {layer.__name__ for layer, (_, dtype) in right.items() if dtype == 'float32'}
    assert in_float32 == {'Float32', 'BlobsOnly'}


# The zoo: one defect each, and nothing else is found.

WRONG = {'gradient': 'wrong', 'relative_error': 'wrong'}
DEFECTS = {
    'HalfTheQuotient': WRONG, 'OnePercent': WRONG, 'OnePixel': WRONG, 'OnePercentFloat32': WRONG,
    'Argmax': {'gradient': 'zero-forward'}, 'Threshold': {'gradient': 'zero-forward'},
    'Nothing': {'gradient': 'none'}, 'Adds': {'gradient': 'stale'},
    'ForegroundOnly': {'gradient': 'stale', 'relative_error': 'wrong'},
    'Raises': {'gradient': 'error'},
    'Uphill': {**WRONG, 'direction': 'uphill'},
    'OtherSample': {**WRONG, 'batch': 'wrong sample'},
    'Score': {'direction': 'rises'},
    'SoftmaxInside': {'activation': 'applied twice'},
    'SoftmaxOverPixels': {'activation': 'wrong axis'}, 'NoSoftmax': {'activation': 'missing'},
    'WeightForgotten': WRONG, 'WeightTwice': WRONG,
    'WeightOfTheFirst': {'batch': 'wrong sample'},
    'Random': {'gradient': 'not repeatable'}, 'RunningMean': {'gradient': 'not repeatable'},
    # the net for another loss_weight has a layer of its own, whose first prediction is another
    'FirstPrediction': {**WRONG, 'loss_weight': 'wrong', 'force_backward': 'wrong'},
    'WeightIgnored': {'loss_weight': 'ignored'}, 'WeightSquared': {'loss_weight': 'squared'},
    'WeightWithoutSign': {'loss_weight': 'absolute'},
    'LabelGradientRaises': {'force_backward': 'raises'},
    'LabelGradientAborts': {'force_backward': 'dies'},
    'LabelGradientInstead': {'force_backward': 'wrong'},
    'NoBackground': {'empty': 'not finite'}, 'LargeClassUntrained': {'empty': 'wrong'},
    'NoSmooth': {'empty': 'not finite'}, 'NothingLearntWhereEmpty': {'empty': 'no gradient'},
    'BackwardRefuses': {},
    'FirstSampleOnly': {'batch': 'sample ignored'}, 'NeedsABatch': {'batch': 'N=1 fails'},
    'FirstRowAlone': {'batch': 'N=1 fails'}, 'HalvesOneToo': {'batch': 'N=1 fails'},
    'SmallClassDropped': {'classes': 'class dropped'},
    'TwoOfFour': {'classes': 'class dropped'},
    'SmallClassUntrained': {'classes': 'class dropped', 'empty': 'wrong'},
    'Broadcasts': {'shapes': 'broadcast'}, 'FlatImages': {'shapes': 'fails on 3-D'},
    'LegacyAccessors': {'shapes': 'dies'}, 'AbortsAtAWrongLabel': {'shapes': 'dies'},
    'HangsAtAWrongLabel': {'shapes': 'dies'}}


@pytest.fixture(scope='module')
def defective():
    def judge_defect(name):
        case = zoo(name)
        patience = 2.0 if name == 'HangsAtAWrongLabel' else HANG
        with LayerSubject(name, case.spec, case.example, patience) as layer:
            return gradcheck.check_subject(layer, case)
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(DEFECTS, pool.map(judge_defect, DEFECTS)))


def test_every_layer_of_the_zoo_is_judged():
    layers = {name for name, each in vars(zoo_caffe).items() if isinstance(each, type)}
    right = {each.__name__ for each in zoo_caffe.RIGHT}
    assert layers - {'Layer', 'Hangs', 'Slow'} == right | set(DEFECTS)


@pytest.mark.parametrize('name', list(DEFECTS))
def test_the_defect_is_found_and_no_other(name, defective):
    assert bad(defective[name]) == DEFECTS[name]
    for key in DEFECTS[name]:
        assert len(defective[name][key].message) > 20


@pytest.mark.parametrize('name', ['Argmax', 'Threshold', 'OnePercentFloat32'])
def test_the_defect_is_found_whatever_the_seed(name):
    case = zoo(name)
    with gradcheck.subject(case) as layer:
        for seed in range(1, 6):
            assert bad(gradcheck.check_subject(layer, case, seed)) == DEFECTS[name], seed


def test_the_numbers_behind_the_findings(defective):
    pixel = defective['OnePixel']['gradient'].value
    assert tuple(pixel['worst']) == (1, 2, 3, 3)  # as its docstring says: pixel 27 of 9 x 8
    assert pixel['analytic'] == pytest.approx(-pixel['numeric'], rel=1e-4)
    assert defective['OnePercent']['relative_error'].value == pytest.approx(0.01 / 1.01, rel=1e-3)
    assert defective['Uphill']['relative_error'].value == pytest.approx(2, rel=1e-6)
    assert defective['Uphill']['gradient'].value['cosine'] == pytest.approx(-1)
    ratios = {name: defective[name]['loss_weight'].value
              for name in ('WeightIgnored', 'WeightSquared', 'WeightWithoutSign')}
    for name, (three, minus) in {'WeightIgnored': (1, 1), 'WeightSquared': (9, 1),
                                 'WeightWithoutSign': (3, 1)}.items():
        assert ratios[name]['3'] == pytest.approx(three, rel=1e-4)
        assert ratios[name]['-1'] == pytest.approx(minus, rel=1e-4)


def test_a_layer_that_ends_its_process_is_quoted(defective):
    assert 'Cannot use legacy accessors' in defective['LegacyAccessors']['shapes'].message
    assert 'SIGABRT' in defective['AbortsAtAWrongLabel']['shapes'].message
    assert 'no answer within' in defective['HangsAtAWrongLabel']['shapes'].message
    assert 'no gradient yet' in defective['Raises']['gradient'].message


# Caffe's own losses, and ours.

def net_file(folder, *layers):
    path = folder / 'net.prototxt'
    path.write_text('\n'.join(layers))
    return str(path)


def loss_layer(kind, more='', name='loss', bottoms=('pred', 'label'), top='loss'):
    names = ' '.join(f'bottom: "{bottom}"' for bottom in bottoms)
    return f'layer {{ name: "{name}" type: "{kind}" {names} top: "{top}" {more} }}'


def python(layer, more='loss_weight: 1', **keywords):
    module, name = layer.split(':')
    return loss_layer('Python', f'{more} python_param {{ module: "{module}" layer: "{name}" }}',
                      **keywords)


@pytest.mark.parametrize('kind, pred, label, more', [
    ('SoftmaxWithLoss', PRED, LABEL, ''), ('SoftmaxWithLoss', (3, 5), (3,), ''),
    ('SoftmaxWithLoss', PRED, LABEL, 'loss_param { ignore_label: 255 }'),
    ('SigmoidCrossEntropyLoss', PRED, PRED, ''),
    ('SigmoidCrossEntropyLoss', (2, 1, 9, 8), (2, 1, 9, 8), ''),
    ('EuclideanLoss', PRED, PRED, ''), ('EuclideanLoss', (3, 5), (3, 5), ''),
    ('HingeLoss', (4, 5), (4,), ''), ('HingeLoss', (4, 5), (4,), 'hinge_loss_param { norm: L2 }'),
    ('MultinomialLogisticLoss', (4, 5), (4,), '')])
def test_caffes_own_losses_are_right(kind, pred, label, more, tmp_path):
    path = net_file(tmp_path, input_layer('pred', pred), input_layer('label', label),
                    loss_layer(kind, more))
    for seed in (0, 10):  # at some a class of HingeLoss has no gradient
        findings = check_net(path, seed=seed)
        assert bad(findings) == {}, seed
        assert findings['gradient'].verdict == 'correct'
        assert findings['loss_weight'].verdict == 'honoured'


@pytest.mark.parametrize('pred, label, param_str, kind', [
    (PRED, LABEL, '', None), (PRED, (2, 9, 8), '{"exponent": 2, "pool_classes": true}', None),
    ((2, 3, 4, 5, 6), (2, 1, 4, 5, 6), '{"batch_dice": true}', None),
    ((3, 1, 9, 8), (3, 1, 9, 8), '{"activation": "sigmoid"}', 'binary'),
    (PRED, PRED, '{"activation": "sigmoid", "sparse_label": false}', 'onehot'),
    (PRED, LABEL, '{"class_reduction": "none"}', None)])
def test_our_layer_is_right(pred, label, param_str, kind):
    assert_layer('caffe_layers:SoftDiceLossLayer', pred, label, param_str, label_kind=kind)


@pytest.mark.parametrize('path', sorted(glob.glob('prototxt_examples/*.prototxt')),
                         ids=os.path.basename)
def test_the_example_nets_are_right(path):
    if 'deep_supervision' not in path:
        assert bad(check_net(path)) == {}
        return
    assert bad(check_net(path, 'loss')) == {}
    for layer in ('loss_2', 'loss_4'):  # which take labels of other sizes, as they should
        found = check_net(path, layer, pred=(2, 3, 4, 4), label=(2, 1, 4, 4))
        assert bad(found) == {'shapes': 'broadcast'}


# Layouts.

def test_a_layer_with_the_foreground_first_is_not_judged_as_a_score(capsys):
    arguments = ['check', '--class', 'zoo_caffe:ForegroundFirst', '--pred', '2,4,9,8', '--input',
                 'softmax']
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert '- direction' in out and 'return 1 - score' not in out and '--background -1' in out
    assert main(arguments + ['--background', '-1']) == 0
    assert 'ok direction' in capsys.readouterr().out


def test_a_layer_with_channels_last(capsys):
    arguments = ['check', '--class', 'zoo_caffe:ChannelsLast', '--pred', '2,9,8,4', '--label',
                 '2,9,8', '--input', 'softmax']
    assert main(arguments) == 2
    assert 'if the classes are the last axis, say axis -1' in capsys.readouterr().err
    assert main(arguments + ['--axis', '-1']) == 0


# In tests.

def test_assert_layer_in_a_test():
    assert_layer(zoo_caffe.Linear, PRED, LABEL, input='softmax')
    with pytest.raises(AssertionError, match='WeightIgnored has defects: loss_weight') as raised:
        assert_layer(zoo_caffe.WeightIgnored, PRED, LABEL, input='softmax')
    assert all(key in str(raised.value) for key in CAFFE_KEYS)
    assert_layer(zoo_caffe.WeightIgnored, PRED, LABEL, input='softmax', allow=['loss_weight'])
    with pytest.raises(AssertionError, match='defects: loss_weight'):
        assert_layer(zoo_caffe.WeightIgnored, PRED, LABEL, input='softmax', allow=['shapes'])
    with pytest.raises(ValueError, match='allow takes gradient, .* got weight'):
        assert_layer(zoo_caffe.Linear, PRED, LABEL, input='softmax', allow=['weight'])


@pytest.mark.parametrize('layer, keywords, message', [
    ('no_such_module:Loss', {},
     "module no_such_module cannot be imported: ModuleNotFoundError: No module named"),
    ('zoo_caffe:NoSuch', {}, 'the module zoo_caffe has no NoSuch'),
    ('zoo_caffe:SMOOTH', {}, 'zoo_caffe:SMOOTH is not a class derived from caffe.Layer'),
    ('zoo_caffe', {}, 'must be module:Class'), ('zoo_caffe:A.B', {}, 'must be module:Class'),
    ('zoo_caffe:Linear', dict(label=(2, 1, 9, 7)),
     r'one number per pixel: .* must have the shape \(2, 9, 8\) or \(2, 1, 9, 8\); got'),
    ('zoo_caffe:Linear', dict(label=PRED[:2]), 'has one number per pixel'),
    ('zoo_caffe:Linear', dict(label=(2, 72)), r'a label for \(2, 4, 9, 8\) has one channel'),
    ('zoo_caffe:Linear', dict(label=(1, 2, 9, 8)), 'has one number per pixel'),
    ('zoo_caffe:Linear', dict(label=(2, 0, 9, 8)), 'numbers from 1 upwards'),
    ('zoo_caffe:Linear', dict(input='tanh'), 'input must be one of softmax, sigmoid, raw'),
    ('zoo_caffe:Linear', dict(label_kind='soft'), 'label_kind must be one of'),
    ('zoo_caffe:Linear', dict(label=PRED), r'cannot set zoo_caffe:Linear up .* has one channel'),
    ('caffe_layers:SoftDiceLossLayer', dict(param_str='{"smoth": 1}'), "unknown option 'smoth'")])
def test_what_cannot_run(layer, keywords, message):
    with pytest.raises(CannotRun, match=message):
        check_layer(layer, PRED, **{'label': LABEL, **keywords})


def test_a_class_of_the_main_program_is_explained():
    layer_class = type('Loss', (zoo_caffe.Linear,), {'__module__': '__main__'})
    with pytest.raises(CannotRun, match='move Loss into a file'):
        check_layer(layer_class, PRED)


# Slow layers.

def test_a_layer_that_never_answers_is_no_finding():
    with pytest.raises(CannotRun, match='gave no answer within .* it hangs on an ordinary input, '
                                        'or is slow and needs more time'):
        check_layer('zoo_caffe:Hangs', PRED, input='softmax', seconds=2)


@pytest.mark.slow
def test_a_terminal_shows_a_slow_layer_and_what_was_left_out(tmp_path):
    (tmp_path / 'slow.py').write_text(
        'import time, zoo_caffe\n'
        'class Slow(zoo_caffe.Linear):\n'
        '    def forward(self, bottom, top):\n'
        '        time.sleep(0.15)\n'
        '        super().forward(bottom, top)\n')
    done = subprocess.run(
        [sys.executable, '-c', 'import pty, sys; sys.exit(pty.spawn([sys.executable, "-m", '
         '"caffe_layers", "check", "--class", "slow:Slow", "--pred", "2,4,9,8", "--input", '
         '"softmax", "--seconds", "20"]) >> 8)'],
        cwd=str(tmp_path), env=surroundings(), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    said = done.stdout.decode()
    assert 'dies' not in said
    if done.returncode == 2:  # on a machine that is slow itself
        assert 'were over before the gradient could be judged' in said
    else:
        assert done.returncode == 0 and 'Left out for want of time: classes' in said
    assert 'gradient: ' in said and 'of 20 seconds\r\x1b[K' in said


def test_a_slow_layer_is_no_layer_that_hangs():
    case = zoo('Slow')
    with LayerSubject('Slow', case.spec, case.example, patience=0.05, float64=False) as layer:
        for seed in range(3):
            assert np.isfinite(layer.value(*case.example.arrays(seed)))


# The process that may die.

def test_a_session_outlives_its_child():
    with worker.Session(Tool) as session:
        assert [session.call('count'), session.call('count')] == [1, 2]
        with pytest.raises(Died, match=r'^Check failed: a == b \(1 vs. 2\) Different. \(blob.hpp'):
            session.call('say_and', 'abort')
        assert session.call('count') == 1  # another child
        session.limit = 0.5
        with pytest.raises(worker.Hung, match='no answer within 0.5 seconds'):
            session.call('say_and', 'sleep')
        session.limit = HANG
        with pytest.raises(Died):
            session.call('say_and', 'exit')
        assert session.call('count') == 1
        with pytest.raises(Refused, match='SystemExit'):  # an exception like any other
            session.call('say_and', 'leave')
        assert session.call('count') == 2


def test_sessions_do_not_share_a_child():
    with worker.Session(Tool) as one, worker.Session(Tool) as other:
        assert [one.call('count'), one.call('count'), other.call('count')] == [1, 2, 1]
        child = other._child
    with pytest.raises(ProcessLookupError):  # and leave none behind
        os.kill(child, 0)


def test_a_caller_that_is_killed_leaves_no_process_behind():
    code = ('import os, threading, time; from session_tool import Tool; '
            'from caffe_layers.checker.worker import Session; session = Session(Tool); '
            'threading.Thread(target=session.call, args=("say_and", "sleep"), daemon=True).start();'
            ' time.sleep(0.5); print(session._child, flush=True); os.kill(os.getpid(), 9)')
    done = subprocess.run([sys.executable, '-c', code], stdout=subprocess.PIPE,
                          env=surroundings())
    assert ends(int(done.stdout))


def test_a_tool_that_cannot_be_made():
    with pytest.raises(CannotRun, match='no such thing'):
        worker.Session(Tool, 'cannot')
    with pytest.raises(Died, match='SIGABRT'):
        worker.Session(Tool, 'abort')


def test_stand_in_blob():
    blob = Blob((2, 3, 4))
    assert (blob.num, blob.channels, blob.height, blob.width, blob.count) == (2, 3, 4, 1, 24)
    blob.data[...] = 1
    data = blob.data
    blob.reshape(2, 3, 4)
    assert blob.data is data  # as Caffe keeps the memory
    blob.reshape(*(1,) * 5)
    assert blob.data.shape == blob.diff.shape == blob.shape == (1,) * 5
    with pytest.raises(ValueError, match='up to 4 axes'):
        blob.num
    with pytest.raises(AttributeError):
        blob.data = 1


def test_float64_has_the_digits_that_the_net_has_not():
    case = zoo('Squared')
    pred, label = case.example.arrays(3)
    with gradcheck.subject(case) as precise, LayerSubject(
            'Squared', case.spec, case.example, float64=False) as real:
        flat, one_hot = zoo_caffe.Layer.arrays(None, (_holding(pred), _holding(label)))
        exact = zoo_caffe.Squared.loss(None, flat, one_hot)
        assert abs(precise.value(pred, label) - exact) < 1e-15
        assert 1e-15 < abs(real.value(pred, label) - exact) < 1e-6
        assert precise.evaluate(pred, label).gradient.dtype == np.float64


def _holding(array):
    blob = Blob(array.shape)
    blob.data[...] = array
    return blob


# Nets.

SOFTMAX = 'layer { name: "softmax" type: "Softmax" bottom: "score" top: "pred" }'


def cases(folder, *layers, **keywords):
    return net_cases(net_file(folder, *layers), None, Asked(**keywords))


def test_input_and_label_are_told_from_the_net(tmp_path):
    dropout = 'layer { name: "drop" type: "Dropout" bottom: "pred" top: "pred" }'
    sigmoid = SIGMOID
    for layers, wanted in [((SOFTMAX,), 'softmax'), ((sigmoid,), 'sigmoid'),
                           ((SOFTMAX, dropout), 'softmax'),
                           ((sigmoid, SOFTMAX.replace('"score"', '"pred"')), 'softmax')]:
        (case,) = cases(tmp_path, input_layer('score', PRED), input_layer('label', LABEL),
                        *layers, python('zoo_caffe:Linear'))
        assert case.example.input == wanted and case.example.label_kind == 'index'
        assert 'the prediction is ' + wanted in case.assumed
    (case,) = cases(tmp_path, input_layer('pred', (2, 1, 5, 5)), input_layer('label', (2, 1, 5, 5)),
                    python('zoo_caffe:Linear'))
    assert case.example.label_kind == 'binary' and case.example.input == 'raw'


CONVOLUTION = ('layer { name: "conv" type: "Convolution" bottom: "score" top: "pred" '
               'convolution_param { num_output: 4 kernel_size: 1 weight_filler { type: "xavier" } }'
               ' }')
SIGMOID = SOFTMAX.replace('Softmax', 'Sigmoid')
ADDED = ('layer { name: "sum" type: "Eltwise" bottom: "scores" bottom: "scores" top: "pred" }')
OURS = 'caffe_layers:SoftDiceLossLayer'


@pytest.mark.parametrize('layers, verdict, says', [
    ((SOFTMAX, loss_layer('SoftmaxWithLoss')), 'applied twice',
     "The Softmax layer 'softmax' gives probabilities, and the loss applies a softmax"),
    ((SOFTMAX, python(OURS)), 'applied twice', "The Softmax layer 'softmax' gives"),
    ((SIGMOID, loss_layer('SoftmaxWithLoss')), 'applied twice', 'before the sigmoid'),
    ((CONVOLUTION, loss_layer('SoftmaxWithLoss')), 'fits', 'expects logits'),
    ((CONVOLUTION, python(OURS)), 'fits', 'expects logits'),
    ((CONVOLUTION, python('zoo_caffe:Linear')), 'missing',
     "The Convolution layer 'conv' gives raw scores"),
    ((CONVOLUTION.replace('"pred"', '"scores"'), ADDED, python('zoo_caffe:Linear')), 'missing',
     "The Eltwise layer 'sum' gives raw scores"),
    ((SOFTMAX.replace('"pred"', '"scores"'), ADDED, python('zoo_caffe:Linear')), 'undecided',
     'the net does not say'),
    ((SOFTMAX, python('zoo_caffe:Linear')), 'fits', 'expects probabilities'),
    ((input_layer('pred', PRED), python('zoo_caffe:Linear')), 'undecided',
     'expects probabilities; the net does not say'),
    ((input_layer('pred', PRED), python(OURS)), 'undecided', 'expects logits')],
    ids=lambda each: each if isinstance(each, str) else '')
def test_what_the_net_gives_must_fit_what_the_loss_expects(layers, verdict, says, tmp_path):
    findings = check_net(net_file(tmp_path, input_layer('score', PRED),
                                  input_layer('label', LABEL), *layers))
    assert findings['activation'].verdict == verdict and says in findings['activation'].message
    assert set(bad(findings)) == ({'activation'} if verdict in ('applied twice', 'missing')
                                  else set())
    assert findings['classes'].verdict == ('pooled' if 'SoftmaxWithLoss' in layers[-1]
                                           else 'separate')


def test_a_sigmoid_before_a_sigmoid_loss(tmp_path):
    path = net_file(tmp_path, input_layer('score', PRED), input_layer('label', PRED), SIGMOID,
                    loss_layer('SigmoidCrossEntropyLoss'))
    finding = check_net(path)['activation']
    assert finding.verdict == 'applied twice'
    assert finding.message.startswith("The Sigmoid layer 'softmax' gives probabilities, and the "
                                      'loss applies a sigmoid to them once more')
    assert check_net(path, input='raw')['activation'].verdict == 'fits'


def test_probabilities_that_a_loss_of_caffe_needs(tmp_path):
    inner = ('layer { name: "fc" type: "InnerProduct" bottom: "score" top: "pred" '
             'inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }')
    path = net_file(tmp_path, input_layer('score', (4, 5)), input_layer('label', (4,)), inner,
                    loss_layer('MultinomialLogisticLoss'))
    assert bad(check_net(path)) == {'activation': 'missing'}


def test_the_label_is_the_bottom_that_comes_from_the_data(tmp_path):
    path = net_file(tmp_path, input_layer('score', PRED), input_layer('label', PRED), SOFTMAX,
                    loss_layer('EuclideanLoss', bottoms=('label', 'pred')))
    (case,) = net_cases(path, None, Asked())
    assert (case.spec.pred, case.spec.label) == (1, 0)
    assert 'pred is the prediction, label the label' in case.assumed
    assert bad(check_net(path)) == {}


def test_layers_of_the_test_phase_and_metrics_are_no_losses(tmp_path):
    (case,) = cases(
        tmp_path, input_layer('pred', PRED), input_layer('label', LABEL),
        python('zoo_caffe:Linear', name='train'),
        python('zoo_caffe:Linear', name='test', top='t',
               more='loss_weight: 1 include { phase: TEST }'),
        python('zoo_caffe:Linear', name='metric', top='m', more=''),
        loss_layer('SoftmaxWithLoss', 'loss_weight: 0', name='off', top='off'))
    assert case.name == 'train'


def test_loss_without_loss_weight(tmp_path):
    path = net_file(tmp_path, input_layer('score', PRED), input_layer('label', LABEL), SOFTMAX,
                    python('zoo_caffe:Linear', more=''))
    findings = check_net(path)
    assert bad(findings) == {'loss_weight': 'missing'}
    assert 'add loss_weight: 1' in findings['loss_weight'].message


def test_several_losses(tmp_path):
    layers = (input_layer('pred', PRED), input_layer('label', LABEL),
              loss_layer('SoftmaxWithLoss', name='one'),
              python('caffe_layers:SoftDiceLossLayer', name='two', top='two'))
    assert [case.name for case in cases(tmp_path, *layers)] == ['one', 'two']
    path = net_file(tmp_path, *layers)
    with pytest.raises(CannotRun, match='several losses, name one of one, two'):
        check_net(path)
    assert bad(check_net(path, layer='two')) == {}


def test_a_large_net_is_checked_on_few_pixels(tmp_path):
    (case,) = cases(tmp_path, input_layer('pred', (1, 3, 200, 20)),
                    input_layer('label', (1, 1, 200, 20)), loss_layer('SoftmaxWithLoss'))
    assert (case.example.pred, case.example.label) == ((2, 3, 32, 20), (2, 1, 32, 20))
    assert any('(2, 3, 32, 20) will do for the (1, 3, 200, 20)' in each for each in case.assumed)


WEIGHTED = [input_layer('pred', PRED), input_layer('label', LABEL)]
HELD = ('layer { name: "weights" type: "DummyData" top: "w" dummy_data_param { '
        'shape { dim: 2 dim: 1 dim: 9 dim: 8 } data_filler { type: "constant" value: %g } } }')


def weighted(layer):
    return python(layer, bottoms=('pred', 'label', 'w'))


def test_a_third_bottom_of_a_net_is_random_where_the_net_has_no_data(tmp_path):
    (case,) = cases(tmp_path, *WEIGHTED, input_layer('w', LABEL), weighted('zoo_caffe:Weighted'))
    assert 'w holds random numbers from 0.5 to 1.5' in case.assumed
    for layer, expected in (('Weighted', {}), ('WeightForgotten', WRONG)):
        path = net_file(tmp_path, *WEIGHTED, input_layer('w', LABEL),
                        weighted('zoo_caffe:' + layer))
        assert bad(check_net(path)) == expected
    assert bad(check_net(path, pred=PRED, label=LABEL)) == WRONG
    path = net_file(tmp_path, loss_prototxt({'pred': PRED, 'label': LABEL, 'w': (2, 1, 9, 8)}))
    assert bad(check_net(path)) == {}


def test_a_third_bottom_is_what_the_net_holds(tmp_path):
    for value, expected in ((1, {}), (3, WRONG)):  # at 1 the forgotten weight makes no difference
        path = net_file(tmp_path, *WEIGHTED, HELD % value, weighted('zoo_caffe:WeightForgotten'))
        (case,) = net_cases(path, None, Asked())
        assert 'w holds what the net gives' in case.assumed
        assert bad(check_net(path)) == expected


def test_a_third_bottom_of_a_class(capsys):
    arguments = ['check', '--class', 'zoo_caffe:WeightTwice', '--pred', '2,4,9,8', '--input',
                 'softmax']
    assert main(arguments) == 2
    assert 'the bottoms are prediction, label and weights' in capsys.readouterr().err
    assert main(arguments + ['--pixel-weight', '2,1,9,8']) == 1
    assert 'WRONG gradient' in capsys.readouterr().out


DATABASE = ('layer { name: "data" type: "Data" top: "pred" top: "label" '
            'data_param { source: "no/such/lmdb" batch_size: 1 backend: LMDB } }')


def test_a_net_whose_data_is_elsewhere(tmp_path):
    path = net_file(tmp_path, DATABASE, loss_layer('SoftmaxWithLoss'))
    with pytest.raises(CannotRun, match='cannot be loaded here: Check failed: .* the shapes, '
                                        'which --pred and --label give'):
        check_net(path)
    assert bad(check_net(path, pred=PRED, label=LABEL)) == {}


SOURCE = ('layer { name: "data" type: "Python" top: "pred" top: "label" '
          'python_param { module: "%s" layer: "Source" } }')


def test_a_module_that_is_missing_is_named(tmp_path, capsys):
    path = net_file(tmp_path, SOURCE % 'their_data', python('zoo_caffe:Linear'))
    assert main(['check', path]) == 2
    said = capsys.readouterr().err
    assert ("layer 'data': the module their_data cannot be imported: ModuleNotFoundError: No "
            f"module named 'their_data'; it was looked for in the net's folder, {tmp_path}, the "
            f'current directory, {os.getcwd()}, and on PYTHONPATH.  '
            'What its loss needs of it are the shapes') in said
    path = net_file(tmp_path, SOURCE % 'their_data', python('their_loss:Loss'))
    for arguments in ([], ['--pred', '2,4,9,8', '--label', '2,1,9,8']):
        assert main(['check', path] + arguments) == 2
        said = capsys.readouterr().err
        assert "No module named 'their_loss'; it was looked for in" in said
        assert 'the shapes' not in said
        assert said.count('\n') == 1


def test_a_loss_in_the_folder_of_its_net_is_found(tmp_path):
    (tmp_path / 'loss_beside_its_net.py').write_text('from zoo_caffe import Linear\n')
    path = net_file(tmp_path, input_layer('score', PRED), input_layer('label', LABEL), SOFTMAX,
                    python('loss_beside_its_net:Linear'))
    assert bad(check_net(path)) == bad(check_net(path, pred=PRED, label=LABEL)) == {}


def test_an_error_that_caffe_printed_itself_is_told(tmp_path):
    """Caffe prints what Python raises while a net is loaded, and then raises a SystemError."""
    (tmp_path / 'broken_data.py').write_text(
        'import caffe\n'
        'class Source(caffe.Layer):\n'
        '    def setup(self, bottom, top):\n'
        '        import no_such_reader\n')
    path = net_file(tmp_path, SOURCE % 'broken_data', python('zoo_caffe:Linear'))
    with mock.patch.object(sys, 'path', [str(tmp_path)] + sys.path), \
            pytest.raises(CannotRun, match="cannot be loaded here: ModuleNotFoundError: No module "
                                           "named 'no_such_reader'.  What"):
        check_net(path)


@pytest.mark.parametrize('code, error', [
    ('eval(self.param_str)', 'SyntaxError: unexpected EOF'),
    ('__import__("json").loads(self.param_str)', 'JSONDecodeError: Expecting value'),
    ('self.param_str.split(":")[1]', 'IndexError: list index out of range')])
def test_a_param_str_that_is_missing_is_asked_for(code, error, tmp_path):
    (tmp_path / 'wants_param_str.py').write_text(
        'import zoo_caffe\n'
        'class Loss(zoo_caffe.Linear):\n'
        f'    def setup(self, bottom, top): self.wanted = {code}\n')
    with mock.patch.object(sys, 'path', [str(tmp_path)] + sys.path):
        with pytest.raises(CannotRun, match=f'{error}.*; it reads its param_str, which is empty: '
                                            '--class takes --param-str'):
            check_layer('wants_param_str:Loss', PRED, input='softmax')
        with pytest.raises(CannotRun) as raised:
            check_layer('wants_param_str:Loss', PRED, input='softmax', param_str='?')
    assert 'which is empty' not in str(raised.value)


@pytest.mark.parametrize('code', ['top[1].reshape(1)', 'bottom[2].data'])
def test_a_blob_that_is_missing_is_asked_for(code, tmp_path):
    (tmp_path / 'wants_more.py').write_text(
        'import zoo_caffe\n'
        'class Loss(zoo_caffe.Linear):\n'
        f'    def setup(self, bottom, top): {code}\n')
    with mock.patch.object(sys, 'path', [str(tmp_path)] + sys.path), \
            pytest.raises(CannotRun, match='Index out of range; it asks for a bottom or a top that '
                                           'it was not given: --pixel-weight gives a third'):
        check_layer('wants_more:Loss', PRED, input='softmax')


def test_an_error_of_several_lines_is_told_in_one(tmp_path):
    (tmp_path / 'wordy.py').write_text(
        'import zoo_caffe\n'
        'class Loss(zoo_caffe.Linear):\n'
        '    def forward(self, bottom, top):\n'
        '        raise ValueError("the shapes\\n    (2, 4)\\nand\\n    (3,)\\ndiffer\\n\\n")\n')
    with mock.patch.object(sys, 'path', [str(tmp_path)] + sys.path):
        finding = check_layer('wordy:Loss', PRED, input='softmax')['gradient']
    assert finding.message.endswith(': ValueError: the shapes (2, 4) and (3,) differ.')


def test_prototxt_that_is_none(tmp_path):
    for text, message in [('layer { top: 1 }', 'not the prototxt of a net: top must be a string'),
                          (input_layer('pred', PRED), 'no loss layer .* with --layer: pred'),
                          ('', 'name it with --layer: none')]:
        with pytest.raises(CannotRun, match=message):
            check_net(net_file(tmp_path, text))
    with pytest.raises(CannotRun, match='cannot be read: No such file'):
        check_net(str(tmp_path / 'none.prototxt'))
    with pytest.raises(CannotRun, match="has no layer 'x'; its layers are pred"):
        check_net(net_file(tmp_path, input_layer('pred', PRED)), layer='x')
    with pytest.raises(CannotRun, match="layer 'pred' has 0 bottoms"):
        check_net(net_file(tmp_path, input_layer('pred', PRED)), layer='pred')


def test_reading_a_net_makes_none(tmp_path):
    net = caffe_proto.read(net_file(tmp_path, DATABASE, loss_layer('SoftmaxWithLoss'))).net
    (loss,) = prototxt.losses(net)
    assert (loss.layer.name, loss.pred, loss.label, loss.input) == ('loss', 0, 1, 'raw')


# The command.

def test_command_on_a_net(tmp_path, capsys):
    path = net_file(tmp_path, input_layer('pred', PRED), input_layer('label', LABEL),
                    loss_layer('SoftmaxWithLoss'))
    assert main(['check', path]) == 0
    out, err = capsys.readouterr()
    assert all(key in out for key in CAFFE_KEYS) and 'the label is index' in out
    assert '\x1b' not in out and err == ''


def test_command_writes_what_is_asked_for(tmp_path, capfd):
    files = [str(tmp_path / name) for name in ('f.json', 'f.png', 'f.html')]
    assert main(['check', '--class', 'zoo_caffe:OnePixel', '--pred', '2,4,5,6', '--label',
                 '2,1,5,6', '--input', 'softmax', '--json', files[0], '--plot', files[1],
                 '--html', files[2]]) == 1
    with open(files[0]) as file:
        findings = json.load(file)
    assert tuple(findings) == CAFFE_KEYS
    assert all(set(each) == {'verdict', 'value', 'message'} for each in findings.values())
    assert findings['gradient']['verdict'] == 'wrong'
    with open(files[1], 'rb') as file:
        assert file.read(8) == b'\x89PNG\r\n\x1a\n'
    with open(files[2]) as file:
        page = file.read()
    assert 'zoo_caffe:OnePixel' in page and 'data:image/png;base64,' in page
    assert capfd.readouterr().err == ''  # Caffe tells nothing of every net it makes


def test_command_checks_every_loss(tmp_path, capsys):
    path = net_file(tmp_path, input_layer('pred', PRED), input_layer('label', LABEL),
                    loss_layer('SoftmaxWithLoss', name='good'),
                    python('zoo_caffe:Broadcasts', name='bad', top='two'))
    assert main(['check', path]) == 1
    out = capsys.readouterr().out
    assert 'good: prediction' in out and 'bad: prediction' in out
    assert main(['check', path, '--json', '-']) == 2
    assert 'name one with --layer: good, bad' in capsys.readouterr().err


@pytest.mark.parametrize('arguments, message', [
    (['no.prototxt'], 'no.prototxt cannot be read: No such file'),
    ([], 'give either a net or --class'),
    (['a.prototxt', '--class', 'a:B'], 'give either a net or --class'),
    (['--class', 'zoo_caffe:Linear'], '--class needs the shape of a prediction'),
    (['--class', 'zoo_caffe:Linear', '--pred', '2,3', '--layer', 'x'], '--layer names a layer'),
    (['a.prototxt', '--param-str', '{}'], '--param-str goes with --class'),
    (['--class', 'nowhere:Linear', '--pred', '2,4,9,8'], 'No module named'),
    (['--class', 'zoo_caffe:Linear', '--pred', '2,4,9,8', '--label', '1,1,9,8'],
     'one number per pixel')])
def test_command_that_cannot_run(arguments, message, capsys):
    assert main(['check'] + arguments) == 2
    out, err = capsys.readouterr()
    assert message in err and err.startswith('caffe_layers check: ') and err.count('\n') == 1
    assert out == ''


@pytest.mark.parametrize('shape', ['2,4,x', '', '2,-1', '2,0'])
def test_command_with_a_shape_that_is_none(shape, capsys):
    with pytest.raises(SystemExit) as raised:
        main(['check', '--class', 'a:B', f'--pred={shape}'])
    assert raised.value.code == 2
    assert 'numbers from 1 upwards' in capsys.readouterr().err


def test_command_with_a_seed_that_is_none(capsys):
    with pytest.raises(SystemExit):
        main(['check', '--class', 'a:B', '--seed=-1'])
    assert 'a seed is a whole number from 0 upwards' in capsys.readouterr().err


def test_command_finds_a_layer_in_the_current_directory_and_is_quick(tmp_path):
    """A stranger's layer, from nowhere near this project; 30 seconds are the promise."""
    (tmp_path / 'mine.py').write_text(
        'import caffe, numpy as np\n'
        'class Loss(caffe.Layer):\n'
        '    def setup(self, bottom, top): print("chatter")\n'
        '    def reshape(self, bottom, top):\n'
        '        self.diff = np.zeros_like(bottom[0].data, dtype=np.float32)\n'
        '        top[0].reshape(1)\n'
        '    def forward(self, bottom, top):\n'
        '        self.diff[...] = bottom[0].data - bottom[1].data\n'
        '        top[0].data[...] = np.sum(self.diff ** 2) / bottom[0].num / 2.\n'
        '    def backward(self, top, propagate_down, bottom):\n'
        '        for i in range(2):\n'
        '            if propagate_down[i]:\n'
        '                bottom[i].diff[...] = (-1) ** i * self.diff / bottom[i].num\n')
    before = processor_time()
    done = subprocess.run(
        [sys.executable, '-m', 'caffe_layers', 'check', '--class', 'mine:Loss', '--pred',
         '2,4,32,32', '--label', '2,4,32,32', '--input', 'softmax', '--json', '-'],
        cwd=str(tmp_path), env=surroundings(OMP_NUM_THREADS='1'), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)
    assert done.returncode == 1, done.stderr.decode()
    findings = json.loads(done.stdout.decode())
    assert findings['gradient']['verdict'] == 'correct'
    # Caffe's own example of a Python loss, pyloss.py, has these two defects
    assert findings['loss_weight']['verdict'] == 'ignored'
    assert findings['shapes']['verdict'] == 'dies'
    assert done.stderr.decode() == ''
    assert processor_time() - before < 30
