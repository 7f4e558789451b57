"""The training loop of the translation experiments: one call, one step; resumable to the bit."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from sparsecore._typing import Int64Array
from sparsecore.errors import CheckpointError, SparseCoreError
from sparsecore.evolution import Evolution
from sparsecore.models.translation.batches import TokenBatches
from sparsecore.models.translation.loss import add_gradients
from sparsecore.models.translation.tokenizer import PAD
from sparsecore.models.translation.transformer import Transformer
from sparsecore.schedules import Schedule

__all__ = ["StepRecord", "TranslationTrainer"]


@dataclass(frozen=True)
class StepRecord:
    """What one step did.

    Attributes
    ----------
    loss : float
        Mean loss per target token, label smoothing included.
    n_target : int
        Tokens it was averaged over.
    step_cpu_s, update_cpu_s : float
        Processor time of the step without, and of the update of the links: what others do meanwhile does not count.
    """

    loss: float
    n_target: int
    step_cpu_s: float
    update_cpu_s: float


class TranslationTrainer:
    """Trains a Transformer on sentence pairs.

    Parameters
    ----------
    model : Transformer
        What is trained.
    optimizer : Optimizer
        Holds its parameters.
    batches : TokenBatches
        Training sentences.
    lr : Schedule
        Learning rate by step; the first step is number 1.
    smoothing : float
        Of the labels.
    evolution : Evolution, optional
        Evolves the links; none for a dense model.
    """

    def __init__(
        self,
        model: Transformer,
        optimizer: torch.optim.Optimizer,
        batches: TokenBatches,
        *,
        lr: Schedule,
        smoothing: float,
        evolution: Evolution | None = None,
    ) -> None:
        self.model, self.optimizer, self.evolution = model, optimizer, evolution
        self._batches, self._lr, self._smoothing = batches, lr, smoothing
        self.step, self.epoch, self._taken = 0, 0, 0
        self._order: list[Int64Array] = batches.epoch(0)

    def advance(self) -> StepRecord:
        """Take one step: forward, backward, optimizer, and an update of the links when it is due."""
        started = time.process_time()
        batch = self._batches.take(self._next_rows())
        counts = batch.target_out != PAD
        features = self.model(batch.source, batch.target_in)[counts]
        targets = batch.target_out[counts]
        loss = add_gradients(features, self.model.embedding.weight, targets, self._smoothing)
        self.step += 1
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr(self.step)
        self.optimizer.step()
        stepped = time.process_time()
        if self.evolution is not None:
            self.evolution.step()
        updated = time.process_time()
        self.optimizer.zero_grad()
        return StepRecord(loss, len(targets), stepped - started, updated - stepped)

    def _next_rows(self) -> Int64Array:
        if self._taken == len(self._order):
            self.epoch, self._taken = self.epoch + 1, 0
            self._order = self._batches.epoch(self.epoch)
        self._taken += 1
        return self._order[self._taken - 1]

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the rest of the run depends on."""
        return {
            "step": self.step,
            "epoch": self.epoch,
            "taken": self._taken,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "evolution": None if self.evolution is None else self.evolution.state_dict(),
            "torch_rng": torch.get_rng_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises
        ------
        CheckpointError
            If the state belongs to another run.
        """
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.evolution is not None:
                self.evolution.load_state_dict(state["evolution"])
            self.step, self.epoch, self._taken = int(state["step"]), int(state["epoch"]), int(state["taken"])
            torch.set_rng_state(state["torch_rng"])
        except (KeyError, TypeError, ValueError, RuntimeError, SparseCoreError) as error:
            raise CheckpointError(f"Expected the state of a translation run like this one. Got: {error}.") from error
        self._order = self._batches.epoch(self.epoch)
