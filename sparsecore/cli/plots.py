"""PNG pictures of finished runs. Adjacency is shown as link counts in at most 256 x 256 tiles, at any layer size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparsecore._typing import Float64Array, Int64Array
from sparsecore.engine import EpochRecord
from sparsecore.errors import DataError
from sparsecore.report.tiles import tile_counts
from sparsecore.storage import Topology

__all__ = ["plot_runs"]

_TILES = 256


def plot_runs(
    folder: Path,
    records: Mapping[str, Sequence[EpochRecord]],
    before: Mapping[str, Mapping[str, Topology]],
    after: Mapping[str, Mapping[str, Topology]],
) -> list[Path]:
    """Write all pictures of some runs and return their paths.

    Parameters
    ----------
    folder : Path
        Made when missing.
    records : mapping of str to sequence of EpochRecord
        Epochs by name of the run.
    before, after : mapping of str to mapping of str to Topology
        Layers by name, by name of the run; empty for dense networks.

    Raises
    ------
    DataError
        If matplotlib is missing.
    """
    pyplot = _pyplot()
    folder.mkdir(parents=True, exist_ok=True)
    written = [_curves(pyplot, folder / "accuracy.png", records, ("test_accuracy", "train_loss"))]
    sparse = {name: records[name] for name in records if after.get(name)}
    if sparse:
        written.append(_curves(pyplot, folder / "network.png", sparse, ("anp", "itop", "overlap")))
    for name in sparse:
        written.append(_adjacency(pyplot, folder / f"adjacency_{name}.png", name, before[name], after[name]))
        written.append(_degrees(pyplot, folder / f"degrees_{name}.png", name, before[name], after[name]))
    return written


def _pyplot() -> Any:
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise DataError("Expected matplotlib for pictures. Got none. pip install sparsecore-engine[demo]") from error
    return pyplot


_LABELS = {
    "test_accuracy": "test accuracy",
    "train_loss": "training loss",
    "anp": "active neurons (ANP)",
    "itop": "links ever explored (ITOP)",
    "overlap": "overlap of removed and regrown",
}


def _curves(pyplot: Any, path: Path, records: Mapping[str, Sequence[EpochRecord]], fields: Sequence[str]) -> Path:
    figure, axes = pyplot.subplots(1, len(fields), figsize=(4.5 * len(fields), 3.4), layout="constrained")
    for axis, name in zip(axes, fields, strict=True):
        for run, epochs in records.items():
            axis.plot([e.epoch for e in epochs], [getattr(e, name) for e in epochs], label=run, linewidth=1.4)
        axis.set(xlabel="epoch", ylabel=_LABELS[name])
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    return _save(pyplot, figure, path)


def _adjacency(
    pyplot: Any, path: Path, name: str, before: Mapping[str, Topology], after: Mapping[str, Topology]
) -> Path:
    figure, axes = pyplot.subplots(2, len(after), figsize=(3.2 * len(after), 6.4), layout="constrained", squeeze=False)
    for row, (when, layers) in enumerate((("before", before), ("after", after))):
        for axis, (layer, topology) in zip(axes[row], layers.items(), strict=True):
            counts = tile_counts(topology, tiles=_TILES)
            axis.imshow(counts, cmap="Greys", aspect="auto", interpolation="nearest", vmax=max(1, counts.max() // 2))
            axis.set(title=f"{layer}, {when}", xlabel=f"{topology.n_in} inputs", ylabel=f"{topology.n_out} outputs")
            axis.set(xticks=[], yticks=[])
    figure.suptitle(f"{name}: links")
    return _save(pyplot, figure, path)


def _degrees(pyplot: Any, path: Path, name: str, before: Mapping[str, Topology], after: Mapping[str, Topology]) -> Path:
    figure, axes = pyplot.subplots(1, len(after), figsize=(3.6 * len(after), 3.4), layout="constrained", squeeze=False)
    for axis, layer in zip(axes[0], after, strict=True):
        for when, topology, style in (("before", before[layer], "--"), ("after", after[layer], "-")):
            for side, degrees, colour in (("in", topology.out_degrees, "C0"), ("out", topology.in_degrees, "C1")):
                degree, share = _tail(degrees)
                axis.plot(degree, share, style, color=colour, label=f"links {side}, {when}", linewidth=1.2)
        axis.set(xscale="log", yscale="log", title=layer, xlabel="degree k", ylabel="neurons with degree ≥ k")
        axis.tick_params(which="minor", labelbottom=False)
        axis.grid(alpha=0.3)
    axes[0][0].legend(frameon=False, fontsize=7)
    figure.suptitle(f"{name}: degrees")
    return _save(pyplot, figure, path)


def _tail(degrees: Int64Array) -> tuple[Int64Array, Float64Array]:
    """Return the degrees above 0 that occur and the share of neurons with at least as many links."""
    degree, count = np.unique(degrees[degrees > 0], return_counts=True)
    return degree, count[::-1].cumsum()[::-1] / max(1, degrees.size)


def _save(pyplot: Any, figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path
