"""The density at which our layer stops beating a dense one, read off the rows of the kernels suite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sparsecore.bench.contenders.products import OURS
from sparsecore.bench.gate import OK

__all__ = ["crossing", "crossings"]

Row = dict[str, Any]


def crossings(rows: Sequence[Row], product: str = "both") -> list[Row]:
    """Return one entry per shape and batch: the crossing against every dense contender.

    Parameters
    ----------
    rows : sequence of dict
        Of the kernels suite.
    product : str
        ``"forward"``, ``"backward"`` or ``"both"``.
    """
    found = []
    for row in rows:
        curves: dict[str, list[tuple[float, float]]] = {}
        for entry in row["entries"]:
            if entry["contender"] == OURS and entry["status"] == OK and entry["product"] == product:
                for dense, speedup in entry["speedup"].items():
                    curves.setdefault(dense, []).append((entry["density"], speedup))
        against = {dense: crossing(curve) for dense, curve in curves.items()}
        found.append({"shape": row["shape"], "batch": row["batch"], "product": product, "density": against})
    return found


def crossing(curve: Sequence[tuple[float, float]]) -> tuple[str, float | None]:
    """Return how a speed-up passes through 1 as the density grows.

    Parameters
    ----------
    curve : sequence of (density, speed-up)
        In any order.

    Returns
    -------
    tuple
        ``("crosses", density)`` with the last fall through 1 interpolated between logarithms, ``("faster to", largest
        density)``, ``("slower from", smallest density)`` or ``("not measured", None)``.

    Examples
    --------
    >>> crossing([(0.1, 4.0), (0.4, 0.25)])
    ('crosses', 0.2)
    """
    points = sorted(curve)
    if not points:
        return "not measured", None
    if points[-1][1] > 1.0:
        return "faster to", points[-1][0]
    for (low, fast), (high, slow) in zip(points[-2::-1], points[:0:-1], strict=True):
        if fast > 1.0:
            share = math.log(fast) / math.log(fast / slow)
            return "crosses", round(low * (high / low) ** share, 6)
    return "slower from", points[0][0]
