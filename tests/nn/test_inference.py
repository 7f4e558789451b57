"""A forward pass that no backward pass follows: no graph, nothing kept, room for one tile inside a chain."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from sparsecore import kernels
from sparsecore.models import MLP
from sparsecore.nn import SparseLinear, SparseSequential, compact


def network():
    return SparseSequential(
        SparseLinear(40, 90, density=0.1, seed=0), nn.ReLU(), SparseLinear(90, 70, density=0.1, seed=1), nn.ReLU(),
        SparseLinear(70, 20, density=0.1, seed=2),
    )  # fmt: skip


@pytest.fixture
def kept(monkeypatch):
    """Collect for every call of the kernels whether it kept something, and how many tensors."""
    backend = type(kernels.choose(torch.device("cpu")))
    real, calls = backend.forward, []

    def forward(self, x, layers, *, keep):
        result = real(self, x, layers, keep=keep)
        calls.append((keep, len(result[1])))
        return result

    monkeypatch.setattr(backend, "forward", forward)
    return calls


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_there_is_no_graph_and_nothing_is_kept(kept, mode):
    model = network().eval()
    trained = model(torch.randn(33, 40))
    assert trained.grad_fn is not None
    with mode():
        y = model(torch.randn(33, 40))
    assert y.grad_fn is None
    assert not y.requires_grad
    assert [keep for keep, _ in kept] == [True, False]
    assert kept[1] == (False, 0)


def test_a_model_without_trainable_parameters_keeps_nothing_either(kept):
    y = network().requires_grad_(False)(torch.randn(33, 40))
    assert (y.grad_fn, kept) == (None, [(False, 0)])
    small, _ = compact(network(), dense_above=1.0)
    assert small(torch.randn(33, 40)).grad_fn is None
    assert kept[1:] == [(False, 0)]


def test_a_gradient_of_the_inputs_alone_still_flows():
    model = network().requires_grad_(False)
    x = torch.randn(5, 40, requires_grad=True)
    model(x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("batch", [1, 2, 15, 16, 63, 65, 500, 3000])
def test_outputs_do_not_depend_on_gradients_or_on_the_batch(batch):
    model = network().double()
    x = torch.randn(batch, 40, dtype=torch.float64)
    with torch.no_grad():
        y = model(x)
        one_by_one = torch.cat([model(sample[None]) for sample in x[:20]])
    torch.testing.assert_close(y, model(x).detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(y[:20], one_by_one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(40,), (3, 40), (2, 7, 40), (2, 3, 4, 40), (0, 40), (2, 0, 40)])
def test_tokens_and_patches_keep_their_axes(shape):
    model = network().eval()
    for runs in (model, compact(model)[0]):
        with torch.inference_mode():
            assert runs(torch.randn(shape)).shape == (*shape[:-1], 20)


def test_evaluation_mode_is_deterministic_with_dropout_and_statistics():
    model = nn.Sequential(
        SparseLinear(20, 50, density=0.2, seed=0), nn.BatchNorm1d(50), nn.Dropout(0.5), SparseLinear(50, 5, density=0.2)
    )
    model(torch.randn(64, 20))
    model.eval()
    x = torch.randn(10, 20)
    with torch.no_grad():
        assert torch.equal(model(x), model(x))
        torch.testing.assert_close(model(x)[3:4], model(x[3:4]), rtol=1e-5, atol=1e-5)


def test_the_field_mlp_takes_images():
    model = MLP(784, (100,), 10, density=0.05, seed=0).eval()
    with torch.no_grad():
        assert model(torch.randn(3, 1, 28, 28)).shape == (3, 10)


MEMORY = """
import resource, sys
import torch
import sparsecore as sc
torch.set_num_threads(2)
WIDTH, DEPTH, BATCH = 2000, 12, 4000
sizes = [50, *[WIDTH] * DEPTH, 50]
layers = [sc.SparseLinear(a, b, density=0.002, relu=True, seed=i) for i, (a, b) in enumerate(zip(sizes, sizes[1:]))]
model = sc.SparseSequential(*layers).eval()
if sys.argv[1] == "frozen":
    model.requires_grad_(False)
x = torch.randn(BATCH, 50)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
with torch.set_grad_enabled(sys.argv[1] != "no_grad"):
    model(x[:128])
    before = peak()
    y = model(x)
rise = peak() - before
one_activation = BATCH * WIDTH * 4
assert rise < one_activation, (rise, one_activation)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts KiB on Linux")
@pytest.mark.parametrize("mode", ["frozen", "no_grad"])
def test_activations_inside_a_chain_take_less_room_than_one_of_them_for_all_samples(mode):
    done = subprocess.run([sys.executable, "-c", MEMORY, mode], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-1000:]
