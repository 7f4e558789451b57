"""The multilayer perceptron: what its first values are."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sparsecore.errors import UnknownNameError
from sparsecore.models.mlp import MLP
from sparsecore.nn import SparseLinear


def _layers(model: MLP) -> list[nn.Linear | SparseLinear]:
    return [layer for layer in [*model.hidden, model.head] if isinstance(layer, nn.Linear | SparseLinear)]


@pytest.mark.parametrize("density", [0.1, 1.0])
def test_dense_layers_and_biases_start_as_in_torch(density: float) -> None:
    model = MLP(300, (200,), 400, density=density, dense_init="torch", seed=0)
    for layer in _layers(model):
        bound = 1 / math.sqrt(layer.in_features)
        assert layer.bias is not None
        drawn = [layer.bias.detach(), *([layer.weight.detach()] if isinstance(layer, nn.Linear) else [])]
        for values in drawn:
            assert float(values.abs().max()) <= bound
            assert float(values.std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_the_links_are_those_of_any_scheme() -> None:
    ours, theirs = (MLP(30, (20,), 5, density=0.2, dense_init=scheme, seed=0) for scheme in ("kaiming", "torch"))
    for one, other in zip(_layers(ours), _layers(theirs), strict=True):
        assert one.bias is not None
        assert not one.bias.any()
        if isinstance(one, SparseLinear) and isinstance(other, SparseLinear):
            assert torch.equal(one.values, other.values)
            assert one.topology == other.topology


def test_biases_of_layers_differ_and_return_with_the_seed() -> None:
    model, again = (MLP(30, (30, 30), 30, density=0.2, dense_init="torch", seed=0) for _ in range(2))
    biases = [layer.bias for layer in _layers(model)]
    assert all(not torch.equal(a, b) for a, b in zip(biases, biases[1:], strict=False))
    assert all(torch.equal(a, b) for a, b in zip(biases, [layer.bias for layer in _layers(again)], strict=True))


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'torch'"):
        MLP(4, (3,), 2, density=0.5, dense_init="torhc")
