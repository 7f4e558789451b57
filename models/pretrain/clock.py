"""Processor time of training steps."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from transformers import TrainerCallback

from sparsecore.models.timing import typical_total

__all__ = ["StepClock"]


class StepClock(TrainerCallback):
    """Measures the processor time of steps; evaluations and checkpoints are not counted."""

    def __init__(self) -> None:
        self.steps_s: list[float] = []
        self.updates_s: list[float] = []
        self._begun = self._updating = 0.0

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self._begun = time.process_time()

    def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Note when the optimizer begins."""
        self._updating = time.process_time()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Stop the clock."""
        now = time.process_time()
        self.steps_s.append(now - self._begun)
        self.updates_s.append(now - self._updating)

    def steps_per_s(self, every: int) -> float:
        """Return steps per second of processor time.

        Of every `every` steps the median counts, so that a density that falls shows and a busy moment does not; updates
        add the median of what they take longer.
        """
        update = [took for step, took in enumerate(self.updates_s, 1) if step % every == 0]
        plain = [took for step, took in enumerate(self.updates_s, 1) if step % every]
        extra = max(0.0, median(update) - median(plain)) / every if update and plain else 0.0
        return 1.0 / (typical_total(self.steps_s, every) / len(self.steps_s) + extra)
