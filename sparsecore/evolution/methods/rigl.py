"""RigL: small weights go, links of large gradient come."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import nn

from sparsecore.evolution.evolution import Evolution
from sparsecore.evolution.methods.parts import Parts, evolve, preset_of
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
    zeta: float | Schedule | None = None,
    preset: str = "mlp",
    seed: int = 0,
    **parts: Unpack[Parts],
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
    zeta : float or Schedule, optional
        Fraction of links replaced per update; a number falls to 0 by cosine until `steps`, as does
        that of `preset` when missing.
    preset : str
        Task whose published settings are used: ``"mlp"``, ``"translation"`` or ``"llama"``.
    seed : int
        Seed of all updates.
    **parts
        Parts of `Rule` in place of this method's own, see `Parts`.
    """
    settings = preset_of(preset)
    zeta = settings.zeta if zeta is None else zeta
    if not callable(zeta):
        zeta = Cosine(zeta, 0.0, steps) if steps else Constant(zeta)
    rule = Rule(removal=Magnitude(), keep=Top(), predictor=Gradient(), grow=Top(), zeta=zeta, percolate=False)
    return evolve(model, optimizer, rule, parts, every=every, steps=steps, seed=seed)
