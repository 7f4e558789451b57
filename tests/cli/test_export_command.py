from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from sparsecore.cli import main
from sparsecore.errors import CheckpointError
from sparsecore.io import RunFolder, load_exported, save
from sparsecore.models import recipes
from sparsecore.models.trained import trained_model
from sparsecore.nn import sparse_layers


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["sparsecore", "export", *map(str, args)])
    status = 0
    try:
        main()
    except SystemExit as end:
        status = int(end.code or 0)
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def finished(path: Path, method: str) -> tuple[RunFolder, recipes.ImageRun]:
    config = recipes.ImageRun(
        data="mnist_5k",
        method=method,
        hidden=(120, 90),
        density=0.01,
        topology="er",
        epochs=1,
        batch_size=500,
        threads=1,
    )
    folder = recipes.create_folder(path, config)
    recipes.run(config, recipes.load_data(config), folder=folder)
    return folder, config


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, recipes.ImageRun]:
    return finished(tmp_path_factory.mktemp("export") / "run", "set")


def test_the_model_of_a_run_is_rebuilt_without_its_data(run: tuple[RunFolder, recipes.ImageRun]) -> None:
    folder, config = run
    data = recipes.load_data(config)
    trainer = recipes.build(config, data)
    trainer.load_state_dict(folder.state())
    model = trained_model(folder)
    x = torch.from_numpy(data.test_x[:50])
    assert torch.equal(model(x), trainer.model(x))
    assert [layer.topology for layer in sparse_layers(model).values()] == list(folder.topologies("after").values())


def test_a_dense_run_is_rebuilt_too(tmp_path: Path) -> None:
    folder, _ = finished(tmp_path / "run", recipes.DENSE)
    assert trained_model(folder)(torch.zeros(2, 784)).shape == (2, 10)


@pytest.mark.parametrize(
    ("format", "name"), [("safetensors", "model.safetensors"), ("scipy", "model"), ("torch", "model.pt2")]
)
@pytest.mark.parametrize("form", ["--compact", "--full"])
def test_every_format_is_written_and_gives_the_scores_of_the_run(
    run: tuple[RunFolder, recipes.ImageRun],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    format: str,
    name: str,
    form: str,
) -> None:
    folder, config = run
    status, out, err = call(monkeypatch, capsys, folder.path, "--format", format, form, "--force")
    assert status == 0, err
    assert f"wrote {folder.path / name}" in out
    assert ("removed" in out) == (form == "--compact")
    x = torch.from_numpy(recipes.load_data(config).test_x[:64])
    with torch.no_grad():
        torch.testing.assert_close(load_exported(folder.path / name)(x), trained_model(folder)(x), rtol=1e-4, atol=1e-4)


def test_onnx_of_a_run_is_written_when_dense_layers_are_asked_for(
    run: tuple[RunFolder, recipes.ImageRun],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed (extra onnx)")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra onnx)")
    folder, config = run
    path = tmp_path / "net.onnx"
    status, _, err = call(monkeypatch, capsys, folder.path, "--format", "onnx", "--dense-above", 0, "--out", path)
    assert status == 0, err
    x = recipes.load_data(config).test_x[:64]
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = trained_model(folder)(torch.from_numpy(x))
    torch.testing.assert_close(torch.from_numpy(session.run(None, {"x": x})[0]), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--format", "onnx"), "ONNX has no sparse product"),
        (("--format", "npz"), "Expected a format out of onnx, safetensors, scipy, torch"),
        (("--dense-above", "2"), "Expected dense_above in [0, 1]"),
        (("--out", "/nonexistent/x.safetensors"), "Expected to write"),
    ],
)
def test_what_cannot_be_done_ends_in_one_line_and_status_2(
    run: tuple[RunFolder, recipes.ImageRun],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: tuple[str, ...],
    message: str,
) -> None:
    status, _, err = call(monkeypatch, capsys, run[0].path, "--force", *args)
    assert (status, len(err.strip().splitlines())) == (2, 1)
    assert message in err


def test_force_leaves_folders_that_are_no_export(
    run: tuple[RunFolder, recipes.ImageRun],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("only copy")
    status, _, err = call(monkeypatch, capsys, run[0].path, "--force", "--out", tmp_path)
    assert (status, notes.read_text()) == (2, "only copy")
    assert "Got the folder" in err


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", {})
    for model in ({"other": torch.zeros(2)}, {"hidden.0.bias": torch.zeros(2)}, 3):
        save(folder.checkpoint_path, {"model": model})
        with pytest.raises(CheckpointError, match="Expected an MLP in"):
            trained_model(folder)
