from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from sparsecore.errors import ConfigError, ShapeError, UnknownNameError
from sparsecore.generators import BSW, ER, allocate
from sparsecore.nn import SparseLinear, sparsify


def network():
    return nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 40, bias=False), nn.ReLU(), nn.Linear(40, 5))


def test_every_linear_layer_but_the_last_becomes_sparse():
    model = network()
    bias = model[0].bias.detach().clone()
    assert sparsify(model, density=0.1, seed=0) is model
    assert [type(m).__name__ for m in model] == ["SparseLinear", "ReLU", "SparseLinear", "ReLU", "Linear"]
    assert model[0].topology.n_links == 60
    assert model[2].bias is None
    assert torch.equal(model[0].bias, bias)
    assert model(torch.randn(3, 20)).shape == (3, 5)


def test_patterns_choose_the_layers():
    model = sparsify(
        nn.ModuleDict({"mlp": network(), "head": network()}), density=0.1, include=["mlp.*"], exclude=["*.4"]
    )
    assert [name for name, m in model.named_modules() if isinstance(m, SparseLinear)] == ["mlp.0", "mlp.2"]


def test_the_seed_decides_the_links():
    one, same, other = (sparsify(network(), density=0.1, topology=ER(), seed=s) for s in (1, 1, 2))
    assert one[0].topology == same[0].topology != other[0].topology
    assert torch.equal(one[0].values, same[0].values)


def test_a_density_for_each_pattern_says_which_layers_become_sparse():
    model = sparsify(network(), density={"0": 0.5, "[02]": 0.1}, seed=0)
    assert [type(m).__name__ for m in model if not isinstance(m, nn.ReLU)] == ["SparseLinear", "SparseLinear", "Linear"]
    assert (model[0].topology.n_links, model[2].topology.n_links) == (300, 120)


def test_an_allocation_shares_one_density_between_the_layers():
    model = sparsify(network(), density=0.1, allocation="erk", seed=0)
    assert [model[0].topology.n_links, model[2].topology.n_links] == allocate("erk", [(30, 20), (40, 30)], 0.1)


def test_a_layer_says_shape_and_dtype_of_the_matrix_that_it_does_not_have():
    layer = SparseLinear(4, 6, density=0.5, dtype=torch.bfloat16)
    weight = layer.weight
    assert (weight.shape, weight.dtype, weight.device.type) == ((6, 4), torch.bfloat16, "cpu")
    assert (weight.numel(), weight.ndim, len(weight), weight.size(0), weight.is_meta) == (24, 2, 6, 6, False)
    assert repr(weight) == "NoWeight((6, 4), torch.bfloat16)"


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("linear", lambda weight: nn.functional.linear(torch.ones(2, 4), weight)),
        ("matmul", lambda weight: torch.ones(2, 4) @ weight.T),
        ("sum", lambda weight: weight.square().sum()),
        ("uniform_", nn.init.xavier_uniform_),
        ("data", lambda weight: weight.data.normal_()),
        ("__get__", lambda weight: weight.data),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_computing_with_the_matrix_that_a_layer_does_not_have_is_refused(name, use):
    with pytest.raises(ConfigError, match="Expected a sparse layer to be called. Got .* its numbers are layer.values"):
        use(SparseLinear(4, 6, density=0.5).weight)


def test_classes_of_linear_layers_stay_dense_and_are_named(caplog):
    class Mine(nn.Linear):
        pass

    model = sparsify(nn.Sequential(Mine(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)), density=0.5)
    assert [type(layer) for layer in model] == [Mine, SparseLinear, nn.Linear]
    assert caplog.messages == ["left dense: 0. Only layers that are nn.Linear itself, no class of it, get links."]


def test_a_model_on_the_meta_device_gets_links_and_never_dense_weights():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(200_000, 100_000), nn.ReLU(), nn.Linear(100_000, 10))
    sparsify(model, density=1e-6, seed=0)
    assert model[0].values.device.type == "cpu"
    assert model[0].topology.n_links == 20_000


def test_what_stays_dense_on_the_meta_device_is_initialised_by_its_own_means():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(20, 30), nn.BatchNorm1d(30), nn.Linear(30, 5))
        model[2].bias = model[1].bias
    sparsify(model, density=0.1, seed=0)
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    assert model[1].running_var.eq(1).all()
    assert model[2].bias is model[1].bias
    assert model[2].weight.abs().max() <= 30**-0.5


class WithoutStart(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale, self.inner, self.head = nn.Parameter(torch.ones(3)), nn.Linear(4, 4), nn.Linear(4, 2)


def on_meta():
    with torch.device("meta"):
        return WithoutStart()


def twice():
    shared = nn.Linear(8, 8)
    return nn.ModuleDict({"a": shared, "b": shared, "head": nn.Linear(8, 2)})


def tied():
    model = nn.ModuleDict({"embed": nn.Embedding(30, 20), "proj": nn.Linear(20, 30), "head": nn.Linear(30, 2)})
    model["proj"].weight = model["embed"].weight
    return model


def convolutional():
    return nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 4, 3), flat=nn.Flatten(), fc=nn.Linear(4, 2)))


def partly_sparse():
    return sparsify(network(), density=0.1)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (network, {"density": 0}, r"density in \(0, 1\]"),
        (network, {"density": 1e-4}, "'0' at least one link"),
        (network, {"density": {"0": 0}}, r"density in \(0, 1\]"),
        (network, {"density": {"x*": 0.1}}, "pattern that matches a module. Got 'x"),
        (network, {"density": {"0": 0.1}, "include": ["*"]}, "Got none for '2'"),
        (network, {"density": {"0": 0.1}, "allocation": "erk"}, "one density to share"),
        (network, {"density": 0.1, "exclude": ["y*"]}, "Got 'y\\*' in exclude"),
        (twice, {"density": 0.5}, "Got one layer under the names a, b"),
        (partly_sparse, {"density": 0.1}, "sparse already, in 2 layers such as '0'"),
        (on_meta, {"density": 0.5}, r"initialise themselves. Got 'the model' \(WithoutStart\)"),
        (network, {"density": 0.1, "include": ["conv*"]}, "pattern that matches a module. Got 'conv"),
        (network, {"density": 0.1, "include": ["1"]}, "matches only ReLU"),
        (network, {"density": 0.1, "exclude": ["*"]}, "at least one linear layer"),
        (lambda: nn.Sequential(nn.Conv2d(1, 1, 3)), {"density": 0.1, "include": ["0"]}, "matches only Conv2d"),
        (lambda: nn.Sequential(SparseLinear(4, 4, density=0.5)), {"density": 0.1}, "sparse already"),
        (lambda: nn.Sequential(SparseLinear(4, 4, density=0.5)), {"density": 0.1, "include": ["0"]}, "sparse already"),
        (partly_sparse, {"density": {"[01]": 0.1}}, r"'\[01\]', whose layers are sparse already. Remove the pattern"),
        (network, {"density": 0.1, "include": "*"}, r"include to be a list of patterns. Got '\*'. Write \['\*'\]"),
        (network, {"density": 0.1, "exclude": "0"}, "exclude to be a list of patterns"),
        (lambda: nn.Linear(4, 4), {"density": 0.5}, "Got one layer. Build a SparseLinear"),
        (network, {"density": 1.5}, r"density in \(0, 1\]"),
        (network, {"density": float("nan")}, r"density in \(0, 1\]"),
        (network, {"density": {}}, "at least one linear layer"),
        (convolutional, {"density": 0.5, "include": ["conv*"]}, "matches only Conv2d"),
        (twice, {"density": 0.5, "include": ["[ab]"]}, "Give each place its own layer"),
        (tied, {"density": 0.5, "include": ["proj"]}, "Untie the weight or leave the layer out"),
    ],
)
def test_bad_requests_say_what_to_do(model, options, message):
    network = model()
    before = {name: type(module) for name, module in network.named_modules()}
    with pytest.raises(ConfigError, match=message):
        sparsify(network, **options)
    assert {name: type(module) for name, module in network.named_modules()} == before


def test_tied_weights_are_refused():
    with pytest.raises(ConfigError, match="whose weight another module shares"):
        sparsify(tied(), density=0.1)


def test_tied_and_repeated_layers_can_be_left_out():
    model = sparsify(twice(), density=0.5, include=["*"], exclude=["[ab]"])
    assert [type(model[name]).__name__ for name in ("a", "b", "head")] == ["Linear", "Linear", "SparseLinear"]
    model = sparsify(tied(), density=0.5, include=["*"], exclude=["proj"])
    assert model["proj"].weight is model["embed"].weight


def test_a_layer_that_a_generator_refuses_leaves_the_model_as_it_was():
    net = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))
    layers = list(net)
    with pytest.raises(ShapeError):
        sparsify(net, density=0.5, topology=ER()((16, 16), 128, 0))
    assert list(net) == layers
    assert isinstance(sparsify(net, density=0.5, topology="bsw:beta=0.5")[0], SparseLinear)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"topology": BSW}, r"such as sparsecore.generators.BSW\(beta=0.25\). Got <class"),
        ({"topology": "bsv"}, "Did you mean 'bsw'"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_wrong_generator_or_seed_is_named(options, message):
    with pytest.raises((ConfigError, UnknownNameError), match=message):
        sparsify(nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 2)), density=0.5, **options)


def test_what_was_frozen_stays_frozen():
    net = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 2))
    net[0].requires_grad_(False)
    sparsify(net, density=0.5)
    trained = {name: parameter.requires_grad for name, parameter in net.named_parameters()}
    assert {name for name, on in trained.items() if not on} == {"0.values", "0.bias"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda layer: prune.l1_unstructured(layer, "weight", 0.5), "comes from other tensors"),
        (nn.utils.spectral_norm, "comes from other tensors"),
        (lambda layer: layer.register_forward_hook(lambda *_: None), "hooks would be lost"),
    ],
)
def test_layers_with_computed_weights_or_hooks_are_refused(change, message):
    net = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
    change(net[0])
    with pytest.raises(ConfigError, match=message):
        sparsify(net, density=0.5)
