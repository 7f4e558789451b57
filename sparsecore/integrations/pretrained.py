"""Sparsified Hugging Face models from disk: files hold links, and no dense weight is built while they are read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from sparsecore.errors import CheckpointError
from sparsecore.nn import SparseLinear
from sparsecore.nn.materialize import materialize
from sparsecore.storage import Topology

__all__ = ["from_pretrained"]

_FILE, _INDEX = "model.safetensors", "model.safetensors.index.json"


def from_pretrained(
    builder: Any, folder: str | os.PathLike[str], *, config: Any = None, dtype: torch.dtype | None = None
) -> nn.Module:
    """Return a sparsified model that ``model.save_pretrained(folder)`` or a checkpoint of a Trainer holds.

    Parameters
    ----------
    builder : class
        The model's class, e.g. ``LlamaForCausalLM``, or an ``AutoModelFor...`` class.
    folder : path
        Holds ``config.json`` and ``model.safetensors``, in one file or in parts.
    config : PreTrainedConfig, optional
        Instead of the one in the folder.
    dtype : torch.dtype, optional
        Of all floating parameters; as stored when missing.

    Returns
    -------
    Module
        In evaluation mode, on the CPU. Layers are sparse where the files hold links.

    Raises
    ------
    CheckpointError
        If a file is missing or damaged, or holds other layers than the configuration says.

    Notes
    -----
    The model is built on the meta device. Its own ``from_pretrained`` is no replacement: it would build dense layers
    with new weights in the place of links.
    """
    place = Path(folder)
    with ExitStack() as open_files:
        stored = _Stored(place, open_files)
        with torch.device("meta"):
            model: nn.Module = _built(builder, place, config)
        for name in stored.layers():
            _put_links(model, name, stored)
        lacking = _fill(model, stored)
    model.tie_weights()  # type: ignore[operator]
    missing = sorted(lacking & {name for name, tensor in model.named_parameters() if tensor.is_meta})
    if missing:
        raise CheckpointError(f"Expected values of {', '.join(missing)} in {place}. Got none. Use a whole checkpoint.")
    materialize(model)
    return model.to(dtype).eval() if dtype is not None else model.eval()


class _Stored(Mapping[str, torch.Tensor]):
    """The tensors of a folder by name, read when they are asked for."""

    def __init__(self, folder: Path, open_files: ExitStack) -> None:
        self.folder = folder
        index = folder / _INDEX
        names = [_FILE]
        try:
            if index.is_file():
                names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            files = [open_files.enter_context(safe_open(folder / name, framework="pt")) for name in names]
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"Expected {_FILE} or its parts in {folder}. Got: {error}. Write them with model.save_pretrained."
            ) from error
        self._home = {name: file for file in files for name in file.keys()}  # noqa: SIM118 - not a mapping

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._home[name].get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._home)

    def __len__(self) -> int:
        return len(self._home)

    def layers(self) -> list[str]:
        """Return the names of the layers that are stored as links."""
        names = [name.removesuffix(".col_ptr") for name in self if name.endswith(".col_ptr")]
        return [name for name in names if f"{name}.rows" in self and f"{name}.values" in self]


def _built(builder: Any, folder: Path, config: Any) -> nn.Module:
    from transformers import AutoConfig

    if config is None:
        try:
            config = AutoConfig.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"Expected a readable config.json in {folder}. Got: {error}.") from error
    model: nn.Module = builder.from_config(config) if hasattr(builder, "from_config") else builder(config)
    return model


def _put_links(model: nn.Module, name: str, stored: _Stored) -> None:
    """Put a sparse layer in the place of a linear one."""
    parent, _, child = name.rpartition(".")
    try:
        linear = model.get_submodule(name)
    except AttributeError:
        linear = None
    if not isinstance(linear, nn.Linear):
        raise CheckpointError(
            f"Expected a linear layer {name!r} in the model, for the links of {stored.folder}. "
            f"Got {'none' if linear is None else type(linear).__name__}. Use the class the files were written from."
        )
    shape = linear.out_features, linear.in_features
    col_ptr, rows = (stored[f"{name}.{part}"].numpy() for part in ("col_ptr", "rows"))
    topology = Topology(shape, col_ptr.astype(np.int64), rows)
    values = stored[f"{name}.values"]
    with torch.device("cpu"):
        layer = SparseLinear(*shape[::-1], linear.bias is not None, topology=topology, seed=0, dtype=values.dtype)
    layer.values = nn.Parameter(values)
    layer.bias = linear.bias
    setattr(model.get_submodule(parent), child, layer)


def _fill(model: nn.Module, stored: _Stored) -> set[str]:
    """Give parameters and buffers their stored values; return the names of those that are not stored."""
    lacking = set()
    for prefix, module in model.named_modules():
        for tensors in (module._parameters, module._buffers):
            for part, tensor in tensors.items():
                name = f"{prefix}.{part}" if prefix else part
                if tensor is None or not tensor.is_meta:
                    continue
                if name not in stored:
                    lacking.add(name)
                    continue
                value = stored[name]
                if value.shape != tensor.shape:
                    shapes = f"{tuple(tensor.shape)} in {stored.folder}. Got {tuple(value.shape)}"
                    raise CheckpointError(f"Expected {name!r} of shape {shapes}. Give the config it was written with.")
                tensors[part] = nn.Parameter(value, tensor.requires_grad) if tensors is module._parameters else value
    return lacking
