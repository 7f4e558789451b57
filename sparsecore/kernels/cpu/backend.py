"""Launches the numba kernels on torch tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from sparsecore.kernels.backend import Layer
from sparsecore.kernels.cpu.chain import (
    B_DBIAS_IN,
    B_DVALUES,
    B_DX,
    B_DX_PITCH,
    B_DY,
    B_DY_PITCH,
    B_GATE,
    B_X,
    B_X_PITCH,
    BACKWARD_COLUMNS,
    F_X,
    F_X_PITCH,
    F_Y,
    F_Y_PITCH,
    FORWARD_COLUMNS,
    backward_kernel,
    forward_kernel,
    pack_kernel,
    unpack_kernel,
)
from sparsecore.kernels.cpu.plan import Plan, plan_batch
from sparsecore.kernels.cpu.threads import get_num_threads

__all__ = ["NumbaBackend"]

#: Below this many link-samples of work a pass stays on the calling thread: a hand-over costs about 20 µs.
_WORK_PER_THREAD = 1_000_000

Grads = tuple[torch.Tensor | None, list[tuple[torch.Tensor, torch.Tensor | None]]]


class NumbaBackend:
    """The CPU engine: feature-major tiles, one fused sweep over the links per layer and direction."""

    name = "numba"

    def forward(
        self, x: torch.Tensor, layers: Sequence[Layer], *, keep: bool
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], Any]:
        """Return outputs (B, n_out), what backward needs, and the plan.

        Kept are one block with the inputs as tiles and all activations inside the chain, the inputs themselves where
        they were tiles already, and the outputs where they gate. Without `keep`, activations inside the chain take the
        room of one tile per thread.
        """
        plan, n = _plan(x, layers), len(layers)
        if plan.batch == 0:
            return x.new_zeros(0, plan.widths[-1]), (), plan
        outputs, ready = plan.tiles(n), _is_tile(plan, x)
        layout = plan.kept if keep else plan.scratch
        block = torch.empty(layout.n, dtype=plan.dtype)
        inputs = None if ready or keep else plan.tiles(0)
        first = x.data_ptr() if ready else block.data_ptr() if inputs is None else inputs.data_ptr()
        by_output = plan.reuses_values or any(layer.topology.row_order.itemsize == 8 for layer in layers)
        values, biases = _values(layers, plan, by_output=by_output), [_as(layer.bias, plan.dtype) for layer in layers]

        table = np.empty((plan.n_parts, n, FORWARD_COLUMNS), np.int64)
        table[:, :, :F_X] = [
            (
                layer.topology.n_out,
                *layer.topology.addresses[2:],
                value.data_ptr(),
                0 if bias is None else bias.data_ptr(),
                layer.relu,
            )
            for layer, value, bias in zip(layers, values, biases, strict=True)
        ]
        inside = slice(1, None) if keep else slice(None)
        table[:, 1:, F_X] = table[:, :-1, F_Y] = block.data_ptr() + layout.first[:, inside]
        table[:, 1:, F_X_PITCH] = table[:, :-1, F_Y_PITCH] = layout.pitch[inside]
        table[:, 0, F_X], table[:, 0, F_X_PITCH] = first, plan.tile_bytes(0)
        table[:, -1, F_Y], table[:, -1, F_Y_PITCH] = outputs.data_ptr(), plan.tile_bytes(n)
        kernel = forward_kernel(plan.lanes, plan.nbytes, 0 if by_output else 4)
        pack = None if ready else _packer(plan, 0, x, first)

        def launch(part: int, low: int, high: int) -> None:
            if pack is not None:
                pack(part, low, high)
            kernel(table[part], low, high)

        plan.run(launch)
        y = outputs[0].t() if plan.whole else _unpack(plan, n, outputs)
        if not keep:
            return y, (), plan
        return y, (block, *((x,) if ready else ()), *((outputs,) if layers[-1].relu else ())), plan

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
        block, ready = saved[0], len(saved) == 2 + gated
        gate = saved[-1].data_ptr() if gated else 0
        scratch = torch.empty(plan.scratch.n, dtype=plan.dtype)
        dy, dx = plan.tiles(n), plan.tiles(0) if input_grad else None
        sizes = [size for layer in layers for size in (layer.topology.n_links, layer.topology.n_out)]
        room, sums = plan.sums(sizes)
        values = _values(layers, plan, by_output=False)

        table = np.empty((plan.n_parts, n, BACKWARD_COLUMNS), np.int64)
        table[:, :, :B_X] = [
            (layer.topology.n_in, *layer.topology.addresses[:2], value.data_ptr())
            for layer, value in zip(layers, values, strict=True)
        ]
        table[:, :, B_X], table[:, :, B_X_PITCH] = block.data_ptr() + plan.kept.first, plan.kept.pitch
        if ready:
            table[:, 0, B_X] = saved[1].data_ptr()
        table[:, 1:, B_DX] = table[:, :-1, B_DY] = scratch.data_ptr() + plan.scratch.first
        table[:, 1:, B_DX_PITCH] = table[:, :-1, B_DY_PITCH] = plan.scratch.pitch
        table[:, 0, B_DX], table[:, 0, B_DX_PITCH] = 0 if dx is None else dx.data_ptr(), plan.tile_bytes(0)
        table[:, -1, B_DY], table[:, -1, B_DY_PITCH] = dy.data_ptr(), plan.tile_bytes(n)
        table[:, :, B_DVALUES] = sums[:, ::2]
        table[:, 0, B_DBIAS_IN], table[:, 1:, B_DBIAS_IN] = 0, sums[:, 1:-1:2]
        table[:, :, B_GATE] = [False, *(layer.relu for layer in layers[:-1])]
        kernel = backward_kernel(plan.lanes, plan.nbytes)
        pack = _packer(plan, n, grad.to(plan.dtype), dy.data_ptr(), gate, sums[:, -1].tolist())

        def launch(part: int, low: int, high: int) -> None:
            pack(part, low, high)
            kernel(table[part], low, high)

        plan.run(launch)
        parts = plan.added(room)
        pairs = [
            (
                _like(parts[2 * index], layer.values),
                None if layer.bias is None else _like(parts[2 * index + 1], layer.bias),
            )
            for index, layer in enumerate(layers)
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


def _packer(
    plan: Plan, index: int, x: torch.Tensor, tiles: int, gate: int = 0, sums: Sequence[int] | None = None
) -> Callable[[int, int, int], None]:
    """Return what cuts a part of `x`, (B, features), into tiles; `sums`: addresses of each part's sums."""
    kernel = pack_kernel(plan.lanes, plan.nbytes)
    source, strides, batch, features = x.data_ptr(), x.stride(), plan.batch, plan.widths[index]

    def pack(part: int, low: int, high: int) -> None:
        kernel(source, *strides, batch, features, tiles, gate, sums[part] if sums else 0, low, high)

    pack.source = x  # type: ignore[attr-defined]
    return pack


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


def _like(grad: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    return grad if grad.dtype == parameter.dtype else grad.to(parameter.dtype)
