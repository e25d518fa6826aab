"""What was found, as tables in the README and docs/versions.md, and against what is promised."""
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from benchmarks.pages import row, write_between

from .plan import (ALL_PYTHONS, NEWEST, PYTHONS, RELEASES, Release, describe, own_python,
                   why_left_out)
from .run import Record, Result

BEGIN = '<!-- written by `python -m version_matrix --readme` -->'
END = '<!-- end of what `python -m version_matrix --readme` writes -->'


def findings(record: Record) -> List[str]:
    """A sentence for everything that is not as promised."""
    found = []
    for each in record.results:
        release = _release(each)
        where = f'{describe(each.name)}, Python {each.python}'
        if release and not release.supported:
            continue
        if each.facts.error:
            found.append(f'{where}: does not import: {each.facts.error}')
            continue
        if release and bool(each.facts.operator) == release.operator:
            found.append(f'{where}: the kernels as an operator '
                         + (f'cannot be used: {each.facts.operator}' if release.operator else
                            'can be used, against what is promised'))
        if not each.good:
            found.append(f'{where}: {outcome(each)}')
    return (found + _uneven(record)
            + [f'Python {PYTHONS[0]} lacks: {line}' for line in record.static])


def _uneven(record: Record) -> List[str]:
    """The same tests must have run everywhere, or some were lost in silence."""
    counts: Dict[str, Dict[str, int]] = {}
    alike: Dict[Tuple, Dict[str, int]] = {}  # releases of which the same is promised
    for each in record.results:
        release = _release(each)
        if not each.good or (release and not release.supported):
            continue
        if release:
            promised = (each.python, release.operator, release.amp, release.np,
                        release.operators)
            alike.setdefault(promised, {})[each.name] = each.tests
        else:
            counts.setdefault(describe(each.name), {})[each.python] = each.tests
    return [f'{where}: the numbers of {"rows" if "file" in where else "tests"} differ: {numbers}'
            for where, numbers in [*counts.items(),
                                   *((f'Python {key[0]}', each) for key, each in alike.items())]
            if len(set(numbers.values())) > 1]


def _release(result: Result) -> Optional[Release]:
    """Of MXNet, where the row is about one."""
    return next((each for each in RELEASES if each.version == result.name), None)


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
    # Where Python counts, it has the kernels by itself.
    if any(each.operator for each in seen) and 'Python counts' not in ''.join(sentences):
        sentences.append("external operators (as of 1.9): MXNet's own serve in place of the "
                         'kernels')
    return '; '.join(sentences) or 'nothing'


def table(record: Record) -> str:
    """A row for each release of MXNet, then one for each Python."""
    return '\n\n'.join('\n'.join(lines) for lines in (_releases(record), _pythons(record)) if lines)


def _releases(record: Record) -> List[str]:
    gluon = [each for each in record.results if each.kind == 'gluon']
    if not gluon:
        return []
    older = [each for each in gluon if each.name != NEWEST.version]
    pythons = [python for python in PYTHONS if python in {each.python for each in older or gluon}]
    own = own_python().version
    heads = [f'Python {python}' + ' (`.runtime/`)' * (python == own) for python in pythons]
    lines = [row(['MXNet', *heads, 'kernels', 'what it lacks']), row(['---'] * (len(heads) + 3))]
    for release in RELEASES:
        of_release = [each for each in gluon if each.name == release.version]
        if not of_release:
            continue
        name = release.version + ', not supported' * (not release.supported)
        kernels = not any(each.facts.error or each.facts.operator for each in of_release)
        lines.append(row([name, *(_cell(of_release, python) for python in pythons),
                          'yes' if kernels else 'no', lacks(of_release)]))
    return lines


def _pythons(record: Record) -> List[str]:
    heads = ['Python', 'NumPy', 'core', 'the one file', 'NumPy with MXNet',
             f'Gluon, MXNet {NEWEST.version}']
    lines = [row(heads), row(['---'] * len(heads))]
    for python in ALL_PYTHONS:
        core, bundle, gluon = ([each for each in record.results
                                if (each.python, each.name) == (python, name)]
                               for name in ('core', 'bundle', NEWEST.version))
        if core or bundle or gluon:
            lines.append(row([python, _numpy(core or bundle), _cell(core, python),
                              _cell(bundle, python), _numpy(gluon), _cell(gluon, python)]))
    return lines if len(lines) > 2 else []


def _numpy(results: Sequence[Result]) -> str:
    return ''.join(each.facts.numpy for each in results)


def _cell(results: Sequence[Result], python: str) -> str:
    """Empty where that was not run."""
    return ''.join(outcome(each) for each in results if each.python == python)


def page(record: Record) -> str:
    """For docs/versions.md: the table, then what failed and what was left out."""
    parts = [table(record)]
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
    return (f'On {describe(result.name)} and Python {result.python} {len(result.failed)} of '
            f'{result.tests} tests fail:\n\n{listed}')


def write(readme: Path, versions: Path, record: Record) -> None:
    """The tables between the markers of both.

    Raises
    ------
    ValueError : a page has no markers; the record is not of all rows.
    """
    names = [*(each.version for each in RELEASES), 'core', 'bundle']
    missing = [name for name in names if name not in {each.name for each in record.results}]
    if missing:
        raise ValueError(f'the pages are about all rows, and {", ".join(map(describe, missing))} '
                         'was not run; leave out --only')
    write_between(versions, BEGIN, END, page(record))
    write_between(readme, BEGIN, END, table(record))
