"""What commands print: tables, nothing, or JSON; their exit status; what a shell completes."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path

import pytest
from rich.console import Console

from sparsecore.cli import doctor as checks
from sparsecore.cli.plan import parse_sizes
from sparsecore.cli.progress import RunProgress, Steps
from sparsecore.cli.screen import console
from sparsecore.engine import EpochRecord
from sparsecore.evolution import methods
from tests.cli.test_cli import call

PLAN = ("plan", "784-1568x3-10", "--density", "0.01", "--optimizer", "momentum", "--threads", "2")


@pytest.mark.parametrize("command", [("methods",), ("doctor",), PLAN], ids=lambda words: words[0])
def test_json_is_one_object_and_quiet_is_nothing(command: tuple[str, ...]) -> None:
    done = call(*command, "--json")
    assert (done.status, done.err) == (0, "")
    assert isinstance(json.loads(done.out), dict)
    done = call(*command, "--quiet")
    assert (done.status, done.out, done.err) == (0, "", "")
    assert not console.quiet, "later commands are heard again"


def test_a_run_tells_its_summary_as_json(tmp_path: Path) -> None:
    words = shlex.split(
        "--data mnist_5k --hidden 32,32 --density 0.2 --epochs 1 --batch-size 500 --threads 1 --topology er"
    )
    done = call("train", *words, "--json", "--out", tmp_path / "run")
    assert done.status == 0, done.err
    summary = json.loads(done.out)
    assert (summary["run"], summary["epochs"]) == (str(tmp_path / "run"), 1)
    for command in (("resume", tmp_path / "run"), ("export", tmp_path / "run")):
        assert json.loads(call(*command, "--json").out)
    shown = json.loads(call("inspect", tmp_path / "run", "--json").out)
    assert shown["ended"]
    assert shown["summary"]["accuracy_last"] == summary["accuracy_last"]
    assert set(shown["after"]) == {"hidden.0", "hidden.2"}
    assert call("inspect", tmp_path / "run", "--quiet").out == ""
    failed = call("train", *words, "--json", "--out", tmp_path / "run")
    assert (failed.status, failed.out) == (2, "")


def test_the_plan_tells_bytes_of_every_form_and_whether_they_fit() -> None:
    found = json.loads(call(*PLAN, "--json").out)
    assert found["links"] == 61_465
    costs = found["costs"]
    assert costs["dense"]["optimizer_bytes"] == 4 * (found["possible_links"] + found["other_weights"])
    assert costs["links"]["peak_bytes"] < costs["dense"]["peak_bytes"] < costs["masked"]["peak_bytes"]
    assert found["fits_ram"]["links"] in (True, None)
    shown = call(*PLAN).out
    assert all(word in shown for word in ("dense", "masked", "links", "optimizer state", "peak of an update"))


def test_a_model_that_does_not_fit_ends_in_status_1() -> None:
    done = call("plan", "2000000x3", "--density", "0.5", "--json")
    if json.loads(done.out)["ram_bytes"] is None:
        pytest.skip("this system does not say how much memory is free")
    assert done.status == 1
    assert json.loads(done.out)["ok"] is False


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("784-10",), "Expected the sizes of inputs, hidden layers and outputs"),
        (("nowhere.json",), "is neither and no file"),
        (("llama-2m",), "Did you mean '20m'"),
        (("8x3", "--density", "2"), "Expected density in"),
        (("8x3", "--optimizer", "adm"), "Did you mean 'adam'"),
    ],
)
def test_what_cannot_be_planned_ends_in_one_line_and_status_2(words: tuple[str, ...], message: str) -> None:
    done = call("plan", *words)
    assert (done.status, len(done.err.strip().splitlines())) == (2, 1)
    assert message in done.err


@pytest.mark.parametrize("words", [("nope",), ("train",), ("train", "--epochs", "many", "--json"), ("plan", "--nope")])
def test_words_that_cannot_be_read_show_the_usage_on_standard_error(words: tuple[str, ...]) -> None:
    done = call(*words)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("Usage: sparsecore")


def test_sizes_are_read_as_they_are_written() -> None:
    assert parse_sizes("784-1568x3-10") == (784, 1568, 1568, 1568, 10)
    assert parse_sizes("8x2-3") == (8, 8, 3)
    assert [parse_sizes(text) for text in ("784", "a-b", "8x-3", "-8-3", "config.json")] == [None] * 5


def test_conflicts_end_in_status_1_and_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"sparsecore": "0.1"}
    real = checks._version
    monkeypatch.setattr(checks, "_version", lambda name: versions.get(name, real(name)))
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    done = call("doctor")
    assert done.status == 1
    assert "conflict: the package sparsecore of the public index" in done.out
    assert "NUMBA_DISABLE_JIT is set" in done.out


def test_a_missing_file_or_folder_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = call("train", "--data", "mnist_5k", "--out", tmp_path / "file" / "run")
    assert (done.status, len(done.err.strip().splitlines())) == (2, 1)


def test_an_interrupt_ends_in_status_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checks, "findings", interrupt)
    assert call("doctor").status == 130
    assert not console.quiet


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("pl", ["plan"]), ("train --method ch", ["cht", "chts", "chtss"]), ("train --predictor ch3_", ["ch3_l3p"])],
)
def test_shells_complete_commands_and_names(monkeypatch: pytest.MonkeyPatch, typed: str, offered: list[str]) -> None:
    monkeypatch.setenv("_SPARSECORE_COMPLETE", "complete_zsh")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", f"sparsecore {typed}")
    shown = call().out
    assert all(f'"{name}"' in shown for name in offered)
    assert '"demo"' not in shown


def test_help_offers_completion_and_names_the_suite_of_the_gpu() -> None:
    assert "--install-completion" in call("--help").out
    shown = call("bench", "--help").out
    assert "sparsecore.bench.gpu" in shown
    assert all(mode in shown for mode in ("--quiet", "--json"))


def test_every_method_has_a_name_to_complete() -> None:
    from sparsecore.cli.names import completes

    assert [name for name, _ in completes(methods, "dense")("")] == [*methods.names(), "dense"]


def test_progress_says_how_much_time_is_left() -> None:
    out = io.StringIO()
    record = EpochRecord(
        **dict.fromkeys(("train_loss", "test_accuracy", "lr", "anp", "itop", "overlap", "evolution_ms"), 0.5),
        epoch=2, step=8, valid_accuracy=None, links=4, density=0.1, densities=(0.1,), updates=1, ms_per_step=1.0,
        elapsed_s=10.0,
    )  # fmt: skip
    with RunProgress(Console(file=out, width=200)) as progress:
        progress.begin("chts", 10)
        progress.show(record)
    assert "10 s, 40 s left" in out.getvalue()
    with Steps("work", 2) as steps:
        steps.done()
