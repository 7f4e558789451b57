"""Our own engine: a chain in one autograd node with our own optimizer step, with torch's, and layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from sparsecore.bench.contenders.network import LR, MOMENTUM, Contender, Links, register, stack, training_step
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


@register("sparsecore")
def _ours(layers: Sequence[Links]) -> Contender:
    model = stack(layers, sparse_linear, SparseSequential)
    return Contender("sparsecore", model, training_step(model, optimizer=SGD(model.parameters(), LR, MOMENTUM)))


@register("sparsecore, torch optimizer")
def _ours_torch_optimizer(layers: Sequence[Links]) -> Contender:
    model = stack(layers, sparse_linear, SparseSequential)
    return Contender("sparsecore, torch optimizer", model, training_step(model))


@register("sparsecore, layer by layer")
def _ours_unfused(layers: Sequence[Links]) -> Contender:
    model = stack(layers, sparse_linear, nn.Sequential)
    return Contender("sparsecore, layer by layer", model, training_step(model))
