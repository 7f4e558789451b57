"""One link prediction: ours on index lists against the same on dense matrices, over size and density."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sparsecore import kernels
from sparsecore.bench.machine import machine
from sparsecore.bench.papers.results import write_whole
from sparsecore.generators import ER
from sparsecore.predictors import CH2L3n, CH3L3p
from sparsecore.storage import Topology

__all__ = ["FILE", "dense_node_scores", "dense_path_scores", "measure", "measure_all"]

#: Name of the result file.
FILE = "runtime.json"

#: Fraction of the links drawn anew.
_ZETA = 0.3

#: Three-step paths that streaming is taken to get through in a second when it is decided whether to try at all; the
#: node-based scores visit pairs, not paths.
_PATHS_PER_S = {"ch2_l3n": 2e9, "ch3_l3p": 3e8}

#: Layers up to this many possible links have dense and exact scores compared.
_COMPARED = 1024**2


def dense_node_scores(topology: Topology) -> torch.Tensor:
    """Return CH2-L3n of all pairs by matrix products, float32, (n_out, n_in); existing links hold no score."""
    links, shared_out, shared_in = _dense(topology)
    from_out = torch.where(shared_out > 0, (shared_out + 1) / _externals(links.sum(1)[None, :], shared_out), 0.0)
    from_in = torch.where(shared_in > 0, (shared_in + 1) / _externals(links.sum(0)[:, None], shared_in), 0.0)
    return from_out @ links + links @ from_in


def dense_path_scores(topology: Topology) -> torch.Tensor:
    """Return CH3-L3p of all pairs by matrix products, one output at a time, float32, (n_out, n_in).

    A path's factor depends on both of its inner nodes together with both of its ends, so no fixed number of matrix
    products gives all scores; one product per output does.
    """
    links, shared_out, shared_in = _dense(topology)
    from_out = _externals(links.sum(1)[None, :], shared_out).rsqrt()
    from_in = _externals(links.sum(0)[:, None], shared_in).rsqrt()
    scores = torch.empty_like(links)
    for row in range(topology.n_out):
        near = links[row].nonzero().ravel()
        through = links[:, near] @ from_in[near]
        scores[row] = from_out[row] @ (links * through)
    return scores


DENSE: dict[str, Callable[[Topology], torch.Tensor]] = {"ch2_l3n": dense_node_scores, "ch3_l3p": dense_path_scores}
_PREDICTORS: dict[str, CH2L3n | CH3L3p] = {"ch2_l3n": CH2L3n(), "ch3_l3p": CH3L3p()}


def measure(predictor: str, n: int, density: float, *, limit_s: float) -> dict[str, Any]:
    """Return times of one predictor on a uniformly random layer of `n` x `n`, on one thread, as plain values.

    Returns
    -------
    dict
        ``draw_ms``: drawing 30% of the links in proportion to the score; ``scores_ms``: all scores by the exact stream;
        ``dense_ms``: all scores by dense matrices. The last two are ``None`` where they would take longer than
        `limit_s`. ``status`` is ``"ok"`` or says what is wrong.
    """
    topology = ER()((n, n), max(1, round(density * n * n)), 0)
    topology.row_ptr  # noqa: B018 - part of the layer, not of the prediction
    ours, n_drawn = _PREDICTORS[predictor], int(_ZETA * topology.n_links)
    paths = topology.n_links * (density * n) ** 2
    products = 4.0 * n**3 if predictor == "ch2_l3n" else 2.0 * n * n * topology.n_links
    draw_ms, drawn = _timed(lambda: ours.sample(topology, n_drawn, 0), 5)
    row: dict[str, Any] = {
        "predictor": predictor,
        "n": n,
        "density": density,
        "status": "ok",
        "drawn": int(drawn.size),
        "draw_ms": draw_ms,
        "scores_ms": None,
        "dense_ms": None,
    }
    if np.unique(drawn).size != drawn.size or (topology.find(drawn) >= 0).any():
        return row | {"status": "draws are not distinct missing links"}
    if paths / _PATHS_PER_S[predictor] < limit_s:
        row["scores_ms"] = _timed(lambda: sum(block.ids.size for block in ours.stream(topology)), 3)[0]
    if products / _flops() < limit_s:
        row["dense_ms"], scores = _timed(lambda: DENSE[predictor](topology), 3)
        if n * n <= _COMPARED and not _agrees(topology, ours, scores):
            row["status"] = "dense and exact scores differ"
    return row


def measure_all(results: Path, sizes: Sequence[int], densities: Sequence[float], *, limit_s: float) -> bool:
    """Measure every combination, write the file after each; returns whether all were right."""
    kernels.set_num_threads(1)
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for predictor in _PREDICTORS:
        measure(predictor, 64, 0.1, limit_s=limit_s)  # compiles
        for density in densities:
            for n in sizes:
                rows.append(measure(predictor, n, density, limit_s=limit_s))
                content = {"machine": machine(), "limit_s": limit_s, "rows": rows}
                write_whole(results / FILE, json.dumps(content, indent=1) + "\n")
                sys.stderr.write(f"{rows[-1]}\n")
    return all(row["status"] == "ok" for row in rows)


def _dense(topology: Topology) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the adjacency and the common neighbours of outputs and of inputs."""
    links = torch.from_numpy(topology.to_dense()).float()
    return links, links @ links.T, links.T @ links


def _externals(degrees: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
    """Return external links plus one; below one only where no missing link asks for it."""
    return (degrees - shared).clamp(min=1.0)


def _agrees(topology: Topology, ours: CH2L3n | CH3L3p, scores: torch.Tensor) -> bool:
    draw = np.random.default_rng(0)
    rows, cols = draw.integers(topology.n_out, size=200), draw.integers(topology.n_in, size=200)
    missing = ~topology.contains(rows, cols)
    rows, cols = rows[missing], cols[missing]
    exact = ours.score_links(topology, rows, cols)
    return bool(np.allclose(scores.numpy()[rows, cols], exact, rtol=1e-3, atol=1e-4))


def _flops() -> float:
    """Return what a small matrix product reaches per second."""
    block = torch.ones(512, 512)
    milliseconds, _ = _timed(lambda: block @ block, 3)
    return 2 * 512**3 / (milliseconds / 1e3)


def _timed(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Return the median of a few calls in milliseconds, fewer where one takes seconds, and what the last returned."""
    times: list[float] = []
    while len(times) < repeats and sum(times) < 5e3:
        begun = time.perf_counter()
        result = call()
        times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times), result
