"""The command that measures this engine against dense layers and the libraries of the field."""

from __future__ import annotations

import contextlib
import importlib
import io
from pathlib import Path
from typing import Annotated, Any

import typer

from sparsecore.cli.screen import console
from sparsecore.errors import UnknownNameError

__all__ = ["bench"]


def bench(
    suites: Annotated[
        list[str] | None,
        typer.Argument(
            help="step, kernels, evolution, memory, crossover, scaling; all when none is named.", show_default=False
        ),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.0, help="Time for each contender; the suite's own when missing.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure rows again that still hold.")] = False,
    results: Annotated[Path, typer.Option(help="Folder of the JSON files.")] = Path("bench/results"),
    page: Annotated[Path, typer.Option(help="Page to write.")] = Path("docs/benchmarks.md"),
) -> dict[str, Any]:
    """Check every contender for equal results, time those that pass, write JSON, page and pictures (1: wrong results).

    On a GPU: python -m sparsecore.bench.gpu. Networks, papers and scale: python -m sparsecore.bench.networks, .papers,
    .scale.
    """
    # By name: the library never imports its benchmarks, it only lets the command line look them up.
    registry: Any = importlib.import_module("sparsecore.bench.registry")
    known = (*registry.SUITES, *registry.DERIVED)
    for name in suites or []:
        if name not in known:
            raise UnknownNameError("benchmark suite", name, known)
    words = [*(suites or []), "--results", str(results), "--page", str(page)]
    words += ["--again"] if again else []
    words += [] if seconds is None else ["--seconds", str(seconds)]
    with contextlib.redirect_stderr(io.StringIO()) if console.quiet else contextlib.nullcontext():
        status: int = importlib.import_module("sparsecore.bench.run").main(words)
    return {"results": results, "page": page, "suites": list(suites or known), "ok": status == 0}
