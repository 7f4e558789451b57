"""Turn linear layers of an existing model into `SparseLinear`."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import nn

from sparsecore.errors import ConfigError, check_fraction
from sparsecore.nn.linear import SparseLinear, TopologySource

__all__ = ["sparsify"]


def sparsify(
    model: nn.Module,
    *,
    density: float,
    topology: TopologySource | None = None,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    seed: int | None = None,
) -> nn.Module:
    """Replace linear layers of `model` by sparse ones, in place, and return it.

    Values are drawn anew (SWI); biases are kept. The dense weights are released layer by layer.

    Parameters
    ----------
    model : Module
        Any torch model.
    density : float
        Fraction of links in (0, 1] of every replaced layer.
    topology : callable, optional
        Generator of the initial links; uniformly random when missing.
    include : sequence of str, optional
        Glob patterns over module names, e.g. ``["*mlp*"]``. When missing, every linear layer but the last one
        (the output head) is taken.
    exclude : sequence of str
        Glob patterns of layers to leave dense.
    seed : int, optional
        Seed of links and values; from torch's global generator when missing.

    Raises
    ------
    ConfigError
        If a pattern matches no module, a pattern names a layer that is not linear, the model is sparse already, or two
        layers share one weight tensor.
    """
    check_fraction("density", density, "the fraction of links of every replaced layer", open_low=True)
    targets = _targets(model, include, exclude)
    if seed is None:
        seed = int(torch.randint(2**62, ()))
    replaced: dict[int, SparseLinear] = {}
    seeds = np.random.SeedSequence(seed).generate_state(len(targets), np.uint64) >> np.uint64(2)
    for (name, linear), layer_seed in zip(targets.items(), seeds, strict=True):
        if id(linear) not in replaced:
            replaced[id(linear)] = _sparse_twin(linear, density, topology, int(layer_seed))
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, replaced[id(linear)])
    return model


def _sparse_twin(linear: nn.Linear, density: float, topology: TopologySource | None, seed: int) -> SparseLinear:
    device = None if linear.weight.is_meta else linear.weight.device
    twin = SparseLinear(
        linear.in_features,
        linear.out_features,
        linear.bias is not None,
        density=density,
        topology=topology,
        seed=seed,
        device=device,
        dtype=linear.weight.dtype,
    )
    if twin.bias is not None and not linear.bias.is_meta:
        twin.bias.data.copy_(linear.bias.data)
    return twin.train(linear.training)


def _targets(model: nn.Module, include: Sequence[str] | None, exclude: Sequence[str]) -> dict[str, nn.Linear]:
    modules = dict(model.named_modules(remove_duplicate=False))
    linear = {name: module for name, module in modules.items() if type(module) is nn.Linear and name}
    if include is None:
        if not linear and any(isinstance(module, SparseLinear) for module in modules.values()):
            raise ConfigError("Expected a model with linear layers. Got one that is sparse already. Leave it as it is.")
        chosen = dict(list(linear.items())[:-1])
    else:
        chosen = {}
        for pattern in include:
            chosen |= _matches(pattern, modules, linear)
    chosen = {name: module for name, module in chosen.items() if not any(fnmatchcase(name, p) for p in exclude)}
    if not chosen:
        raise ConfigError(
            f"Expected at least one linear layer to replace. Got none of: {', '.join(linear) or 'no linear layers'}. "
            "Name layers with include=[...]; by default the last linear layer stays dense."
        )
    _refuse_tied(model, chosen)
    return chosen


def _matches(pattern: str, modules: dict[str, nn.Module], linear: dict[str, nn.Linear]) -> dict[str, nn.Linear]:
    hits = [name for name in modules if fnmatchcase(name, pattern)]
    found = {name: linear[name] for name in hits if name in linear}
    if found:
        return found
    if not hits:
        raise ConfigError(f"Expected a pattern that matches a module. Got {pattern!r}. Linear: {', '.join(linear)}.")
    kinds = sorted({type(modules[name]).__name__ for name in hits})
    if kinds == ["SparseLinear"]:
        raise ConfigError(
            f"Expected dense linear layers. Got {pattern!r}, which is sparse already. Remove the pattern."
        )
    raise ConfigError(
        f"Expected linear layers. Got {pattern!r}, which matches only {', '.join(kinds)}. "
        "Only nn.Linear has links; name its path, e.g. 'encoder.*.fc1'."
    )


def _refuse_tied(model: nn.Module, chosen: dict[str, nn.Linear]) -> None:
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
