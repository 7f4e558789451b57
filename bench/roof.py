"""What the machine can do at most: products per second and bytes per second, both measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import torch

from sparsecore.bench.contenders.dense import onednn_linear, onednn_report
from sparsecore.bench.threads import cores, set_threads

__all__ = ["layer_bytes", "roofs"]


@cache
def roofs() -> dict[str, float]:
    """Return the best GF/s of a large float32 product and the best GB/s of a copy, on all processors."""
    set_threads(cores())
    x, weight = torch.randn(1024, 2048), torch.randn(2048, 2048)
    flop = 2.0 * 1024 * 2048 * 2048
    products: list[Callable[[], object]] = [lambda: x @ weight.t()]
    try:
        onednn_report()
        products.append(lambda: onednn_linear(x, weight))
    except ImportError:
        pass
    source, target = torch.ones(32 << 20), torch.empty(32 << 20)
    return {
        "gflops": max(flop / _best(product) / 1e9 for product in products),
        "gbytes": 2.0 * source.nbytes / _best(lambda: target.copy_(source)) / 1e9,
    }


def layer_bytes(n_links: int, shape: tuple[int, int], batch: int) -> int:
    """Return what a forward product must move at least: value and index of each link, inputs, outputs."""
    return 8 * n_links + 4 * batch * (shape[0] + shape[1])


def _best(call: Callable[[], object], repeats: int = 7) -> float:
    call()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times)
