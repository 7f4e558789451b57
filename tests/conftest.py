"""What every test runs under: fixed seeds, two threads, the data folder if there is one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

# CI draws the same examples every time; `fresh` looks for new ones.
settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fresh", deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", derandomize=True, deadline=None, max_examples=25)  # for mutation testing
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder with mnist/, fashion-mnist/ and cifar10/; tests that need it are skipped where there is none."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("SPARSECORE_DATA", root.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}; set SPARSECORE_DATA")
    return folder


@pytest.fixture
def parts_of_work(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Split predictors and selections finely, and return a list that grows by the parts of every split."""
    from sparsecore.kernels.cpu import threads
    from sparsecore.predictors import draws, three_paths
    from sparsecore.selection import soft

    counts: list[int] = []
    run_parts = threads.run_parts

    def counted(parts: Sequence[Callable[[], object]]) -> None:
        counts.append(len(parts))
        run_parts(parts)

    for module in (threads, three_paths):
        monkeypatch.setattr(module, "run_parts", counted)
    for module, name, size in ((draws, "SHARE", 16), (soft, "SHARE", 16), (three_paths, "BLOCK", 64)):
        monkeypatch.setattr(module, name, size)
    return counts
