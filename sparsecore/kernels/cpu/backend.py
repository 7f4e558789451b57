"""Launches the numba kernels on torch tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sparsecore._typing import Int64Array
from sparsecore.kernels.backend import Layer
from sparsecore.kernels.cpu.chain import reorder
from sparsecore.kernels.cpu.launch import Launch, launch_for
from sparsecore.kernels.cpu.plan import Plan
from sparsecore.kernels.cpu.threads import run_split
from sparsecore.storage import Topology

__all__ = ["NumbaBackend"]

#: Fewest links worth a thread of their own when values are put into another order.
_LINKS_PER_THREAD = 50_000


class Pass:
    """What backward has to know of a forward pass; `spent` once the activations have given way to their gradients."""

    __slots__ = ("launch", "spent")

    def __init__(self, launch: Launch) -> None:
        self.launch, self.spent = launch, False


Grads = tuple[torch.Tensor | None, list[tuple[torch.Tensor, torch.Tensor | None]]]


class NumbaBackend:
    """The CPU engine: feature-major tiles, one fused sweep over the links per layer and direction."""

    name = "numba"

    def forward(
        self, x: torch.Tensor, layers: Sequence[Layer], *, keep: bool
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], Any]:
        """Return outputs (B, n_out), what backward needs, and a `Pass`.

        Kept are one block with the inputs as tiles and all activations inside the chain, the inputs themselves where
        they were tiles already, and the outputs where they gate. Without `keep`, activations inside the chain take the
        room of two tiles per thread.
        """
        launch = launch_for(x, layers)
        plan, n = launch.plan, len(layers)
        if plan.batch == 0:
            return x.new_zeros(0, plan.widths[-1]), (), Pass(launch)
        ready = _is_tile(plan, x)
        outputs = plan.tiles(n)
        block = torch.empty(plan.kept.n if keep else plan.scratch.n, dtype=plan.dtype)
        inputs = x if ready else block if keep else plan.tiles(0)
        tables = launch.forward_keep if keep else launch.forward_once
        _run_forward(launch, tables, layers, None if ready else x, block, inputs, outputs)
        y = outputs[0].t() if plan.whole else _unpack(launch, n, outputs)
        if not keep:
            return y, (), None
        saved = [block]
        if ready:
            saved.append(x)
        if launch.relus[-1]:
            saved.append(outputs)
        return y, tuple(saved), Pass(launch)

    def backward(
        self,
        grad: torch.Tensor,
        layers: Sequence[Layer],
        saved: Sequence[torch.Tensor],
        notes: Any,
        *,
        input_grad: bool,
    ) -> Grads:
        """Return all gradients of the chain from one backward sweep.

        Gradients of activations take the place of these. A second sweep over the same graph, which torch allows where
        it was told to retain it, computes them anew.
        """
        launch: Launch = notes.launch
        plan, n = launch.plan, len(layers)
        if plan.batch == 0:
            return _no_samples(grad, layers, input_grad=input_grad)
        gated = launch.relus[-1]
        block, ready = saved[0], len(saved) == 2 + gated
        inputs = saved[1] if ready else block
        if notes.spent:
            _run_forward(launch, launch.forward_keep, layers, None, block, inputs, plan.tiles(n))
        notes.spent = True
        gate = saved[-1].data_ptr() if gated else 0
        sums = torch.empty(launch.n_sums * plan.n_parts, dtype=plan.dtype)
        dy, dx = plan.tiles(n), plan.tiles(0) if input_grad else None
        source = grad if grad.dtype == plan.dtype else grad.to(plan.dtype)
        values = [_as(layer.values, plan.dtype) for layer in layers]
        target, all_sums = dy.data_ptr(), sums.data_ptr()
        addresses = [block.data_ptr(), inputs.data_ptr(), 0 if dx is None else dx.data_ptr(), target, all_sums]
        slots = np.array(addresses + [v.data_ptr() for v in values])
        if plan.n_parts == 1:
            _pack(launch, n, source, target, 0, plan.n_tiles, gate, all_sums + launch.last_sums[0])
            launch.backward_kernel(launch.backward[0], slots, 0, plan.n_tiles)
        else:

            def run(part: int, low: int, high: int) -> None:
                _pack(launch, n, source, target, low, high, gate, all_sums + launch.last_sums[part])
                launch.backward_kernel(launch.backward[part], slots, low, high)

            plan.run(run)
            sums = sums.view(plan.n_parts, -1).sum(0)
        parts = sums.split_with_sizes(launch.sizes)
        pairs: list[tuple[torch.Tensor, torch.Tensor | None]] = []
        for index, layer in enumerate(layers):
            dvalues, dbias = parts[2 * index], parts[2 * index + 1]
            if layer.topology is None:
                dvalues = dvalues.view_as(layer.values)
            if layer.values.dtype != plan.dtype:
                dvalues = dvalues.to(layer.values.dtype)
            if layer.bias is not None and layer.bias.dtype != plan.dtype:
                dbias = dbias.to(layer.bias.dtype)
            pairs.append((dvalues, None if layer.bias is None else dbias))
        if dx is None:
            return None, pairs
        return (dx[0].t() if plan.whole else _unpack(launch, 0, dx)), pairs


def _run_forward(
    launch: Launch,
    tables: Sequence[Int64Array],
    layers: Sequence[Layer],
    x: torch.Tensor | None,
    block: torch.Tensor,
    inputs: torch.Tensor,
    outputs: torch.Tensor,
) -> None:
    """Run the forward kernel from the tiles in ``inputs``, which are cut out of `x` first if there is one."""
    plan = launch.plan
    params = []
    for layer in layers:
        values, bias = _as(layer.values, plan.dtype), _as(layer.bias, plan.dtype)
        if launch.by_output and layer.topology is not None:
            values = _by_output(layer.topology, values.detach())
        params += [values, bias]
    first = inputs.data_ptr()
    addresses = [block.data_ptr(), first, outputs.data_ptr()]
    slots = np.array(addresses + [0 if p is None else p.data_ptr() for p in params])
    if plan.n_parts == 1:
        if x is not None:
            _pack(launch, 0, x, first, 0, plan.n_tiles)
        launch.forward_kernel(tables[0], slots, 0, plan.n_tiles)
        return

    def run(part: int, low: int, high: int) -> None:
        if x is not None:
            _pack(launch, 0, x, first, low, high)
        launch.forward_kernel(tables[part], slots, low, high)

    plan.run(run)


def _by_output(topology: Topology, values: torch.Tensor) -> torch.Tensor:
    """Return the values in output-major order."""
    out = torch.empty_like(values)
    run_split(
        lambda low, high: reorder(
            topology.col_ptr, topology.rows, topology.row_ptr, values.numpy(), low, high, out.numpy()
        ),
        topology.n_out,
        max(1, topology.n_out * _LINKS_PER_THREAD // max(1, topology.n_links)),
    )
    return out


def _is_tile(plan: Plan, x: torch.Tensor) -> bool:
    """Tell whether `x` lies in memory as the one tile that the kernels want."""
    return plan.whole and x.stride() == (1, plan.lanes) and x.data_ptr() % 64 == 0


def _pack(
    launch: Launch, index: int, x: torch.Tensor, tiles: int, low: int, high: int, gate: int = 0, sums: int = 0
) -> None:
    """Cut tiles ``low .. high - 1`` of activation `index` out of `x`, (B, features)."""
    plan = launch.plan
    launch.pack_kernel(x.data_ptr(), *x.stride(), plan.batch, plan.widths[index], tiles, gate, sums, low, high)


def _unpack(launch: Launch, index: int, tiles: torch.Tensor) -> torch.Tensor:
    """Return tiles as a row-major (B, features) tensor."""
    plan, kernel = launch.plan, launch.unpack_kernel
    features = plan.widths[index]
    out = torch.empty((plan.batch, features), dtype=plan.dtype)
    source, target = tiles.data_ptr(), out.data_ptr()
    plan.run(lambda part, low, high: kernel(source, plan.batch, features, target, low, high))
    return out


def _no_samples(grad: torch.Tensor, layers: Sequence[Layer], *, input_grad: bool) -> Grads:
    zeros = torch.zeros_like
    pairs = [(zeros(layer.values), None if layer.bias is None else zeros(layer.bias)) for layer in layers]
    return (grad.new_zeros(0, layers[0].n_in) if input_grad else None), pairs


def _as(tensor: Any, dtype: torch.dtype) -> Any:
    """Return `tensor` in `dtype` and contiguous; itself where it is so already."""
    if tensor is None or (tensor.dtype == dtype and tensor.is_contiguous()):
        return tensor
    return tensor.detach().to(dtype).contiguous()
