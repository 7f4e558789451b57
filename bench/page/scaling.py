"""The section on growth, with exponents fitted between logarithms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sparsecore.bench.page.machine import picture, table
from sparsecore.bench.scaling import AXES

__all__ = ["exponent", "scaling_section"]

Row = dict[str, Any]


def exponent(points: Sequence[tuple[float, float]]) -> float | None:
    """Return the slope of ``log y`` over ``log x`` by least squares; ``None`` with fewer than two points."""
    logs = [(math.log(x), math.log(y)) for x, y in points if x > 0 and y > 0]
    if len({x for x, _ in logs}) < 2:
        return None
    mean_x, mean_y = (sum(values) / len(logs) for values in zip(*logs, strict=True))
    return float(sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum((x - mean_x) ** 2 for x, _ in logs))


def scaling_section(rows: list[Row], links: dict[str, str]) -> str:
    """Return one table per axis and the exponents."""
    lines = [
        "## Growth\n",
        "Seconds grow as a power of what is on the axis; exponents are fitted to all points. Products are forward and "
        "backward of one layer, dense ones by oneDNN.\n",
        *picture(links, "scaling", "Times against neurons, links, batch and threads"),
    ]
    body = []
    for axis, about in AXES.items():
        mine = [row for row in rows if row["axis"] == axis and row["status"] == "ok"]
        ours = exponent([(row["at"], row["seconds"]) for row in mine])
        dense = exponent([(row["at"], row["dense_s"]) for row in mine if row["dense_s"]])
        times = ", ".join(f"{row['at']:g}: {row['seconds'] * 1e3:.3g}" for row in mine)
        body.append([about, times, _number(ours), _number(dense)])
    lines += table(["along", "ms", "our exponent", "dense exponent"], body)
    lines += [f"{row['axis']} {row['at']:g}: {row['status']}\n" for row in rows if row["status"] != "ok"]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
