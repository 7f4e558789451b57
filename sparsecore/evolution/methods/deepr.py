"""Deep rewiring: links whose value changes its sign go, random ones come."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import nn

from sparsecore.evolution.evolution import Evolution
from sparsecore.evolution.methods.parts import Parts, evolve
from sparsecore.evolution.methods.registry import methods
from sparsecore.evolution.rule import Rule
from sparsecore.evolution.signed import SignedWalk
from sparsecore.predictors import Random
from sparsecore.removal import SignKept, Unimportant
from sparsecore.selection import Soft, Top

__all__ = ["DeepR"]


@methods.register(
    "deepr",
    paper="Bellec et al., Deep rewiring (ICLR 2018)",
    equation="θ ← θ − η(∂E/∂θ + α) + noise, w = sθ; θ < 0 goes, as many are grown at random with w = 0",
)
def DeepR(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    every: int,
    steps: int | None = None,
    l1: float = 1e-4,
    noise: float = 1 / 3,
    seed: int = 0,
    **parts: Unpack[Parts],
) -> Evolution:
    """Deep rewiring (DeepR): a random walk with a fixed sign per link; what leaves its sign is replaced at random.

    Parameters
    ----------
    model, optimizer
        As for `Evolution`.
    every : int
        Steps between updates; the paper rewires after every step, ``every=1``.
    steps : int, optional
        Length of the training; no update at or after it.
    l1 : float
        α, the pull towards zero. 0 leaves only the sign constraint of the method: no pull and no noise.
    noise : float
        Standard deviation of the noise over the pull; 1/3 is the temperature of the paper, ``T = η α² / 18``.
    seed : int
        Seed of all updates.
    **parts
        Parts of `Rule` in place of this method's own, see `Parts`.

    Notes
    -----
    A link keeps the sign of its first value; a grown link starts at 0 and gets a random sign, the same whenever it is
    grown in one run, so that no sign of a missing link is stored. With ``every > 1`` a value that has changed sign
    trains on until the next update.
    """
    rule = Rule(
        removal=SignKept(),
        keep=Top(),
        predictor=Random(),
        grow=Soft(),
        percolate=False,
        amount=Unimportant(),
        companion=SignedWalk(l1, noise),
    )
    return evolve(model, optimizer, rule, parts, every=every, steps=steps, seed=seed)
