"""Sparse evolutionary training: small weights go, random links come."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import nn

from sparsecore.evolution.evolution import Evolution
from sparsecore.evolution.methods.parts import Parts, as_schedule, evolve, preset_of
from sparsecore.evolution.methods.registry import methods
from sparsecore.evolution.rule import Rule
from sparsecore.predictors import Random
from sparsecore.removal import SetSigned
from sparsecore.schedules import Schedule
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
    zeta: float | Schedule | None = None,
    preset: str = "mlp",
    seed: int = 0,
    **parts: Unpack[Parts],
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
        removal=SetSigned(),
        keep=Top(),
        predictor=Random(),
        grow=Soft(),
        zeta=as_schedule(settings.zeta if zeta is None else zeta),
        percolate=False,
    )
    return evolve(model, optimizer, rule, parts, every=every, steps=steps, seed=seed)
