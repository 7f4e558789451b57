"""Processor time of training steps."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sparsecore.models.timing import typical_total

__all__ = ["StepClock"]


class StepClock(TrainerCallback):
    """Measures the processor time of steps; evaluations and checkpoints are not counted.

    Parameters
    ----------
    every : int
        Steps between updates of the links, counted from the first step of the run, also where this process resumed it.

    Attributes
    ----------
    steps_s, updates_s : list of float
        Of every step: the time of all, and that from the optimizer on.
    has_update : list of bool
        Whether the links were updated in a step; behind the last one of a run they are not.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.steps_s: list[float] = []
        self.updates_s: list[float] = []
        self.has_update: list[bool] = []
        self._begun = self._updating = 0.0

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self._begun = time.process_time()

    def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Note when the optimizer begins."""
        self._updating = time.process_time()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop the clock."""
        now = time.process_time()
        self.steps_s.append(now - self._begun)
        self.updates_s.append(now - self._updating)
        self.has_update.append(state.global_step % self.every == 0 and state.global_step < state.max_steps)

    def steps_per_s(self) -> float:
        """Return steps per second of processor time.

        Of every `every` steps the median counts, so that a density that falls shows and a busy moment does not; updates
        add the median of what they take longer.
        """
        timed = list(zip(self.updates_s, self.has_update, strict=True))
        update = [took for took, has_update in timed if has_update]
        plain = [took for took, has_update in timed if not has_update]
        extra = max(0.0, median(update) - median(plain)) / self.every if update and plain else 0.0
        return 1.0 / (typical_total(self.steps_s, self.every) / len(self.steps_s) + extra)
