"""The command line writes as into a pipe, whatever the terminal of the tests."""

from __future__ import annotations

import pytest

from sparsecore.cli.screen import console


@pytest.fixture(autouse=True)
def _width_of_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_width", 132)
