"""Pictures of the pages: learning curves, the accuracy-AAE quadrants, adjacency, runtime. Small PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
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
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
    colours = _colours(pyplot)
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
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=7)
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
        1, len(points), figsize=(4.2 * len(points), 4.6), layout="constrained", squeeze=False
    )
    names = list(dict.fromkeys(network for networks in points.values() for network in networks))
    looks = dict(zip(names, zip(cycle(_colours(pyplot)), cycle("os^vDPX"), strict=False), strict=False))
    for axis, (data, networks) in zip(axes[0], points.items(), strict=True):
        base = networks.get(dense)
        x0, y0 = (base[0].mean, base[1].mean) if base else (0.0, 0.0)
        for network, (area, accuracy) in networks.items():
            colour, marker = looks[network]
            axis.errorbar(
                area.mean - x0, accuracy.mean - y0, accuracy.error or 0, area.error or 0,
                fmt=marker, color=colour, markersize=6, linewidth=0.8,
            )  # fmt: skip
        if base:
            axis.axhline(0, color="black", linewidth=0.6)
            axis.axvline(0, color="black", linewidth=0.6)
        than = " minus that of the dense network" if base else ""
        axis.set(title=data if base else f"{data} (dense not run yet)", xlabel=f"AAE{than}, %")
        axis.set_ylabel(f"accuracy{than}, %")
        axis.margins(0.08)
        axis.grid(alpha=0.3)
    handles = [
        pyplot.Line2D([], [], color=colour, marker=marker, linestyle="", label=name)
        for name, (colour, marker) in looks.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False, fontsize=8)
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
    sizes = sorted({row["n"] for row in rows})
    for axis, predictor in zip(axes[0], predictors, strict=True):
        for at, density in enumerate(densities):
            chosen = [row for row in rows if (row["predictor"], row["density"]) == (predictor, density)]
            for field, style, _ in kinds:
                known = [(row["n"], row[field]) for row in chosen if row[field] is not None]
                if known:
                    axis.plot(*zip(*known, strict=True), style, color=f"C{at}", markersize=3, linewidth=1)
        axis.set(xscale="log", yscale="log", title=predictor, xlabel="neurons on either side", ylabel="milliseconds")
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axis.set_xticks([], minor=True)
        axis.grid(alpha=0.3)
    colours = [
        pyplot.Line2D([], [], color=f"C{at}", label=f"{each:.0%} of the links") for at, each in enumerate(densities)
    ]
    styles = [
        pyplot.Line2D([], [], color="0.4", linestyle=style[:-1], marker=style[-1], label=label)
        for _, style, label in kinds
    ]
    figure.legend(handles=[*styles, *colours], loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    _save(pyplot, figure, path)


def _colours(pyplot: Any) -> Any:
    """Return twenty colours, the dark half of the palette before the light one, so that few networks get dark ones."""
    return pyplot.colormaps["tab20"]([*range(0, 20, 2), *range(1, 20, 2)])


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
