from __future__ import annotations

from pathlib import Path

import pytest

from sparsecore.cli.measures import chain_name
from tests.cli.test_cli import call

SMALL = ["--data", "mnist_5k", "--hidden", "300,300", "--epochs", "2", "--batch-size", "500", "--threads", "1"]
SPARSE = ["--density", "0.03", "--topology", "er"]
NAMES = ("ANP", "credit", "path length", "exponent", "modularity", "consistency", "separability", "hubs")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measures") / "run"
    assert call("train", *SMALL, *SPARSE, "--out", folder).status == 0
    return folder


def test_inspect_measures_the_network_before_and_after_training(run: Path) -> None:
    done = call("inspect", run, "--measures")
    assert done.status == 0, done.err
    assert all(name in done.out for name in NAMES)
    assert "before training" in done.out
    assert "after training" in done.out
    assert "of the latest links are there since before training" in done.out


def test_a_run_that_has_not_ended_is_measured_at_its_last_checkpoint(run: Path) -> None:
    for name in ("summary.json", "topology_after.safetensors"):
        (run / name).unlink()
    done = call("inspect", run, "--measures")
    assert done.status == 0, done.err
    assert "after epoch 2" in " ".join(done.out.split())


def test_a_dense_run_has_nothing_to_measure(tmp_path: Path) -> None:
    assert call("train", *SMALL, "--method", "dense", "--out", tmp_path / "run").status == 0
    done = call("inspect", tmp_path / "run", "--measures")
    assert done.status == 2
    assert "dense model" in done.err


def test_chains_are_named_by_their_ends() -> None:
    assert chain_name(["hidden.0"]) == "hidden.0"
    assert chain_name(["hidden.0", "hidden.1", "hidden.2"]) == "hidden.0 to hidden.2"
