from __future__ import annotations

import lzma
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

for _library in ("transformers", "accelerate"):
    pytest.importorskip(_library, reason=f"{_library} is not installed (extra: huggingface)")

from sparsecore.bench.papers.__main__ import main  # noqa: E402
from sparsecore.bench.papers.llama.cells import PROTOCOL, ROWS, LlamaCell, Row, cells  # noqa: E402
from sparsecore.bench.papers.llama.command import LlamaJob, work  # noqa: E402
from sparsecore.bench.papers.llama.page import write_table  # noqa: E402
from sparsecore.bench.papers.results import Results  # noqa: E402
from sparsecore.evolution import methods  # noqa: E402

DOCS = Path(__file__).parents[2] / "docs"
RESULTS = Path(__file__).parents[2] / "bench/results/llama"
TINY = {
    "tokenizer": "bpe:300", "context": 16, "batch": 2, "steps": 4, "every": 2, "save_every": 2, "valid_every": 2,
    "valid_blocks": 4,
}  # fmt: skip


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., LlamaJob]:
    folder, draw = tmp_path / "text", random.Random(0)
    folder.mkdir()
    for part, n in (("train", 20), ("valid", 6)):
        with lzma.open(folder / f"techdocs.{part}.txt.xz", "wt") as file:
            file.write("<|doc|>\n".join(" ".join(draw.choices("abcdefgh", k=60)) + "\n" for _ in range(n)))
    return lambda *chosen: LlamaJob(chosen, tmp_path / "results", tmp_path / "scratch", tmp_path)


def tiny(**changes: Any) -> LlamaCell:
    return LlamaCell(Row("tiny", "SET, 10%", "set", 0.1, {**TINY, **changes}))


def never() -> bool:
    return False


def test_a_run_is_written_once_also_after_a_stop_or_a_failure(
    job: Callable[..., LlamaJob], capsys: pytest.CaptureFixture[str]
) -> None:
    order = job(tiny())
    asked = iter((False, False, True))
    assert work(order, stop=lambda: next(asked)) == 0
    assert "stops, to be resumed" in capsys.readouterr().err
    assert not Results(order.results).path("tiny-s0").exists()

    assert work(job(tiny(data="no such folder", steps=5)), stop=never) == 1
    assert "failed" in capsys.readouterr().err

    assert work(order, stop=never) == 0
    found = Results(order.results).read("tiny-s0")
    assert found is not None
    assert found["setting"] == order.cells[0].setting
    assert (found["setting"]["steps"], found["summary"]["updates"]) == (4, 1)
    assert found["valid"].keys() == {"2", "4"}
    assert {"valid_perplexity", "links", "itop", "mean_density", "steps_per_s"} <= found["summary"].keys()
    assert not (order.scratch / "tiny-s0").exists()

    written = Results(order.results).path("tiny-s0").stat().st_mtime_ns
    assert work(order, stop=never) == 0
    assert Results(order.results).path("tiny-s0").stat().st_mtime_ns == written
    assert not tiny(lr=1e-4).is_done(Results(order.results))


def test_a_stopped_run_goes_on_from_its_checkpoint_and_another_run_in_its_place_begins_anew(
    job: Callable[..., LlamaJob],
) -> None:
    order = job(tiny(steps=80, valid_every=80))
    folder = order.scratch / "tiny-s0"
    assert work(order, stop=lambda: any(folder.glob("checkpoints/checkpoint-*/sparsecore.safetensors"))) == 0
    assert folder.exists()
    assert work(order, stop=never) == 0
    found = Results(order.results).read("tiny-s0")
    assert found is not None
    assert found["summary"]["measured_steps"] < 80

    folder.mkdir()
    (folder / "run.json").write_text('{"steps": 7}')
    (folder / "train.tokens").write_text("of another run")
    shorter = job(tiny())
    assert work(shorter, stop=never) == 0
    found = Results(order.results).read("tiny-s0")
    assert found is not None
    assert found["summary"]["measured_steps"] == 4


def test_the_grid_is_made_of_known_methods_and_begins_with_one_seed_of_every_row() -> None:
    order = cells()
    assert [cell.row for cell in order[: len(ROWS)]] == list(ROWS)
    assert len({cell.key for cell in order}) == len(order) == sum(row.n_seeds for row in ROWS) == 14
    assert {cell.row.method for cell in order} <= {*methods.names(), "dense"}
    assert all(cell.setting["steps"] == 1000 and "data_dir" not in cell.setting for cell in order)
    assert [cell.run.lr for cell in order if cell.row.name == "dense_third"] == [PROTOCOL["lr"] / 3]


def test_the_table_stands_between_its_marks_with_means_over_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, page = Results(tmp_path / "results"), tmp_path / "llama.md"
    for seed, loss in enumerate((5.0, 5.1)):
        cell = LlamaCell(next(row for row in ROWS if row.name == "chts-10pc"), seed)
        summary = {"links": 316_220, "parameters": 2_415_676, "steps_per_s": 4.0 + seed, "peak_memory_bytes": 2**28}
        shares = {"anp": 1.0, "itop": 0.17, "mean_density": 0.1}
        valid = {str(step): loss for step in (250, 500, 750, 1000)}
        content = {"summary": {**summary, **shares}, "valid": valid, "machine": {"cpu": "one", "commit": "abc"}}
        results.write(cell.key, {"setting": cell.setting, **content})
    page.write_text("before\n<!-- runs -->\nold\n<!-- /runs -->\nafter\n")
    write_table(results.folder, page)
    text = page.read_text()
    assert text.startswith("before\n<!-- runs -->\n| ")
    assert text.endswith("Runs: one, commit abc.\n<!-- /runs -->\nafter\n")
    assert "| CHTs, 10% | 2 | 156.2 | 156.2 | 156.2 | **156.2 ± 7.8** | 316,220 | 10.0 |" in text
    assert "| SET, 10% | not run |" in text
    assert "4.50 | 256 |" in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1
    write_table(results.folder, page)
    assert page.read_text() == text
    page.write_text("no marks\n")
    assert main(["llama", "--results", str(results.folder), "--page", str(page)]) == 2
    assert "<!-- runs -->" in capsys.readouterr().err


def test_the_table_in_the_documentation_is_that_of_the_results(tmp_path: Path) -> None:
    page = tmp_path / "llama.md"
    page.write_text((DOCS / page.name).read_text())
    assert main(["llama", "--results", str(RESULTS), "--page", str(page)]) == 0
    assert page.read_text() == (DOCS / page.name).read_text()


def test_the_command_lists_cells_and_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPARSECORE_DATA", raising=False)
    folders = ["--results", str(tmp_path / "results"), "--scratch", str(tmp_path / "scratch")]
    (tmp_path / "scratch/set-10pc-s0").mkdir(parents=True)
    assert main(["llama", "--list", "--only", "*-10pc-s0", *folders]) == 0
    assert capsys.readouterr().out.endswith("0 done, 1 begun, 4 missing\n")
    assert main(["llama", "--only", "nothing", *folders]) == 2
    assert "Expected a pattern" in capsys.readouterr().err
    assert main(["llama", *folders]) == 2
    assert "Expected the folder of the data" in capsys.readouterr().err
