"""The training loop of the image experiments: a plain PyTorch loop, measured and resumable to the bit."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from sparsecore._typing import FloatArray, Int64Array, UInt64Array
from sparsecore.engine.batches import Augmentation, epoch_order, epoch_words
from sparsecore.engine.compiled import CompiledSteps
from sparsecore.engine.events import Events, MeasureEvents
from sparsecore.engine.finite import FiniteSteps
from sparsecore.engine.records import EpochRecord, Summary, summarize
from sparsecore.engine.settings import Dataset, Settings
from sparsecore.errors import CheckpointError, ConfigError, NonFiniteError
from sparsecore.evolution import Evolution
from sparsecore.nn import sparse_layers
from sparsecore.schedules import Schedule

__all__ = ["Trainer"]

_log = logging.getLogger("sparsecore.engine")

# Small, so that evaluating does not decide the peak memory of a sparse run.
_EVALUATION_BATCH = 64

# Samples that are changed at a time for compiled steps: a few megabytes of images.
_AUGMENTED = 2048


class Trainer:
    """Trains a classifier by cross-entropy and keeps the records of its epochs.

    Parameters
    ----------
    model : Module
        Maps (B, n_features) to class scores (B, n_classes).
    optimizer : Optimizer
        Holds the parameters of `model`.
    data : Dataset
        What to train and test on; moved once to the device of the model.
    settings : Settings
        Epochs, batch size, seed.
    lr : Schedule
        Learning rate by step.
    evolution : Evolution, optional
        Evolves the links; a dense model has none.
    augment : Augmentation, optional
        Changes every training sample anew in every epoch; what it does follows from seed, epoch and sample.

    Examples
    --------
    >>> import numpy as np
    >>> from types import SimpleNamespace
    >>> from sparsecore.schedules import Constant
    >>> x, y = np.eye(4, dtype=np.float32), np.arange(4)
    >>> data = SimpleNamespace(train_x=x, train_y=y, test_x=x, test_y=y, valid_x=None, valid_y=None)
    >>> model = torch.nn.Linear(4, 4)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    >>> Trainer(model, optimizer, data, Settings(epochs=20, batch_size=2), lr=Constant(1.0)).run().accuracy_last
    1.0
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        data: Dataset,
        settings: Settings,
        *,
        lr: Schedule,
        evolution: Evolution | None = None,
        augment: Augmentation | None = None,
    ) -> None:
        self.model, self.optimizer, self.evolution = model, optimizer, evolution
        self.settings, self.lr, self._augment = settings, lr, augment
        device = next(model.parameters()).device
        self._train = _tensors(data.train_x, data.train_y, device)
        self._test = _tensors(data.test_x, data.test_y, device)
        self._valid = None
        if data.valid_x is not None and data.valid_y is not None:
            self._valid = _tensors(data.valid_x, data.valid_y, device)
        self.steps_per_epoch = settings.steps_per_epoch(len(self._train[1]))
        self.records: list[EpochRecord] = []
        self._words: UInt64Array | None = None
        self._finite = FiniteSteps(optimizer, settings.non_finite)
        self._witnesses: list[MeasureEvents] = []

    @property
    def epoch(self) -> int:
        """Epochs done so far."""
        return len(self.records)

    @property
    def has_valid_data(self) -> bool:
        """Whether samples are held out."""
        return self._valid is not None

    def run(self, events: Sequence[Events] = (), *, until: int | None = None) -> Summary:
        """Train until the last epoch and return the summary.

        Parameters
        ----------
        events : sequence of Events
            Listeners, called in order; those that have the method of `MeasureEvents` hear of measurements too.
        until : int, optional
            Stop after this many epochs in all, without calling ``on_end``; to be continued later.

        Raises
        ------
        NonFiniteError
            If numbers are no longer finite and `Settings.non_finite` does not mend it.
        """
        self._witnesses = [listener for listener in events if isinstance(listener, MeasureEvents)]
        for listener in events:
            listener.on_start(self)
        last = self.settings.epochs if until is None else min(until, self.settings.epochs)
        while self.epoch < last:
            record = self._epoch()
            for listener in events:
                listener.on_epoch(self, record)
        if not self.records:
            raise ConfigError(f"Expected until >= 1 on a run that has not begun. Got {until}.")
        summary = self.summary()
        if self.epoch == self.settings.epochs:
            for listener in events:
                listener.on_end(self, summary)
        return summary

    def _epoch(self) -> EpochRecord:
        """Train for one epoch. Evaluation comes before the last batch's update, which costs accuracy for a while."""
        order = epoch_order(len(self._train[1]), seed=self.settings.seed, epoch=self.epoch)
        samples = torch.from_numpy(order).to(self._train[1].device)
        self._words = epoch_words(len(order), seed=self.settings.seed, epoch=self.epoch) if self._augment else None
        first = self.epoch * self.steps_per_epoch
        rates = [self.lr(step) for step in range(first, first + self.steps_per_epoch)]
        total, taken, spent = _Loss(), 0, _Seconds()
        self.model.train()
        while taken < len(rates):
            ahead = self.evolution.steps_to_update if self.evolution is not None else None
            n_steps = min(ahead or len(rates), len(rates) - taken)
            chosen = samples[taken * self.settings.batch_size : (taken + n_steps) * self.settings.batch_size]
            with spent.on("training"):
                self._take(total, chosen, rates[taken : taken + n_steps])
            taken += n_steps
            if taken == len(rates):
                train_loss = self._mean(total)
                with spent.on("evaluation"):
                    measured = self._measure()
                self._tell_measured(train_loss, measured)
            if self.evolution is not None:
                with spent.on("evolution"):
                    self._evolve()
            self.optimizer.zero_grad()
        record = EpochRecord(
            epoch=self.epoch + 1,
            step=first + len(rates),
            train_loss=train_loss,
            lr=rates[-1],
            ms_per_step=spent.seconds["training"] * 1000 / len(rates),
            evolution_ms=spent.seconds["evolution"] * 1000,
            elapsed_s=sum(spent.seconds.values()) + (self.records[-1].elapsed_s if self.records else 0.0),
            **measured,
        )
        self.records.append(record)
        return record

    def _take(self, total: _Loss, samples: torch.Tensor, rates: Sequence[float]) -> None:
        """Take one step per rate, evolution counts all but the last; losses go to `total`.

        Compiled as far as possible; the steps whose gradients the rule reads in a plain loop.
        """
        n, batch, evolution = self._n_free(len(rates)), self.settings.batch_size, self.evolution
        compiled = CompiledSteps.of(self.model, self.optimizer) if self.settings.compiled and n else None
        if compiled is None:
            n = 0
        else:
            done = self._run_compiled(compiled, total, samples[: n * batch], rates[:n])
            if evolution is not None:
                evolution.advance(min(done, len(rates) - 1))
            if done < n:
                self._refuse(math.nan)
            n = done
        if n < len(rates):
            self._take_in_python(total, samples[n * batch :], rates[n:])

    def _run_compiled(
        self, compiled: CompiledSteps, total: _Loss, samples: torch.Tensor, rates: Sequence[float]
    ) -> int:
        """Take one step per rate; samples that are to be changed are, some steps ahead.

        Returns the steps taken: those before a call that met numbers that are not finite.
        """
        batch, (inputs, classes) = self.settings.batch_size, self._train
        n = len(rates) if self._augment is None else max(1, _AUGMENTED // batch)
        for low in range(0, len(rates), n):
            chosen, ahead = samples[low * batch : (low + n) * batch], rates[low : low + n]
            if self._augment is None:
                loss = compiled.run(inputs, classes, chosen, batch, ahead)
            else:
                loss = compiled.run(self._inputs(chosen), classes[chosen], torch.arange(len(chosen)), batch, ahead)
            if not math.isfinite(loss):
                return low
            total.add(loss, len(chosen))
        return len(rates)

    def _inputs(self, samples: torch.Tensor) -> torch.Tensor:
        """Return the inputs of training samples in this epoch."""
        inputs = self._train[0].index_select(0, samples)
        if self._augment is None or self._words is None:
            return inputs
        changed = self._augment(inputs.cpu().numpy(), self._words[samples.cpu().numpy()])
        return torch.from_numpy(changed).to(inputs.device)

    def _n_free(self, n_steps: int) -> int:
        """Return how many of the next steps nobody has to see one by one."""
        free = None if self.evolution is None else self.evolution.free_steps
        return n_steps if free is None else min(n_steps, free)

    def _take_in_python(self, total: _Loss, samples: torch.Tensor, rates: Sequence[float]) -> None:
        """Take one step per rate in a plain loop; evolution counts all but the last. Losses go to `total`.

        The gradients of the last step stay, for rules that read them.
        """
        model, optimizer, classes = self.model, self.optimizer, self._train[1]
        unchecked = self.settings.non_finite == "raise"  # the losses tell at the end, and the device never waits
        batches = samples.split(self.settings.batch_size)
        losses: list[torch.Tensor] = []
        for rate, batch in zip(rates, batches, strict=True):
            if losses:
                self._evolve()
                optimizer.zero_grad()
            for group in optimizer.param_groups:
                group["lr"] = rate
            scores = model(self._inputs(batch))
            loss = nn.functional.cross_entropy(scores, classes.index_select(0, batch))
            loss.backward()
            if unchecked:
                optimizer.step()
            else:
                self._finite.step(loss)
            losses.append(loss.detach())
        sizes = torch.tensor([len(batch) for batch in batches], dtype=torch.float64)
        found = torch.stack(losses).double().cpu()
        whole = torch.isfinite(found)
        if not whole.all():
            self._refuse(float(found[~whole][0]))
        self._finite.require_values()
        total.add(float((found * sizes)[whole].sum()), int(sizes[whole].sum()))

    def _evolve(self) -> None:
        """Count a step and update the links if it is time, unless what the update reads is not finite."""
        if self.evolution is None:
            return
        try:
            self.evolution.step()
        except NonFiniteError as error:
            if self.settings.non_finite == "raise":
                raise
            _log.warning("left out an update of the links: %s", error)

    def _refuse(self, loss: float) -> None:
        if self.settings.non_finite == "raise":
            raise NonFiniteError(
                f"Expected a finite loss and values in epoch {self.epoch + 1}. Got {loss}. "
                "Lower the learning rate, or set non_finite to 'skip' or 'clip'."
            )

    def _mean(self, total: _Loss) -> float:
        if not total.samples:
            raise NonFiniteError(
                f"Expected a finite loss in epoch {self.epoch + 1}. Got none. Lower the learning rate."
            )
        return total.sum / total.samples

    def _tell_measured(self, train_loss: float, measured: Mapping[str, Any]) -> None:
        told = {"epoch": self.epoch + 1, "train_loss": train_loss}
        told |= {name: measured[name] for name in ("test_accuracy", "valid_accuracy")}
        for witness in self._witnesses:
            witness.on_measured(self, told)

    def _measure(self) -> dict[str, Any]:
        measured: dict[str, Any] = {
            "test_accuracy": self._accuracy(*self._test),
            "valid_accuracy": None if self._valid is None else self._accuracy(*self._valid),
        }
        if self.evolution is None:
            weights = [module.weight.numel() for module in self.model.modules() if isinstance(module, nn.Linear)]
            full = (1.0,) * (len(weights) - 1)
            return measured | {
                "links": sum(weights[:-1]), "density": 1.0, "densities": full, "anp": 1.0, "itop": 1.0, "overlap": 0.0,
                "updates": 0, "mean_density": 1.0,
            }  # fmt: skip
        report = self.evolution.report()
        return measured | {
            "links": report.n_links,
            "density": report.density,
            "densities": tuple(layer.density for layer in report.layers),
            "anp": report.anp,
            "itop": report.itop,
            "overlap": report.overlap,
            "updates": report.updates,
            "mean_density": report.mean_density,
        }

    @torch.no_grad()
    def _accuracy(self, inputs: torch.Tensor, classes: torch.Tensor) -> float:
        self.model.eval()
        parts = zip(inputs.split(_EVALUATION_BATCH), classes.split(_EVALUATION_BATCH), strict=True)
        right = sum((self.model(x).argmax(1) == y).sum() for x, y in parts)
        self.model.train()
        return float(right) / len(classes)

    def summary(self) -> Summary:
        """Return the summary of the epochs so far."""
        return summarize(
            self.records,
            weight_bytes=sum(p.numel() * p.element_size() for p in self.model.parameters()),
            index_bytes=sum(layer.topology.nbytes for layer in sparse_layers(self.model).values()),
            state_bytes=sum(
                entry.numel() * entry.element_size()
                for state in self.optimizer.state.values()
                for entry in state.values()
                if isinstance(entry, torch.Tensor)
            ),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a run continues from; tensors are the live ones, so save it at once."""
        return {
            "settings": dataclasses.asdict(self.settings),
            "records": [record.as_dict() for record in self.records],
            "model": dict(self.model.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "evolution": None if self.evolution is None else self.evolution.state_dict(),
            "torch_rng": torch.get_rng_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`: the following losses and links are those of a run that was never interrupted.

        Raises
        ------
        CheckpointError
            If the state is incomplete or belongs to another model or other settings; nothing has changed then.
        """
        expected = {"settings", "records", "model", "optimizer", "evolution", "torch_rng"}
        if not expected <= state.keys():
            raise CheckpointError(f"Expected a training state with {sorted(expected)}. Got {sorted(state, key=str)}.")
        mine = dataclasses.asdict(self.settings)
        theirs = state["settings"]
        # The policy was not written down before it was an option.
        if not isinstance(theirs, Mapping) or {"non_finite": "raise", **theirs} != mine:
            raise CheckpointError(f"Expected a training state with settings {mine}. Got {state['settings']}.")
        if (state["evolution"] is None) != (self.evolution is None):
            raise CheckpointError("Expected evolution state exactly if the model is sparse. Got the other.")
        before = copy.deepcopy(self.state_dict())
        try:
            self._restore(state)
        except Exception as error:
            self._restore(before)
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"Expected the training state of this model. Got another: {error}") from error

    def _restore(self, state: Mapping[str, Any]) -> None:
        records = [EpochRecord.from_dict(record) for record in state["records"]]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.evolution is not None:
            self.evolution.load_state_dict(state["evolution"])
        torch.set_rng_state(state["torch_rng"])
        self.records = records


class _Loss:
    """Sum of finite losses and the samples they are of."""

    def __init__(self) -> None:
        self.sum, self.samples = 0.0, 0

    def add(self, loss: float, samples: int) -> None:
        self.sum += loss
        self.samples += samples


class _Seconds:
    """Wall time by purpose."""

    def __init__(self) -> None:
        self.seconds = {"training": 0.0, "evaluation": 0.0, "evolution": 0.0}

    @contextlib.contextmanager
    def on(self, purpose: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[purpose] += time.perf_counter() - started


def _tensors(x: FloatArray, y: Int64Array, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    if len(x) != len(y) or len(y) == 0:
        raise ConfigError(f"Expected as many samples as classes, at least one. Got {len(x)} and {len(y)}.")
    return torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)
