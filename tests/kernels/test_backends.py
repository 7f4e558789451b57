"""One body over every backend: products and gradients against the dense computation."""

import numpy as np
import pytest
import torch
from strategies import random_topology

import sparsecore.storage.topology as topology_module
from sparsecore import kernels
from sparsecore.errors import UnknownNameError
from sparsecore.kernels import Layer
from sparsecore.kernels.cpu import launch as numba_launch
from sparsecore.kernels.cpu.plan import plan_batch
from sparsecore.ops import sparse_chain
from sparsecore.storage import Topology

pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
BACKENDS = kernels.available()


def dense_weight(layer):
    if layer.topology is None:
        return layer.values
    rows = torch.from_numpy(layer.topology.rows.astype(np.int64))
    cols = torch.from_numpy(layer.topology.cols.astype(np.int64))
    return layer.values.new_zeros(layer.topology.shape).index_put((rows, cols), layer.values)


def dense_chain(x, layers):
    for layer in layers:
        x = x @ dense_weight(layer).t()
        x = x if layer.bias is None else x + layer.bias
        x = torch.relu(x) if layer.relu else x
    return x


def make_chain(sizes, density, dtype, *, bias=True, last_relu=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for index, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        topology = random_topology(n_out, n_in, density, seed + index)
        values = torch.randn(topology.n_links, dtype=dtype, generator=generator).requires_grad_()
        offset = torch.randn(n_out, dtype=dtype, generator=generator).requires_grad_() if bias else None
        layers.append(Layer(topology, values, offset, index < len(sizes) - 2 or last_relu))
    return layers


def outputs_and_gradients(function, x, layers, *, input_grad=True):
    x = x.clone().requires_grad_(input_grad)
    y = function(x, layers)
    params = [p for layer in layers for p in (layer.values, layer.bias) if p is not None]
    upstream = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view(y.shape)
    grads = torch.autograd.grad(y, [*params, *([x] if input_grad else [])], upstream)
    return [y.detach(), *grads]


def assert_matches_dense(name, x, layers, **options):
    expected = outputs_and_gradients(dense_chain, x, layers, **options)
    with kernels.use(name):
        got = outputs_and_gradients(sparse_chain, x, layers, **options)
    for mine, other in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("batch", [*range(71), 128, 200])
def test_every_batch_size_matches_the_dense_chain(name, batch):
    layers = make_chain((7, 19, 5), 0.3, torch.float32)
    assert_matches_dense(name, torch.randn(batch, 7, generator=torch.Generator().manual_seed(batch)), layers)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("last_relu", [True, False])
@pytest.mark.parametrize("input_grad", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_variant_matches_the_dense_chain(name, bias, last_relu, input_grad, dtype):
    layers = make_chain((30, 41, 20, 6), 0.2, dtype, bias=bias, last_relu=last_relu)
    assert_matches_dense(name, torch.randn(33, 30, dtype=dtype), layers, input_grad=input_grad)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize(
    "topology",
    [
        Topology.from_ids([], (4, 3)),
        Topology.from_ids([5], (4, 3)),
        Topology.full((4, 3)),
        Topology.full((1, 1)),
        Topology.from_coo([2, 2, 2], [0, 1, 2], shape=(4, 3)),
        Topology.from_coo([0, 1, 2, 3], [1, 1, 1, 1], shape=(4, 3)),
        Topology.full((33, 17)),
    ],
    ids=["empty", "single", "full", "one", "one row", "one column", "wide"],
)
def test_extreme_topologies_match_the_dense_chain(name, topology):
    values = torch.arange(1.0, topology.n_links + 1).requires_grad_()
    layers = [Layer(topology, values, torch.ones(topology.n_out).requires_grad_(), False)]
    for batch in (1, 32):
        assert_matches_dense(name, torch.randn(batch, topology.n_in), layers)


@pytest.mark.parametrize("name", BACKENDS)
def test_gradcheck_in_float64(name):
    layers = make_chain((5, 6, 4), 0.4, torch.float64)
    x = torch.randn(3, 5, dtype=torch.float64).requires_grad_()
    params = [p for layer in layers for p in (layer.values, layer.bias)]

    def run(x, *params):
        pairs = zip(layers, params[::2], params[1::2], strict=True)
        return sparse_chain(x, [Layer(la.topology, v, b, la.relu) for la, v, b in pairs])

    with kernels.use(name):
        assert torch.autograd.gradcheck(run, (x, *params))


@pytest.mark.parametrize("layout", ["rows", "columns", "strided"])
@pytest.mark.parametrize("batch", [16, 20, 100])
def test_inputs_of_any_layout_give_the_same_result(layout, batch):
    layers = make_chain((24, 31, 8), 0.3, torch.float32)
    x = torch.randn(batch, 24)
    view = {"rows": x, "columns": x.t().contiguous().t(), "strided": torch.stack([x, x], 2)[:, :, 0]}[layout]
    assert_matches_dense("numba", view, layers)
    with torch.no_grad():
        assert torch.equal(sparse_chain(view, layers), sparse_chain(x, layers))


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("batch", [3, 16, 32, 40, 64, 200])
@pytest.mark.parametrize("head", [1, 3, 4, 10, 21])
def test_a_dense_layer_inside_a_chain_matches_the_dense_chain(name, batch, head):
    generator = torch.Generator().manual_seed(head)
    first, last = make_chain((30, 37, 9), 0.2, torch.float32, last_relu=True)
    middle = Layer(None, torch.randn(head, 37, generator=generator).requires_grad_(), None, True)
    final = Layer(None, torch.randn(5, 9, generator=generator).requires_grad_(), torch.randn(5).requires_grad_(), False)
    joint = random_topology(9, head, 0.5)
    last = Layer(joint, torch.randn(joint.n_links, generator=generator).requires_grad_(), last.bias, True)
    x = torch.randn(batch, 30, generator=generator)
    assert_matches_dense(name, x, [first, middle, last, final])
    assert_matches_dense(name, x, [first, middle, last, final], input_grad=False)
    with kernels.use(name), torch.no_grad():
        expected = dense_chain(x, [first, middle, last, final])
        torch.testing.assert_close(sparse_chain(x, [first, middle, last, final]), expected, rtol=2e-4, atol=2e-4)


def test_a_retained_graph_gives_the_same_gradients_again():
    layers = make_chain((30, 41, 20, 6), 0.2, torch.float32, last_relu=True)
    params = [p for layer in layers for p in (layer.values, layer.bias)]
    for x in (torch.randn(33, 30), torch.randn(30, 32).t()):
        loss = sparse_chain(x, layers).square().sum()
        once = torch.autograd.grad(loss, params, retain_graph=True)
        twice = torch.autograd.grad(loss, params)
        assert all(map(torch.equal, once, twice))


def test_narrow_and_wide_lists_give_the_same_result(monkeypatch):
    x = torch.randn(40, 30)
    narrow = outputs_and_gradients(sparse_chain, x, make_chain((30, 41, 20), 0.2, torch.float32))
    monkeypatch.setattr(topology_module, "NARROW_LIMIT", 100)
    layers = make_chain((30, 41, 20), 0.2, torch.float32)
    assert layers[0].topology.narrow is None
    for one, other in zip(narrow, outputs_and_gradients(sparse_chain, x, layers), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("batch", "width", "dtype", "lanes"),
    [
        (64, 20000, torch.float32, 64),
        (65, 4096, torch.float32, 64),
        (65, 4097, torch.float32, 32),
        (65, 4096, torch.float64, 32),
        (65, 12288, torch.float32, 32),
        (65, 12289, torch.float32, 16),
        (3, 20000, torch.float32, 4),
    ],
)
def test_tiles_are_as_wide_as_the_cache_allows(batch, width, dtype, lanes):
    assert plan_batch(batch, (10, width, 7), 2, dtype).lanes == lanes


@pytest.mark.parametrize("width", [5000, 13000])
def test_wide_layers_in_narrow_tiles(width):
    assert_matches_dense("numba", torch.randn(100, 40), make_chain((40, width, 30), 0.01, torch.float32))


@pytest.mark.parametrize(("batch", "lanes", "n_tiles"), [(32, 32, 1), (64, 64, 1), (128, 64, 2)])
def test_more_links_than_products_can_wait(batch, lanes, n_tiles):
    plan = plan_batch(batch, (700, 300), 1, torch.float32)
    assert (plan.lanes, plan.n_tiles) == (lanes, n_tiles)
    layers = make_chain((700, 300), 0.5, torch.float32)
    assert_matches_dense("numba", torch.randn(batch, 700) / 30, layers)


def test_launches_are_made_once_and_forgotten_with_their_links():
    before = len(numba_launch._launches)
    layers = make_chain((30, 41, 20), 0.2, torch.float32)
    x = torch.randn(32, 30)
    launch = numba_launch.launch_for(x, layers)
    assert numba_launch.launch_for(x, layers) is launch
    for batch in range(1, 3 * numba_launch.LAUNCHES_KEPT):
        numba_launch.launch_for(torch.randn(batch, 30), layers)
    known = numba_launch._launches[id(layers[0].topology)]
    assert len(known) <= numba_launch.LAUNCHES_KEPT
    del layers
    assert len(numba_launch._launches) == before


@pytest.mark.parametrize("n_threads", [2, 3, 7])
def test_threads_give_the_same_result(monkeypatch, n_threads):
    layers = make_chain((40, 60, 50), 0.1, torch.float64)
    x = torch.randn(300, 40, dtype=torch.float64)
    alone = outputs_and_gradients(sparse_chain, x, layers)
    monkeypatch.setattr(numba_launch, "WORK_PER_THREAD", 1)
    kernels.set_num_threads(n_threads)
    try:
        together = outputs_and_gradients(sparse_chain, x, layers)
        again = outputs_and_gradients(sparse_chain, x, layers)
    finally:
        kernels.set_num_threads(None)
    for one, many, repeat in zip(alone, together, again, strict=True):
        torch.testing.assert_close(one, many, rtol=1e-10, atol=1e-10)
        assert torch.equal(many, repeat)


def test_wide_indices_give_the_same_result(monkeypatch):
    x = torch.randn(8, 12)
    narrow = outputs_and_gradients(sparse_chain, x, make_chain((12, 9), 0.5, torch.float32))
    monkeypatch.setattr(topology_module, "POSITION_LIMIT", 3)
    monkeypatch.setattr(topology_module, "NARROW_LIMIT", 3)
    layers = make_chain((12, 9), 0.5, torch.float32)
    assert layers[0].topology.row_order.dtype == np.int64
    for one, other in zip(narrow, outputs_and_gradients(sparse_chain, x, layers), strict=True):
        assert torch.equal(one, other)


def test_uninitialised_memory_never_reaches_a_result(monkeypatch):
    real = torch.empty

    def poisoned(*args, **kwargs):
        tensor = real(*args, **kwargs)
        return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor

    monkeypatch.setattr(torch, "empty", poisoned)
    for batch in (1, 5, 16, 33, 100):
        assert_matches_dense("numba", torch.randn(batch, 9), make_chain((9, 21, 4), 0.3, torch.float32))


def test_nan_inputs_stay_in_their_sample():
    layers = make_chain((9, 21, 4), 0.5, torch.float32)
    x = torch.randn(20, 9)
    x[7] = float("nan")
    y = sparse_chain(x, layers)
    assert y[7].isnan().any()
    assert not y[torch.arange(20) != 7].isnan().any()


def test_an_unknown_backend_names_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'numba'"), kernels.use("numbs"):
        pass
