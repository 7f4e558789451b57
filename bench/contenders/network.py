"""The network that every contender trains, and the contenders of torch itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sparsecore.nn import SparseLinear, SparseSequential
from sparsecore.storage import Topology

__all__ = ["Contender", "Links", "build", "contenders", "names", "register"]


@dataclass(frozen=True, eq=False)
class Links:
    """One layer of the common network: links, values (input-major) and bias."""

    topology: Topology
    values: torch.Tensor
    bias: torch.Tensor

    def dense(self) -> torch.Tensor:
        """Return the layer as a dense weight, (n_out, n_in): the baselines need it."""
        weight = torch.zeros(self.topology.shape)
        weight[_index(self.topology.rows), _index(self.topology.cols)] = self.values
        return weight


@dataclass(frozen=True)
class Contender:
    """A trainable twin of the common network.

    Attributes
    ----------
    name : str
        As shown in tables.
    model : callable
        ``(B, n_in) -> (B, n_out)``.
    step : callable
        One optimizer step on ``(x, y)``; returns the loss tensor before the step.
    """

    name: str
    model: Callable[[torch.Tensor], torch.Tensor]
    step: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


LR, MOMENTUM = 0.01, 0.9

Builder = Callable[[Sequence[Links]], Contender]
contenders: dict[str, Builder] = {}


def register(name: str) -> Callable[[Builder], Builder]:
    """Add a builder under `name`."""

    def add(builder: Builder) -> Builder:
        contenders[name] = builder
        return builder

    return add


def names() -> tuple[str, ...]:
    """Return all contenders, ours first."""
    return tuple(contenders)


def build(name: str, layers: Sequence[Links]) -> Contender:
    """Build the contender `name` with its own copy of the values; ``ImportError`` if its library is missing."""
    return contenders[name](layers)


def _index(array: Any) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.int64))


def training_step(model: nn.Module, params: Sequence[torch.Tensor] | None = None) -> Any:
    """Return a training step with torch's fused momentum SGD, the field's optimizer for these networks."""
    optimizer = torch.optim.SGD(
        list(model.parameters() if params is None else params), lr=LR, momentum=MOMENTUM, fused=True
    )

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def _stack(
    layers: Sequence[Links], make: Callable[[Links], nn.Module], container: type[nn.Sequential]
) -> nn.Sequential:
    modules: list[nn.Module] = []
    for layer in layers:
        modules += [make(layer), nn.ReLU()]
    return container(*modules[:-1])


@register("sparsecore")
def _ours(layers: Sequence[Links]) -> Contender:
    model = _stack(layers, _sparse_linear, SparseSequential)
    return Contender("sparsecore", model, training_step(model))


@register("sparsecore, layer by layer")
def _ours_unfused(layers: Sequence[Links]) -> Contender:
    model = _stack(layers, _sparse_linear, nn.Sequential)
    return Contender("sparsecore, layer by layer", model, training_step(model))


def _sparse_linear(layer: Links) -> nn.Module:
    topology = layer.topology
    if topology.density == 1.0:
        return _dense_linear(layer)
    module = SparseLinear(topology.n_in, topology.n_out, topology=topology)
    module.values.data.copy_(layer.values)
    assert module.bias is not None
    module.bias.data.copy_(layer.bias)
    return module


def _dense_linear(layer: Links) -> nn.Module:
    module = nn.Linear(layer.topology.n_in, layer.topology.n_out)
    module.weight.data.copy_(layer.dense())
    module.bias.data.copy_(layer.bias)
    return module


@register("dense")
def _dense(layers: Sequence[Links]) -> Contender:
    model = _stack(layers, _dense_linear, nn.Sequential)
    return Contender("dense", model, training_step(model))


class _MaskedLinear(nn.Module):
    """What the field does: a dense weight times a mask."""

    def __init__(self, layer: Links) -> None:
        super().__init__()
        self.linear = _dense_linear(layer)
        self.register_buffer("mask", (layer.dense() != 0).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self.linear.weight * self.mask, self.linear.bias)  # type: ignore[arg-type,operator]


@register("masked dense")
def _masked(layers: Sequence[Links]) -> Contender:
    model = _stack(
        layers, lambda la: _dense_linear(la) if la.topology.density == 1.0 else _MaskedLinear(la), nn.Sequential
    )
    return Contender("masked dense", model, training_step(model))


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
    model = _stack(
        layers, lambda la: _dense_linear(la) if la.topology.density == 1.0 else _StitchedLinear(la), nn.Sequential
    )
    return Contender("torch CSR stitched", model, training_step(model))


class _CsrLinear(nn.Module):
    """torch's own sparse autograd on a CSR parameter."""

    def __init__(self, layer: Links) -> None:
        super().__init__()
        topology = layer.topology
        order = _index(topology.row_order)
        weight = torch.sparse_csr_tensor(
            _index(topology.row_ptr), _index(topology.row_cols), layer.values[order], size=topology.shape
        )
        self.weight = weight.requires_grad_()
        self.bias = nn.Parameter(layer.bias.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = torch.sparse.mm(self.weight, x.t()).t()
        return product + self.bias


@register("torch CSR autograd")
def _csr(layers: Sequence[Links]) -> Contender:
    model = _stack(
        layers, lambda la: _dense_linear(la) if la.topology.density == 1.0 else _CsrLinear(la), nn.Sequential
    )
    csr = [module.weight for module in model if isinstance(module, _CsrLinear)]
    velocities = [torch.zeros_like(weight.values()) for weight in csr]
    inner = training_step(model, [p for p in model.parameters() if p.layout is torch.strided])

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        # Most of torch's optimizers refuse CSR parameters: the same update on their values, by hand.
        loss: torch.Tensor = inner(x, y)
        for weight, velocity in zip(csr, velocities, strict=True):
            assert weight.grad is not None
            velocity.mul_(MOMENTUM).add_(weight.grad.values())
            with torch.no_grad():
                weight.values().sub_(velocity, alpha=LR)
            weight.grad = None
        return loss

    return Contender("torch CSR autograd", model, step)
