"""Sparsified Hugging Face models from disk: files hold links, and no dense weight is built while they are read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from sparsecore.errors import CheckpointError, ConfigError
from sparsecore.nn import SparseLinear
from sparsecore.nn.materialize import materialize
from sparsecore.nn.targets import first_match
from sparsecore.storage import Topology

__all__ = ["from_pretrained"]

_FILE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_GENERATION = "generation_config.json"


def from_pretrained(
    builder: Any,
    folder: str | os.PathLike[str],
    *,
    config: Any = None,
    dtype: torch.dtype | str | None = None,
    new: Sequence[str] = (),
) -> nn.Module:
    """Return a sparsified model that ``model.save_pretrained(folder)`` or a checkpoint of a Trainer holds.

    Parameters
    ----------
    builder : class
        The model's class, e.g. ``LlamaForCausalLM``, or an ``AutoModel...`` class. One for another task takes over the
        base model that both have; heads in the files that it lacks are left out.
    folder : path
        Holds ``config.json`` and ``model.safetensors``, in one file or in parts.
    config : PreTrainedConfig, optional
        Instead of the one in the folder.
    dtype : torch.dtype or str, optional
        Of all floating parameters, or its name; ``"auto"`` takes that of the configuration. As stored when missing.
    new : sequence of str
        Glob patterns of modules, e.g. ``["score*"]``, that the model's own means initialise where the files hold none
        of their values.

    Returns
    -------
    Module
        In evaluation mode, on the CPU. Layers are sparse where the files hold links.

    Raises
    ------
    CheckpointError
        If a file is missing or damaged, or holds other layers than the configuration says, or the class cannot be built
        from it.
    ConfigError
        If dtype is no floating type, or a pattern of `new` matches no module.

    Notes
    -----
    The model is built on the meta device. Its own ``from_pretrained`` is no replacement: it would build dense layers
    with new weights in the place of links.
    """
    place = Path(folder)
    kind = _floating(dtype)
    with ExitStack() as open_files:
        stored = _Stored(place, open_files)
        with torch.device("meta"):
            model: nn.Module = _built(builder, place, config)
        _check_patterns(new, model)
        if dtype == "auto":
            kind = _floating(model.config.dtype)  # type: ignore[arg-type]
        stored.base, stored.dtype = f"{getattr(model, 'base_model_prefix', '')}.", kind
        for name, home in _homes(model, stored):
            _put_links(model, name, home, stored)
        lacking = _fill(model, stored)
    model.tie_weights()  # type: ignore[operator]
    _begin(model, lacking, new, place)
    materialize(model)
    _put_generation(model, place)
    return model.eval()


def _put_generation(model: Any, folder: Path) -> None:
    """Give a model that generates text the settings of the folder, where there are some."""
    if not (folder / _GENERATION).is_file() or not getattr(model, "can_generate", bool)():
        return
    from transformers import GenerationConfig

    try:
        model.generation_config = GenerationConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"Expected settings of generation in {folder / _GENERATION}. Got: {error}. Correct or remove the file."
        ) from error


def _floating(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """Return a floating type by its name, or ``None`` for what the files or the configuration will say."""
    if dtype is None or dtype == "auto":
        return None
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ConfigError(f"Expected dtype to be a floating type, its name or 'auto'. Got {dtype!r}. Try 'bfloat16'.")
    return found


class _Stored(Mapping[str, torch.Tensor]):
    """The tensors of a folder by name, read when they are asked for.

    Attributes
    ----------
    base : str
        What stands before the names of the base model's tensors in a model with a head, e.g. ``"model."``.
    dtype : torch.dtype or None
        What floating tensors are turned into.
    """

    base: str
    dtype: torch.dtype | None = None

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
        return tensor.to(dtype=self.dtype) if tensor.is_floating_point() else tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._home)

    def __len__(self) -> int:
        return len(self._home)

    def layers(self) -> list[str]:
        """Return the names of the layers that are stored as links."""
        names = [name.removesuffix(".col_ptr") for name in self if name.endswith(".col_ptr")]
        return [name for name in names if f"{name}.rows" in self and f"{name}.values" in self]

    def other(self, name: str) -> str:
        """Return what a name is where a base model stands alone, or the other way round, below a head."""
        return name.removeprefix(self.base) if name.startswith(self.base) else self.base + name


def _built(builder: Any, folder: Path, config: Any) -> nn.Module:
    from transformers import AutoConfig

    if config is None:
        try:
            config = AutoConfig.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"Expected a readable config.json in {folder}. Got: {error}.") from error
    try:
        model: nn.Module = builder.from_config(config) if hasattr(builder, "from_config") else builder(config)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), "").rstrip(".")
        wanted = f"{getattr(builder, '__name__', builder)} to be built from the {type(config).__name__} of {folder}"
        raise CheckpointError(
            f"Expected {wanted}. Got {type(error).__name__}: {reason}. "
            "Use the class the files were written from, or one that shares its base."
        ) from error
    return model


def _homes(model: nn.Module, stored: _Stored) -> Iterator[tuple[str, str]]:
    """Yield the stored layers of links and their names in the model; a class for another task may lack the head."""
    modules = dict(model.named_modules(remove_duplicate=False))
    written_by: Sequence[str] = model.config.architectures or ()  # type: ignore[union-attr, assignment]
    is_other = type(model).__name__ not in written_by and any(name.startswith(stored.base) for name in stored)
    for name in stored.layers():
        home = next((known for known in (name, stored.other(name)) if known in modules), None)
        if home is not None or name.startswith(stored.base) or not is_other:
            yield name, home or name


def _put_links(model: nn.Module, name: str, home: str, stored: _Stored) -> None:
    """Put a sparse layer in the place of a linear one."""
    parent, _, child = home.rpartition(".")
    try:
        linear = model.get_submodule(home)
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
                known = name if name in stored else stored.other(name)
                if known not in stored:
                    lacking.add(name)
                    continue
                value = stored[known]
                if value.shape != tensor.shape:
                    shapes = f"{tuple(tensor.shape)} in {stored.folder}. Got {tuple(value.shape)}"
                    raise CheckpointError(f"Expected {name!r} of shape {shapes}. Give the config it was written with.")
                tensors[part] = nn.Parameter(value, tensor.requires_grad) if tensors is module._parameters else value
    return lacking


def _check_patterns(new: Sequence[str], model: nn.Module) -> None:
    if isinstance(new, str):  # its letters would be patterns
        raise ConfigError(f"Expected new to be a list of patterns. Got {new!r}. Write [{new!r}].")
    names = [name for name, _ in model.named_modules()]
    for pattern in new:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(f"Expected a pattern that matches a module. Got {pattern!r} in new. Correct it.")


def _begin(model: nn.Module, lacking: set[str], new: Sequence[str], folder: Path) -> None:
    """Give parameters without values the type of the others, if they are in modules that are `new` as a whole."""
    absent = {name: parameter for name, parameter in model.named_parameters() if parameter.is_meta and name in lacking}
    fresh = set()
    for name, module in model.named_modules():
        parts = {f"{name}.{part}" for part, _ in module.named_parameters()}
        if first_match(name, new) is not None and parts <= lacking:
            fresh |= parts
    missing = sorted(absent.keys() - fresh)
    if missing:
        raise CheckpointError(
            f"Expected values of {', '.join(missing)} in {folder}. Got none. "
            "Use a whole checkpoint, or name modules that are to start without values by new=[...]."
        )
    dtype = next((p.dtype for p in model.parameters() if not p.is_meta and p.is_floating_point()), None)
    for parameter in absent.values():
        parameter.data = parameter.data.to(dtype=dtype)
