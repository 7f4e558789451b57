"""Torch's own CSR tensors: through autograd, and its kernels stitched together by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from sparsecore.bench.contenders.network import (
    LR,
    MOMENTUM,
    WEIGHT_DECAY,
    Contender,
    Links,
    register,
    stack,
    training_step,
)

__all__ = ["CsrLinear", "csr_step"]


class _StitchedProduct(torch.autograd.Function):
    """torch's CSR kernels put together by hand around a 1-D value parameter."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, values: torch.Tensor, pattern: Any) -> Any:
        ctx.save_for_backward(x, values)
        ctx.pattern = pattern
        row_ptr, row_cols, order, _, _, shape = pattern
        weight = torch.sparse_csr_tensor(row_ptr, row_cols, values[order], size=shape)
        return torch.sparse.mm(weight, x.t()).t()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor, None]:
        x, values = ctx.saved_tensors
        _, _, _, col_ptr, rows, (n_out, n_in) = ctx.pattern
        weight_t = torch.sparse_csr_tensor(col_ptr, rows, values, size=(n_in, n_out))
        sampled = torch.sparse.sampled_addmm(weight_t, x.t(), grad, beta=0.0)
        grad_x = torch.sparse.mm(weight_t, grad.t()).t() if ctx.needs_input_grad[0] else None
        return grad_x, sampled.values(), None


class _StitchedLinear(nn.Module):
    def __init__(self, layer: Links) -> None:
        super().__init__()
        topology = layer.topology
        arrays = (topology.row_ptr, topology.row_cols, topology.row_order, topology.col_ptr, topology.rows)
        row_ptr, row_cols, order, col_ptr, rows = (torch.from_numpy(a.copy()) for a in arrays)
        self.pattern = (row_ptr.int(), row_cols, order.long(), col_ptr.int(), rows, topology.shape)
        self.values = nn.Parameter(layer.values.clone())
        self.bias = nn.Parameter(layer.bias.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = _StitchedProduct.apply(x, self.values, self.pattern)  # type: ignore[no-untyped-call]
        return product + self.bias


@register("torch CSR stitched")
def _stitched(layers: Sequence[Links]) -> Contender:
    model = stack(layers, _StitchedLinear)
    return Contender("torch CSR stitched", model, training_step(model))


class CsrLinear(nn.Module):
    """torch's own sparse autograd on a CSR parameter."""

    def __init__(self, layer: Links) -> None:
        super().__init__()
        self.weight = layer.csr().requires_grad_()
        self.bias = nn.Parameter(layer.bias.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the product and the bias."""
        product: torch.Tensor = torch.sparse.mm(self.weight, x.t()).t()
        return product + self.bias


Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def csr_step(model: nn.Sequential, inner: Step) -> Step:
    """Return a step that also trains CSR parameters, which most of torch's optimizers refuse.

    `inner` is the step of all other parameters; the values of CSR parameters get the same momentum SGD by hand.
    """
    csr = [module.weight for module in model if isinstance(module, CsrLinear)]
    velocities = [torch.zeros_like(weight.values()) for weight in csr]

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        loss = inner(x, y)
        for weight, velocity in zip(csr, velocities, strict=True):
            assert weight.grad is not None
            slope = weight.grad.values() + WEIGHT_DECAY * weight.detach().values()
            velocity.mul_(MOMENTUM).add_(slope)
            with torch.no_grad():
                weight.values().sub_(velocity, alpha=LR)
            weight.grad = None
        return loss

    return step


@register("torch CSR autograd")
def _csr(layers: Sequence[Links]) -> Contender:
    model = stack(layers, CsrLinear)
    inner = training_step(model, [p for p in model.parameters() if p.layout is torch.strided])
    return Contender("torch CSR autograd", model, csr_step(model, inner))
