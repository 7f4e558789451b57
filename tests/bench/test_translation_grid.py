from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsecore import kernels
from sparsecore.bench.papers.__main__ import main
from sparsecore.bench.papers.results import Results
from sparsecore.bench.papers.translation.cells import (
    DENSITIES,
    METHODS,
    PRINTED,
    TRIED,
    TranslationCell,
    beside_dense,
    cells,
    rows,
)
from sparsecore.bench.papers.translation.command import TranslationJob, work
from sparsecore.bench.papers.translation.memory import peak_bytes
from sparsecore.bench.papers.translation.page import write_page
from sparsecore.bench.papers.translation.speed import measure_speed
from sparsecore.models.translation import Pairs, Sizes, TranslationTask, bleu, prepare

for _library in ("tokenizers", "sacrebleu"):
    pytest.importorskip(_library, reason=f"{_library} is not installed (extra: translation)")

TINY = {
    "sizes": Sizes(width=16, hidden=24, heads=2, layers=1, positions=64), "n_tokens": 280, "batch_tokens": 64,
    "steps": 9, "every": 3, "rewarm": 2, "warmup": 4, "density_start": 0.5,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _threads_stay_as_they_were() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    kernels.set_num_threads(None)


@cache
def words(n_tokens: int) -> TranslationTask:
    draw = np.random.default_rng(0)
    source = tuple(" ".join(draw.choice(["ba", "du", "ki"], draw.integers(2, 5))) for _ in range(60))
    target = tuple(text.upper() for text in source)
    parts = {"train": slice(0, 40), "valid": slice(40, 50), "test": slice(50, 60)}
    return prepare({name: Pairs(source[at], target[at]) for name, at in parts.items()}, n_tokens)


def tiny(method: str, density: float = 0.2) -> TranslationCell:
    return TranslationCell(method, density, changes=TINY)


def job(folder: Path, *chosen: TranslationCell) -> TranslationJob:
    return TranslationJob(chosen, folder / "results", folder / "scratch", words)


def never() -> bool:
    return False


def after(n: int) -> Callable[[], bool]:
    """Tell to stop from the n-th question on."""
    asked = iter(range(1000))
    return lambda: next(asked) >= n


def test_a_run_is_written_once_with_everything_the_page_needs(tmp_path: Path) -> None:
    order = job(tmp_path, tiny("chts"), tiny("dense", 1.0))
    assert work(order, stop=never) == 0
    results = Results(order.results)
    chts, dense = (results.read(cell.key) for cell in order.cells)
    assert chts is not None
    assert dense is not None
    assert {"valid_bleu", "test_bleu", "signature", "steps_per_s", "peak_memory_bytes", "wall_s"} <= dense[
        "summary"
    ].keys()
    assert {"anp", "itop", "links", "mean_density"} <= chts["summary"].keys() - dense["summary"].keys()
    assert chts["summary"]["updates"] == 2
    assert chts["curve"]["valid_steps"] == [9]
    assert [shown["translation"] for shown in chts["examples"]] == chts["translations"][:5]
    scored = bleu(chts["translations"], words(TINY["n_tokens"]).pairs["test"].target)
    assert scored.score == chts["summary"]["test_bleu"], "methods can be compared sentence by sentence later"
    assert "version:" in chts["summary"]["signature"]
    assert sum(layer["links"] for layer in chts["layers"]) == chts["summary"]["links"]
    times = {cell.key: results.path(cell.key).stat().st_mtime_ns for cell in order.cells}
    assert work(order, stop=never) == 0
    assert times == {cell.key: results.path(cell.key).stat().st_mtime_ns for cell in order.cells}


@pytest.mark.parametrize("method", ["chtss", "rigl"])
def test_a_run_told_to_stop_goes_on_to_the_same_result(method: str, tmp_path: Path) -> None:
    whole, cut = job(tmp_path / "a", tiny(method)), job(tmp_path / "b", tiny(method))
    work(whole, stop=never)
    work(cut, stop=after(6))
    key = cut.cells[0].key
    assert not Results(cut.results).path(key).exists()
    assert (cut.scratch / f"{key}.safetensors").exists()
    assert work(cut, stop=never) == 0
    first, second = (Results(order.results).read(key) for order in (whole, cut))
    assert first is not None
    assert second is not None
    for part in ("curve", "layers", "translations", "setting", "tokenizer"):
        assert first[part] == second[part]
    assert [result["summary"]["sessions"] for result in (first, second)] == [1, 2]
    assert not (cut.scratch / f"{key}.safetensors").exists()


def test_a_damaged_checkpoint_begins_the_run_again(tmp_path: Path) -> None:
    order = job(tmp_path, tiny("set"))
    work(order, stop=after(4))
    (order.scratch / f"{order.cells[0].key}.safetensors").write_bytes(b"nothing")
    assert work(order, stop=never) == 0
    result = Results(order.results).read(order.cells[0].key)
    assert result is not None
    assert result["summary"]["sessions"] == 1


def test_a_result_of_another_setting_is_run_again(tmp_path: Path) -> None:
    order = job(tmp_path, tiny("set"))
    work(order, stop=never)
    longer = dataclasses.replace(order.cells[0], changes={**TINY, "steps": 10})
    assert order.cells[0].is_done(Results(order.results))
    assert not longer.is_done(Results(order.results))


def test_memory_is_that_of_the_tensors_in_use() -> None:
    large = Sizes(width=256, hidden=512, heads=4, layers=2, positions=64)
    small = dataclasses.replace(tiny("set").run, sizes=large, density=0.02)
    dense = dataclasses.replace(small, method="dense")
    task = words(280)
    sparse_bytes, dense_bytes = (peak_bytes(run, task) for run in (small, dense))
    # 2 layers each of encoder and decoder, with 12 and 16 blocks of 256 x 256: a value, a gradient and two moments each
    weights = 2 * (8 + 12) * 256**2
    assert dense_bytes > 16 * weights
    assert sparse_bytes < dense_bytes - 8 * weights


def test_a_failing_run_is_counted_and_does_not_end_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = TranslationCell("set", 0.2, changes={**TINY, "batch_tokens": 3})
    order = job(tmp_path, bad, tiny("dense", 1.0))
    assert work(order, stop=never) == 1
    assert "at most 3 tokens" in capsys.readouterr().err
    assert order.cells[1].is_done(Results(order.results))


def test_the_grid_runs_90_percent_first_and_every_cell_has_a_printed_figure() -> None:
    order = cells()
    assert [cell.density for cell in order] == [0.1] * 4 + [1.0] + [1.0, 1.0, 0.1] + [0.05] * 4
    assert len({cell.key for cell in order}) == len(order) == 12
    assert all(cell.printed == PRINTED[cell.density][cell.run.method] for cell in order)
    assert {cell.method for cell in order} == {*METHODS, *TRIED}
    assert {cell.key for density in DENSITIES for cell in rows(density)} == {cell.key for cell in order}
    assert {cell.run.lr for cell in order} == {2.0, 1.0, 0.2}
    assert all((cell.run.steps, cell.run.every, cell.run.zeta, cell.run.smoothing) == (5000, 100, 0.3, 0.1) for cell in
               order)  # fmt: skip


def test_the_page_shows_results_beside_printed_figures_and_says_what_is_missing(tmp_path: Path) -> None:
    made = job(tmp_path, tiny("chts"), tiny("dense", 1.0))
    work(made, stop=never)
    results, done = Results(tmp_path / "pages"), Results(made.results)
    for cell, declared in zip(made.cells, (TranslationCell("chts", 0.1), TranslationCell("dense", 1.0)), strict=True):
        found = done.read(cell.key)
        assert found is not None
        results.write(declared.key, {**found, "setting": declared.setting})
    page = tmp_path / "translation.md"
    page.write_text("<!-- notes -->\nby hand\n<!-- /notes -->\n")
    write_page(results.folder, page)
    text = page.read_text()
    assert "2 of 12 declared runs" in text
    assert "by hand" in text
    assert "| SET | not run | 29.73 |" in text
    assert "| 29.81 |" in text
    assert text.count("×)") == 1
    lines = [line for line in text.splitlines() if line.startswith(("| CHTs |", "| SET |", "| FC"))]
    assert len({line.count("|") for line in lines}) == 1
    write_page(results.folder, page)
    assert page.read_text() == text


def test_the_command_lists_cells_and_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ["--results", str(tmp_path / "results"), "--scratch", str(tmp_path / "scratch")]
    assert main(["translation", "--list", "--only", "*-10pc-*", *folders]) == 0
    assert capsys.readouterr().out.endswith("0 done, 0 begun, 5 missing\n")
    assert main(["translation", "--only", "nothing", *folders]) == 2
    assert "Expected a pattern" in capsys.readouterr().err
    assert main(["translation", "--page", str(tmp_path / "page.md"), *folders]) == 0
    assert "0 of 12" in (tmp_path / "page.md").read_text()


def test_speed_is_measured_in_turns_and_stands_on_the_page(tmp_path: Path) -> None:
    results = Results(tmp_path)
    measure_speed([tiny("dense", 1.0), tiny("set"), tiny("chtss")], words(280), results, rounds=2, steps=3)
    found = results.read("speed")
    assert found is not None
    dense, evolved, decaying = found["rows"]
    assert dense["density"] == 1.0
    assert dense["update_s"] < 0.01, "nothing to update"
    assert (dense["ratio_low"], dense["ratio"], dense["ratio_high"]) == pytest.approx((1.0, 1.0, 1.0))
    assert evolved["update_s"] > dense["update_s"]
    assert evolved["density"] == pytest.approx(0.2, abs=0.01)
    assert decaying["density"] == pytest.approx(0.2, abs=0.01)
    assert evolved["ratio_low"] <= evolved["ratio"] <= evolved["ratio_high"]
    write_page(tmp_path, tmp_path / "page.md")
    assert "| SET | 20 |" in (tmp_path / "page.md").read_text()


def test_every_method_is_timed_beside_dense() -> None:
    assert [cell.run.method for cell in beside_dense()] == list(METHODS)
