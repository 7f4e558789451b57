"""Sparse evolutionary training: small weights go, random links come."""

from __future__ import annotations

import torch
from torch import nn

from sparsecore.evolution.evolution import Evolution
from sparsecore.evolution.methods.registry import methods
from sparsecore.evolution.rule import Rule
from sparsecore.predictors import Random
from sparsecore.removal import Removal, SetSigned
from sparsecore.schedules import Constant, Schedule
from sparsecore.selection import Soft, Top

__all__ = ["SET"]


@methods.register(
    "set",
    paper="Mocanu et al., Nature Communications 9 (2018)",
    equation="remove the ζ smallest positive and ζ largest negative weights, regrow at random",
)
def SET(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    every: int,
    steps: int | None = None,
    zeta: float | Schedule = 0.3,
    removal: Removal | None = None,
    seed: int = 0,
) -> Evolution:
    """Sparse evolutionary training (SET): removes the weights nearest to zero, regrows uniformly at random.

    Parameters
    ----------
    model, optimizer
        As for `Evolution`.
    every : int
        Steps between updates.
    steps : int, optional
        Length of the training; no update at or after it.
    zeta : float or Schedule
        Fraction of links replaced per update.
    removal : Removal, optional
        Importance of links; the signed rule of the paper when missing.
    seed : int
        Seed of all updates.
    """
    rule = Rule(
        removal=removal or SetSigned(),
        keep=Top(),
        predictor=Random(),
        grow=Soft(),
        zeta=zeta if callable(zeta) else Constant(zeta),
        percolate=False,
    )
    return Evolution(model, optimizer, rule, every=every, steps=steps, seed=seed)
