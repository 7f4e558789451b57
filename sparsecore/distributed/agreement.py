"""One plan for all ranks: rank 0 plans an update, the ids of links are broadcast, and hashes are compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.distributed as dist

from sparsecore._typing import Int64Array
from sparsecore.distributed.checks import exchange_device, require_group, require_same, same_links
from sparsecore.errors import ConfigError, SignalError, SparseCoreError
from sparsecore.evolution import Evolution, LayerPlan
from sparsecore.evolution.signals import Recorder
from sparsecore.storage import Topology

__all__ = ["share"]


def share(evolution: Evolution, group: dist.ProcessGroup | None = None) -> Evolution:
    """Let all ranks of `group` take the updates that rank 0 plans, and return `evolution`.

    Rank 0 sends the positions of removed and the ids of grown links; a hash of step and links is compared before
    planning and one of the new links before anything is changed. Rules that read inputs and output gradients see those
    of all ranks. Updates are planned on the host, also for layers on a GPU.

    Parameters
    ----------
    evolution : Evolution
        Built from the same model, links and seed on every rank.
    group : ProcessGroup, optional
        The default group when missing.

    Raises
    ------
    ConfigError
        If there is no process group, or the rule reads momentum that `ZeroRedundancyOptimizer` keeps on one rank alone.
    SparseCoreError
        If ranks hold different links.

    Notes
    -----
    A checkpoint holds what rank 0 has heard. For rules with a window of several steps (`Momentum`), one that is saved
    inside a window resumes with the samples of rank 0 in place of those of all ranks.
    """
    require_group(group)
    rule = evolution.rule
    if rule is not None and "momentum" in rule.needs and hasattr(evolution.optimizer, "consolidate_state_dict"):
        raise ConfigError(
            "Expected a rule that reads no momentum with ZeroRedundancyOptimizer. Got one that does. "
            "Use the optimizer itself on every rank."
        )
    require_same("links", same_links(evolution.topologies), group)
    evolution.plan_by(_Agreement(group))
    return evolution


class _Agreement:
    """Plans an update together with the other ranks."""

    def __init__(self, group: dist.ProcessGroup | None) -> None:
        self._group = group
        self._device = exchange_device(group)
        self._heard_until = -1

    def __call__(self, evolution: Evolution) -> tuple[list[LayerPlan], float]:
        topologies = evolution.topologies
        stamp = f"{evolution.steps_done} ".encode()
        require_same("step and links", stamp + same_links(topologies), self._group)
        if evolution.rule is not None and "signals" in evolution.rule.needs:
            self._gather(evolution.recorders)
        if dist.get_rank(self._group) == 0:
            plans, memory = self._lead(evolution)
        else:
            plans, memory = self._follow(topologies, reborn=evolution.rule is not None and evolution.rule.grows_anew)
        require_same("planned links", same_links(plan.edit.new for plan in plans), self._group)
        return plans, memory

    def _lead(self, evolution: Evolution) -> tuple[list[LayerPlan], float]:
        n_layers = len(evolution.topologies)
        try:
            planned, memory = evolution.plan(on_host=True)
        except SparseCoreError:
            self._broadcast(np.full(2 * n_layers + 2, -1))
            raise
        plans = [plan for plan in planned if isinstance(plan, LayerPlan)]
        removed = [_others(plan.kept, plan.edit.old.n_links) for plan in plans]
        sizes = [size for gone, plan in zip(removed, plans, strict=True) for size in (gone.size, plan.grown.size)]
        self._broadcast(np.array([0, np.float64(memory).view(np.int64), *sizes]))
        parts = [part for gone, plan in zip(removed, plans, strict=True) for part in (gone, plan.grown)]
        self._broadcast(np.concatenate(parts))
        return plans, memory

    def _follow(self, topologies: Sequence[Topology], *, reborn: bool) -> tuple[list[LayerPlan], float]:
        status, memory, *sizes = self._broadcast(np.zeros(2 * len(topologies) + 2, np.int64)).tolist()
        if status:
            raise SignalError("Expected a plan from rank 0. Got an error there, see its message. Nothing has changed.")
        parts = np.split(self._broadcast(np.zeros(sum(sizes), np.int64)), np.cumsum(sizes)[:-1])
        plans = []
        for topology, gone, grown in zip(topologies, parts[::2], parts[1::2], strict=True):
            kept = _others(gone, topology.n_links)
            plans.append(LayerPlan.of(topology, kept, grown, reborn=reborn))
        return plans, float(np.int64(memory).view(np.float64))

    def _broadcast(self, numbers: Int64Array) -> Int64Array:
        sent = torch.from_numpy(numbers.astype(np.int64, copy=False)).to(self._device)
        dist.broadcast(sent, group_src=0, group=self._group)
        return sent.cpu().numpy()

    def _gather(self, recorders: Sequence[Recorder]) -> None:
        """Give every recorder what all ranks have heard since the last update; each rank's loss is its own mean."""
        n_ranks, latest = dist.get_world_size(self._group), self._heard_until
        for recorder in recorders:
            known = [(part["step"], part["inputs"], part["grads"]) for part in recorder.state()]
            fresh = [(step, x.cpu(), grad.cpu() / n_ranks) for step, x, grad in known if step > self._heard_until]
            everyone: list[list[tuple[int, torch.Tensor, torch.Tensor]]] = [[] for _ in range(n_ranks)]
            dist.all_gather_object(everyone, fresh, group=self._group)
            heard = sorted((entry for entries in everyone for entry in entries), key=lambda entry: entry[0])
            recorder.restore([*(entry for entry in known if entry[0] <= self._heard_until), *heard])
            latest = max([latest, *(entry[0] for entry in heard)])
        self._heard_until = latest


def _others(positions: Int64Array, n: int) -> Int64Array:
    """Return the positions in ``range(n)`` that are not among `positions`, increasing."""
    left = np.ones(n, np.bool_)
    left[positions] = False
    return np.flatnonzero(left)
