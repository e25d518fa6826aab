"""tests/older_caffe.py names tests that exist, and its reason is true."""
from pathlib import Path

import caffe
import older_caffe
import pytest

HERE = Path(__file__).resolve().parent


@pytest.mark.parametrize('file, function', [
    (file, function) for file, tests in older_caffe.CANNOT_PASS.items() for function in tests])
def test_what_cannot_pass_is_a_test(file, function):
    assert f'\ndef {function}(' in (HERE / file).read_text()


def test_only_an_older_caffe_is_excused(monkeypatch):
    [(file, tests)] = older_caffe.CANNOT_PASS.items()
    function = next(iter(tests))
    assert older_caffe.OLDER == (not hasattr(caffe, 'solver_count'))
    monkeypatch.setattr(older_caffe, 'OLDER', False)
    assert older_caffe.why_not(file, function) is None
    monkeypatch.setattr(older_caffe, 'OLDER', True)
    assert 'no caffe.solver_count' in older_caffe.why_not(file, function)
    assert older_caffe.why_not(file, 'test_that_is_not_named') is None
