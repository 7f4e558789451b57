"""The pictures of the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sparsecore.bench.contenders.products import DENSE, OURS
from sparsecore.bench.roof import layer_bytes

__all__ = ["draw_all"]

Row = dict[str, Any]
Found = Mapping[str, list[Row]]


def draw_all(found: Found, folder: Path) -> dict[str, Path]:
    """Draw every picture whose rows exist as SVG; returns paths by name, nothing where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return {}
    matplotlib.use("Agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    settings: Any = {"svg.hashsalt": "benchmarks", "svg.fonttype": "none", "font.size": 8, "legend.fontsize": 7}
    for name, (suite, draw) in _PICTURES.items():
        if not found.get(suite):
            continue
        with pyplot.rc_context(settings):
            figure = pyplot.figure(layout="constrained")
            draw(figure, found[suite])
            path = folder / f"{name}.svg"
            figure.savefig(path, metadata={"Date": None})
            pyplot.close(figure)
        drawn[name] = path
    return drawn


def _step(figure: Any, rows: list[Row]) -> None:
    batches = sorted({row["batch"] for row in rows})
    figure.set_size_inches(4.2 * len(batches), 3.4)
    panels = figure.subplots(1, len(batches), squeeze=False, sharey=True)[0]
    for panel, batch in zip(panels, batches, strict=True):
        mine = sorted((row for row in rows if row["batch"] == batch), key=lambda row: row["density"])
        for name in mine[0]["contenders"]:
            points = [
                (row["density"] * 100, row["contenders"][name]["median_us"] / 1e3)
                for row in mine
                if row["contenders"].get(name, {}).get("status") == "ok"
            ]
            if points:
                panel.plot(*zip(*points, strict=True), marker="o", ms=3, lw=2 if name == OURS else 1, label=name)
        _dress(panel, "density, %", "ms per step", f"whole step, batch {batch}")
    panels[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _speedup(figure: Any, rows: list[Row]) -> None:
    shapes = list(dict.fromkeys(tuple(row["shape"]) for row in rows))
    figure.set_size_inches(3.2 * len(shapes), 2.6 * len(DENSE))
    panels = figure.subplots(len(DENSE), len(shapes), squeeze=False, sharex=True, sharey=True)
    for across, dense in zip(panels, DENSE, strict=True):
        for panel, shape in zip(across, shapes, strict=True):
            for row in rows:
                curve = [
                    (entry["density"] * 100, entry["speedup"][dense])
                    for entry in row["entries"]
                    if tuple(row["shape"]) == shape and _ours(entry, "both") and dense in entry["speedup"]
                ]
                if curve:
                    panel.plot(*zip(*sorted(curve), strict=True), marker="o", ms=2, label=f"batch {row['batch']}")
            panel.axhline(1.0, color="black", lw=0.8)
            _dress(panel, "density, %", "times faster", f"{shape[0]} x {shape[1]} against {dense}")
    panels[0][-1].legend()


def _roofline(figure: Any, rows: list[Row]) -> None:
    figure.set_size_inches(8.4, 3.4)
    panels = figure.subplots(1, 2, sharey=True)
    roof = max(row["roof"]["gflops"] for row in rows)
    stream = max(row["roof"]["gbytes"] for row in rows)
    for panel, kind in zip(panels, ("forward", "backward"), strict=True):
        for batch in sorted({row["batch"] for row in rows}):
            points = [
                (_intensity(row, entry), entry["gflops"])
                for row in rows
                for entry in row["entries"]
                if row["batch"] == batch and _ours(entry, kind)
            ]
            if points:
                panel.scatter(*zip(*points, strict=True), s=8, label=f"batch {batch}")
        reach = [0.01, 1000.0]
        knee = roof / stream
        panel.plot([reach[0], knee, reach[1]], [stream * reach[0], roof, roof], color="black", lw=0.8)
        _dress(panel, "flop per byte that must move", "GF/s", f"{kind}: dense product and copy as roofs")
    panels[0].legend()


def _intensity(row: Row, entry: Row) -> float:
    n_links = round(entry["density"] * row["shape"][0] * row["shape"][1])
    moved = layer_bytes(n_links, (row["shape"][0], row["shape"][1]), row["batch"])
    return float(2.0 * n_links * row["batch"] / moved)


def _memory(figure: Any, rows: list[Row]) -> None:
    figure.set_size_inches(5.6, 3.4)
    panel = figure.subplots()
    square = [row for row in rows if row["shape"] == [4096, 4096] and row["status"] == "ok"]
    for name in dict.fromkeys(row["contender"] for row in square):
        points = sorted(
            (row["density"] * 100, row["training_bytes"] / 1e6) for row in square if row["contender"] == name
        )
        if len(points) == 1:  # the same at any density
            panel.axhline(points[0][1], ls="--", lw=1, color="grey" if name == "dense" else "black", label=name)
        else:
            panel.plot(*zip(*points, strict=True), marker="o", ms=3, lw=2 if name == OURS else 1, label=name)
    _dress(panel, "density, %", "MB above the libraries", "training peak, 4096 x 4096, Adam")
    panel.legend()


def _regrowth(figure: Any, rows: list[Row]) -> None:
    figure.set_size_inches(5.6, 3.4)
    panel = figure.subplots()
    mine = [row for row in rows if row["axis"] == "regrowth" and row["status"] == "ok"]
    panel.plot([row["at"] for row in mine], [row["seconds"] for row in mine], marker="o", ms=3, label=OURS)
    dense = [(row["at"], row["dense_s"]) for row in mine if row["dense_s"]]
    if dense:
        panel.plot(*zip(*dense, strict=True), marker="o", ms=3, label="dense matrix products")
    _dress(panel, "neurons per side", "s", "regrowth of 30% of the links, CH2-L3n, 1% density")
    panel.legend()


def _scaling(figure: Any, rows: list[Row]) -> None:
    axes = [axis for axis in ("neurons", "links", "batch", "threads") if any(row["axis"] == axis for row in rows)]
    figure.set_size_inches(3.0 * max(len(axes), 1), 2.8)
    panels = figure.subplots(1, max(len(axes), 1), squeeze=False)[0]
    for panel, axis in zip(panels, axes, strict=False):
        mine = [row for row in rows if row["axis"] == axis and row["status"] == "ok"]
        along = "links" if axis == "links" else "at"
        panel.plot([row[along] for row in mine], [row["seconds"] * 1e3 for row in mine], marker="o", ms=3, label=OURS)
        dense = [(row[along], row["dense_s"] * 1e3) for row in mine if row["dense_s"]]
        if dense:
            panel.plot(*zip(*dense, strict=True), marker="o", ms=3, label="dense, oneDNN")
        _dress(panel, axis, "ms, forward and backward", "")
    panels[0].legend()


def _ours(entry: Row, product: str) -> bool:
    return bool(entry["contender"] == OURS and entry["status"] == "ok" and entry["product"] == product)


def _dress(panel: Any, along: str, up: str, title: str) -> None:
    panel.set(xscale="log", yscale="log", xlabel=along, ylabel=up)
    panel.set_title(title, fontsize=8)
    panel.grid(alpha=0.25)


_PICTURES: dict[str, tuple[str, Callable[[Any, list[Row]], None]]] = {
    "step": ("step", _step),
    "speedup": ("kernels", _speedup),
    "roofline": ("kernels", _roofline),
    "memory": ("memory", _memory),
    "regrowth": ("scaling", _regrowth),
    "scaling": ("scaling", _scaling),
}
