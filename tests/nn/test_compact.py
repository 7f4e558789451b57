from __future__ import annotations

import copy
import logging
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import random_topology
from torch import nn

from sparsecore.errors import ConfigError, ShapeError
from sparsecore.models import MLP
from sparsecore.nn import Constant, SelectFeatures, SparseLinear, SparseSequential, compact, sparse_layers, stored_bytes
from sparsecore.storage import Topology

ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Hardtanh,
    nn.Identity, nn.Dropout, partial(nn.ReLU, inplace=True), partial(nn.ELU, inplace=True),
)  # fmt: skip


def links(pairs, shape, *, bias=True, relu=False, dtype=torch.float64):
    """Return a layer whose links are pairs (output, input), with values that differ."""
    rows, cols = zip(*pairs, strict=True) if pairs else ((), ())
    topology = Topology.from_coo(np.array(rows, int), np.array(cols, int), shape=shape)
    layer = SparseLinear(shape[1], shape[0], bias, topology=topology, relu=relu, seed=0, dtype=dtype)
    if bias:
        nn.init.uniform_(layer.bias, -1, 1)
    return layer


def norm(n):
    module = nn.BatchNorm1d(n, dtype=torch.float64)
    for tensor in (module.weight, module.bias, module.running_mean):
        nn.init.uniform_(tensor, -1, 1)
    nn.init.uniform_(module.running_var, 0.5, 2)
    return module


@st.composite
def networks(draw):
    """Draw a sequence of sparse and dense layers with anything between them, some layers without links."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=2, max_size=5))
    torch.manual_seed(draw(st.integers(0, 999)))
    modules = []
    for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True):
        density = draw(st.sampled_from([0.0, 0.05, 0.15, 0.3, 0.6, 1.0]))
        if draw(st.integers(0, 5)):
            topology = random_topology(n_out, n_in, density, seed=draw(st.integers(0, 99)))
            layer = SparseLinear(
                n_in,
                n_out,
                draw(st.booleans()),
                topology=topology,
                relu=draw(st.booleans()),
                seed=0,
                dtype=torch.float64,
            )
        else:
            layer = nn.Linear(n_in, n_out, bias=draw(st.booleans()), dtype=torch.float64)
        if layer.bias is not None:
            nn.init.uniform_(layer.bias, -1, 1)
        modules.append(layer)
        for kind in draw(st.lists(st.sampled_from([*ACTIVATIONS, norm, nn.LayerNorm]), max_size=2)):
            sized = kind is norm or kind is nn.LayerNorm
            modules.append(kind(n_out).double() if sized else kind())
    return draw(st.sampled_from([nn.Sequential, SparseSequential]))(*modules), sizes


@settings(max_examples=300)
@given(drawn=networks(), dense_above=st.sampled_from([0.0, 0.3, 1.0]))
def test_the_outputs_stay(drawn, dense_above):
    net, sizes = drawn
    net.eval()
    x = torch.randn(5, sizes[0], dtype=torch.float64)
    small, report = compact(net, dense_above=dense_above)
    torch.testing.assert_close(small(x), net(x), rtol=1e-9, atol=1e-9)
    assert not any(p.requires_grad for p in small.parameters())
    assert report.links_after <= report.links_before
    again, twice = compact(small, dense_above=dense_above)
    assert (twice.neurons_removed, twice.inputs_dropped, twice.made_dense) == (0, 0, [])
    torch.testing.assert_close(again(x), net(x), rtol=1e-9, atol=1e-9)


@given(drawn=networks())
def test_no_hidden_neuron_is_left_that_signals_cannot_pass(drawn):
    net, _ = drawn
    small, _ = compact(net, dense_above=1.0)
    layers = [module for module in small if isinstance(module, SparseLinear | nn.Linear | nn.LayerNorm)]
    for below, above in zip(layers[:-1], layers[1:], strict=True):
        if isinstance(below, SparseLinear) and not isinstance(above, nn.LayerNorm):
            assert bool((below.topology.out_degrees > 0).all())
        if isinstance(above, SparseLinear) and not isinstance(below, nn.LayerNorm):
            assert bool((above.topology.in_degrees > 0).all())


def test_a_dead_end_takes_what_only_led_to_it():
    first = links([(0, 0), (1, 1), (2, 1)], (3, 2))
    second = links([(0, 0), (1, 1)], (3, 3))
    third = links([(0, 0)], (1, 3))
    net = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)
    small, report = compact(net, dense_above=1.0)
    assert [layer.topology.shape for layer in sparse_layers(small).values()] == [(1, 1), (1, 1), (1, 1)]
    assert (report.neurons_removed, report.inputs_dropped, report.constants_folded) == (4, 1, 0)
    x = torch.randn(6, 2, dtype=torch.float64)
    torch.testing.assert_close(small(x), net(x))


def test_a_neuron_without_inputs_still_speaks_through_the_next_bias():
    first = links([(0, 0)], (2, 1))
    second = links([(0, 0), (0, 1), (1, 1)], (2, 2), bias=False)
    net = nn.Sequential(first, nn.Sigmoid(), second)
    small, report = compact(net, dense_above=1.0)
    assert (report.neurons_removed, report.constants_folded) == (1, 1)
    bias = [module for module in small if isinstance(module, SparseLinear)][1].bias
    expected = second.values.detach()[1:] * torch.sigmoid(first.bias.detach()[1])
    torch.testing.assert_close(bias.detach(), expected)
    x = torch.randn(6, 1, dtype=torch.float64)
    torch.testing.assert_close(small(x), net(x))


def test_a_chain_that_no_signal_passes_becomes_its_constant():
    net = SparseSequential(links([(0, 0)], (3, 4)), nn.Tanh(), links([], (2, 3)), nn.ReLU(), links([(4, 1)], (5, 2)))
    small, report = compact(net)
    assert [type(module) for module in small] == [Constant]
    assert report.made_constant == ["0", "2", "4"]
    x = torch.randn(3, 7, 4, dtype=torch.float64)
    torch.testing.assert_close(small(x), net(x))
    with pytest.raises(ShapeError, match="Expected inputs with 4 features.*Got 3"):
        small(x[..., :3])


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU])
@pytest.mark.parametrize("pairs", [[], [(0, 0)]], ids=["all constant", "some constant"])
def test_activations_that_write_in_place_change_nothing(activation, pairs):
    first, second = links(pairs, (3, 4)), links([(0, 0), (1, 2)], (2, 3))
    nn.init.uniform_(first.bias, -1, -0.5)
    net = nn.Sequential(first, activation(inplace=True), second, activation(inplace=True))
    small, report = compact(net)
    assert report.constants_folded or report.made_constant
    x = torch.randn(6, 4, dtype=torch.float64)
    for _ in range(2):
        torch.testing.assert_close(small(x), net(x))
    assert all(net[at].inplace for at in (1, 3))


def test_a_norm_of_channels_ends_a_run():
    net = nn.Sequential(links([(0, 0)], (3, 4)), norm(5), nn.ReLU(), links([(0, 0), (1, 2)], (2, 3))).eval()
    small, report = compact(net)
    assert report.left_alone == ["1 (normalises axis 1, not the outputs of the layer before)"]
    assert (report.neurons_removed, report.inputs_dropped) == (0, 4)
    x = torch.randn(6, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(small(x), net(x))


def test_layers_that_are_dense_inside_become_dense():
    block = [(row, col) for row in range(3) for col in range(3)]
    net = SparseSequential(links(block, (100, 100)), nn.ReLU(), links([(9, 0), (9, 1), (9, 2)], (10, 100)))
    small, report = compact(net)
    assert [type(module) for module in small] == [SelectFeatures, nn.Linear, nn.ReLU, SparseLinear]
    assert (report.made_dense, report.inputs_dropped, report.neurons_removed) == (["0"], 97, 97)
    assert report.bytes_after < report.bytes_before
    x = torch.randn(4, 100, dtype=torch.float64)
    torch.testing.assert_close(small(x), net(x))
    with pytest.raises(ShapeError, match="Expected inputs with 100 features"):
        small(x[:, 1:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_field_mlp_keeps_its_scores_and_any_input_shape(dtype):
    model = MLP(784, (400, 400), 10, density=0.005, seed=0)
    for layer in (*sparse_layers(model).values(), model.head):
        nn.init.normal_(layer.bias, std=0.1)
    model = model.to(dtype)
    small, report = compact(model)
    x = torch.randn(30, 1, 28, 28, dtype=dtype)
    tolerance = {} if dtype == torch.float32 else {"rtol": 0.05, "atol": 0.05}
    with torch.no_grad():
        torch.testing.assert_close(small(x), model.eval()(x), **tolerance)
    assert report.neurons_removed > 50
    assert report.inputs_dropped > 50
    assert small[-1].in_features < 400
    assert small[-1].weight.dtype == dtype


def test_the_model_itself_is_not_changed():
    model = MLP(20, (30, 30), 4, density=0.05, seed=0).train()
    before = copy.deepcopy(model.state_dict())
    small, _ = compact(model)
    assert model.training
    assert not small.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


class Block(nn.Module):
    """A residual block: what it adds stands in a sequence, what it scales by does not."""

    def __init__(self):
        super().__init__()
        self.mlp = nn.Sequential(nn.LayerNorm(20), SparseLinear(20, 60, density=0.02, seed=1), nn.GELU())
        self.mlp.append(SparseLinear(60, 20, density=0.02, seed=2))
        self.gate = SparseLinear(20, 20, density=0.1, seed=3)
        nn.init.normal_(self.mlp[1].bias)

    def forward(self, x):
        return x + self.mlp(x) * torch.sigmoid(self.gate(x))


def test_sequences_inside_other_models_are_compacted_and_the_rest_is_left_alone(caplog):
    model = nn.ModuleDict({"a": Block(), "b": Block()})
    with caplog.at_level(logging.WARNING, "sparsecore.nn"):
        small, report = compact(model)
    x = torch.randn(2, 7, 20)
    for name in ("a", "b"):
        torch.testing.assert_close(small[name](x), model[name](x), rtol=1e-5, atol=1e-5)
    assert report.neurons_removed > 0
    assert len(report.left_alone) == 2
    assert "a.gate (stands outside a sequence of layers)" in report.left_alone
    assert len(caplog.records) == 1
    assert str(report).count("left alone") == 1


def test_layers_with_hooks_or_several_places_are_left_alone():
    hooked, shared = SparseLinear(20, 20, density=0.05, seed=0), SparseLinear(20, 20, density=0.05, seed=1)
    hooked.register_forward_hook(lambda module, args, output: output + 1)
    net = nn.Sequential(nn.Dropout(), hooked, nn.Sequential(nn.ReLU(), shared), nn.ReLU(), shared).eval()
    small, report = compact(net)
    x = torch.randn(3, 20)
    torch.testing.assert_close(small(x), net(x))
    assert report.neurons_removed == 0
    assert report.left_alone == ["1 (has hooks)", "2.1 (used in several places)"]
    assert compact(hooked)[1].left_alone == ["model (has hooks)"]


def test_modules_between_keep_their_hooks():
    net = nn.Sequential(SparseLinear(20, 20, density=0.05, seed=0), nn.Dropout(), SparseLinear(20, 20, density=0.05))
    net[1].register_forward_hook(lambda module, args, output: output + 1)
    net.eval()
    x = torch.randn(3, 20)
    torch.testing.assert_close(compact(net)[0](x), net(x))


def test_one_layer_alone_is_a_sequence_of_one():
    layer = links([(1, 0)], (3, 5))
    small, report = compact(layer)
    x = torch.randn(2, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(small(x), layer(x))
    assert report.inputs_dropped == 4


def test_a_model_without_sparse_layers_stays_as_it_is():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    small, report = compact(model)
    assert type(small) is nn.Sequential
    assert report.bytes_before == report.bytes_after == stored_bytes(model)


def test_compacting_draws_nothing_from_the_global_generator():
    model = MLP(20, (30, 30), 4, density=0.05, seed=0)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    compact(model)
    assert torch.equal(torch.rand(1), expected)


def test_a_bad_limit_is_refused():
    with pytest.raises(ConfigError, match=r"Expected dense_above in \[0, 1\]. Got 2"):
        compact(nn.Sequential(), dense_above=2)


def test_huge_layers_are_compacted_without_their_dense_form():
    net = SparseSequential(SparseLinear(1_000_000, 1_000_000, density=5e-8, seed=0), nn.ReLU())
    net.append(SparseLinear(1_000_000, 1_000_000, density=5e-8, seed=1))
    small, report = compact(net)
    x = torch.randn(1, 1_000_000)
    with torch.no_grad():
        torch.testing.assert_close(small(x), net(x), rtol=1e-5, atol=1e-5)
    assert report.neurons_removed > 900_000
    assert report.inputs_dropped > 900_000
