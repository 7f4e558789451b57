"""The picture of the README: speed and memory against density, beside dense networks and the libraries of the field."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["draw_overview"]

Row = dict[str, Any]

#: Contenders of the step suite, with colour, width and the words of the legend.
STEPS = {
    "sparsecore, compiled steps": ("#c2410c", 2.4, "sparsecore, trainer"),
    "sparsecore": ("#fb923c", 2.4, "sparsecore, autograd"),
    "torch CSR stitched": ("#0e7490", 1.2, "torch CSR, stitched"),
    "sparselab": ("#4d7c0f", 1.2, "sparselab"),
    "SparseProp": ("#7e22ce", 1.2, "SparseProp"),
    "dense": ("#111827", 1.6, "dense"),
    "masked dense": ("#6b7280", 1.6, "masked dense"),
}
MEMORY = {
    "sparsecore": ("#c2410c", 2.4, "sparsecore"),
    "torch CSR autograd": ("#0e7490", 1.2, "torch CSR"),
    "sparselab": ("#4d7c0f", 1.2, "sparselab"),
    "dense": ("#111827", 1.6, "dense"),
    "masked dense": ("#6b7280", 1.6, "masked dense"),
}
SHAPE, BATCH = [4096, 4096], 32


def draw_overview(found: Mapping[str, list[Row]], path: Path) -> Path | None:
    """Write the picture as SVG and return its path; ``None`` where rows or matplotlib are missing."""
    try:
        import matplotlib
    except ImportError:
        return None
    if not found.get("step") or not found.get("memory"):
        return None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    settings: Any = {"svg.hashsalt": "overview", "svg.fonttype": "none", "font.size": 9, "legend.fontsize": 8}
    path.parent.mkdir(parents=True, exist_ok=True)
    with pyplot.rc_context(settings):
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(9.6, 3.5), layout="constrained")
        _speed(left, found["step"])
        _memory(right, found["memory"])
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)
    return path


def _speed(panel: Any, rows: list[Row]) -> None:
    mine = sorted((row for row in rows if row["batch"] == BATCH), key=lambda row: row["density"])
    for name, look in STEPS.items():
        points = [
            (row["density"] * 100, row["contenders"][name]["median_us"] / 1e3)
            for row in mine
            if row["contenders"].get(name, {}).get("status") == "ok"
        ]
        _line(panel, points, look)
    sizes = "-".join(map(str, mine[0]["sizes"]))
    _dress(panel, f"time of a training step, ms\n{sizes}, batch {BATCH}")


def _memory(panel: Any, rows: list[Row]) -> None:
    mine = [row for row in rows if row["shape"] == SHAPE and row["status"] == "ok"]
    ends = [min(row["density"] for row in mine) * 100, max(row["density"] for row in mine) * 100]
    for name, look in MEMORY.items():
        points = sorted((row["density"] * 100, row["training_bytes"] / 1e6) for row in mine if row["contender"] == name)
        if len(points) == 1:  # dense and masked layers take the same at any density
            points = [(end, points[0][1]) for end in ends]
        _line(panel, points, look)
    _dress(panel, f"peak memory of training, MB\none layer {SHAPE[0]} x {SHAPE[1]}, Adam, batch 128")


def _line(panel: Any, points: list[tuple[float, float]], look: tuple[str, float, str]) -> None:
    colour, width, label = look
    if points:
        panel.plot(*zip(*points, strict=True), color=colour, lw=width, marker="o", ms=2 + width, label=label)


def _dress(panel: Any, title: str) -> None:
    panel.set(xscale="log", yscale="log", xlabel="density: links that exist, %")
    panel.set_title(title, fontsize=9, loc="left")
    panel.xaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_major_formatter("{x:g}")
    panel.tick_params(which="minor", labelleft=False, labelbottom=False)
    panel.grid(alpha=0.25)
    panel.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
