"""Launches the numba kernels on torch tensors: cuts the batch into tiles and the tiles over threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sparsecore.kernels.backend import Layer
from sparsecore.kernels.cpu.chain import (
    LANES,
    backward_kernel,
    forward_kernel,
    pack_kernel,
    unpack_kernel,
)
from sparsecore.kernels.cpu.threads import get_num_threads, run_parts

__all__ = ["NumbaBackend"]

#: Below this many link-samples of work a pass stays on the calling thread: a hand-over costs about 20 µs.
_WORK_PER_THREAD = 2_000_000


@dataclass(frozen=True)
class _Plan:
    """How a batch is cut."""

    batch: int
    lanes: int
    n_tiles: int
    n_parts: int
    dtype: torch.dtype

    @classmethod
    def of(cls, x: torch.Tensor, layers: Sequence[Layer]) -> _Plan:
        batch = x.shape[0]
        lanes = next((width for width in LANES if width >= batch), LANES[-1])
        n_tiles = -(-batch // lanes)
        work = sum(layer.topology.n_links for layer in layers) * batch
        n_parts = max(1, min(get_num_threads(), n_tiles, work // _WORK_PER_THREAD))
        return cls(batch, lanes, n_tiles, n_parts, x.dtype)

    @property
    def nbytes(self) -> int:
        return self.dtype.itemsize

    def empty(self, features: int) -> torch.Tensor:
        """Return room for an activation: (n_tiles, features, lanes)."""
        return torch.empty((self.n_tiles, features, self.lanes), dtype=self.dtype)

    def scratch(self, features: int) -> torch.Tensor:
        """Return room for one tile per part: (1, n_parts, features, lanes)."""
        return torch.empty((1, self.n_parts, features, self.lanes), dtype=self.dtype)

    def partial(self, n: int) -> torch.Tensor:
        """Return room for one sum over samples per part: (n_parts, n)."""
        return torch.empty((self.n_parts, n), dtype=self.dtype)

    def place(self, tiles: torch.Tensor, part: int) -> tuple[int, int]:
        """Return base address and pitch (bytes) of what `empty` or `scratch` gave."""
        if tiles.ndim == 4:
            return tiles[0, part].data_ptr(), 0
        return tiles.data_ptr(), tiles.shape[1] * self.lanes * self.nbytes

    def run(self, launch: Callable[[int, int, int], None]) -> None:
        """Call ``launch(part, tile_low, tile_high)`` for every part, on as many threads."""
        edges = [part * self.n_tiles // self.n_parts for part in range(self.n_parts + 1)]

        def bind(part: int) -> Callable[[], None]:
            return lambda: launch(part, edges[part], edges[part + 1])

        run_parts([bind(part) for part in range(self.n_parts)])


def _address(tensor: torch.Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _pack(plan: _Plan, x: torch.Tensor, gate: torch.Tensor | None = None, sums: torch.Tensor | None = None) -> torch.Tensor:
    """Return `x`, (B, features), as tiles; `sums`, (n_parts, features), receives the sum over samples of every part."""
    features = x.shape[1]
    whole = plan.n_tiles == 1 and plan.lanes == plan.batch and gate is None and sums is None
    if whole and x.stride() == (1, plan.lanes) and x.data_ptr() % 64 == 0:
        return x.t().unsqueeze(0)
    tiles = plan.empty(features)
    kernel = pack_kernel(plan.lanes, plan.nbytes)
    source, strides, out, gates = x.data_ptr(), x.stride(), tiles.data_ptr(), _address(gate)

    def launch(part: int, low: int, high: int) -> None:
        where = 0 if sums is None else sums[part].data_ptr()
        kernel(source, *strides, plan.batch, features, out, gates, where, low, high)

    plan.run(launch)
    return tiles


def _unpack(plan: _Plan, tiles: torch.Tensor) -> torch.Tensor:
    """Return tiles as (B, features): a view where one full tile holds the batch, else a row-major copy."""
    features = tiles.shape[1]
    if plan.n_tiles == 1 and plan.lanes == plan.batch:
        return tiles[0].t()
    out = torch.empty((plan.batch, features), dtype=plan.dtype)
    kernel = unpack_kernel(plan.lanes, plan.nbytes)
    source, target = tiles.data_ptr(), out.data_ptr()
    plan.run(lambda part, low, high: kernel(source, plan.batch, features, target, low, high))
    return out


class NumbaBackend:
    """The CPU engine: feature-major tiles, one fused sweep over the links per layer and direction."""

    name = "numba"

    def forward(
        self, x: torch.Tensor, layers: Sequence[Layer], *, keep: bool
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], Any]:
        """Return outputs (B, n_out), the tiles of every activation, and the plan.

        Without `keep`, activations inside the chain take the room of one tile per thread.
        """
        plan = _Plan.of(x, layers)
        if plan.batch == 0:
            return x.new_zeros(0, layers[-1].topology.n_out), (), plan
        gather = plan.n_tiles > 1 or any(layer.topology.row_order.itemsize == 8 for layer in layers)
        tiles = [_pack(plan, x)]
        alive: list[torch.Tensor | None] = []
        rows: list[list[tuple[int, ...]]] = [[] for _ in range(plan.n_parts)]
        for index, layer in enumerate(layers):
            topology = layer.topology
            values, bias = _as(layer.values, plan.dtype), _as(layer.bias, plan.dtype)
            if gather:
                values = torch.from_numpy(values.detach().numpy()[topology.row_order])
            alive += [values, bias]
            inside = index + 1 < len(layers)
            tiles.append(plan.scratch(topology.n_out) if inside and not keep else plan.empty(topology.n_out))
            _, _, *links = topology.addresses
            fixed = (topology.n_out, *links, values.data_ptr(), _address(bias), layer.relu)
            for part in range(plan.n_parts):
                rows[part].append((*fixed, *plan.place(tiles[-2], part), *plan.place(tiles[-1], part)))
        table = np.array(rows, np.int64)
        kernel = forward_kernel(plan.lanes, plan.nbytes, 0 if gather else 4)
        plan.run(lambda part, low, high: kernel(table[part], low, high))
        del alive
        y = _unpack(plan, tiles[-1])
        gate = tiles.pop() if layers[-1].relu else x.new_empty(0)
        return y, (*tiles[: len(layers)], gate) if keep else (), plan

    def backward(
        self,
        grad: torch.Tensor,
        layers: Sequence[Layer],
        saved: Sequence[torch.Tensor],
        notes: Any,
        *,
        input_grad: bool,
    ) -> tuple[torch.Tensor | None, list[tuple[torch.Tensor, torch.Tensor | None]]]:
        """Return all gradients of the chain from one backward sweep."""
        plan: _Plan = notes
        if plan.batch == 0:
            return _no_samples(grad, layers, input_grad=input_grad)
        n = len(layers)
        dvalues = [plan.partial(layer.topology.n_links) for layer in layers]
        dbiases = [None if layer.bias is None else plan.partial(layer.topology.n_out) for layer in layers]
        gate = saved[n] if layers[-1].relu else None
        grads = [plan.scratch(layer.topology.n_in) for layer in layers]
        grads[0] = plan.empty(layers[0].topology.n_in if input_grad else 0)
        grads.append(_pack(plan, grad.to(plan.dtype), gate, dbiases[-1]))
        alive = [_as(layer.values, plan.dtype) for layer in layers]
        rows: list[list[tuple[int, ...]]] = [[] for _ in range(plan.n_parts)]
        for index, layer in enumerate(layers):
            below = dbiases[index - 1] if index else None
            gated = index > 0 and layers[index - 1].relu
            fixed = (layer.topology.n_in, *layer.topology.addresses[:2], alive[index].data_ptr())
            for part in range(plan.n_parts):
                rows[part].append(
                    (
                        *fixed,
                        *plan.place(saved[index], part),
                        *plan.place(grads[index + 1], part),
                        *(plan.place(grads[index], part) if index or input_grad else (0, 0)),
                        dvalues[index][part].data_ptr(),
                        0 if below is None else below[part].data_ptr(),
                        gated,
                    )
                )
        table = np.array(rows, np.int64)
        kernel = backward_kernel(plan.lanes, plan.nbytes)
        plan.run(lambda part, low, high: kernel(table[part], low, high))
        pairs = [
            (_summed(dvalue, layer.values.dtype), None if dbias is None else _summed(dbias, layer.values.dtype))
            for dvalue, dbias, layer in zip(dvalues, dbiases, layers, strict=True)
        ]
        return (_unpack(plan, grads[0]) if input_grad else None), pairs


def _no_samples(
    grad: torch.Tensor, layers: Sequence[Layer], *, input_grad: bool
) -> tuple[torch.Tensor | None, list[tuple[torch.Tensor, torch.Tensor | None]]]:
    zeros = torch.zeros_like
    pairs = [(zeros(layer.values), None if layer.bias is None else zeros(layer.bias)) for layer in layers]
    return (grad.new_zeros(0, layers[0].topology.n_in) if input_grad else None), pairs


def _as(tensor: Any, dtype: torch.dtype) -> Any:
    """Return `tensor` in `dtype` and contiguous; itself where it is so already."""
    if tensor is None or (tensor.dtype == dtype and tensor.is_contiguous()):
        return tensor
    return tensor.detach().to(dtype).contiguous()


def _summed(parts: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return (parts[0] if parts.shape[0] == 1 else parts.sum(0)).to(dtype)
