"""One way in and one way out for all formats."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from sparsecore.errors import CheckpointError, ExportError, UnknownNameError
from sparsecore.io.export.lists import is_scipy_export, read_safetensors, read_scipy, write_safetensors, write_scipy
from sparsecore.io.export.onnx_graph import write_onnx
from sparsecore.io.export.torch_program import read_torch, write_torch
from sparsecore.nn import Compaction, compact
from sparsecore.nn.compact import DENSE_ABOVE

__all__ = ["FORMATS", "Exported", "export_model", "load_exported"]

_WRITERS: dict[str, Callable[[nn.Module, Path], None]] = {
    "safetensors": write_safetensors,
    "scipy": write_scipy,
    "torch": write_torch,
    "onnx": write_onnx,
}

#: Name of every format and the suffix of its files; scipy writes a folder.
FORMATS = {"safetensors": ".safetensors", "scipy": "", "torch": ".pt2", "onnx": ".onnx"}


@dataclass(frozen=True)
class Exported:
    """What `export_model` wrote.

    Attributes
    ----------
    path : Path
        File, or folder for the format scipy.
    n_bytes : int
        Size on disk.
    compaction : Compaction, optional
        What compacting did; ``None`` for a model written as it is.
    """

    path: Path
    n_bytes: int
    compaction: Compaction | None


def export_model(
    model: nn.Module,
    path: str | os.PathLike[str],
    format: str = "safetensors",
    *,
    compacted: bool = True,
    dense_above: float = DENSE_ABOVE,
    replace: bool = False,
) -> Exported:
    """Write a model for other programs; `path` is whole or not there at all.

    Parameters
    ----------
    model : Module
        Any model for safetensors and scipy; a sequence of known modules for torch and onnx, and wherever the file is to
        be run by `load_exported`. It is not changed.
    path : path
        File to write, or folder for scipy; its parent must exist.
    format : str
        ``"safetensors"``, ``"scipy"``, ``"torch"`` (`torch.export`) or ``"onnx"``; see docs/export.md.
    compacted : bool
        Write what `sparsecore.nn.compact` leaves of the model.
    dense_above : float
        Handed to `compact`.
    replace : bool
        Replace the file at `path`, or the folder that this function wrote as scipy before. Other folders are refused.

    Raises
    ------
    ExportError
        If the format cannot hold the model, its package is missing, or something is at `path` that must stay.
    UnknownNameError
        If there is no such format.
    CheckpointError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile, torch
    >>> from sparsecore.nn import SparseLinear
    >>> net = nn.Sequential(SparseLinear(20, 8, density=0.1, seed=0), nn.Tanh())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = export_model(net, f"{folder}/net.safetensors")
    ...     load_exported(written.path)(torch.zeros(3, 20)).shape
    torch.Size([3, 8])
    """
    if format not in _WRITERS:
        raise UnknownNameError("format", format, _WRITERS)
    target = Path(path)
    if target.is_dir() and not (format == "scipy" and is_scipy_export(target)):
        raise ExportError(
            f"Expected no folder at the path, or for scipy that of an earlier export. Got the folder {target}. "
            "Choose another path."
        )
    if target.exists() and not replace:
        raise ExportError(f"Expected a new file. Got {target}, which exists. Replace it with replace=True (--force).")
    report: Compaction | None = None
    if compacted:
        model, report = compact(model, dense_above=dense_above)
    else:
        model = copy.deepcopy(model).eval().requires_grad_(False)
    unfinished = target.with_name(f".tmp_{target.name}")
    try:
        _remove(unfinished)
        try:
            _WRITERS[format](model.cpu(), unfinished)
            _remove(target)
            os.replace(unfinished, target)
        finally:
            _remove(unfinished)
    except OSError as error:
        raise CheckpointError(f"Expected to write {target}. Got: {error}. Check folder and free space.") from error
    return Exported(target, _size(target), report)


def load_exported(path: str | os.PathLike[str]) -> nn.Module:
    """Return an exported model as a module for inference.

    Parameters
    ----------
    path : path
        What `export_model` wrote as safetensors, scipy or torch.

    Returns
    -------
    Module
        In evaluation mode. Files of the format torch give a graph for inputs (B, n_in) on torch's own kernels,
        the others a `SparseSequential` on the engine's.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged or foreign.
    ExportError
        If it holds tensors without a program, or ONNX, which other programs run.
    """
    target = Path(path)
    if not target.exists():
        raise CheckpointError(f"Expected an exported model at {target}. Got no such file.")
    if target.suffix == FORMATS["onnx"]:
        raise ExportError(f"Expected safetensors, scipy or torch. Got {target}. Run it with onnxruntime.")
    if target.is_dir():
        return read_scipy(target)
    return read_torch(target) if target.suffix == FORMATS["torch"] else read_safetensors(target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
