"""The figures of a run: what they are called, how they are written, and how two runs are compared by them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sparsecore.engine.records import summarize
from sparsecore.report.content import Run
from sparsecore.report.markup import Node, node
from sparsecore.report.numbers import count, in_bytes, percent, seconds

__all__ = ["FIGURES", "Figure", "figures_of"]


@dataclass(frozen=True)
class Figure:
    """One figure of a summary.

    Attributes
    ----------
    field : str
        Its name in ``summary.json``.
    label, about : str
        What it is called and means.
    write : callable
        From value to text.
    points : bool
        Whether two values differ by percentage points; else by a factor.
    """

    field: str
    label: str
    about: str
    write: Callable[[Any], str]
    points: bool = False

    def cell(self, value: float | None) -> Node:
        """Return the value as text that also carries the exact number."""
        exact = "" if value is None else repr(value)
        return node("data", self.write(value), value=exact, data_field=self.field)

    def difference(self, value: float | None, base: float | None) -> str:
        """Return how a value differs from that of another run; nothing where one is missing or both are equal."""
        if value is None or base is None or value == base:
            return ""
        if self.points:
            return f"{100 * (value - base):+.2f} points"
        return f"x {value / base:.3g}" if value and base else ""


def figures_of(run: Run) -> dict[str, Any]:
    """Return the summary of a run; of one that has not ended, what its epochs say."""
    if run.summary is not None:
        return dict(run.summary)
    known = summarize(run.records, weight_bytes=0, index_bytes=0, state_bytes=0).as_dict()
    return {name: value for name, value in known.items() if not name.endswith("_bytes")}


def _share(value: float | None) -> str:
    return percent(value)


def _density(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.4g}%"


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g} ms"


FIGURES = (
    Figure("accuracy_last", "accuracy", "on the test set, after the last epoch", _share, points=True),
    Figure("accuracy_best_on_test", "best accuracy", "of any epoch, chosen by the test set itself", _share,
           points=True),
    Figure("accuracy_at_best_valid", "accuracy, epoch held out", "on the test set, at the epoch that was best on "
           "held-out samples", _share, points=True),
    Figure("aae", "AAE", "area under accuracy across epochs", _share, points=True),
    Figure("links", "links", "of the sparse layers, or weights of the dense ones they stand for", count),
    Figure("density", "density", "links over possible links", _density, points=True),
    Figure("mean_density", "mean density", "over all steps: cost of the links over dense cost",
           _density, points=True),
    Figure("anp", "ANP", "active neurons over all neurons", _share, points=True),
    Figure("itop", "ITOP", "possible links that existed at any time", _share, points=True),
    Figure("overlap", "overlap", "links of the last update that it had just removed", _share, points=True),
    Figure("epochs", "epochs", "passes over the training set", count),
    Figure("steps", "steps", "of the optimizer", count),
    Figure("updates", "updates", "of the links", count),
    Figure("wall_s", "time", "training, evaluation and updates", seconds),
    Figure("ms_per_step", "time per step", "median over epochs, without updates", _milliseconds),
    Figure("ms_per_update", "time per update", "of the links", _milliseconds),
    Figure("weight_bytes", "parameters", "of the model", in_bytes),
    Figure("index_bytes", "index lists", "of the links", in_bytes),
    Figure("state_bytes", "optimizer state", "momentum or moments", in_bytes),
    Figure("peak_memory_bytes", "peak memory", "resident, without libraries and data", in_bytes),
)  # fmt: skip
