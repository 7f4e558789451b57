"""One layer on a GPU: forward, gradient of inputs and gradient of values, in every contender."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.utils.dlpack

from sparsecore.bench.gate import F32, LOW_PRECISION
from sparsecore.bench.gpu_clock import Contender, Entry, Place, raced
from sparsecore.generators import ER
from sparsecore.kernels.gpu.lists import lists_of
from sparsecore.kernels.gpu.products import sddmm, spmm, spmm_t

__all__ = ["measure_layer", "speed_up"]

#: Samples and links at which results are compared.
SPOTS = 256

Builders = dict[str, Callable[[], Contender]]


class _Layer:
    """One layer and one batch, feature-major, in float32 and bfloat16."""

    def __init__(self, place: Place, shape: list[int], batch: int, density: float) -> None:
        self.place, self.shape = place, (shape[0], shape[1])
        self.topology = ER()(self.shape, round(density * shape[0] * shape[1]), 0)
        self.lists = lists_of(self.topology, place.device)
        generator = torch.Generator().manual_seed(0)

        def draw(*size: int) -> torch.Tensor:
            return torch.randn(*size, generator=generator).to(place.device)

        self.values, self.x, self.grad = draw(self.topology.n_links), draw(shape[1], batch), draw(shape[0], batch)
        self.rows, self.cols = self.lists.rows.to(torch.int64), self.lists.cols.to(torch.int64)
        self.some = torch.arange(0, batch, max(1, batch // SPOTS), device=place.device)
        self.few = torch.arange(0, self.lists.n_links, max(1, self.lists.n_links // SPOTS), device=place.device)

    def dense(self) -> torch.Tensor:
        """Return the weight with zeros; asked for by contenders that cannot do without."""
        weight = torch.zeros(self.shape, device=self.place.device)
        weight[self.rows, self.cols] = self.values
        return weight


def measure_layer(place: Place, *, shape: list[int], batch: int, density: float, seconds: float) -> list[Entry]:
    """Check and time the three products of one layer.

    Parameters
    ----------
    place : Place
        Where.
    shape : list of int
        ``[n_out, n_in]``.
    batch : int
        Samples, the tokens of a batch.
    density : float
        Of the layer.
    seconds : float
        Time for each contender and product.
    """
    layer = _Layer(place, shape, batch, density)
    weight = layer.dense().double()
    x, grad = layer.x.double()[:, layer.some], layer.grad.double()[:, layer.some]
    truths = {"forward": weight @ x, "input gradient": weight.t() @ grad}
    del weight
    few = layer.rows[layer.few], layer.cols[layer.few]
    slopes = (layer.grad[few[0]].double() * layer.x[few[1]].double()).sum(1)
    entries: list[Entry] = []
    for product, truth in truths.items():
        builders = _products(layer, transposed=product != "forward")
        entries += raced(place, product, builders, lambda y: y[:, layer.some], truth, seconds)
    return entries + raced(place, "value gradient", _gradients(layer), lambda g: _at_links(layer, g), slopes, seconds)


def _at_links(layer: _Layer, found: torch.Tensor) -> torch.Tensor:
    """Return what was found for some links, from a gradient per link or from a dense one."""
    return found[layer.few] if found.ndim == 1 else found[layer.rows[layer.few], layer.cols[layer.few]]


def _products(layer: _Layer, *, transposed: bool) -> Builders:
    right = layer.grad if transposed else layer.x
    product: Any = spmm_t if transposed else spmm

    def ours(dtype: torch.dtype, tiled: bool | None) -> Contender:
        there = right.to(dtype)
        call = partial(product, layer.place.runtime, layer.lists, layer.values, there, tiled=tiled)
        return Contender(call, F32 if dtype == torch.float32 else LOW_PRECISION)

    def by_torch() -> Contender:
        csr = layer.dense().t().contiguous() if transposed else layer.dense()
        sparse = csr.to_sparse_csr()
        return Contender(lambda: sparse @ right, F32)

    def by_cupy() -> Contender:
        import cupy
        from cupyx.scipy import sparse

        parts = [cupy.from_dlpack(part) for part in (layer.values, layer.lists.rows, layer.lists.col_ptr.int())]
        matrix = sparse.csc_matrix(tuple(parts), shape=layer.shape)
        matrix = matrix.T.tocsr() if transposed else matrix.tocsr()
        there = cupy.from_dlpack(right)
        return Contender(lambda: torch.utils.dlpack.from_dlpack(matrix @ there), F32)

    def masked() -> Contender:
        weight = layer.dense()
        mask = (weight != 0).float()
        return Contender(lambda: (weight * mask).t() @ right if transposed else (weight * mask) @ right, F32)

    def dense(dtype: torch.dtype, tf32: bool) -> Contender:
        weight, there = layer.dense().to(dtype), right.to(dtype)
        weight = weight.t() if transposed else weight
        exact = dtype == torch.float32 and not tf32
        return Contender(lambda: _multiplied(weight, there, tf32), F32 if exact else LOW_PRECISION)

    return {
        "sparsecore float32": partial(ours, torch.float32, None),
        "sparsecore float32, rows": partial(ours, torch.float32, False),
        "sparsecore float32, tiles": partial(ours, torch.float32, True),
        "sparsecore bfloat16": partial(ours, torch.bfloat16, None),
        "cuSPARSE by torch": by_torch,
        "cuSPARSE by cupy": by_cupy,
        "masked dense float32": masked,
        "dense float32": partial(dense, torch.float32, False),
        "dense tf32": partial(dense, torch.float32, True),
        "dense bfloat16": partial(dense, torch.bfloat16, False),
    }


def _gradients(layer: _Layer) -> Builders:
    def ours(dtype: torch.dtype, tensor: bool | None) -> Contender:
        grad, x = layer.grad.to(dtype), layer.x.to(dtype)
        call = partial(sddmm, layer.place.runtime, layer.lists, grad, x, tensor=tensor)
        return Contender(call, F32 if dtype == torch.float32 else LOW_PRECISION)

    def by_torch() -> Contender:
        n_out, n_in = layer.shape
        parts = layer.lists.col_ptr, layer.lists.rows.to(torch.int64), torch.zeros_like(layer.values)
        pattern = torch.sparse_csr_tensor(*parts, size=(n_in, n_out), check_invariants=False)
        grad = layer.grad.t().contiguous()
        return Contender(lambda: torch.sparse.sampled_addmm(pattern, layer.x, grad).values(), F32)

    def dense(dtype: torch.dtype, tf32: bool) -> Contender:
        grad, x = layer.grad.to(dtype), layer.x.to(dtype)
        exact = dtype == torch.float32 and not tf32
        return Contender(lambda: _multiplied(grad, x.t(), tf32), F32 if exact else LOW_PRECISION)

    return {
        "sparsecore float32": partial(ours, torch.float32, None),
        "sparsecore bfloat16": partial(ours, torch.bfloat16, None),
        "sparsecore bfloat16, by links": partial(ours, torch.bfloat16, False),
        "sparsecore bfloat16, tensor cores": partial(ours, torch.bfloat16, True),
        "cuSPARSE by torch": by_torch,
        "dense float32": partial(dense, torch.float32, False),
        "dense tf32": partial(dense, torch.float32, True),
        "dense bfloat16": partial(dense, torch.bfloat16, False),
    }


def _multiplied(left: torch.Tensor, right: torch.Tensor, tf32: bool) -> torch.Tensor:
    with _precision("high" if tf32 else "highest"):
        return left @ right


@contextlib.contextmanager
def _precision(name: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def speed_up(entries: list[dict[str, Any]], ours: str, dense: str) -> float | None:
    """Return how much faster `ours` is than `dense` over all three products, or ``None`` if one is missing."""
    times = {(e["contender"], e["product"]): e.get("ms", np.nan) for e in entries}
    products = ("forward", "input gradient", "value gradient")
    mine, theirs = (sum(times.get((name, product), np.nan) for product in products) for name in (ours, dense))
    return None if np.isnan(mine) or np.isnan(theirs) else float(theirs / mine)
