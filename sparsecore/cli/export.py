"""The command that writes the trained model of a run for other programs."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer

from sparsecore.cli.screen import console, in_bytes
from sparsecore.errors import UnknownNameError
from sparsecore.io import RunFolder, export_model
from sparsecore.io.export import FORMATS
from sparsecore.nn.compact import DENSE_ABOVE

__all__ = ["export"]


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)],
    format: Annotated[str, typer.Option(help=f"{', '.join(FORMATS)}.")] = "safetensors",
    out: Annotated[
        Path | None, typer.Option("--out", help="File, or folder for scipy; RUN/model with its suffix when missing.")
    ] = None,
    compact: Annotated[
        bool, typer.Option("--compact/--full", help="Take out neurons and inputs that no signal passes, or keep all.")
    ] = True,
    dense_above: Annotated[
        float, typer.Option(help="Density above which --compact makes a layer dense: 1 never, 0 always.")
    ] = DENSE_ABOVE,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file or scipy folder of an earlier export.")
    ] = False,
) -> dict[str, Any]:
    """Write the model of the last checkpoint of a run as safetensors, scipy, torch or onnx (docs/export.md)."""
    if format not in FORMATS:
        raise UnknownNameError("format", format, FORMATS)
    folder = RunFolder(run)
    # By name: the library never imports its models, it only lets the command line look them up.
    model = importlib.import_module("sparsecore.models.trained").trained_model(folder)
    target = folder.path / f"model{FORMATS[format]}" if out is None else out
    written = export_model(model, target, format, compacted=compact, dense_above=dense_above, replace=force)
    if written.compaction is not None:
        console.print(str(written.compaction), markup=False)
    console.print(f"wrote {written.path} ({in_bytes(written.n_bytes)})", markup=False)
    return {"path": written.path, "n_bytes": written.n_bytes, "compaction": str(written.compaction or "")}
