"""GraNet: gradual pruning with gradient regrowth."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import nn

from sparsecore.evolution.evolution import Evolution
from sparsecore.evolution.methods.density import Fall
from sparsecore.evolution.methods.parts import Parts, evolve
from sparsecore.evolution.methods.registry import methods
from sparsecore.evolution.rule import Rule
from sparsecore.predictors import Gradient
from sparsecore.removal import Magnitude
from sparsecore.schedules import Constant, Cosine, Cubic, Schedule
from sparsecore.selection import Top

__all__ = ["GraNet"]


@methods.register(
    "granet",
    paper="Liu et al., Sparse training via boosting pruning plasticity (NeurIPS 2021)",
    equation="density(t) cubic; then replace ζ(t) of the links as RigL does",
)
def GraNet(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    every: int,
    steps: int | None = None,
    density: float = 0.01,
    zeta: float | Schedule = 0.5,
    seed: int = 0,
    **parts: Unpack[Parts],
) -> Evolution:
    """Gradual pruning with neuroregeneration (GraNet): cubic density, regrowth by gradient.

    Parameters
    ----------
    model, optimizer
        As for `Evolution`.
    every : int
        Steps between updates.
    steps : int
        Length of the training; no update at or after it. It may be missing with a `density_schedule` alone.
    density : float
        Density at the end; the model's own is the start, in proportion in every layer. It is reached after three
        quarters of `steps`.
    zeta : float or Schedule
        Fraction of links replaced per update; a number falls to 0 by cosine until `steps`.
    seed : int
        Seed of all updates.
    **parts
        Parts of `Rule` in place of this method's own, see `Parts`.
    """
    if not callable(zeta):
        zeta = Cosine(zeta, 0.0, steps) if steps else Constant(zeta)
    rule = Rule(
        removal=Magnitude(),
        keep=Top(),
        predictor=Gradient(),
        grow=Top(),
        zeta=zeta,
        density_from=Fall(Cubic, density, steps, 0.75),
        percolate=False,
    )
    return evolve(model, optimizer, rule, parts, every=every, steps=steps, seed=seed)
