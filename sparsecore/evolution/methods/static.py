"""Static sparse training: the initial links stay."""

from __future__ import annotations

import torch
from torch import nn

from sparsecore.evolution.evolution import Evolution
from sparsecore.evolution.methods.registry import methods

__all__ = ["Static"]


@methods.register("static", paper="Mocanu et al., Machine Learning 104 (2016)", equation="links(t) = links(0)")
def Static(
    model: nn.Module, optimizer: torch.optim.Optimizer, *, every: int = 1, steps: int | None = None, seed: int = 0
) -> Evolution:
    """Train without evolution (SST): links are never replaced.

    Parameters
    ----------
    model, optimizer
        As for `Evolution`.
    every, steps, seed
        Accepted so that every method is called alike; without effect.
    """
    return Evolution(model, optimizer, None, every=every, steps=steps, seed=seed)
