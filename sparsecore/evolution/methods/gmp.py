"""Gradual magnitude pruning."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import nn

from sparsecore.evolution.evolution import Evolution
from sparsecore.evolution.methods.density import Fall
from sparsecore.evolution.methods.parts import Parts, evolve
from sparsecore.evolution.methods.registry import methods
from sparsecore.evolution.rule import Rule
from sparsecore.predictors import Retired
from sparsecore.removal import Fraction, Magnitude, Outranked
from sparsecore.schedules import Cubic
from sparsecore.selection import Top

__all__ = ["GMP"]


@methods.register(
    "gmp",
    paper="Zhu and Gupta, To prune, or not to prune (2017)",
    equation="density(t) cubic; keep the largest |w| of links and of links pruned before",
)
def GMP(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    every: int,
    steps: int | None = None,
    density: float = 0.01,
    returns: bool = True,
    seed: int = 0,
    **parts: Unpack[Parts],
) -> Evolution:
    """Gradual magnitude pruning (GMP): the density falls by a cubic schedule; pruned weights may return.

    Parameters
    ----------
    model, optimizer
        As for `Evolution`.
    every : int
        Steps between updates.
    steps : int
        Length of the training; no update at or after it. It may be missing with a `density_schedule` alone.
    density : float
        Density at the end; the model's own is the start, in proportion in every layer. It is reached after three
        quarters of `steps`.
    returns : bool
        Let a pruned weight come back, with the value it had, once it is larger than a weight that is left: as if the
        dense weight were kept, from a list of the links ever pruned. Off, what is pruned is gone.
    seed : int
        Seed of all updates.
    **parts
        Parts of `Rule` in place of this method's own, see `Parts`.
    """
    rule = Rule(
        removal=Magnitude(),
        keep=Top(),
        predictor=Retired() if returns else None,
        grow=Top(),
        density_from=Fall(Cubic, density, steps, 0.75),
        percolate=False,
        fresh="history",
        amount=Outranked() if returns else Fraction(),
    )
    return evolve(model, optimizer, rule, parts, every=every, steps=steps, seed=seed)
