"""A net read without Caffe is what Caffe reads, and `add` without Caffe writes what it writes."""
import json
import os
import re
from pathlib import Path

import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import run_python

from caffe_layers import reader
from caffe_layers.__main__ import main
from soft_dice.arrays import CannotRun

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted(path for path in (ROOT / 'prototxt_examples').glob('**/*.prototxt')
                  if path.name != 'solver.prototxt')
NET = ('input: "data" input_shape { dim: 2 dim: 3 dim: 9 dim: 8 }\n'
       'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 2 dim: 1 '
       'dim: 9 dim: 8 } } }\nlayer { name: "score" type: "Convolution" bottom: "data" top: "score" '
       'convolution_param { num_output: 4 kernel_size: 1 weight_filler { type: "xavier" } } }\n')
LOSS = ('layer {\n  name: "loss"  # the { loss\n  type: "SoftmaxWithLoss"\n  bottom: "score"\n'
        '  bottom: "label"\n  loss_param { ignore_label: 255 }\n  top: "loss"\n}\n')


def same(ours, caffes, kind):
    """Every value that the reader knows is the one that Caffe reads."""
    for name, known in kind.items():
        one, other = getattr(ours, name), getattr(caffes, name)
        ones, others = (one, list(other)) if known.many else ([one], [other])
        assert len(ones) == len(others)
        for value, read in zip(ones, others):
            if isinstance(value, reader.Message):
                same(value, read, known.value)
            elif isinstance(value, float):
                assert value == pytest.approx(read, rel=1e-6, nan_ok=True)
            else:
                assert value == read, name
        if not known.many:
            assert ours.HasField(name) == caffes.HasField(name)


@pytest.mark.parametrize('path', EXAMPLES, ids=lambda path: path.stem)
def test_the_examples(path):
    text = path.read_text()
    same(reader.read(text, 'net'), text_format.Parse(text, caffe_pb2.NetParameter()), reader.NET)


@pytest.mark.parametrize('text', [
    r'''name: "a" 'b"' "\'\"\\\n\t\101\x41\x4a\1z" type: 'caf' "\303\251"''', 'name: "日本"',
    'bottom: ["a", "b"] bottom: "c"; top: [], top: [\'d\']', 'bottom: "#" # "x"\n top: "{"',
    'loss_weight: [1, 2.5e-3] loss_weight: 1f loss_weight: -.5 loss_weight: inf',
    'loss_weight: nan loss_weight: -inf loss_weight: 30f',
    'propagate_down: [true, false] propagate_down: 1 propagate_down: 0',
    'propagate_down: [t, f, True, False] loss_param { normalize: t }',
    'loss_param { ignore_label: 0xff normalize: false }', 'loss_param < ignore_label: -1 >',
    'loss_param: { ignore_label: 017 normalization: BATCH_SIZE }', 'loss_param { }',
    'loss_param { normalization: 3 }', 'softmax_param { axis: -3, engine: CAFFE };',
    'include { phase: TEST stage: "x" } include: [{ phase: TRAIN }, < phase: 1 >] exclude { }',
    'python_param { module: "m" layer: "l" param_str: "{\\"a\\": 1}" }',
    'convolution_param { num_output: 21 weight_filler { type: "xavier" } bias_term: false }',
    'inner_product_param { num_output: 7 }', '# nothing but a comment'])
def test_every_way_of_writing(text):
    same(reader.layer(text), text_format.Parse(text, caffe_pb2.LayerParameter()), reader.LAYER)


def strings():
    return st.text(st.characters(blacklist_categories=['Cs']), max_size=8)


def rules():
    return st.lists(st.builds(lambda phase: caffe_pb2.NetStateRule(phase=phase),
                              st.sampled_from([0, 1])), max_size=2)


@settings(max_examples=150)
@given(layer=st.builds(
    caffe_pb2.LayerParameter, name=strings(), type=strings(), bottom=st.lists(strings()),
    loss_weight=st.lists(st.floats(width=32)), propagate_down=st.lists(st.booleans()),
    include=rules(), loss_param=st.builds(
        caffe_pb2.LossParameter, ignore_label=st.integers(-2 ** 31, 2 ** 31 - 1),
        normalization=st.sampled_from([0, 1, 2, 3]))),
       style=st.fixed_dictionaries({name: st.booleans() for name in (
           'as_utf8', 'as_one_line', 'pointy_brackets', 'use_short_repeated_primitives')}))
def test_whatever_caffe_writes(layer, style):
    same(reader.layer(text_format.MessageToString(layer, **style)), layer, reader.LAYER)


@pytest.mark.parametrize('text, message', [
    ('layer {\n  name: "a"\n', "line 3:1: '}' is expected; got the end"),
    ('layer {\n  name "a" }', "line 2:8: ':' is expected; got '\"a\"'"),
    ('layer { } }', "line 1:11: a field is expected; got '}'"),
    ('layer { name: "a }\n', "line 1:15: a value is expected; got '\"'"),
    ('layer { name: }', "line 1:15: a value is expected; got '}'"),
    ('layer { < }', "line 1:9: the name of a field is expected; got '<'"),
    ('layer { include < phase: TRAIN } }', "line 1:32: '>' is expected; got '}'"),
    ('layer { bottom: ["a" "b" "c", }', "line 1:31: a value is expected; got '}'"),
    ('layer { loss_weight: [1 2] }', "line 1:25: ',' or ']' is expected; got '2'"),
    ('layer { name: "a" name: "b" }', 'name is there 2 times'),
    ('layer { name: a }', 'name must be a string in quotes; got a'),
    ('layer { name: { } }', 'name must be a string in quotes; got { ... }'),
    ('layer { loss_weight: "1" }', 'loss_weight must be a number; got "1"'),
    ('layer { loss_weight: { } }', 'loss_weight must be a number; got { ... }'),
    ('layer { loss_weight: x }', 'loss_weight must be a number; got x'),
    ('layer { propagate_down: yes }', 'propagate_down must be true or false; got yes'),
    ('layer { softmax_param { axis: 1.5 } }', 'axis must be a whole number; got 1.5'),
    ('layer { loss_param: 1 }', 'loss_param must be a message, { ... }; got 1'),
    ('\ufeff' + NET, 'begins with a byte order mark'),
    ('layers { name: "x" type: DATA }', 'is in the old format ("layers")'),
    ('net: "a.prototxt" base_lr: 1', 'is a solver file; give the net that it trains, a.prototxt'),
    ('net_param { } base_lr: 1', 'is a solver file; .*, which it holds itself')])
def test_what_is_no_net(text, message):
    with pytest.raises(CannotRun, match=message if '.*' in message else re.escape(message)):
        reader.read(text, 'net.prototxt')
    try:
        assert len(text_format.Parse(text, caffe_pb2.NetParameter()).layers)
    except text_format.ParseError:
        pass  # nor does Caffe read it


def test_a_fork_has_fields_and_values_of_its_own():
    net = reader.read(
        'engine: CUDNN layer { name: "up" type: "Upsample" bottom: "a" upsample_param { scale: 2 '
        'mode { x: [1, 2] } } }\n'
        'layer { name: "loss" type: "SoftmaxWithLoss" loss_param { weight_by_label_freqs: true '
        'ignore_label: 11 class_weighting: 0.2 normalization: POW } include { phase: DEPLOY } }',
        'net')
    assert [layer.name for layer in net.layer] == ['up', 'loss']
    assert net.layer[1].loss_param.ignore_label == 11
    assert net.layer[1].loss_param.normalization == 'POW'
    assert net.layer[1].include[0].phase == 'DEPLOY'


# Without Caffe.

CASES = {
    'plain': (LOSS, []), 'beside': (LOSS, ['--beside', '--loss-weight', '0.5']),
    'crlf': (LOSS.replace('\n', '\r\n'), ['--preset', 'smp']),
    'one line': (' '.join(re.sub('#.*', '', LOSS).split()), ['--loss', 'dice_ce']),
    'brackets': ('layer<type:"SoftmaxWithLoss",bottom:["score","label"],top:"l"softmax_param<>>',
                 ['--option', 'class_weights=[1, 2, 3, 4]', '--name', 'a"b']),
    'none': ('', ['--bottom', 'score', '--label', 'label', '--param-str', '{"smooth": 1}'])}
BLOCKED = '''
import json, os
sys.modules['caffe'] = sys.modules['google'] = None
sys.argv = ['-m']
from caffe_layers.__main__ import main
statuses = {{}}
for name, arguments in {cases}.items():
    os.chdir({folder!r} + '/' + name)
    statuses[name] = main(['add', 'net.prototxt', *arguments])
print(json.dumps(statuses))
'''


def without_caffe(folder, cases):
    status, out, err = run_python(BLOCKED.format(cases=cases, folder=str(folder)))
    assert status == 0, err
    return json.loads(out.splitlines()[-1]), out, err


def test_add_without_caffe_writes_the_same(tmp_path, monkeypatch):
    nets = {}
    for name, (loss, arguments) in CASES.items():
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        Path('net.prototxt').write_bytes((NET + loss).encode())
        assert main(['add', 'net.prototxt', *arguments]) == 0
        nets[name] = Path('net_dice.prototxt').read_bytes()
        os.remove('net_dice.prototxt')
    found, out, err = without_caffe(tmp_path, {name: case[1] for name, case in CASES.items()})
    assert set(found.values()) == {1} and err == ''  # written, but not proved
    assert out.count('\nNot proved: this Python cannot import Caffe (') == len(CASES)
    assert '`python -m caffe_layers check net_dice.prototxt`' in out
    for name, expected in nets.items():
        assert (tmp_path / name / 'net_dice.prototxt').read_bytes() == expected


def test_add_without_caffe_refuses(tmp_path):
    cases = {'a': ['--option', 'class_weights=[1]'], 'b': ['--replace', 'los'], 'c': []}
    texts = dict.fromkeys(cases, NET + LOSS)
    texts['c'] = 'layer { name "x" }'
    for name, text in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / 'net.prototxt').write_text(text)
    found, _, err = without_caffe(tmp_path, cases)
    assert set(found.values()) == {2}
    assert re.fullmatch(
        'caffe_layers add: score has 4 channels: class_weights must have one number.*\n'
        "caffe_layers add: net.prototxt has no layer 'los'; its layers are label, score, loss\n"
        "caffe_layers add: net.prototxt is not the prototxt of a net: line 1:14: ':' is .*\n", err)
    assert not list(tmp_path.glob('*/net_dice.prototxt'))
