"""Epitopological sparse meta-deep learning: SET with regrowth by topology."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import nn

from sparsecore.evolution.evolution import Evolution
from sparsecore.evolution.methods.parts import Parts, as_schedule, evolve, preset_of
from sparsecore.evolution.methods.registry import methods
from sparsecore.evolution.rule import Rule
from sparsecore.predictors import CH3L3p
from sparsecore.removal import Magnitude
from sparsecore.schedules import Schedule
from sparsecore.selection import Top

__all__ = ["ESML"]


@methods.register(
    "esml",
    paper="Zhang et al., Epitopological learning (ICLR 2024)",
    equation="remove the ζ smallest weights, grow the highest CH3-L3p scores, each layer by itself",
)
def ESML(
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
    """Epitopological sparse meta-deep learning (ESML): rigid regrowth by CH3-L3p, every layer a graph of its own.

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

    Notes
    -----
    The forerunner of `CHT`: without percolation, early stop and correlated first links (start from ``"er"``).
    """
    settings = preset_of(preset)
    rule = Rule(
        removal=Magnitude(),
        keep=Top(),
        predictor=CH3L3p(),
        grow=Top(),
        zeta=as_schedule(settings.zeta if zeta is None else zeta),
        percolate=False,
    )
    return evolve(model, optimizer, rule, parts, every=every, steps=steps, seed=seed)
