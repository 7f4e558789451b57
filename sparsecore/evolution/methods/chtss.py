"""Cannistraci-Hebb training with soft rules and sigmoid density decay."""

from __future__ import annotations

import torch
from torch import nn

from sparsecore.evolution.evolution import Evolution
from sparsecore.evolution.methods.density import density_of
from sparsecore.evolution.methods.registry import methods
from sparsecore.evolution.rule import Rule
from sparsecore.predictors import CH2L3n, Predictor
from sparsecore.removal import Magnitude, RelativeImportance, Removal
from sparsecore.schedules import Constant, Linear, Schedule, Sigmoid
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
    zeta: float | Schedule = 0.3,
    removal: Removal | None = None,
    temperature: float | Schedule | None = None,
    predictor: Predictor | None = None,
    seed: int = 0,
) -> Evolution:
    """Cannistraci-Hebb training, soft rule, sigmoid density decay (CHTss).

    Parameters
    ----------
    model, optimizer
        As for `Evolution`.
    every : int
        Steps between updates.
    steps : int, optional
        Length of the training; no update at or after it.
    density : float
        Density at the end; the model's own is the start. It is reached after half of `steps`.
    zeta : float or Schedule
        Fraction of links replaced per update.
    removal : Removal, optional
        Importance of links in removal; the weight magnitude when missing. Pruning uses relative importance.
    temperature : float or Schedule, optional
        As for `CHTs`.
    predictor : Predictor, optional
        Scores of missing links; CH2-L3n when missing.
    seed : int
        Seed of all updates.
    """
    start = density_of(model)
    if temperature is None:
        temperature = Linear(1.0, 3.0, steps) if steps else 1.0
    rule = Rule(
        removal=removal or Magnitude(),
        keep=Soft(),
        predictor=predictor or CH2L3n(),
        grow=Soft(),
        zeta=zeta if callable(zeta) else Constant(zeta),
        temperature=temperature if callable(temperature) else Constant(temperature),
        density=Sigmoid(start, density, max(1, steps // 2)) if steps else Constant(density),
        prune=RelativeImportance(),
    )
    return Evolution(model, optimizer, rule, every=every, steps=steps, seed=seed)
