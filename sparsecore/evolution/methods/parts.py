"""What all methods share: published settings by task, and parts that may take the place of a method's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import torch
from torch import nn

from sparsecore import predictors, removal, selection
from sparsecore.errors import ConfigError, UnknownNameError
from sparsecore.evolution.companion import Companion
from sparsecore.evolution.evolution import Evolution
from sparsecore.evolution.redistribution import Redistribution
from sparsecore.evolution.rule import FreshValues, Rule
from sparsecore.nn import SparseLinear
from sparsecore.predictors import Predictor
from sparsecore.registry import Registry
from sparsecore.removal import Amount, Removal
from sparsecore.schedules import Constant, Linear, Odds, Schedule
from sparsecore.selection import Selection

__all__ = ["PRESETS", "Parts", "Preset", "as_schedule", "evolve", "preset_of"]


class Parts(TypedDict, total=False):
    """What every evolving method accepts by keyword: parts of a `Rule` in place of its own, and chains of layers.

    A removal, selection, predictor or amount may be given by its name, with options or without:
    ``"relative_importance"``, ``"soft:temperature=2"``. A selection takes the place of the method's own with its
    temperature. A `density_schedule` is that of every layer, and takes the place of an early stop.
    """

    removal: Removal | str
    keep: Selection | str
    predictor: Predictor | str | None
    grow: Selection | str
    temperature: float | Schedule | None
    density_schedule: Schedule | None
    prune: Removal | str | None
    percolate: bool
    fresh: FreshValues
    early_stop: float | None
    stop_together: bool
    amount: Amount | str
    redistribution: Redistribution | None
    companion: Companion | None
    fresh_momentum: bool
    chains: Sequence[Sequence[SparseLinear]] | None


_REGISTRIES: dict[str, Registry[Any]] = {
    "removal": removal.registry,
    "prune": removal.registry,
    "keep": selection.registry,
    "grow": selection.registry,
    "predictor": predictors.registry,
    "amount": removal.amounts,
}


@dataclass(frozen=True)
class Preset:
    """Settings that the papers of Cannistraci-Hebb training publish for one kind of task.

    Attributes
    ----------
    zeta : float
        Fraction of links replaced per update.
    ramp : callable
        Temperature of soft removal over a training of so many steps.
    """

    zeta: float
    ramp: Callable[[int], Schedule]


#: "mlp" and "llama" follow the published code (linear in T), "translation" the printed ramp of δ.
PRESETS = {
    "mlp": Preset(0.3, lambda steps: Linear(1.0, 3.0, steps)),
    "translation": Preset(0.3, lambda steps: Odds(0.5, 0.75, steps)),
    "llama": Preset(0.1, lambda steps: Linear(1.0, 9.0, steps)),
}


def preset_of(name: str) -> Preset:
    """Return the settings for a task; raises `UnknownNameError` with the nearest match."""
    if name not in PRESETS:
        raise UnknownNameError("preset", name, PRESETS)
    return PRESETS[name]


def as_schedule(value: float | Schedule) -> Schedule:
    """Return a schedule as it is, and a number as a constant one."""
    return value if callable(value) else Constant(value)


def evolve(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rule: Rule,
    parts: Any,
    *,
    every: int,
    steps: int | None,
    seed: int,
) -> Evolution:
    """Return the evolution by `rule`, with `parts` in place of its own.

    Raises
    ------
    ConfigError
        If a part does not exist, or parts do not fit each other.
    """
    chosen = dict(parts)
    for name in chosen:
        if name not in Parts.__annotations__:
            have = ", ".join(sorted(Parts.__annotations__))
            raise ConfigError(f"Expected options of a method among its own and: {have}. Got {name!r}.")
    chains = chosen.pop("chains", None)
    for name, registry in _REGISTRIES.items():
        if isinstance(chosen.get(name), str):
            chosen[name] = registry.build(chosen[name])
    if "density_schedule" in chosen:
        chosen |= {"density": chosen.pop("density_schedule"), "density_from": None}
        chosen.setdefault("early_stop", None if chosen["density"] is not None else rule.early_stop)
    if chosen.get("temperature") is not None:
        chosen["temperature"] = as_schedule(chosen["temperature"])
    elif "keep" in chosen:
        chosen["temperature"] = None
    changed = dataclasses.replace(rule, **chosen)
    return Evolution(model, optimizer, changed, every=every, steps=steps, seed=seed, chains=chains)
