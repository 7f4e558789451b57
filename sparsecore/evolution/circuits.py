"""What an evolution is built on: which layers meet, and an optimizer that holds their values."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from sparsecore.errors import ConfigError
from sparsecore.evolution.rule import Rule
from sparsecore.nn import Circuit, SparseLinear, find_structure, sparse_layers

__all__ = ["found_circuits", "require_optimizer", "require_values", "stated_circuits"]

_log = logging.getLogger("sparsecore.evolution")


def found_circuits(model: nn.Module, *, warn: bool) -> list[Circuit]:
    """Return the circuits of all sparse layers; with `warn`, the log names layers whose neighbours were not found."""
    structure = find_structure(model)
    if structure.unknown and warn:
        _log.warning(
            "left unpercolated: %s. Say what follows what by chains=... or a method sparse_chains().",
            structure.describe_unknown(),
        )
    return structure.circuits


def stated_circuits(model: nn.Module, chains: Sequence[Sequence[SparseLinear]]) -> list[Circuit]:
    """Return the circuits of stated chains; layers in none of them are circuits of their own.

    Raises
    ------
    ConfigError
        If a layer stands in them twice, or is none of the model's.
    """
    layers = sparse_layers(model)
    names = {id(layer): name for name, layer in layers.items()}
    given = [layer for chain in chains for layer in chain]
    unknown = sum(id(layer) not in names for layer in given)
    if unknown:
        raise ConfigError(
            f"Expected chains of the model's sparse layers. Got {unknown} that it does not hold. "
            "Take them from the model that is trained."
        )
    counts = Counter(map(id, given))
    twice = sorted(names[layer] for layer, count in counts.items() if count > 1)
    if twice:
        raise ConfigError(f"Expected every layer in one chain at most, once. Got {', '.join(twice)} more often.")
    others = [[layer] for layer in layers.values() if id(layer) not in counts]
    return [Circuit.chain(chain) for chain in [*chains, *others] if chain]


def require_optimizer(optimizer: torch.optim.Optimizer, rule: Rule | None) -> None:
    """Raise unless an optimizer can follow links that move, and has the momentum that the rule reads.

    Raises
    ------
    ConfigError
        If it is no single optimizer, LBFGS, or one without momentum under a rule that reads it.
    """
    groups = getattr(optimizer, "param_groups", None)
    if groups is None:
        raise ConfigError(
            f"Expected an optimizer that trains the model. Got {type(optimizer).__name__}. "
            "Several optimizers need an evolution each, on the part of the model that they train."
        )
    if isinstance(optimizer, torch.optim.LBFGS) and rule is not None:
        raise ConfigError(
            "Expected an optimizer whose state has a number per link. Got LBFGS, whose curvature pairs are of whole "
            "steps and would mix links. Take SGD or one of the Adam family."
        )
    if rule is not None and "momentum" in rule.needs and not any(_has_momentum(group) for group in groups):
        raise ConfigError(
            "Expected an optimizer with momentum, which the rule reads. Got none. Take SGD with momentum=0.9 or one of "
            "the Adam family."
        )


def _has_momentum(group: Mapping[str, Any]) -> bool:
    """Return whether a group has the momentum of SGD, or the mean gradient of the Adam family."""
    return bool(group.get("momentum")) or "betas" in group


def require_values(layers: Mapping[str, SparseLinear], optimizer: torch.optim.Optimizer) -> None:
    """Raise unless the optimizer holds the values of every one of some layers that is trained.

    Raises
    ------
    ConfigError
        If it does not, or values are sharded.
    """
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for name, layer in layers.items():
        if hasattr(layer.values, "device_mesh"):
            raise ConfigError(
                f"Expected whole values of {name!r}. Got values sharded by fully_shard, which cannot follow links that "
                "move. Use sparsecore.distributed."
            )
        if layer.values.requires_grad and id(layer.values) not in held:
            raise ConfigError(
                f"Expected an optimizer that holds the values of {name!r}. Got one that does not. "
                "Build it from model.parameters() after the model is sparse, or freeze them by requires_grad_(False)."
            )
