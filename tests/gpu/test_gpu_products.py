"""The CUDA products against dense ones, on the host and, with ``-m gpu``, on a GPU."""

import pickle

import numpy as np
import pytest
import torch
from gpu_runtimes import RUNTIMES, host_runtime, runtime_and_device
from strategies import random_topology

from sparsecore import kernels
from sparsecore.errors import ConfigError, DtypeError, ShapeError
from sparsecore.kernels import CudaBackend, Layer
from sparsecore.kernels.gpu.host import HostRuntime
from sparsecore.kernels.gpu.lists import lists_of, topology_of
from sparsecore.kernels.gpu.products import accumulator, gate_and_sum, sddmm, spmm, spmm_t
from sparsecore.ops import sparse_chain

TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float64: 1e-10}
# (n_out, n_in, batch, density): several tiles with ragged rows, no vectors, one sample, an empty layer, one hub.
CASES = [(6, 30, 1032, 0.4), (40, 50, 33, 0.2), (200, 70, 128, 0.3), (5, 7, 1, 0.5), (4, 3, 8, 0.0), (1, 200, 36, 1.0)]


class Problem:
    def __init__(self, case, dtype, device, seed=0):
        n_out, n_in, batch, density = case
        generator = torch.Generator().manual_seed(seed)
        self.topology = random_topology(n_out, n_in, density)
        self.lists = lists_of(self.topology, device)
        wide = accumulator(dtype)

        def draw(*shape, to=wide):
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(device, to)

        self.values, self.bias = draw(self.topology.n_links), draw(n_out)
        self.x, self.grad = draw(n_in, batch, to=dtype), draw(n_out, batch, to=dtype)
        self.at = [
            torch.from_numpy(part.astype(np.int64)).to(device) for part in (self.topology.rows, self.topology.cols)
        ]
        self.weight = torch.zeros(n_out, n_in, dtype=torch.float64, device=device)
        self.weight[self.at[0], self.at[1]] = self.values.double()
        self.tolerance = {"rtol": TOLERANCES[dtype], "atol": max(TOLERANCES[dtype], 1e-3)}


@pytest.fixture(params=RUNTIMES)
def place(request):
    return runtime_and_device(request.param)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("case", CASES)
def test_every_product_matches_the_dense_one(place, case, dtype):
    runtime, device = place
    p = Problem(case, dtype, device)
    x, grad = p.x.double(), p.grad.double()
    for tiled in (False, True):
        y = spmm(runtime, p.lists, p.values, p.x, p.bias, relu=True, tiled=tiled)
        torch.testing.assert_close(y.double(), (p.weight @ x + p.bias.double()[:, None]).relu(), **p.tolerance)
        plain = spmm(runtime, p.lists, p.values, p.x, tiled=tiled)
        torch.testing.assert_close(plain.double(), p.weight @ x, **p.tolerance)
        back = spmm_t(runtime, p.lists, p.values, p.grad, p.x, tiled=tiled)
        torch.testing.assert_close(back.double(), (p.weight.t() @ grad) * (x > 0), **p.tolerance)
    slopes = sddmm(runtime, p.lists, p.grad, p.x)
    torch.testing.assert_close(slopes.double(), (grad @ x.t())[p.at[0], p.at[1]], **p.tolerance)
    gated, sums = gate_and_sum(runtime, p.grad, -p.grad, sums=True)
    assert torch.equal(gated, torch.where(p.grad < 0, p.grad, 0.0))
    torch.testing.assert_close(sums.double(), gated.double().sum(1), **p.tolerance)


@pytest.mark.parametrize(
    "case", [(70, 130, 136, 0.3), (64, 64, 64, 0.05), (5, 200, 8, 0.5), (130, 3, 72, 0.2), (4, 3, 8, 0.0)]
)
def test_tensor_cores_give_the_gradient_of_every_link(place, case):
    runtime, device = place
    p = Problem(case, torch.bfloat16, device)
    expected = (p.grad.double() @ p.x.double().t())[p.at[0], p.at[1]]
    slopes = sddmm(runtime, p.lists, p.grad, p.x, tensor=True)
    torch.testing.assert_close(slopes.double(), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(slopes, sddmm(runtime, p.lists, p.grad, p.x, tensor=True))
    torch.testing.assert_close(slopes, sddmm(runtime, p.lists, p.grad, p.x, tensor=False), rtol=1e-4, atol=1e-4)


def test_a_fragment_in_the_wrong_place_is_noticed():
    class Swapped(HostRuntime):
        def text(self, file):
            return super().text(file).replace("k + pair + 8), a[m][3]", "k + pair), a[m][3]")

    p = Problem((64, 64, 64, 0.3), torch.bfloat16, torch.device("cpu"))
    wrong = sddmm(Swapped(), p.lists, p.grad, p.x, tensor=True)
    assert (wrong - sddmm(host_runtime(), p.lists, p.grad, p.x, tensor=True)).abs().max() > 1


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_tiles_and_rows_repeat_to_the_bit(place, dtype):
    runtime, device = place
    p = Problem(CASES[0], dtype, device)
    for tiled in (False, True):
        one, two = (spmm(runtime, p.lists, p.values, p.x, tiled=tiled) for _ in range(2))
        assert torch.equal(one, two)
    assert torch.equal(sddmm(runtime, p.lists, p.grad, p.x), sddmm(runtime, p.lists, p.grad, p.x))


def test_results_do_not_depend_on_the_order_in_which_threads_run():
    p = Problem(CASES[0], torch.float32, torch.device("cpu"))
    results = []
    for backwards in (False, True):
        runtime = host_runtime(backwards=backwards)
        y = [spmm(runtime, p.lists, p.values, p.x, p.bias, tiled=tiled) for tiled in (False, True)]
        results.append([*y, sddmm(runtime, p.lists, p.grad, p.x), *gate_and_sum(runtime, p.grad, p.grad, sums=True)])
    assert all(map(torch.equal, *results))


@pytest.mark.parametrize("shared_bytes", [10 * 1024, 40 * 1024])
def test_tiles_of_any_height_give_the_same_result(shared_bytes):
    p = Problem((70, 90, 128, 0.5), torch.float32, torch.device("cpu"))
    runtime = host_runtime(shared_bytes=shared_bytes)
    y = spmm(runtime, p.lists, p.values, p.x, tiled=True)
    torch.testing.assert_close(y.double(), p.weight @ p.x.double(), **p.tolerance)


def test_bfloat16_activations_stay_bfloat16_through_a_chain(place):
    runtime, device = place
    sizes, layers = (20, 33, 16, 5), []
    for index, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        topology = random_topology(n_out, n_in, 0.4, index)
        values = torch.randn(topology.n_links, device=device) / 3
        layers.append(Layer(topology, values, torch.randn(n_out, device=device), index < 2))
    x = torch.randn(48, 20, device=device)
    backend = CudaBackend(runtime)
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        y, saved, notes = backend.forward(x.to(dtype), layers, keep=True)
        grad, pairs = backend.backward(torch.ones_like(y), layers, saved, notes, input_grad=True)
        assert {part.dtype for part in (y, grad, *saved)} == {dtype}
        assert all(part.dtype == torch.float32 for pair in pairs for part in pair)
        results.append([y, *(part for pair in pairs for part in pair)])
    for exact, rounded in zip(*results, strict=True):
        assert (exact - rounded.float()).norm() <= 0.05 * exact.norm()


@pytest.mark.parametrize("autocast", [False, True])
def test_training_in_bfloat16_keeps_activations_of_16_bits(place, autocast):
    runtime, device = place
    kernels.register_backend(CudaBackend(runtime, "under test"))
    topology = random_topology(40, 30, 0.3)
    values = (torch.randn(topology.n_links, device=device) / 3).requires_grad_()
    x = torch.randn(48, 30, device=device, dtype=torch.float32 if autocast else torch.bfloat16, requires_grad=True)
    kept = []
    with (
        kernels.use("under test"),
        torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t),
    ):
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            y = sparse_chain(x, [Layer(topology, values, None, True)])
        y.float().square().sum().backward()
    assert (y.dtype, x.grad.dtype, values.grad.dtype) == (torch.bfloat16, x.dtype, torch.float32)
    assert {t.dtype for t in kept if t.numel() in (48 * 30, 48 * 40) and t.shape != y.shape} <= {torch.bfloat16}
    exact, grads = x.detach().float().requires_grad_(), [x.grad.float(), values.grad]
    with kernels.use("reference"):
        expected = sparse_chain(exact, [Layer(topology, values, None, True)])
        wanted = torch.autograd.grad(expected.square().sum(), (exact, values))
    for got, right in zip([y.float(), *grads], [expected, *wanted], strict=True):
        assert (got - right).norm() <= 0.03 * right.norm()


@pytest.mark.parametrize("batch", [1, 31, 64, 100])
def test_autograd_through_a_chain_with_a_dense_head_matches_the_reference(place, batch):
    runtime, device = place
    kernels.register_backend(CudaBackend(runtime, "under test"))
    generator = torch.Generator().manual_seed(batch)

    def leaf(*shape):
        return torch.randn(*shape, generator=generator).to(device).requires_grad_()

    layers = []
    for index, (n_in, n_out) in enumerate(((20, 33), (33, 16))):
        topology = random_topology(n_out, n_in, 0.3, index)
        layers.append(Layer(topology, leaf(topology.n_links), leaf(n_out), True))
    layers.append(Layer(None, leaf(5, 16), leaf(5), False))
    x = leaf(batch, 20)
    leaves = [x, *(part for layer in layers for part in (layer.values, layer.bias))]
    results = []
    for name in ("under test", "reference"):
        with kernels.use(name):
            y = sparse_chain(x, layers)
            results.append([y, *torch.autograd.grad(y.square().sum(), leaves)])
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3)


def test_nan_passes_the_rectifier(place):
    runtime, device = place
    p = Problem((4, 3, 8, 0.0), torch.float32, device)
    bias = torch.tensor([float("nan"), -1.0, 1.0, 0.0], device=device)
    y = spmm(runtime, p.lists, p.values, p.x, bias, relu=True)[:, 0]
    assert y[0].isnan()
    assert y[1:].tolist() == [0.0, 1.0, 0.0]


def test_bfloat16_rounds_as_torch_does(place):
    runtime, device = place
    values = torch.tensor([1.0, 1.00390625, 1.01171875, 3.4e38, 1e-40, -2.5, float("inf"), float("nan")], device=device)
    empty = lists_of(random_topology(8, 2, 0.0), device)
    x = torch.zeros(2, 4, dtype=torch.bfloat16, device=device)
    y = spmm(runtime, empty, values[:0], x, values)
    torch.testing.assert_close(y[:, 0], values.to(torch.bfloat16), rtol=0, atol=0, equal_nan=True)


def test_lists_of_a_device_are_those_of_the_host():
    topology = random_topology(13, 17, 0.3)
    lists = lists_of(topology, torch.device("cpu"))
    assert lists_of(topology, torch.device("cpu")) is lists
    for name in ("col_ptr", "rows", "cols", "keys", "row_ptr", "row_cols", "row_order", "out_degrees", "in_degrees"):
        assert np.array_equal(getattr(lists, name).numpy(), getattr(topology, name)), name
    back = topology_of(lists)
    assert back.n_links == topology.n_links
    assert back.density == topology.density
    assert (back.nbytes, "rows" in back.__dict__) == (0, False)
    assert pickle.loads(pickle.dumps(back)) == back == topology
    assert back.digest == topology.digest


def test_wrong_arguments_are_refused_on_the_host():
    runtime = host_runtime()
    rows = torch.zeros(3)
    with pytest.raises(ShapeError, match="arguments of gate_and_sum_f32"):
        runtime.launch("products", "gate_and_sum_f32", (1, 1), 32, 1)
    with pytest.raises(DtypeError, match="Got torch.float64"):
        runtime.launch("products", "gate_and_sum_f32", (1, 1), 32, 1, 3, rows.double(), None, rows, None)
    with pytest.raises(DtypeError, match="strided"):
        runtime.launch("products", "gate_and_sum_f32", (1, 1), 32, 1, 3, torch.zeros(6)[::2], None, rows, None)
    with pytest.raises(DtypeError, match="Expected i64"):
        runtime.launch("products", "gate_and_sum_f32", (1, 1), 32, 1.0, 3, rows, None, rows, None)


class Changed(HostRuntime):
    """The sources with one piece of text replaced."""

    def __init__(self, old, new, **options):
        super().__init__(**options)
        self.old, self.new = old, new

    def text(self, file):
        text = super().text(file)
        assert self.old in text
        return text.replace(self.old, self.new)


BARRIERS = {
    "__syncthreads();  // the tile before is no longer read": "",
    "            __syncthreads();\n#pragma": "#pragma",
    "acc[r]);\n                    __syncwarp();": "acc[r]);",
}


@pytest.mark.parametrize("barrier", BARRIERS, ids=["before a tile", "after a tile", "after adding"])
def test_a_missing_barrier_does_not_pass_on_the_host(barrier):
    host_runtime()
    p = Problem(CASES[0], torch.float32, torch.device("cpu"))
    wrong = 0
    for backwards in (False, True):
        runtime = Changed(barrier, BARRIERS[barrier], backwards=backwards)
        y = spmm(runtime, p.lists, p.values, p.x, tiled=True)
        wrong += not torch.allclose(y.double(), p.weight @ p.x.double(), **p.tolerance)
    assert wrong


def test_a_warp_exchange_that_lanes_miss_is_noticed():
    host_runtime()
    runtime = Changed("acc = warp_sum(acc);", "if (threadIdx.x % 2) acc = warp_sum(acc);")
    with pytest.raises(ConfigError, match="not all lanes"):
        gate_and_sum(runtime, torch.zeros(3, 4), None, sums=True)


def test_a_barrier_that_threads_miss_is_noticed():
    host_runtime()
    runtime = Changed("acc = warp_sum(acc);", "if (threadIdx.x >= 32) __syncthreads(); else acc = warp_sum(acc);")
    with pytest.raises(ConfigError, match="not all threads"):
        gate_and_sum(runtime, torch.zeros(300, 4), None, sums=True)
