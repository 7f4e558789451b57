"""Regrowth without scores against the dense formulation, and the memory each needs."""

from __future__ import annotations

import resource
import statistics
import time
from typing import Any

import numpy as np
import torch

from sparsecore.bench.timing import ping_pong_ns
from sparsecore.generators import ER
from sparsecore.predictors import CH2L3n
from sparsecore.storage import Topology

__all__ = ["dense_regrowth", "measure"]

#: Layers above this many possible links are too large for the dense formulation here (its matrices would not fit).
DENSE_LIMIT = 4096 * 11008


def dense_regrowth(topology: Topology, n: int, seed: int) -> np.ndarray[Any, Any]:
    """Draw `n` missing links as published code does: dense CH2-L3n scores, exponential keys on all of them.

    ``torch.multinomial`` is the published call; above 2**24 categories it refuses, so keys of the same law are used.
    """
    adjacency = torch.from_numpy(topology.to_dense()).float()
    d_out, d_in = adjacency.sum(1), adjacency.sum(0)
    uu, vv = adjacency @ adjacency.T, adjacency.T @ adjacency
    left = torch.where(uu > 0, (uu + 1) / (d_out[None, :] - uu).clamp(min=1), 0.0)
    right = torch.where(vv > 0, (vv + 1) / (d_in[:, None] - vv).clamp(min=1), 0.0)
    scores = (left @ adjacency + adjacency @ right) * (1 - adjacency)
    noise = torch.empty_like(scores).exponential_(generator=torch.Generator().manual_seed(seed))
    keys = (noise / scores.clamp(min=1e-30)).ravel()
    chosen: np.ndarray[Any, Any] = keys.topk(n, largest=False).indices.numpy()
    return chosen


def measure(shape: tuple[int, int], density: float, *, zeta: float = 0.3, repeats: int = 7) -> dict[str, Any]:
    """Check and time the regrowth of ``zeta`` of the links of one layer.

    Returns
    -------
    dict
        JSON data: milliseconds of the sampler (median and quartiles) and of the dense formulation (``None`` where it
        does not fit), and the bytes that each needs beyond the topology.
    """
    n_links = round(density * shape[0] * shape[1])
    topology, n = ER()(shape, n_links, 0), int(zeta * n_links)
    topology.row_ptr  # noqa: B018 - the derived order is part of the topology, not of the regrowth
    predictor = CH2L3n()
    times = []
    for seed in range(repeats + 1):
        started = time.perf_counter()
        drawn = predictor.sample(topology, n, seed)
        times.append((time.perf_counter() - started) * 1e3)
        if drawn.size != n or np.unique(drawn).size != n or (topology.find(drawn) >= 0).any():
            return {"kind": "regrowth", "shape": shape, "density": density, "status": "wrong result"}
    quartiles = statistics.quantiles(times[1:], n=4)
    dense_ms = None
    if shape[0] * shape[1] <= DENSE_LIMIT:
        started = time.perf_counter()
        dense_regrowth(topology, n, 0)
        dense_ms = (time.perf_counter() - started) * 1e3
    return {
        "kind": "regrowth",
        "shape": list(shape),
        "density": density,
        "status": "ok",
        "drawn": n,
        "median_ms": quartiles[1],
        "low_ms": quartiles[0],
        "high_ms": quartiles[2],
        "bytes": _sampler_bytes(topology, n),
        "dense_ms": dense_ms,
        "dense_bytes": 4 * (2 * shape[0] ** 2 + 2 * shape[1] ** 2 + 3 * shape[0] * shape[1]),
        "ping_pong_ns": ping_pong_ns(),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _sampler_bytes(topology: Topology, n: int) -> int:
    """Return what the sampler allocates: alias tables, the ids it draws and the set of those drawn."""
    alias = (8 + 4 + 8) * (topology.n_out + topology.n_in)
    return alias + 8 * n + 8 * (1 << max(4, int(2 * n - 1).bit_length()))
