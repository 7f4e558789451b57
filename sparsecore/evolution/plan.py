"""Planning an update: pure functions from read-only views of the layers to topology edits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sparsecore._typing import FloatArray, Int64Array
from sparsecore.errors import ShapeError, SignalError
from sparsecore.evolution.percolation import percolate
from sparsecore.evolution.redistribution import Surviving, share
from sparsecore.evolution.rule import Rule
from sparsecore.kernels.cpu.remap import plan_edit
from sparsecore.nn import Joint
from sparsecore.predictors import Signals
from sparsecore.removal import Candidates, Links, Removal
from sparsecore.selection import Selection
from sparsecore.storage import Topology, TopologyEdit

__all__ = ["LayerPlan", "LayerView", "ModelPlan", "derive_seed", "plan_chain", "plan_model"]


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
        Inputs and output gradients of recent batches, and links retired so far.
    n_start : int
        Links the layer was built with.
    frozen : bool
        Whether the links stay as they are: after an early stop, or while the values are not trained.
    signs : array, int8, (n_links,), optional
        Sign that every value must keep.
    momentum : array, float, (n_links,), optional
        The optimizer's momentum of every value.
    """

    name: str
    topology: Topology
    values: FloatArray
    gradient: FloatArray | None
    signals: Signals | None
    n_start: int
    frozen: bool = False
    signs: FloatArray | None = None
    momentum: FloatArray | None = None


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
    overlap : float
        Share of grown links that the same update had removed; 0 when nothing was grown.
    """

    edit: TopologyEdit
    kept: Int64Array
    grown: Int64Array
    overlap: float

    @classmethod
    def of(cls, old: Topology, kept: Int64Array, grown: Int64Array, *, reborn: bool = False) -> LayerPlan:
        """Return the plan that keeps some links and adds others.

        With `reborn`, links that come back within the update start anew, as all grown ones; else they go on with what
        they had.
        """
        edit = plan_edit(old, kept, grown)
        overlap = 1.0 - edit.fresh.size / grown.size if grown.size else 0.0
        if reborn and overlap:
            source = edit.source.copy()
            source[edit.new.find(grown)] = -1
            edit = replace(edit, source=source)
        return cls(edit, kept, grown, overlap)


@dataclass(frozen=True)
class ModelPlan:
    """The planned edits of all layers.

    Attributes
    ----------
    chains : list of list of LayerPlan
        Chain by chain, layer by layer.
    memory : float
        What the rule's amount hands on to the next update.
    """

    chains: list[list[LayerPlan]]
    memory: float


def derive_seed(seed: int, *path: int) -> int:
    """Return a 64-bit seed for one purpose; independent streams for different paths."""
    return int(np.random.SeedSequence([seed, *path]).generate_state(1, np.uint64)[0])


def plan_chain(views: Sequence[LayerView], rule: Rule, step: int, seed: int) -> list[LayerPlan]:
    """Plan one update of a single chain of layers; see `plan_model`."""
    return plan_model([views], rule, step, [seed]).chains[0]


def plan_model(
    chains: Sequence[Sequence[LayerView]],
    rule: Rule,
    step: int,
    seeds: Sequence[int],
    memory: float | None = None,
    joints: Sequence[Sequence[Joint] | None] | None = None,
) -> ModelPlan:
    """Plan one update of all chains of a model.

    Parameters
    ----------
    chains : sequence of sequence of LayerView
        Layers that share neurons, in order, chain by chain.
    rule : Rule
        What to do.
    step : int
        Training step, for the schedules.
    seeds : sequence of int
        One per chain. Same seeds and same views give the same plan, on any number of threads.
    memory : float, optional
        What the rule's amount handed on at the last update; its own start when missing.
    joints : sequence, optional
        Where the layers of each chain meet; ``None`` for layers one after the other.

    Returns
    -------
    ModelPlan
        Frozen layers keep their links. As long as missing links exist, every other layer ends with exactly the links
        that its density schedule says; under a redistribution all layers together keep exactly their number of links.

    Raises
    ------
    SignalError
        If the rule reads gradients or signals that are not there.
    """
    layers = [
        _Layer(view, _target(view, rule, step), derive_seed(seed, index, 0))
        for views, seed in zip(chains, seeds, strict=True)
        for index, view in enumerate(views)
    ]
    _require([layer.view for layer in layers if not layer.view.frozen], rule)
    kept, memory = _remove(layers, rule, step, rule.amount.start if memory is None else memory)
    first = 0
    for views, met in zip(chains, joints or [None] * len(chains), strict=True) if rule.percolate else ():
        part = slice(first, first + len(views))
        left = percolate([view.topology for view in views], kept[part], met)
        kept[part] = [
            _everything(view) if view.frozen else positions for view, positions in zip(views, left, strict=True)
        ]
        first += len(views)
    n_grown = _regrowth(layers, kept, rule)
    plans = iter(
        _grow(layer.view, rule, positions, n, derive_seed(seed, index, 1))
        for (seed, index), layer, positions, n in zip(_places(chains, seeds), layers, kept, n_grown, strict=True)
    )
    return ModelPlan([[next(plans) for _ in views] for views in chains], memory)


@dataclass(frozen=True)
class _Layer:
    """A view, the links it is to end with, and the seed of its removal."""

    view: LayerView
    target: int
    seed: int


def _target(view: LayerView, rule: Rule, step: int) -> int:
    """Return the links a layer is to end with, before any redistribution."""
    if rule.redistribution is not None or view.frozen:
        return view.topology.n_links
    return rule.links_at(step, view.n_start, view.topology.n_possible)


def _places(chains: Sequence[Sequence[LayerView]], seeds: Sequence[int]) -> list[tuple[int, int]]:
    """Return the seed of the chain and the place in the chain of every layer."""
    return [(seed, index) for views, seed in zip(chains, seeds, strict=True) for index in range(len(views))]


def _require(views: Sequence[LayerView], rule: Rule) -> None:
    for view in views:
        if "gradient" in rule.needs and view.gradient is None:
            raise SignalError(
                f"Expected a gradient of the links of {view.name!r}. Got none. "
                "Call the evolution step after backward and before zero_grad."
            )
        if "signals" in rule.needs and (view.signals is None or not view.signals.inputs.size):
            raise SignalError(
                f"Expected inputs and output gradients of {view.name!r}. Got none. "
                "Run forward and backward through the layer in the step before the update."
            )
        if "momentum" in rule.needs and view.momentum is None:
            raise SignalError(
                f"Expected the optimizer's momentum of {view.name!r}. Got none. "
                "Use an optimizer with momentum, and step it before the update."
            )
        if "signs" in rule.needs and view.signs is None:
            raise SignalError(
                f"Expected a sign of every link of {view.name!r}. Got none. "
                "Use a rule whose companion keeps signs, as that of DeepR."
            )


def _everything(view: LayerView) -> Int64Array:
    return np.arange(view.topology.n_links, dtype=np.int64)


def _remove(layers: Sequence[_Layer], rule: Rule, step: int, memory: float) -> tuple[list[Int64Array], float]:
    """Return the positions left after the density schedule and the rule have removed links, and the new memory."""
    keep = rule.keep_at(step)
    kept = [_prune(layer, rule, keep) for layer in layers]
    open_ = [at for at, layer in enumerate(layers) if not layer.view.frozen]
    if rule.predictor is None or not open_:
        return kept, memory
    importance = {
        at: _importance(layers[at].view, kept[at], rule.removal, derive_seed(layers[at].seed, 1)) for at in open_
    }
    candidates = [Candidates(importance[at], _retired_sizes(layers[at].view, rule)) for at in open_]
    counts, memory = rule.amount.n_keep(candidates, rule.zeta_at(step), memory)
    for at, n_keep in zip(open_, counts, strict=True):
        if n_keep < kept[at].size:
            seed = derive_seed(derive_seed(layers[at].seed, 1), 1)
            kept[at] = kept[at][keep.keep(importance[at], n_keep, seed)]
    return kept, memory


def _prune(layer: _Layer, rule: Rule, keep: Selection) -> Int64Array:
    """Return the positions left after the density schedule has removed links."""
    kept = _everything(layer.view)
    if layer.view.frozen or layer.target >= kept.size:
        return kept
    seed = derive_seed(layer.seed, 0)
    importance = _importance(layer.view, kept, rule.prune or rule.removal, seed)
    return kept[keep.keep(importance, layer.target, derive_seed(seed, 1))]


def _importance(view: LayerView, among: Int64Array, removal: Removal, seed: int) -> FloatArray:
    """Return the importance of the links at the positions `among`, computed from these links alone."""
    links = Links(view.topology, view.values, view.gradient, view.signs)
    if among.size < view.topology.n_links:
        parts = (None if part is None else part[among] for part in (view.gradient, view.signs))
        links = Links(view.topology.subset(among), view.values[among], *parts)
    importance = removal.importance(links, seed=derive_seed(seed, 0))
    if np.shape(importance) != links.values.shape:
        got = np.shape(importance)
        raise ShapeError(f"Expected the importance of {links.values.size} links from {removal!r}. Got shape {got}.")
    return importance


def _retired_sizes(view: LayerView, rule: Rule) -> FloatArray:
    """Return the last size of every retired and missing link, float64, (n,); of none if the rule does not ask."""
    if view.signals is None or "history" not in rule.amount.needs:
        return np.zeros(0)
    _, values = view.signals.missing_retired(view.topology)
    return np.abs(values.astype(np.float64))


def _regrowth(layers: Sequence[_Layer], kept: Sequence[Int64Array], rule: Rule) -> list[int]:
    """Return how many links each layer grows."""
    lacking = [max(0, layer.target - positions.size) for layer, positions in zip(layers, kept, strict=True)]
    if rule.redistribution is None or rule.predictor is None:
        return lacking
    open_ = [at for at, layer in enumerate(layers) if not layer.view.frozen]
    survivors = [
        Surviving(layers[at].view.topology.n_possible, kept[at].size, layers[at].view.momentum) for at in open_
    ]
    grown = share(
        rule.redistribution.weights(survivors),
        [lacking[at] for at in open_],
        [layer.n_possible - layer.n_kept for layer in survivors],
    )
    shares = dict(zip(open_, grown, strict=True))
    return [shares.get(at, 0) for at in range(len(layers))]


def _grow(view: LayerView, rule: Rule, kept: Int64Array, n: int, seed: int) -> LayerPlan:
    grown = np.zeros(0, np.int64)
    if rule.predictor is not None and n:
        left = view.topology.subset(kept)
        grown = rule.grow.grow(rule.predictor, left, n, seed, signals=view.signals)
    return LayerPlan.of(view.topology, kept, grown, reborn=rule.grows_anew)
