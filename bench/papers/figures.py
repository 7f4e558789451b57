"""From result files to numbers: means, standard errors, differences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import t as student

from sparsecore.bench.papers.cells import Cell, Protocol, Variant
from sparsecore.bench.papers.results import Results

__all__ = ["Figure", "Runs", "difference", "figure", "summary_field"]

_SEEDS = (0, 1, 2)

Value = Callable[[Mapping[str, Any]], float | None]


@dataclass(frozen=True)
class Figure:
    """A mean over seeds.

    Attributes
    ----------
    mean : float
        The mean.
    error : float, optional
        Standard error of the mean; missing with one seed.
    n : int
        Number of seeds.
    """

    mean: float
    error: float | None
    n: int

    def text(self, digits: int = 2) -> str:
        """Return mean and standard error."""
        spread = "" if self.error is None else f" ± {self.error:.{digits}f}"
        return f"{self.mean:.{digits}f}{spread}"


@dataclass(frozen=True)
class Runs:
    """The results of a grid that fit what is declared."""

    results: Results
    protocol: Protocol

    def of(self, data: str, variant: Variant, density: float, *, held: bool = False) -> list[dict[str, Any]]:
        """Return the results of all seeds that have been run."""
        links = 1.0 if variant.is_full else density
        cells = [Cell(data, variant, links, seed, held) for seed in _SEEDS]
        found = [self.results.read(cell.key) for cell in cells if cell.is_done(self.results, self.protocol)]
        return [result for result in found if result is not None]


def figure(runs: Sequence[Mapping[str, Any]], value: Value) -> Figure | None:
    """Return the mean of `value` over `runs`; ``None`` without a run, or where a run has no such value."""
    values = [number for number in map(value, runs) if number is not None]
    if not values or len(values) < len(runs):
        return None
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return Figure(statistics.fmean(values), error, len(values))


def summary_field(name: str, scale: float = 1.0) -> Value:
    """Return what reads a field of the summary, scaled."""

    def read(run: Mapping[str, Any]) -> float | None:
        found = run["summary"][name]
        return None if found is None else scale * found

    return read


def difference(a: Figure, b: Figure, n_test: int) -> tuple[float, float]:
    """Return ``a - b`` and its standard error, both in points.

    The standard error of few seeds is widened by Student's t, so that two thirds of all differences without a cause lie
    within it. Where a side has one seed, the error of a proportion on `n_test` samples stands in for it.
    """
    errors = [_error(side, n_test) for side in (a, b)]
    return a.mean - b.mean, math.hypot(*errors)


def _error(side: Figure, n_test: int) -> float:
    if side.error is not None:
        return side.error * (float(student.ppf(statistics.NormalDist().cdf(1), side.n - 1)) if side.n > 1 else 1.0)
    share = min(max(side.mean / 100, 0.0), 1.0)
    return 100 * math.sqrt(share * (1 - share) / n_test)
