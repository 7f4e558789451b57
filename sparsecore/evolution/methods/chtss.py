"""Cannistraci-Hebb training with soft rules and sigmoid density decay."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import nn

from sparsecore.evolution.evolution import Evolution
from sparsecore.evolution.methods.density import Fall
from sparsecore.evolution.methods.parts import Parts, as_schedule, evolve, preset_of
from sparsecore.evolution.methods.registry import methods
from sparsecore.evolution.rule import Rule
from sparsecore.predictors import CH2L3n
from sparsecore.removal import Magnitude, RelativeImportance
from sparsecore.schedules import Constant, Schedule, Sigmoid
from sparsecore.selection import Soft

__all__ = ["CHTss"]


@methods.register(
    "chtss",
    paper="Zhang et al., Brain network science modelling of sparse neural networks (2025)",
    equation="density(t) sigmoid (k = 6), pruned by relative importance; then as CHTs",
)
def CHTss(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    every: int,
    steps: int | None = None,
    density: float = 0.01,
    zeta: float | Schedule | None = None,
    preset: str = "mlp",
    seed: int = 0,
    **parts: Unpack[Parts],
) -> Evolution:
    """Cannistraci-Hebb training, soft rule, sigmoid density decay (CHTss).

    Parameters
    ----------
    model, optimizer
        As for `Evolution`.
    every : int
        Steps between updates.
    steps : int
        Length of the training; no update at or after it. Also the length of the temperature ramp, as for `CHTs`. It may
        be missing with a `density_schedule` alone.
    density : float
        Density at the end; the model's own is the start, in proportion in every layer. It is reached after half of
        `steps`.
    zeta : float or Schedule, optional
        Fraction of links replaced per update; that of `preset` when missing.
    preset : str
        Task whose published settings are used: ``"mlp"``, ``"translation"`` or ``"llama"``.
    seed : int
        Seed of all updates.
    **parts
        Parts of `Rule` in place of this method's own, see `Parts`.
    """
    settings = preset_of(preset)
    rule = Rule(
        removal=Magnitude(),
        keep=Soft(),
        predictor=CH2L3n(),
        grow=Soft(),
        zeta=as_schedule(settings.zeta if zeta is None else zeta),
        temperature=settings.ramp(steps) if steps else Constant(1.0),
        density_from=Fall(Sigmoid, density, steps, 0.5),
        prune=RelativeImportance(),
    )
    return evolve(model, optimizer, rule, parts, every=every, steps=steps, seed=seed)
