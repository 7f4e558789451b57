"""Steps per second of every method beside the dense network: in turns, on the same batches, in one process."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

from sparsecore.bench.machine import machine
from sparsecore.bench.papers.process import say
from sparsecore.bench.papers.results import Results
from sparsecore.bench.papers.translation.cells import METHODS, TranslationCell
from sparsecore.bench.papers.translation.memory import warm_up
from sparsecore.models.translation import TranslationTask, TranslationTrainer, build

__all__ = ["KEY", "measure_speed", "speed_table"]

#: Name of the file in the folder of the results.
KEY = "speed"

_HEAD = (
    "| method | links while measured, % | seconds per step | seconds per update | steps/s | times dense (quartiles) |\n"
    "|---|---|---|---|---|---|\n"
)


def measure_speed(
    chosen: Sequence[TranslationCell], task: TranslationTask, results: Results, *, rounds: int = 4, steps: int = 4
) -> None:
    """Measure some cells and write what came out.

    Parameters
    ----------
    chosen : sequence of TranslationCell
        What to measure; the first is what the others are held against.
    task : TranslationTask
        Sentences and tokenizer.
    results : Results
        Gets a file of its own.
    rounds : int
        In every round each cell takes its steps on the same batches as all others, in turn.
    steps : int
        Steps of a cell in a round, the last one with an update of the links.

    Notes
    -----
    The links are those of the beginning of a run. Under methods that bring the density down they are as many as a run
    begins with; towards its end it steps as fast as the others.
    """
    trainers = [_trainer(cell, steps, task) for cell in chosen]
    step_s: list[list[float]] = [[] for _ in chosen]
    update_s: list[list[float]] = [[] for _ in chosen]
    for number in range(rounds + 1):
        for trainer, spans, updates in zip(trainers, step_s, update_s, strict=True):
            records = [trainer.advance() for _ in range(steps)]
            if number:  # the first round meets cold caches
                spans.append(fmean(record.step_cpu_s for record in records))
                updates.append(records[-1].update_cpu_s)
        say(f"round {number} of {rounds}")
    rates = [
        [1.0 / (span + update / cell.run.every) for span, update in zip(spans, updates, strict=True)]
        for cell, spans, updates in zip(chosen, step_s, update_s, strict=True)
    ]
    rows = [
        _row(cell, trainer, rate, rates[0]) | {"step_s": median(spans), "update_s": median(updates)}
        for cell, trainer, rate, spans, updates in zip(chosen, trainers, rates, step_s, update_s, strict=True)
    ]
    setting = {"rounds": rounds, "steps": steps, "cells": [cell.key for cell in chosen]}
    results.write(KEY, {"setting": setting, "threads": chosen[0].threads, "rows": rows, "machine": machine()})


def speed_table(found: Mapping[str, Any]) -> str:
    """Return the section of a page on what `measure_speed` wrote."""
    setting = found["setting"]
    lines = "".join(
        f"| {row['label']} | {100 * row['density']:.3g} | {row['step_s']:.3f} | {row['update_s']:.2f} | "
        f"{row['steps_per_s']:.2f} | {row['ratio']:.2f} ({row['ratio_low']:.2f} – {row['ratio_high']:.2f}) |\n"
        for row in found["rows"]
    )
    return (
        f"## Beside dense, in one run\n\n{setting['rounds']} rounds of {setting['steps']} steps, all methods in turns "
        f"on the same batches; processor time on {found['threads']} thread(s), medians over rounds. Steps per second "
        "count one update every 100 steps, as in the runs. Times dense: steps per second over those of the first row "
        "in the same round. CHTss is measured with the links it begins with; it ends with as many as the others.\n"
        "`python -m sparsecore.bench.papers translation --speed --data-dir DIR`, "
        f"{found['machine']['cpu']}, commit {found['machine']['commit']}.\n\n{_HEAD}{lines}\n"
    )


def _trainer(cell: TranslationCell, steps: int, task: TranslationTask) -> TranslationTrainer:
    run = dataclasses.replace(cell.run, every=steps, rewarm=1)
    warm_up(run, task)
    return build(run, task)


def _row(
    cell: TranslationCell, trainer: TranslationTrainer, rates: Sequence[float], dense: Sequence[float]
) -> dict[str, Any]:
    ratios = sorted(rate / beside for rate, beside in zip(rates, dense, strict=True))
    return {
        "key": cell.key,
        "label": METHODS[cell.run.method][0],
        "density": 1.0 if trainer.evolution is None else trainer.evolution.report().density,
        "steps_per_s": median(rates),
        "ratio": median(ratios),
        "ratio_low": ratios[len(ratios) // 4],
        "ratio_high": ratios[-1 - len(ratios) // 4],
    }
