"""Which linear layers of a model `sparsify` replaces."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn

from sparsecore.errors import ConfigError
from sparsecore.nn.chain import has_hooks
from sparsecore.nn.linear import SparseLinear

__all__ = ["find_targets", "first_match"]

_log = logging.getLogger("sparsecore.nn")


def find_targets(
    model: nn.Module, include: Sequence[str] | None = None, exclude: Sequence[str] = ()
) -> dict[str, nn.Linear]:
    """Return the linear layers to replace, by name, in registration order of the model.

    Parameters
    ----------
    model : Module
        Any torch or Hugging Face model.
    include : sequence of str, optional
        Glob patterns over module names; every linear layer but the output head when missing.
    exclude : sequence of str
        Glob patterns of layers to leave out.

    Raises
    ------
    ConfigError
        If patterns are one text, a pattern matches nothing or no linear layer, nothing is left, the model is sparse
        already, a layer is used twice or has hooks, or a weight is shared or computed from other tensors.
    """
    for option, patterns in (("include", include), ("exclude", exclude)):
        if isinstance(patterns, str):  # its letters would be patterns
            raise ConfigError(f"Expected {option} to be a list of patterns. Got {patterns!r}. Write [{patterns!r}].")
    if isinstance(model, nn.Linear):
        raise ConfigError("Expected a model that holds linear layers. Got one layer. Build a SparseLinear instead.")
    modules = dict(model.named_modules(remove_duplicate=False))
    linear = {name: module for name, module in modules.items() if type(module) is nn.Linear and name}
    if include is None:
        _refuse_sparse(modules)
        heads = _heads(model, linear)
        chosen = {name: module for name, module in linear.items() if name not in heads}
    else:
        chosen = {}
        for pattern in include:
            chosen |= _matches(pattern, modules, linear)
    for pattern in exclude:
        if not any(fnmatchcase(name, pattern) for name in modules):
            raise ConfigError(f"Expected a pattern that matches a module. Got {pattern!r} in exclude. Correct it.")
    chosen = {name: module for name, module in chosen.items() if first_match(name, exclude) is None}
    if not chosen:
        raise ConfigError(
            f"Expected at least one linear layer to replace. Got none of: {_listed(linear) or 'no linear layers'}. "
            "Name layers with include=[...]; by default the output head stays dense. Only nn.Linear has links."
        )
    others = [name for name, module in modules.items() if isinstance(module, nn.Linear) and name not in linear and name]
    if others:
        _log.warning(
            "left dense: %s. Only layers that are nn.Linear itself, no class of it, get links.", _listed(others)
        )
    _refuse_reused(modules, chosen)
    _refuse_computed(chosen)
    _refuse_tied(model, chosen)
    return chosen


def first_match(name: str, patterns: Iterable[str]) -> str | None:
    """Return the first glob pattern that matches a name."""
    return next((pattern for pattern in patterns if fnmatchcase(name, pattern)), None)


def _heads(model: nn.Module, linear: Mapping[str, nn.Linear]) -> set[str]:
    """Return the names of linear layers that give a model's outputs."""
    ask: Callable[[], nn.Module | None] | None = getattr(model, "get_output_embeddings", None)
    if ask is None:
        return set(list(linear)[-1:])
    base = getattr(model, "base_model", model)
    inside = {id(module) for module in base.modules()}
    return {name for name, module in linear.items() if module is ask() or id(module) not in inside}


def _refuse_sparse(modules: Mapping[str, nn.Module]) -> None:
    sparse = [name for name, module in modules.items() if isinstance(module, SparseLinear)]
    if sparse:
        raise ConfigError(
            f"Expected a dense model. Got one that is sparse already, in {len(sparse)} layers such as {sparse[0]!r}. "
            "Name the layers that are still to be replaced with include=[...], or leave it as it is."
        )


def _matches(pattern: str, modules: Mapping[str, nn.Module], linear: Mapping[str, nn.Linear]) -> dict[str, nn.Linear]:
    hits = [name for name in modules if fnmatchcase(name, pattern)]
    found = {name: linear[name] for name in hits if name in linear}
    if found:
        return found
    if not hits:
        raise ConfigError(f"Expected a pattern that matches a module. Got {pattern!r}. Linear: {_listed(linear)}.")
    kinds = sorted({type(modules[name]).__name__ for name in hits})
    if "SparseLinear" in kinds:
        raise ConfigError(
            f"Expected dense linear layers. Got {pattern!r}, whose layers are sparse already. Remove the pattern."
        )
    raise ConfigError(
        f"Expected linear layers. Got {pattern!r}, which matches only {', '.join(kinds)}. "
        "Only nn.Linear has links; name its path, e.g. 'encoder.*.fc1'."
    )


def _refuse_reused(modules: Mapping[str, nn.Module], chosen: Mapping[str, nn.Linear]) -> None:
    for name, module in chosen.items():
        names = [other for other, candidate in modules.items() if candidate is module]
        if len(names) > 1:
            raise ConfigError(
                f"Expected layers that are used once. Got one layer under the names {', '.join(names)}. "
                f"Give each place its own layer, or leave {name!r} out with exclude=[...]."
            )


def _refuse_computed(chosen: Mapping[str, nn.Linear]) -> None:
    for name, module in chosen.items():
        if "weight" not in module._parameters:
            raise ConfigError(
                f"Expected layers with weights of their own. Got {name!r}, whose weight comes from other tensors. "
                "Make it a parameter again (torch.nn.utils.prune.remove, remove_spectral_norm), "
                "or leave the layer out with exclude=[...]."
            )
        if has_hooks(module):
            raise ConfigError(
                f"Expected layers without hooks. Got {name!r}, whose hooks would be lost. "
                "Register them after sparsify, or leave the layer out with exclude=[...]."
            )


def _refuse_tied(model: nn.Module, chosen: Mapping[str, nn.Linear]) -> None:
    owners: dict[int, set[int]] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), set()).add(id(module))
    for name, module in chosen.items():
        if len(owners[id(module.weight)]) > 1:
            raise ConfigError(
                f"Expected layers with weights of their own. Got {name!r}, whose weight another module shares. "
                "Untie the weight or leave the layer out with exclude=[...]."
            )


def _listed(names: Iterable[str], most: int = 20) -> str:
    every = list(names)
    rest = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + rest
