"""The suites on tiny settings: updates, memory, scaling, resuming, the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparsecore.bench import evolution, memory_tasks, registry, run, scaling
from sparsecore.bench.crossover import crossing, crossings
from sparsecore.bench.dense_update import DenseLayer, dense_regrowth
from sparsecore.bench.gate import is_wrong
from sparsecore.bench.handover import ping_pong_ns
from sparsecore.bench.peak import peak_above
from sparsecore.bench.probe import probe
from sparsecore.bench.registry import Suite
from sparsecore.bench.stages import UPDATE_STAGES, timed_stages
from sparsecore.bench.store import Results, read_rows
from sparsecore.evolution.methods import CHTs
from sparsecore.generators import ER

# torch says these once in a process: whichever test comes first would fail.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Sparse CSR tensor support"),
    pytest.mark.filterwarnings("ignore:Sparse invariant checks"),
]

ABOUT = {"cpu": "x", "cores": 2, "python": "3", "versions": {}, "source": "s", "commit": "c"}


@pytest.fixture(autouse=True)
def _threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_an_update_is_checked_and_its_stages_add_up() -> None:
    row = evolution.measure((40, 56), 0.1, seconds=1e-3, memory=False)
    assert row["status"] == row["update"]["status"] == row["dense"]["status"] == "ok"
    stages = row["update"]["stages_ms"]
    assert set(UPDATE_STAGES) < set(stages) and all(value >= 0 for value in stages.values())
    assert stages["removal"] > 0 and stages["regrowth"] > 0 and stages["apply"] > 0


def test_a_sampler_that_draws_existing_links_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evolution.CH2L3n, "sample", lambda self, topology, n, seed: topology.link_ids[:n])
    row = evolution.measure((40, 56), 0.1, seconds=1e-3, memory=False)
    assert row["status"] == "wrong result: an existing link drawn" and "regrowth" not in row


def test_the_stages_are_found_and_put_back() -> None:
    before = CHTs
    with timed_stages() as seconds:
        pass
    assert set(seconds) == set(UPDATE_STAGES) and before is CHTs
    from sparsecore.selection import Soft

    assert "timed" not in Soft.grow.__qualname__


def test_the_dense_formulation_keeps_the_number_of_links() -> None:
    topology = ER()((30, 44), 200, 0)
    layer = DenseLayer(topology)
    layer.update(0.3, 0)
    assert int(layer.mask.sum()) == 200
    drawn = dense_regrowth(topology, 50, 0)
    assert np.unique(drawn).size == 50 and (topology.find(drawn) < 0).all()


@pytest.mark.parametrize("name", memory_tasks.LAYERS)
def test_every_layer_of_the_memory_suite_trains_and_keeps_its_links(name: str) -> None:
    pytest.importorskip("sparselab") if name == "sparselab" else None
    layer = memory_tasks.LAYERS[name]((24, 32), 0.3)
    x = torch.randn(4, 32, requires_grad=True)
    before, y = layer.links(), layer.forward(x).detach()
    layer.step(x)
    assert not torch.allclose(layer.forward(x), y)
    if layer.evolves:
        layer.update()
    assert layer.links() == before


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are reset through /proc")
def test_a_peak_is_seen_after_it_is_gone() -> None:
    np.zeros(1 << 20)
    with peak_above() as peak:
        np.ones(8 << 20)
    assert 60e6 < peak.bytes < 90e6


def test_a_probe_measures_in_its_own_process_and_reports_what_failed() -> None:
    task = {"what": "train", "contender": "sparsecore", "shape": [64, 64], "density": 0.1, "batch": 4}
    found = probe(task)
    assert found["status"] == "ok" and found["links"] == 410 and found["libraries_bytes"] > 0
    assert probe(task | {"contender": "nobody"})["status"].startswith("not measured: KeyError")


@pytest.mark.parametrize("axis", ["threads", "regrowth"])
def test_a_point_of_an_axis_has_our_time(axis: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "problem_of", lambda shape, batch, density: _tiny())
    row = scaling.measure(axis, 64 if axis == "regrowth" else 1, seconds=1e-3)
    assert row["status"] == "ok" and row["seconds"] > 0


def _tiny() -> Any:
    from sparsecore.bench.kernels import problem_of

    return problem_of((24, 36), 7, 0.2)


def test_crossings_are_interpolated_between_logarithms() -> None:
    assert crossing([(0.1, 4.0), (0.4, 0.25), (0.01, 50.0)]) == ("crosses", 0.2)
    assert crossing([(0.1, 4.0), (0.5, 1.1)]) == ("faster to", 0.5)
    assert crossing([(0.1, 0.4), (0.5, 0.1)]) == ("slower from", 0.1)
    assert crossings([{"shape": [1, 1], "batch": 1, "entries": []}])[0]["density"] == {}


def test_the_hand_over_takes_nanoseconds_or_is_not_told() -> None:
    span = ping_pong_ns(200, 2)
    assert span is None or 1 < span < 1e6


def test_rows_are_kept_while_what_they_depend_on_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    first = Results(path, "s", ABOUT, 1.0)
    first.add({"setting": {"n": 1}, "seen": 1})
    first.add({"setting": {"n": 2}, "seen": 1})
    assert Results(path, "s", ABOUT | {"commit": "later"}, 1.0).kept({"n": 1}) is not None
    assert Results(path, "s", ABOUT, 2.0).kept({"n": 1}) is None
    assert Results(path, "s", ABOUT | {"source": "other"}, 1.0).kept({"n": 1}) is None
    assert Results(path, "s", ABOUT, 1.0, again=True).kept({"n": 1}) is None


def test_an_interrupted_run_loses_no_row_that_still_holds(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    before = Results(path, "s", ABOUT, 1.0)
    for n in (1, 2, 3):
        before.add({"setting": {"n": n}})
    Results(path, "s", ABOUT, 1.0).add({"setting": {"n": 1}})
    assert sorted(row["setting"]["n"] for row in read_rows(path)) == [1, 2, 3]
    assert all(row["commit"] == "c" for row in read_rows(path))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A suite of two rows in place of `memory`; collects the settings that were measured."""
    measured: list[dict[str, Any]] = []

    def measure(setting: dict[str, Any], seconds: float) -> dict[str, Any]:
        measured.append(setting)
        return {"inner": [{"status": "wrong result: off" if setting["n"] == 2 else "ok"}]}

    made = Suite("counts", 0.0, lambda: [{"n": 1}, {"n": 2}], measure)
    monkeypatch.setattr(run, "suite", lambda name: made)
    monkeypatch.setattr(run, "write_page", lambda results, page: None)
    return measured


def test_a_run_measures_once_fails_on_wrong_results_and_measures_again_when_told(
    tmp_path: Path, counted: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["memory", "--results", str(tmp_path), "--page", str(tmp_path / "page.md")]
    assert run.main(words) == 1 and run.main(words) == 1 and len(counted) == 2
    said = capsys.readouterr().err
    assert "wrong result: off" in said and "memory 1/2: n 1: kept" in said and "peer torch-sparse" in said
    run.main([*words, "--again"])
    assert len(counted) == 4


def test_every_suite_has_settings_that_are_plain_and_distinct() -> None:
    for name in registry.SUITES:
        keys = [json.dumps(setting) for setting in registry.suite(name).settings()]
        assert len(set(keys)) == len(keys) > 0
    assert not is_wrong("ok")


def test_the_command_line_runs_a_suite_and_refuses_unknown_ones(tmp_path: Path) -> None:
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-c", "from sparsecore.cli import main; main()", "bench", *words]
        return subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    refused = command("kernel")
    assert refused.returncode == 2 and "kernels" in refused.stderr
    code = (
        "from sparsecore.bench import registry, scaling; scaling.SIZES = (64,); scaling.DENSITIES = ();"
        "scaling.BATCHES = (); scaling.thread_counts = tuple; scaling._regrowth = lambda n, s: dict(status='ok',"
        "links=1, seconds=1.0, dense_s=None);"
        "import sys; sys.argv = ['sparsecore', 'bench', 'scaling', '--seconds', '0.001'];"
        "from sparsecore.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "scaling 1/3" in done.stderr and (tmp_path / "bench/results/scaling.json").exists()
    assert "## Growth" in (tmp_path / "docs/benchmarks.md").read_text()
