"""``python -m sparsecore.bench.papers mlp | page | runtime | translation``."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from sparsecore.bench.papers.cells import Cell, Protocol
from sparsecore.bench.papers.grid import cells
from sparsecore.bench.papers.pool import Job, run_all
from sparsecore.bench.papers.results import Results
from sparsecore.bench.papers.translation.command import add_command
from sparsecore.errors import ConfigError, SparseCoreError

__all__ = ["main"]

_RESULTS = Path("bench/results/papers")


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns 0 if nothing failed."""
    options = _parser().parse_args(argv)
    try:
        code: int = options.run(options)
    except SparseCoreError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sparsecore.bench.papers", description=__doc__)
    commands = parser.add_subparsers(required=True)
    mlp = commands.add_parser("mlp", help="run the image experiments that have no result yet")
    mlp.add_argument("--data-dir", type=Path, default=_environment(), help="folder of the data; SPARSECORE_DATA")
    mlp.add_argument("--workers", type=int, default=1, help="processes")
    mlp.add_argument("--threads", type=int, default=1, help="threads of each process")
    mlp.add_argument(
        "--only", action="append", default=[], metavar="PATTERN", help="cells like mnist-chts*; repeatable"
    )
    mlp.add_argument("--budget", type=float, metavar="MINUTES", help="stop after this long; runs can be resumed")
    mlp.add_argument("--list", action="store_true", help="show which cells are done, begun or missing, and end")
    mlp.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()) / "sparsecore-papers")
    mlp.set_defaults(run=_mlp)
    page = commands.add_parser("page", help="write the pages from all results")
    page.add_argument("--docs", type=Path, default=Path("docs"), help="folder of results.md and ablations.md")
    page.set_defaults(run=_page)
    runtime = commands.add_parser("runtime", help="time one link prediction against the dense formulation")
    runtime.add_argument("--sizes", default="256,512,1024,2048,4096", help="neurons on either side")
    runtime.add_argument("--densities", default="0.01,0.05,0.1,0.3", help="fractions of links")
    runtime.add_argument("--limit", type=float, default=120.0, help="seconds a dense formulation may take")
    runtime.set_defaults(run=_runtime)
    for command in (mlp, page, runtime):
        command.add_argument("--results", type=Path, default=_RESULTS, help="folder of the JSON files")
    add_command(commands)
    return parser


def _environment() -> Path | None:
    return Path(os.environ["SPARSECORE_DATA"]) if "SPARSECORE_DATA" in os.environ else None


def _mlp(options: argparse.Namespace) -> int:
    protocol = Protocol(threads=options.threads)
    chosen = [cell for cell in cells(protocol) if _matches(cell, options.only)]
    if not chosen:
        raise ConfigError(f"Expected a pattern that matches a cell. Got {options.only}. --list shows all.")
    if options.list:
        sys.stdout.write(_listing(chosen, protocol, Results(options.results), options.scratch))
        return 0
    if options.data_dir is None:
        raise ConfigError("Expected the folder of the data. Got none. Give it as --data-dir, or set SPARSECORE_DATA.")
    until = None if options.budget is None else time.time() + 60 * options.budget
    job = Job(chosen, protocol, options.results, options.scratch, options.data_dir, until)
    return min(1, run_all(job, workers=options.workers))


def _matches(cell: Cell, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(cell.key, pattern) for pattern in patterns)


def _listing(chosen: Sequence[Cell], protocol: Protocol, results: Results, scratch: Path) -> str:
    states = [
        "done" if cell.is_done(results, protocol)
        else "begun" if (scratch / f"{cell.key}.safetensors").exists()
        else "missing"
        for cell in chosen
    ]  # fmt: skip
    lines = [f"{state:8}{cell.key}" for cell, state in zip(chosen, states, strict=True)]
    totals = ", ".join(f"{states.count(state)} {state}" for state in ("done", "begun", "missing"))
    return "\n".join([*lines, totals]) + "\n"


def _page(options: argparse.Namespace) -> int:
    from sparsecore.bench.papers.page import write_pages

    write_pages(options.results, options.docs)
    return 0


def _runtime(options: argparse.Namespace) -> int:
    from sparsecore.bench.papers.runtime import measure_all

    sizes = [int(size) for size in options.sizes.split(",")]
    densities = [float(density) for density in options.densities.split(",")]
    return 0 if measure_all(options.results, sizes, densities, limit_s=options.limit) else 1


if __name__ == "__main__":
    sys.exit(main())
