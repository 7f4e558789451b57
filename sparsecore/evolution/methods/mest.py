"""MEST: memory-economic sparse training, with elastic mutation."""

from __future__ import annotations

from functools import partial
from typing import Unpack

import torch
from torch import nn

from sparsecore.errors import ConfigError, check_count
from sparsecore.evolution.evolution import Evolution
from sparsecore.evolution.methods.parts import Parts, as_schedule, evolve, preset_of
from sparsecore.evolution.methods.registry import methods
from sparsecore.evolution.rule import Rule
from sparsecore.predictors import Random
from sparsecore.removal import Mest
from sparsecore.schedules import Schedule, Steps
from sparsecore.selection import Soft, Top

__all__ = ["MEST"]


@methods.register(
    "mest",
    paper="Yuan et al., MEST (NeurIPS 2021)",
    equation="remove smallest |w| + 0.01|g|, grow at random; EM&S: density above target early on",
)
def MEST(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    every: int,
    steps: int | None = None,
    zeta: float | Schedule | None = None,
    preset: str = "mlp",
    elastic: bool | None = None,
    seed: int = 0,
    **parts: Unpack[Parts],
) -> Evolution:
    """Memory-economic sparse training (MEST), with elastic mutation and shrinking (EM&S).

    Parameters
    ----------
    model, optimizer
        As for `Evolution`.
    every : int
        Steps between updates.
    steps : int, optional
        Length of the training; no update at or after it. EM&S comes down to the last density one update earlier: give
        three quarters of the training, as the published code does, to go on with the links that are left then.
    zeta : float or Schedule, optional
        Fraction of links replaced per update; that of `preset` when missing.
    preset : str
        Task whose published settings are used: ``"mlp"``, ``"translation"`` or ``"llama"``.
    elastic : bool, optional
        Hold more links than the model starts with until late in training (EM&S), in proportion in every layer; needs
        `steps` for three updates or more. Where they are there when missing.
    seed : int
        Seed of all updates.
    **parts
        Parts of `Rule` in place of this method's own, see `Parts`.
    """
    settings = preset_of(preset)
    check_count("every", every, "the number of steps between updates", low=1)
    fits = steps is not None and check_count("steps", steps, "the number of training steps", low=1) > 2 * every
    if elastic and not fits:
        raise ConfigError(
            f"Expected steps above {2 * every}, two updates, with elastic=True. Got {steps}. "
            "Give the length of the training, or leave elastic out."
        )
    stairs = None
    if steps is not None and fits and elastic is not False:
        stairs = partial(Steps.em_s, steps=steps, every=every)
    rule = Rule(
        removal=Mest(),
        keep=Top(),
        predictor=Random(),
        grow=Soft(),
        zeta=as_schedule(settings.zeta if zeta is None else zeta),
        density_from=stairs,
        percolate=False,
    )
    return evolve(model, optimizer, rule, parts, every=every, steps=steps, seed=seed)
