"""Top-KAST: sparse in the forward pass and, less so, in the backward pass."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import nn

from sparsecore.evolution.evolution import Evolution
from sparsecore.evolution.forward_set import ForwardSet
from sparsecore.evolution.methods.parts import Parts, as_schedule, evolve
from sparsecore.evolution.methods.registry import methods
from sparsecore.evolution.rule import Rule
from sparsecore.predictors import Random
from sparsecore.removal import Magnitude
from sparsecore.schedules import Schedule
from sparsecore.selection import Soft, Top

__all__ = ["TopKAST"]


@methods.register(
    "top_kast",
    paper="Jayakumar et al., Top-KAST (NeurIPS 2020)",
    equation="forward with the largest |w|, A; train the stored links B ⊃ A; L2, times |B|/|A| outside A",
)
def TopKAST(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    every: int,
    steps: int | None = None,
    forward: float = 0.5,
    penalty: float = 1e-4,
    zeta: float | Schedule = 0.1,
    seed: int = 0,
    **parts: Unpack[Parts],
) -> Evolution:
    """Top-KAST on links only: the model stores set B, forward passes use its largest values, set A.

    Parameters
    ----------
    model, optimizer
        As for `Evolution`.
    every : int
        Steps between updates.
    steps : int, optional
        Length of the training; no update at or after it.
    forward : float
        ``|A| / |B|``, the share of the stored links that forward passes use.
    penalty : float
        Factor of the L2 penalty.
    zeta : float or Schedule
        Fraction of B replaced per update: of ours, see below.
    seed : int
        Seed of all updates.
    **parts
        Parts of `Rule` in place of this method's own, see `Parts`.

    Notes
    -----
    The paper chooses B as the largest entries of a dense θ, whose other entries keep their first values. Without a
    dense θ, B explores by giving up the ζ smallest of its values for random links, which hold what they held when they
    were last given up, or 0. A is chosen anew after every optimizer step.
    """
    rule = Rule(
        removal=Magnitude(),
        keep=Top(),
        predictor=Random(),
        grow=Soft(),
        zeta=as_schedule(zeta),
        percolate=False,
        fresh="history",
        companion=ForwardSet(forward, penalty),
    )
    return evolve(model, optimizer, rule, parts, every=every, steps=steps, seed=seed)
