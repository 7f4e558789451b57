"""Evolution inside the Trainer of Lightning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sparsecore.errors import ConfigError
from sparsecore.evolution import Evolution
from sparsecore.evolution.methods import methods
from sparsecore.integrations.numbers import numbers_of

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise ImportError("Expected the lightning library. Got none. Install it with: pip install lightning.") from error

__all__ = ["EvolutionCallback"]


class EvolutionCallback(Callback):
    """Evolves the links of a sparsified `LightningModule`; its checkpoints hold the state of the evolution.

    Updates happen behind the optimizer step that they are due at; accumulated batches are one step. After every update,
    links, density, active neurons, ITOP and overlap go to all loggers of the Trainer.

    Parameters
    ----------
    method : callable or str
        Builds the evolution: ``method(model, optimizer, **options)``, e.g. `sparsecore.CHTs`; or its name, ``"chts"``.
    **options
        For the method.

    Attributes
    ----------
    evolution : Evolution or None
        The evolution, once training has begun.

    Raises
    ------
    ConfigError
        When training begins with a number of optimizers other than one, or without a sparse layer.
    """

    def __init__(self, method: Callable[..., Evolution] | str, **options: Any) -> None:
        self.evolution: Evolution | None = None
        self._method = methods.entry(method).factory if isinstance(method, str) else method
        self._options = options
        self._saved: dict[str, Any] | None = None
        self._steps = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Build the evolution; take up its state if training is resumed."""
        if len(trainer.optimizers) != 1:
            raise ConfigError(f"Expected one optimizer. Got {len(trainer.optimizers)}. Call dst.step() by hand.")
        self.evolution = self._method(pl_module, trainer.optimizers[0], **self._options)
        self._steps = trainer.global_step
        if self._saved is not None:
            self.evolution.load_state_dict(self._saved)
            self._saved = None

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any) -> None:
        """Count the step if the optimizer has made one, and update the links when it is time."""
        if self.evolution is None or trainer.global_step == self._steps:
            return
        self._steps = trainer.global_step
        if self.evolution.step():
            for logger in trainer.loggers:
                logger.log_metrics(numbers_of(self.evolution), step=trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the evolution for a checkpoint."""
        return {} if self.evolution is None else self.evolution.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until model and optimizer are loaded too."""
        self._saved = state_dict or None
