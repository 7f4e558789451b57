"""Cannistraci-Hebb training with rigid rules."""

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
    zeta: float | Schedule | None = None,
    preset: str = "mlp",
    seed: int = 0,
    **parts: Unpack[Parts],
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
    A layer is frozen once 90% of its grown links were removed in the same update (``early_stop=None``: never).
    The first links are those of `sparsecore.generators.CSTI` and the first values SWI: both belong to the model. Ties
    are broken by link id; ``grow=Top(subrank="spcorr")`` breaks them as the network automata of the authors do.
    """
    settings = preset_of(preset)
    rule = Rule(
        removal=Magnitude(),
        keep=Top(),
        predictor=CH3L3p(),
        grow=Top(),
        zeta=as_schedule(settings.zeta if zeta is None else zeta),
        early_stop=0.9,
    )
    return evolve(model, optimizer, rule, parts, every=every, steps=steps, seed=seed)
