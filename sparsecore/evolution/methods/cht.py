"""Cannistraci-Hebb training with rigid rules."""

from __future__ import annotations

import torch
from torch import nn

from sparsecore.evolution.evolution import Evolution
from sparsecore.evolution.methods.registry import methods
from sparsecore.evolution.rule import Rule
from sparsecore.predictors import CH3L3p, Predictor
from sparsecore.removal import Magnitude
from sparsecore.schedules import Constant, Schedule
from sparsecore.selection import Top

__all__ = ["CHT"]


@methods.register(
    "cht",
    paper="Zhang et al., Epitopological learning (ICLR 2024)",
    equation="remove the ζ smallest weights, percolate, grow the highest CH3-L3p scores; stop a layer at 90% overlap",
)
def CHT(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    every: int,
    steps: int | None = None,
    zeta: float | Schedule = 0.3,
    predictor: Predictor | None = None,
    early_stop: float | None = 0.9,
    seed: int = 0,
) -> Evolution:
    """Cannistraci-Hebb training (CHT): rigid removal and regrowth by CH3-L3p, with early stop.

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
    predictor : Predictor, optional
        Scores of missing links; CH3-L3p when missing.
    early_stop : float, optional
        Freeze a layer once this share of its grown links was removed in the same update.
    seed : int
        Seed of all updates.
    """
    rule = Rule(
        removal=Magnitude(),
        keep=Top(),
        predictor=predictor or CH3L3p(),
        grow=Top(),
        zeta=zeta if callable(zeta) else Constant(zeta),
        early_stop=early_stop,
    )
    return Evolution(model, optimizer, rule, every=every, steps=steps, seed=seed)
