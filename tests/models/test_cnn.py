from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sparsecore as sc
from sparsecore.errors import CheckpointError, ConfigError, SparseCoreError, UnknownNameError
from sparsecore.io import load, save
from sparsecore.models import data as image_data
from sparsecore.models.augment import CropFlip
from sparsecore.models.cnn import CnnRun, ConvNet, build
from sparsecore.models.cnn.__main__ import main
from sparsecore.models.data import ImageData


def images(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images whose class is the brighter of their channels."""
    draw = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int64) % 3
    pixels = draw.standard_normal((n, 3, 32, 32)).astype(np.float32)
    pixels[np.arange(n), labels] += 1.0
    return pixels.reshape(n, -1), labels


@pytest.fixture(autouse=True)
def _few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    data = ImageData("cifar10", *images(48, 0), *images(24, 1), 3, (0.5,) * 3, (0.2,) * 3)
    data = dataclasses.replace(data, augment=CropFlip((3, 32, 32), (-1.0, -1.0, -1.0)))
    monkeypatch.setattr(image_data, "load", lambda name, folder=None, **_: data)


TINY = {"width": 0.06, "epochs": 3, "batch_size": 16, "density": 0.2, "threads": 1, "lr": 0.05}


def options(**changes: Any) -> list[str]:
    words = []
    for name, value in {**TINY, **changes}.items():
        words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return words


@pytest.mark.parametrize(
    ("trunk", "parameters", "features"),
    # Those of the published networks without classifier: VGG16 less the biases of its convolutions (4,224) and with
    # batch normalisation (8,448); ResNet-50 with 3 x 3 in place of 7 x 7 in its first convolution.
    [("vgg16", 14_714_688 - 4_224 + 8_448, 512), ("resnet50", 25_557_032 - 2_049_000 - 64 * 3 * (49 - 9), 2048)],
)
def test_trunks_have_the_published_size(trunk: str, parameters: int, features: int) -> None:
    with torch.device("meta"):
        net = ConvNet(trunk, 10, density=1.0)
    assert sum(parameter.numel() for parameter in net.trunk.parameters()) == parameters
    assert net.n_features == features
    assert [layer.in_features for layer in net.head.hidden if hasattr(layer, "in_features")] == [features] * 3


@pytest.mark.parametrize("trunk", ["vgg16", "resnet50"])
@pytest.mark.parametrize("scale", [1, 2])
def test_the_head_is_three_layers_of_links_once_or_twice_as_wide_as_the_features(trunk: str, scale: int) -> None:
    net = ConvNet(trunk, 7, density=0.3, scale=scale, width=0.05)
    layers = list(sc.sparse_layers(net).values())
    assert [layer.out_features for layer in layers] == [scale * net.n_features] * 3
    flat = torch.randn(4, 3 * 32 * 32)
    net.eval()
    assert net(flat).shape == (4, 7)
    assert torch.equal(net(flat), net(flat.reshape(4, 3, 32, 32)))
    with pytest.raises(SparseCoreError, match="images of 3 x 32 x 32"):
        net(torch.zeros(2, 100))


@pytest.mark.parametrize(("trunk", "method"), [("vgg16", "chts"), ("resnet50", "chtss"), ("vgg16", "dense")])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, trunk: str, method: str) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert main([str(one), *options(trunk=trunk, method=method)]) == 0
    run = CnnRun(trunk=trunk, method=method, **TINY)
    shutil.copytree(one, two)
    for name in ("checkpoint.safetensors", "summary.json"):
        (two / name).unlink()
    trainer = build(run, image_data.load("cifar10"))
    trainer.run(until=1)
    save(two / "checkpoint.safetensors", trainer.state_dict())
    assert main([str(two), "--resume"]) == 0
    left, right = (load(folder / "checkpoint.safetensors") for folder in (one, two))
    for name, tensor in left["model"].items():
        assert torch.equal(tensor, right["model"][name]), name
    summary = json.loads((two / "summary.json").read_text())
    assert summary["epochs"] == 3
    assert summary["updates"] == (0 if method == "dense" else 2)
    if method != "dense":
        assert summary["density"] == pytest.approx(0.2, abs=0.05)


def test_it_learns_and_the_links_of_the_head_move(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = options(method="set", epochs=14, batch_size=8, plain=True, density=0.5, width=0.1)
    assert main([str(tmp_path), *chosen]) == 0
    assert "test accuracy" in capsys.readouterr().out
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["accuracy_best_on_test"] > 0.6
    assert summary["itop"] > summary["density"]


def test_fewer_images_are_taken_when_asked_for() -> None:
    from sparsecore.models.cnn import load_data

    data = load_data(CnnRun(train_images=32, test_images=5, holdout=6))
    assert (len(data.train_y), len(data.test_y), len(data.valid_y)) == (26, 5, 6)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"trunk": "vgg"}, UnknownNameError, "Did you mean 'vgg16'"),
        ({"method": "rig"}, UnknownNameError, "Did you mean 'rigl'"),
        ({"topology": "era"}, UnknownNameError, "generator"),
        ({"density": 0.0}, ConfigError, r"density in \(0, 1\]"),
        ({"density": 1.0}, ConfigError, "method 'dense'"),
        ({"scale": 0}, ConfigError, "scale to be an integer >= 1"),
        ({"width": 0.0}, ConfigError, "width > 0"),
        ({"epochs": 0}, ConfigError, "epochs to be an integer >= 1"),
        ({"momentum": -1.0}, ConfigError, r"momentum in \[0, 1\]"),
        ({"weight_decay": -1.0}, ConfigError, "weight_decay >= 0"),
        ({"lr_end": -5.0}, ConfigError, "lr_end >= 0"),
        ({"method": "chtss", "density": 0.6}, ConfigError, "density at most density_start"),
    ],
)
def test_options_that_cannot_work_are_refused(
    changes: dict[str, Any], error: type[SparseCoreError], message: str
) -> None:
    with pytest.raises(error, match=message):
        CnnRun(**changes)


def test_a_resumed_run_takes_no_other_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), *options(method="dense", epochs=1)]) == 0
    assert main([str(tmp_path), "--resume", "--epochs", "7", "--plain"]) == 2
    assert "Got --epochs, --plain." in capsys.readouterr().err
    assert main([str(tmp_path), "--resume", "--data-dir", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "summary.json").read_text())["epochs"] == 1


def test_folders_that_do_not_fit_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none"), "--resume"]) == 2
    assert "run folder" in capsys.readouterr().err
    (tmp_path / "config.json").write_text('{"run": {}}')
    assert main([str(tmp_path), "--resume"]) == 2
    assert "Expected the run of a convolutional network" in capsys.readouterr().err
    (tmp_path / "config.json").write_text('{"cnn": {"depth": 3}}')
    assert main([str(tmp_path), "--resume"]) == 2
    assert "Got depth" in capsys.readouterr().err
    with pytest.raises(CheckpointError):
        load(tmp_path / "checkpoint.safetensors")
