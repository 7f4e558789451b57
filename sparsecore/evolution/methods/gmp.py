"""Gradual magnitude pruning."""

from __future__ import annotations

import torch
from torch import nn

from sparsecore.evolution.evolution import Evolution
from sparsecore.evolution.methods.density import density_of
from sparsecore.evolution.methods.registry import methods
from sparsecore.evolution.rule import Rule
from sparsecore.removal import Magnitude
from sparsecore.schedules import Constant, Cubic
from sparsecore.selection import Top

__all__ = ["GMP"]


@methods.register(
    "gmp",
    paper="Zhu and Gupta, To prune, or not to prune (2017)",
    equation="density(t) cubic; remove the smallest |w|",
)
def GMP(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    every: int,
    steps: int | None = None,
    density: float = 0.01,
    seed: int = 0,
) -> Evolution:
    """Gradual magnitude pruning (GMP): the density falls by a cubic schedule, nothing is regrown.

    Parameters
    ----------
    model, optimizer
        As for `Evolution`.
    every : int
        Steps between updates.
    steps : int, optional
        Length of the training; no update at or after it.
    density : float
        Density at the end; the model's own is the start. It is reached after three quarters of `steps`.
    seed : int
        Seed of all updates.
    """
    start = density_of(model)
    rule = Rule(
        removal=Magnitude(),
        keep=Top(),
        predictor=None,
        density=Cubic(start, density, max(1, 3 * steps // 4)) if steps else Constant(density),
        percolate=False,
    )
    return Evolution(model, optimizer, rule, every=every, steps=steps, seed=seed)
