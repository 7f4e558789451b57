import pytest
import torch
from torch import nn

from sparsecore.errors import ConfigError
from sparsecore.generators import ER
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


def test_a_layer_used_twice_stays_one_layer():
    shared = nn.Linear(8, 8)
    model = sparsify(nn.ModuleDict({"a": shared, "b": shared, "head": nn.Linear(8, 2)}), density=0.5)
    assert model["a"] is model["b"]
    assert isinstance(model["a"], SparseLinear)


def test_a_model_on_the_meta_device_gets_links_and_never_dense_weights():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(200_000, 100_000), nn.ReLU(), nn.Linear(100_000, 10))
    sparsify(model, density=1e-6, seed=0)
    assert model[0].values.device.type == "cpu"
    assert model[0].topology.n_links == 20_000


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (network, {"density": 0}, r"density in \(0, 1\]"),
        (network, {"density": 0.1, "include": ["conv*"]}, "pattern that matches a module. Got 'conv"),
        (network, {"density": 0.1, "include": ["1"]}, "matches only ReLU"),
        (network, {"density": 0.1, "exclude": ["*"]}, "at least one linear layer"),
        (lambda: nn.Sequential(nn.Conv2d(1, 1, 3)), {"density": 0.1, "include": ["0"]}, "matches only Conv2d"),
        (lambda: nn.Sequential(SparseLinear(4, 4, density=0.5)), {"density": 0.1}, "sparse already"),
        (lambda: nn.Sequential(SparseLinear(4, 4, density=0.5)), {"density": 0.1, "include": ["0"]}, "sparse already"),
    ],
)
def test_bad_requests_say_what_to_do(model, options, message):
    with pytest.raises(ConfigError, match=message):
        sparsify(model(), **options)


def test_tied_weights_are_refused():
    model = nn.ModuleDict({"embed": nn.Embedding(30, 20), "proj": nn.Linear(20, 30), "head": nn.Linear(30, 2)})
    model["proj"].weight = model["embed"].weight
    with pytest.raises(ConfigError, match="whose weight another module shares"):
        sparsify(model, density=0.1)
