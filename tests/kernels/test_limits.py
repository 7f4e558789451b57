"""How wide, how sparse, how many samples, in which form: products and gradients at the edges of what is allowed."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from strategies import random_topology

import sparsecore as sc
import sparsecore.storage.topology as topology_module
from sparsecore import kernels
from sparsecore.evolution import CHTs
from sparsecore.io import load, save
from sparsecore.kernels import Layer
from sparsecore.kernels.cpu import launch as numba_launch
from sparsecore.nn import SparseLinear, SparseSequential, sparse_layers
from sparsecore.ops import sparse_chain, sparse_linear

WIDE = """
import resource, sys
import numpy as np, scipy.sparse, torch
import sparsecore as sc
from sparsecore.storage import Topology

n_in, n_out, batch, n_links = (int(number) for number in sys.argv[1:])
draw = np.random.default_rng(0)
# More neurons than 16 bits can name: the kernels that the measured layer will use.
warm = sc.SparseLinear(30, 70_000, density=0.001, seed=0)
for size in {batch, 1}:
    warm(torch.randn(size, 30)).sum().backward()

ids = np.unique(draw.integers(0, n_in * n_out, n_links))
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
layer = sc.SparseLinear(n_in, n_out, topology=Topology.from_ids(ids, (n_out, n_in)), seed=0)
torch.nn.init.normal_(layer.bias)
x = torch.randn(batch, n_in, generator=torch.Generator().manual_seed(1)).requires_grad_()
y = layer(x)
upstream = torch.cos(y.detach())
y.backward(upstream)
rise = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) * 1024

t = layer.topology
values = layer.values.detach().double().numpy()
weight = scipy.sparse.csc_array((values, t.rows, t.col_ptr), shape=t.shape)
def close(got, expected):
    torch.testing.assert_close(got.detach().double(), torch.from_numpy(np.asarray(expected)), rtol=1e-4, atol=1e-4)
inputs, above = x.detach().double().numpy(), upstream.double().numpy()
close(y, (weight @ inputs.T).T + layer.bias.detach().double().numpy())
# A narrow side adds up tens of thousands of terms, so the rounding goes by the size of all of them.
size = (abs(weight).T @ abs(above).T).T
assert (abs(x.grad.double().numpy() - (weight.T @ above.T).T) <= 1e-6 * size + 1e-4).all()
close(layer.bias.grad, above.sum(0))
close(layer.values.grad, (above[:, t.rows] * inputs[:, t.cols]).sum(0))

# Links: 8 bytes stored, 12 of derived order and copies of values and gradients, and the sorting of 8-byte keys.
allowed = 120 * len(ids) + 10 * 4 * batch * (n_in + n_out) + 60 * (n_in + n_out) + 64 * 2**20
assert rise <= allowed, (rise, allowed)
print("rise", rise // 2**20, "MiB of", allowed // 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts KiB on Linux")
@pytest.mark.parametrize(
    ("n_in", "n_out", "batch", "n_links"),
    [
        (10_000, 1_000_000, 3, 1_000_000),
        (1_000_000, 10_000, 3, 1_000_000),
        (1_000_000, 1_000_000, 1, 500_000),
        (7, 1_000_000, 5, 300_000),
    ],
    ids=["outputs", "inputs", "both", "flat"],
)
def test_a_million_neurons_on_a_side_are_right_in_bounded_memory(n_in, n_out, batch, n_links):
    command = [sys.executable, "-c", WIDE, *map(str, (n_in, n_out, batch, n_links))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]


def layers_of(sizes, density, dtype, seed=0):
    draw = torch.Generator().manual_seed(seed)
    layers = []
    for index, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        topology = random_topology(n_out, n_in, density, seed + index)
        scale = max(1.0, density * n_in) ** -0.5
        values = torch.randn(topology.n_links, generator=draw, dtype=torch.float64) * scale
        bias = torch.randn(n_out, generator=draw, dtype=torch.float64)
        layers.append(Layer(topology, values.to(dtype).requires_grad_(), bias.to(dtype).requires_grad_(), index == 0))
    return layers


def outputs_and_gradients(name, x, layers):
    """Return outputs and all gradients; the upstream gradient is fixed, so that backends see the same one."""
    x = x.detach().requires_grad_()
    with kernels.use(name):
        y = sparse_chain(x, layers)
        upstream = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).view(y.shape).to(y.dtype) / len(x)
        params = [x, *(part for layer in layers for part in (layer.values, layer.bias))]
        return [y.detach(), *torch.autograd.grad(y, params, upstream)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("density", [0.0001, 0.001, 0.01, 0.1, 0.5])
@pytest.mark.parametrize("batch", [1, 3, 17, 65, 1000])
def test_every_density_batch_and_dtype_matches_the_reference(dtype, density, batch):
    layers = layers_of((211, 150, 93), density, dtype)
    x = torch.randn(batch, 211, generator=torch.Generator().manual_seed(batch)).to(dtype)
    tolerance = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float64: 1e-10}[dtype]
    pairs = zip(outputs_and_gradients("numba", x, layers), outputs_and_gradients("reference", x, layers), strict=True)
    for got, expected in pairs:
        assert got.dtype == expected.dtype == dtype
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("batch", [2047, 4096, 5000])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_thousands_of_samples_match_the_reference(monkeypatch, batch, n_threads):
    monkeypatch.setattr(numba_launch, "WORK_PER_THREAD", 1000)
    layers = layers_of((61, 80, 33), 0.05, torch.float32)
    x = torch.randn(batch, 61, generator=torch.Generator().manual_seed(batch))
    kernels.set_num_threads(n_threads)
    try:
        got = outputs_and_gradients("numba", x, layers)
    finally:
        kernels.set_num_threads(None)
    for one, other in zip(got, outputs_and_gradients("reference", x, layers), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


LAYOUTS = {
    "one sample for all": lambda x: x[:1].expand(len(x), -1),
    "one feature for all": lambda x: x[:, :1].expand(-1, x.shape[1]),
    "every other feature": lambda x: torch.repeat_interleave(x, 2, 1)[:, ::2],
    "every other sample": lambda x: torch.repeat_interleave(x, 2, 0)[::2],
    "from the middle of a buffer": lambda x: torch.cat([x.new_zeros(1), x.reshape(-1)])[1:].view(x.shape),
    "features first": lambda x: x.t().contiguous().t(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", [1, 16, 37, 64])
def test_inputs_and_gradients_of_any_strides_match_the_reference(layout, batch):
    layers = layers_of((24, 31, 18), 0.3, torch.float32)
    x = LAYOUTS[layout](torch.randn(batch, 24))
    upstream = LAYOUTS[layout](torch.randn(batch, 18))
    params = [part for layer in layers for part in (layer.values, layer.bias)]
    found = []
    for name, source, above in (("numba", x, upstream), ("reference", x.contiguous(), upstream.contiguous())):
        source = source.detach().requires_grad_()
        with kernels.use(name):
            y = sparse_chain(source, layers)
            found.append([y.detach(), *torch.autograd.grad(y, [source, *params], above)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(24,), (1, 24), (3, 5, 24), (2, 3, 4, 24), (1, 1, 1, 1, 24), (0, 24), (4, 0, 24)])
def test_any_rank_gives_outputs_and_gradients_of_that_rank(shape):
    layers = layers_of((24, 31, 18), 0.3, torch.float64)
    x = torch.randn(shape, dtype=torch.float64).requires_grad_()
    y = sparse_chain(x, layers)
    (grad,) = torch.autograd.grad(y.square().sum(), x)
    flat = x.detach().reshape(-1, 24).requires_grad_()
    expected = sparse_chain(flat, layers)
    (flat_grad,) = torch.autograd.grad(expected.square().sum(), flat)
    assert y.shape == (*shape[:-1], 18)
    torch.testing.assert_close(y.reshape(-1, 18), expected)
    torch.testing.assert_close(grad.reshape(-1, 24), flat_grad)


def test_permuted_axes_of_tokens_match_the_reference():
    layers = layers_of((24, 31, 18), 0.3, torch.float64)
    x = torch.randn(24, 7, 5, dtype=torch.float64).permute(2, 1, 0)
    torch.testing.assert_close(sparse_chain(x, layers), sparse_chain(x.contiguous(), layers))


def cycle(folder):
    """Train, evolve, save and resume; return losses, links and values."""

    def build():
        model = SparseSequential(
            SparseLinear(30, 40, density=0.1, seed=0), torch.nn.ReLU(), SparseLinear(40, 20, density=0.1, seed=1)
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        return model, optimizer, CHTs(model, optimizer, every=2, steps=8, zeta=0.3, seed=3)

    def train(model, optimizer, evolution, steps):
        losses = []
        for step in steps:
            x = torch.randn(70, 30, generator=torch.Generator().manual_seed(step))
            loss = (model(x) - 1).square().mean()
            loss.backward()
            optimizer.step()
            evolution.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        return losses

    parts = build()
    losses = train(*parts, range(4))
    save(folder / "state.safetensors", {str(i): part.state_dict() for i, part in enumerate(parts)})
    parts = build()
    state = load(folder / "state.safetensors")
    for index, part in enumerate(parts):
        part.load_state_dict(state[str(index)])
    losses += train(*parts, range(4, 8))
    layers = sparse_layers(parts[0]).values()
    return losses, [layer.topology.link_ids.tolist() for layer in layers], [layer.values.tolist() for layer in layers]


def test_more_links_than_int32_can_count_train_evolve_and_resume_alike(tmp_path, monkeypatch):
    expected = cycle(tmp_path)
    monkeypatch.setattr(topology_module, "POSITION_LIMIT", 10)
    assert SparseLinear(30, 40, density=0.1, seed=0).topology.row_order.dtype == np.int64
    assert cycle(tmp_path) == expected


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 20, 64, 200])
def test_wide_positions_match_narrow_ones_in_chains_on_threads(monkeypatch, n_threads, batch):
    monkeypatch.setattr(numba_launch, "WORK_PER_THREAD", 1)
    x = torch.randn(batch, 24, dtype=torch.float64)
    kernels.set_num_threads(n_threads)
    try:
        narrow = outputs_and_gradients("numba", x, layers_of((24, 31, 18), 0.3, torch.float64))
        monkeypatch.setattr(topology_module, "POSITION_LIMIT", 5)
        wide_layers = layers_of((24, 31, 18), 0.3, torch.float64)
        wide = outputs_and_gradients("numba", x, wide_layers)
    finally:
        kernels.set_num_threads(None)
    assert all(layer.topology.row_order.dtype == np.int64 for layer in wide_layers)
    for one, other in zip(narrow, wide, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_link_ids_beyond_int32_find_their_links():
    n = 2_000_000
    topology = sc.Topology.from_coo([0, n - 1, n - 1], [n - 1, 0, n - 1], shape=(n, n))
    assert topology.link_ids.tolist() == [(n - 1) * n, n - 1, n * n - 1]
    assert topology.find(topology.link_ids).tolist() == [0, 1, 2]
    y = sparse_linear(torch.ones(1, n), torch.tensor([1.0, 2.0, 4.0]), topology)
    assert (y[0, 0].item(), y[0, -1].item(), y.sum().item()) == (2.0, 5.0, 7.0)
