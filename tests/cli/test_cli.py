from __future__ import annotations

import contextlib
import io
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from sparsecore import generators, predictors, removal, schedules, selection
from sparsecore.cli import main
from sparsecore.cli.demo import METHODS, run_demo
from sparsecore.cli.screen import in_bytes, percent
from sparsecore.errors import ConfigError
from sparsecore.evolution import methods, redistribution
from sparsecore.io import RunFolder
from sparsecore.models import recipes

SMALL = (
    "--data",
    "mnist_5k",
    "--hidden",
    "784,784",
    "--epochs",
    "3",
    "--batch-size",
    "200",
    "--threads",
    "1",
    "--density",
    "0.02",
)


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


def call(*args: object) -> Outcome:
    """Run a command in this process."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["sparsecore", *map(str, args)])
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
    return Outcome(status, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("cli") / "run"
    done = call("train", *SMALL, "--keep", "2", "--out", run)
    assert done.status == 0, done.err
    assert "accuracy" in done.out
    return run


def test_the_best_model_is_kept_and_steps_follow_a_policy(tmp_path: Path) -> None:
    options = ("--best", "valid_accuracy", "--holdout", "500", "--non-finite", "skip", "--deterministic")
    done = call("train", *SMALL, *options, "--out", tmp_path / "run")
    assert done.status == 0, done.err
    folder = RunFolder(tmp_path / "run")
    config = recipes.read_config(folder)
    assert (config.best, config.non_finite, config.deterministic) == ("valid_accuracy", "skip", True)
    best = folder.best()
    assert best["value"] == max(record.valid_accuracy for record in folder.metrics())
    assert call("resume", tmp_path / "run").status == 0
    refused = call("train", *SMALL, "--best", "loss", "--out", tmp_path / "other")
    assert refused.status == 2
    assert "valid_accuracy" in refused.err


def test_the_module_runs_as_a_program_without_warnings() -> None:
    command = [sys.executable, "-W", "error", "-m", "sparsecore", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_names_every_command_and_option() -> None:
    assert all(word in call("--help").out for word in ("train", "resume", "inspect", "methods", "demo", "doctor"))
    shown = call("train", "--help").out
    assert all(option in shown for option in ("--data-dir", "--method", "--density", "--epochs", "--seed", "--out"))


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert call("--version").out.strip() == version("sparsecore-engine")


def test_methods_lists_every_registered_part_in_one_line_each() -> None:
    lines = call("methods").out.splitlines()
    rooms = (generators, predictors, removal, selection, schedules, redistribution)
    registries = (methods, removal.amounts, generators.allocations, *(room.registry for room in rooms))
    for registry in registries:
        for entry in registry:
            assert any(f" {entry.name} " in line for line in lines), entry.name
    assert "values[i]" in " ".join(lines), "brackets in an equation are not markup"
    assert "chtss 13.5%" in " ".join(lines), "what falling densities cost"


def test_parts_chosen_by_name_reach_the_rule_of_the_run(tmp_path: Path) -> None:
    options = (
        "--method chts --removal mest:weight=0.1 --predictor ch3_l3p:proposals_per_link=8 --growth-selection top "
        "--temperature odds:0.5:0.9 --density-schedule cubic:0.5 --density-start 0.2 --density 0.1 --prune magnitude "
        "--fresh history --early-stop never --no-percolate --amount fraction --topology bsw:beta=0.5 --preset llama "
        "--hidden 32,32 --data mnist_5k --epochs 2 --batch-size 400 --threads 1"
    )
    done = call("train", *options.split(), "--out", tmp_path / "run")
    assert done.status == 0, done.err
    assert "mean density" in done.out
    folder = RunFolder(tmp_path / "run")
    config = recipes.read_config(folder)
    trainer = recipes.build(config, recipes.load_data(config))
    assert trainer.evolution is not None
    rule = trainer.evolution.rule
    assert rule is not None
    assert rule.removal == removal.Mest(0.1)
    assert rule.predictor == predictors.CH3L3p(8)
    assert (type(rule.keep), rule.grow) == (selection.Soft, selection.Top())
    assert rule.temperature is not None
    assert rule.density is not None
    assert [rule.temperature(step) for step in (0, 20)] == pytest.approx([1.0, 9.0])
    assert [rule.density(step) for step in (0, 10, 20)] == [0.2, 0.1, 0.1]
    assert (rule.prune, rule.fresh, rule.early_stop, rule.percolate) == (removal.Magnitude(), "history", None, False)
    assert rule.zeta(0) == 0.1
    records = folder.metrics()
    assert [round(record.density, 3) for record in records] == [0.2, 0.1]
    assert records[-1].mean_density == pytest.approx(
        (10 * 0.2 + 9 * 0.1) / 19, abs=0.001
    )  # the last step is not counted yet
    summary = folder.summary()
    assert summary is not None
    assert summary["mean_density"] == records[-1].mean_density


def test_doctor_tells_threads_vectors_and_the_reason_for_no_gpu() -> None:
    shown = call("doctor").out
    assert all(word in shown for word in ("torch", "numba", "threads", "vectors", "gpu", "backend on cpu"))


def test_a_finished_run_can_be_inspected_with_pictures(finished: Path) -> None:
    done = call("inspect", finished, "--plots")
    assert done.status == 0, done.err
    assert all(word in done.out for word in ("configuration", "layers before training", "summary", "hidden.0"))
    assert len(list((finished / "plots").glob("*.png"))) == 4
    assert (finished / "checkpoint.1.safetensors").is_file()


def test_resuming_a_finished_run_says_so(finished: Path) -> None:
    done = call("resume", finished)
    assert done.status == 0
    assert "has ended already" in done.out


def test_a_killed_run_resumes_to_the_same_losses_and_links(finished: Path, tmp_path: Path) -> None:
    broken = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "sparsecore",
        "train",
        *SMALL,
        "--method",
        "chts",
        "--density",
        "0.02",
        "--out",
        broken,
    ]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL) as process:
        while not (broken / "checkpoint.safetensors").exists():
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    (broken / "summary.json").unlink(missing_ok=True)  # on a fast machine it may have ended before the signal
    assert "has not ended" in call("inspect", broken).out
    done = call("resume", broken)
    assert done.status == 0, done.err
    whole, resumed = RunFolder(finished), RunFolder(broken)
    assert [r.train_loss for r in resumed.metrics()] == [r.train_loss for r in whole.metrics()]
    assert resumed.topologies("after") == whole.topologies("after")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--method", "cths"), "Did you mean 'chts'"),
        (("--data", "mnits"), "Did you mean 'mnist'"),
        (("--density", "2"), "Expected density in"),
        (("--density", "1"), "method 'dense'"),
        (("--hidden", "12;3"), "Expected hidden as numbers"),
        (("--data", "mnist"), "--data-dir"),
        (("--data", "mnist", "--data-dir", "/nonexistent"), "no such folder"),
        (("--method", "static", "--zeta", "0.2"), "'static' has"),
        (("--zeta", "1.5"), "Expected zeta in"),
        (("--epochs", "0"), "Expected epochs"),
        (("--topology", "brff"), "Did you mean 'brf'"),
        (("--predictor", "ch2"), "Expected a predictor"),
        (("--removal", "weight"), "Expected a removal"),
        (("--holdout", "4000"), "Expected holdout"),
        (("--method", "deepr:l2=1"), "Got l2, which it has not"),
        (("--method", "deepr:l1"), "options as deepr:option=value"),
        (("--method", "deepr:l1=-1"), "Expected l1 >= 0"),
        (("--preset", "lama"), "Did you mean 'llama'"),
        (("--removal-selection", "topp"), "Did you mean 'top'"),
        (("--growth-selection", "top:subrank=spc"), "Did you mean 'spcorr'"),
        (("--temperature", "hot"), "Expected numbers in --temperature"),
        (("--temperature", "odds:0.5"), "a number or NAME:START:END"),
        (("--density-schedule", "cubicle"), "Did you mean 'cubic'"),
        (("--early-stop", "soon"), "Expected numbers in --early-stop"),
        (("--early-stop", "2"), "Expected early_stop in"),
        (("--fresh", "warm"), "Expected fresh"),
        (("--amount", "fractions"), "Did you mean 'fraction'"),
        (("--redistribution", "survivor"), "Did you mean 'survivors'"),
        (("--redistribution", "survivors", "--density-schedule", "cubic"), "either a density schedule"),
        (("--removal-selection", "top", "--temperature", "2"), "Expected a Soft keep"),
        (("--every", "0"), "Expected every to be an integer >= 1"),
        (("--init", "foo"), "value initialisation"),
        (("--hidden", "0,-5"), "Expected hidden to be an integer >= 1"),
        (("--density", "1e-9"), "at least one link"),
        (("--topology", "brf:r=5"), "Expected r in"),
        (("--best", "nonsense"), "valid_accuracy"),
        (("--best", "valid_accuracy"), "--holdout"),
        (("--weight-decay", "-1"), "Expected weight_decay >= 0"),
        (("--method", "gmp", "--density", "0.6"), "--density-start"),
        (("--topology", "csti", "--hidden", "20"), "--topology er (topology), or widen --hidden"),
    ],
)
def test_a_wrong_option_ends_in_one_line_and_status_2(
    args: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPARSECORE_DATA", raising=False)
    done = call("train", *SMALL, *args, "--out", tmp_path / "run")
    assert done.status == 2
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert "Traceback" not in done.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["--init", "--method"])
def test_force_leaves_the_old_run_where_the_new_one_cannot_begin(finished: Path, option: str) -> None:
    done = call("train", *SMALL, option, "foo", "--force", "--out", finished)
    assert (done.status, len(done.err.strip().splitlines())) == (2, 1)
    assert RunFolder(finished).summary() is not None


def test_force_replaces_a_run_and_no_folder_of_another_program(tmp_path: Path) -> None:
    words = ("train", *SMALL, "--hidden", "20", "--epochs", "1", "--force", "--out", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    done = call(*words)
    assert (done.status, "holds other things" in done.err) == (2, True)
    (tmp_path / "config.json").unlink()
    for seed in (1, 2):
        assert call(*words, "--seed", seed).status == 0
        assert recipes.read_config(RunFolder(tmp_path)).seed == seed


def test_a_run_warns_once_of_what_is_not_as_expected(tmp_path: Path) -> None:
    words = ("train", *SMALL, "--hidden", "20", "--epochs", "1", "--method", "chtss", "--force", "--out", tmp_path)
    shown = [line for line in call(*words).out.splitlines() if line.startswith("warning: ")]
    assert [text in line for text, line in zip(("brf", "no update"), shown, strict=True)] == [True, True]
    told = call(*words, "--json")
    assert (told.status, told.err) == (0, "")
    assert [f"warning: {text}" for text in json.loads(told.out)["warnings"]] == shown
    assert "not at 2.00%" in shown[1]


def test_an_existing_run_is_not_replaced_without_force(finished: Path) -> None:
    done = call("train", *SMALL, "--out", finished)
    assert done.status == 2
    assert "holds a run" in done.err
    assert RunFolder(finished).summary() is not None


def test_a_damaged_checkpoint_ends_in_one_line_that_names_it(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "summary.json").unlink()
    path = run / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    done = call("resume", run)
    assert done.status == 2
    assert str(path) in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    for command in ("resume", "inspect"):
        done = call(command, tmp_path)
        assert (done.status, len(done.err.strip().splitlines())) == (2, 1)
        assert "config.json" in done.err


def test_the_demo_trains_all_four_and_leaves_table_metrics_and_pictures(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    summaries = run_demo(out, epochs=1, seed=0, force=False)
    shown = capfd.readouterr().out
    assert list(summaries) == list(METHODS)
    assert all(name in shown for name in (*METHODS, "AAE", "ANP", "ITOP", "ms/step", "peak memory"))
    assert json.loads((out / "demo.json").read_text()) == summaries
    assert summaries["chts"]["links"] == summaries["set"]["links"] == summaries["static"]["links"]
    assert summaries["dense"]["links"] > 90 * summaries["chts"]["links"]
    assert summaries["dense"]["peak_memory_bytes"] > 3 * summaries["set"]["peak_memory_bytes"]
    names = {path.name for path in (out / "plots").iterdir()}
    assert {"accuracy.png", "network.png", "adjacency_chts.png", "degrees_chts.png"} <= names
    with pytest.raises(ConfigError, match="--force"):
        run_demo(out, epochs=1, seed=0, force=False)


def test_numbers_are_written_shortly() -> None:
    assert [in_bytes(n) for n in (0, 1023, 1024, 5 * 2**30, None)] == ["0 B", "1023 B", "1.0 KiB", "5.0 GiB", "–"]
    assert percent(np.float64(0.5), 0) == "50%"
