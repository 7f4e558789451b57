from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsecore.engine import EpochRecord, Settings, Summary, Trainer
from sparsecore.errors import CheckpointError, ConfigError
from sparsecore.evolution import SET
from sparsecore.io import RunFolder
from sparsecore.models.data import ImageData
from sparsecore.models.mlp import MLP
from sparsecore.nn import sparse_layers
from sparsecore.schedules import Constant


def trainer() -> Trainer:
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((40, 8)).astype(np.float32), np.arange(40) % 2
    model = MLP(8, (12, 12), 2, density=0.3, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    evolution = SET(model, optimizer, every=3, zeta=0.3)
    data = ImageData("noise", x, y, x, y, 2, (0.0,), (1.0,))
    return Trainer(model, optimizer, data, Settings(epochs=4, batch_size=10), lr=Constant(0.1), evolution=evolution)


class StopError(Exception):
    pass


class StopAt:
    """Ends the run after an epoch, before or after the files of that epoch are written."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_start(self, trainer: Trainer) -> None: ...

    def on_epoch(self, trainer: Trainer, record: EpochRecord) -> None:
        if record.epoch == self.epoch:
            raise StopError

    def on_end(self, trainer: Trainer, summary: Summary) -> None: ...


def test_a_finished_run_has_every_file_and_reads_back(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "a" / "run", {"x": 1})
    run = trainer()
    first = {name: layer.topology for name, layer in sparse_layers(run.model).items()}
    summary = run.run([folder])
    names = {"config.json", "metrics.jsonl", "checkpoint.safetensors", "summary.json"}
    assert {p.name for p in folder.path.iterdir()} == names | {f"topology_{w}.safetensors" for w in ("before", "after")}
    back = RunFolder(folder.path)
    assert back.config() == {"x": 1}
    assert back.metrics() == run.records
    assert back.summary() == json.loads(json.dumps(summary.as_dict()))
    assert back.topologies("before") == first
    assert back.topologies("after") == {name: layer.topology for name, layer in sparse_layers(run.model).items()}


@pytest.mark.parametrize("lost", ["before the files", "after the files"])
def test_metrics_agree_with_the_checkpoint_after_any_break(tmp_path: Path, lost: str) -> None:
    folder = RunFolder.create(tmp_path / "run", {})
    listeners = [StopAt(3), folder] if lost == "before the files" else [folder, StopAt(3)]
    with pytest.raises(StopError):
        trainer().run(listeners)
    metrics = folder.path / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"a line": "half wri')
    second = trainer()
    second.load_state_dict(folder.state())
    second.run([folder])
    whole = trainer()
    whole.run()
    assert [record.epoch for record in folder.metrics()] == [1, 2, 3, 4]
    assert [record.train_loss for record in folder.metrics()] == [record.train_loss for record in whole.records]


def test_a_run_is_only_replaced_when_told_to(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", {"n": 1})
    with pytest.raises(ConfigError, match="holds a run"):
        RunFolder.create(tmp_path / "run", {"n": 2})
    assert RunFolder.create(tmp_path / "run", {"n": 2}, force=True).config() == {"n": 2}


def test_a_folder_with_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for force in (False, True):
        with pytest.raises(ConfigError, match="other things"):
            RunFolder.create(tmp_path, {}, force=force)
    with pytest.raises(ConfigError, match="other things"):
        RunFolder.create(tmp_path / "thesis.tex", {}, force=True)
    with pytest.raises(ConfigError, match="can be made"):
        RunFolder.create(tmp_path / "thesis.tex" / "run", {})
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    assert RunFolder.create(tmp_path, {}).metrics() == []


def test_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json"):
        RunFolder(tmp_path)
    folder = RunFolder.create(tmp_path, {})
    with pytest.raises(CheckpointError, match="no such file"):
        folder.state()
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n')
    with pytest.raises(CheckpointError, match="record of an epoch"):
        folder.metrics()
    (tmp_path / "metrics.jsonl").write_text("{")
    with pytest.raises(CheckpointError, match="line 1"):
        folder.metrics()
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="JSON object"):
        folder.config()
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        folder.config()
