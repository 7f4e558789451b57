"""The GPU suite, dry: every contender on tiny layers, kernels run by the CPU."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sparsecore.bench import gpu, gpu_page, registry, run
from sparsecore.bench.gate import OK
from sparsecore.bench.run import statuses
from sparsecore.errors import ConfigError

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to build the CUDA sources for the host"),
    pytest.mark.filterwarnings("ignore:Sparse CSR tensor support"),
]
OURS = "sparsecore"


@pytest.fixture(scope="module")
def rows() -> Any:
    return gpu.dry_run()


def test_all_contenders_run_and_agree(rows: list[dict[str, Any]]) -> None:
    assert [row["setting"]["kind"] for row in rows] == ["layer", "regrowth", "step", "memory"]
    for status in statuses(rows):
        assert status == OK or status.startswith(("does not import", "not measured")), status
    mine = [entry for row in rows for entry in row["entries"] if entry["contender"].startswith(OURS)]
    assert len(mine) >= 15
    assert all(entry["status"] == OK or "graph" in entry["contender"] for entry in mine)


def test_results_become_tables(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    results, page = tmp_path / "gpu.json", tmp_path / "gpu.md"
    page.write_text(f"before\n{gpu_page.BEGIN}\nold\n{gpu_page.END}\nafter\n")
    gpu_page.write_tables(results, page)
    assert "Nothing has been measured yet." in page.read_text()
    results.write_text(json.dumps({"rows": rows}))
    gpu_page.write_tables(results, page)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    for words in ("value gradient", "cuSPARSE by torch", "dense bfloat16", "Soft regrowth", "training step", "Memory"):
        assert words in text
    assert "24 x 36 | 64 | 20%" in text


def test_the_page_has_room_for_the_tables() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "gpu.md").read_text()
    assert page.index(gpu_page.BEGIN) < page.index(gpu_page.END)


def test_without_a_gpu_nothing_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if gpu.place() is not None:
        pytest.skip("there is a GPU")
    assert gpu.main(["--results", str(tmp_path), "--page", str(tmp_path / "page.md")]) == 1
    assert "Expected a GPU. Got none: " in capsys.readouterr().err
    with pytest.raises(ConfigError, match="Got none: "):
        gpu.SUITE.measure(gpu.SUITE.settings()[0], 0.1)
    assert list(tmp_path.iterdir()) == []
    assert "gpu" not in run._by_default() and "gpu" in registry.SUITES
