"""Trains one cell, in pieces if need be, and returns its result as plain values."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean, median
from typing import Any

from sparsecore.bench.machine import machine
from sparsecore.bench.papers.process import Clock, StoppedError
from sparsecore.bench.papers.translation.cells import TranslationCell
from sparsecore.bench.papers.translation.memory import peak_bytes, warm_up
from sparsecore.bench.papers.work import checkpoint_of
from sparsecore.io import save
from sparsecore.models.timing import typical_total
from sparsecore.models.translation import (
    TokenBatches,
    TranslationTask,
    TranslationTrainer,
    bleu,
    build,
    token_loss,
    translate,
)

__all__ = ["train"]

#: Seconds between checkpoints.
_CHECKPOINT_S = 180.0

#: Steps between entries of the loss curve, and between evaluations.
_POINT, _VALID = 100, 500

#: Tokens of a batch in evaluation.
_EVALUATION_TOKENS = 2048


def train(cell: TranslationCell, task: TranslationTask, checkpoint: Path, stop: Callable[[], bool]) -> dict[str, Any]:
    """Return the result of a cell, going on after its checkpoint if there is one that fits.

    Parameters
    ----------
    cell : TranslationCell
        What to train.
    task : TranslationTask
        Sentences and tokenizer.
    checkpoint : Path
        File to resume from; its folder must exist.
    stop : callable
        Asked after every step.

    Raises
    ------
    StoppedError
        If `stop` said so; the checkpoint holds what is done.
    """
    session = _Session(cell, task, checkpoint)
    session.train(stop)
    return session.result()


class _Session:
    """One stretch of a run between its start or checkpoint and its end or the next checkpoint."""

    def __init__(self, cell: TranslationCell, task: TranslationTask, checkpoint: Path) -> None:
        self.cell, self.task, self.run, self._path = cell, task, cell.run, checkpoint
        state = checkpoint_of(checkpoint, self._setting())
        warm_up(self.run, task)
        self.peak: int = state.get("peak") or peak_bytes(self.run, task)
        self.trainer: TranslationTrainer = build(self.run, task)
        if state:
            self.trainer.load_state_dict(state["trainer"])
        self.clock = Clock(state.get("clock", {}))
        self.steps: dict[str, list[float]] = state.get("steps", {"loss": [], "step_cpu_s": [], "update_cpu_s": []})
        self.valid: dict[str, float] = state.get("valid", {})
        self._valid_batches = TokenBatches(task.encoded["valid"], _EVALUATION_TOKENS, 0)
        self._saved = time.monotonic()

    def train(self, stop: Callable[[], bool]) -> None:
        """Take all steps that are left."""
        while self.trainer.step < self.run.steps:
            record = self.trainer.advance()
            for name, values in self.steps.items():
                values.append(getattr(record, name))
            step = self.trainer.step
            if step % _VALID == 0 or step == self.run.steps:
                self.valid[str(step)] = token_loss(self.trainer.model, self._valid_batches)
            stopping = step < self.run.steps and stop()
            if stopping or time.monotonic() - self._saved > _CHECKPOINT_S:
                self._save()
            if stopping:
                raise StoppedError

    def result(self) -> dict[str, Any]:
        """Translate and return everything about the finished run."""
        begun = time.perf_counter()
        texts = {part: translate(self.trainer.model, self.task.tokenizer, self.task.pairs[part].source) for part in
                 ("valid", "test")}  # fmt: skip
        translated_s = time.perf_counter() - begun
        scores = {part: bleu(found, self.task.pairs[part].target) for part, found in texts.items()}
        test = TokenBatches(self.task.encoded["test"], _EVALUATION_TOKENS, 0)
        valid_loss = self.valid[str(self.run.steps)]
        summary = {
            "valid_bleu": scores["valid"].score,
            "test_bleu": scores["test"].score,
            "signature": scores["test"].signature,
            "valid_loss": valid_loss,
            "valid_perplexity": math.exp(valid_loss),
            "test_loss": token_loss(self.trainer.model, test),
            "weights": sum(parameter.numel() for parameter in self.trainer.model.parameters()),
            "steps": self.trainer.step,
            **_links(self.trainer),
            **_times(self.steps, self.run.every),
            "translation_s": translated_s,
            "peak_memory_bytes": self.peak,
            **self.clock.read(),
        }
        tokenizer = hashlib.sha256(self.task.tokenizer.to_json().encode()).hexdigest()
        return {
            "setting": self.cell.setting,
            "label": self.cell.label,
            "threads": self.run.threads,
            "tokenizer": {"tokens": self.task.tokenizer.n_tokens, "sha256": tokenizer},
            "summary": summary,
            "curve": self._curve(),
            "layers": _layers(self.trainer),
            "examples": [
                {"source": source, "reference": reference, "translation": found}
                for source, reference, found in zip(
                    self.task.pairs["test"].source[:5], self.task.pairs["test"].target[:5], texts["test"], strict=False
                )
            ],
            "translations": texts["test"],
            "machine": machine(),
        }

    def _setting(self) -> dict[str, Any]:
        """Return what a checkpoint must agree in: threads too, because they decide the last bits."""
        return {**self.cell.setting, "threads": self.run.threads}

    def _save(self) -> None:
        parts = {"steps": self.steps, "valid": self.valid, "peak": self.peak}
        save(
            self._path,
            {"trainer": self.trainer.state_dict(), "setting": self._setting(), "clock": self.clock.read(), **parts},
        )
        self._saved = time.monotonic()

    def _curve(self) -> dict[str, Any]:
        losses = self.steps["loss"]
        return {
            "every_steps": _POINT,
            "train_loss": [round(fmean(losses[at : at + _POINT]), 4) for at in range(0, len(losses), _POINT)],
            "valid_steps": [int(step) for step in self.valid],
            "valid_loss": [round(loss, 4) for loss in self.valid.values()],
        }


def _times(steps: Mapping[str, list[float]], every: int) -> dict[str, float]:
    """Return processor time of steps and updates, by the medians of windows."""
    spans, updates = steps["step_cpu_s"], steps["update_cpu_s"][every - 1 :: every]
    training = typical_total(spans, _POINT)
    evolving = len(updates) * median(updates or [0.0])
    return {
        "steps_per_s": len(spans) / (training + evolving),
        "steps_cpu_s": training,
        "updates_cpu_s": evolving,
        "last_steps_per_s": 1.0 / median(spans[-_POINT:]),
    }


def _links(trainer: TranslationTrainer) -> dict[str, Any]:
    if trainer.evolution is None:
        return {}
    report = trainer.evolution.report()
    return {
        "updates": report.updates,
        "links": report.n_links,
        "density": report.density,
        "mean_density": report.mean_density,
        "anp": report.anp,
        "itop": report.itop,
        "overlap": report.overlap,
    }


def _layers(trainer: TranslationTrainer) -> list[dict[str, Any]]:
    if trainer.evolution is None:
        return []
    return [
        {
            "name": layer.name,
            "shape": list(layer.shape),
            "links": layer.n_links,
            "active_in": round(layer.active_in, 4),
            "active_out": round(layer.active_out, 4),
            "itop": round(layer.itop, 4),
            "overlap": round(layer.overlap, 4),
        }
        for layer in trainer.evolution.report().layers
    ]
