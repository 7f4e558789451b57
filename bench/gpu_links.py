"""Regrowth on a GPU: the sampler that computes no score against dense score matrices."""

from __future__ import annotations

import torch

from sparsecore.bench.gate import OK, skipped, wrong
from sparsecore.bench.gpu_clock import Contender, Entry, Place, entry, raced
from sparsecore.generators import ER
from sparsecore.kernels.gpu.lists import DeviceLists, lists_of
from sparsecore.kernels.gpu.remap import DeviceEdit
from sparsecore.kernels.gpu.sample import sample_by_nodes
from sparsecore.kernels.gpu.select import smallest

__all__ = ["measure_regrowth"]

#: Links replaced by an update.
ZETA = 0.3


def measure_regrowth(place: Place, *, shape: list[int], density: float, seconds: float) -> list[Entry]:
    """Time the soft regrowth of 30% of the links by CH2-L3n, the edit, and the dense way of published code.

    Parameters
    ----------
    place : Place
        Where.
    shape : list of int
        ``[n_out, n_in]``.
    density : float
        Of the layer before links are removed.
    seconds : float
        Time for each contender.
    """
    topology = ER()((shape[0], shape[1]), round(density * shape[0] * shape[1]), 0)
    n = int(ZETA * topology.n_links)
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(topology.n_links, generator=generator).to(place.device)
    kept = smallest(noise, topology.n_links - n)
    lists = lists_of(topology, place.device).subset(kept)

    def sample() -> torch.Tensor:
        # Derived lists are made anew, as in an update.
        left = DeviceLists(lists.shape, lists.col_ptr, lists.rows)
        return sample_by_nodes(place.runtime, left, n, 7, overlaps=True, budget=16 * n + 1024)

    grown = sample()
    status = _checked(lists, grown, n)
    if status != OK:
        return [entry("sparsecore", "regrowth", status)]
    contenders = {
        "sparsecore": lambda: Contender(sample, 0.0),
        "dense scores, torch.multinomial": lambda: Contender(lambda: _dense(lists, n), 0.0),
    }
    entries = raced(place, "regrowth", contenders, None, None, seconds)
    edit = {"sparsecore": lambda: Contender(lambda: DeviceEdit.plan(topology, kept, grown), 0.0)}
    return entries + raced(place, "edit", edit, None, None, seconds)


def _checked(lists: DeviceLists, grown: torch.Tensor, n: int) -> str:
    n_out, n_in = lists.shape
    keys = grown % n_in * n_out + grown // n_in
    if bool(torch.isin(keys, lists.keys).any()) or grown.unique().numel() != grown.numel():
        return wrong("a link that exists or was drawn twice")
    if grown.numel() < n:
        return skipped(f"only {grown.numel()} of {n} links within the budget")
    return OK


def _dense(lists: DeviceLists, n: int) -> torch.Tensor:
    """Draw links from the whole score matrix, as published code does.

    Raises
    ------
    RuntimeError
        From torch, if there are more scores than it draws from.
    """
    present = torch.zeros(lists.shape, device=lists.device)
    present[lists.rows.to(torch.int64), lists.cols.to(torch.int64)] = 1.0
    outs, ins = present @ present.t(), present.t() @ present
    to_out = torch.where(outs > 0, (outs + 1) / (present.sum(1)[None, :] - outs).clamp(min=1), 0.0)
    to_in = torch.where(ins > 0, (ins + 1) / (present.sum(0)[:, None] - ins).clamp(min=1), 0.0)
    scores = (to_out @ present + present @ to_in) * (1 - present)
    return torch.multinomial(scores.ravel(), n, replacement=False)
