from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MINE = """
import numpy as np
from dataclasses import dataclass
from typing import ClassVar
from sparsecore import removal

@removal.register("newest", paper="none", equation="rank of the link id")
@dataclass(frozen=True)
class Newest:
    \"\"\"The last links stay.\"\"\"
    needs: ClassVar[frozenset[str]] = frozenset()

    def importance(self, links, *, seed=0):
        return np.arange(links.topology.n_links, dtype=float)
"""


def run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sparsecore", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_parts_of_a_file_are_named_like_the_others(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(MINE)
    small = ("--data", "mnist_5k", "--hidden", "20,20", "--density", "0.1", "--epochs", "1", "--every", "50")
    done = run("--parts", mine, "train", *small, "--removal", "newest", "--json", "--out", tmp_path / "run")
    assert (done.returncode, done.stderr) == (0, "")
    assert '"updates": 2' in done.stdout
    assert "newest" in run("--parts", mine, "methods", "--json").stdout
    assert "Expected a removal" in run("train", *small, "--removal", "newest", "--out", tmp_path / "other").stderr


@pytest.mark.parametrize(("content", "message"), [(None, "Correct --parts"), ("1 / 0", "Got ZeroDivisionError")])
def test_a_file_that_registers_nothing_ends_in_one_line(tmp_path: Path, content: str | None, message: str) -> None:
    mine = tmp_path / "mine.py"
    if content is not None:
        mine.write_text(content)
    done = run("--parts", mine, "methods")
    assert (done.returncode, message in done.stderr, done.stderr.count("\n")) == (2, True, 1)
