"""The table of the LLaMA page, made from the result files."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsecore.bench.papers.figures import Value, figure, summary_field
from sparsecore.bench.papers.llama.cells import PROTOCOL, ROWS, LlamaCell, Row
from sparsecore.bench.papers.results import Results, write_whole
from sparsecore.bench.papers.tables import markdown_row
from sparsecore.errors import DataError

__all__ = ["write_table"]

_PLACE = re.compile(r"<!-- runs -->\n.*?<!-- /runs -->\n", re.DOTALL)


def write_table(results: Path, page: Path) -> None:
    """Write the table of all runs, and where they were made, between the marks of a page.

    Parameters
    ----------
    results : Path
        Folder of the result files.
    page : Path
        Holds the lines ``<!-- runs -->`` and ``<!-- /runs -->``.

    Raises
    ------
    DataError
        If the page has no such lines.
    """
    text = page.read_text(encoding="utf-8")
    if not _PLACE.search(text):
        raise DataError(f"Expected the lines <!-- runs --> and <!-- /runs --> in {page}. Got none. Put them in.")
    found = {row.name: _runs(Results(results), row) for row in ROWS}
    lines = f"<!-- runs -->\n{_table(found)}\n{_where(found)}<!-- /runs -->\n"
    write_whole(page, _PLACE.sub(lambda _: lines, text))


def _runs(results: Results, row: Row) -> list[dict[str, Any]]:
    declared = [LlamaCell(row, seed) for seed in range(row.n_seeds)]
    found = [results.read(cell.key) for cell in declared if cell.is_done(results)]
    return [result for result in found if result is not None]


def _table(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    marks = range(PROTOCOL["valid_every"], PROTOCOL["steps"] + 1, PROTOCOL["valid_every"])
    columns = [
        "", "seeds", *(f"step {mark:,}" for mark in marks), "links", "cost, %", "parameters", "ANP, %", "ITOP, %",
        "steps/s", "peak, MiB",
    ]  # fmt: skip
    head = [markdown_row(columns), markdown_row(["---"] * len(columns))]
    return "\n".join([*head, *(markdown_row(_columns(row, found[row.name], marks)) for row in ROWS)]) + "\n"


def _columns(row: Row, runs: Sequence[Mapping[str, Any]], marks: Sequence[int]) -> list[str]:
    if not runs:
        return [row.label, "not run", *[""] * (len(marks) + 7)]
    *before, last = (_text(runs, _perplexity(mark), spread=mark == marks[-1]) for mark in marks)
    return [
        row.label,
        str(len(runs)),
        *before,
        f"**{last}**",
        _text(runs, _of("links"), 0),
        _text(runs, _of("mean_density", 100)),
        _text(runs, _of("parameters"), 0),
        _text(runs, _of("anp", 100)),
        _text(runs, _of("itop", 100)),
        _text(runs, _of("steps_per_s"), 2),
        _text(runs, _of("peak_memory_bytes", 2.0**-20), 0),
    ]


def _perplexity(step: int) -> Value:
    return lambda run: math.exp(run["valid"][str(step)])


def _of(name: str, scale: float = 1.0) -> Value:
    """Return what reads a field of the summary, ``None`` where the dense network has none."""
    read = summary_field(name, scale)
    return lambda run: read(run) if name in run["summary"] else None


def _text(runs: Sequence[Mapping[str, Any]], value: Value, digits: int = 1, *, spread: bool = False) -> str:
    mean = figure(runs, value)
    if mean is None:
        return "–"
    return mean.text(digits) if spread else f"{mean.mean:,.{digits}f}"


def _where(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    made = [run["machine"] for runs in found.values() for run in runs]
    machines = sorted({f"{one['cpu']}, commit {one['commit']}" for one in made})
    return f"Runs: {'; '.join(machines)}.\n" if machines else ""
