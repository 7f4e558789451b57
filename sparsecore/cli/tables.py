"""Tables of the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from sparsecore.cli.screen import in_bytes, percent
from sparsecore.registry import Entry
from sparsecore.storage import Topology

__all__ = ["layer_figures", "pairs_table", "part_table", "summary_table", "topology_table"]


def summary_table(summaries: Mapping[str, Mapping[str, Any]], title: str) -> Table:
    """Return one row per run.

    Parameters
    ----------
    summaries : mapping of str to mapping
        `Summary.as_dict` by name of the run.
    title : str
        Shown above.
    """
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for head in (
        "accuracy", "AAE", "links", "mean density", "ANP", "ITOP", "ms/step", "evolution ms", "weight+state",
        "peak memory", "time",
    ):  # fmt: skip
        table.add_column(head, justify="right")
    for name, run in summaries.items():
        table.add_row(
            name,
            percent(run["accuracy_last"]),
            percent(run["aae"]),
            f"{run['links']:,}",
            "–" if run.get("mean_density") is None else percent(run["mean_density"]),
            percent(run["anp"], 0),
            percent(run["itop"], 1),
            f"{run['ms_per_step']:.2f}",
            f"{run['ms_per_update']:.1f}" if run["updates"] else "–",
            in_bytes(run["weight_bytes"] + run["index_bytes"] + run["state_bytes"]),
            in_bytes(run["peak_memory_bytes"]),
            f"{run['wall_s']:.1f} s",
        )
    return table


def topology_table(layers: Mapping[str, Topology], title: str) -> Table:
    """Return one row per sparse layer."""
    table = Table(title=title, title_justify="left")
    table.add_column("layer")
    for head in ("shape", "links", "density", "linked inputs", "linked outputs", "largest in", "largest out"):
        table.add_column(head, justify="right")
    for name, topology in layers.items():
        row = layer_figures(topology)
        table.add_row(
            name,
            f"{topology.n_out} x {topology.n_in}",
            f"{topology.n_links:,}",
            percent(topology.density, 3),
            percent(row["linked_inputs"], 1),
            percent(row["linked_outputs"], 1),
            str(row["largest_in_degree"]),
            str(row["largest_out_degree"]),
        )
    return table


def layer_figures(topology: Topology) -> dict[str, Any]:
    """Return sizes of a layer, shares of its neurons with links, and its largest degrees."""
    below, above = topology.in_degrees, topology.out_degrees
    return {
        "shape": list(topology.shape),
        "links": topology.n_links,
        "density": topology.density,
        "linked_inputs": float(np.mean(below > 0)),
        "linked_outputs": float(np.mean(above > 0)),
        "largest_in_degree": int(below.max(initial=0)),
        "largest_out_degree": int(above.max(initial=0)),
    }


def part_table(parts: Mapping[str, Iterable[Entry]]) -> Table:
    """Return one line per registered part, grouped by kind."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    for head in ("kind", "name", "what it does", "equation", "source"):
        table.add_column(head, no_wrap=head in ("kind", "name"))
    for kind, entries in parts.items():
        for entry in entries:
            table.add_row(kind, entry.name, *map(escape, (entry.summary, entry.equation, entry.paper)))
    return table


def pairs_table(pairs: Mapping[str, Any], title: str) -> Table:
    """Return one row per name and value."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column("")
    table.add_column("")
    for name, value in pairs.items():
        table.add_row(escape(name), escape(str(value)))
    return table
