"""The declared grid: every method at every density, in the order in which they are run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sparsecore.bench.papers.results import Results
from sparsecore.models.translation import TranslationRun

__all__ = ["DENSITIES", "METHODS", "PRINTED", "SOURCE", "TRIED", "TranslationCell", "beside_dense", "cells", "rows"]

#: Where the printed figures are from.
SOURCE = (
    "Y. Zhang et al., Brain network science modelling of sparse neural networks enables Transformers and LLMs to "
    "perform as fully connected (2025), translation table, Multi30k"
)

#: BLEU that the papers print, by density and method; the dense network has density 1.
PRINTED: Mapping[float, Mapping[str, float]] = {
    1.0: {"dense": 31.38},
    0.1: {"set": 29.73, "rigl": 30.26, "chts": 29.81, "chtss": 32.86},
    0.05: {"set": 28.99, "rigl": 29.94, "chts": 28.94, "chtss": 32.03},
}

DENSITIES = (0.1, 0.05)

#: Fields of `TranslationRun` of every method. First links and ζ are those of the published translation scripts: a small
#: world (β = 0.25) and ζ falling by cosine for Cannistraci-Hebb training, uniform links for the others.
_CANNISTRACI_HEBB = {"topology": "bsw", "topology_options": {"beta": 0.25}, "zeta_schedule": "cosine"}
METHODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "dense": ("FC (dense)", {}),
    "set": ("SET", {}),
    "rigl": ("RigL", {}),
    "chts": ("CHTs", _CANNISTRACI_HEBB),
    "chtss": ("CHTss", _CANNISTRACI_HEBB),
}

#: Rows that might explain another, at 10% of the links or dense: the method, the label and the fields that differ. The
#: learning rate was chosen with CHTs at 10% of the links, and a neuron with more links moves further in a step; rates
#: of Adam go as one over the inputs of a neuron (Yang et al., Tensor Programs V, 2022), a tenth for ten times as many.
TRIED: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "dense_half": ("dense", "half the learning rate", {"lr": 1.0}),
    "dense_tenth": ("dense", "a tenth of the learning rate", {"lr": 0.2}),
    "chtss_half": ("chtss", "half the learning rate", {"lr": 1.0}),
}

_ORDER = ("chts", "set", "chtss", "rigl")


@dataclass(frozen=True)
class TranslationCell:
    """One run of the table.

    Attributes
    ----------
    method : str
        A key of `METHODS` or of `TRIED`.
    density : float
        Links at the end; 1 for the dense network.
    seed : int
        Seed of the run.
    threads : int
        Threads of the run; they decide the last bits, not the setting.
    changes : mapping
        Fields of `TranslationRun` that differ from the papers' settings.
    """

    method: str
    density: float
    seed: int = 0
    threads: int = 1
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Name of the cell and of its files."""
        links = "" if self.density == 1.0 else f"-{100 * self.density:g}pc"
        return f"multi30k-{self.method}{links}-s{self.seed}"

    @property
    def label(self) -> str:
        """Name of the method in tables."""
        method, tried, _ = self._parts
        return f"{METHODS[method][0]}, {tried}" if tried else METHODS[method][0]

    @property
    def printed(self) -> float:
        """BLEU that the papers print."""
        return PRINTED[self.density][self._parts[0]]

    @property
    def run(self) -> TranslationRun:
        """The run itself."""
        method, _, differs = self._parts
        fields = {**METHODS[method][1], **differs, **self.changes}
        return TranslationRun(method=method, density=self.density, seed=self.seed, threads=self.threads, **fields)

    @property
    def _parts(self) -> tuple[str, str, Mapping[str, Any]]:
        """Method, what was tried, and its fields."""
        return TRIED.get(self.method, (self.method, "", {}))

    @property
    def setting(self) -> dict[str, Any]:
        """Everything declared about the run as plain values: a result of another setting is out of date."""
        return {name: value for name, value in self.run.as_dict().items() if name != "threads"}

    def is_done(self, results: Results) -> bool:
        """Tell whether there is a result of this setting."""
        found = results.read(self.key)
        return found is not None and found["setting"] == self.setting


def cells(threads: int = 1) -> list[TranslationCell]:
    """Return all cells in the order in which they are to be run: 90% sparse, dense, what was tried, 95% sparse."""
    first, last = ([TranslationCell(method, density, threads=threads) for method in _ORDER] for density in DENSITIES)
    tried = [TranslationCell(name, _density(name, DENSITIES[0]), threads=threads) for name in TRIED]
    return [*first, TranslationCell("dense", 1.0, threads=threads), *tried, *last]


def beside_dense(threads: int = 1) -> list[TranslationCell]:
    """Return dense and every method at the larger density: whose steps are timed beside each other."""
    methods = [TranslationCell(method, DENSITIES[0], threads=threads) for method in METHODS if method != "dense"]
    return [TranslationCell("dense", 1.0, threads=threads), *methods]


def rows(density: float) -> list[TranslationCell]:
    """Return the rows of the table of a density, what was tried last."""
    tried = TRIED if density == DENSITIES[0] else {}
    return [TranslationCell(name, _density(name, density)) for name in (*METHODS, *tried)]


def _density(name: str, density: float) -> float:
    return 1.0 if TRIED.get(name, (name,))[0] == "dense" else density
