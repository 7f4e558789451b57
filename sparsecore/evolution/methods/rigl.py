"""RigL: small weights go, links of large gradient come."""

from __future__ import annotations

import torch
from torch import nn

from sparsecore.evolution.evolution import Evolution
from sparsecore.evolution.methods.registry import methods
from sparsecore.evolution.rule import Rule
from sparsecore.predictors import Gradient
from sparsecore.removal import Magnitude
from sparsecore.schedules import Constant, Cosine, Schedule
from sparsecore.selection import Top

__all__ = ["RigL"]


@methods.register(
    "rigl",
    paper="Evci et al., Rigging the lottery (ICML 2020)",
    equation="remove the ζ(t) smallest weights, grow the largest gradients, ζ by cosine",
)
def RigL(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    every: int,
    steps: int | None = None,
    zeta: float | Schedule = 0.3,
    seed: int = 0,
) -> Evolution:
    """Rigged lottery (RigL): removes small weights, grows missing links of largest gradient.

    Parameters
    ----------
    model, optimizer
        As for `Evolution`.
    every : int
        Steps between updates.
    steps : int, optional
        Length of the training; no update at or after it.
    zeta : float or Schedule
        Fraction of links replaced per update; a number falls to 0 by cosine until `steps`.
    seed : int
        Seed of all updates.
    """
    if not callable(zeta):
        zeta = Cosine(zeta, 0.0, steps) if steps else Constant(zeta)
    rule = Rule(removal=Magnitude(), keep=Top(), predictor=Gradient(), grow=Top(), zeta=zeta, percolate=False)
    return Evolution(model, optimizer, rule, every=every, steps=steps, seed=seed)
