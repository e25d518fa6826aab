"""Shows findings: a table on the terminal, JSON for programs, a picture, a page for bug reports.
"""
import base64
import contextlib
import copy
import html as markup
import io
import json
import math
import os
import tempfile
import textwrap
from typing import Any, Iterable, Iterator, Optional, Sequence, Tuple

import numpy as np

from ..arrays import CannotRun
from .checks import Evidence
from .findings import SILENT, Finding, Findings

PANELS = 6  # classes that are drawn
BOLD, RED, GREEN, GREY, PLAIN = '\033[1m', '\033[31m', '\033[32m', '\033[90m', '\033[0m'


def table(findings: Findings, title: str, colour: bool = False, width: int = 100) -> str:
    """A line or more for each finding, defects marked, and one line that sums up."""
    def paint(text: str, code: str) -> str:
        return code + text + PLAIN if colour else text

    lines = [paint(title, BOLD), '']
    for name, finding in findings.items():
        mark, code = _mark(finding)
        first, *rest = textwrap.wrap(finding.message, width - 38) or ['']
        lines.append(f'{paint(mark, code)} {name:<15}{paint(f"{finding.verdict:<17}", code)} '
                     f'{first}')
        lines += [' ' * 38 + each for each in rest]
    return '\n'.join(lines + ['', paint(summary(findings), BOLD)])


def summary(findings: Findings) -> str:
    defects = [name for name, finding in findings.items() if not finding.good]
    left_out = [name for name, finding in findings.items() if finding.verdict == 'left out']
    said = (f'{len(defects)} of {len(findings)} findings are defects: ' + ', '.join(defects) + '.'
            if defects else 'No defect found.')
    return said + (f' Left out for want of time: {", ".join(left_out)}.' if left_out else '')


def assert_good(findings: Findings, name: str, allow: Iterable[str]) -> None:
    """Raise AssertionError, with the table, for a finding that is bad and is not allowed to be.

    Raises
    ------
    ValueError : ``allow`` names no finding.
    """
    allowed = set(allow)
    unknown = sorted(allowed.difference(findings))
    if unknown:
        raise ValueError(f'allow takes {", ".join(findings)}; got {", ".join(unknown)}')
    bad = [key for key, finding in findings.items() if not finding.good and key not in allowed]
    if bad:
        raise AssertionError(f'{name} has defects: {", ".join(bad)}\n' + table(findings, name))


def _mark(finding: Finding) -> Tuple[str, str]:
    if finding.verdict in SILENT:
        return '    -', GREY
    return ('   ok', GREEN) if finding.good else ('WRONG', RED)


def to_json(findings: Findings) -> str:
    """One object per finding with verdict, value and message; what JSON has no number for, as the
    strings "nan", "inf" and "-inf"."""
    return json.dumps({name: {'verdict': finding.verdict, 'value': _plain(finding.value),
                              'message': finding.message}
                       for name, finding in findings.items()}, indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def exit_status(findings: Findings) -> int:
    """0 where all is good, 1 where there is a defect."""
    return 0 if all(finding.good for finding in findings.values()) else 1


def plot(path: str, evidence: Evidence, title: str) -> None:
    """Analytic and numeric gradient and their difference, a row for each class.

    Raises
    ------
    CannotRun : no matplotlib, or the file cannot be written.
    """
    picture = _png(evidence, title)
    with replacing(path) as file:
        file.write(picture)


def _png(evidence: Evidence, title: str) -> bytes:
    try:
        import matplotlib
    except ImportError:
        raise CannotRun('the picture needs the package matplotlib: pip install matplotlib'
                        ) from None
    matplotlib.use('Agg')
    from matplotlib import pyplot
    analytic, numeric = _image(evidence.analytic), _image(evidence.numeric)
    difference = analytic - numeric
    largest = _largest(analytic, numeric)
    # A difference of rounding errors alone must not fill its colours; one of 2 % must.
    scales = [largest, largest, max(_largest(difference), 0.02 * largest)]
    rows = min(len(analytic), PANELS)
    tall = 2.6 * min(max(analytic.shape[1] / analytic.shape[2], 0.2), 3)
    figure, axes = pyplot.subplots(rows, 3, squeeze=False, figsize=(8.6, tall * rows + 1.2),
                                   constrained_layout=True)
    names = ('analytic: what backward says', 'numeric: what the loss does',
             'difference: analytic - numeric')
    for column, (name, array) in enumerate(zip(names, (analytic, numeric, difference))):
        for c, axis in enumerate(axes[:, column]):
            image = axis.imshow(array[c], cmap=_colours(pyplot), vmin=-scales[column],
                                vmax=scales[column], interpolation='nearest')
            axis.set(xticks=[], yticks=[])
        axes[0, column].set_title(name, fontsize=9)
        bar = figure.colorbar(image, ax=list(axes[:, column]), format='%.1e', location='bottom',
                              shrink=0.9, aspect=30)
        bar.ax.tick_params(labelsize=7)
        bar.ax.locator_params(nbins=3)
    for c, axis in enumerate(axes[:, 0]):
        axis.set_ylabel(f'class {c}', fontsize=9)
    share = _largest(difference) / largest if largest else 0.0
    figure.suptitle(f'{title}: gradient of sample {evidence.sample}\nlargest difference '
                    f'{100 * share:.2g} % of the largest gradient; not finite: black', fontsize=10)
    file = io.BytesIO()
    figure.savefig(file, format='png', dpi=100)
    pyplot.close(figure)
    return file.getvalue()


def _colours(pyplot: Any) -> Any:
    colours = copy.copy(pyplot.get_cmap('RdBu_r'))
    colours.set_bad('black')
    return colours


def _largest(*arrays: np.ndarray) -> float:
    finite = np.concatenate([array[np.isfinite(array)].ravel() for array in arrays])
    return float(np.abs(finite).max()) if finite.size else 0.0


def _image(array: np.ndarray) -> np.ndarray:
    """(C, H, W) of any (C, ...): the middle plane of a volume, a row for a line or a point."""
    while array.ndim > 3:
        array = array[:, array.shape[1] // 2]
    return array.reshape(array.shape[:1] + (1,) * (3 - array.ndim) + array.shape[1:])


@contextlib.contextmanager
def replacing(path: str) -> Iterator[Any]:
    """A binary file that takes the name ``path`` when it is complete, and not before."""
    folder = os.path.dirname(os.path.abspath(path))
    temporary = ''
    try:
        if os.path.isdir(path):
            raise IsADirectoryError('it is a folder')
        number, temporary = tempfile.mkstemp(dir=folder, prefix='.' + os.path.basename(path))
        with os.fdopen(number, 'wb') as file:
            yield file
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
        temporary = ''
    except OSError as error:
        raise CannotRun(f'{path} cannot be written: {error.strerror or error}') from None
    finally:
        if temporary:
            os.unlink(temporary)


STYLE = '''body{font:16px/1.45 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.4em} table{border-collapse:collapse;width:100%}
td,th{padding:.45em .7em;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}
.good{color:#176b2c}.bad{color:#b00020;font-weight:bold}.none{color:#777}
tr td{color:#222;font-weight:normal} tr.bad td{background:#fff3f3} code{white-space:pre-wrap;
overflow-wrap:anywhere;font-size:.85em} img{max-width:100%} details{margin:.3em 0}'''


def html(path: str, findings: Findings, evidence: Optional[Evidence], title: str,
         details: Sequence[str] = ()) -> None:
    """One page that needs no other file: findings, numbers, picture.

    details : lines on what was checked and with which versions.

    Raises
    ------
    CannotRun : no matplotlib, or the file cannot be written.
    """
    rows = '\n'.join(_row(name, finding) for name, finding in findings.items())
    picture = ''
    if evidence is not None:
        data = base64.b64encode(_png(evidence, title)).decode('ascii')
        picture = ('<h2>The gradient of one sample</h2>\n<img alt="analytic gradient, numeric '
                   f'gradient and their difference" src="data:image/png;base64,{data}">\n')
    notes = ''.join(f'<li><code>{markup.escape(line)}</code></li>\n' for line in details)
    page = f'''<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{markup.escape(title)}</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>
<h1>{markup.escape(title)}</h1>
<p class="{'bad' if exit_status(findings) else 'good'}">{markup.escape(summary(findings))}</p>
<table><tr><th>looked at</th><th>verdict</th><th>in words</th></tr>
{rows}
</table>
{picture}{f"<h2>What was run</h2><ul>{notes}</ul>" if notes else ""}
</body></html>
'''
    with replacing(path) as file:
        file.write(page.encode('utf-8'))


def _row(name: str, finding: Finding) -> str:
    kind = 'none' if finding.verdict in SILENT else 'good' if finding.good else 'bad'
    numbers = '' if finding.value is None else (
        '<details><summary>numbers</summary><code>'
        f'{markup.escape(json.dumps(_plain(finding.value)))}</code></details>')
    return (f'<tr class="{kind}"><td>{markup.escape(name)}</td><td><span class="{kind}">'
            f'{markup.escape(finding.verdict)}</span></td><td>{markup.escape(finding.message)}'
            f'{numbers}</td></tr>')
