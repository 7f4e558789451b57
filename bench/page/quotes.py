"""Figures that pages quote from the result files, kept equal to them: ``<!--q step 0.01 32 dense-->9.8<!--/q-->``.

A quote names a figure; the words between its marks are written by `write_quotes` and checked by a test.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from sparsecore.bench.crossover import crossings
from sparsecore.bench.papers.figures import Figure, Value, summary_field
from sparsecore.bench.papers.figures import figure as papers_figure
from sparsecore.errors import UnknownNameError

__all__ = ["figure", "quoted", "write_quotes"]

_QUOTE = re.compile(r"<!--q (.*?)-->(.*?)<!--/q-->", re.DOTALL)
_OURS, _COMPILED = "sparsecore", "sparsecore, compiled steps"

Row = dict[str, Any]


def write_quotes(results: Path, pages: Iterable[Path]) -> None:
    """Bring the quotes of some pages up to date with the JSON files in a folder."""
    for page in pages:
        text = page.read_text(encoding="utf-8")
        new = quoted(text, results)
        if new != text:
            page.write_text(new, encoding="utf-8")


def quoted(text: str, results: Path) -> str:
    """Return a text with the words between all quote marks as the result files have them."""
    return _QUOTE.sub(lambda match: f"<!--q {match[1]}-->{figure(results, match[1])}<!--/q-->", text)


def figure(results: Path, name: str) -> str:
    """Return one figure in words.

    Parameters
    ----------
    results : Path
        Folder of the JSON files.
    name : str
        Kind and where to look, e.g. ``step 0.01 32 dense``; see the functions below.

    Raises
    ------
    UnknownNameError
        If there is no such kind of figure.
    """
    kind, *words = shlex.split(name)
    if kind not in _KINDS:
        raise UnknownNameError("figure", kind, _KINDS)
    return _KINDS[kind](results, *words)


@cache
def _rows(path: Path, _changed: int) -> list[Row]:
    rows: list[Row] = json.loads(path.read_text())["rows"]
    return rows


def _read(results: Path, suite: str) -> list[Row]:
    path = results / f"{suite}.json"
    return _rows(path, path.stat().st_mtime_ns)


def _one(rows: Iterable[Row], **wanted: Any) -> Row:
    return next(row for row in rows if all(row[key] == value for key, value in wanted.items()))


def _shape(word: str) -> list[int]:
    return [int(size) for size in word.split("x")]


def _number(value: float) -> str:
    """Return three digits at most, two below ten."""
    return f"{value:.1f}" if abs(value) < 10 else f"{value:,.0f}"


def _step_us(results: Path, density: str, batch: str, contender: str) -> float:
    row = _one(_read(results, "step"), density=float(density), batch=int(batch))
    return float(row["contenders"][contender]["median_us"])


def _step(results: Path, density: str, batch: str, contender: str) -> str:
    """Return the time of a contender's whole step over ours, through autograd."""
    row = _one(_read(results, "step"), density=float(density), batch=int(batch))
    return _number(row["contenders"][contender]["ratio"])


def _compiled(results: Path, density: str, batch: str, contender: str) -> str:
    """Return the time of a contender's whole step over that of our compiled steps."""
    theirs, ours = (_step_us(results, density, batch, name) for name in (contender, _COMPILED))
    return _number(theirs / ours)


def _ms(results: Path, density: str, batch: str, contender: str) -> str:
    """Return milliseconds of a whole step."""
    return f"{_step_us(results, density, batch, contender) / 1e3:.2g}"


def _layer(results: Path, shape: str, batch: str, density: str, dense: str) -> str:
    """Return the time of a dense forward and backward of one layer over ours."""
    row = _one(_read(results, "kernels"), shape=_shape(shape), batch=int(batch))
    entry = _one(row["entries"], contender=_OURS, density=float(density), product="both")
    return f"{entry['speedup'][dense]:.2g}"


def _crossing(results: Path, shape: str, batch: str, dense: str) -> str:
    """Return the density at which one layer takes as long as a dense one."""
    found = _one(crossings(_read(results, "kernels")), shape=_shape(shape), batch=int(batch))
    sign, density = found["density"][dense]
    return f"{ {'crosses': '', 'faster to': 'more than ', 'slower from': 'less than '}[sign] }{100 * density:.2g}%"


def _peak(results: Path, contender: str, shape: str, density: str, kind: str) -> float:
    row = _one(_read(results, "memory"), contender=contender, shape=_shape(shape), density=float(density))
    return float(row[f"{kind}_bytes"])


def _memory(results: Path, contender: str, shape: str, density: str, kind: str = "training") -> str:
    """Return the peak of one layer under Adam in MB: of construction, training or evolution."""
    return _number(_peak(results, contender, shape, density, kind) / 1e6)


def _smaller(results: Path, contender: str, shape: str, density: str) -> str:
    """Return how many times less ours takes in training than a contender, which is the same at any density."""
    return _number(
        _peak(results, contender, shape, "0.01", "training") / _peak(results, _OURS, shape, density, "training")
    )


def _per_link(results: Path, shape: str, density: str, kind: str) -> str:
    """Return bytes per link of a peak of ours."""
    row = _one(_read(results, "memory"), contender=_OURS, shape=_shape(shape), density=float(density))
    return f"{row[f'{kind}_bytes'] / row['links']:.0f}"


def _update(results: Path, shape: str, density: str, form: str) -> str:
    """Return milliseconds of a whole update of a layer: of ours, or of the dense formulation."""
    row = _one(_read(results, "evolution"), shape=_shape(shape), density=float(density))
    return _number(row["update" if form == "links" else "dense"]["median_ms"])


def _of_cell(results: Path, cell: str, value: Value) -> Figure:
    """Return a figure of a cell of the papers' grid, over the seeds run so far."""
    found = sorted((results / "papers").glob(f"{cell}-s[0-9].json"))
    mean = papers_figure([json.loads(path.read_text()) for path in found], value)
    if mean is None:
        raise UnknownNameError("cell", cell, {path.stem[:-3] for path in (results / "papers").glob("*-s[0-9].json")})
    return mean


def _papers(results: Path, cell: str, field: str = "accuracy_last") -> Figure:
    """Return an accuracy on test of a cell of the papers' grid, per cent."""
    return _of_cell(results, cell, summary_field(field, 100))


def _accuracy(results: Path, cell: str) -> str:
    """Return the accuracy of a cell of the papers' grid after the last epoch, its error and unit with it."""
    accuracy = _papers(results, cell)
    return f"{accuracy.text()}%" + (" (one seed)" if accuracy.n == 1 else "")


def _last(results: Path, cell: str) -> str:
    """Return the mean accuracy of a cell of the papers' grid after the last epoch, bare."""
    return f"{_papers(results, cell).mean:.2f}"


def _best(results: Path, cell: str) -> str:
    """Return the mean accuracy of a cell of the papers' grid in the best epoch on test, bare."""
    return f"{_papers(results, cell, 'accuracy_best_on_test').mean:.2f}"


def _points(results: Path, cell: str, other: str) -> str:
    """Return how far a cell of the papers' grid is above another after the last epoch, in points."""
    return f"{_papers(results, cell).mean - _papers(results, other).mean:.1f}"


def _seeds(results: Path, cell: str) -> str:
    """Return how many seeds of a cell of the papers' grid have been run."""
    n = _papers(results, cell).n
    return f"{ {1: 'one', 2: 'two', 3: 'three'}.get(n, n) } seed{'s' * (n > 1)}"


def _anp(results: Path, cell: str) -> str:
    """Return the share of active neurons that a cell of the papers' grid ends with."""
    return f"{_papers(results, cell, 'anp').mean:.0f}%"


def _learned(results: Path, cell: str) -> str:
    """Return the accuracy of a cell of the papers' grid on the images it was trained on."""
    return f"{_of_cell(results, cell, lambda run: 100 * float(run['train_accuracy'])).mean:.1f}%"


def _minutes(results: Path, cell: str) -> str:
    """Return the processor time of a run of a cell of the papers' grid."""
    return f"{_of_cell(results, cell, summary_field('cpu_s', 1 / 60)).mean:.0f} minutes"


def _scale(results: Path, field: str) -> str:
    """Return a size of the largest network that was built: million neurons or links, or its peak in GB."""
    row = max((row for row in _read(results, "scale") if row["task"] == "network"), key=lambda row: row["fraction"])
    return _number(row[field] / (1e9 if field.endswith("bytes") else 1e6))


_KINDS: dict[str, Callable[..., str]] = {
    "step": _step,
    "compiled": _compiled,
    "ms": _ms,
    "layer": _layer,
    "crossing": _crossing,
    "memory": _memory,
    "smaller": _smaller,
    "per_link": _per_link,
    "update": _update,
    "accuracy": _accuracy,
    "last": _last,
    "best": _best,
    "points": _points,
    "seeds": _seeds,
    "anp": _anp,
    "learned": _learned,
    "minutes": _minutes,
    "scale": _scale,
}
