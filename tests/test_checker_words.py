"""What a user reads of an error of several lines: the lines that say something, in one."""
import pytest

from soft_dice.checker.words import MOST, condensed, described

STACK = '''Traceback (most recent call last):
  File "loss.py", line 3, in forward
    return pred / label
           ~~~~~^~~~~~~
  File "numpy.py", line 7
    raise error
ZeroDivisionError: division by zero'''


@pytest.mark.parametrize('text, wanted', [
    ('one line', 'one line'), ('', ''), (' \n\n', ''),
    ('\n  shapes differ:\n    (2, 3)\n    (4,)\n\n', 'shapes differ: (2, 3) (4,)'),
    (STACK, 'ZeroDivisionError: division by zero'),
    ('first\n' + STACK, 'ZeroDivisionError: division by zero'),
    (STACK + '\n\nDuring handling of the above exception, another one occurred:\n\n'
     + STACK.replace('division by zero', 'again'), 'ZeroDivisionError: again'),
    ('Traceback (most recent call last):\n  File "../src/x.cc", line 3\nMXNetError: \n'
     'the operator\nfailed for shape (2,)\n', 'MXNetError: the operator failed for shape (2,)'),
    ('failed\nStack trace:\n  [bt] (0) libmxnet.so\n  [bt] (1) libc.so', 'failed'),
    ('Check failed: a == b\n*** Check failure stack trace: ***\n    @ 0x7f google::Fail()\n',
     'Check failed: a == b')])
def test_condensed(text, wanted):
    assert condensed(text) == wanted


def test_the_last_line_of_a_long_error_reaches_the_user():
    words = condensed('cannot find axxis, possible are:\n' + 'axis\n' * 200 + 'in operator softmax')
    assert len(words) <= MOST
    assert words.startswith('cannot find axxis') and words.endswith(' ... in operator softmax')
    assert condensed('x' * 1000) == 'x' * MOST


def test_described():
    assert described(ValueError('a\nb')) == 'ValueError: a b'
    assert described(KeyError('no such')) == "KeyError: 'no such'"
    assert described(NotImplementedError()) == 'NotImplementedError'
