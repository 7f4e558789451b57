"""What a trainer trains on, and how long and in what order it goes through it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from sparsecore._typing import FloatArray, Int64Array
from sparsecore.engine.finite import check_policy
from sparsecore.errors import check_count

__all__ = ["Dataset", "Settings"]


class Dataset(Protocol):
    """Arrays of a classification task, held in memory."""

    @property
    def train_x(self) -> FloatArray:
        """Training inputs, float32, (n, n_features)."""
        ...

    @property
    def train_y(self) -> Int64Array:
        """Training classes, int64, (n,)."""
        ...

    @property
    def test_x(self) -> FloatArray:
        """Test inputs, float32, (n, n_features)."""
        ...

    @property
    def test_y(self) -> Int64Array:
        """Test classes, int64, (n,)."""
        ...

    @property
    def valid_x(self) -> FloatArray | None:
        """Held-out inputs, float32, (n, n_features), if any."""
        ...

    @property
    def valid_y(self) -> Int64Array | None:
        """Held-out classes, int64, (n,), if any."""
        ...


@dataclass(frozen=True)
class Settings:
    """How long and in what order a trainer goes through the data.

    Attributes
    ----------
    epochs : int
        Passes over the training set.
    batch_size : int
        Samples per step; the last batch of an epoch may be smaller.
    seed : int
        Seed of the order of samples.
    compiled : bool
        Take the steps between two updates in one compiled call where model and optimizer allow it (`CompiledSteps`),
        except those whose gradients the rule reads; otherwise, and always where they do not, in a plain PyTorch loop.
    non_finite : str
        What happens when a loss, a gradient or a value is NaN or infinite. ``"raise"``: `NonFiniteError` before links
        are updated or an epoch is recorded, so that no checkpoint holds such numbers. ``"skip"`` and ``"clip"``: see
        `FiniteSteps`; an update that would read such numbers is left out. Compiled steps are checked when they end,
        without a cost per step, and undone and taken again one by one if need be; in a plain loop skip and clip look
        at every gradient of every step.
    """

    epochs: int = 100
    batch_size: int = 32
    seed: int = 0
    compiled: bool = True
    non_finite: str = "raise"

    def __post_init__(self) -> None:
        """Check ranges."""
        check_count("epochs", self.epochs, "the number of passes over the training set", low=1)
        check_count("batch_size", self.batch_size, "the number of samples per step", low=1)
        check_count("seed", self.seed, "the seed of the order of samples", high=2**64 - 1)
        check_policy(self.non_finite)

    def steps_per_epoch(self, n_samples: int) -> int:
        """Return the number of optimizer steps in one epoch."""
        return math.ceil(n_samples / self.batch_size)
