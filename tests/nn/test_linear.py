import copy
import io
import pickle

import numpy as np
import pytest
import torch
from strategies import random_topology
from torch import nn

from sparsecore.errors import ConfigError, ShapeError, SignalError, UnknownNameError
from sparsecore.generators import ER
from sparsecore.nn import SparseLinear, SparseSequential
from sparsecore.storage import Topology


def test_the_layer_is_its_links_and_nothing_dense():
    layer = SparseLinear(300, 200, density=0.01, seed=0)
    assert layer.topology.n_links == 600
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {"values": (600,), "bias": (200,)}
    assert layer(torch.randn(4, 7, 300)).shape == (4, 7, 200)


def test_a_given_topology_is_used_as_it_is():
    topology = random_topology(5, 7, 0.4)
    assert SparseLinear(7, 5, topology=topology).topology is topology


def test_the_seed_decides_links_and_values():
    one, same, other = (SparseLinear(50, 40, density=0.1, seed=seed) for seed in (3, 3, 4))
    assert one.topology == same.topology != other.topology
    assert torch.equal(one.values, same.values)
    torch.manual_seed(0)
    first = SparseLinear(50, 40, density=0.1)
    torch.manual_seed(0)
    assert SparseLinear(50, 40, density=0.1).topology == first.topology


def test_swi_gives_outputs_of_unit_variance_for_rectified_inputs():
    layer = SparseLinear(2000, 1000, density=0.02, bias=False, seed=0)
    x = torch.relu(torch.randn(64, 2000, generator=torch.Generator().manual_seed(0)))
    assert layer(x).var().item() == pytest.approx(1.0, rel=0.1)


def test_kaiming_follows_the_links_of_each_output():
    rows = np.r_[np.zeros(400, int), np.ones(100, int)]
    topology = Topology.from_coo(rows, np.r_[np.arange(400), np.arange(100)], shape=(2, 400))
    layer = SparseLinear(400, 2, topology=topology, init="kaiming", seed=1)
    values, rows = layer.values.detach(), torch.from_numpy(topology.rows.copy())
    assert values[rows == 0].std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.15)
    assert values[rows == 1].std().item() == pytest.approx((2 / 100) ** 0.5, rel=0.3)


def test_values_of_a_dense_layer_can_be_asked_for_and_other_schemes_are_refused():
    layer = SparseLinear(2000, 1000, density=0.02, init="kaiming_dense", seed=0)
    assert layer.values.detach().std().item() == pytest.approx((2 / 2000) ** 0.5, rel=0.05)
    with pytest.raises(UnknownNameError, match="kaiming, kaiming_dense, swi"):
        SparseLinear(20, 10, density=0.2, init="xavier")


@pytest.mark.parametrize(
    "clone",
    [
        copy.deepcopy,
        lambda layer: pickle.loads(pickle.dumps(layer)),
        lambda layer: torch.load(_saved(layer), weights_only=False),
    ],
    ids=["deepcopy", "pickle", "torch.save"],
)
def test_copies_keep_values_and_links_together(clone):
    layer = SparseLinear(30, 20, density=0.2, seed=0)
    twin = clone(layer)
    x = torch.randn(3, 30)
    assert twin.topology == layer.topology
    assert torch.equal(twin(x), layer(x))


def _saved(layer):
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    return buffer


def test_loading_a_state_dict_adopts_its_links():
    one, other = (SparseLinear(30, 20, density=d, seed=s) for d, s in ((0.2, 0), (0.1, 1)))
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    assert other.load_state_dict(one.state_dict()) == nn.Module().load_state_dict({})
    assert other.topology == one.topology
    assert torch.equal(other.values, one.values)
    assert optimizer.param_groups[0]["params"][0] is other.values


def test_the_number_of_links_may_change_while_an_old_graph_is_alive():
    layer, other = (SparseLinear(30, 20, density=d, seed=0) for d in (0.2, 0.1))
    old_loss = layer(torch.randn(3, 30)).sum()
    old_loss.backward()
    layer.adopt(other.topology, other.values)
    layer(torch.randn(3, 30)).sum().backward()
    assert layer.values.grad.shape == other.values.shape
    assert layer.values.dtype == torch.float32
    del old_loss


def test_a_state_dict_without_links_is_refused_when_strict():
    layer = SparseLinear(30, 20, density=0.2, seed=0)
    state = layer.state_dict()
    del state["rows"]
    with pytest.raises(RuntimeError, match="Missing key.*rows"):
        layer.load_state_dict(state)


def test_a_state_dict_with_broken_links_changes_nothing():
    layer = SparseLinear(30, 20, density=0.2, seed=0)
    before, state = copy.deepcopy(layer), layer.state_dict()
    other = SparseLinear(31, 20, density=0.2, seed=0).state_dict()
    broken = {
        r"rows in \[0, 20\). Got 99 to 99": state | {"rows": torch.full_like(state["rows"], 99)},
        r"lists of integers. Got torch.float16": {name: part.half() for name, part in state.items()},
        r"col_ptr of shape \(31,\). Got shape \(32,\)": other,
    }
    for message, bad in broken.items():
        with pytest.raises(RuntimeError, match=rf"(?s)state_dict for Sequential.*links of 0: Expected {message}"):
            nn.Sequential(layer).load_state_dict({f"0.{name}": part for name, part in bad.items()})
        assert layer.topology == before.topology
        assert torch.equal(layer.values, before.values)


def test_values_are_not_loaded_onto_the_links_of_others():
    layer, other = (SparseLinear(30, 20, density=0.2, seed=seed) for seed in (0, 1))
    before = layer.values.detach().clone()
    found = layer.load_state_dict({"values": other.values, "bias": other.bias}, strict=False)
    assert set(found.missing_keys) == {"col_ptr", "rows", "values"}
    assert torch.equal(layer.values, before)


def test_dtype_conversion_keeps_the_links():
    layer = SparseLinear(30, 20, density=0.2, seed=0)
    topology = layer.topology
    assert layer.double().topology is topology
    assert layer(torch.randn(2, 30, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "NAdam"])
def test_any_optimizer_and_gradient_clipping_train_the_values(optimizer):
    torch.manual_seed(0)
    layer = SparseLinear(20, 1, density=0.5, seed=0)
    optimizer = getattr(torch.optim, optimizer)(layer.parameters(), lr=0.01)
    x = torch.randn(64, 20)
    losses = []
    for _ in range(30):
        loss = (layer(x) - 1.0).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ConfigError, "density=... or topology=Topology. Got neither"),
        ({"density": 0.0}, ConfigError, r"density in \(0, 1\]. Got 0.0"),
        ({"density": 1.5}, ConfigError, r"density in \(0, 1\]. Got 1.5"),
        ({"density": 1e-6}, ConfigError, "at least one link"),
        ({"topology": random_topology(3, 3, 0.5)}, ShapeError, r"shape \(n_out, n_in\) = \(5, 7\). Got \(3, 3\)"),
        ({"topology": ER()}, ConfigError, "density"),
        ({"density": 0.5, "init": "magic"}, UnknownNameError, "kaiming_dense, swi"),
    ],
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        SparseLinear(7, 5, **options)


def test_loaded_links_share_no_memory_with_the_state_dict():
    one, other = (SparseLinear(20, 10, density=density, seed=0) for density in (0.3, 0.5))
    other.load_state_dict(one.state_dict())
    before = one.values.detach().clone()
    with torch.no_grad():
        other.values.add_(1.0)
    assert torch.equal(one.values, before)


@pytest.mark.parametrize("batch", [1, 4, 5, 8, 16, 32, 33, 64, 100])
@pytest.mark.parametrize("relu", [False, True])
def test_outputs_can_be_changed_in_place(batch, relu):
    layer = SparseLinear(20, 10, density=0.4, seed=0, relu=relu)
    x = torch.randn(batch, 20)
    y = layer(x)
    if relu:  # as behind nn.ReLU, whose outputs are kept for its gradient
        y += 1.0
        if batch in (4, 8, 16, 32, 64):
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                y.sum().backward()
        return
    y += 1.0
    torch.relu_(y).sum().backward()
    twin = copy.deepcopy(layer)
    twin.zero_grad()
    torch.relu(twin(x) + 1.0).sum().backward()
    assert torch.equal(layer.values.grad, twin.values.grad)


def test_inputs_can_be_named_as_those_of_a_dense_layer():
    layer, x = SparseLinear(20, 10, density=0.4, seed=0), torch.randn(3, 20)
    assert torch.equal(layer(input=x), layer(x))


@pytest.mark.parametrize("part", ["layer", "bias", "inputs"])
def test_layer_and_inputs_on_two_devices_are_refused(part):
    layer, x = SparseLinear(20, 10, density=0.4, seed=0), torch.randn(3, 20)
    if part == "layer":
        layer = SparseLinear(20, 10, density=0.4, seed=0, device="meta")
    elif part == "bias":
        layer.bias = nn.Parameter(layer.bias.detach().to("meta"))
    else:
        x = x.to("meta")
    with pytest.raises(ConfigError, match="on one device"):
        layer(x)


def test_links_that_move_between_forward_and_backward_are_noticed():
    layer, x = SparseLinear(20, 10, density=0.4, seed=0), torch.randn(3, 20)
    loss = layer(x).sum()
    layer.adopt(ER()((10, 20), layer.topology.n_links, 1), torch.randn(layer.topology.n_links))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_bias_changed_between_two_backward_passes_is_noticed():
    first, second = (SparseLinear(20, 20, density=0.4, seed=seed) for seed in (0, 1))
    net = SparseSequential(first, nn.ReLU(), second)
    loss = net(torch.randn(3, 20)).sum()
    loss.backward(retain_graph=True)
    with torch.no_grad():
        first.bias.add_(1.0)
    with pytest.raises(SignalError, match="Run forward again"):
        loss.backward()
