"""What every test runs under: fixed seeds, two threads, the data folder if there is one."""

from __future__ import annotations

import os
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
