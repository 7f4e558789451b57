"""Forward and fused backward of one layer, over shapes, batches and densities."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from statistics import median
from typing import Any

import torch

from sparsecore.bench.contenders.dense import onednn_report
from sparsecore.bench.contenders.products import DENSE, OURS, SPARSE, Problem, Product, one_layer, verify
from sparsecore.bench.gate import OK, not_installed, skipped, wrong
from sparsecore.bench.registry import Row, Setting, Suite
from sparsecore.bench.roof import roofs
from sparsecore.bench.threads import cores, set_threads
from sparsecore.bench.timing import Samples, median_ratio, ping_pong_ns, sampled, summary

__all__ = ["SUITE", "measure", "problem_of"]

SHAPES = ((1568, 1568), (4096, 4096), (4096, 11008), (784, 1568))
BATCHES = (1, 8, 32, 128, 512, 2048)
DENSITIES = (0.0001, 0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5)

#: Work in one product up to which sparse contenders are timed; beyond, a call takes seconds and tells nothing new.
LIMIT_FLOP, PEER_LIMIT_FLOP = 25e9, 0.5e9

Builders = Mapping[str, Callable[[Problem], Product]]


def measure(
    shape: tuple[int, int],
    batch: int,
    densities: Iterable[float] = DENSITIES,
    *,
    seconds: float = 0.05,
    sparse: Builders = SPARSE,
    dense: Builders = DENSE,
) -> dict[str, Any]:
    """Check and time the products of one layer at one batch, all densities and contenders in the same rounds.

    Dense products cost the same at any density and are timed once, with the weights of the last one.

    Parameters
    ----------
    shape : tuple of int
        ``(n_out, n_in)``.
    batch : int
        Samples.
    densities : iterable of float
        Of the layer.
    seconds : float
        Time spent on each contender and product.
    sparse, dense : mapping of str to callable
        Contenders.

    Returns
    -------
    dict
        JSON data: one entry per contender, density (``None`` for dense) and product (``forward``, ``backward``, and
        ``both``), with GF/s of ``2·links·B`` per product (backward is two products) and, for ours, the dense times over
        its own in the same rounds (``speedup``).
    """
    set_threads(cores())
    entries: list[dict[str, Any]] = []
    products: dict[tuple[str, float | None], tuple[Product, int]] = {}
    problem = None
    for density in densities:
        problem = problem_of(shape, batch, density)
        n_links = problem.links.topology.n_links
        for name, builder in sparse.items():
            limit = LIMIT_FLOP if name == OURS else PEER_LIMIT_FLOP
            if 2.0 * n_links * batch > limit:
                entries.append(_entry(name, density, skipped(f"more than {limit / 1e9:g} GFLOP a product")))
                continue
            _admit(name, builder, problem, density, n_links, products, entries)
    assert problem is not None
    for name, builder in dense.items():
        _admit(name, builder, problem, None, shape[0] * shape[1], products, entries)
    calls: dict[str, Callable[[], object]] = {}
    for (name, at), (product, _) in products.items():
        calls[f"{name}|{at}|forward"] = product.forward
        if product.backward is not None:
            calls[f"{name}|{at}|backward"] = product.backward
    before = ping_pong_ns()
    samples, repeats = sampled(calls, seconds=seconds, min_slice_s=0.004, warm=True)
    after = ping_pong_ns()
    entries += _timed(products, samples, repeats, batch)
    del calls, products, problem
    gc.collect()
    row: dict[str, Any] = {"shape": list(shape), "batch": batch, "threads": cores(), "ping_pong_ns": [before, after]}
    if any(entry["contender"] == "dense, oneDNN" and entry["status"] == OK for entry in entries):
        row["onednn"] = onednn_report()
    return row | {"roof": roofs(), "entries": entries}


def problem_of(shape: tuple[int, int], batch: int, density: float) -> Problem:
    """Return one layer with a batch of inputs and output gradients."""
    generator = torch.Generator().manual_seed(batch)
    x = torch.randn(batch, shape[1], generator=generator)
    grad = torch.randn(batch, shape[0], generator=generator)
    return Problem(one_layer(shape, density), x, grad)


def _admit(
    name: str,
    builder: Callable[[Problem], Product],
    problem: Problem,
    density: float | None,
    n_links: int,
    products: dict[tuple[str, float | None], tuple[Product, int]],
    entries: list[dict[str, Any]],
) -> None:
    """Keep a contender that passes the gate, report any other."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            product = builder(problem)
            what = verify(product, problem)
    except ImportError as error:
        entries.append(_entry(name, density, not_installed(error)))
        return
    if what is not None:
        entries.append(_entry(name, density, wrong(what)))
        return
    products[name, density] = (product, n_links)


def _entry(name: str, density: float | None, status: str) -> dict[str, Any]:
    return {"contender": name, "density": density, "status": status}


def _timed(
    products: Mapping[tuple[str, float | None], tuple[Product, int]],
    samples: dict[str, Samples],
    repeats: dict[str, int],
    batch: int,
) -> list[dict[str, Any]]:
    entries = []
    for (name, at), (product, n_links) in products.items():
        for kind, n_products in (("forward", 1), ("backward", 2), ("both", 3)):
            if kind != "forward" and product.backward is None:
                continue
            times = _of(samples, name, at, kind)
            timing = asdict(summary(times, times, repeats[f"{name}|{at}|{'forward' if kind == 'both' else kind}"]))
            del timing["ratio"]
            flop = 2.0 * n_links * batch * n_products
            entry = _entry(name, at, OK) | {"product": kind, **timing, "gflops": flop / median(times) / 1e3}
            if name == OURS:
                entry["speedup"] = {
                    other: median_ratio(_of(samples, other, None, kind), times)
                    for other, density in products
                    if density is None
                }
            entries.append(entry)
    return entries


def _of(samples: dict[str, Samples], name: str, at: float | None, kind: str) -> Samples:
    if kind != "both":
        return samples[f"{name}|{at}|{kind}"]
    pairs = zip(samples[f"{name}|{at}|forward"], samples[f"{name}|{at}|backward"], strict=True)
    return [forward + backward for forward, backward in pairs]


def _settings() -> list[Setting]:
    return [{"shape": list(shape), "batch": batch} for shape in SHAPES for batch in BATCHES]


def _measure(setting: Setting, seconds: float) -> Row:
    return measure((setting["shape"][0], setting["shape"][1]), setting["batch"], seconds=seconds)


SUITE = Suite("forward and backward of one layer over shapes, batches and densities", 0.05, _settings, _measure)
