"""How our own times grow with neurons, links, batch and threads, next to the dense formulation."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from sparsecore.bench.contenders.products import DENSE, OURS, SPARSE, one_layer, verify
from sparsecore.bench.dense_update import dense_regrowth
from sparsecore.bench.evolution import regrowth_ms
from sparsecore.bench.gate import OK, not_installed, wrong
from sparsecore.bench.kernels import problem_of
from sparsecore.bench.registry import Row, Setting, Suite
from sparsecore.bench.threads import cores, set_threads, thread_counts
from sparsecore.bench.timing import ping_pong_ns, sampled

__all__ = ["AXES", "SUITE", "measure"]

SIZES = (512, 1024, 2048, 4096, 8192)
DENSITIES = (0.001, 0.003, 0.01, 0.03, 0.1)
BATCHES = (8, 32, 128, 512, 2048)

#: Axis to what is plotted along it, per point: the dense product up to 4096 neurons, dense regrowth up to 2048.
AXES = {
    "neurons": "neurons per side, 1% density, batch 128",
    "links": "links of a 4096 x 4096 layer, batch 128",
    "batch": "batch of a 4096 x 4096 layer at 1% density",
    "threads": "threads, 4096 x 4096 layer at 5% density, batch 512",
    "regrowth": "neurons per side, regrowth of 30% of the links at 1% density",
}
DENSE_PRODUCT_LIMIT, DENSE_REGROWTH_LIMIT = 4096, 2048


def measure(axis: str, at: float, *, seconds: float = 0.2) -> dict[str, Any]:
    """Return the seconds of one point of an axis, ours and dense (``None`` where dense is left out)."""
    set_threads(cores())
    before = ping_pong_ns()
    if axis == "regrowth":
        found = _regrowth(int(at), seconds)
    else:
        size, density, batch, threads = 4096, 0.01, 128, cores()
        if axis == "neurons":
            size = int(at)
        elif axis == "links":
            density = at
        elif axis == "batch":
            batch = int(at)
        else:
            density, batch, threads = 0.05, 512, int(at)
        found = _product(size, density, batch, threads, seconds)
    return {"axis": axis, "at": at, "ping_pong_ns": [before, ping_pong_ns()]} | found


def _product(size: int, density: float, batch: int, threads: int, seconds: float) -> dict[str, Any]:
    """Forward and backward of a square layer."""
    set_threads(threads)
    problem = problem_of((size, size), batch, density)
    found: dict[str, Any] = {"links": problem.links.topology.n_links, "status": OK, "dense_s": None}
    calls: dict[str, Callable[[], object]] = {}
    builders: dict[str, Any] = {OURS: SPARSE[OURS]}
    if size <= DENSE_PRODUCT_LIMIT:
        builders["dense"] = DENSE["dense, oneDNN"]
    for name, builder in builders.items():
        try:
            made = builder(problem)
        except ImportError as error:
            found["dense_status"] = not_installed(error)
            continue
        what = verify(made, problem)
        if what is not None:
            return found | {"status": wrong(f"{name}: {what}")}
        calls[name] = partial(_both, made.forward, made.backward)
    samples, _ = sampled(calls, seconds=seconds, warm=True)
    for name, times in samples.items():
        found["seconds" if name == OURS else "dense_s"] = sorted(times)[len(times) // 2] / 1e6
    return found


def _both(forward: Callable[[], Any], backward: Callable[[], Any] | None) -> None:
    forward()
    assert backward is not None
    backward()


def _regrowth(size: int, seconds: float) -> dict[str, Any]:
    topology = one_layer((size, size), 0.01).topology
    n = int(0.3 * topology.n_links)
    times, what = regrowth_ms(topology, n, seconds)
    found: dict[str, Any] = {"links": topology.n_links, "status": OK, "dense_s": None}
    if what is not None:
        return found | {"status": wrong(what)}
    found["seconds"] = times["median_ms"] / 1e3
    if size <= DENSE_REGROWTH_LIMIT:
        started = time.perf_counter()
        dense_regrowth(topology, n, 0)
        found["dense_s"] = time.perf_counter() - started
    return found


def _settings() -> list[Setting]:
    points: dict[str, tuple[float, ...]] = {
        "neurons": SIZES,
        "links": DENSITIES,
        "batch": BATCHES,
        "threads": thread_counts(),
        "regrowth": (*SIZES, 16384),
    }
    return [{"axis": axis, "at": at} for axis, values in points.items() for at in values]


def _measure(setting: Setting, seconds: float) -> Row:
    return measure(setting["axis"], setting["at"], seconds=seconds)


SUITE = Suite("growth with neurons, links, batch and threads", 0.3, _settings, _measure)
