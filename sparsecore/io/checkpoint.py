"""Checkpoints: one safetensors file that is written whole or not at all, and says what is wrong when damaged."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from sparsecore.errors import CheckpointError, check_count
from sparsecore.io.tree import pack, unpack

__all__ = ["FORMAT_VERSION", "load", "save", "tidy"]

#: Raised when a file of an older sparsecore can no longer be read as it stands.
FORMAT_VERSION = 1
_KEY = "sparsecore"


def save(path: str | os.PathLike[str], state: Mapping[Any, Any], *, keep: int = 1) -> None:
    """Write `state` to `path`; at every instant `path` is the old file or the new one, whole.

    Parameters
    ----------
    path : path
        File to write; its folder must exist.
    state : mapping
        Nested dicts, lists and tuples of tensors, numpy arrays, numbers, strings, booleans and None.
        Key types (str, int, ...), tuples, dtypes and shapes come back as they were; tensors come back on the CPU.
    keep : int
        How many files to keep: earlier ones stay beside `path` as ``name.1.safetensors`` (the last but one),
        ``name.2.safetensors`` and so on.

    Raises
    ------
    CheckpointError
        If `state` holds something else, or the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/a.safetensors", {"position": (3, 7), "w": np.arange(2.0)})
    ...     load(f"{folder}/a.safetensors")
    {'position': (3, 7), 'w': array([0., 1.])}
    """
    target = Path(path)
    check_count("keep", keep, "how many checkpoint files stay on disk", low=1)
    if not isinstance(state, Mapping):
        raise CheckpointError(f"Expected a mapping as the state. Got {type(state).__name__}. Give it names in a dict.")
    tree, tensors = pack(dict(state))
    body = json.dumps(tree, separators=(",", ":"))
    header = {"format_version": FORMAT_VERSION, "digest": _digest(body, tensors), "tree": body}
    workplace = _workplace(target)
    try:
        try:
            _clear(workplace)
            workplace.mkdir()
            written = workplace / target.name
            written.touch()
            mode = written.stat().st_mode  # what the user's umask gives; safetensors lets only the owner read
            safetensors.torch.save_file(tensors, written, metadata={_KEY: json.dumps(header)})
            written.chmod(mode)
            with open(written, "rb+") as file:
                os.fsync(file.fileno())
            _rotate(target, keep)
            os.replace(written, target)
            _sync_folder(target.parent)
        finally:
            _clear(workplace)
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"Expected to write {target}. Got: {error}. Check folder and free space.") from error


def tidy(path: str | os.PathLike[str]) -> None:
    """Remove what a process that was killed while it wrote `path` has left beside it; `save` does so too."""
    _clear(_workplace(Path(path)))


def load(path: str | os.PathLike[str]) -> dict[Any, Any]:
    """Return the state that `save` wrote to `path`.

    Raises
    ------
    CheckpointError
        If the file is missing, truncated, damaged, written by another program or by a newer sparsecore.
    """
    target = Path(path)
    if not target.is_file():
        raise CheckpointError(f"Expected a checkpoint at {target}. Got no such file.")
    try:
        with safetensors.safe_open(target, framework="pt") as file:
            metadata = file.metadata() or {}
            header = _header(target, metadata)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, safetensors.SafetensorError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"Expected a whole safetensors file at {target}. Got a truncated, damaged or foreign one ({error})."
        ) from error
    if _digest(header["tree"], tensors) != header["digest"]:
        raise CheckpointError(
            f"Expected the content of {target} to match its checksum. Got damaged data. Use an earlier checkpoint."
        )
    try:
        tree = json.loads(header["tree"])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"Expected a readable tree in {target}. Got a damaged one ({error}).") from error
    state = unpack(tree, tensors)
    if not isinstance(state, dict):
        raise CheckpointError(f"Expected a dict in {target}. Got {type(state).__name__}.")
    return state


def _header(target: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    if _KEY not in metadata:
        raise CheckpointError(
            f"Expected a sparsecore checkpoint at {target}. Got a safetensors file of another program."
        )
    try:
        header = json.loads(metadata[_KEY])
        version = header["format_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"Expected a readable header in {target}. Got a damaged one ({error}).") from error
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"Expected format version {FORMAT_VERSION} in {target}. Got {version!r}. "
            "Read it with the sparsecore that wrote it."
        )
    if not {"digest", "tree"} <= header.keys() or not isinstance(header["tree"], str):
        raise CheckpointError(f"Expected a digest and a tree in the header of {target}. Got {sorted(header)}.")
    return dict(header)


def _digest(body: str, tensors: Mapping[str, torch.Tensor]) -> str:
    state = hashlib.blake2b(body.encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        state.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        if tensor.numel():
            state.update(tensor.reshape(-1).view(torch.uint8).numpy().view(np.uint8).data)
    return state.hexdigest()


def _workplace(target: Path) -> Path:
    """Return the folder in which a file is written; its name is the same each time.

    A folder, because safetensors writes through a file of a random name: what a killed process left is found again.
    """
    return target.with_name(f".{target.name}.tmp")


def _clear(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _rotate(target: Path, keep: int) -> None:
    """Give the present file a second name, so that it survives being replaced."""
    if keep == 1 or not target.exists():
        return
    names = [target.with_name(f"{target.stem}.{age}{target.suffix}") for age in range(1, keep)]
    for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
        if newer.exists():
            os.replace(newer, older)
    names[0].unlink(missing_ok=True)
    os.link(target, names[0])


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened, and the rename is already durable
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
