"""The suites by name. Adding one is a module with a `SUITE` and a line here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["DERIVED", "ON_REQUEST", "SUITES", "Row", "Setting", "Suite", "suite"]

Setting = dict[str, Any]
Row = dict[str, Any]


@dataclass(frozen=True)
class Suite:
    """A list of settings and what measures one of them.

    Attributes
    ----------
    about : str
        One line for the command line.
    seconds : float
        Time to spend on each contender unless asked otherwise.
    settings : callable
        Returns plain JSON dictionaries, cheap to make.
    measure : callable
        ``(setting, seconds)`` to a row of plain JSON data. Everything named ``status`` in it is ``"ok"`` or says what
        is wrong.
    """

    about: str
    seconds: float
    settings: Callable[[], Sequence[Setting]]
    measure: Callable[[Setting, float], Row]


#: In the order in which they run when none is named.
SUITES: dict[str, str] = {
    "step": "sparsecore.bench.step",
    "kernels": "sparsecore.bench.kernels",
    "evolution": "sparsecore.bench.evolution",
    "memory": "sparsecore.bench.memory",
    "scaling": "sparsecore.bench.scaling",
    "gpu": "sparsecore.bench.gpu",
}

#: Suites that run only when named: they need hardware that most machines lack.
ON_REQUEST = frozenset({"gpu"})

#: Names that stand for what is read off another suite's rows.
DERIVED: dict[str, str] = {"crossover": "kernels"}


def suite(name: str) -> Suite:
    """Return a suite by name; its module is imported on first use."""
    found: Suite = importlib.import_module(SUITES[name]).SUITE
    return found
