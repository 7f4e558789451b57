"""Trains one cell, in pieces if need be, and returns its result as plain values."""

from __future__ import annotations

import base64
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sparsecore.bench.machine import machine
from sparsecore.bench.papers.cells import Cell, Protocol, configure
from sparsecore.bench.papers.process import Clock, StoppedError
from sparsecore.bench.papers.results import Results
from sparsecore.bench.papers.work import checkpoint_of
from sparsecore.engine import EpochRecord, PeakMemory, Summary, Trainer
from sparsecore.evolution import active_neurons
from sparsecore.io import save
from sparsecore.models import data as image_data
from sparsecore.models import recipes
from sparsecore.models.data import ImageData
from sparsecore.nn import sparse_layers
from sparsecore.storage import Topology

__all__ = ["TILES", "tiles_of", "train", "unpack_tiles"]

#: Sides of the pictures of adjacency that a result holds.
TILES = 56

#: Seconds between checkpoints.
_CHECKPOINT_S = 20.0


class _Keeper:
    """Listens to a trainer: writes checkpoints now and then, and stops when told to."""

    def __init__(
        self,
        path: Path,
        setting: Mapping[str, Any],
        state: Mapping[str, Any],
        stop: Callable[[], bool],
        memory: PeakMemory,
    ):
        self._path, self._setting, self._stop, self._memory = path, dict(setting), stop, memory
        self._peak_before = int(state.get("peak_bytes", 0))
        self.before: dict[str, Any] = state.get("before", {})
        self.clock = Clock(state.get("clock", {}))
        self._saved = time.monotonic()

    def on_start(self, trainer: Trainer) -> None:
        """Note the links of a run that begins."""
        if trainer.epoch == 0:
            self.before = _tiles(trainer)

    def on_epoch(self, trainer: Trainer, record: EpochRecord) -> None:
        """Write a checkpoint if it is time, stop if told to."""
        stopping = self._stop() and trainer.epoch < trainer.settings.epochs
        if stopping or time.monotonic() - self._saved > _CHECKPOINT_S:
            state = {"trainer": trainer.state_dict(), "setting": self._setting, "before": self.before}
            save(self._path, state | {"clock": self.clock.read(), "peak_bytes": self.peak_bytes()})
            self._saved = time.monotonic()
        if stopping:
            raise StoppedError

    def peak_bytes(self) -> int:
        """Return the largest peak of this process and of those that began the run."""
        return max(self._peak_before, self._memory.rise_bytes())

    def on_end(self, trainer: Trainer, summary: Summary) -> None:
        """Nothing to do: the result is put together by `train`."""


def train(
    cell: Cell, protocol: Protocol, data: ImageData, results: Results, checkpoint: Path, stop: Callable[[], bool]
) -> dict[str, Any]:
    """Return the result of a cell, going on after its checkpoint if there is one that fits.

    Parameters
    ----------
    cell, protocol
        What to train.
    data : ImageData
        The whole data set; held-out samples are set apart here.
    results : Results
        Where the run that it is built on is found.
    checkpoint : Path
        File to resume from; its folder must exist.
    stop : callable
        Asked after every epoch.

    Raises
    ------
    StoppedError
        If `stop` said so; the checkpoint holds what is done.
    """
    if cell.held:
        data = image_data.hold_out(data, protocol.n_held, seed=0)
    config = configure(cell, protocol, data, results)
    setting = cell.setting(protocol)
    recipes.warm_up(config)
    state = checkpoint_of(checkpoint, setting)
    memory = PeakMemory()
    keeper = _Keeper(checkpoint, setting, state, stop, memory)
    trainer = recipes.build(config, data)
    if state:
        trainer.load_state_dict(state["trainer"])
    summary = trainer.run([keeper])
    times, peak = keeper.clock.read(), keeper.peak_bytes()
    config_values = {name: value for name, value in config.as_dict().items() if name != "data_dir"}
    return {
        "setting": setting,
        "label": cell.variant.label,
        "config": config_values,
        "summary": {**summary.as_dict(), **times, "peak_memory_bytes": peak},
        "train_accuracy": _accuracy(trainer.model, data),
        "valid_accuracy": trainer.records[-1].valid_accuracy,
        "n_test": len(data.test_y),
        "neurons": _neurons(trainer),
        "layers": _layers(trainer),
        "curve": _curve(trainer.records),
        "before": keeper.before if cell.seed == 0 else {},
        "after": _tiles(trainer) if cell.seed == 0 else {},
        "machine": machine(),
    }


def tiles_of(topology: Topology, tiles: int = TILES) -> dict[str, Any]:
    """Return how many links fall into each tile of the adjacency, at most 255, packed as text.

    Examples
    --------
    >>> packed = tiles_of(Topology.from_coo([0, 3, 2], [0, 3, 3], shape=(4, 4)), tiles=2)
    >>> unpack_tiles(packed).tolist()
    [[1, 0], [0, 2]]
    """
    shape = min(tiles, topology.n_out), min(tiles, topology.n_in)
    rows = topology.rows.astype(np.int64) * shape[0] // topology.n_out
    cols = topology.cols.astype(np.int64) * shape[1] // topology.n_in
    counts = np.bincount(rows * shape[1] + cols, minlength=shape[0] * shape[1]).clip(max=255).astype(np.uint8)
    return {"shape": list(shape), "counts": base64.b85encode(zlib.compress(counts.tobytes(), 9)).decode()}


def unpack_tiles(packed: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the counts that `tiles_of` packed, uint8, (rows, columns)."""
    raw = zlib.decompress(base64.b85decode(packed["counts"]))
    return np.frombuffer(raw, np.uint8).reshape(packed["shape"])


@torch.no_grad()
def _accuracy(model: torch.nn.Module, data: ImageData) -> float:
    """Return the share of training samples classified correctly."""
    model.eval()
    x, y = torch.from_numpy(data.train_x), torch.from_numpy(data.train_y)
    right = sum(int((model(a).argmax(1) == b).sum()) for a, b in zip(x.split(500), y.split(500), strict=True))
    return right / len(y)


def _tiles(trainer: Trainer) -> dict[str, Any]:
    return {name: tiles_of(layer.topology) for name, layer in sparse_layers(trainer.model).items()}


def _neurons(trainer: Trainer) -> list[dict[str, Any]]:
    """Return active neurons and all neurons of the inputs and every hidden layer; nothing for a dense network."""
    topologies = [layer.topology for layer in sparse_layers(trainer.model).values()]
    names = ["inputs", *(f"hidden {number}" for number in range(1, len(topologies) + 1))]
    flags = active_neurons(topologies) if topologies else []
    return [
        {"name": name, "active": int(np.count_nonzero(active)), "all": int(active.size)}
        for name, active in zip(names[: len(flags)], flags, strict=True)
    ]


def _layers(trainer: Trainer) -> list[dict[str, Any]]:
    if trainer.evolution is None:
        return []
    return [
        {
            "name": layer.name,
            "shape": list(layer.shape),
            "links": layer.n_links,
            "itop": layer.itop,
            "overlap": layer.overlap,
            "frozen": layer.frozen,
        }
        for layer in trainer.evolution.report().layers
    ]


def _curve(records: list[EpochRecord]) -> dict[str, list[float | None]]:
    fields = {"train_loss": 5, "test_accuracy": 4, "valid_accuracy": 4, "density": 6, "anp": 4, "itop": 4, "overlap": 4}
    curve = {name: [_rounded(getattr(record, name), digits) for record in records] for name, digits in fields.items()}
    return {name: values for name, values in curve.items() if any(value is not None for value in values)}


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
