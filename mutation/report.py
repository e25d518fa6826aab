"""What a run found: a table of the files, then the survivors one by one."""
from typing import Dict, List

from .equivalents import Key
from .run import BROKEN, EQUIVALENT, KILLED, SAME, SURVIVED, Result


def show(results: List[Result], outdated: List[Key]) -> int:
    """Print it; the exit status."""
    files: Dict[str, List[str]] = {}
    for result in results:
        files.setdefault(result.mutant.path, []).append(result.outcome)
    files['all files'] = [result.outcome for result in results]
    width = max(map(len, files))
    print(f'\n{"file":{width}} {"mutants":>8} {KILLED:>8} {SURVIVED:>9} {EQUIVALENT:>11}')
    for path, outcomes in files.items():
        killed, survived, equivalent = map(outcomes.count, (KILLED, SURVIVED, EQUIVALENT))
        print(f'{path:{width}} {killed + survived + equivalent:8} {killed:8} {survived:9} '
              f'{equivalent:11}')
    none = files['all files'].count(BROKEN), files['all files'].count(SAME)
    print(f'Left out: {none[0]} that do not compile, {none[1]} that give the same machine code.')
    slow = [str(result.mutant) for result in results if result.why == 'time']
    if slow:
        print('\nKilled as the tests took too long:\n' + '\n'.join(slow))
    survivors = [result for result in results if result.outcome == SURVIVED]
    for result in survivors:
        print(f'\nSurvivor: {result.mutant}')
    for path, removed, added in outdated:
        print(f'\nOutdated, {path} has no such mutant any more:\n    - {removed}\n    + {added}')
    return 1 if survivors or outdated else 0
