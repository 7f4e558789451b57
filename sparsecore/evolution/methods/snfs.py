"""Sparse networks from scratch: sparse momentum."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import nn

from sparsecore.evolution.evolution import Evolution
from sparsecore.evolution.methods.parts import Parts, evolve
from sparsecore.evolution.methods.registry import methods
from sparsecore.evolution.redistribution import MomentumShare
from sparsecore.evolution.rule import Rule
from sparsecore.predictors import Momentum
from sparsecore.removal import Magnitude
from sparsecore.schedules import Constant, Cosine, Schedule
from sparsecore.selection import Top

__all__ = ["SNFS"]


@methods.register(
    "snfs",
    paper="Dettmers and Zettlemoyer, Sparse networks from scratch (2019)",
    equation="remove the ζ(t) smallest weights; G_l ∝ mean |momentum| of layer l; grow the largest momentum",
)
def SNFS(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    every: int,
    steps: int | None = None,
    zeta: float | Schedule = 0.5,
    beta: float = 0.9,
    window_steps: int = 44,
    seed: int = 0,
    **parts: Unpack[Parts],
) -> Evolution:
    """Sparse momentum (SNFS): momentum says which layers and which missing links get the links that were removed.

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
    beta : float
        Momentum of the optimizer, by which the gradients of missing links are weighted.
    window_steps : int
        Steps that the momentum of missing links looks back on, see `sparsecore.predictors.Momentum`.
    seed : int
        Seed of all updates.
    **parts
        Parts of `Rule` in place of this method's own, see `Parts`.

    Notes
    -----
    Needs an optimizer with momentum. New links get the momentum that they would have had, as in the published code,
    where momentum is dense (``fresh_momentum=False``: 0); under optimizers other than SGD they start at 0. All layers
    together keep exactly their number of links.
    """
    if not callable(zeta):
        zeta = Cosine(zeta, 0.0, steps) if steps else Constant(zeta)
    rule = Rule(
        removal=Magnitude(),
        keep=Top(),
        predictor=Momentum(beta, window_steps),
        grow=Top(),
        zeta=zeta,
        percolate=False,
        redistribution=MomentumShare(),
        fresh_momentum="predictor" not in parts,
    )
    return evolve(model, optimizer, rule, parts, every=every, steps=steps, seed=seed)
