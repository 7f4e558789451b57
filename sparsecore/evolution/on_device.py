"""Planning an update where the layers are: as `plan_model`, on lists that never come to the host."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sparsecore.errors import SignalError
from sparsecore.evolution.device_parts import (
    Heard,
    OwnLinks,
    can_grow,
    can_keep,
    can_weigh,
    grow,
    importance,
    keep,
)
from sparsecore.evolution.plan import derive_seed
from sparsecore.evolution.rule import Rule
from sparsecore.kernels.gpu.lists import DeviceLists, lists_of
from sparsecore.kernels.gpu.remap import DeviceEdit
from sparsecore.kernels.gpu.runtime import Runtime
from sparsecore.nn import End, Joint
from sparsecore.removal import Fraction, Removal
from sparsecore.storage import Topology

__all__ = ["DevicePlan", "DeviceView", "percolate_on_device", "plan_on_device", "why_not"]


@dataclass(frozen=True, eq=False)
class DeviceView:
    """What a rule may read of one layer; tensors of one device.

    Attributes
    ----------
    name : str
        For messages.
    topology : Topology
        The links.
    values : Tensor, float, (n_links,)
        Their values.
    gradient : Tensor, float, (n_links,), optional
        Gradient of the values.
    heard : tuple of Tensor, optional
        Inputs, (B, n_in), and gradients of the outputs, (B, n_out), of recent samples.
    n_start : int
        Links the layer was built with.
    frozen : bool
        Whether the links stay as they are: after an early stop, or while the values are not trained.
    """

    name: str
    topology: Topology
    values: torch.Tensor
    gradient: torch.Tensor | None
    heard: Heard | None
    n_start: int
    frozen: bool

    def links(self) -> OwnLinks:
        """Return the links with what they hold, in float64."""
        slope = None if self.gradient is None else self.gradient.to(torch.float64)
        return OwnLinks(lists_of(self.topology, self.values.device), self.values.to(torch.float64), slope)


@dataclass(frozen=True, eq=False)
class DevicePlan:
    """The planned edit of one layer; as `LayerPlan`.

    Attributes
    ----------
    edit : DeviceEdit
        The change.
    kept, grown : Tensor, int64
        Positions that removal and percolation left, and ids that regrowth added.
    """

    edit: DeviceEdit
    kept: torch.Tensor
    grown: torch.Tensor

    @property
    def overlap(self) -> float:
        """Share of grown links that the same update had removed; 0 when nothing was grown."""
        return 1.0 - len(self.edit.fresh) / len(self.grown) if len(self.grown) else 0.0


def why_not(rule: Rule) -> str | None:
    """Return which part of a rule has to be planned on the host, or ``None`` if there is none."""
    parts = {
        "removal": can_weigh(rule.removal) and (rule.prune is None or can_weigh(rule.prune)),
        "keep": can_keep(rule.keep),
        "predictor and grow": can_grow(rule.predictor, rule.grow),
        "amount": type(rule.amount) is Fraction,
        "redistribution": rule.redistribution is None,
        "companion": rule.companion is None,
        "fresh_momentum": not rule.fresh_momentum,
    }
    missing = [name for name, known in parts.items() if not known]
    return ", ".join(missing) or None


def plan_on_device(
    runtime: Runtime,
    chains: Sequence[Sequence[DeviceView]],
    rule: Rule,
    step: int,
    seeds: Sequence[int],
    joints: Sequence[Sequence[Joint] | None] | None = None,
) -> list[DevicePlan]:
    """Plan one update of all chains, with the seeds and streams of `plan_model`.

    Parameters
    ----------
    runtime : Runtime
        Launches kernels.
    chains : sequence of sequence of DeviceView
        Layers that share neurons, in order, chain by chain.
    rule : Rule
        What to do; one for which `why_not` finds nothing.
    step : int
        Training step, for the schedules.
    seeds : sequence of int
        One per chain.
    joints : sequence, optional
        Where the layers of every chain meet, ``None`` for those that follow one after the other.

    Returns
    -------
    list of DevicePlan
        Layer by layer. What is removed by rank is removed on the host too; what is drawn follows the same law.

    Raises
    ------
    SignalError
        If the rule reads gradients or signals that are not there.
    """
    _require([view for views in chains for view in views if not view.frozen], rule)
    plans = []
    for views, seed, met in zip(chains, seeds, joints or [None] * len(chains), strict=True):
        targets = [
            view.topology.n_links if view.frozen else rule.links_at(step, view.n_start, view.topology.n_possible)
            for view in views
        ]
        kept = [
            _remove(runtime, view, target, rule, step, derive_seed(seed, index, 0))
            for index, (view, target) in enumerate(zip(views, targets, strict=True))
        ]
        if rule.percolate:
            lists = [lists_of(view.topology, view.values.device) for view in views]
            left = percolate_on_device(lists, kept, met)
            kept = [before if view.frozen else after for view, before, after in zip(views, kept, left, strict=True)]
        for index, (view, target, stay) in enumerate(zip(views, targets, kept, strict=True)):
            n = max(0, target - len(stay))
            plans.append(_grow(runtime, view, rule, stay, n, derive_seed(seed, index, 1)))
    return plans


def _require(views: Sequence[DeviceView], rule: Rule) -> None:
    for view in views:
        if "gradient" in rule.needs and view.gradient is None:
            raise SignalError(
                f"Expected a gradient of the links of {view.name!r}. Got none. "
                "Call the evolution step after backward and before zero_grad."
            )
        if "signals" in rule.needs and view.heard is None:
            raise SignalError(
                f"Expected inputs and output gradients of {view.name!r}. Got none. "
                "Run forward and backward through the layer in the step before the update."
            )


def _remove(runtime: Runtime, view: DeviceView, target: int, rule: Rule, step: int, seed: int) -> torch.Tensor:
    """Return the positions left after the density schedule and the rule have removed links."""
    links, selection = view.links(), rule.keep_at(step)
    kept = torch.arange(view.topology.n_links, device=view.values.device)
    if view.frozen:
        return kept

    def take(n_keep: int, removal: Removal, seed: int) -> torch.Tensor:
        among = links if len(kept) == view.topology.n_links else links.among(kept)
        weights = importance(runtime, removal, among)
        return kept[keep(runtime, selection, weights, n_keep, derive_seed(seed, 1))]

    if target < len(kept):
        kept = take(target, rule.prune or rule.removal, derive_seed(seed, 0))
    if rule.predictor is not None:
        n_keep = len(kept) - math.floor(rule.zeta_at(step) * len(kept))
        if n_keep < len(kept):
            kept = take(n_keep, rule.removal, derive_seed(seed, 1))
    return kept


def percolate_on_device(
    lists: Sequence[DeviceLists], kept: Sequence[torch.Tensor], joints: Sequence[Joint] | None = None
) -> list[torch.Tensor]:
    """Return the kept links of a chain, or of layers that meet in `joints`, without those at inactive hidden neurons.

    As `percolate`; one bit per side of a joint and sweep comes to the host.
    """
    stay = list(kept)
    if joints is None:
        for at in range(len(stay) - 2, -1, -1):
            used = _touched(lists[at + 1].cols[stay[at + 1]], lists[at].shape[0])
            stay[at] = stay[at][used.index_select(0, lists[at].rows[stay[at]])]
        for at in range(1, len(stay)):
            reached = _touched(lists[at - 1].rows[stay[at - 1]], lists[at].shape[1])
            stay[at] = stay[at][reached.index_select(0, lists[at].cols[stay[at]])]
        return stay
    changed = True
    while changed:
        changed = False
        for joint in joints:
            alive = _alive(joint, lists, stay)
            for end in joint.ends:
                units = _units(end, _neurons(end, lists, stay), len(alive) - 1)
                keep_ = alive.index_select(0, units)
                if not bool(keep_.all()):
                    stay[end.layer], changed = stay[end.layer][keep_], True
    return stay


def _alive(joint: Joint, lists: Sequence[DeviceLists], stay: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return which units have links on every side that needs them, and a last entry for neurons of no unit: alive."""
    alive = torch.ones(joint.n_units + 1, dtype=torch.bool, device=stay[0].device)
    for end in joint.ends:
        if not end.lives:
            alive &= _touched(_units(end, _neurons(end, lists, stay), joint.n_units), joint.n_units + 1)
    alive[-1] = True
    return alive


def _neurons(end: End, lists: Sequence[DeviceLists], stay: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the neuron of one side of every link that is left."""
    of = lists[end.layer]
    return (of.rows if end.side == "out" else of.cols).index_select(0, stay[end.layer])


def _units(end: End, neurons: torch.Tensor, nothing: int) -> torch.Tensor:
    """Return the unit of every neuron; `nothing` for neurons of no unit."""
    if end.unit is None:
        return neurons
    units = torch.tensor(end.unit, device=neurons.device)[neurons]
    return torch.where(units < 0, nothing, units)


def _touched(index: torch.Tensor, n: int) -> torch.Tensor:
    return torch.zeros(n, dtype=torch.bool, device=index.device).index_fill_(0, index.to(torch.int64), True)


def _grow(runtime: Runtime, view: DeviceView, rule: Rule, kept: torch.Tensor, n: int, seed: int) -> DevicePlan:
    grown = torch.empty(0, dtype=torch.int64, device=kept.device)
    if rule.predictor is not None and n:
        left = lists_of(view.topology, kept.device).subset(kept)
        grown = grow(runtime, rule.grow, rule.predictor, left, n, seed, view.heard)
    return DevicePlan(DeviceEdit.plan(view.topology, kept, grown), kept, grown)
