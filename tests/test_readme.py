"""The README's examples run, its table is that of the code, its links lead somewhere."""
import ast
import pathlib
import re

import numpy as np
import pytest
from backends import input_layer, make_net

from caffe_layers.__main__ import main as caffe_main
from soft_dice import compound_presets, presets
from soft_dice.__main__ import main
from soft_dice.options import FIELDS

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = (ROOT / 'README.md').read_text(encoding='utf-8')


PAGES = {path.name: path.read_text(encoding='utf-8')
         for path in [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]}


def blocks(language, text=README):
    return re.findall(rf'```{language}\n(.*?)```', text, flags=re.DOTALL)


@pytest.mark.parametrize('code', [
    pytest.param(code, id=f'{name}: {code.splitlines()[1][:40]}')
    for name, text in PAGES.items() for code in blocks('python', text)])
def test_python_example(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, 'example', 'exec'), {})


def test_console_session(tmp_path, monkeypatch, capsys):
    """The session of --nearest: the arrays of the block before it, and what it prints."""
    monkeypatch.chdir(tmp_path)
    exec([code for code in blocks('python') if "np.save('pred.npy'" in code][0], {})
    session = [text for text in blocks('console') if '--nearest' in text][0]
    command, expected = session.split('\n', 1)
    assert command.startswith('$ .runtime/bin/python -m soft_dice ')
    assert main(command.split()[4:]) == 0
    assert capsys.readouterr().out == expected


def test_checker_session(tmp_path, monkeypatch, capsys):
    """The layer that is passed on is judged as printed, but for the last digits of rounding."""
    code = [code for code in blocks('python') if code.startswith('# forum_dice.py')][0]
    (tmp_path / 'forum_dice.py').write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    session = [text for text in blocks('console') if 'forum_dice' in text][0]
    command, expected = session.split('\n', 1)
    assert command.startswith('$ .runtime/bin/python -m caffe_layers ')
    assert caffe_main(command.split()[4:]) == 1
    assert rounded(capsys.readouterr().out) == rounded(expected)
    assert (tmp_path / 'forum_dice.png').read_bytes()[1:4] == b'PNG'


def rounded(text):
    return re.sub(r'\d(\.\d+)?e-\d+', 'tiny', text)


def test_preset_table_is_that_of_the_code():
    for name, each in {**presets, **compound_presets}.items():
        assert f'| `{name}` | `{each.formula}` | {each.differs} | {each.source} |\n' in README


def test_there_are_examples():
    assert len(blocks('python')) >= 3 and len(blocks('protobuf')) >= 1


@pytest.mark.parametrize('layer', blocks('protobuf'), ids=lambda code: code.split('\n')[1].strip())
def test_prototxt_example(layer):
    net = make_net('force_backward: true\n' + input_layer('score', (2, 4, 9, 8))
                   + input_layer('label', (2, 1, 9, 8)) + layer)
    net.blobs['label'].data[0] = 1
    net.forward()
    net.backward()
    assert np.isfinite(net.blobs['loss'].data) and net.blobs['score'].diff.any()


def test_options_table_is_complete_and_has_the_defaults():
    section = README.split('| option | default | meaning |')[1].split('\n\n')[0]
    rows = [line.split('|')[1:3] for line in section.strip().split('\n')[1:]]
    documented = {}
    for names, defaults in rows:
        documented.update(zip(re.findall('`(.*?)`', names), re.findall('`(.*?)`', defaults)))
    assert list(documented) == list(FIELDS)
    assert {name: ast.literal_eval(text) for name, text in documented.items()} == FIELDS


@pytest.mark.parametrize('name', PAGES)
def test_links_lead_somewhere(name):
    folder = ROOT if name == 'README.md' else ROOT / 'docs'
    for target in re.findall(r'\]\(([^)]+)\)', PAGES[name]):
        assert (folder / target.split('#')[0]).exists(), target


def test_named_make_targets_exist():
    makefile = (ROOT / 'Makefile').read_text(encoding='utf-8')
    named = set(re.findall(r'`make (?:\w+=\S+ )?([a-z0-9-]+)', README))
    named |= set(re.findall(r'^make ([a-z0-9-]+)', README, flags=re.MULTILINE))
    assert {'demo', 'test'} <= named
    for target in named:
        assert re.search(rf'^{target}:', makefile, flags=re.MULTILINE), target
