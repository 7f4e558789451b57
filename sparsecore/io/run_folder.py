"""The folder of one training run: configuration, metrics, checkpoint, topologies before and after, summary."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsecore.engine.records import EpochRecord, Summary
from sparsecore.engine.trainer import Trainer
from sparsecore.errors import CheckpointError, ConfigError
from sparsecore.io import checkpoint
from sparsecore.nn import sparse_layers
from sparsecore.storage import Topology

__all__ = ["RunFolder"]

_CONFIG, _METRICS, _SUMMARY = "config.json", "metrics.jsonl", "summary.json"
_CHECKPOINT = "checkpoint.safetensors"


class RunFolder:
    """Files of one run; listens to a `Trainer` and writes after every epoch.

    Parameters
    ----------
    path : path
        The folder, made by `create` or by an earlier run.
    keep : int
        Checkpoints to keep, see `sparsecore.io.save`.

    Raises
    ------
    CheckpointError
        If the folder is not that of a run.
    """

    def __init__(self, path: str | os.PathLike[str], *, keep: int = 1) -> None:
        self.path = Path(path)
        self.keep = keep
        if not (self.path / _CONFIG).is_file():
            raise CheckpointError(f"Expected a run folder with {_CONFIG} at {self.path}. Got none.")

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], config: Mapping[str, Any], *, force: bool = False, keep: int = 1
    ) -> RunFolder:
        """Make the folder of a new run and write its configuration.

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

        Raises
        ------
        ConfigError
            If something is there already and `force` is not given, or it is not a run, which is never replaced.
        """
        folder = Path(path)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            if not (folder / _CONFIG).is_file():
                raise ConfigError(f"Expected a new or empty folder. Got {folder}, which holds other things.")
            if not force:
                raise ConfigError(
                    f"Expected a new folder. Got {folder}, which holds a run. Resume it, or replace it with force."
                )
            shutil.rmtree(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"Expected a folder that can be made. Got {folder}: {error.strerror}.") from error
        _write_json(folder / _CONFIG, config)
        return cls(folder, keep=keep)

    @property
    def checkpoint_path(self) -> Path:
        """The file a run is resumed from."""
        return self.path / _CHECKPOINT

    def config(self) -> dict[str, Any]:
        """Return the configuration."""
        return _read_json(self.path / _CONFIG)

    def summary(self) -> dict[str, Any] | None:
        """Return the summary, or ``None`` while the run has not ended."""
        path = self.path / _SUMMARY
        return _read_json(path) if path.is_file() else None

    def metrics(self) -> list[EpochRecord]:
        """Return the records of all epochs written so far."""
        path = self.path / _METRICS
        if not path.is_file():
            return []
        records = []
        for number, line in enumerate(path.read_text().splitlines(), 1):
            try:
                records.append(EpochRecord.from_dict(json.loads(line)))
            except ValueError as error:
                raise CheckpointError(f"Expected JSON in line {number} of {path}. Got {error}.") from error
        return records

    def state(self) -> dict[Any, Any]:
        """Return the training state of the last checkpoint."""
        return checkpoint.load(self.checkpoint_path)

    def topologies(self, when: str) -> dict[str, Topology]:
        """Return the topology of every sparse layer ``"before"`` or ``"after"`` training; empty for a dense model."""
        path = self._topology_path(when)
        stored = checkpoint.load(path) if path.is_file() else {}
        return {name: Topology(part["shape"], part["col_ptr"], part["rows"]) for name, part in stored.items()}

    def on_start(self, trainer: Trainer) -> None:
        """Make the metrics agree with the trainer; note the topologies when nothing is trained yet."""
        # A process killed between checkpoint and metrics leaves a line too few or, after a restored file, too many.
        text = "".join(_line(record) for record in trainer.records)
        _write_text(self.path / _METRICS, text)
        if trainer.epoch == 0:
            self._save_topologies("before", trainer)

    def on_epoch(self, trainer: Trainer, record: EpochRecord) -> None:
        """Write the checkpoint, then the metrics of the epoch."""
        checkpoint.save(self.checkpoint_path, trainer.state_dict(), keep=self.keep)
        with open(self.path / _METRICS, "a", encoding="utf-8") as file:
            file.write(_line(record))

    def on_end(self, trainer: Trainer, summary: Summary) -> None:
        """Write the final topologies and the summary."""
        self._save_topologies("after", trainer)
        self.write_summary(summary)

    def write_summary(self, summary: Summary) -> None:
        """Write the summary."""
        _write_json(self.path / _SUMMARY, summary.as_dict())

    def _topology_path(self, when: str) -> Path:
        return self.path / f"topology_{when}.safetensors"

    def _save_topologies(self, when: str, trainer: Trainer) -> None:
        layers = {name: layer.topology for name, layer in sparse_layers(trainer.model).items()}
        parts = {name: {"shape": t.shape, "col_ptr": t.col_ptr, "rows": t.rows} for name, t in layers.items()}
        if parts:
            checkpoint.save(self._topology_path(when), parts)


def _line(record: EpochRecord) -> str:
    return json.dumps(record.as_dict()) + "\n"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"Expected JSON in {path}. Got: {error}.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"Expected a JSON object in {path}. Got {type(content).__name__}.")
    return content


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    _write_text(path, json.dumps(content, indent=2) + "\n")


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
