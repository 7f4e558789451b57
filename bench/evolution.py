"""An update of one layer, stage by stage, and its regrowth against the dense formulation."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from sparsecore.bench.contenders import Links
from sparsecore.bench.contenders.peers import library, sparselab_linear
from sparsecore.bench.dense_update import DenseLayer, dense_bytes, dense_regrowth
from sparsecore.bench.gate import OK, not_installed, skipped, wrong
from sparsecore.bench.probe import probe
from sparsecore.bench.registry import Row, Setting, Suite
from sparsecore.bench.stages import timed_stages
from sparsecore.bench.threads import cores, set_threads
from sparsecore.bench.timing import ping_pong_ns
from sparsecore.evolution.methods import SET, CHTs
from sparsecore.generators import ER
from sparsecore.nn import SparseLinear, SparseSequential
from sparsecore.predictors import CH2L3n
from sparsecore.storage import Topology

__all__ = ["SUITE", "dense_regrowth", "measure", "regrowth_ms"]

SETTINGS = (
    ((1024, 1024), 0.01),
    ((4096, 4096), 0.01),
    ((4096, 4096), 0.1),
    ((4096, 4096), 0.3),
    ((4096, 11008), 0.01),
    ((16384, 16384), 0.01),
)
ZETA = 0.3

#: Layers above this many possible links are too large for the dense formulation here (its matrices would not fit).
DENSE_LIMIT = 4096 * 11008

#: Links above which sparselab's update, which walks all inputs of every row in Python, takes too long to wait for.
PEER_LIMIT_LINKS = 600_000


def measure(
    shape: tuple[int, int], density: float, *, zeta: float = ZETA, seconds: float = 1.0, memory: bool = True
) -> dict[str, Any]:
    """Check and time the update of one layer.

    Parameters
    ----------
    shape : tuple of int
        ``(n_out, n_in)``.
    density : float
        Of the layer.
    zeta : float
        Share of links that is replaced.
    seconds : float
        Time for regrowth and for updates, each; both run at least three times.
    memory : bool
        Whether to measure, in a process of its own, what regrowth needs beyond the topology.

    Returns
    -------
    dict
        JSON data: times of regrowth, of the update and of its stages, of the dense formulation (``None`` where it does
        not fit), and of a SET update here and in sparselab.
    """
    set_threads(cores())
    before = ping_pong_ns()
    topology = ER()(shape, round(density * shape[0] * shape[1]), 0)
    n = int(zeta * topology.n_links)
    regrowth, what = regrowth_ms(topology, n, seconds)
    row: dict[str, Any] = {"shape": list(shape), "density": density, "zeta": zeta, "threads": cores(), "drawn": n}
    if what is not None:
        return row | {"status": wrong(what)}
    row |= {"status": OK, "regrowth": regrowth, "update": _update(topology, zeta, seconds)}
    fits = shape[0] * shape[1] <= DENSE_LIMIT
    row["dense"] = _dense(topology, zeta) if fits else {"status": skipped("does not fit")}
    row["set"] = {"sparsecore": _our_set(topology, zeta), "sparselab": _their_set(topology, zeta)}
    if memory:
        row["memory"] = probe({"what": "regrowth", "shape": list(shape), "density": density, "n": n})
    row["dense_bytes"] = dense_bytes(shape)
    return row | {"ping_pong_ns": [before, ping_pong_ns()]}


def regrowth_ms(topology: Topology, n: int, seconds: float) -> tuple[dict[str, float], str | None]:
    """Return milliseconds of drawing `n` missing links by CH2-L3n (median, quartiles), or what is wrong."""
    topology.row_ptr  # noqa: B018 - the derived order is part of the topology, not of the regrowth
    predictor, times = CH2L3n(), list[float]()
    while len(times) < 4 or sum(times) < seconds * 1e3:
        started = time.perf_counter()
        drawn = predictor.sample(topology, n, len(times))
        times.append((time.perf_counter() - started) * 1e3)
        if len(times) <= 2:
            what = _wrong_draw(topology, drawn, n)
            if what is not None:
                return {}, what
    return _quartiles(times[1:]), None


def _wrong_draw(topology: Topology, drawn: Any, n: int) -> str | None:
    if drawn.size != n:
        return f"{drawn.size} links where {n} were asked for"
    if np.unique(drawn).size != n:
        return "a link drawn twice"
    return "an existing link drawn" if bool((topology.find(drawn) >= 0).any()) else None


def _quartiles(times: list[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else [times[0]] * 3
    return {"median_ms": middle, "low_ms": low, "high_ms": high}


def _model(topology: Topology) -> tuple[nn.Module, torch.optim.Optimizer, list[SparseLinear]]:
    """Return two layers back to back, so that percolation has neurons in common, with Adam's state at every link."""
    layers = [SparseLinear(la.n_in, la.n_out, topology=la, seed=0) for la in (topology, topology.transpose())]
    model = SparseSequential(layers[0], nn.ReLU(), layers[1])
    optimizer = torch.optim.Adam(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return model, optimizer, layers


def _update(topology: Topology, zeta: float, seconds: float) -> dict[str, Any]:
    """Return milliseconds per layer of a whole CHTs update and of its stages, reading orders of the new links last."""
    times, parts, spent = list[float](), list[dict[str, float]](), 0.0
    while len(times) < 4 or spent < seconds:
        model, optimizer, layers = _model(topology)
        evolution = CHTs(model, optimizer, every=1, zeta=zeta, seed=len(times))
        for layer in layers:
            layer.topology.row_ptr  # noqa: B018 - training before the update has made it
        started = time.perf_counter()
        with timed_stages() as stages:
            evolution.update()
        updated = time.perf_counter()
        for layer in layers:
            layer.topology.row_ptr  # noqa: B018 - training after the update needs it
        ended = time.perf_counter()
        spent += ended - started
        times.append((ended - started) * 1e3 / len(layers))
        stages["rest"] = updated - started - sum(stages.values())
        stages["reading orders"] = ended - updated
        parts.append({name: value * 1e3 / len(layers) for name, value in stages.items()})
        if any(layer.topology.n_links != topology.n_links for layer in layers):
            return {"status": wrong("another number of links after the update")}
    parts = parts[1:]
    stages_ms = {name: statistics.median(part[name] for part in parts) for name in parts[0]}
    return {"status": OK, **_quartiles(times[1:]), "stages_ms": stages_ms}


def _dense(topology: Topology, zeta: float) -> dict[str, Any]:
    layer = DenseLayer(topology)
    stages = layer.update(zeta, 0)
    n_links = int(layer.mask.sum())
    if n_links != topology.n_links:
        return {"status": wrong(f"{n_links} links where {topology.n_links} were expected")}
    stages_ms = {name: value * 1e3 for name, value in stages.items()}
    return {"status": OK, "median_ms": sum(stages_ms.values()), "stages_ms": stages_ms}


def _our_set(topology: Topology, zeta: float, repeats: int = 3) -> dict[str, Any]:
    times = []
    for seed in range(repeats + 1):
        model, optimizer, layers = _model(topology)
        evolution = SET(model, optimizer, every=1, zeta=zeta, seed=seed)
        started = time.perf_counter()
        evolution.update()
        times.append((time.perf_counter() - started) * 1e3 / len(layers))
    return {"status": OK, "median_ms": statistics.median(times[1:])}


def _their_set(topology: Topology, zeta: float) -> dict[str, Any]:
    if topology.n_links > PEER_LIMIT_LINKS:
        return {"status": skipped(f"more than {PEER_LIMIT_LINKS:,} links")}
    try:
        lab: Any = library("sparselab")
    except ImportError as error:
        return {"status": not_installed(error)}
    values = torch.randn(topology.n_links, generator=torch.Generator().manual_seed(0))
    layer: Any = sparselab_linear(Links(topology, values, torch.zeros(topology.n_out)), padding=0.2)
    rule = lab.SET(sparsity=1.0 - topology.density, drop_fraction=zeta, update_freq=1, seed=0)
    rule.attach(layer)
    started = time.perf_counter()
    rule.update()
    elapsed = (time.perf_counter() - started) * 1e3
    if layer.nnz != topology.n_links:
        return {"status": wrong(f"{layer.nnz} links where {topology.n_links} were expected")}
    return {"status": OK, "median_ms": elapsed}


def _settings() -> list[Setting]:
    return [{"shape": list(shape), "density": density} for shape, density in SETTINGS]


def _measure(setting: Setting, seconds: float) -> Row:
    return measure((setting["shape"][0], setting["shape"][1]), setting["density"], seconds=seconds)


SUITE = Suite("removal, percolation, regrowth and application of one update", 1.5, _settings, _measure)
