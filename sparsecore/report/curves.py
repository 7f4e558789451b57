"""Curves over the epochs, of one run or of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sparsecore.engine import EpochRecord
from sparsecore.report.charts import Chart, Line
from sparsecore.report.content import Run
from sparsecore.report.markup import Node
from sparsecore.report.numbers import percent, short

__all__ = ["learning_curves", "network_curves"]

Read = Callable[[EpochRecord], float | None]


def learning_curves(runs: Sequence[Run]) -> list[Node]:
    """Return charts of accuracy by epoch and by time, and of the training loss."""
    return [
        _chart("Test accuracy", "by epoch", runs, lambda record: record.test_accuracy),
        _chart("Training loss", "by epoch", runs, lambda record: record.train_loss, fraction=False),
        _chart("Test accuracy", "by time", runs, lambda record: record.test_accuracy, across="seconds of training"),
    ]


def network_curves(runs: Sequence[Run]) -> list[Node]:
    """Return charts of active neurons, explored links and overlap, and of the density where it changes."""
    sparse = [run for run in runs if run.moments]
    if not sparse:
        return []
    charts = [
        _chart("Active neurons (ANP)", "by epoch", runs, lambda record: record.anp, among=sparse),
        _chart("Links ever explored (ITOP)", "by epoch", runs, lambda record: record.itop, among=sparse),
    ]
    if any(run.last.updates for run in sparse):
        charts.append(_chart("Overlap of updates", "by epoch", runs, _overlap, among=sparse))
    if any(len({record.density for record in run.records}) > 1 for run in sparse):
        charts.append(_chart("Density", "by epoch", runs, lambda record: record.density, among=sparse))
    return charts


def _chart(
    title: str,
    about: str,
    runs: Sequence[Run],
    read: Read,
    *,
    fraction: bool = True,
    across: str = "epoch",
    among: Sequence[Run] | None = None,
) -> Node:
    lines = []
    for style, run in enumerate(runs):
        if among is None or run in among:
            xs = [record.elapsed_s if across != "epoch" else record.epoch for record in run.records]
            points = [(float(x), y) for x, y in zip(xs, map(read, run.records), strict=True) if y is not None]
            lines.append(Line(run.name, points, style % 7))
    lines = [line for line in lines if line.points]
    ends = "; ".join(f"{line.label} ends at {_said(line.points[-1][1], fraction)}" for line in lines)
    return Chart(title, f"{title} {about}: {ends}", lines, across, about, fraction=fraction).draw()


def _overlap(record: EpochRecord) -> float | None:
    return record.overlap if record.updates else None


def _said(value: float, fraction: bool) -> str:
    return percent(value) if fraction else short(value)
