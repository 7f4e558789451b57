"""Dynamic sparse reparameterization: one adaptive threshold, links move between layers."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import nn

from sparsecore.evolution.evolution import Evolution
from sparsecore.evolution.methods.parts import Parts, as_schedule, evolve
from sparsecore.evolution.methods.registry import methods
from sparsecore.evolution.redistribution import SurvivorShare
from sparsecore.evolution.rule import Rule
from sparsecore.predictors import Random
from sparsecore.removal import Magnitude, Threshold
from sparsecore.schedules import Schedule
from sparsecore.selection import Soft, Top

__all__ = ["DSR"]


@methods.register(
    "dsr",
    paper="Mostafa and Wang, DSR (ICML 2019)",
    equation="remove |w| < H, H adapts; grow at random, G_l ∝ links of layer l that survived",
)
def DSR(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    every: int,
    steps: int | None = None,
    zeta: float | Schedule = 0.1,
    threshold: float = 1e-3,
    tolerance: float = 0.1,
    seed: int = 0,
    **parts: Unpack[Parts],
) -> Evolution:
    """Dynamic sparse reparameterization (DSR): an adaptive global threshold, random regrowth across layers.

    Parameters
    ----------
    model, optimizer
        As for `Evolution`.
    every : int
        Steps between updates.
    steps : int, optional
        Length of the training; no update at or after it.
    zeta : float or Schedule
        Wanted fraction of all links removed per update (the paper gives their number).
    threshold : float
        H before the first update.
    tolerance : float
        δ: H doubles or halves when the number of removed links is further than this from the wanted one.
    seed : int
        Seed of all updates.
    **parts
        Parts of `Rule` in place of this method's own, see `Parts`.

    Notes
    -----
    All layers together keep exactly their number of links; each layer's own number changes.
    """
    rule = Rule(
        removal=Magnitude(),
        keep=Top(),
        predictor=Random(),
        grow=Soft(),
        zeta=as_schedule(zeta),
        percolate=False,
        amount=Threshold(threshold, tolerance),
        redistribution=SurvivorShare(),
    )
    return evolve(model, optimizer, rule, parts, every=every, steps=steps, seed=seed)
