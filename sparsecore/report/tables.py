"""Tables of the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from sparsecore import metrics
from sparsecore.report.content import Run
from sparsecore.report.figures import FIGURES, figures_of
from sparsecore.report.markup import Node, node
from sparsecore.report.network import Structure
from sparsecore.report.numbers import count, percent, short

__all__ = [
    "Cell",
    "flat",
    "layer_table",
    "measure_table",
    "neuron_table",
    "pairs_table",
    "summary_table",
    "table",
    "written",
]

#: Content of a cell.
Cell: TypeAlias = Node | str


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[Cell]], *, texts: Sequence[int] = (0,)) -> Node:
    """Return a table that scrolls by itself where the page is narrow.

    Parameters
    ----------
    caption : str
        Says what it shows.
    head : sequence of str
        Of the columns.
    rows : iterable of sequences of Node or str
        The first cell names the row.
    texts : sequence of int
        Columns of words; the others are numbers.
    """
    body = [node("tr", *(_cell(cell, at, at in texts, head=at == 0) for at, cell in enumerate(row))) for row in rows]
    heads = (node("th", text, scope="col", class_=None if at in texts else "num") for at, text in enumerate(head))
    inner = node(
        "table", node("caption", node("span", caption)), node("thead", node("tr", *heads)), node("tbody", *body)
    )
    return node("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def summary_table(run: Run) -> Node:
    """Return every figure of the summary, or of the last epoch of a run that has not ended."""
    found = figures_of(run)
    known = [figure for figure in FIGURES if found.get(figure.field) is not None]
    rows = [(figure.label, figure.cell(found[figure.field]), figure.about) for figure in known]
    return table("All figures of the run", ("figure", "value", "meaning"), rows, texts=(0, 2))


def layer_table(run: Run) -> Node:
    """Return one row per sparse layer, at the start and at the latest where these differ."""
    first, last = run.moments[0], run.moments[-1]
    rows: list[Sequence[Cell]] = []
    for name, layer in last.layers.items():
        old = first.layers[name]
        pairs = (
            (percent(float(np.mean(part.in_degrees > 0)), 1) for part in (old, layer)),
            (percent(float(np.mean(part.out_degrees > 0)), 1) for part in (old, layer)),
            (count(int(part.in_degrees.max(initial=0))) for part in (old, layer)),
            (count(int(part.out_degrees.max(initial=0))) for part in (old, layer)),
        )
        rows.append(
            (
                node("code", name),
                f"{layer.n_out:,} x {layer.n_in:,}",
                count(layer.n_links),
                percent(layer.density, 3),
                *(_change(*pair) for pair in pairs),
                percent(metrics.link_overlap(old, layer), 1),
            )
        )
    heads = ("layer", "outputs x inputs", "links", "density", "inputs with links", "outputs with links",
             "most links of an input", "most links of an output", "links kept since the start")  # fmt: skip
    return table(f"Each layer, {first.label} → {last.label} where it changed", heads, rows)


def measure_table(structures: Mapping[str, Structure]) -> Node:
    """Return one row per measure of the network, one column per time."""
    columns = [structure.measures for structure in structures.values()]
    rows = []
    for row in zip(*columns, strict=True):
        values = [percent(each.value, 1) if "ANP" in each.name or "active" in each.name else short(each.value)
                  for each in row]  # fmt: skip
        rows.append((row[0].name, *values, row[-1].note))
    heads = ("measure", *structures, f"how ({list(structures)[-1]})")
    return table("Measures of the network", heads, rows, texts=(0, len(structures) + 1))


def neuron_table(structures: Mapping[str, Structure]) -> Node:
    """Return one row per neuron layer: size, activity and share of the paths that pass its hubs."""
    columns = [metrics.measure_layers(structure.chain) for structure in structures.values()]
    rows = []
    for at, row in enumerate(zip(*columns, strict=True)):
        active = _change(*(percent(each[1], 1) for each in row))
        hubs = _change(*(percent(each[2], 1) for each in row))
        rows.append(("inputs" if at == 0 else f"layer {at}", count(row[0][0]), active, hubs))
    when = " → ".join(structures)
    heads = ("neurons of", "neurons", "active", "paths through the tenth with most links")
    return table(f"Each layer of neurons, {when}", heads, rows)


def pairs_table(caption: str, pairs: Mapping[str, Any]) -> Node:
    """Return one row per name and value; mappings in it are flattened."""
    rows = [(node("code", name), written(value)) for name, value in flat(pairs)]
    return table(caption, ("name", "value"), rows, texts=(0, 1))


def flat(pairs: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    """Return names and values of nested mappings, the names joined by dots."""
    for name, value in pairs.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def written(value: Any) -> str:
    """Return a plain value as text."""
    if value is None or value == {}:
        return "–"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _change(old: str, new: str | None = None) -> str:
    return old if new is None or new == old else f"{old} → {new}"


def _cell(cell: Cell, at: int, text: bool, *, head: bool) -> Node:
    return node("th", cell, scope="row") if head else node("td", cell, class_=None if text else "num")
