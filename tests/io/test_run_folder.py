from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparsecore.engine import EpochRecord, Settings, Summary, Trainer
from sparsecore.errors import CheckpointError, ConfigError, UnknownNameError
from sparsecore.evolution import SET
from sparsecore.io import RunFolder
from sparsecore.models.data import ImageData
from sparsecore.models.mlp import MLP
from sparsecore.nn import sparse_layers
from sparsecore.schedules import Constant


def trainer(*, held_out: bool = False, epochs: int = 4) -> Trainer:
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((40, 8)).astype(np.float32), np.arange(40) % 2
    model = MLP(8, (12, 12), 2, density=0.3, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    evolution = SET(model, optimizer, every=3, zeta=0.3)
    data = ImageData("noise", x, y, x, y, 2, (0.0,), (1.0,), *((x[:15], y[:15]) if held_out else (None, None)))
    settings = Settings(epochs=epochs, batch_size=10)
    return Trainer(model, optimizer, data, settings, lr=Constant(0.1), evolution=evolution)


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


@pytest.mark.parametrize("content", ['{"model_type": "llama"}', '{"versions": "1.0"}', "[]", "{", ""])
def test_a_configuration_of_another_program_is_no_run(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    (tmp_path / "model.safetensors").write_text("weights")
    with pytest.raises(ConfigError, match="other things"):
        RunFolder.create(tmp_path, {}, force=True)
    assert (tmp_path / "model.safetensors").read_text() == "weights"


def test_a_run_of_a_version_before_the_mark_can_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"run": {}, "versions": {"sparsecore": "0.1"}}')
    assert RunFolder.create(tmp_path, {"n": 2}, force=True).config() == {"n": 2}


@pytest.mark.parametrize(
    ("config", "options", "error"),
    [
        ({"data_dir": Path("x")}, {}, ConfigError),
        ({"n": 2}, {"best": "valid_acuracy"}, UnknownNameError),
        ({"n": 2}, {"keep": 0}, ConfigError),
    ],
)
def test_nothing_is_replaced_before_all_is_checked(
    tmp_path: Path, config: dict[str, object], options: dict[str, Any], error: type[Exception]
) -> None:
    folder = RunFolder.create(tmp_path / "run", {"n": 1})
    trainer().run([folder])
    with pytest.raises(error, match="Expected"):
        RunFolder.create(tmp_path / "run", config, force=True, **options)
    assert folder.summary() is not None
    with pytest.raises(error, match="Expected"):
        RunFolder.create(tmp_path / "new", config, **options)
    assert not (tmp_path / "new").exists()


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


class Measured:
    """Remembers every model as it was measured."""

    def __init__(self) -> None:
        self.models: list[dict[str, torch.Tensor]] = []

    def on_start(self, trainer: Trainer) -> None: ...

    def on_measured(self, trainer: Trainer, measured: object) -> None:
        self.models.append({name: part.clone() for name, part in trainer.model.state_dict().items()})

    def on_epoch(self, trainer: Trainer, record: EpochRecord) -> None: ...

    def on_end(self, trainer: Trainer, summary: Summary) -> None: ...


def place_of_best(metric: str, records: list[EpochRecord]) -> int:
    values = [getattr(record, metric) for record in records]
    return values.index(min(values) if metric == "train_loss" else max(values))


@pytest.mark.parametrize("metric", ["valid_accuracy", "test_accuracy", "train_loss"])
@pytest.mark.parametrize("keep", [1, 3])
def test_the_best_model_stays_as_it_was_measured(tmp_path: Path, metric: str, keep: int) -> None:
    folder, seen = RunFolder.create(tmp_path / "run", {}, keep=keep, best=metric), Measured()
    run = trainer(held_out=True, epochs=9)
    run.run([seen, folder])
    place, best = place_of_best(metric, run.records), folder.best()
    assert (best["metric"], best["epoch"]) == (metric, place + 1)
    assert best["value"] == getattr(run.records[place], metric)
    assert all(torch.equal(best["model"][name], part) for name, part in seen.models[place].items())
    copy = trainer(held_out=True)
    copy.model.load_state_dict(best["model"])
    if metric == "valid_accuracy":
        assert copy._measure()["valid_accuracy"] == best["value"]
    assert len(list(folder.path.glob("checkpoint*.safetensors"))) == keep


def test_a_resumed_run_keeps_the_best_of_both_its_parts(tmp_path: Path) -> None:
    whole = RunFolder.create(tmp_path / "whole", {}, best="train_loss")
    trainer(epochs=9).run([whole])
    for cut in (1, 4, 8):
        path = tmp_path / f"cut {cut}"
        trainer(epochs=9).run([RunFolder.create(path, {}, best="train_loss")], until=cut)
        second, folder = trainer(epochs=9), RunFolder(path, best="train_loss")
        second.load_state_dict(folder.state())
        second.run([folder])
        assert folder.best_path.read_bytes() == whole.best_path.read_bytes()


def test_a_folder_without_a_metric_keeps_no_best_model(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", {})
    trainer().run([folder])
    assert not folder.best_path.exists()
    with pytest.raises(CheckpointError, match="no such file"):
        folder.best()


def test_metrics_that_cannot_choose_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'valid_accuracy'"):
        RunFolder.create(tmp_path / "a", {}, best="valid_acuracy")
    with pytest.raises(ConfigError, match="held-out samples"):
        trainer().run([RunFolder.create(tmp_path / "b", {}, best="valid_accuracy")])
    trainer().run([RunFolder.create(tmp_path / "c", {}, best="train_loss")], until=2)
    second, folder = trainer(), RunFolder(tmp_path / "c", best="test_accuracy")
    second.load_state_dict(folder.state())
    with pytest.raises(ConfigError, match="Expected the metric 'train_loss'"):
        second.run([folder])


def test_what_a_killed_process_left_is_removed_when_a_run_goes_on(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", {}, best="train_loss")
    trainer().run([folder])
    for name in ("checkpoint.safetensors", "best.safetensors", "topology_after.safetensors"):
        (folder.path / f".{name}.tmp").mkdir()
        (folder.path / f".{name}.tmp" / name).write_bytes(b"half")
    for name in ("metrics.jsonl", "summary.json", "config.json"):
        (folder.path / f".{name}.tmp").write_text("half")
    second = trainer()
    second.load_state_dict(folder.state())
    second.run([folder])
    assert not list(folder.path.glob(".*"))


def test_text_that_cannot_be_written_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", {"n": 1})
    summary = trainer().run([folder])
    before = folder.summary()

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    for owner, name in ((Path, "write_text"), (os, "replace")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, full)
            with pytest.raises(CheckpointError, match="No space left"):
                folder.write_summary(summary)
        assert folder.summary() == before
        assert not list(folder.path.glob(".*"))
