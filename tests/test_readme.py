"""README and pages are true: their code runs, their figures are those of the result files, their commands exist."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from sparsecore.bench.page.quotes import figure, quoted
from sparsecore.cli.app import app
from sparsecore.errors import UnknownNameError
from tests.pages import PAGES, ROOT, code_of, needs

RESULTS = ROOT / "bench" / "results"
COMMANDS = set(typer.main.get_group(app).commands)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [page for page in PAGES if code_of(page)], ids=name_of)
def test_the_code_of_a_page_runs_from_top_to_bottom(page: Path, tmp_path: Path) -> None:
    code = code_of(page)
    missing = needs(code)
    if missing:
        pytest.skip(missing)
    if "SPARSECORE_DATA" in code and "SPARSECORE_DATA" not in os.environ:
        pytest.skip("SPARSECORE_DATA is not set")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr


def test_commands_named_on_pages_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"(?:^|`)make ([a-z]+)\b", text, re.MULTILINE)) <= targets, name_of(page)
        shell = "\n".join(re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
        assert set(re.findall(r"^sparsecore ([a-z]+)", shell, re.MULTILINE)) <= COMMANDS, name_of(page)
        assert set(re.findall(r"`sparsecore ([a-z]+)", text)) <= COMMANDS, name_of(page)


@pytest.mark.parametrize("page", [p for p in PAGES if "<!--q " in p.read_text(encoding="utf-8")], ids=name_of)
def test_quoted_figures_are_those_of_the_result_files(page: Path) -> None:
    if page.name == "CONTRIBUTING.md":  # shows how a quote is written
        return
    text = page.read_text(encoding="utf-8")
    assert quoted(text, RESULTS) == text, "python -m sparsecore.bench.run --page-only"
    assert "\n<!--q " not in text, "a line that begins with a mark ends its paragraph"


def test_a_figure_that_is_not_kept_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="'memory'"):
        figure(RESULTS, "memori dense")
    assert (
        quoted("<!--q step 0.01 32 sparsecore-->9<!--/q-->", RESULTS) == "<!--q step 0.01 32 sparsecore-->1.0<!--/q-->"
    )


def test_an_accuracy_is_quoted_with_its_seeds(tmp_path: Path) -> None:
    folder = tmp_path / "papers"
    folder.mkdir()
    for seed, accuracy in enumerate((0.98, 0.99)):
        summary = {
            "accuracy_last": accuracy,
            "accuracy_best_on_test": accuracy + 0.002,
            "anp": 0.3,
            "cpu_s": 90 + 120 * seed,
        }
        (folder / f"a-1pc-s{seed}.json").write_text(
            json.dumps({"summary": summary, "train_accuracy": 1.0 - 0.1 * seed})
        )
    (folder / "b-s0.json").write_text(json.dumps({"summary": {"accuracy_last": 0.9725}}))
    (folder / "a-1pc-s0-held.json").write_text(json.dumps({"summary": {"accuracy_last": 0.5}}))
    assert figure(tmp_path, "accuracy a-1pc") == "98.50 ± 0.50%"
    assert figure(tmp_path, "last a-1pc") == "98.50"
    assert figure(tmp_path, "best a-1pc") == "98.70"
    assert figure(tmp_path, "points b a-1pc") == "-1.2"
    assert figure(tmp_path, "seeds a-1pc") == "two seeds"
    assert figure(tmp_path, "anp a-1pc") == "30%"
    assert figure(tmp_path, "learned a-1pc") == "95.0%"
    assert figure(tmp_path, "minutes a-1pc") == "2 minutes"
    (folder / "a-1pc-s1.json").unlink()
    assert figure(tmp_path, "accuracy a-1pc") == "98.00% (one seed)"
    assert figure(tmp_path, "seeds a-1pc") == "one seed"
    with pytest.raises(UnknownNameError, match="Did you mean 'a-1pc'"):
        figure(tmp_path, "accuracy a-10pc")


def test_pictures_of_pages_exist() -> None:
    for page in PAGES:
        for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).is_file(), f"{name_of(page)}: {target}"


def test_the_readme_fits_a_screen() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 85
