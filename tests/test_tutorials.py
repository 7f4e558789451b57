"""Tutorials: notebooks are those of the pages, and the code of the notebooks runs (that of all pages: test_readme)."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.pages import ROOT, code_of

FOLDER = ROOT / "docs" / "tutorials"
PAGES = sorted(page for page in FOLDER.glob("*.md") if page.name != "index.md")


def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notebooks", FOLDER / "notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_notebook_of_a_page_is_up_to_date(page: Path) -> None:
    text = page.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert text == writer().notebook(page.read_text(encoding="utf-8")), "python docs/tutorials/notebooks.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_notebook_holds_text_and_code_and_no_outputs(page: Path) -> None:
    content = json.loads(page.with_suffix(".ipynb").read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    cells = content["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert not any("Agg" in "".join(cell["source"]) for cell in code)
    compile("\n".join("".join(cell["source"]) for cell in code), page.stem, "exec")
    assert "".join(cells[0]["source"]).startswith("# ")


def test_every_tutorial_is_listed_and_in_the_menu() -> None:
    index, menu = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/tutorials/index.md", "mkdocs.yml"))
    for page in PAGES:
        assert f"({page.name})" in index
        assert f"tutorials/{page.name}" in menu


@pytest.mark.slow  # the page itself runs in test_readme
def test_the_figures_of_the_network_tutorial_point_the_way_the_page_says(tmp_path: Path) -> None:
    """The one page whose text draws conclusions from its numbers."""
    for library in ("igraph", "powerlaw", "matplotlib", "mlxtend"):
        pytest.importorskip(library)
    page = FOLDER / "network_science.md"
    checks = """
old, new = ({row.name: row.value for row in metrics.measure_network(chain)} for chain in (before, after))
assert old["degree exponent γ"] > 5 and new["degree exponent γ"] < 3
assert new["ANP with inputs"] < 0.9 < old["ANP with inputs"]
assert new["log10 of credit-assignment paths"] > old["log10 of credit-assignment paths"] + 0.8
assert min(metrics.hub_share(after)[1:-1]) > 0.7
"""
    done = subprocess.run(
        [sys.executable, "-c", code_of(page) + checks], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
