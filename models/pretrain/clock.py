"""Processor time of training steps, and a mark that a checkpoint is whole."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

__all__ = ["StepClock", "WholeMark", "last_whole"]

_MARK = "whole"


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
        """Return steps per second of processor time: the median step, and the median update over `every` steps."""
        update = [took for step, took in enumerate(self.updates_s, 1) if step % every == 0]
        plain = [took for step, took in enumerate(self.updates_s, 1) if step % every]
        extra = max(0.0, median(update) - median(plain)) / every if update and plain else 0.0
        return 1.0 / (median(self.steps_s) + extra)


class WholeMark(TrainerCallback):
    """Marks a checkpoint when everything is in it; add it behind all callbacks that save."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Put the mark into the folder of the checkpoint."""
        if state.is_world_process_zero:
            Path(str(args.output_dir), f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}", _MARK).touch()


def last_whole(folder: Path) -> Path | None:
    """Return the newest checkpoint with a mark: a process may have died while it wrote a later one."""
    found = [path.parent for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*/{_MARK}")]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
