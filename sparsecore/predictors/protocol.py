"""What a link predictor is: scores of missing links, as a stream and, where the law allows it, as samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from sparsecore._typing import Float64Array, FloatArray, Int64Array
from sparsecore.errors import ConfigError, ShapeError, SignalError, TopologyError, check_count
from sparsecore.registry import Registry
from sparsecore.storage import Topology
from sparsecore.storage.topology import checked_integers

__all__ = [
    "Predictor",
    "Sampler",
    "ScoreBlock",
    "Signals",
    "checked_draw",
    "checked_pairs",
    "get",
    "names",
    "register",
    "registry",
]


@dataclass(frozen=True, eq=False)
class Signals:
    """What a layer saw: enough for the gradient of any missing link, and what its retired links once held.

    Attributes
    ----------
    inputs : array, float32, (B, n_in)
        Inputs of recent samples.
    grad_outputs : array, float32, (B, n_out)
        Gradient of the loss by the outputs, for the same samples.
    ages : array, int64, (B,), optional
        Steps since each sample was seen, 0 for the latest; all 0 when missing.
    retired_ids : array, int64, (n,)
        Links that were ever retired, sorted.
    retired_values : array, float32, (n,)
        Value of each when it was last retired.
    """

    inputs: FloatArray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    grad_outputs: FloatArray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    ages: Int64Array | None = None
    retired_ids: Int64Array = field(default_factory=lambda: np.zeros(0, np.int64))
    retired_values: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        """Check that all parts fit each other."""
        if self.inputs.ndim != 2 or self.grad_outputs.ndim != 2 or len(self.inputs) != len(self.grad_outputs):
            raise ShapeError(
                f"Expected inputs (B, n_in) and grad_outputs (B, n_out). "
                f"Got {self.inputs.shape} and {self.grad_outputs.shape}."
            )
        if self.ages is not None and self.ages.shape != (len(self.inputs),):
            raise ShapeError(f"Expected one age per sample, ({len(self.inputs)},). Got {self.ages.shape}.")
        if self.retired_ids.ndim != 1 or self.retired_ids.shape != self.retired_values.shape:
            raise ShapeError(
                f"Expected retired ids and values of one length. "
                f"Got {self.retired_ids.shape} and {self.retired_values.shape}."
            )

    @staticmethod
    def require(signals: Signals | None) -> Signals:
        """Return `signals`, or raise `SignalError` if there are no samples in them."""
        if signals is None or not signals.inputs.size:
            raise SignalError(
                "Expected signals=Signals(inputs, grad_outputs). Got none. This predictor reads gradients."
            )
        return signals

    def missing_retired(self, topology: Topology) -> tuple[Int64Array, FloatArray]:
        """Return the ids and last values of the retired links that `topology` does not hold."""
        gone = topology.find(self.retired_ids) < 0
        return self.retired_ids[gone], self.retired_values[gone]


@dataclass(frozen=True, eq=False)
class ScoreBlock:
    """Scores of some missing links.

    Attributes
    ----------
    ids : array, int64, (m,)
        Link ids, increasing.
    scores : array, float64, (m,)
        Positive scores.
    """

    ids: Int64Array
    scores: Float64Array

    def __post_init__(self) -> None:
        """Refuse what no selection can rank."""
        if self.ids.shape != self.scores.shape or self.ids.ndim != 1:
            raise ShapeError(f"Expected a score for every id. Got {self.ids.shape} ids, {self.scores.shape} scores.")
        if self.scores.size and not self.scores.min() >= 0:
            raise ConfigError(f"Expected scores of at least 0. Got {self.scores.min()}. Correct the predictor.")


@runtime_checkable
class Predictor(Protocol):
    """Scores of missing links.

    Attributes
    ----------
    needs : frozenset of str
        ``{"signals"}`` for predictors that read inputs and gradients, ``{"history"}`` for those that read retired
        links.
    """

    needs: ClassVar[frozenset[str]]

    def score_links(
        self, topology: Topology, rows: ArrayLike, cols: ArrayLike, *, signals: Signals | None = None
    ) -> Float64Array:
        """Return exact scores at chosen missing links, float64, (n,)."""
        ...

    def stream(self, topology: Topology, *, signals: Signals | None = None) -> Iterator[ScoreBlock]:
        """Yield all missing links of positive score, row block by row block, in order of link id."""
        ...


@runtime_checkable
class Sampler(Protocol):
    """A predictor that draws missing links in proportion to their scores without computing them."""

    def sample(self, topology: Topology, n: int, seed: int) -> Int64Array:
        """Return up to `n` distinct missing links drawn by successive sampling, int64 ids in order of draw.

        Fewer come back only when the budget of proposals ends; what is drawn so far is exact.
        """
        ...


def checked_pairs(topology: Topology, rows: ArrayLike, cols: ArrayLike) -> tuple[Int64Array, Int64Array]:
    """Return `rows` and `cols` as arrays, or raise `TopologyError` if a pair is out of range or already linked."""
    row, col = checked_integers(np.atleast_1d(rows), "rows"), checked_integers(np.atleast_1d(cols), "cols")
    if row.shape != col.shape or row.ndim != 1:
        raise TopologyError(f"Expected rows and cols of equal length. Got {row.shape} and {col.shape}.")
    for name, index, bound in (("rows", row, topology.n_out), ("cols", col, topology.n_in)):
        if index.size and (index.min() < 0 or index.max() >= bound):
            raise TopologyError(f"Expected {name} in [0, {bound}). Got {index.min()} to {index.max()}.")
    linked = topology.contains(row, col)
    if linked.any():
        first = int(np.flatnonzero(linked)[0])
        raise TopologyError(f"Expected missing links. Got (row {row[first]}, col {col[first]}), which exists.")
    return row, col


def checked_draw(n: int, seed: int) -> None:
    """Raise `ConfigError` if `n` is negative or `seed` is not a 64-bit number."""
    check_count("n", n, "the number of links to draw")
    check_count("seed", seed, "the number that all random streams start from", high=2**64 - 1)


registry: Registry[Predictor] = Registry("predictor")
register = registry.register
names = registry.names


def get(name: str, **options: Any) -> Predictor:
    """Build the predictor called `name`; raises `UnknownNameError` with the nearest match."""
    return registry.get(name, **options)
