"""Cannistraci-Hebb training with soft rules."""

from __future__ import annotations

import torch
from torch import nn

from sparsecore.evolution.evolution import Evolution
from sparsecore.evolution.methods.registry import methods
from sparsecore.evolution.rule import FreshValues, Rule
from sparsecore.predictors import CH2L3n, Predictor
from sparsecore.removal import Magnitude, Removal
from sparsecore.schedules import Constant, Linear, Schedule
from sparsecore.selection import Soft

__all__ = ["CHTs"]


@methods.register(
    "chts",
    paper="Zhang et al., Brain network science modelling of sparse neural networks (2025)",
    equation="remove softly by weight, percolate, regrow missing links with probability ∝ CH2-L3n",
)
def CHTs(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    every: int,
    steps: int | None = None,
    zeta: float | Schedule = 0.3,
    removal: Removal | None = None,
    temperature: float | Schedule | None = None,
    predictor: Predictor | None = None,
    percolate: bool = True,
    fresh: FreshValues = "zero",
    seed: int = 0,
) -> Evolution:
    """Cannistraci-Hebb training, soft rule (CHTs): soft removal, percolation, CH2-L3n regrowth without scores.

    Parameters
    ----------
    model, optimizer
        As for `Evolution`.
    every : int
        Steps between updates.
    steps : int, optional
        Length of the training; no update at or after it. Also the length of the default temperature ramp.
    zeta : float or Schedule
        Fraction of links replaced per update.
    removal : Removal, optional
        Importance of links; the weight magnitude when missing.
    temperature : float or Schedule, optional
        Temperature of the soft removal; rises linearly from 1 to 3 over `steps` when missing (published MLP recipe),
        and is 1 without `steps`.
    predictor : Predictor, optional
        Scores of missing links; CH2-L3n when missing.
    percolate : bool
        Remove the links of inactive neurons before regrowth.
    fresh : str
        Value of new links, see `Rule`.
    seed : int
        Seed of all updates.
    """
    if temperature is None:
        temperature = Linear(1.0, 3.0, steps) if steps else 1.0
    rule = Rule(
        removal=removal or Magnitude(),
        keep=Soft(),
        predictor=predictor or CH2L3n(),
        grow=Soft(),
        zeta=zeta if callable(zeta) else Constant(zeta),
        temperature=temperature if callable(temperature) else Constant(temperature),
        percolate=percolate,
        fresh=fresh,
    )
    return Evolution(model, optimizer, rule, every=every, steps=steps, seed=seed)
