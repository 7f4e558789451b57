from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sparsecore.engine.memory as memory_module
from sparsecore.engine import PeakMemory

MIB = 2**20


def test_a_block_that_is_freed_again_still_counts() -> None:
    memory = PeakMemory()
    if not memory.exact:
        pytest.skip("this system does not let a process reset its peak")
    block = np.ones(64 * MIB, np.uint8)
    del block
    assert 60 * MIB < memory.rise_bytes() < 80 * MIB
    assert PeakMemory().rise_bytes() < 16 * MIB


def test_without_a_resettable_peak_growth_of_the_peak_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    PeakMemory()  # hands free memory back
    resident = memory_module._status_bytes("VmRSS:")
    if resident is None:
        pytest.skip("this system does not tell a process its resident memory")
    monkeypatch.setattr(memory_module, "_CLEAR", Path("/nonexistent/clear_refs"))
    monkeypatch.setattr(memory_module, "_STATUS", Path("/nonexistent/status"))
    memory = PeakMemory()
    assert not memory.exact
    assert memory.rise_bytes() < 16 * MIB
    below = memory_module._peak_bytes() - resident  # an earlier peak hides what stays below it
    block = np.ones(below + 64 * MIB, np.uint8)
    del block
    assert 48 * MIB < memory.rise_bytes() < 80 * MIB
