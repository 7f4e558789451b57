from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import sparsecore.engine.trainer as trainer_module
from sparsecore.engine import EpochRecord, Settings, Summary, Trainer
from sparsecore.errors import CheckpointError, ConfigError, SparseCoreError
from sparsecore.evolution import SET, CHTs
from sparsecore.io import load, save
from sparsecore.models.mlp import MLP
from sparsecore.nn import sparse_layers
from sparsecore.schedules import Constant, Linear


def blobs(n: int = 70, seed: int = 0) -> SimpleNamespace:
    draw = np.random.default_rng(seed)
    centres = draw.standard_normal((3, 12)) * 2
    y = np.arange(n) % 3
    x = (centres[y] + draw.standard_normal((n, 12))).astype(np.float32)
    return SimpleNamespace(train_x=x, train_y=y, test_x=x[:30], test_y=y[:30], valid_x=None, valid_y=None)


def make(method: str = "chts", epochs: int = 6, every: int = 7, **settings: int) -> Trainer:
    torch.manual_seed(5)
    model = MLP(12, (20, 16), 3, density=1.0 if method == "dense" else 0.3, seed=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3, fused=True)
    setup = Settings(epochs=epochs, batch_size=16, **settings)
    steps = epochs * setup.steps_per_epoch(70)
    evolution = None
    if method != "dense":
        kind = {"chts": CHTs, "set": SET}[method]
        evolution = kind(model, optimizer, every=every, steps=steps, zeta=0.3)
    return Trainer(model, optimizer, blobs(), setup, lr=Linear(0.1, 0.001, steps), evolution=evolution)


class Watcher:
    def __init__(self) -> None:
        self.heard: list[str] = []
        self.records: list[EpochRecord] = []

    def on_start(self, trainer: Trainer) -> None:
        self.heard.append(f"start {trainer.epoch}")

    def on_epoch(self, trainer: Trainer, record: EpochRecord) -> None:
        self.heard.append(f"epoch {record.epoch}")
        self.records.append(record)

    def on_end(self, trainer: Trainer, summary: Summary) -> None:
        self.heard.append("end")


def untimed(record: EpochRecord) -> EpochRecord:
    return dataclasses.replace(record, ms_per_step=0, evolution_ms=0, elapsed_s=0)


@pytest.mark.parametrize("method", ["dense", "set", "chts"])
def test_a_network_learns_and_listeners_hear_every_epoch(method: str) -> None:
    watcher = Watcher()
    trainer = make(method, epochs=8)
    summary = trainer.run([watcher])
    assert watcher.heard == ["start 0", *(f"epoch {n}" for n in range(1, 9)), "end"]
    assert summary.accuracy_last > 0.85
    assert watcher.records[-1].train_loss < watcher.records[0].train_loss
    assert watcher.records[-1].step == 8 * 5 == summary.steps
    assert watcher.records == trainer.records


def test_the_loop_is_the_one_a_user_would_write() -> None:
    trainer, twin = make(epochs=3, compiled=False), make(epochs=3)
    trainer.run()
    data, step = blobs(), 0
    x, y = torch.from_numpy(data.train_x), torch.from_numpy(data.train_y)
    for epoch in range(3):
        for batch in torch.from_numpy(trainer_module.epoch_order(70, seed=0, epoch=epoch)).split(16):
            twin.optimizer.param_groups[0]["lr"] = twin.lr(step)
            torch.nn.functional.cross_entropy(twin.model(x[batch]), y[batch]).backward()
            twin.optimizer.step()
            assert twin.evolution is not None
            twin.evolution.step()
            twin.optimizer.zero_grad()
            step += 1
    for mine, theirs in zip(trainer.model.parameters(), twin.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("method", ["dense", "set", "chts"])
@pytest.mark.parametrize("cut", [1, 3, 5])
def test_a_resumed_run_has_the_losses_and_links_of_one_that_never_stopped(
    method: str, cut: int, tmp_path: object
) -> None:
    whole = make(method)
    whole.run()
    first = make(method)
    first.run(until=cut)
    path = f"{tmp_path}/state.safetensors"
    save(path, first.state_dict())
    second = make(method)
    torch.manual_seed(999)
    second.load_state_dict(load(path))
    second.run()
    assert [untimed(record) for record in second.records] == [untimed(record) for record in whole.records]
    states = whole.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert second.records[-1].elapsed_s > first.records[-1].elapsed_s


def test_dropout_continues_from_the_stored_random_state(tmp_path: object) -> None:
    def build() -> Trainer:
        torch.manual_seed(3)
        model = torch.nn.Sequential(torch.nn.Linear(12, 16), torch.nn.Dropout(0.5), torch.nn.Linear(16, 3))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        return Trainer(model, optimizer, blobs(), Settings(4, 16), lr=Linear(0.01, 0.001, 20))

    whole, first = build(), build()
    whole.run()
    first = build()
    first.run(until=2)
    save(f"{tmp_path}/a.safetensors", first.state_dict())
    second = build()
    second.load_state_dict(load(f"{tmp_path}/a.safetensors"))
    second.run()
    assert [record.train_loss for record in second.records] == [record.train_loss for record in whole.records]


def test_accuracy_is_measured_before_the_update_that_ends_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make(epochs=3, every=5)
    assert trainer.evolution is not None
    order: list[str] = []
    measure, update = trainer._measure, trainer.evolution.update
    monkeypatch.setattr(trainer, "_measure", lambda: order.append("measure") or measure())
    monkeypatch.setattr(trainer.evolution, "update", lambda: order.append("update") or update())
    trainer.run()
    assert order == ["measure", "update", "measure", "update", "measure"]


def test_the_loss_of_an_epoch_is_the_mean_over_samples_though_the_last_batch_is_smaller() -> None:
    trainer, data = make("dense", epochs=1), blobs()
    for group in trainer.optimizer.param_groups:
        group["momentum"] = group["weight_decay"] = 0.0
    trainer.lr = Constant(1e-12)
    with torch.no_grad():
        scores = trainer.model(torch.from_numpy(data.train_x))
        expected = float(torch.nn.functional.cross_entropy(scores, torch.from_numpy(data.train_y)))
    trainer.run()
    assert trainer.records[0].train_loss == pytest.approx(expected, rel=1e-6)


def test_held_out_samples_choose_an_epoch() -> None:
    data = blobs()
    data.valid_x, data.valid_y = data.train_x[:20], data.train_y[:20]
    model = torch.nn.Linear(12, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = Trainer(model, optimizer, data, Settings(3, 16), lr=Linear(0.1, 0.01, 15))
    summary = trainer.run()
    best = max(trainer.records, key=lambda record: record.valid_accuracy or 0.0)
    assert summary.accuracy_at_best_valid == best.test_accuracy


def test_a_loss_that_is_no_number_ends_the_run_with_advice() -> None:
    trainer = make("dense")
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(float("nan"))
    with pytest.raises(SparseCoreError, match="Lower the learning rate"):
        trainer.run()


def test_bytes_of_a_sparse_run_are_those_of_its_links() -> None:
    trainer = make()
    summary = trainer.run()
    layers = list(sparse_layers(trainer.model).values())
    n = sum(p.numel() for p in trainer.model.parameters())
    assert summary.weight_bytes == summary.state_bytes == 4 * n
    assert summary.index_bytes == sum(layer.topology.nbytes for layer in layers)
    assert summary.links == sum(layer.topology.n_links for layer in layers)


def test_records_and_summary_are_plain_values() -> None:
    trainer = make(epochs=2)
    summary = trainer.run()
    for record in trainer.records:
        assert EpochRecord.from_dict(json.loads(json.dumps(record.as_dict()))) == record
    assert json.loads(json.dumps(summary.as_dict())) == summary.as_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("optimizer"), "Expected a training state with"),
        (lambda state: state.update(settings={}), "with settings"),
        (lambda state: state.update(evolution=None), "exactly if the model is sparse"),
        (lambda state: state["model"].pop("head.bias"), "Expected the training state of this model"),
        (lambda state: state["records"][0].pop("anp"), "Expected the record of an epoch"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(change: object, message: str) -> None:
    trainer = make(epochs=2)
    trainer.run(until=1)
    state = trainer.state_dict()
    change(state)  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=message):
        make(epochs=2).load_state_dict(state)


def test_options_out_of_range_are_refused() -> None:
    for options in ({"epochs": 0}, {"batch_size": 0}, {"seed": -1}, {"seed": 2**64}):
        with pytest.raises(ConfigError, match=f"Expected {next(iter(options))}"):
            Settings(**options)
    data = blobs()
    data.test_x = data.test_x[:3]
    model = torch.nn.Linear(12, 3)
    with pytest.raises(ConfigError, match="as many samples as classes"):
        Trainer(model, torch.optim.SGD(model.parameters()), data, Settings(), lr=Linear(1.0, 0.1, 5))
    with pytest.raises(ConfigError, match="until"):
        make().run(until=0)
