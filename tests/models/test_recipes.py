from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparsecore import generators, kernels
from sparsecore.errors import CheckpointError, ConfigError, SparseCoreError, UnknownNameError
from sparsecore.evolution import methods
from sparsecore.io import RunFolder
from sparsecore.models import recipes
from sparsecore.models.data import ImageData
from sparsecore.models.recipes import DENSE, ImageRun
from sparsecore.nn import sparse_layers


def noise(n: int = 60) -> ImageData:
    draw = np.random.default_rng(0)
    y = np.arange(n, dtype=np.int64) % 3
    x = (draw.standard_normal((n, 16)) + y[:, None]).astype(np.float32)
    return ImageData("noise", x, y, x, y, 3, (0.0,), (1.0,))


SMALL = ImageRun(hidden=(32, 16), density=0.2, epochs=3, batch_size=20, threads=1)


@pytest.fixture(autouse=True)
def _threads_stay_as_they_were() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    kernels.set_num_threads(None)


def test_a_run_is_the_same_after_a_trip_through_json() -> None:
    run = dataclasses.replace(SMALL, zeta=0.2, holdout=5)
    assert ImageRun.from_dict(json.loads(json.dumps(run.as_dict()))) == run
    with pytest.raises(CheckpointError, match="image run"):
        ImageRun.from_dict({"epoch": 3})


@pytest.mark.parametrize("method", [*methods.names(), DENSE])
def test_every_registered_method_trains_and_resumes_to_the_bit(method: str, tmp_path: Path) -> None:
    config, data = dataclasses.replace(SMALL, method=method), noise()
    recipes.warm_up(config)
    whole = recipes.run(config, data, folder=recipes.create_folder(tmp_path / "whole", config))
    folder = recipes.create_folder(tmp_path / "cut", config)
    recipes.build(config, data).run([folder], until=1)
    resumed = recipes.resume(folder, data)
    assert (resumed.accuracy_last, resumed.links) == (whole.accuracy_last, whole.links)
    losses = [[record.train_loss for record in RunFolder(tmp_path / run).metrics()] for run in ("whole", "cut")]
    assert losses[0] == losses[1]
    assert RunFolder(tmp_path / "cut").topologies("after") == RunFolder(tmp_path / "whole").topologies("after")


@pytest.mark.parametrize("topology", generators.names())
def test_every_registered_generator_builds_the_first_links(topology: str) -> None:
    config = dataclasses.replace(SMALL, method="static", topology=topology)
    layers = sparse_layers(recipes.build(config, noise()).model).values()
    assert [layer.topology.n_links for layer in layers] == [round(0.2 * 32 * 16), round(0.2 * 16 * 32)]


def test_set_starts_uniform_and_the_others_from_correlations() -> None:
    links = {}
    for method in ("set", "static", "chts"):
        model = recipes.build(dataclasses.replace(SMALL, method=method), noise()).model
        links[method] = next(iter(sparse_layers(model).values())).topology
    assert links["static"] == links["chts"] != links["set"]


@pytest.mark.parametrize(("method", "taken"), [("chts", "brf"), ("static", "brf"), ("set", "er")])
def test_layers_too_narrow_for_correlations_get_other_first_links(method: str, taken: str) -> None:
    config, data = dataclasses.replace(SMALL, method=method, hidden=(15, 32)), noise()
    links = []
    for topology in ("auto", taken):
        model = recipes.build(dataclasses.replace(config, topology=topology), data).model
        links.append([layer.topology for layer in sparse_layers(model).values()])
    assert links[0] == links[1]
    assert [text for text in [config.first_links(data.n_features).warning] if text] == [
        "First links are those of topology brf, not of csti, which needs hidden layers of at least 16 neurons, one per "
        "input. Got 15,32. See --topology and --hidden."
    ] * (method != "set")
    with pytest.raises(ConfigError, match="at least 16 neurons.*--topology er.*--hidden"):
        recipes.build(dataclasses.replace(config, topology="csti"), data)


@pytest.mark.parametrize(
    ("options", "told", "density"),
    [
        ({"method": "dense", "epochs": 1}, None, 1.0),
        ({"method": "static", "epochs": 1}, None, 0.2),
        ({}, None, 0.2),
        ({"epochs": 1, "every": 1}, None, 0.2),
        ({"method": "chtss", "epochs": 2}, None, 0.2),
        ({"method": "mest", "epochs": 10}, None, 0.2),
        ({"epochs": 1}, "no update falls into the 3 steps, one comes every 3. Train for more steps", 0.2),
        ({"method": "gmp", "epochs": 1}, "every 3; the density ends at 50.00%, not at 20.00%. Train", 0.5),
        ({"method": "granet", "epochs": 2}, "at step 3 of 6; the density ends at 20.47%, not at 20.00%", 0.2047),
        ({"rule": {"density": ["linear", 0.5, 0.2]}}, "of 9; the density ends at 30.00%, not at 20.00%", 0.3),
    ],
)
def test_a_run_that_will_not_do_what_is_asked_for_warns(
    options: dict[str, Any], told: str | None, density: float, caplog: pytest.LogCaptureFixture
) -> None:
    assert recipes.run(dataclasses.replace(SMALL, **options), noise()).density == pytest.approx(density, abs=1e-3)
    assert len(caplog.messages) == (told is not None)
    assert told is None or told in caplog.messages[0]


def test_a_run_without_a_checkpoint_goes_on_from_its_first_step(tmp_path: Path) -> None:
    folder = recipes.create_folder(tmp_path, SMALL)
    assert recipes.resume(folder, noise()).accuracy_last == recipes.run(SMALL, noise()).accuracy_last
    folder.checkpoint_path.unlink()
    with pytest.raises(CheckpointError, match="no such file"):
        recipes.resume(folder, noise())


def test_the_defaults_are_those_of_the_papers() -> None:
    run = ImageRun()
    assert (run.hidden, run.density, run.epochs, run.batch_size) == ((1568,) * 3, 0.01, 100, 32)
    assert (run.lr, run.lr_end, run.momentum, run.weight_decay) == (0.025, 2.5e-4, 0.9, 5e-4)


def test_options_reach_the_rule() -> None:
    config = dataclasses.replace(SMALL, removal="relative_importance", predictor="ch3_l3n", zeta=0.4, every=2)
    evolution = recipes.build(config, noise()).evolution
    assert evolution is not None
    assert evolution.rule is not None
    assert (type(evolution.rule.removal).__name__, type(evolution.rule.predictor).__name__) == (
        "RelativeImportance",
        "CH3L3n",
    )
    assert (evolution.every, evolution.rule.zeta(0)) == (2, 0.4)
    config = dataclasses.replace(config, zeta_schedule="cosine")
    evolution = recipes.build(config, noise()).evolution
    assert evolution is not None
    assert evolution.rule is not None
    assert [round(evolution.rule.zeta(step), 6) for step in (0, 9)] == [0.4, 0.0]


def test_links_stay_as_they_are_after_the_share_of_the_run_with_updates() -> None:
    config = dataclasses.replace(SMALL, epochs=4, update_until=0.5, zeta=0.4, zeta_schedule="cosine")
    trainer = recipes.build(config, noise())
    evolution = trainer.evolution
    assert evolution is not None
    assert evolution.rule is not None
    assert evolution.steps == 2 * evolution.every == trainer.settings.epochs * evolution.every // 2
    assert [round(evolution.rule.zeta(step), 6) for step in (0, evolution.steps)] == [0.4, 0.0]
    trainer.run()
    assert [record.updates for record in trainer.records] == [0, 1, 1, 1]  # a record is written before the update


def test_shrinking_methods_train_on_at_their_last_density() -> None:
    config = dataclasses.replace(SMALL, method="mest", epochs=20, update_until=0.5)
    trainer = recipes.build(config, noise())
    trainer.run()
    densities = [record.density for record in trainer.records]
    assert densities[1] > config.density + 0.04
    assert densities[9:] == pytest.approx([config.density] * 11, abs=1e-3)


def test_fields_of_the_rule_and_options_of_the_generator_are_plain_values() -> None:
    changes = {"keep": "top", "temperature": None, "percolate": False, "fresh": "swi", "removal": "relative_importance"}
    config = dataclasses.replace(SMALL, topology="bsw", topology_options={"beta": 0.5}, rule=changes)
    evolution = recipes.build(config, noise()).evolution
    assert evolution is not None
    assert evolution.rule is not None
    rule = evolution.rule
    assert (type(rule.keep).__name__, rule.percolate, rule.fresh) == ("Top", False, "swi")
    assert type(rule.removal).__name__ == "RelativeImportance"
    ramp = dataclasses.replace(SMALL, rule={"temperature": ["odds", 0.5, 0.75]})
    evolution = recipes.build(ramp, noise()).evolution
    assert evolution is not None
    assert evolution.rule is not None
    assert evolution.rule.temperature is not None
    assert [evolution.rule.temperature(step) for step in (0, 9)] == [1.0, 3.0]
    assert ImageRun.from_dict(json.loads(json.dumps(ramp.as_dict()))) == ramp


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "stati"}, UnknownNameError, "'static'"),
        ({"density": 1.0}, ConfigError, "'dense'"),
        ({"density": 0.0}, ConfigError, "Expected density"),
        ({"method": "dense", "zeta": 0.3}, ConfigError, "zeta"),
        ({"method": "deepr", "zeta": 0.3}, ConfigError, "zeta"),
        ({"method": "static", "predictor": "random"}, ConfigError, "predictor"),
        ({"preset": "llamma"}, UnknownNameError, "'llama'"),
        ({"method": "gmp", "preset": "llama"}, ConfigError, "preset"),
        ({"rule": {"temperature": 3.0, "keep": "top"}}, ConfigError, "Soft keep"),
        ({"rule": {"percolated": False}}, UnknownNameError, "'percolate'"),
        ({"rule": {"keep": "topp"}}, UnknownNameError, "'top'"),
        ({"method": "static", "rule": {"percolate": False}}, ConfigError, "has none"),
        ({"zeta_schedule": "linear"}, UnknownNameError, "zeta schedule"),
        ({"update_until": 0.0}, ConfigError, "Expected update_until"),
        ({"update_until": 1.5}, ConfigError, "Expected update_until"),
        ({"method": "static", "update_until": 0.5}, ConfigError, "has no updates"),
        ({"method": "dense", "update_until": 0.5}, ConfigError, "has no updates"),
        ({"dense_init": "swi"}, UnknownNameError, "initialisation of dense layers"),
        ({"lr": -1.0}, ConfigError, "Expected lr"),
        ({"momentum": 1.5}, ConfigError, "Expected momentum"),
        ({"threads": 0}, ConfigError, "Expected threads"),
        ({"batch_size": 0}, ConfigError, "Expected batch_size"),
        ({"every": 0}, ConfigError, "Expected every to be an integer >= 1"),
        ({"hidden": (0, -5)}, ConfigError, "Expected hidden"),
        ({"topology": "brf:r=5"}, ConfigError, "Expected r in"),
        ({"weight_decay": -1.0}, ConfigError, "Expected weight_decay >= 0"),
        ({"lr_end": -1.0}, ConfigError, "Expected lr_end >= 0"),
        ({"best": "accuracy"}, UnknownNameError, "metric"),
        ({"best": "valid_accuracy"}, ConfigError, "--holdout"),
        ({"method": "gmp", "density": 0.6}, ConfigError, "density_start"),
        ({"method": "granet", "density": 0.6}, ConfigError, "density_start"),
        ({"method": "chtss", "density_start": 0.1}, ConfigError, "density_start"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_is_loaded(
    options: dict[str, object], error: type[SparseCoreError], message: str
) -> None:
    with pytest.raises(error, match=message):
        dataclasses.replace(SMALL, **options)  # type: ignore[arg-type]


def test_the_number_of_threads_is_written_down(tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, threads=None)
    threads = recipes.read_config(recipes.create_folder(tmp_path / "run", config)).threads
    assert threads is not None
    assert threads >= 1


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="image run"):
        recipes.read_config(RunFolder.create(tmp_path, {"a": 1}))


@pytest.mark.slow
def test_full_mnist_reaches_the_accuracy_of_the_papers(data_folder: Path) -> None:
    config = ImageRun(data="mnist", data_dir=str(data_folder))
    data = recipes.load_data(config)
    recipes.warm_up(config)
    summary = recipes.run(config, data)
    assert summary.accuracy_last >= 0.985
