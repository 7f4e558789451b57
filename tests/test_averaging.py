from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import swa_utils

import sparsecore as sc
from sparsecore.averaging import AveragedModel
from sparsecore.errors import ConfigError, ShapeError
from sparsecore.storage import Topology
from tests.strategies import random_topology, topologies

KINDS: list[dict[str, Any]] = [{}, {"decay": 0.9}, {"avg_fn": swa_utils.get_ema_avg_fn(0.7)}]


def of_torch(model: nn.Module, decay: float | None = None, **options: Any) -> swa_utils.AveragedModel:
    if decay is not None:
        options["multi_avg_fn"] = swa_utils.get_ema_multi_avg_fn(decay)
    return swa_utils.AveragedModel(model, **options)


def dense(layer: sc.SparseLinear) -> torch.Tensor:
    weight = torch.zeros(layer.topology.shape, dtype=layer.values.dtype)
    weight.T[present(layer.topology).T] = layer.values.detach()  # in input-major order
    return weight


def present(topology: Topology) -> torch.Tensor:
    return torch.from_numpy(topology.to_dense())


def network(dtype: torch.dtype = torch.float32) -> nn.Module:
    inner = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8))
    model = nn.ModuleDict({"first": nn.Linear(6, 8), "inner": inner, "head": nn.Linear(8, 3)})
    model.forward = lambda x: model["head"](model["inner"](model["first"](x)))  # type: ignore[method-assign]
    return sc.sparsify(model, density=0.4, include=["first", "inner.*"], seed=0).to(dtype)


@given(st.data(), st.sampled_from(KINDS))
def test_a_link_has_the_average_of_its_dense_weight_since_it_exists(data: st.DataObject, kind: dict[str, Any]) -> None:
    path = data.draw(st.lists(topologies(shape=(3, 4)), min_size=2, max_size=6))
    layer = sc.SparseLinear(4, 3, topology=path[0], seed=0, dtype=torch.float64)
    twin = nn.Linear(4, 3, dtype=torch.float64)
    average, expected = AveragedModel(layer, **kind), of_torch(twin, **kind)
    for topology in path:
        layer.adopt(topology, torch.randn(topology.n_links, dtype=torch.float64))
        twin.weight.data, twin.bias.data = dense(layer), layer.bias.data
        expected.module.weight.data *= present(topology)
        average.update_parameters(layer)
        expected.update_parameters(twin)
        assert average.module.topology is topology
        torch.testing.assert_close(dense(average.module), expected.module.weight.data * present(topology))


@pytest.mark.parametrize("kind", [{}, {"decay": 0.9}])
@pytest.mark.parametrize(
    "method",
    [
        lambda *of: sc.SET(*of, every=1, zeta=0.3),
        lambda *of: sc.RigL(*of, every=1, steps=20),
        lambda *of: sc.CHTs(*of, every=1, zeta=0.3),
        lambda *of: sc.GMP(*of, every=1, steps=8, density=0.2),
    ],
    ids=["SET", "RigL", "CHTs", "GMP"],
)
def test_an_average_follows_training(method: Any, kind: dict[str, Any]) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    evolution = method(model, optimizer)
    average = AveragedModel(model, **kind)
    layers, copies = sc.sparse_layers(model), sc.sparse_layers(average.module)
    expected = {name: dense(layer) for name, layer in layers.items()}
    for n in range(6):
        model(torch.randn(16, 6)).square().mean().backward()
        optimizer.step()
        evolution.step()
        optimizer.zero_grad()
        average.update_parameters(model)
        past = kind.get("decay", n / (n + 1)) if n else 0.0
        for name, layer in layers.items():
            expected[name] = (past * expected[name] + (1 - past) * dense(layer)) * present(layer.topology)
            assert copies[name].topology == layer.topology
            torch.testing.assert_close(dense(copies[name]), expected[name])
    assert torch.equal(average.module["inner"][1].running_mean, model["inner"][1].running_mean)
    loss = average(torch.randn(16, 6)).square().mean()
    loss.backward()
    assert torch.isfinite(loss)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("kind", [*KINDS, {"decay": 0.9, "use_buffers": True}])
def test_while_no_link_moves_the_bits_are_those_of_torch(kind: dict[str, Any], dtype: torch.dtype) -> None:
    model = network(dtype)
    average, expected = AveragedModel(model, **kind), of_torch(model, **kind)
    for _ in range(4):
        for parameter in model.parameters():
            parameter.data += torch.randn_like(parameter)
        for each in (average, expected):
            each.update_parameters(model)
    state = expected.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in average.state_dict().items())
    assert {parameter.dtype for parameter in average.parameters()} == {dtype}


def test_an_average_goes_on_from_its_state() -> None:
    model = network()
    average, other = AveragedModel(model, decay=0.5), AveragedModel(copy.deepcopy(model), decay=0.5)
    for seed in range(4):
        for layer in sc.sparse_layers(model).values():
            links = random_topology(*layer.topology.shape, density=0.1 + 0.2 * seed, seed=seed)
            layer.adopt(links, torch.randn(links.n_links))
        average.update_parameters(model)
        if seed == 2:
            other.load_state_dict(average.state_dict())
    other.update_parameters(model)
    state = other.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in average.state_dict().items())
    assert int(other.n_averaged) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [({"decay": 1.5}, r"decay in \[0, 1\]. Got 1.5"), ({"decay": 0.9, "avg_fn": min}, "one kind of average")],
)
def test_an_average_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AveragedModel(nn.Linear(2, 2), **options)


@pytest.mark.parametrize(
    "other",
    [
        sc.SparseLinear(5, 4, density=0.5, seed=0),
        sc.SparseLinear(4, 4, density=0.5, seed=0, bias=False),
        nn.Sequential(sc.SparseLinear(4, 4, density=0.5, seed=0), nn.Linear(4, 1)),
    ],
    ids=["shape", "bias", "layers"],
)
def test_another_model_is_refused_and_the_average_stays(other: nn.Module) -> None:
    average = AveragedModel(sc.SparseLinear(4, 4, topology=Topology.full((4, 4)), seed=0))
    before = copy.deepcopy(average.state_dict())
    with pytest.raises(ShapeError, match="model that was copied"):
        average.update_parameters(other)
    assert all(torch.equal(tensor, before[name]) for name, tensor in average.state_dict().items())
