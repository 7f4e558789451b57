"""``python -m sparsecore.bench.papers mlp | page | runtime | translation | llama``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sparsecore.bench.papers.cells import Protocol
from sparsecore.bench.papers.grid import cells
from sparsecore.bench.papers.llama import command as llama
from sparsecore.bench.papers.pool import Job, run_all
from sparsecore.bench.papers.results import Results
from sparsecore.bench.papers.translation import command as translation
from sparsecore.bench.papers.work import add_options, data_of, end_of, listing, matching
from sparsecore.errors import SparseCoreError

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
    add_options(mlp, _RESULTS, "sparsecore-papers")
    mlp.add_argument("--workers", type=int, default=1, help="processes")
    mlp.set_defaults(run=_mlp)
    page = commands.add_parser("page", help="write the pages from all results")
    page.add_argument("--docs", type=Path, default=Path("docs"), help="folder of results.md and ablations.md")
    page.set_defaults(run=_page)
    runtime = commands.add_parser("runtime", help="time one link prediction against the dense formulation")
    runtime.add_argument("--sizes", default="256,512,1024,2048,4096", help="neurons on either side")
    runtime.add_argument("--densities", default="0.01,0.05,0.1,0.3", help="fractions of links")
    runtime.add_argument("--limit", type=float, default=120.0, help="seconds a dense formulation may take")
    runtime.set_defaults(run=_runtime)
    for command in (page, runtime):
        command.add_argument("--results", type=Path, default=_RESULTS, help="folder of the JSON files")
    translation.add_command(commands)
    llama.add_command(commands)
    return parser


def _mlp(options: argparse.Namespace) -> int:
    protocol = Protocol(threads=options.threads)
    chosen, results = matching(cells(protocol), options.only), Results(options.results)
    if options.list:
        sys.stdout.write(listing({cell.key: cell.is_done(results, protocol) for cell in chosen}, options.scratch))
        return 0
    job = Job(chosen, protocol, options.results, options.scratch, data_of(options), end_of(options))
    return min(1, run_all(job, workers=options.workers))


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
