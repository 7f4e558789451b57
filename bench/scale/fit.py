"""How costs grow with the number of links: the exponent of a power law through the measured sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

import numpy as np

__all__ = ["exponents", "fitted"]

#: Below this many seconds a time is mostly overhead that does not grow.
_SHORTEST_S = 0.005


def fitted(links: Sequence[float], costs: Sequence[float]) -> tuple[float, float]:
    """Return exponent e and factor c of ``cost = c · links ** e``, by least squares of the logarithms.

    Examples
    --------
    >>> exponent, factor = fitted([10, 100, 1000], [0.2, 2, 20])
    >>> round(exponent, 6), round(factor, 6)
    (1.0, 0.02)
    """
    exponent, offset = np.polyfit(np.log(links), np.log(costs), 1)
    return float(exponent), float(np.exp(offset))


def exponents(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Return one line per task and cost, in processor time, that was measured at three sizes or more."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in rows:
        for name, cost in row.items():
            if name.endswith("_cpu_s") and median(cost) > _SHORTEST_S:
                found.setdefault((row["task"], name.removesuffix("_cpu_s")), []).append((row["links"], median(cost)))
    lines = []
    for (task, name), points in found.items():
        if len(points) >= 3:
            links, costs = zip(*sorted(points), strict=True)
            exponent, _ = fitted(links, costs)
            lines.append(f"{task}, {name}: links^{exponent:.2f} from {len(points)} sizes up to {links[-1]:,} links")
    return lines
