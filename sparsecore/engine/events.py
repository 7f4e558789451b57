"""Who listens to a training run: files, progress bars, pipes. The trainer itself shows and writes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sparsecore.engine.records import EpochRecord, Summary

if TYPE_CHECKING:
    from sparsecore.engine.trainer import Trainer

__all__ = ["Events"]


class Events(Protocol):
    """Called by `Trainer.run`, always between two training steps, so that the state can be saved."""

    def on_start(self, trainer: Trainer) -> None:
        """Hear that training begins, or goes on after `trainer.epoch` epochs."""
        ...

    def on_epoch(self, trainer: Trainer, record: EpochRecord) -> None:
        """Hear that an epoch has ended, its update included."""
        ...

    def on_end(self, trainer: Trainer, summary: Summary) -> None:
        """Hear that the last epoch has ended."""
        ...
