"""``python -m sparsecore.bench.run SUITE``: measure, write JSON, write docs/benchmarks.md from all JSON."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from sparsecore.bench import evolution, step
from sparsecore.bench.machine import machine
from sparsecore.bench.page import write_page

__all__ = ["main"]


def _steps(seconds: float) -> Iterator[dict[str, Any]]:
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for batch in (32, 128):
            row = step.measure(0.01, batch, seconds=seconds)
            yield row | {"threads": threads}


def _regrowths(seconds: float) -> Iterator[dict[str, Any]]:
    for shape, density in (
        ((1024, 1024), 0.01),
        ((4096, 4096), 0.01),
        ((4096, 4096), 0.1),
        ((4096, 4096), 0.3),
        ((4096, 11008), 0.01),
        ((16384, 16384), 0.01),
    ):
        yield evolution.measure(shape, density)


SUITES: dict[str, Callable[[float], Iterator[dict[str, Any]]]] = {"step": _steps, "regrowth": _regrowths}


def main(argv: list[str] | None = None) -> int:
    """Run one suite or all; returns 0 if every contender that is installed gave the right result."""
    parser = argparse.ArgumentParser(prog="python -m sparsecore.bench.run", description=__doc__)
    parser.add_argument("suite", nargs="*", choices=[*SUITES, []], help="suites to run; all when none is named")
    parser.add_argument("--seconds", type=float, default=2.0, help="time to spend on each contender")
    parser.add_argument("--results", type=Path, default=Path("bench/results"), help="folder of the JSON files")
    parser.add_argument("--page", type=Path, default=Path("docs/benchmarks.md"), help="page to write")
    options = parser.parse_args(argv)
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
    options.results.mkdir(parents=True, exist_ok=True)
    healthy = True
    for suite in options.suite or SUITES:
        rows: list[dict[str, Any]] = []
        result = {"suite": suite, "machine": machine(), "rows": rows}
        for row in SUITES[suite](options.seconds):
            rows.append(row)
            healthy &= not any("wrong" in status for status in _statuses(row))
            (options.results / f"{suite}.json").write_text(json.dumps(result, indent=1) + "\n")
            sys.stderr.write(f"{suite}: {len(rows)} rows\n")
    write_page(options.results, options.page)
    return 0 if healthy else 1


def _statuses(row: dict[str, Any]) -> list[str]:
    return [row.get("status", "ok"), *(entry["status"] for entry in row.get("contenders", {}).values())]


if __name__ == "__main__":
    sys.exit(main())
