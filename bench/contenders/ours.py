"""Our own engine: a chain in one autograd node with our own optimizer step, with torch's, and layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from sparsecore.bench.contenders.network import (
    LR,
    MOMENTUM,
    WEIGHT_DECAY,
    Contender,
    Links,
    dense_linear,
    register,
    stack,
    training_step,
)
from sparsecore.engine.compiled import CompiledSteps
from sparsecore.nn import SparseLinear, SparseSequential
from sparsecore.optim import SGD

__all__ = ["sparse_linear"]


def sparse_linear(layer: Links) -> SparseLinear:
    """Return our layer with the same links, values and bias."""
    topology = layer.topology
    module = SparseLinear(topology.n_in, topology.n_out, topology=topology)
    module.values.data.copy_(layer.values)
    assert module.bias is not None
    module.bias.data.copy_(layer.bias)
    return module


def _sgd(model: nn.Module) -> SGD:
    return SGD(model.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY)


class _Chain(nn.Module):
    """The common network in the form that compiled steps take."""

    is_chain = True

    def __init__(self, layers: Sequence[Links]) -> None:
        super().__init__()
        self.hidden = SparseSequential(
            *[module for layer in layers[:-1] for module in (sparse_linear(layer), nn.ReLU())]
        )
        self.head = dense_linear(layers[-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.hidden(x))
        return scores


@register("sparsecore, compiled steps")
def _ours_compiled(layers: Sequence[Links]) -> Contender:
    model = _Chain(layers)
    steps = CompiledSteps.of(model, _sgd(model))
    assert steps is not None

    def many(x: torch.Tensor, y: torch.Tensor, n: int) -> float:
        return steps.run(x, y, torch.arange(len(x)).repeat(n), len(x), [LR] * n)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.tensor(many(x, y, 1) / len(x))

    return Contender("sparsecore, compiled steps", model, step, many=many)


@register("sparsecore")
def _ours(layers: Sequence[Links]) -> Contender:
    model = stack(layers, sparse_linear, SparseSequential)
    return Contender("sparsecore", model, training_step(model, optimizer=_sgd(model)))


@register("sparsecore, torch optimizer")
def _ours_torch_optimizer(layers: Sequence[Links]) -> Contender:
    model = stack(layers, sparse_linear, SparseSequential)
    return Contender("sparsecore, torch optimizer", model, training_step(model))


@register("sparsecore, layer by layer")
def _ours_unfused(layers: Sequence[Links]) -> Contender:
    model = stack(layers, sparse_linear, nn.Sequential)
    return Contender("sparsecore, layer by layer", model, training_step(model))
