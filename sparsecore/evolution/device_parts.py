"""Importance of links and growth of missing ones where a layer's values are: on the GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from sparsecore.errors import ConfigError, SignalError
from sparsecore.kernels.cpu.rng import salted
from sparsecore.kernels.gpu.lists import DeviceLists
from sparsecore.kernels.gpu.runtime import Runtime
from sparsecore.kernels.gpu.sample import fill_uniformly, sample_by_nodes, sample_uniformly
from sparsecore.kernels.gpu.sample_paths import sample_around_links, sample_by_paths
from sparsecore.kernels.gpu.select import Smallest, list_sums, smallest, soft_keys, to_forty_bits
from sparsecore.kernels.gpu.stream import score_tiles
from sparsecore.predictors import CNL3, RAL3, CH2L3n, CH2L3p, CH3L3n, CH3L3p, Gradient, Predictor, Random
from sparsecore.predictors.three_paths import ThreePaths
from sparsecore.removal import (
    Magnitude,
    Mest,
    ReciprocalSensitivity,
    RelativeImportance,
    Removal,
    Sensitivity,
    SetSigned,
    Snip,
)
from sparsecore.selection import Selection, Soft, Top

__all__ = ["Heard", "OwnLinks", "can_grow", "can_keep", "can_weigh", "grow", "importance", "keep"]

#: Inputs, (B, n_in), and gradients of the outputs, (B, n_out), of recent samples.
Heard = tuple[torch.Tensor, torch.Tensor]

#: Most gradients of missing links that exist at a time, unless a single output has more: 32 MiB.
_BLOCK = 2**22


@dataclass(frozen=True, eq=False)
class OwnLinks:
    """Links of one layer with what they hold, as `sparsecore.removal.Links`.

    Attributes
    ----------
    lists : DeviceLists
        Which links exist.
    values : Tensor, float64, (n_links,)
        Their values.
    gradient : Tensor, float64, (n_links,), optional
        Gradient of the values.
    """

    lists: DeviceLists
    values: torch.Tensor
    gradient: torch.Tensor | None

    def among(self, positions: torch.Tensor) -> OwnLinks:
        """Return some of the links; increasing positions."""
        slope = None if self.gradient is None else self.gradient[positions]
        return OwnLinks(self.lists.subset(positions), self.values[positions], slope)

    def slopes(self) -> torch.Tensor:
        """Return the size of the gradient, or raise `SignalError`."""
        if self.gradient is None:
            raise SignalError("Expected the gradient of the links. Got none. Call after backward, before zero_grad.")
        return self.gradient.abs()


def _relative(runtime: Runtime, links: OwnLinks, removal: Any) -> torch.Tensor:
    size, lists = links.values.abs(), links.lists
    total = torch.zeros_like(size)
    by_row, by_col = list_sums(runtime, lists, size)
    n_out, n_in = lists.shape
    for index, sums, possible in ((lists.rows, by_row, n_in), (lists.cols, by_col, n_out)):
        of_link = sums.index_select(0, index) + removal.epsilon * possible
        total += torch.where(of_link > 0, size / of_link, 0.0)
    return total


def _signed(runtime: Runtime, links: OwnLinks, removal: Any) -> torch.Tensor:
    out = torch.empty_like(links.values)
    for chosen in (links.values >= 0, links.values < 0):
        at = torch.nonzero(chosen)[:, 0]
        order = torch.sort(links.values[at].abs(), stable=True).indices
        ranks = torch.arange(1, at.numel() + 1, dtype=torch.float64, device=at.device)
        out[at[order]] = ranks / max(1, at.numel())
    return out


def _ratio(above: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
    limit = torch.finfo(torch.float64).max
    beyond = (above > 0).to(torch.float64) * limit
    return torch.where(below > 0, above / below, beyond).clamp(max=limit)


#: How the rules of `sparsecore.removal` weigh links here.
_WEIGH: dict[type, Callable[[Runtime, OwnLinks, Any], torch.Tensor]] = {
    Magnitude: lambda _, links, rule: links.values.abs(),
    RelativeImportance: _relative,
    SetSigned: _signed,
    Mest: lambda _, links, rule: links.values.abs() + rule.weight * links.slopes(),
    Snip: lambda _, links, rule: links.values.abs() * links.slopes(),
    Sensitivity: lambda _, links, rule: _ratio(links.slopes(), links.values.abs()),
    ReciprocalSensitivity: lambda _, links, rule: _ratio(links.values.abs(), links.slopes()),
}


def can_weigh(removal: Removal) -> bool:
    """Tell whether `importance` knows a removal rule."""
    return type(removal) in _WEIGH


def can_keep(selection: Selection) -> bool:
    """Tell whether `keep` knows a selection."""
    return type(selection) in (Top, Soft)


def can_grow(predictor: Predictor | None, selection: Selection) -> bool:
    """Tell whether `grow` knows a predictor together with a selection."""
    if predictor is None:
        return True
    if type(selection) is Soft:
        return isinstance(predictor, ThreePaths) or type(predictor) in (Random, Gradient)
    by_id = type(selection) is Top and selection.subrank == "id"
    return by_id and (isinstance(predictor, ThreePaths) or type(predictor) is Gradient)


def importance(runtime: Runtime, removal: Removal, links: OwnLinks) -> torch.Tensor:
    """Return the importance of every link, float64, (n_links,), to the bit what the host computes.

    Raises
    ------
    ConfigError
        If a value or gradient is not finite.
    SignalError
        If the rule reads gradients and there are none.
    """
    weights = _WEIGH[type(removal)](runtime, links, removal)
    if not bool(torch.isfinite(weights).all()):
        raise ConfigError(
            "Expected finite importance >= 0 of every link. Got one that is not finite. "
            "Values or gradients of this layer have overflowed; lower the learning rate or clip gradients."
        )
    return weights


def keep(runtime: Runtime, selection: Selection, weights: torch.Tensor, n_keep: int, seed: int) -> torch.Tensor:
    """Return the positions of the `n_keep` links that stay, increasing, int64; as `Selection.keep`."""
    if n_keep == weights.numel() or not n_keep:
        return torch.arange(n_keep, device=weights.device)
    if not isinstance(selection, Soft):
        return smallest(-weights, n_keep)
    ids = torch.arange(weights.numel(), device=weights.device)
    return smallest(soft_keys(runtime, ids, weights, selection.temperature, seed), n_keep)


def grow(
    runtime: Runtime,
    selection: Selection,
    predictor: Predictor,
    lists: DeviceLists,
    n: int,
    seed: int,
    heard: Heard | None,
) -> torch.Tensor:
    """Return the ids of ``min(n, missing)`` distinct missing links, int64; the law of `Selection.grow`."""
    n = min(n, lists.shape[0] * lists.shape[1] - lists.n_links)
    if type(predictor) is Random:
        return sample_uniformly(runtime, lists, n, salted(seed, 0))
    temperature = selection.temperature if isinstance(selection, Soft) else None
    chosen = torch.empty(0, dtype=torch.int64, device=lists.device)
    if temperature == 1.0:
        chosen = _sampled(runtime, predictor, lists, n, salted(seed, 0))
    if chosen.numel() < n:
        best = Smallest(n - chosen.numel(), lists.device)
        for ids, scores in _stream(runtime, predictor, lists, heard):
            if temperature is None:
                best.add(ids, -to_forty_bits(scores))
            else:
                open_ = ~torch.isin(ids, chosen)
                ids, scores = ids[open_], scores[open_]
                best.add(ids, soft_keys(runtime, ids, scores, temperature, salted(seed, 1)))
        chosen = torch.cat([chosen, best.ids()])
    return fill_uniformly(runtime, lists, chosen, n, salted(seed, 2))


def _sampled(runtime: Runtime, predictor: Predictor, lists: DeviceLists, n: int, seed: int) -> torch.Tensor:
    """Return what a predictor's sampler draws within its budget; nothing if there is none."""
    per_link = getattr(predictor, "proposals_per_link", 0)
    budget = per_link * n + 1024 if per_link and n else 0
    if isinstance(predictor, CH2L3n | CH3L3n):
        overlaps = isinstance(predictor, CH2L3n)
        return sample_by_nodes(runtime, lists, n, seed, overlaps=overlaps, budget=budget)
    if isinstance(predictor, CH2L3p | CH3L3p):
        overlaps = isinstance(predictor, CH2L3p)
        return sample_by_paths(runtime, lists, n, seed, overlaps=overlaps, budget=budget)
    if isinstance(predictor, CNL3 | RAL3):
        by_degree = isinstance(predictor, RAL3)
        return sample_around_links(runtime, lists, n, seed, by_degree=by_degree, budget=budget)
    return torch.empty(0, dtype=torch.int64, device=lists.device)


def _stream(
    runtime: Runtime, predictor: Predictor, lists: DeviceLists, heard: Heard | None
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield ids and scores of all missing links of positive score."""
    if isinstance(predictor, ThreePaths):
        yield from score_tiles(runtime, lists, predictor.rule, by_paths=predictor.by_paths)
        return
    if heard is None:
        raise SignalError("Expected inputs and output gradients. Got none. This predictor reads gradients.")
    inputs, grads = (part.to(torch.float64) for part in heard)
    n_out, n_in = lists.shape
    height = max(1, _BLOCK // max(1, n_in))
    bounds = [*range(0, n_out, height), n_out]
    firsts = lists.row_ptr[torch.tensor(bounds, device=lists.device)].tolist()
    for at, (low, high) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
        block = (grads[:, low:high].t() @ inputs).abs()
        linked = slice(firsts[at], firsts[at + 1])
        rows = lists.rows.index_select(0, lists.row_order[linked]).to(torch.int64) - low
        block[rows, lists.row_cols[linked].to(torch.int64)] = 0.0
        row, col = torch.nonzero(block, as_tuple=True)
        if row.numel():
            yield (row + low) * n_in + col, block[row, col]
