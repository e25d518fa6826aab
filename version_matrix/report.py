"""What was found, as tables in the README and docs/versions.md, and against what is promised."""
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

from benchmarks.pages import row, write_between

from .plan import NEWEST, PYTHONS, RELEASES, Release, own_python, why_left_out
from .run import Record, Result

BEGIN = '<!-- written by `python -m version_matrix --readme` -->'
END = '<!-- end of what `python -m version_matrix --readme` writes -->'
NOT_HERE = 'not on this machine'


def findings(record: Record) -> List[str]:
    """A sentence for everything that is not as promised."""
    found = []
    for each in record.results:
        release = _release(each)
        where = f'MXNet {each.release}, Python {each.python}'
        if each.kind == 'bundle':
            found += [f'the one file, Python {each.python}: {outcome(each)}'] * (not each.good)
            continue
        if not release.supported:
            continue
        if each.facts.error:
            found.append(f'{where}: does not import: {each.facts.error}')
            continue
        if bool(each.facts.operator) == release.operator:
            found.append(f'{where}: the kernels as an operator '
                         + (f'cannot be used: {each.facts.operator}' if release.operator else
                            'can be used, against what is promised'))
        if not each.good:
            found.append(f'{where}, {each.kind} tests: {outcome(each)}')
    return found + _uneven(record) + [f'Python 3.7 lacks: {line}' for line in record.static]


def _uneven(record: Record) -> List[str]:
    """The same tests must have run on all releases, or some were lost in silence."""
    counts: Dict[Tuple[str, bool], Dict[str, int]] = {}
    for each in record.results:
        release = _release(each)
        if release.supported and each.kind == 'gluon' and each.good:
            counts.setdefault((each.python, release.operator), {})[each.release] = each.tests
    return [f'Python {python}: the numbers of tests differ: {by_release}'
            for (python, _), by_release in counts.items() if len(set(by_release.values())) > 1]


def _release(result: Result) -> Release:
    return [each for each in RELEASES if each.version == result.release][0]


def outcome(result: Result) -> str:
    """In a few words."""
    if result.facts.error:
        return 'does not import'
    if result.ended:
        return result.ended
    what = 'rows' if result.kind == 'bundle' else 'tests'
    if result.failed:
        return f'{len(result.failed)} of {result.tests} {what} fail'
    return f'{result.passed} {what} pass' if result.passed else f'no {what[:-1]} was run'


def lacks(facts_of: Sequence[Result]) -> str:
    """What a release lacks, of all that was seen on it."""
    seen = [each.facts for each in facts_of]
    errors = list(dict.fromkeys(each.error for each in seen if each.error))
    if errors:
        return errors[0]
    sentences = [sentence for each in seen[:1] for sentence in each.lacks]
    if any(each.operator for each in seen):
        sentences.append("external operators (as of 1.9): MXNet's own serve in place of the "
                         'kernels')
    return '; '.join(sentences) or 'nothing'


def table(record: Record) -> str:
    """A row for each release, then one for each Python."""
    gluon = [each for each in record.results if each.kind == 'gluon']
    releases_of = {python: {each.release for each in gluon if each.python == python}
                   for python in PYTHONS}
    pythons = [python for python, releases in releases_of.items()
               if releases == {each.release for each in gluon}]
    own = own_python().version
    heads = [f'Python {python}' + ' (`.runtime/`)' * (python == own) for python in pythons]
    lines = [row(['MXNet', *heads, 'kernels', 'what it lacks']), row(['---'] * (len(heads) + 3))]
    for release in RELEASES:
        of_release = [each for each in gluon if each.release == release.version]
        if not of_release:
            continue
        name = release.version + ', not supported' * (not release.supported)
        kernels = not any(each.facts.error or each.facts.operator for each in of_release)
        lines.append(row([name, *(_cell(of_release, python) for python in pythons),
                          'yes' if kernels else 'no', lacks(of_release)]))
    return '\n'.join((lines if gluon else []) + _python_rows(record) + _one_file_rows(record))


def _one_file_rows(record: Record) -> List[str]:
    results = [each for each in record.results if each.kind == 'bundle']
    if not results:
        return []
    return ['', row(['Python', 'NumPy', 'the one file, `soft_dice_layer.py`']), row(['---'] * 3),
            *(row([each.python, each.facts.numpy, outcome(each)]) for each in results)]


def _python_rows(record: Record) -> List[str]:
    newest = [each for each in record.results
              if each.release == NEWEST.version and each.kind != 'bundle']
    if not newest:
        return []
    static = record.static[0] if record.static else 'vermin finds nothing that it lacks'
    lines = ['', row(['Python', 'core', f'Gluon, MXNet {NEWEST.version}']), row(['---'] * 3)]
    for python in PYTHONS:
        core, gluon = (_cell([each for each in newest if each.kind == kind], python)
                       for kind in ('core', 'gluon'))
        if core == gluon == NOT_HERE:
            core = f'{NOT_HERE}; {static}'
        lines.append(row([python, core, gluon]))
    return lines


def _cell(results: Sequence[Result], python: str) -> str:
    return ''.join(outcome(each) for each in results if each.python == python) or NOT_HERE


def page(record: Record) -> str:
    """For docs/versions.md: the table, then what failed and what was left out."""
    numpy: Dict[str, List[str]] = {}
    for each in record.results:
        pythons = numpy.setdefault(each.facts.numpy, [])
        if each.kind != 'bundle' and each.python not in pythons:
            pythons.append(each.python)
    versions = '; '.join(f'NumPy {version} on Python {", ".join(pythons)}'
                         for version, pythons in numpy.items() if version and pythons)
    parts = [table(record), versions + '.']
    parts += [_failures(each) for each in record.results
              if each.failed and each.python == own_python().version]
    left_out = '\n'.join(f'- `tests/{name}` {why}' for name, why in sorted(why_left_out().items()))
    return '\n\n'.join([*parts, 'Left out everywhere, besides tests with `caffe` in their name:',
                        left_out])


def _failures(result: Result) -> str:
    """The functions whose tests fail, with how many each."""
    names: Dict[str, int] = {}
    for failed in result.failed:
        name = failed.split('[')[0].replace('tests.', '')
        names[name] = names.get(name, 0) + 1
    listed = '\n'.join(f'- `{name}`' + f', {count} times' * (count > 1)
                       for name, count in names.items())
    return (f'On MXNet {result.release} and Python {result.python} {len(result.failed)} of '
            f'{result.tests} tests fail:\n\n{listed}')


def write(readme: Path, versions: Path, record: Record) -> None:
    """The tables between the markers of both.

    Raises
    ------
    ValueError : a page has no markers; the record is not of all releases.
    """
    missing = {each.version for each in RELEASES} - {each.release for each in record.results}
    if missing:
        raise ValueError(f'the pages are about all releases, and {", ".join(sorted(missing))} '
                         'was not run; leave out --only')
    write_between(versions, BEGIN, END, page(record))
    write_between(readme, BEGIN, END, table(record))
