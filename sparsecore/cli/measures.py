"""Measures of the network of a run, before and after training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.table import Table

from sparsecore import metrics
from sparsecore.cli.progress import Steps
from sparsecore.cli.screen import console, percent
from sparsecore.errors import ConfigError
from sparsecore.io import RunFolder
from sparsecore.report.moments import latest_of
from sparsecore.storage import Topology

__all__ = ["show_measures"]


def show_measures(folder: RunFolder) -> dict[str, Any]:
    """Print measures of every chain of sparse layers before training, and of the latest links; return them.

    Raises
    ------
    ConfigError
        If the run has no sparse layer.
    """
    latest = latest_of(folder)
    times = {"before training": folder.topologies("before"), latest.label: latest.layers}
    times = {when: layers for when, layers in times.items() if layers}
    if not times:
        raise ConfigError(f"Expected sparse layers in {folder.path}. Got a dense model. It has no links to measure.")
    grouped = {when: metrics.chains_of(layers) for when, layers in times.items()}
    chains = next(iter(grouped.values()))
    shown: dict[str, Any] = {}
    with Steps("measuring", 2 * len(chains) * len(times)) as steps:
        for index, chain in enumerate(chains):
            found = {when: list(those[index].values()) for when, those in grouped.items()}
            title = chain_name(list(chain))
            networks = {when: _counted(steps, metrics.measure_network, layers) for when, layers in found.items()}
            layers = {when: _counted(steps, metrics.measure_layers, layers) for when, layers in found.items()}
            console.print(_network_table(networks, f"{title}: measures of the network"))
            console.print(_layer_table(layers, f"{title}: neurons, layer by layer"))
            shown[title] = {
                when: {measure.name: measure.value for measure in measures} for when, measures in networks.items()
            }
    first, last = next(iter(times.values())), list(times.values())[-1]
    if len(times) > 1:
        kept = metrics.link_overlap(list(first.values()), list(last.values()))
        shown["links_kept"] = kept
        console.print(f"{percent(kept, 1)} of the latest links are there since before training.")
    return shown


def _counted(steps: Steps, measure: Callable[[Sequence[Topology]], Any], layers: Sequence[Topology]) -> Any:
    found = measure(layers)
    steps.done()
    return found


def chain_name(names: Sequence[str]) -> str:
    """Return the names of the layers of a chain, shortened to the first and the last."""
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _network_table(found: Mapping[str, Sequence[metrics.Measure]], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("measure")
    for when in found:
        table.add_column(when, justify="right")
    table.add_column(f"how ({list(found)[-1]})")
    for row in zip(*found.values(), strict=True):
        table.add_row(row[0].name, *("–" if each.value is None else f"{each.value:.4g}" for each in row), row[-1].note)
    return table


def _layer_table(found: Mapping[str, Sequence[Any]], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for head in ("layer", "neurons"):
        table.add_column(head, justify="right")
    for when in found:
        table.add_column(f"active {when}", justify="right")
        table.add_column(f"paths via top 10% hubs {when}", justify="right")
    for index, row in enumerate(zip(*found.values(), strict=True)):
        shares = [percent(value, 1) for _, active, hubs in row for value in (active, hubs)]
        table.add_row("input" if index == 0 else str(index), f"{row[0][0]:,}", *shares)
    return table
