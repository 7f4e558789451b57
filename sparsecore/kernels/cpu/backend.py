"""Launches the numba kernels on torch tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sparsecore.errors import SignalError
from sparsecore.kernels.backend import Layer
from sparsecore.kernels.cpu.launch import Launch, launch_for
from sparsecore.kernels.cpu.passes import BACKWARD, FORWARD, Route, addresses, route_of
from sparsecore.kernels.cpu.plan import Plan
from sparsecore.kernels.cpu.stages import run_job

__all__ = ["NumbaBackend"]


class Pass:
    """What backward has to know of a forward pass; `spent` once the activations have given way to their gradients."""

    __slots__ = ("biases", "launch", "spent")

    def __init__(self, launch: Launch, layers: Sequence[Layer]) -> None:
        self.launch, self.spent = launch, False
        self.biases = _versions(layers)


Grads = tuple[torch.Tensor | None, list[tuple[torch.Tensor, torch.Tensor | None]]]


class NumbaBackend:
    """The CPU engine: feature-major tiles, one fused sweep over the links per layer and direction."""

    name = "numba"
    dtypes = frozenset({torch.float32, torch.float64})

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
            return x.new_zeros(0, plan.widths[-1]), (), Pass(launch, layers)
        ready = _is_tile(plan, x)
        route = route_of(launch, FORWARD, keep=keep, pack=not ready, unpack=not plan.whole)
        outputs = _one_tile(plan) if plan.whole else plan.tiles(n, again=route.last_again)
        block = torch.empty(plan.kept.n if keep else plan.scratch.n, dtype=plan.dtype)
        inputs = x if ready else block if keep else plan.tiles(0, again=route.first_again)
        rows = None if plan.whole else _rows(launch, n)
        _run_forward(route, launch, layers, None if ready else x, block, inputs, outputs, rows)
        y = outputs if rows is None else rows
        if not keep:
            return y, (), None
        saved = [block]
        if ready:
            saved.append(x)
        if launch.relus[-1]:
            saved.append(outputs)
        return y, tuple(saved), Pass(launch, layers)

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
            if notes.biases != _versions(layers):
                raise SignalError(
                    "Expected the biases of forward in a second backward over the same graph. Got changed ones. "
                    "Run forward again."
                )
            route = route_of(launch, FORWARD, pack=False, unpack=False)
            _run_forward(route, launch, layers, None, block, inputs, plan.tiles(n), None)
        notes.spent = True
        sums = torch.empty(launch.n_sums, dtype=plan.dtype)
        more = torch.empty(launch.n_sums * (plan.n_parts - 1), dtype=plan.dtype)
        route = route_of(launch, BACKWARD, unpack=input_grad and not plan.whole)
        dy = plan.tiles(n, again=route.first_again)
        dx = plan.tiles(0, again=route.last_again) if input_grad else None
        dx_rows = None if dx is None or plan.whole else _rows(launch, 0)
        source = grad if grad.dtype == plan.dtype else grad.to(plan.dtype)
        gate = saved[-1].data_ptr() if gated else 0
        at, more_at, dy_at, dx_at = sums.data_ptr(), more.data_ptr(), dy.data_ptr(), 0 if dx is None else dx.data_ptr()
        values = [_as(layer.values, plan.dtype) for layer in layers]
        job = route.job(
            [block.data_ptr(), inputs.data_ptr(), dx_at, dy_at, at, more_at, *addresses(values)],
            pack=[source.data_ptr(), *source.stride(), dy_at, gate, at + launch.last_sums, more_at + launch.last_sums],
            unpack=() if dx_rows is None else (dx_at, dx_rows.data_ptr()),
            reduce=(at, more_at),
        )
        run_job(job, launch.n_threads)
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
        return (dx[0].t() if dx_rows is None else dx_rows), pairs


def _run_forward(
    route: Route,
    launch: Launch,
    layers: Sequence[Layer],
    x: torch.Tensor | None,
    block: torch.Tensor,
    inputs: torch.Tensor,
    outputs: torch.Tensor,
    rows: torch.Tensor | None,
) -> None:
    """Fill the output tiles, and `rows` from them if given, from input tiles, cut out of `x` first if there is one."""
    plan = launch.plan
    values = sources = [_as(layer.values, plan.dtype) for layer in layers]
    if launch.by_output:
        values = [v if order is None else torch.empty_like(v) for order, v in zip(launch.orders, sources, strict=True)]
    first, last = inputs.data_ptr(), outputs.data_ptr()
    biases = [_as(layer.bias, plan.dtype) for layer in layers]
    params = [part for pair in zip(values, biases, strict=True) for part in pair]
    job = route.job(
        [block.data_ptr(), first, last, *addresses(params)],
        pack=() if x is None else (x.data_ptr(), *x.stride(), first, 0, 0, 0),
        unpack=() if rows is None else (last, rows.data_ptr()),
        gather=(addresses(sources), addresses(values)) if launch.by_output else ((), ()),
    )
    run_job(job, launch.n_threads)


def _is_tile(plan: Plan, x: torch.Tensor) -> bool:
    """Tell whether `x` lies in memory as the one tile that the kernels want."""
    return plan.whole and x.stride() == (1, plan.lanes) and x.data_ptr() % 64 == 0


def _one_tile(plan: Plan) -> torch.Tensor:
    """Return room for the outputs of a whole plan, (B, n_out), laid out as its tile; no view: users may change it."""
    return torch.empty_strided((plan.batch, plan.widths[-1]), (1, plan.batch), dtype=plan.dtype)


def _versions(layers: Sequence[Layer]) -> list[int]:
    """Return how often the biases were changed; nothing is known of those of inference mode."""
    return [0 if layer.bias is None or layer.bias.is_inference() else layer.bias._version for layer in layers]


def _rows(launch: Launch, index: int) -> torch.Tensor:
    """Return room for activation `index` as (B, features)."""
    return torch.empty((launch.plan.batch, launch.plan.widths[index]), dtype=launch.plan.dtype)


def _no_samples(grad: torch.Tensor, layers: Sequence[Layer], *, input_grad: bool) -> Grads:
    zeros = torch.zeros_like
    pairs = [(zeros(layer.values), None if layer.bias is None else zeros(layer.bias)) for layer in layers]
    return (grad.new_zeros(0, layers[0].n_in) if input_grad else None), pairs


def _as(tensor: Any, dtype: torch.dtype) -> Any:
    """Return `tensor` in `dtype` and contiguous; itself where it is so already."""
    if tensor is None or (tensor.dtype == dtype and tensor.is_contiguous()):
        return tensor
    return tensor.detach().to(dtype).contiguous()
