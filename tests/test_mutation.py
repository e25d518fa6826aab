"""The mutation run: which mutants there are, and that each gets the verdict it deserves."""
import shutil
from pathlib import Path

import pytest

from mutation import cpp_source, equivalents, python_source, report, run
from mutation.mutant import sample
from mutation.table import TABLE, Row, files_of

ROOT = Path(__file__).resolve().parent.parent


def changes(language, source):
    return {mutant.added for mutant in language.mutants('file', source.encode())}


@pytest.mark.parametrize('source, expected', [
    ('y = a + b * 2', {'y = a - b * 2', 'y = a + b / 2', 'y = a + b * 3'}),
    ('y = (a) < b', {'y = (a) <= b'}),
    ('y = a is not b and not c', {'y = a is b and not c', 'y = a is not b or not c',
                                  'y = a is not b and (c)'}),
    ('y = -x', {'y = (x)'}),
    ('y = 0, 1, 2.5, True', {'y = 1, 1, 2.5, True', 'y = 0, 0, 2.5, True', 'y = 0, 1, 3.5, True',
                             'y = 0, 1, 2.5, False'}),
    ('y = min(a, b)', {'y = max(a, b)'}),
    ('y = F.where(a, b, c)', {'y = F.where(b, a, c)', 'y = F.where(a, c, b)'}),
    ('y = f(F, a, b)', {'y = f(F, b, a)'}),
    ('import np\ny = np.abs(x)', {'y = (x)'}),
    ('y = x.sum(axis=1)', {'y = x', 'y = x.sum(axis=0)'}),
    ('y = g(x, axis=n)', {'y = (x)', 'y = g(x)'}),
    ('x = h(x, y)', {'pass', 'x = h(y, x)'}),
    ('x += y', {'pass', 'x -= y'}),
    ('log(x)', {'pass', 'log1p(x)'}),
    ('if f:\n    raise ValueError("got" + 1)', {'if not (f):', 'pass'}),
    ('def f() -> A[0]:\n    """0"""\n    return a, b', {'return b, a'}),
    ('y = "é" if é else a + b', {'y = "é" if not (é) else a + b', 'y = "é" if é else a - b'}),
])
def test_mutants_of_python(source, expected):
    assert changes(python_source, source) == expected


@pytest.mark.parametrize('source, expected', [
    ('; x = a + b;', {'; x = a - b;', '; ;'}),
    ('; const T *p = q; // 1 + 1\n', set()),
    ('#define A 1 + 1\n; /* 1 + 1 */ f("1 + 1");', {'; /* 1 + 1 */ ;'}),
    ('; typename Tile<T>::V &r = -q;', {'; typename Tile<T>::V &r = q;'}),
    ('; f(a, b, c);', {'; f(b, a, c);', '; f(a, c, b);', '; ;'}),
    ('; y = minimum(a, b);', {'; y = maximum(a, b);', '; ;'}),
    ('; return a < 0 ? b : c > 0.5f ? d : e;', {
        '; return a <= 0 ? b : c > 0.5f ? d : e;', '; return a < 1 ? b : c > 0.5f ? d : e;',
        '; return a < 0 ? b : c >= 0.5f ? d : e;', '; return a < 0 ? b : c > (0.5f + 1) ? d : e;',
        '; return a < 0 ? (c > 0.5f ? d : e) : b;', '; return a < 0 ? b : c > 0.5f ? (e) : d;'}),
    ('; if (!bad) return false;', {'; if (bad) return false;', '; if (!(!bad)) return false;',
                                   '; if (!bad) return true;'}),
])
def test_mutants_of_cpp(source, expected):
    assert changes(cpp_source, source) == expected


def test_every_mutant_of_a_module_is_python():
    source = (ROOT / 'gluon_dice/counts.py').read_bytes()
    for mutant in python_source.mutants('counts.py', source):
        compile(mutant.applied(source), 'counts.py', 'exec')


def test_a_sample_stays_when_other_lines_change():
    source = b'a = b + c\nd = e * f\ng = h < i\n'
    before = sample(python_source.mutants('file', source), 3)
    after = sample(python_source.mutants('file', b'new = line\n' + source), 3)
    assert [each.added for each in after] == [each.added for each in before]
    assert len({tuple(sample(before, seed)) for seed in range(9)}) > 1


def test_what_the_table_names_is_there():
    assert 'soft_dice/score.py' in files_of(ROOT, TABLE, [])
    with pytest.raises(ValueError, match="no file in table.py has 'nothing' in its path"):
        files_of(ROOT, TABLE, ['nothing'])
    with pytest.raises(ValueError, match='names gone.py, and there is no such file'):
        files_of(ROOT, (Row(('gone.py',), ()),), [])


TINY = '''
def clipped(x):
    if x < 0:
        return 0
    return x


def rest(n):
    while n > 9:
        n -= 9
    return n
'''
TEST = '''
import ctypes
import tiny

def test_clipped():
    assert [tiny.clipped(x) for x in (-2, 3)] == [0, 3]

def test_rest():
    assert tiny.rest(20) == 2

def test_three():
    library = ctypes.CDLL('soft_dice/native/_kernels.so')
    assert library.three() == 3
'''
NEW_TEST = TEST + '''
def test_a_half():
    assert tiny.clipped(0.5) == 0.5
'''
CPP = '''
extern "C" __attribute__((visibility("default"))) int three() {
  const int unused = 7;
  const char *text = "three";
  return text ? 2 + 1 : 5;
}
'''


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A tiny project, and what makes a run of it."""
    root = tmp_path / 'tiny'
    (root / 'tests').mkdir(parents=True)
    (root / 'soft_dice/native').mkdir(parents=True)
    shutil.copy(str(ROOT / 'soft_dice/native/build.py'), str(root / 'soft_dice/native'))
    (root / 'tiny.py').write_text(TINY)
    (root / 'tests/test_tiny.py').write_text(TEST)
    (root / 'soft_dice/native/tiny.cpp').write_text(CPP)
    monkeypatch.setattr(run, 'START', 1.0)
    table = (Row(('tiny.py', 'soft_dice/native/*.cpp'), ('tests/test_tiny.py',)),)
    reasons = {('tiny.py', 'if x < 0:', 'if x <= 0:'): 'clipped(0) is 0 either way'}

    def begin():
        return run.Run(root, tmp_path / 'out', table, reasons, seed=0, per_file=0)

    return begin


@pytest.mark.slow
def test_each_mutant_gets_its_verdict(checkout, monkeypatch, capsys):
    results = checkout().judge_all()
    found = {(each.mutant.removed, each.mutant.added): each for each in results}

    def outcome(removed, added):
        return found[removed, added].outcome

    assert outcome('if x < 0:', 'if x <= 0:') == run.EQUIVALENT
    assert outcome('if x < 0:', 'if x < 1:') == run.SURVIVED
    assert outcome('return 0', 'return 1') == run.KILLED
    assert found['return 0', 'return 1'].why == 'tests/test_tiny.py::test_clipped'
    assert found['n -= 9', 'pass'].why == 'time'
    assert outcome('return text ? 2 + 1 : 5;', 'return text ? 2 - 1 : 5;') == run.KILLED
    assert outcome('return text ? 2 + 1 : 5;', 'return text ? 2 + 1 : 6;') == run.SAME
    assert outcome('const int unused = 7;', 'const int unused = 8;') == run.SAME
    assert report.show(results, []) == 1
    printed = capsys.readouterr().out
    assert 'Survivor: tiny.py:3\n    - if x < 0:\n    + if x < 1:\n' in printed
    slow = printed.partition('Killed as the tests took too long:')[2].partition('Survivor')[0]
    assert '\ntiny.py:10\n    - n -= 9\n    + pass\n' in slow

    with monkeypatch.context() as patch:
        patch.setattr(run, 'Workspace', None)  # the record answers, and no test runs
        assert set(checkout().judge_all()) == set(results)

    begun = checkout()
    (begun.root / 'tests/test_tiny.py').write_text(NEW_TEST)
    again = {each.mutant: each.outcome for each in begun.judge_survivors()}
    assert set(again) == {each.mutant for each in results if each.outcome == run.SURVIVED}
    assert [each.added for each in again if again[each] == run.KILLED] == ['if x < 1:']


@pytest.mark.slow
def test_a_test_that_fails_without_a_mutant_ends_the_run(checkout):
    begun = checkout()
    (begun.root / 'tests/test_tiny.py').write_text('def test_wrong():\n    assert 1 == 2\n')
    with pytest.raises(run.CannotRun, match='without a mutant tests/test_tiny.py fails'):
        begun.judge_all()


def test_the_list_of_equivalents(tmp_path):
    file = tmp_path / 'list.txt'
    file.write_text('# words\n\na.py: why: so\n- x = 1\n+ x = 0\n')
    reasons = equivalents.read(file)
    assert reasons == {('a.py', 'x = 1', 'x = 0'): 'why: so'}
    assert equivalents.outdated(reasons, python_source.mutants('a.py', b'x = 1\n')) == []
    assert equivalents.outdated(reasons, python_source.mutants('a.py', b'x = 2\n')) == [*reasons]
    assert equivalents.outdated(reasons, python_source.mutants('b.py', b'x = 2\n')) == []
    assert report.show([], [*reasons]) == 1
    assert report.show([], []) == 0
    file.write_text('a.py: why\n- x = 1\n')
    with pytest.raises(ValueError, match='an entry must be three lines'):
        equivalents.read(file)


def test_the_list_names_mutants_of_this_code():
    reasons = equivalents.read()
    for path in {path for path, _, _ in reasons}:
        language = python_source if path.endswith('.py') else cpp_source
        mutants = language.mutants(path, (ROOT / path).read_bytes())
        assert equivalents.outdated(reasons, mutants) == []
