"""Cannistraci-Hebb training with soft rules."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import nn

from sparsecore.evolution.evolution import Evolution
from sparsecore.evolution.methods.parts import Parts, as_schedule, evolve, preset_of
from sparsecore.evolution.methods.registry import methods
from sparsecore.evolution.rule import Rule
from sparsecore.predictors import CH2L3n
from sparsecore.removal import Magnitude
from sparsecore.schedules import Constant, Schedule
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
    zeta: float | Schedule | None = None,
    preset: str = "mlp",
    seed: int = 0,
    **parts: Unpack[Parts],
) -> Evolution:
    """Cannistraci-Hebb training, soft rule (CHTs): soft removal, percolation, CH2-L3n regrowth without scores.

    Parameters
    ----------
    model, optimizer
        As for `Evolution`.
    every : int
        Steps between updates.
    steps : int, optional
        Length of the training; no update at or after it. Also the length of the temperature ramp, which runs as the
        papers of `preset` have it: T from 1 to 3 (mlp, translation) or to 9 (llama).
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
    The node-based variant is the default; ``predictor=CH3L3p()`` or ``CH2L3p()`` makes the path-based ones.
    """
    settings = preset_of(preset)
    rule = Rule(
        removal=Magnitude(),
        keep=Soft(),
        predictor=CH2L3n(),
        grow=Soft(),
        zeta=as_schedule(settings.zeta if zeta is None else zeta),
        temperature=settings.ramp(steps) if steps else Constant(1.0),
    )
    return evolve(model, optimizer, rule, parts, every=every, steps=steps, seed=seed)
