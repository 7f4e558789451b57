"""Build and initialise what a model on the meta device still lacks once its linear layers are links."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn

from sparsecore.errors import ConfigError
from sparsecore.nn.linear import SparseLinear

__all__ = ["materialize", "require_initializers"]


def require_initializers(model: nn.Module, replaced: set[int]) -> None:
    """Check that every part on the meta device can initialise itself; modules with an id in `replaced` apart.

    Raises
    ------
    ConfigError
        If a module has parameters or buffers on the meta device and no ``reset_parameters``.
    """
    if _initializer(model) is not None:
        return
    for name, module in model.named_modules():
        if id(module) not in replaced and any(_meta(module)) and not callable(_reset(module)):
            raise ConfigError(
                f"Expected modules on the meta device that initialise themselves. Got {name or 'the model'!r} "
                f"({type(module).__name__}). Give it a method reset_parameters(), or build it on the CPU."
            )


def materialize(model: nn.Module) -> None:
    """Put every tensor that is on the meta device on the CPU, initialised by the model's own means, in place.

    That is ``initialize_weights`` of Hugging Face models, and ``reset_parameters`` of modules elsewhere. Tensors that
    were one stay one. What has values already keeps them.
    """
    lacking = [module for module in model.modules() if any(_meta(module))]
    made: dict[int, torch.Tensor] = {}
    with torch.device("cpu"):
        for module in lacking:
            _fill(module._parameters, made)  # type: ignore[arg-type]
            _fill(module._buffers, made)
        initialize = _initializer(model)
        if initialize is None:
            for module in lacking:
                _reset(module)()  # type: ignore[misc]
            return
        model.tie_weights()  # type: ignore[operator]
        _keep_what_has_values(model, set(map(id, made.values())))
        initialize()


def _fill(tensors: dict[str, torch.Tensor | None], made: dict[int, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor is None or not tensor.is_meta:
            continue
        if id(tensor) not in made:
            empty = torch.empty_like(tensor, device="cpu")
            if isinstance(tensor, nn.Parameter):
                empty = nn.Parameter(empty, tensor.requires_grad)
            made[id(tensor)] = empty
        tensors[name] = made[id(tensor)]


def _keep_what_has_values(model: nn.Module, made: set[int]) -> None:
    """Tell Hugging Face's initialisation to leave every tensor but those with an id in `made` as it is."""
    for module in model.modules():
        module._is_hf_initialized = False  # type: ignore[assignment]
    for tensor in (*model.parameters(), *model.buffers()):
        tensor._is_hf_initialized = id(tensor) not in made  # type: ignore[attr-defined]


def _initializer(model: nn.Module) -> Callable[[], None] | None:
    is_library = hasattr(model, "tie_weights") and hasattr(model, "_init_weights")
    return getattr(model, "initialize_weights", None) if is_library else None


def _reset(module: nn.Module) -> Callable[[], None] | None:
    return getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)


def _meta(module: nn.Module) -> Iterator[bool]:
    if isinstance(module, SparseLinear):
        return
    for tensor in (*module._parameters.values(), *module._buffers.values()):
        yield tensor is not None and tensor.is_meta
