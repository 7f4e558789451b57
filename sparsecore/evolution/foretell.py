"""What a training will do otherwise than one may expect, told at its first step."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import torch.distributed as dist

from sparsecore.evolution.rule import Rule
from sparsecore.storage import Topology

__all__ = ["foretell"]

_log = logging.getLogger("sparsecore.evolution")


def foretell(rule: Rule, topologies: Sequence[Topology], *, every: int, steps: int | None, shared: bool) -> None:
    """Log what will not happen: a density that is reached, updates that fall into `steps`, processes that agree.

    Parameters
    ----------
    rule : Rule
        What updates do.
    topologies : sequence of Topology
        First links of all layers.
    every, steps
        As for `Evolution`.
    shared : bool
        Whether processes that train together share their updates.
    """
    if not shared and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        _log.warning(
            "%d processes train, and each updates its links by itself. If they share a model, call "
            "sparsecore.distributed.share(evolution).",
            dist.get_world_size(),
        )
    density = sum(t.n_links for t in topologies) / max(1, sum(t.n_possible for t in topologies))
    if rule.density_start is not None and not math.isclose(density, rule.density_start, rel_tol=0.01):
        _log.warning(
            "the model has density %.4g, and its evolution was built on density %.4g: every density of its schedule is "
            "multiplied by %.4g. Build the evolution after the state of the model is loaded.",
            density,
            rule.density_start,
            density / rule.density_start,
        )
    if steps is None:
        return
    text = rule.shortfall(density, every=every, steps=steps)
    if text is not None:
        _log.warning("%s. Train for more steps, or lower every.", text)
