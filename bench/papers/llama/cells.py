"""The declared grid: every method, CHTs at several densities, and further seeds, in the order in which they are run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sparsecore.bench.papers.results import Results
from sparsecore.models.options import DENSE
from sparsecore.models.pretrain import LlamaRun

__all__ = ["PROTOCOL", "ROWS", "LlamaCell", "Row", "cells"]

#: Fields of `LlamaRun` that all runs share: the layers of the 20M size under a small vocabulary, one million tokens.
PROTOCOL: Mapping[str, Any] = {
    "size": "20m",
    "lr": 3e-3,
    "documents": 1000,
    "tokenizer": "bpe:4096",
    "context": 128,
    "batch": 8,
    "steps": 1000,
    "every": 100,
    "save_every": 250,
    "valid_every": 250,
    "valid_blocks": 512,
    "cpu": True,
}

#: What decides no figure but times and last bits.
_APART = ("threads", "data_dir")


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes
    ----------
    name, label : str
        In file names, and in the table.
    method : str
        As for `LlamaRun`.
    density : float
        Links at the end; 1 for the dense network.
    changes : mapping
        Fields of `LlamaRun` that differ from `PROTOCOL`.
    n_seeds : int
        Runs that are declared.
    """

    name: str
    label: str
    method: str
    density: float
    changes: Mapping[str, Any] = field(default_factory=dict)
    n_seeds: int = 1


ROWS = (
    Row("dense", "dense", DENSE, 1.0),
    Row("dense_third", "dense, a third of the learning rate", DENSE, 1.0, {"lr": 1e-3}),
    Row("static-10pc", "static, 10%", "static", 0.1),
    Row("set-10pc", "SET, 10%", "set", 0.1, n_seeds=3),
    Row("rigl-10pc", "RigL, 10%", "rigl", 0.1),
    Row("chtss-10pc", "CHTss, 50% to 10%", "chtss", 0.1),
    Row("chts-5pc", "CHTs, 5%", "chts", 0.05),
    Row("chts-10pc", "CHTs, 10%", "chts", 0.1, n_seeds=3),
    Row("chts-20pc", "CHTs, 20%", "chts", 0.2),
    Row("chts-30pc", "CHTs, 30%", "chts", 0.3),
)


@dataclass(frozen=True)
class LlamaCell:
    """One run of the table.

    Attributes
    ----------
    row : Row
        What is run.
    seed : int
        Of weights, links and order.
    threads : int
        Threads of the run.
    """

    row: Row
    seed: int = 0
    threads: int = 1

    @property
    def key(self) -> str:
        """Name of the cell and of its files."""
        return f"{self.row.name}-s{self.seed}"

    @property
    def run(self) -> LlamaRun:
        """The run itself, without the folder of its data."""
        density = {} if self.row.method == DENSE else {"density": self.row.density}
        fields = {**PROTOCOL, **density, **self.row.changes, "seed": self.seed, "threads": self.threads}
        return LlamaRun(method=self.row.method, **fields)

    @property
    def setting(self) -> dict[str, Any]:
        """Everything declared about the run as plain values: a result of another setting is out of date."""
        return {name: value for name, value in dataclasses.asdict(self.run).items() if name not in _APART}

    def is_done(self, results: Results) -> bool:
        """Tell whether there is a result of this setting."""
        found = results.read(self.key)
        return found is not None and found["setting"] == self.setting


def cells(threads: int = 1) -> list[LlamaCell]:
    """Return all cells in the order in which they are to be run: one seed of every row, then the others."""
    n_most = max(row.n_seeds for row in ROWS)
    return [LlamaCell(row, seed, threads) for seed in range(n_most) for row in ROWS if seed < row.n_seeds]
