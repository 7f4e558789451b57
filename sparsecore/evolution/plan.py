"""Planning an update: pure functions from read-only views of the layers to topology edits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sparsecore._typing import FloatArray, Int64Array
from sparsecore.errors import SignalError
from sparsecore.evolution.percolation import percolate
from sparsecore.evolution.rule import Rule
from sparsecore.predictors import Signals
from sparsecore.removal import Links, Removal
from sparsecore.selection import Selection
from sparsecore.storage import Topology, TopologyEdit

__all__ = ["LayerPlan", "LayerView", "derive_seed", "plan_chain"]


@dataclass(frozen=True)
class LayerView:
    """What a rule may read of one layer.

    Attributes
    ----------
    name : str
        For messages.
    topology : Topology
        The links.
    values : array, float, (n_links,)
        Their values.
    gradient : array, float, (n_links,), optional
        Gradient of the values.
    signals : Signals, optional
        Inputs and output gradients of recent batches.
    n_start : int
        Links the layer was built with.
    frozen : bool
        Whether early stop has ended its evolution.
    """

    name: str
    topology: Topology
    values: FloatArray
    gradient: FloatArray | None
    signals: Signals | None
    n_start: int
    frozen: bool = False


@dataclass(frozen=True)
class LayerPlan:
    """The planned edit of one layer and what led to it.

    Attributes
    ----------
    edit : TopologyEdit
        The change.
    kept : array, int64
        Positions among the old links that removal and percolation left.
    grown : array, int64
        Ids of the links that regrowth added; some may have been removed in the same update.
    """

    edit: TopologyEdit
    kept: Int64Array
    grown: Int64Array

    @property
    def overlap(self) -> float:
        """Share of grown links that the same update had removed; 0 when nothing was grown."""
        if self.grown.size == 0:
            return 0.0
        return 1.0 - self.edit.fresh.size / self.grown.size


def derive_seed(seed: int, *path: int) -> int:
    """Return a 64-bit seed for one purpose; independent streams for different paths."""
    return int(np.random.SeedSequence([seed, *path]).generate_state(1, np.uint64)[0])


def plan_chain(views: Sequence[LayerView], rule: Rule, step: int, seed: int) -> list[LayerPlan]:
    """Plan one update of a chain of layers.

    Parameters
    ----------
    views : sequence of LayerView
        Layers that share neurons, in order.
    rule : Rule
        What to do.
    step : int
        Training step, for the schedules.
    seed : int
        Same seed and same views give the same plan, on any number of threads.

    Returns
    -------
    list of LayerPlan
        One per layer; every layer ends with exactly the links that its density schedule says, as long as missing links
        exist.

    Raises
    ------
    SignalError
        If the rule reads gradients or signals that are not there.
    """
    _require(views, rule)
    targets = [rule.links_at(step, view.n_start, view.topology.n_possible) for view in views]
    kept = [
        _everything(view) if view.frozen else _remove(view, rule, step, target, derive_seed(seed, index, 0))
        for index, (view, target) in enumerate(zip(views, targets, strict=True))
    ]
    if rule.percolate:
        kept = percolate([view.topology for view in views], kept)
    return [
        _grow(view, rule, positions, target, derive_seed(seed, index, 1))
        for index, (view, target, positions) in enumerate(zip(views, targets, kept, strict=True))
    ]


def _require(views: Sequence[LayerView], rule: Rule) -> None:
    for view in views:
        if "gradient" in rule.needs and view.gradient is None:
            raise SignalError(
                f"Expected a gradient of the links of {view.name!r}. Got none. "
                "Call the evolution step after backward and before zero_grad."
            )
        if "signals" in rule.needs and view.signals is None:
            raise SignalError(
                f"Expected inputs and output gradients of {view.name!r}. Got none. "
                "Run forward and backward through the layer in the step before the update."
            )


def _everything(view: LayerView) -> Int64Array:
    return np.arange(view.topology.n_links, dtype=np.int64)


def _remove(view: LayerView, rule: Rule, step: int, target: int, seed: int) -> Int64Array:
    """Return the positions left after the density schedule and the rule have removed links."""
    kept = _everything(view)
    if target < kept.size:
        kept = _select(view, kept, rule.prune or rule.removal, rule.keep_at(step), target, derive_seed(seed, 0))
    n_keep = kept.size - math.floor(rule.zeta_at(step) * kept.size)
    if rule.predictor is None or n_keep == kept.size:
        return kept
    return _select(view, kept, rule.removal, rule.keep_at(step), n_keep, derive_seed(seed, 1))


def _select(
    view: LayerView, among: Int64Array, removal: Removal, keep: Selection, n_keep: int, seed: int
) -> Int64Array:
    """Return `n_keep` of the positions `among`, chosen by importance among these links alone."""
    topology, values, gradient = view.topology, view.values, view.gradient
    if among.size < topology.n_links:
        topology = Topology.from_coo(topology.rows[among], topology.cols[among], shape=topology.shape)
        values, gradient = values[among], None if gradient is None else gradient[among]
    importance = removal.importance(Links(topology, values, gradient), seed=derive_seed(seed, 0))
    return among[keep.keep(importance, n_keep, derive_seed(seed, 1))]


def _grow(view: LayerView, rule: Rule, kept: Int64Array, target: int, seed: int) -> LayerPlan:
    grown = np.zeros(0, np.int64)
    if rule.predictor is not None and kept.size < target:
        left = Topology.from_coo(view.topology.rows[kept], view.topology.cols[kept], shape=view.topology.shape)
        grown = rule.grow.grow(rule.predictor, left, target - kept.size, seed, signals=view.signals)
    return LayerPlan(TopologyEdit.plan(view.topology, kept, grown), kept, grown)
