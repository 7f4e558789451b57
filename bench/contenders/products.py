"""The products of one layer in every contender: forward, and backward for inputs and weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from scipy import sparse

from sparsecore import kernels
from sparsecore.bench.contenders.dense import onednn_linear, onednn_report
from sparsecore.bench.contenders.network import Links, index
from sparsecore.bench.gate import F32, LOW_PRECISION, disagreement
from sparsecore.generators import ER
from sparsecore.kernels import Layer

__all__ = ["DENSE", "OURS", "SPARSE", "Problem", "Product", "one_layer", "verify"]

OURS = "sparsecore"
SPOT_SAMPLES, SPOT_LINKS = 8, 2000


@dataclass(frozen=True, eq=False)
class Problem:
    """One layer and one batch.

    Attributes
    ----------
    links : Links
        The layer; its values are (n_links,).
    x, grad : Tensor, float32, (B, n_in) and (B, n_out)
        Inputs and output gradients, row-major as torch hands them out.
    """

    links: Links
    x: torch.Tensor
    grad: torch.Tensor

    @cached_property
    def expected(self) -> Spots:
        """Sums in float64 at some samples and links, which every contender must reproduce."""
        topology = self.links.topology
        generator = np.random.default_rng(0)
        batch = self.x.shape[0]
        some = generator.integers(0, batch, SPOT_SAMPLES)
        samples = np.unique(np.concatenate([[0, batch - 1], some]))
        at = np.unique(generator.integers(0, topology.n_links, min(SPOT_LINKS, topology.n_links)))
        rows, cols = topology.rows[at], topology.cols[at]
        weight = sparse.csc_matrix((self.links.values.numpy().astype(np.float64), topology.rows, topology.col_ptr))
        weight.resize(topology.shape)
        x, grad = self.x.numpy()[samples].astype(np.float64), self.grad.numpy()[samples].astype(np.float64)
        pairs = zip(np.array_split(rows, 20), np.array_split(cols, 20), strict=True)
        values = [
            np.einsum("bl,bl->l", self.grad.numpy()[:, r], self.x.numpy()[:, c], dtype=np.float64) for r, c in pairs
        ]
        y, grad_x = (weight @ x.T).T, (weight.T @ grad.T).T
        return Spots(samples, at, _tensor(y), _tensor(grad_x), _tensor(np.concatenate(values)))


@dataclass(frozen=True, eq=False)
class Spots:
    """What a contender is compared with: chosen samples of both products and chosen links of the sampled one."""

    samples: Any
    links: Any
    y: torch.Tensor
    grad_x: torch.Tensor
    values: torch.Tensor


def _tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


@dataclass(frozen=True)
class Product:
    """What a contender computes, in the layout it likes best.

    Attributes
    ----------
    forward : callable
        Returns something that `read_y` turns into (B, n_out).
    backward : callable, optional
        Returns something that `read_grads` turns into (B, n_in) and (n_links,) in input-major order; ``None`` where the
        library has no such product.
    tolerance : float
        Of the gate.
    """

    forward: Callable[[], Any]
    backward: Callable[[], Any] | None
    read_y: Callable[[Any], torch.Tensor]
    read_grads: Callable[[Any], tuple[torch.Tensor, torch.Tensor]]
    tolerance: float = F32


@lru_cache(maxsize=8)
def one_layer(shape: tuple[int, int], density: float) -> Links:
    """Return the layer of a shape and density that all batches share."""
    topology = ER()(shape, max(1, round(density * shape[0] * shape[1])), 0)
    topology.row_order  # noqa: B018 - both reading orders are part of the topology
    values = torch.randn(topology.n_links, generator=torch.Generator().manual_seed(0))
    return Links(topology, values, torch.zeros(shape[0]))


def verify(product: Product, problem: Problem) -> str | None:
    """Return ``None`` if a product gives the expected numbers, else what is wrong."""
    spots = problem.expected
    y = product.read_y(product.forward())[spots.samples]
    what = disagreement(y.double(), spots.y, product.tolerance)
    if what is not None:
        return f"forward {what}"
    if product.backward is None:
        return None
    grad_x, values = product.read_grads(product.backward())
    for name, actual, expected in (
        ("input gradient", grad_x[spots.samples], spots.grad_x),
        ("weight gradient", values[spots.links], spots.values),
    ):
        what = disagreement(actual.double(), expected, product.tolerance)
        if what is not None:
            return f"{name} {what}"
    return None


def _ours(problem: Problem) -> Product:
    backend = kernels.choose(problem.x.device)
    layers = [Layer(problem.links.topology, problem.links.values, None, False)]
    _, saved, notes = backend.forward(problem.x, layers, keep=True)
    return Product(
        lambda: backend.forward(problem.x, layers, keep=True)[0],
        lambda: backend.backward(problem.grad, layers, saved, notes, input_grad=True),
        lambda y: y,
        lambda grads: (grads[0], grads[1][0][0]),
    )


def _scipy(problem: Problem) -> Product:
    topology = problem.links.topology
    values = problem.links.values.numpy()[topology.row_order]
    weight = sparse.csr_matrix((values, topology.row_cols, topology.row_ptr), shape=topology.shape)
    x = np.ascontiguousarray(problem.x.numpy().T)
    return Product(lambda: weight @ x, None, lambda y: torch.from_numpy(y.T), _no_grads)


def _no_grads(_: Any) -> tuple[torch.Tensor, torch.Tensor]:
    raise AssertionError("this contender has no backward product")


def _torch_csr(problem: Problem) -> Product:
    topology, values = problem.links.topology, problem.links.values
    weight = _int_csr(topology.row_ptr, topology.row_cols, values[index(topology.row_order)], topology.shape)
    weight_t = _int_csr(topology.col_ptr, topology.rows, values, (topology.n_in, topology.n_out))
    x, grad = problem.x.t().contiguous(), problem.grad.t().contiguous()

    def backward() -> tuple[torch.Tensor, torch.Tensor]:
        sampled = torch.sparse.sampled_addmm(weight_t, x, problem.grad, beta=0.0)
        return torch.sparse.mm(weight_t, grad), sampled.values()

    return Product(lambda: torch.sparse.mm(weight, x), backward, lambda y: y.t(), lambda got: (got[0].t(), got[1]))


def _int_csr(ptr: Any, indices: Any, values: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    pointers = torch.from_numpy(ptr.astype(np.int32))
    return torch.sparse_csr_tensor(pointers, torch.from_numpy(indices.astype(np.int32)), values, size=shape)


def _dense(problem: Problem, dtype: torch.dtype = torch.float32, *, onednn: bool = False) -> Product:
    topology = problem.links.topology
    weight = problem.links.dense().to(dtype)
    x, grad = problem.x.to(dtype), problem.grad.to(dtype)
    rows, cols = index(topology.rows), index(topology.cols)
    if onednn:
        onednn_report()
        forward: Callable[[], Any] = lambda: onednn_linear(x, weight)  # noqa: E731
        backward: Callable[[], Any] = lambda: (onednn_linear(grad, weight.t()), onednn_linear(grad.t(), x.t()))  # noqa: E731
    else:
        forward = lambda: x @ weight.t()  # noqa: E731
        backward = lambda: (grad @ weight, grad.t() @ x)  # noqa: E731
    return Product(
        forward,
        backward,
        lambda y: y,
        lambda got: (got[0], got[1][rows, cols]),
        F32 if dtype == torch.float32 else LOW_PRECISION,
    )


Builder = Callable[[Problem], Product]
DENSE: dict[str, Builder] = {
    "dense, MKL": _dense,
    "dense, oneDNN": lambda problem: _dense(problem, onednn=True),
    "dense, bf16": lambda problem: _dense(problem, torch.bfloat16),
}
SPARSE: dict[str, Builder] = {OURS: _ours, "torch CSR": _torch_csr, "SciPy CSR": _scipy}
