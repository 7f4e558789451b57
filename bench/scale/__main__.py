"""``python -m sparsecore.bench.scale``: what training, evolution and everything around it cost at sizes beyond dense.

Every row runs in a process of its own, under a limit of address space, and is written to ``bench/results/scale.json``
at once; rows that are there are kept, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparsecore.bench.machine import machine
from sparsecore.bench.peak import peak_above, resident_bytes
from sparsecore.bench.scale.fit import exponents
from sparsecore.bench.scale.tasks import TASKS

__all__ = ["main"]

#: Sizes of a curve, as fractions of the full size.
FRACTIONS = (1 / 256, 1 / 128, 1 / 64, 1 / 32, 1 / 16)

Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is asked for and print the exponents; returns 0 if every row that ran ended well."""
    options = _parser().parse_args(argv)
    if options.row:
        return _one(options.row[0], float(options.row[1]), options.limit_gib)
    rows = _read(options.results)
    for task in options.task or TASKS:
        for fraction in options.fractions:
            if not any(_is(row, task, fraction) and row["status"] == "ok" for row in rows):
                rows = [row for row in rows if not _is(row, task, fraction)]
                rows.append(_measured(task, fraction, options))
                _write(options.results, rows)
    for line in exponents(rows):
        _say(line)
    return 0 if all(row["status"] == "ok" for row in rows) else 1


def _measured(task: str, fraction: float, options: argparse.Namespace) -> Row:
    """Run one row in a process of its own; a row that fails or takes too long says so."""
    row: Row = {"task": task, "fraction": fraction}
    command = [sys.executable, "-m", "sparsecore.bench.scale", "--limit-gib", str(options.limit_gib)]
    started = time.perf_counter()
    try:
        done = subprocess.run(
            [*command, "--row", task, str(fraction)], capture_output=True, text=True, timeout=options.timeout_s
        )
    except subprocess.TimeoutExpired:
        row["status"] = f"longer than {options.timeout_s:g} s"
    else:
        if done.returncode == 0:
            row |= {"status": "ok", **json.loads(done.stdout)}
        else:
            row["status"] = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1][:300]
    _say(f"{task} x {fraction:.4g}: {row['status']}, {time.perf_counter() - started:.1f} s")
    return row


def _one(task: str, fraction: float, limit_gib: float) -> int:
    """Measure one row in this process and print it as JSON; kernels are loaded on a small size first."""
    TASKS[task](1 / 2048)
    limit = int(limit_gib * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    base = resident_bytes()
    with peak_above(0) as peak:
        row = TASKS[task](fraction)
    row |= {"peak_bytes": peak.bytes, "peak_bytes_per_link": (peak.bytes - base) / row["links"], "limit_gib": limit_gib}
    sys.stdout.write(json.dumps(row) + "\n")
    return 0


def _is(row: Row, task: str, fraction: float) -> bool:
    return bool(row["task"] == task and row["fraction"] == fraction)


def _read(path: Path) -> list[Row]:
    rows: list[Row] = json.loads(path.read_text())["rows"] if path.is_file() else []
    return rows


def _write(path: Path, rows: list[Row]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"machine": machine(), "rows": rows, "exponents": exponents(rows)}, indent=1) + "\n")
    os.replace(part, path)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _fraction(text: str) -> float:
    above, _, below = text.partition("/")
    return float(above) / float(below or 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sparsecore.bench.scale", description=__doc__)
    parser.add_argument("task", nargs="*", choices=[*TASKS, []], help="what to measure; everything by default")
    parser.add_argument("--fractions", nargs="+", type=_fraction, default=FRACTIONS, help="sizes, 1 is the full one")
    parser.add_argument("--limit-gib", type=float, default=20.0, help="limit of address space of every row")
    parser.add_argument("--timeout-s", type=float, default=600.0, help="time for a row")
    parser.add_argument("--results", type=Path, default=Path("bench/results/scale.json"), help="the JSON file")
    parser.add_argument("--row", nargs=2, metavar=("TASK", "FRACTION"), help="measure one row here and print it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
