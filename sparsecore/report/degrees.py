"""Charts of degree distributions, with the power law fitted to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import zeta

from sparsecore._typing import Int64Array
from sparsecore.metrics import PowerLaw
from sparsecore.report.charts import Chart, Line
from sparsecore.report.markup import Node
from sparsecore.report.network import Structure
from sparsecore.storage import Topology

__all__ = ["degree_charts"]

#: Layers with a chart of their own, at most.
_LAYERS = 5
#: Points of a line, at most.
_POINTS = 120


def degree_charts(structures: Mapping[str, Structure], names: Sequence[str]) -> list[Node]:
    """Return a chart of all neurons with the fitted exponents, and one per layer.

    Parameters
    ----------
    structures : mapping of str to Structure
        The chain by when, the latest last.
    names : sequence of str
        Of its layers.
    """
    charts = [_whole(structures)]
    latest = list(structures.items())[-1]
    first = next(iter(structures.items()))
    for at, name in enumerate(names[:_LAYERS]):
        times = {first[0]: first[1].chain[at], latest[0]: latest[1].chain[at]}
        charts.append(_layer(name, times))
    return charts


def _whole(structures: Mapping[str, Structure]) -> Node:
    lines, notes = [], []
    for place, (when, structure) in enumerate(reversed(list(structures.items()))):
        degrees = structure.network.degrees
        lines.append(Line(when, _tail(degrees), 2 * place))
        law = structure.law
        if isinstance(law, str):
            notes.append(f"{when}: {law}")
        else:
            lines.append(Line(f"fit {when}, γ = {law.gamma:.2f}", _fitted(law, degrees), 2 * place + 1))
            notes.append(
                f"{when}: γ = {law.gamma:.2f} ± {law.standard_error:.2f} from degree {law.x_min} on "
                f"({law.n_tail:,} neurons, KS distance {law.ks_distance:.3f})"
            )
    return Chart(
        "All neurons:",
        "Degree distribution of all neurons. " + ". ".join(notes),
        lines,
        "degree k",
        "neurons with at least k links",
        fraction=True,
        log_x=True,
        log_y=True,
        note="; ".join(notes) + ".",
        keys=True,
        dots=False,
    ).draw()


def _layer(name: str, times: Mapping[str, Topology]) -> Node:
    lines = []
    for place, (when, layer) in enumerate(reversed(list(times.items()))):
        lines.append(Line(f"links into outputs, {when}", _tail(layer.out_degrees), 2 * place))
        lines.append(Line(f"links from inputs, {when}", _tail(layer.in_degrees), 2 * place + 1))
    latest = list(times.values())[-1]
    largest = int(latest.out_degrees.max(initial=0)), int(latest.in_degrees.max(initial=0))
    return Chart(
        f"{name}:",
        f"Degree distributions of {name}. At the latest, outputs have up to {largest[0]} links, inputs {largest[1]}.",
        [line for line in lines if line.points],
        "degree k",
        "neurons with at least k links",
        fraction=True,
        log_x=True,
        log_y=True,
        keys=True,
        dots=False,
    ).draw()


def _tail(degrees: Int64Array) -> list[tuple[float, float]]:
    """Return degrees above 0 and the share of all neurons with at least as many links."""
    degree, count = np.unique(degrees[degrees > 0], return_counts=True)
    share = count[::-1].cumsum()[::-1] / max(1, degrees.size)
    chosen = _spread(degree)
    return list(zip(degree[chosen].astype(float).tolist(), share[chosen].tolist(), strict=True))


def _fitted(law: PowerLaw, degrees: Int64Array) -> list[tuple[float, float]]:
    """Return the fitted tail, scaled to the share of neurons that it holds."""
    top = int(degrees.max())
    at = np.unique(np.round(np.geomspace(law.x_min, max(top, law.x_min + 1), 24)))
    tail = float(np.mean(degrees >= law.x_min))
    share = tail * zeta(law.gamma, at) / zeta(law.gamma, law.x_min)
    seen = share >= 0.5 / degrees.size
    return list(zip(at[seen].tolist(), share[seen].tolist(), strict=True))


def _spread(degree: Int64Array) -> Int64Array:
    """Return positions of a bounded number of degrees, evenly spread over their logarithm."""
    if degree.size <= _POINTS:
        return np.arange(degree.size, dtype=np.int64)
    wanted = np.geomspace(degree[0], degree[-1], _POINTS)
    return np.unique(np.searchsorted(degree, wanted).clip(0, degree.size - 1)).astype(np.int64)
