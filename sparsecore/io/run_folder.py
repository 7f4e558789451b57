"""The folder of one training run: configuration, metrics, checkpoints, topologies before and after, summary."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from sparsecore.engine.records import EpochRecord, Summary
from sparsecore.engine.trainer import Trainer
from sparsecore.errors import (
    CheckpointError,
    ConfigError,
    ShapeError,
    TopologyError,
    UnknownNameError,
    check_count,
)
from sparsecore.io import checkpoint
from sparsecore.nn import sparse_layers
from sparsecore.storage import Topology

__all__ = ["RunFolder"]

_CONFIG, _METRICS, _SUMMARY = "config.json", "metrics.jsonl", "summary.json"
_CHECKPOINT, _BEST = "checkpoint.safetensors", "best.safetensors"

#: Key beside the configuration in config.json, which programs of others write too: what tells that a folder is a run.
_MARK = "sparsecore_run"

#: What the best model can be chosen by: the field of an epoch's record, and 1 if more is better, else -1.
_METRIC_SIGNS = {"valid_accuracy": 1, "test_accuracy": 1, "train_loss": -1}


class RunFolder:
    """Files of one run; listens to a `Trainer` and writes after every epoch.

    Parameters
    ----------
    path : path
        The folder, made by `create` or by an earlier run.
    keep : int
        Checkpoints to keep, see `sparsecore.io.save`.
    best : str, optional
        Metric by which the best model is kept too: ``"valid_accuracy"``, ``"train_loss"``, or ``"test_accuracy"``,
        which flatters because the test set chooses. ``best.safetensors`` holds the model as it was measured, before the
        update that may have followed; it is replaced by a better one alone, whatever `keep` says.

    Raises
    ------
    CheckpointError
        If the folder is not that of a run.
    ConfigError
        If there is no such metric.
    """

    #: What the best model can be chosen by.
    METRICS: ClassVar[tuple[str, ...]] = tuple(_METRIC_SIGNS)

    def __init__(self, path: str | os.PathLike[str], *, keep: int = 1, best: str | None = None) -> None:
        _check_options(keep, best)
        self.path, self.keep = Path(path), int(keep)
        self._metric, self._best = best, -math.inf
        if not (self.path / _CONFIG).is_file():
            raise CheckpointError(f"Expected a run folder with {_CONFIG} at {self.path}. Got none.")

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        config: Mapping[str, Any],
        *,
        force: bool = False,
        keep: int = 1,
        best: str | None = None,
    ) -> RunFolder:
        """Make the folder of a new run and write its configuration; nothing is replaced before all is checked.

        Parameters
        ----------
        path : path
            Where; parents are made.
        config : mapping
            Plain values that build the run again.
        force : bool
            Replace a run that is already there.
        keep : int
            Checkpoints to keep.
        best : str, optional
            Metric by which the best model is kept.

        Raises
        ------
        ConfigError
            As `require_new` does, or if an option or the configuration cannot work.
        """
        folder = Path(path)
        _check_options(keep, best)
        try:
            text = _as_json({**config, _MARK: 1})
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(
                f"Expected a configuration of plain values. Got one that JSON cannot hold: {error}. "
                "Give numbers, text, lists and mappings of them."
            ) from error
        cls.require_new(folder, force=force)
        if folder.is_dir() and any(folder.iterdir()):
            shutil.rmtree(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"Expected a folder that can be made. Got {folder}: {error.strerror}.") from error
        _write_text(folder / _CONFIG, text)
        return cls(folder, keep=keep, best=best)

    @staticmethod
    def require_new(path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Raise unless a run can begin in a folder: nothing is there, or a run that `force` may replace.

        Raises
        ------
        ConfigError
            If something is there already and `force` is not given, or it is not a run, which is never replaced.
        """
        folder = Path(path)
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
        if not _holds_run(folder):
            raise ConfigError(
                f"Expected a new or empty folder. Got {folder}, which holds other things. Choose another folder."
            )
        if not force:
            raise ConfigError(
                f"Expected a new folder. Got {folder}, which holds a run. Resume it, or replace it with force."
            )

    @property
    def checkpoint_path(self) -> Path:
        """The file a run is resumed from."""
        return self.path / _CHECKPOINT

    @property
    def best_path(self) -> Path:
        """The file of the best model."""
        return self.path / _BEST

    def config(self) -> dict[str, Any]:
        """Return the configuration."""
        return {name: value for name, value in _read_json(self.path / _CONFIG).items() if name != _MARK}

    def summary(self) -> dict[str, Any] | None:
        """Return the summary, or ``None`` while the run has not ended."""
        path = self.path / _SUMMARY
        return _read_json(path) if path.is_file() else None

    def metrics(self) -> list[EpochRecord]:
        """Return the records of all epochs written so far."""
        path = self.path / _METRICS
        if not path.is_file():
            return []
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise CheckpointError(f"Expected lines of text in {path}. Got: {error}.") from error
        records = []
        for number, line in enumerate(lines, 1):
            try:
                records.append(EpochRecord.from_dict(json.loads(line)))
            except (ValueError, RecursionError) as error:
                raise CheckpointError(f"Expected JSON in line {number} of {path}. Got {error}.") from error
        return records

    def state(self) -> dict[Any, Any]:
        """Return the training state of the last checkpoint."""
        return checkpoint.load(self.checkpoint_path)

    def best(self) -> dict[Any, Any]:
        """Return ``metric``, its ``value``, the ``epoch`` and the state of the ``model`` that was best so far."""
        return checkpoint.load(self.best_path)

    def topologies(self, when: str) -> dict[str, Topology]:
        """Return the topology of every sparse layer ``"before"`` or ``"after"`` training; empty for a dense model."""
        path = self._topology_path(when)
        stored = checkpoint.load(path) if path.is_file() else {}
        try:
            return {name: Topology(part["shape"], part["col_ptr"], part["rows"]) for name, part in stored.items()}
        except (KeyError, TypeError, TopologyError, ShapeError) as error:
            raise CheckpointError(f"Expected the topologies of a run in {path}. Got others: {error}") from error

    def on_start(self, trainer: Trainer) -> None:
        """Remove what a killed process left, make the metrics agree with the trainer, note the first topologies.

        Raises
        ------
        ConfigError
            If the best model is wanted by held-out accuracy and nothing is held out, or was kept by another metric.
        """
        self._tidy()
        self._recall_best(trainer)
        # A process killed between checkpoint and metrics leaves a line too few or, after a restored file, too many.
        text = "".join(_line(record) for record in trainer.records)
        _write_text(self.path / _METRICS, text)
        if trainer.epoch == 0:
            self._save_topologies("before", trainer)

    def on_measured(self, trainer: Trainer, measured: Mapping[str, float | None]) -> None:
        """Write the model if it is the best so far."""
        value = None if self._metric is None else measured[self._metric]
        if self._metric is None or value is None or _METRIC_SIGNS[self._metric] * value <= self._best:
            return
        found = {"metric": self._metric, "value": value, "epoch": measured["epoch"]}
        checkpoint.save(self.best_path, {**found, "model": dict(trainer.model.state_dict())})
        self._best = _METRIC_SIGNS[self._metric] * value

    def on_epoch(self, trainer: Trainer, record: EpochRecord) -> None:
        """Write the checkpoint, then the metrics of the epoch."""
        checkpoint.save(self.checkpoint_path, trainer.state_dict(), keep=self.keep)
        with _writing(self.path / _METRICS), open(self.path / _METRICS, "a", encoding="utf-8") as file:
            file.write(_line(record))

    def on_end(self, trainer: Trainer, summary: Summary) -> None:
        """Write the final topologies and the summary."""
        self._save_topologies("after", trainer)
        self.write_summary(summary)

    def write_summary(self, summary: Summary) -> None:
        """Write the summary."""
        _write_json(self.path / _SUMMARY, summary.as_dict())

    def _tidy(self) -> None:
        for path in (self.checkpoint_path, self.best_path, *map(self._topology_path, ("before", "after"))):
            checkpoint.tidy(path)
        for name in (_CONFIG, _METRICS, _SUMMARY):
            _temporary(self.path / name).unlink(missing_ok=True)

    def _recall_best(self, trainer: Trainer) -> None:
        """Find out how good the best model so far is, which an earlier process may have written."""
        if self._metric is None:
            return
        if self._metric == "valid_accuracy" and not trainer.has_valid_data:
            raise ConfigError("Expected held-out samples to choose the best model by. Got none. Set some apart.")
        self._best = -math.inf
        if trainer.epoch and self.best_path.is_file():
            known = self.best()
            value = known.get("value")
            if known.get("metric") != self._metric or not isinstance(value, float):
                raise ConfigError(
                    f"Expected the metric {known.get('metric')!r} of {self.best_path}. Got {self._metric!r}."
                )
            self._best = _METRIC_SIGNS[self._metric] * value

    def _topology_path(self, when: str) -> Path:
        return self.path / f"topology_{when}.safetensors"

    def _save_topologies(self, when: str, trainer: Trainer) -> None:
        layers = {name: layer.topology for name, layer in sparse_layers(trainer.model).items()}
        parts = {name: {"shape": t.shape, "col_ptr": t.col_ptr, "rows": t.rows} for name, t in layers.items()}
        if parts:
            checkpoint.save(self._topology_path(when), parts)


def _check_options(keep: int, best: str | None) -> None:
    check_count("keep", keep, "how many checkpoint files stay on disk", low=1)
    if best is not None and best not in _METRIC_SIGNS:
        raise UnknownNameError("metric", best, _METRIC_SIGNS)


def _holds_run(folder: Path) -> bool:
    """Tell whether the configuration in a folder is that of a run; those of versions without the mark name theirs."""
    try:
        content = _read_json(folder / _CONFIG)
    except CheckpointError:
        return False
    versions = content.get("versions")
    return _MARK in content or (isinstance(versions, dict) and "sparsecore" in versions)


def _line(record: EpochRecord) -> str:
    return json.dumps(record.as_dict()) + "\n"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"Expected JSON in {path}. Got: {error}.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"Expected a JSON object in {path}. Got {type(content).__name__}.")
    return content


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    _write_text(path, _as_json(content))


def _as_json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"


def _write_text(path: Path, text: str) -> None:
    temporary = _temporary(path)
    with _writing(path):
        try:
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"Expected to write {path}. Got: {error}. Check folder and free space.") from error
