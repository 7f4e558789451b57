"""The page from rows written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sparsecore.bench.contenders.products import DENSE
from sparsecore.bench.page import write_page
from sparsecore.bench.page.goals import GOALS
from sparsecore.bench.page.scaling import exponent

ABOUT = {
    "cpu": "A processor",
    "vector": "AVX512",
    "cores": 2,
    "python": "3.11",
    "versions": {"torch": "2.13.0", "sparselab": None},
    "peers": {"sparselab": "does not import: No module named 'sparselab'", "sparseprop": "ok"},
}
OK, ROOF = "ok", {"gflops": 500.0, "gbytes": 30.0}


def timed(us: float, ratio: float = 1.0) -> dict[str, Any]:
    spread = {"median_us": us, "low_us": us, "high_us": us, "calls": 9, "ratio": ratio, "threads": 1}
    return {"status": OK, **spread, "by_threads_us": {"1": us}}


def product(density: float | None, kind: str, gflops: float) -> dict[str, Any]:
    entry = {"contender": "sparsecore", "density": density, "status": OK, "product": kind, "gflops": gflops}
    return entry | {"speedup": dict.fromkeys(DENSE, 0.02 / (density or 1.0))}


ROWS: dict[str, list[dict[str, Any]]] = {
    "step": [
        {
            "sizes": [784, 1568, 10],
            "density": 0.01,
            "batch": 32,
            "ping_pong_ns": [45.0, None],
            "contenders": {
                "sparsecore": timed(300.0),
                "sparsecore, compiled steps": timed(100.0, 0.33),
                "masked dense": timed(15000.0, 50.0),
                "torch CSR stitched": timed(900.0, 3.0),
                "sparselab": {"status": "wrong result: loss 1.0 where 2.0 was expected"},
            },
            "links_alone": timed(150.0, 0.5),
        }
    ],
    "kernels": [
        {
            "shape": [4096, 4096],
            "batch": 128,
            "ping_pong_ns": [45.0, 46.0],
            "roof": ROOF,
            "entries": [
                *(product(at, kind, 200.0) for at in (0.01, 0.1, 0.3) for kind in ("forward", "backward", "both")),
                {"contender": "torch CSR", "density": 0.3, "status": "not measured: more than 0.5 GFLOP a product"},
            ],
        }
    ],
    "evolution": [
        {
            "shape": [4096, 4096],
            "density": 0.01,
            "status": OK,
            "drawn": 50331,
            "regrowth": {"median_ms": 8.0, "low_ms": 7.0, "high_ms": 9.0},
            "update": {"status": OK, "median_ms": 40.0, "stages_ms": {"removal": 25.0, "regrowth": 8.0, "rest": 7.0}},
            "dense": {"status": "not measured: does not fit"},
            "set": {"sparsecore": {"status": OK, "median_ms": 10.0}, "sparselab": {"status": "does not import: x"}},
            "memory": {"status": OK, "bytes": 2.0e6, "topology_bytes": 1},
            "dense_bytes": 470_000_000,
        }
    ],
    "memory": [
        {
            "contender": name,
            "shape": [4096, 4096],
            "density": 0.01,
            "batch": 128,
            "status": OK,
            "links": 1,
            "construction_bytes": 1e6,
            "training_bytes": size,
            "bytes_per_link": 2.0,
        }
        for name, size in (("sparsecore", 20e6), ("masked dense", 420e6))
    ],
    "scaling": [
        {"axis": axis, "at": at, "links": at, "status": OK, "seconds": at**2 / 1e6, "dense_s": at**3 / 1e6}
        for axis in ("neurons", "regrowth")
        for at in (512, 1024)
    ],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    for name, rows in ROWS.items():
        stamped = [{"setting": {"n": n}, "commit": "abc1234", **row} for n, row in enumerate(rows)]
        text = json.dumps({"suite": name, "machine": ABOUT, "rows": stamped})
        (folder / f"{name}.json").write_text(text)
    write_page(folder, folder / "docs" / "benchmarks.md")
    return (folder / "docs" / "benchmarks.md").read_text()


def line(page: str, start: str) -> str:
    return next(line for line in page.splitlines() if line.startswith(f"| {start}"))


def test_every_goal_stands_next_to_its_figure(page: str) -> None:
    assert all(goal.text in page for goal in GOALS)
    step = "whole step at 1%, batch 32, through autograd, times faster than "
    assert "| 50x | met |" in line(page, step + "masked dense")
    stitched = line(page, step + "torch CSR stitched")
    assert "| 3x | **missed** | 200 of our 300 µs are autograd, torch and Python" in stitched
    assert "| not measured |" in line(page, step + "sparselab")
    assert "| 200 GF/s | met |" in line(page, "forward, 5-20%")
    assert "| 200 GF/s | **missed** | worst at 4096 x 4096, batch 128, 10%" in line(page, "fused backward, 5-20%")
    assert "faster in 0 of 1 rows" in line(page, "30% density")
    assert "| 8 ms | met |" in line(page, "regrowth of 30% of the links, CH2-L3n, 4096 x 4096 at 1%")
    assert "| 5x | **missed** | worst at 4096 x 4096, 1%: removal 62%" in line(page, "whole update")
    assert "| 21x | met |" in line(page, "training peak")


def test_wrong_and_missing_contenders_are_listed_with_their_reason(page: str) -> None:
    assert "| sparselab | – | wrong result: loss 1.0 where 2.0 was expected | – | – |" in page
    assert "torch CSR at 30%: not measured: more than 0.5 GFLOP a product" in page
    assert "Left out: sparselab (does not import: No module named 'sparselab')" in page


def test_the_page_says_where_it_was_measured_and_in_which_mode(page: str) -> None:
    assert "`python -m sparsecore.bench.run step` at commit abc1234; A processor, AVX512, 2 cores" in page
    assert "hand-over 45 / – ns" in page and "hand-over 45 / 46 ns" in page


def test_the_crossing_is_read_off_the_kernel_rows(page: str) -> None:
    assert "| 4096 x 4096 | 128 | 2% | 2% | 2% |" in page
    assert "`python -m sparsecore.bench.run crossover`" in page


def test_pictures_are_drawn_and_linked(page: str, folder: Path) -> None:
    for name in ("step", "speedup", "roofline", "memory", "regrowth", "scaling"):
        assert f"(images/benchmarks/{name}.svg)" in page
        assert (folder / "docs/images/benchmarks" / f"{name}.svg").read_text().startswith("<?xml")


def test_growth_is_fitted_between_logarithms(page: str) -> None:
    assert "| 2.00 | 3.00 |" in page
    assert exponent([(1.0, 5.0)]) is None


def test_a_page_without_results_has_its_goals_alone(tmp_path: Path) -> None:
    write_page(tmp_path, tmp_path / "benchmarks.md")
    text = (tmp_path / "benchmarks.md").read_text()
    assert text.count("not measured") == len(GOALS) and not (tmp_path / "images").exists()
