"""What differs between runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sparsecore.report.content import Run
from sparsecore.report.figures import FIGURES, figures_of
from sparsecore.report.markup import Node, node
from sparsecore.report.tables import Cell, flat, table, written

__all__ = ["difference_table", "setting_table"]


def difference_table(runs: Sequence[Run]) -> Node:
    """Return one row per figure; from the second run on, with the difference to the first."""
    found = [figures_of(run) for run in runs]
    rows: list[Sequence[Cell]] = []
    for figure in FIGURES:
        values = [figures.get(figure.field) for figures in found]
        if all(value is None for value in values):
            continue
        cells = [figure.cell(values[0])]
        for value in values[1:]:
            difference = figure.difference(value, values[0])
            cells.append(node("span", figure.cell(value), node("small", difference) if difference else None))
        rows.append((figure.label, *cells))
    return table(f"Figures, and differences to {runs[0].name}", ("figure", *(run.name for run in runs)), rows)


def setting_table(runs: Sequence[Run]) -> Node | None:
    """Return the settings in which the runs differ; ``None`` if in none."""
    settings: list[dict[str, Any]] = [dict(flat(run.config)) for run in runs]
    names = dict.fromkeys(name for each in settings for name in each)
    rows: list[Sequence[Cell]] = []
    for name in names:
        texts = [written(each.get(name)) for each in settings]
        if len(set(texts)) > 1:
            rows.append((node("code", name), *texts))
    everywhere = range(len(runs) + 1)
    heads = ("setting", *(run.name for run in runs))
    return table("Settings that differ", heads, rows, texts=tuple(everywhere)) if rows else None
