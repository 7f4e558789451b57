"""Pictures of the pages: learning curves, the accuracy-AAE quadrants, adjacency, runtime. Small PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparsecore.bench.papers.figures import Figure
from sparsecore.bench.papers.training import unpack_tiles
from sparsecore.errors import DataError

__all__ = ["plot_adjacency", "plot_curves", "plot_quadrants", "plot_runtime"]

Run = Mapping[str, Any]


def plot_curves(path: Path, title: str, runs: Mapping[str, Sequence[Run]]) -> None:
    """Draw training loss, test accuracy and active neurons by epoch, the mean over seeds, one line per network."""
    pyplot = _pyplot()
    panels = (("train_loss", "training loss", 1), ("test_accuracy", "test accuracy, %", 100))
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    # The dark half of the palette before the light one.
    colours = pyplot.colormaps["tab20"]([*range(0, 20, 2), *range(1, 20, 2)])
    for axis, (name, label, scale) in zip(axes, (*panels, ("anp", "active neurons (ANP), %", 100)), strict=True):
        lows = []
        for (network, found), colour in zip(runs.items(), colours, strict=False):
            curve = np.mean([run["curve"][name] for run in found], axis=0) * scale
            axis.plot(np.arange(1, len(curve) + 1), curve, label=network, color=colour, linewidth=1.1)
            lows.append(curve[len(curve) // 20 :].min())
        if name == "test_accuracy" and lows:
            axis.set_ylim(bottom=min(lows))
        axis.set(xlabel="epoch", ylabel=label)
        axis.grid(alpha=0.3)
    axes[0].set_yscale("log")
    axes[0].legend(frameon=False, fontsize=6)
    figure.suptitle(title)
    _save(pyplot, figure, path)


def plot_quadrants(path: Path, points: Mapping[str, Mapping[str, tuple[Figure, Figure]]], dense: str) -> None:
    """Draw accuracy over AAE against the dense network, one panel per data set; absolute where dense has not been run.

    Parameters
    ----------
    path : Path
        File to write.
    points : mapping of str to mapping of str to pair of Figure
        By data set, by network: AAE and accuracy after the last epoch, percent.
    dense : str
        Name of the dense network among them.
    """
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(
        1, len(points), figsize=(4.2 * len(points), 3.8), layout="constrained", squeeze=False
    )
    for axis, (data, networks) in zip(axes[0], points.items(), strict=True):
        base = networks.get(dense)
        x0, y0 = (base[0].mean, base[1].mean) if base else (0.0, 0.0)
        for network, (area, accuracy) in networks.items():
            x, y = area.mean - x0, accuracy.mean - y0
            axis.errorbar(x, y, accuracy.error or 0, area.error or 0, fmt="o", markersize=4, linewidth=0.8)
            axis.annotate(network, (x, y), textcoords="offset points", xytext=(4, 3), fontsize=6)
        if base:
            axis.axhline(0, color="black", linewidth=0.6)
            axis.axvline(0, color="black", linewidth=0.6)
        than = " minus that of the dense network" if base else ""
        axis.set(title=data if base else f"{data} (dense not run yet)", xlabel=f"AAE{than}, %")
        axis.set_ylabel(f"accuracy{than}, %")
        axis.margins(0.18)
        axis.grid(alpha=0.3)
    _save(pyplot, figure, path)


def plot_adjacency(path: Path, title: str, run: Run) -> None:
    """Draw the links of every layer before and after training, as counts in tiles."""
    pyplot = _pyplot()
    before, after, layers = run["before"], run["after"], run["layers"]
    figure, axes = pyplot.subplots(2, len(after), figsize=(2.4 * len(after), 5), layout="constrained", squeeze=False)
    for axis_row, (when, tiles) in zip(axes, (("before", before), ("after", after)), strict=True):
        for axis, packed, layer, number in zip(axis_row, tiles.values(), layers, range(1, 99), strict=False):
            counts = unpack_tiles(packed)
            axis.imshow(counts, cmap="Greys", aspect="auto", interpolation="nearest", vmax=max(1, counts.max() // 2))
            axis.set(title=f"layer {number}, {when}", xlabel=f"{layer['shape'][1]} inputs", xticks=[], yticks=[])
            axis.set_ylabel(f"{layer['shape'][0]} outputs")
    figure.suptitle(title)
    _save(pyplot, figure, path)


def plot_runtime(path: Path, rows: Sequence[Run]) -> None:
    """Draw the time of one link prediction by size, one panel per predictor, one colour per density."""
    pyplot = _pyplot()
    predictors = list(dict.fromkeys(row["predictor"] for row in rows))
    densities = sorted({row["density"] for row in rows})
    kinds = (
        ("draw_ms", "-o", "draw, no scores"),
        ("scores_ms", "--s", "all scores, lists"),
        ("dense_ms", ":^", "dense"),
    )
    figure, axes = pyplot.subplots(
        1, len(predictors), figsize=(5 * len(predictors), 4), layout="constrained", squeeze=False
    )
    for axis, predictor in zip(axes[0], predictors, strict=True):
        for at, density in enumerate(densities):
            chosen = [row for row in rows if (row["predictor"], row["density"]) == (predictor, density)]
            for field, style, label in kinds:
                known = [(row["n"], row[field]) for row in chosen if row[field] is not None]
                if known:
                    name = f"{density:.0%} {label}"
                    axis.plot(*zip(*known, strict=True), style, color=f"C{at}", label=name, markersize=3, linewidth=1)
        axis.set(xscale="log", yscale="log", title=predictor, xlabel="neurons on either side", ylabel="milliseconds")
        axis.grid(alpha=0.3)
    axes[0][0].legend(frameon=False, fontsize=6)
    _save(pyplot, figure, path)


def _pyplot() -> Any:
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise DataError("Expected matplotlib for pictures. Got none. pip install sparsecore-engine[demo]") from error
    return pyplot


def _save(pyplot: Any, figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90, metadata={"Software": None})
    pyplot.close(figure)
