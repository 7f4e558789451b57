"""Large networks: nothing of the size of a dense layer, and what was left out is said."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from sparsecore.io import RunFolder, save
from sparsecore.report import network, write_report
from sparsecore.storage import Topology


def random_layer(shape: tuple[int, int], n_links: int, seed: int) -> Topology:
    draw = np.random.default_rng(seed)
    ids = np.unique(draw.integers(0, shape[0] * shape[1], n_links, dtype=np.int64))
    return Topology.from_ids(ids, shape)


def folder_of(path: Path, layers: Mapping[str, Topology]) -> Path:
    """Make the folder of a run that ended after one epoch."""
    RunFolder.create(path, {"run": {"method": "none"}})
    record = {
        "epoch": 1, "step": 10, "train_loss": 1.0, "test_accuracy": 0.5, "valid_accuracy": None, "lr": 0.1, "links": 1,
        "density": 0.1, "densities": [0.1], "anp": 1.0, "itop": 0.1, "overlap": 0.0, "updates": 0, "ms_per_step": 1.0,
        "evolution_ms": 0.0, "elapsed_s": 1.0, "mean_density": 0.1,
    }  # fmt: skip
    (path / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    for when in ("before", "after"):
        parts = {name: {"shape": t.shape, "col_ptr": t.col_ptr, "rows": t.rows} for name, t in layers.items()}
        save(path / f"topology_{when}.safetensors", parts)
    return path


def test_layers_of_200_000_by_200_000_are_reported_in_the_memory_of_their_links(tmp_path: Path) -> None:
    n = 200_000  # dense, one layer would take 40 GB even at a byte per link
    layers = {f"hidden.{2 * at}": random_layer((n, n), 8_000, seed=at) for at in range(2)}
    folder = folder_of(tmp_path / "run", layers)
    tracemalloc.start()
    try:
        page = write_report([folder])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200e6
    assert page.stat().st_size < 600e3


def test_the_page_says_what_was_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("igraph")
    monkeypatch.setattr(network, "_LINKS", 1500)
    monkeypatch.setattr(network, "_DEGREES", 500)
    layers = {f"blocks.{at}.up": random_layer((300, 300), 1000 + at, seed=at) for at in range(7)}
    layers |= {f"chain.{at}": random_layer((400, 400), 2000, seed=at) for at in range(2)}
    text = write_report([folder_of(tmp_path / "run", layers)]).read_text()
    assert "Shown are 6 of 9 layers." in text
    assert "Of 8 chains of layers, this is the one with most links: chain.0 to chain.1." in text
    assert "Too large to be taken whole: seen are the" in text
    assert "of 500 drawn ones" in text
