"""Link lists for other programs: one safetensors file, or a folder with one SciPy CSR file per layer."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import scipy.sparse
import torch
from torch import nn

from sparsecore.errors import CheckpointError, ExportError
from sparsecore.io.export.program import build, describe
from sparsecore.nn import sparse_layers
from sparsecore.storage import from_scipy

__all__ = ["is_scipy_export", "read_safetensors", "read_scipy", "write_safetensors", "write_scipy"]

_FORMAT, _VERSION = "sparsecore-export", 1
_MODEL, _TENSORS = "model.json", "tensors.npz"
_LINKS = ("values", "rows", "col_ptr")


def write_safetensors(model: nn.Module, path: Path) -> None:
    """Write every tensor of a model under its name, and what they mean as JSON in the metadata."""
    tensors, seen = {}, set()
    for name, tensor in model.state_dict().items():
        part = tensor.detach().cpu().contiguous()
        tensors[name] = part.clone() if part.data_ptr() in seen else part  # the format wants tied tensors apart
        seen.add(part.data_ptr())
    metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in _header(model).items()}
    path.touch()
    mode = path.stat().st_mode  # what the user's umask gives; safetensors lets only the owner read
    safetensors.torch.save_file(tensors, path, metadata=metadata)
    path.chmod(mode)


def read_safetensors(path: Path) -> nn.Module:
    """Return the model of a file that `write_safetensors` wrote."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = _parsed(path, file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, safetensors.SafetensorError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"Expected a whole safetensors file at {path}. Got a damaged one ({error}).") from error
    return build(_program(path, header), tensors)


def write_scipy(model: nn.Module, folder: Path) -> None:
    """Write one ``scipy.sparse.csr_array`` per sparse layer, the other tensors as arrays, and a JSON file."""
    folder.mkdir()
    header, links = _header(model), set()
    for index, (name, layer) in enumerate(sparse_layers(model).items()):
        topology = layer.topology
        values = _array(layer.values)[topology.row_order]
        matrix = scipy.sparse.csr_array((values, topology.row_cols, topology.row_ptr), shape=topology.shape)
        file = f"{name}.npz" if name and "/" not in name and name != Path(_TENSORS).stem else f"layer_{index}.npz"
        scipy.sparse.save_npz(folder / file, matrix)
        header["sparse_layers"][name]["file"] = file
        links |= {_joined(name, part) for part in _LINKS}
    arrays = {name: _array(tensor) for name, tensor in model.state_dict().items() if name not in links}
    np.savez(folder / _TENSORS, **arrays)
    (folder / _MODEL).write_text(json.dumps(header, indent=2) + "\n", encoding="utf-8")


def read_scipy(folder: Path) -> nn.Module:
    """Return the model of a folder that `write_scipy` wrote."""
    try:
        header = _parsed(folder, json.loads((folder / _MODEL).read_text(encoding="utf-8")))
        program = _program(folder, header)
        with open(folder / _TENSORS, "rb") as file, np.load(file) as arrays:
            tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        for name, layer in header["sparse_layers"].items():
            with open(folder / layer["file"], "rb") as file:  # SciPy leaves a damaged file open
                topology, values = from_scipy(scipy.sparse.load_npz(file))
            parts = (values, topology.rows.copy(), topology.col_ptr.copy())
            tensors |= {_joined(name, p): torch.from_numpy(a) for p, a in zip(_LINKS, parts, strict=True)}
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, CheckpointError | ExportError):
            raise
        raise CheckpointError(f"Expected a whole exported model in {folder}. Got a damaged one ({error}).") from error
    return build(program, tensors)


def is_scipy_export(folder: Path) -> bool:
    """Tell whether a folder holds nothing but what `write_scipy` wrote."""
    try:
        header = _parsed(folder, json.loads((folder / _MODEL).read_text(encoding="utf-8")))
        written = {_MODEL, _TENSORS, *(layer["file"] for layer in header["sparse_layers"].values())}
    except (OSError, ValueError, AttributeError, KeyError, TypeError, CheckpointError):
        return False
    return all(file.is_file() and file.name in written for file in folder.iterdir())


def _header(model: nn.Module) -> dict[str, Any]:
    layers: dict[str, Any] = {
        name: {"n_out": layer.out_features, "n_in": layer.in_features, "n_links": layer.topology.n_links}
        for name, layer in sparse_layers(model).items()
    }
    header = {"format": _FORMAT, "version": _VERSION, "sparse_layers": layers}
    try:
        return {**header, "program": describe(model)}
    except ExportError as error:
        return {**header, "program": None, "reason": str(error)}


def _parsed(path: Path, header: Mapping[str, Any]) -> dict[str, Any]:
    """Check a header; values that are JSON text are read."""
    if header.get("format") != _FORMAT:
        raise CheckpointError(f"Expected an exported model at {path}. Got the file of another program.")
    try:
        read = {key: json.loads(v) if isinstance(v, str) and key not in ("format", "reason") else v
                for key, v in header.items()}  # fmt: skip
    except ValueError as error:
        raise CheckpointError(f"Expected a readable header in {path}. Got a damaged one ({error}).") from error
    if read.get("version") != _VERSION:
        raise CheckpointError(f"Expected version {_VERSION} in {path}. Got {read.get('version')!r}.")
    return read


def _program(path: Path, header: Mapping[str, Any]) -> list[dict[str, Any]]:
    program = header.get("program")
    if not isinstance(program, list):
        raise ExportError(
            f"Expected a program in {path}. Got tensors alone, because of the model: {header.get('reason')} "
            "Build the model and load the tensors into it: they have the names of its state_dict."
        )
    return program


def _joined(name: str, part: str) -> str:
    return f"{name}.{part}" if name else part


def _array(tensor: torch.Tensor) -> Any:
    """Return a tensor as a numpy array; half precision as float32, which numpy and SciPy can compute with."""
    part = tensor.detach().cpu()
    return (part.float() if part.dtype in (torch.bfloat16, torch.float16) else part).numpy()
