from __future__ import annotations

import json
from pathlib import Path

import pytest

from sparsecore.models import recipes
from tests.cli.test_cli import call


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("command") / "run"
    config = recipes.ImageRun(data="mnist_5k", method="dense", hidden=(20,), epochs=1, batch_size=1000, threads=1)
    recipes.run(config, recipes.load_data(config), folder=recipes.create_folder(path, config))
    return path


def test_the_command_writes_the_page_and_says_where(run: Path, tmp_path: Path) -> None:
    done = call("report", run, "--out", tmp_path / "new" / "page.html")
    assert done.status == 0, done.err
    assert (tmp_path / "new" / "page.html").read_text().startswith("<!doctype html>")
    assert "wrote" in done.out


def test_its_result_can_be_had_as_json(run: Path) -> None:
    done = call("report", run, "--json")
    result = json.loads(done.out)
    assert Path(result["file"]) == run / "report.html"
    assert result["bytes"] == (run / "report.html").stat().st_size


def test_a_folder_that_is_no_run_is_an_error_of_the_user(tmp_path: Path) -> None:
    done = call("report", tmp_path)
    assert done.status == 2
    assert "run folder" in done.err


def test_a_run_names_the_machine_that_trained_it(run: Path) -> None:
    machine = json.loads((run / "config.json").read_text())["machine"]
    assert machine["processor"]
    assert machine["cores"] >= 1
