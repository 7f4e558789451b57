"""The command that writes a page about runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sparsecore.cli.progress import Steps
from sparsecore.cli.screen import console, in_bytes
from sparsecore.report import write_report

__all__ = ["report"]


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(help="File to write; RUN/report.html, or comparison.html of several runs, when missing."),
    ] = None,
) -> dict[str, Any]:
    """Write one HTML page about a run, or one that compares several: curves, layers, links, degrees, network, paths."""
    with Steps("runs", len(runs)) as steps:
        path = write_report(runs, out, done=steps.done)
    size = path.stat().st_size
    console.print(f"wrote {path} ({in_bytes(size)})", markup=False)
    return {"file": path, "bytes": size}
