"""tests/caffe_2016.py names tests that exist, and its reason is true."""
from pathlib import Path

import caffe
import caffe_2016
import pytest

HERE = Path(__file__).resolve().parent


@pytest.mark.parametrize('file, function', [
    (file, function) for file, tests in caffe_2016.CANNOT_PASS.items() for function in tests])
def test_what_cannot_pass_is_a_test(file, function):
    assert f'\ndef {function}(' in (HERE / file).read_text()


def test_only_this_caffe_is_excused(monkeypatch):
    [(file, tests)] = caffe_2016.CANNOT_PASS.items()
    function = next(iter(tests))
    assert caffe_2016.OF_2016 == (not hasattr(caffe, 'solver_count'))
    monkeypatch.setattr(caffe_2016, 'OF_2016', False)
    assert caffe_2016.why_not(file, function) is None
    monkeypatch.setattr(caffe_2016, 'OF_2016', True)
    assert 'no caffe.solver_count' in caffe_2016.why_not(file, function)
    assert caffe_2016.why_not(file, 'test_that_is_not_named') is None
