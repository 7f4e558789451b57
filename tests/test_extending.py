"""The parts of docs/extending.md are registered in a process of their own and put through the contract tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.pages import ROOT, code_of

LAWS = (
    "predictors/test_predictors.py",
    "removal/test_removal.py",
    "selection/test_selection.py",
    "generators/test_generator_contract.py",
    "evolution/test_methods.py",
    "evolution/test_evolution.py",
)
RUN = """
import sys, types, pytest
page = types.ModuleType("page")
sys.modules["page"] = page  # dataclasses look their module up
exec(open(sys.argv[1]).read(), page.__dict__)
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-k", sys.argv[2], *sys.argv[3:]]))
"""


def test_what_the_page_adds_keeps_the_laws_of_its_kind(tmp_path: Path) -> None:
    page = tmp_path / "page.py"
    page.write_text(code_of(ROOT / "docs" / "extending.md"))
    names = "degree_product or hub_spared or hubs or first"
    tests = [str(ROOT / "tests" / name) for name in LAWS]
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(page), names, *tests], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) >= 40
