"""What the project promised itself, next to what was measured, and what stands in the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sparsecore.bench.contenders.products import OURS
from sparsecore.bench.page.machine import percent, shape_of, table

__all__ = ["GOALS", "Goal", "goal_table"]

#: Our contender without autograd.
COMPILED = "sparsecore, compiled steps"

Row = dict[str, Any]
Found = Mapping[str, list[Row]]


@dataclass(frozen=True)
class Goal:
    """One promise.

    Attributes
    ----------
    text : str
        In words.
    target : float
        The number to reach.
    unit : str
        Printed after numbers.
    measured : callable
        From the rows of all suites to the figure (the worst one where a goal spans several rows), or ``None`` where
        it was not measured.
    at_least : bool
        Whether more is better.
    binds : callable, optional
        From the rows to what limits the figure.
    """

    text: str
    target: float
    unit: str
    measured: Callable[[Found], float | None]
    at_least: bool = True
    binds: Callable[[Found], str] | None = None

    def met(self, figure: float) -> bool:
        """Tell whether a figure reaches the target."""
        return figure >= self.target if self.at_least else figure <= self.target


def goal_table(found: Found) -> str:
    """Return all goals with figure, verdict and what binds."""
    body = []
    for goal in GOALS:
        figure = goal.measured(found)
        sign = "≥" if goal.at_least else "≤"
        verdict = "not measured" if figure is None else "met" if goal.met(figure) else "**missed**"
        said = "–" if figure is None else f"{figure:.3g}{goal.unit}"
        binds = goal.binds(found) if goal.binds and figure is not None else ""
        body.append([goal.text, f"{sign} {goal.target:g}{goal.unit}", said, verdict, binds])
    lines = [
        "## Goals\n",
        "Where a goal spans several rows, the worst one counts. The last column is read off the same rows.\n",
        *table(["goal", "target", "measured", "verdict", "what binds"], body),
    ]
    return "\n".join(lines)


def _step(found: Found, density: float = 0.01, batch: int = 32) -> Row | None:
    rows = [row for row in found.get("step", []) if (row["density"], row["batch"]) == (density, batch)]
    return rows[0] if rows else None


def _times_faster(contender: str) -> Callable[[Found], float | None]:
    def measured(found: Found) -> float | None:
        row = _step(found)
        entry: Row = row["contenders"].get(contender, {}) if row else {}
        ratio: float | None = entry.get("ratio")
        return ratio

    return measured


def _step_binds(contender: str) -> Callable[[Found], str]:
    def binds(found: Found) -> str:
        row = _step(found)
        entries = row["contenders"] if row else {}
        if not all(entries.get(name, {}).get("status") == "ok" for name in (OURS, COMPILED, contender)):
            return ""
        ours, compiled, other = (entries[name]["median_us"] for name in (OURS, COMPILED, contender))
        return (
            f"{ours - compiled:.0f} of our {ours:.0f} µs are autograd, torch and Python around the kernels; "
            f"the trainer's compiled steps do without and are {other / compiled:.1f} times faster"
        )

    return binds


def _products(found: Found, kind: str, densities: tuple[float, ...], low_batch: int = 1) -> Iterator[tuple[Row, Row]]:
    for row in found.get("kernels", []):
        for entry in row["entries"]:
            ours = entry["contender"] == OURS and entry["status"] == "ok" and row["batch"] >= low_batch
            if ours and entry["product"] == kind and entry["density"] in densities:
                yield row, entry


def _rate(kind: str) -> Callable[[Found], float | None]:
    return lambda found: min((entry["gflops"] for _, entry in _rated(found, kind)), default=None)


def _rated(found: Found, kind: str) -> list[tuple[Row, Row]]:
    return list(_products(found, kind, (0.05, 0.1, 0.2), 128))


def _rate_binds(kind: str) -> Callable[[Found], str]:
    def binds(found: Found) -> str:
        pairs = _rated(found, kind)
        row, worst = min(pairs, key=lambda pair: pair[1]["gflops"])
        best = max(entry["gflops"] for _, entry in pairs)
        roof = max(row["roof"]["gflops"] for row, _ in pairs)
        where = f"{shape_of(row)}, batch {row['batch']}, {percent(worst['density'])}"
        return f"worst at {where}; best {best:.0f}; a dense product reaches {roof:.0f} GF/s on this machine"

    return binds


def _against_onednn(found: Found) -> float | None:
    pairs = _products(found, "both", (0.3,))
    return min(
        (entry["speedup"]["dense, oneDNN"] for _, entry in pairs if "dense, oneDNN" in entry["speedup"]), default=None
    )


def _onednn_binds(found: Found) -> str:
    pairs = [(row, entry) for row, entry in _products(found, "both", (0.3,)) if "dense, oneDNN" in entry["speedup"]]
    ahead = sum(entry["speedup"]["dense, oneDNN"] > 1.0 for _, entry in pairs)
    row, _ = min(pairs, key=lambda pair: pair[1]["speedup"]["dense, oneDNN"])
    return f"faster in {ahead} of {len(pairs)} rows; worst at {shape_of(row)}, batch {row['batch']}"


def _layer(found: Found, shape: tuple[int, int], density: float) -> Row | None:
    for row in found.get("evolution", []):
        if tuple(row["shape"]) == shape and row["density"] == density and row["status"] == "ok":
            return row
    return None


def _regrowth(shape: tuple[int, int], density: float) -> Callable[[Found], float | None]:
    def measured(found: Found) -> float | None:
        row = _layer(found, shape, density)
        return None if row is None else float(row["regrowth"]["median_ms"])

    return measured


def _regrowth_bytes(found: Found) -> float | None:
    row = _layer(found, (4096, 4096), 0.01)
    return None if row is None or "bytes" not in row.get("memory", {}) else row["memory"]["bytes"] / 1e6


def _update_ratio(row: Row) -> float:
    return float(row["update"]["median_ms"] / max(row["update"]["stages_ms"]["regrowth"], 1e-9))


def _updates(found: Found) -> list[Row]:
    rows = found.get("evolution", [])
    return [row for row in rows if row["status"] == "ok" and row["update"]["status"] == "ok"]


def _update_binds(found: Found) -> str:
    row = max(_updates(found), key=_update_ratio)
    others = {name: value for name, value in row["update"]["stages_ms"].items() if name != "regrowth"}
    largest = sorted(others, key=lambda name: -others[name])[:3]
    shares = ", ".join(f"{name} {others[name] / row['update']['median_ms']:.0%}" for name in largest)
    return f"worst at {shape_of(row)}, {percent(row['density'])}: {shares}"


def _peak(found: Found, contender: str) -> float | None:
    for row in found.get("memory", []):
        at = (row["contender"], tuple(row["shape"]), row["density"])
        if at == (contender, (4096, 4096), 0.01) and row["status"] == "ok":
            return float(row["training_bytes"])
    return None


def _memory_ratio(found: Found) -> float | None:
    ours, masked = _peak(found, OURS), _peak(found, "masked dense")
    return None if ours is None or masked is None else masked / max(ours, 1.0)


def _memory_binds(found: Found) -> str:
    ours, masked = _peak(found, OURS) or 0.0, _peak(found, "masked dense") or 0.0
    return f"{ours / 1e6:.1f} MB against {masked / 1e6:.0f} MB; activations of the batch are in both"


SQUARE, WIDE, LARGE = (4096, 4096), (4096, 11008), (16384, 16384)
_STEP = "whole step at 1%, batch 32, through autograd, times faster than "
_REGROWTH = "regrowth of 30% of the links, CH2-L3n, "

GOALS: tuple[Goal, ...] = (
    Goal(
        _STEP + "torch CSR stitched",
        3.5,
        "x",
        _times_faster("torch CSR stitched"),
        binds=_step_binds("torch CSR stitched"),
    ),
    Goal(_STEP + "SparseProp", 5, "x", _times_faster("SparseProp"), binds=_step_binds("SparseProp")),
    Goal(_STEP + "sparselab", 4, "x", _times_faster("sparselab"), binds=_step_binds("sparselab")),
    Goal(
        _STEP + "torch CSR autograd",
        15,
        "x",
        _times_faster("torch CSR autograd"),
        binds=_step_binds("torch CSR autograd"),
    ),
    Goal(_STEP + "masked dense", 45, "x", _times_faster("masked dense"), binds=_step_binds("masked dense")),
    Goal("forward, 5-20% density, batch ≥ 128", 185, " GF/s", _rate("forward"), binds=_rate_binds("forward")),
    Goal("fused backward, 5-20% density, batch ≥ 128", 270, " GF/s", _rate("backward"), binds=_rate_binds("backward")),
    Goal("30% density, all shapes and batches, against oneDNN float32", 1, "x", _against_onednn, binds=_onednn_binds),
    Goal(_REGROWTH + "4096 x 4096 at 1%", 10, " ms", _regrowth(SQUARE, 0.01), at_least=False),
    Goal("memory of that regrowth beyond the topology", 5, " MB", _regrowth_bytes, at_least=False),
    Goal(_REGROWTH + "4096 x 4096 at 30%", 300, " ms", _regrowth(SQUARE, 0.3), at_least=False),
    Goal(_REGROWTH + "4096 x 11008 at 1%", 30, " ms", _regrowth(WIDE, 0.01), at_least=False),
    Goal(_REGROWTH + "16384 x 16384 at 1%", 300, " ms", _regrowth(LARGE, 0.01), at_least=False),
    Goal(
        "whole update of a layer over its regrowth",
        3,
        "x",
        lambda found: max(map(_update_ratio, _updates(found)), default=None),
        at_least=False,
        binds=_update_binds,
    ),
    Goal("training peak, 4096 x 4096 at 1%, Adam, below masked dense", 20, "x", _memory_ratio, binds=_memory_binds),
)
