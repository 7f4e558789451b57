"""Launches the numba kernels on torch tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sparsecore.kernels.backend import Layer
from sparsecore.kernels.cpu.chain import backward_kernel, forward_kernel, pack_kernel, unpack_kernel
from sparsecore.kernels.cpu.plan import Plan, plan_batch
from sparsecore.kernels.cpu.threads import get_num_threads

__all__ = ["NumbaBackend"]

#: Below this many link-samples of work a pass stays on the calling thread: a hand-over costs about 20 µs.
_WORK_PER_THREAD = 2_000_000

Grads = tuple[torch.Tensor | None, list[tuple[torch.Tensor, torch.Tensor | None]]]


class NumbaBackend:
    """The CPU engine: feature-major tiles, one fused sweep over the links per layer and direction."""

    name = "numba"

    def forward(
        self, x: torch.Tensor, layers: Sequence[Layer], *, keep: bool
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], Any]:
        """Return outputs (B, n_out), what backward needs, and the plan.

        Kept are the inputs if they were tiles already, one block with all activations inside the chain, and the outputs
        if they gate. Without `keep`, that block has the room of one tile per thread.
        """
        plan, n = _plan(x, layers), len(layers)
        if plan.batch == 0:
            return x.new_zeros(0, plan.widths[-1]), (), plan
        ready = _is_tile(plan, x)
        first = 1 if ready else 0
        inside, places = plan.room(range(first, n), whole=keep)
        if ready:
            places.insert(0, plan.place(0, x.data_ptr()))
        elif keep:
            _pack(plan, 0, x, places[0][0][0])
        else:
            inputs = plan.tiles(0)
            _pack(plan, 0, x, inputs.data_ptr())
            places[0] = plan.place(0, inputs.data_ptr())
        outputs = plan.tiles(n)
        places.append(plan.place(n, outputs.data_ptr()))

        gather = plan.n_tiles > 1 or any(layer.topology.row_order.itemsize == 8 for layer in layers)
        values, biases = _values(layers, plan, by_output=gather), [_as(layer.bias, plan.dtype) for layer in layers]
        table = [
            [
                (
                    layer.topology.n_out,
                    *layer.topology.addresses[2:],
                    values[index].data_ptr(),
                    0 if biases[index] is None else biases[index].data_ptr(),
                    layer.relu,
                    *places[index][part],
                    *places[index + 1][part],
                )
                for index, layer in enumerate(layers)
            ]
            for part in range(plan.n_parts)
        ]
        tables, kernel = np.array(table, np.int64), forward_kernel(plan.lanes, plan.nbytes, 0 if gather else 4)
        plan.run(lambda part, low, high: kernel(tables[part], low, high))
        y = outputs[0].t() if plan.whole else _unpack(plan, n, outputs)
        if not keep:
            return y, (), plan
        return y, (inside, *((x,) if ready else ()), *((outputs,) if layers[-1].relu else ())), plan

    def backward(
        self,
        grad: torch.Tensor,
        layers: Sequence[Layer],
        saved: Sequence[torch.Tensor],
        notes: Any,
        *,
        input_grad: bool,
    ) -> Grads:
        """Return all gradients of the chain from one backward sweep."""
        plan: Plan = notes
        if plan.batch == 0:
            return _no_samples(grad, layers, input_grad=input_grad)
        n, gated = len(layers), layers[-1].relu
        kept = list(saved)
        gate = kept.pop().data_ptr() if gated else 0
        ready = len(kept) == 2
        activations = plan.places(kept[0], range(1 if ready else 0, n), whole=True)
        if ready:
            activations.insert(0, plan.place(0, kept[1].data_ptr()))

        dvalues = [plan.partial(layer.topology.n_links) for layer in layers]
        dbiases = [None if layer.bias is None else plan.partial(layer.topology.n_out) for layer in layers]
        below = [[0] * plan.n_parts, *(plan.rows(d, w) for d, w in zip(dbiases, plan.widths[1:], strict=True))]
        scratch, grads = plan.room(range(1, n), whole=False)
        dy = plan.tiles(n)
        _pack(plan, n, grad.to(plan.dtype), dy.data_ptr(), gate, below[n])
        dx = plan.tiles(0) if input_grad else None
        grads = [
            [(0, 0)] * plan.n_parts if dx is None else plan.place(0, dx.data_ptr()),
            *grads,
            plan.place(n, dy.data_ptr()),
        ]
        values = _values(layers, plan, by_output=False)
        dvalue_rows = [plan.rows(d, layer.topology.n_links) for d, layer in zip(dvalues, layers, strict=True)]
        table = [
            [
                (
                    layer.topology.n_in,
                    *layer.topology.addresses[:2],
                    values[index].data_ptr(),
                    *activations[index][part],
                    *grads[index + 1][part],
                    *grads[index][part],
                    dvalue_rows[index][part],
                    below[index][part],
                    index > 0 and layers[index - 1].relu,
                )
                for index, layer in enumerate(layers)
            ]
            for part in range(plan.n_parts)
        ]
        tables, kernel = np.array(table, np.int64), backward_kernel(plan.lanes, plan.nbytes)
        plan.run(lambda part, low, high: kernel(tables[part], low, high))
        del scratch
        pairs = [
            (_summed(plan, dvalue, layer.values), None if dbias is None else _summed(plan, dbias, layer.values))
            for dvalue, dbias, layer in zip(dvalues, dbiases, layers, strict=True)
        ]
        if dx is None:
            return None, pairs
        return (dx[0].t() if plan.whole else _unpack(plan, 0, dx)), pairs


def _plan(x: torch.Tensor, layers: Sequence[Layer]) -> Plan:
    batch, n_links = x.shape[0], 0
    for layer in layers:
        n_links += layer.topology.n_links
    parts = max(1, min(get_num_threads(), n_links * batch // _WORK_PER_THREAD))
    return plan_batch(batch, (x.shape[1], *(layer.topology.n_out for layer in layers)), parts, x.dtype)


def _is_tile(plan: Plan, x: torch.Tensor) -> bool:
    """Tell whether `x` lies in memory as the one tile that the kernels want."""
    return plan.whole and x.stride() == (1, plan.lanes) and x.data_ptr() % 64 == 0


def _pack(
    plan: Plan, index: int, x: torch.Tensor, tiles: int, gate: int = 0, sums: Sequence[int] | None = None
) -> None:
    """Cut `x`, (B, features), into the tiles at an address; `sums` are addresses of each part's sum over samples."""
    kernel = pack_kernel(plan.lanes, plan.nbytes)
    source, strides, batch, features = x.data_ptr(), x.stride(), plan.batch, plan.widths[index]

    def launch(part: int, low: int, high: int) -> None:
        kernel(source, *strides, batch, features, tiles, gate, sums[part] if sums else 0, low, high)

    plan.run(launch)


def _unpack(plan: Plan, index: int, tiles: torch.Tensor) -> torch.Tensor:
    """Return tiles as a row-major (B, features) tensor."""
    features = plan.widths[index]
    out = torch.empty((plan.batch, features), dtype=plan.dtype)
    kernel, source, target = unpack_kernel(plan.lanes, plan.nbytes), tiles.data_ptr(), out.data_ptr()
    plan.run(lambda part, low, high: kernel(source, plan.batch, features, target, low, high))
    return out


def _no_samples(grad: torch.Tensor, layers: Sequence[Layer], *, input_grad: bool) -> Grads:
    zeros = torch.zeros_like
    pairs = [(zeros(layer.values), None if layer.bias is None else zeros(layer.bias)) for layer in layers]
    return (grad.new_zeros(0, layers[0].topology.n_in) if input_grad else None), pairs


def _values(layers: Sequence[Layer], plan: Plan, *, by_output: bool) -> list[torch.Tensor]:
    values = [_as(layer.values, plan.dtype) for layer in layers]
    if not by_output:
        return values
    arrays = (value.detach().numpy()[layer.topology.row_order] for value, layer in zip(values, layers, strict=True))
    return [torch.from_numpy(array) for array in arrays]


def _as(tensor: Any, dtype: torch.dtype) -> Any:
    """Return `tensor` in `dtype` and contiguous; itself where it is so already."""
    if tensor is None or (tensor.dtype == dtype and tensor.is_contiguous()):
        return tensor
    return tensor.detach().to(dtype).contiguous()


def _summed(plan: Plan, parts: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    total = parts if plan.n_parts == 1 else parts.sum(0)
    return total if total.dtype == like.dtype else total.to(like.dtype)
