from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sparsecore import kernels
from sparsecore.bench.papers import pool, training
from sparsecore.bench.papers.__main__ import main
from sparsecore.bench.papers.ablations import ABLATIONS
from sparsecore.bench.papers.cells import Cell, Protocol, Variant, configure, equal_width
from sparsecore.bench.papers.figures import Figure, difference, figure
from sparsecore.bench.papers.grid import cells
from sparsecore.bench.papers.pool import Job, run_all, work
from sparsecore.bench.papers.printed import printed
from sparsecore.bench.papers.process import Stop
from sparsecore.bench.papers.results import Results
from sparsecore.bench.papers.rows import TABLES
from sparsecore.bench.papers.runtime import DENSE, measure
from sparsecore.bench.papers.training import tiles_of, unpack_tiles
from sparsecore.errors import ConfigError, DataError
from sparsecore.generators import ER
from sparsecore.models.data import ImageData

ROOT = Path(__file__).resolve().parents[2]
DOCS, RESULTS = ROOT / "docs", ROOT / "bench" / "results"
PROTOCOL = Protocol(epochs=3, batch_size=16, widths={"mnist_5k": 24}, n_held=16)
CHTS = next(variant for variant in TABLES[0].variants if variant.name == "chts_n")
CORE = next(variant for variant in TABLES[0].variants if variant.name == "dense_core")


def noise(name: str = "mnist_5k") -> ImageData:
    draw = np.random.default_rng(0)
    y = np.arange(96, dtype=np.int64) % 3
    x = (draw.standard_normal((96, 16)) + y[:, None]).astype(np.float32)
    return ImageData(name, x, y, x[:30], y[:30], 3, (0.0,), (1.0,))


@pytest.fixture(autouse=True)
def _threads_stay_as_they_were() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    kernels.set_num_threads(None)


def tiny(variant: Variant, *, held: bool = False, seed: int = 0) -> Cell:
    return Cell("mnist_5k", variant, 0.2, seed, held)


def job(folder: Path, *chosen: Cell) -> Job:
    return Job(chosen, PROTOCOL, folder / "results", folder / "scratch", folder)


def never() -> bool:
    return False


def after(n: int) -> Callable[[], bool]:
    """Tell to stop from the n-th question on."""
    asked = iter(range(1000))
    return lambda: next(asked) >= n


def test_a_grid_is_run_once_and_a_cell_waits_for_the_one_it_is_built_on(tmp_path: Path) -> None:
    order = job(tmp_path, tiny(CORE), tiny(CHTS), tiny(CHTS, held=True))
    assert work(order, stop=never, load=noise) == 0
    results = Results(order.results)
    assert all(cell.is_done(results, PROTOCOL) for cell in order.cells)
    core, chts, held = (results.read(cell.key) for cell in order.cells)
    assert core is not None
    assert chts is not None
    assert held is not None
    assert core["config"]["hidden"] == [entry["active"] for entry in chts["neurons"][1:]]
    assert chts["summary"]["updates"] == 2
    assert len(chts["curve"]["test_accuracy"]) == 3
    assert "valid_accuracy" not in chts["curve"]
    assert len(held["curve"]["valid_accuracy"]) == 3
    assert round(held["summary"]["accuracy_at_best_valid"], 4) in held["curve"]["test_accuracy"]
    assert {"cpu_s", "wall_s", "sessions", "aae", "itop", "anp", "overlap"} <= chts["summary"].keys()
    assert "data_dir" not in chts["config"]
    assert unpack_tiles(chts["after"]["hidden.0"]).sum() == chts["layers"][0]["links"]
    times = {cell.key: results.path(cell.key).stat().st_mtime_ns for cell in order.cells}
    assert work(order, stop=never, load=noise) == 0
    assert times == {cell.key: results.path(cell.key).stat().st_mtime_ns for cell in order.cells}


def test_a_run_told_to_stop_goes_on_to_the_same_result(tmp_path: Path) -> None:
    whole, cut = job(tmp_path / "a", tiny(CHTS)), job(tmp_path / "b", tiny(CHTS))
    work(whole, stop=never, load=noise)
    work(cut, stop=after(3), load=noise)
    key = cut.cells[0].key
    assert not Results(cut.results).path(key).exists()
    assert (cut.scratch / f"{key}.safetensors").exists()
    work(cut, stop=never, load=noise)
    first, second = (Results(order.results).read(key) for order in (whole, cut))
    assert first is not None
    assert second is not None
    assert first["curve"] == second["curve"]
    assert (first["before"], first["after"]) == (second["before"], second["after"])
    assert [part["summary"]["sessions"] for part in (first, second)] == [1, 2]
    assert not (cut.scratch / f"{key}.safetensors").exists()


def test_a_damaged_checkpoint_begins_the_run_again(tmp_path: Path) -> None:
    order = job(tmp_path, tiny(CHTS))
    work(order, stop=after(3), load=noise)
    (order.scratch / f"{order.cells[0].key}.safetensors").write_bytes(b"nothing")
    assert work(order, stop=never, load=noise) == 0
    result = Results(order.results).read(order.cells[0].key)
    assert result is not None
    assert result["summary"]["sessions"] == 1


def test_a_result_of_another_setting_is_run_again(tmp_path: Path) -> None:
    order = job(tmp_path, tiny(CHTS))
    work(order, stop=never, load=noise)
    longer = dataclasses.replace(order, protocol=dataclasses.replace(PROTOCOL, epochs=4))
    assert not longer.cells[0].is_done(Results(longer.results), longer.protocol)
    work(longer, stop=never, load=noise)
    assert longer.cells[0].is_done(Results(longer.results), longer.protocol)


def test_a_cell_that_fails_does_not_end_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = Variant("broken", "broken", {"method": "chts", "topology": "csti", "init": "nothing"})
    order = job(tmp_path, tiny(broken), tiny(CHTS))
    assert work(order, stop=never, load=noise) == 1
    assert "broken-20pc-s0 failed" in capsys.readouterr().err
    assert order.cells[1].is_done(Results(order.results), PROTOCOL)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_cell_has_a_process_of_its_own_and_a_failing_one_is_tried_once(
    tmp_path: Path, workers: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stop, "listen", lambda stop: None)
    broken = Variant("broken", "broken", {"method": "set", "init": "nothing"})
    dense = Variant("dense", "dense", {"method": "dense"})
    order = job(tmp_path, tiny(broken), tiny(dense), tiny(dense, seed=1))
    assert run_all(order, workers=workers) == 1
    assert [cell.is_done(Results(order.results), PROTOCOL) for cell in order.cells] == [False, True, True]
    begun = re.findall(r"\[(\d+)\] (\S+) begins", capfd.readouterr().err)
    assert sorted(key for _, key in begun) == sorted(cell.key for cell in order.cells)
    assert len({process for process, _ in begun} - {str(os.getpid())}) == 3


def test_a_run_that_fails_between_two_looks_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Process:
        sentinel = 0

        def __init__(self, target: object, args: object) -> None:
            self.looks = iter((None, 1, 1, 1))

        def start(self) -> None:
            pass

        @property
        def exitcode(self) -> int | None:
            return next(self.looks)

    monkeypatch.setattr(Stop, "listen", lambda stop: None)
    monkeypatch.setattr(pool.multiprocessing, "get_context", lambda method: SimpleNamespace(Process=Process))
    monkeypatch.setattr(pool, "wait", lambda sentinels, timeout: [])
    assert run_all(job(tmp_path, tiny(CHTS)), workers=1) == 1


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.write("a", {"setting": {}})
    assert results.read("a") == {"setting": {}}
    results.path("a").write_text('{"setting": {')
    with pytest.raises(DataError, match=r"a\.json"):
        results.read("a")


def test_held_out_samples_are_the_same_for_every_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits: list[ImageData] = []

    def note(cell: Cell, protocol: Protocol, data: ImageData, results: Results) -> object:
        splits.append(data)
        return configure(cell, protocol, data, results)

    monkeypatch.setattr(training, "configure", note)
    dense = Variant("dense", "dense", {"method": "dense"})
    assert work(job(tmp_path, *(tiny(dense, held=True, seed=seed) for seed in (0, 1))), stop=never, load=noise) == 0
    first, second = splits
    assert first.valid_x is not None
    assert len(first.valid_x) == PROTOCOL.n_held
    for part in ("train_x", "train_y", "valid_x", "valid_y"):
        np.testing.assert_array_equal(getattr(first, part), getattr(second, part))


def test_no_figure_of_the_main_runs_reads_held_out_samples() -> None:
    protocol = Protocol()
    declared = cells(protocol)
    assert {cell.setting(protocol)["n_held"] for cell in declared if cell.held} == {5000}
    assert {cell.setting(protocol)["n_held"] for cell in declared if not cell.held} == {0}
    ablations = {variant.name for ablation in ABLATIONS for variant in ablation.variants}
    assert all(cell.held for cell in declared if cell.variant.name in ablations)


def test_every_declared_cell_builds_a_run_and_has_a_name_of_its_own(tmp_path: Path) -> None:
    protocol = Protocol()
    declared = cells(protocol)
    assert len({cell.key for cell in declared}) == len(declared)
    results = Results(tmp_path)
    for cell in declared:
        if cell.variant.shape != "core":
            config = configure(cell, protocol, noise(), results)
            assert (config.batch_size, config.lr, config.lr_end, config.momentum) == (32, 0.025, 2.5e-4, 0.9)
            assert json.loads(json.dumps(cell.setting(protocol))) == cell.setting(protocol)


def test_a_shape_is_copied_from_a_run_of_the_declared_setting_alone(tmp_path: Path) -> None:
    results, protocol = Results(tmp_path), Protocol()
    cell = Cell("mnist", CORE, 0.01, seed=1, held=True)
    assert cell.core is not None and cell.core.key == "mnist-chts_n-1pc-s1"
    assert not cell.is_ready(results, protocol)
    write_fixture(tmp_path, cell.core, 0.9)
    assert cell.is_ready(results, protocol)
    other = dataclasses.replace(protocol, epochs=7)
    assert not cell.is_ready(results, other)
    with pytest.raises(ConfigError, match="Expected a result of mnist-chts_n-1pc-s1"):
        configure(cell, other, noise(), results)


def test_one_seed_of_every_cell_of_fixed_density_comes_first_and_dense_ones_late() -> None:
    declared = cells(Protocol())
    stages = [cell.stage for cell in declared]
    assert stages == sorted(stages)
    first = [cell for cell in declared if cell.stage == 0]
    assert {cell.seed for cell in first} == {0}
    assert not any(cell.variant.heavy or cell.held for cell in first)
    assert [cell.data for cell in first] == sorted(
        (cell.data for cell in first), key=["mnist", "fashion_mnist", "cifar10"].index
    )


@pytest.mark.parametrize("density", [0.001, 0.01, 0.1])
def test_the_dense_control_has_as_many_weights_to_within_one_unit(density: float) -> None:
    n_features, width, n_classes = 784, 1568, 10
    links = density * (n_features * width + 2 * width**2) + n_classes * width
    small = equal_width(n_features, width, n_classes, density)
    weights = [n_features * n + 2 * n**2 + n_classes * n for n in (small - 1, small, small + 1)]
    assert weights[0] < links < weights[2]


def write_fixture(folder: Path, cell: Cell, last: float, *, valid: float | None = None) -> None:
    """Write a result as a run would, with made-up figures."""
    summary = {
        "accuracy_last": last, "accuracy_best_on_test": last + 0.001, "accuracy_at_best_valid": valid,
        "aae": last - 0.01, "anp": 0.25, "itop": 0.07, "mean_density": 0.01, "overlap": 0.7,
        "cpu_s": 90.0, "wall_s": 99.0, "peak_memory_bytes": 2**25,
    }  # fmt: skip
    sparse = not cell.variant.is_dense
    tiles = {f"hidden.{2 * layer}": tiles_of(ER()((8, 8), 12, layer), 4) for layer in range(3)} if sparse else {}
    curve = {name: [0.5, last, last] for name in ("train_loss", "test_accuracy", "anp", "itop", "overlap")}
    result = {
        "setting": cell.setting(Protocol()), "summary": summary, "n_test": 10_000, "curve": curve,
        "valid_accuracy": valid, "before": tiles, "after": tiles, "layers": [{"shape": [8, 8]}] * len(tiles),
        "neurons": [{"name": "inputs", "active": 5, "all": 8}], "machine": {"cpu": "x", "commit": "abc"},
    }  # fmt: skip
    if cell.held:
        curve["valid_accuracy"] = [0.5, valid or 0.0, valid or 0.0]
    Results(folder).write(cell.key, result)


def row_of(page: str, label: str, heading: str) -> list[str]:
    section = page.partition(f"## {heading}")[2]
    line = next(line for line in section.splitlines() if line.startswith(f"| {label} |"))
    return [part.strip() for part in line.split("|")[1:-1]]


def test_rows_run_to_explain_a_gap_are_held_against_the_figure_of_the_row_they_are_tried_for() -> None:
    tried = [(data, row) for table in TABLES for data in table.only for row in table.rows(data) if row.tried_for]
    assert tried
    for data, row in tried:
        original = next(other for other in TABLES[0].rows(data) if other.name == row.tried_for)
        assert printed(data, original, 0.01) is not None
        assert printed(data, row, 0.01) == printed(data, original, 0.01)


def test_the_page_shows_means_beside_printed_figures_and_says_what_is_missing(tmp_path: Path) -> None:
    declared = {cell.key: cell for cell in cells(Protocol())}
    for seed, accuracy in enumerate((0.98, 0.985, 0.99)):
        write_fixture(tmp_path / "r", declared[f"mnist-chts_n-1pc-s{seed}"], accuracy)
    write_fixture(tmp_path / "r", declared["mnist-chts_n-1pc-s0-held"], 0.981, valid=0.979)
    write_fixture(tmp_path / "r", declared["mnist-static_csti-1pc-s0"], 0.9)
    write_fixture(tmp_path / "r", declared["fashion_mnist-chts_n-1pc-s0-held"], 0.9, valid=0.91)
    write_fixture(tmp_path / "r", declared["fashion_mnist-zeta_0.1-1pc-s0-held"], 0.9, valid=0.93)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/results.md").write_text("old\n<!-- notes -->\nwritten by hand\n<!-- /notes -->\nold\n")
    assert main(["page", "--results", str(tmp_path / "r"), "--docs", str(tmp_path / "docs")]) == 0
    page = (tmp_path / "docs/results.md").read_text()
    assert f"7 of {len(declared)} declared runs are done" in page
    assert "<!-- notes -->\nwritten by hand\n<!-- /notes -->" in page
    assert "old" not in page.splitlines()
    chts = row_of(page, "CHTs, CH2-L3n", "MNIST, 1% of the links")
    assert chts[1:7] == ["3", "98.50 ± 0.29", "97.90 (1 seed)", "98.60 ± 0.29", "98.76 ± 0.05", "-0.16"]
    assert row_of(page, "FC (dense)", "MNIST, 1% of the links")[1:6] == ["not run", "–", "–", "–", "98.78"]
    assert "| MNIST | 98.50 ± 0.29 | static, CSTI | 90.00 | +8.50 ± 0.49 | higher |" in page
    assert "| CIFAR-10 | – | FC (dense) | – | – | not run yet |" in page
    ablations = (tmp_path / "docs/ablations.md").read_text()
    zeta = row_of(ablations, "0.1", "Replaced fraction")
    assert zeta[:4] == ["0.1", "1", "93.00", "+2.00 ± 0.54"]
    for picture in ("quadrants", "curves_mnist_1pc", "adjacency_mnist_1pc"):
        assert f"images/results/{picture}.png" in page
        assert (tmp_path / f"docs/images/results/{picture}.png").stat().st_size < 200_000


def test_the_page_of_no_results_says_so(tmp_path: Path) -> None:
    assert main(["page", "--results", str(tmp_path / "r"), "--docs", str(tmp_path)]) == 0
    assert "0 of" in (tmp_path / "results.md").read_text()
    assert "Not measured yet" in (tmp_path / "results.md").read_text()


def test_the_list_tells_done_from_begun_from_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, *_ = (cell for cell in cells(Protocol()) if cell.key.startswith("mnist-set-1pc"))
    write_fixture(tmp_path / "r", first, 0.98)
    (tmp_path / f"{second.key}.safetensors").touch()
    options = ["mlp", "--list", "--results", str(tmp_path / "r"), "--scratch", str(tmp_path)]
    assert main([*options, "--only", "mnist-set-1pc-*"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == [f"done    {first.key}", f"begun   {second.key}"]
    assert shown[-1] == "1 done, 1 begun, 4 missing"
    assert main([*options, "--only", "nothing"]) == 2
    assert "matches a cell" in capsys.readouterr().err


def test_errors_of_means_and_differences() -> None:
    runs = [{"x": 1.0}, {"x": 2.0}, {"x": 3.0}]
    mean = figure(runs, lambda run: run["x"])
    assert mean is not None
    assert (mean.mean, mean.n) == (2.0, 3)
    assert mean.error == pytest.approx(1 / math.sqrt(3))
    assert figure([], lambda run: run["x"]) is None
    gap, error = difference(Figure(90.0, None, 1), Figure(50.0, 0.4, 3), 10_000)
    assert (gap, error) == pytest.approx((40.0, math.hypot(0.3, 0.4 * 1.3213)), rel=1e-4)
    assert difference(Figure(90.0, 0.2, 2), Figure(50.0, 0.0, 1), 10_000)[1] == pytest.approx(0.2 * 1.8373, rel=1e-4)


def test_the_pages_in_the_documentation_are_those_of_the_results(tmp_path: Path) -> None:
    names = ("results.md", "ablations.md")
    for name in names:  # what is written by hand stays
        (tmp_path / name).write_text((DOCS / name).read_text())
    assert main(["page", "--results", str(RESULTS / "papers"), "--docs", str(tmp_path)]) == 0
    for name in names:
        assert (tmp_path / name).read_text() == (DOCS / name).read_text(), "python -m sparsecore.bench.papers page"
    page = tmp_path / "translation.md"
    page.write_text((DOCS / page.name).read_text())
    assert main(["translation", "--results", str(RESULTS / "translation"), "--page", str(page)]) == 0
    assert page.read_text() == (DOCS / page.name).read_text()


@pytest.mark.parametrize("predictor", DENSE)
@pytest.mark.parametrize("density", [0.02, 0.2])
def test_the_runtime_figure_compares_what_is_equal(predictor: str, density: float) -> None:
    row = measure(predictor, 96, density, limit_s=60)
    assert row["status"] == "ok"
    assert row["drawn"] == int(0.3 * round(density * 96**2))
    assert row["dense_ms"] > 0
    assert measure(predictor, 96, density, limit_s=0)["dense_ms"] is None
