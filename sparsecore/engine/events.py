"""Who listens to a training run: files, progress bars, pipes. The trainer itself shows and writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from sparsecore.engine.records import EpochRecord, Summary

if TYPE_CHECKING:
    from sparsecore.engine.trainer import Trainer

__all__ = ["Events", "MeasureEvents"]


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


@runtime_checkable
class MeasureEvents(Protocol):
    """What a listener may have besides `Events`, to see the very model that was measured."""

    def on_measured(self, trainer: Trainer, measured: Mapping[str, float | None]) -> None:
        """Hear that an epoch was measured, before the update that may follow.

        Parameters
        ----------
        trainer : Trainer
            Holds the model as it was measured; the epoch is not among its records yet.
        measured : mapping
            ``epoch``, ``train_loss``, ``test_accuracy`` and ``valid_accuracy`` as in `EpochRecord`.
        """
        ...
