"""The deterministic mode: the same bits on 1, 2, 3 and 4 threads, from one product to a run with evolution."""

from types import SimpleNamespace

import pytest
import torch

import sparsecore as sc
from sparsecore import kernels
from sparsecore.engine import Settings, Trainer
from sparsecore.engine.compiled import CompiledSteps
from sparsecore.kernels.cpu import launch as numba_launch
from sparsecore.models import MLP
from sparsecore.nn import SparseLinear, SparseSequential
from sparsecore.schedules import Constant

THREADS = (1, 2, 3, 4)


@pytest.fixture(autouse=True)
def small_work_is_shared(monkeypatch):
    for name in ("WORK_PER_THREAD", "WORK_PER_THREAD_OF_TILE", "WORK_PER_CHUNK"):
        monkeypatch.setattr(numba_launch, name, 200)
    yield
    kernels.set_num_threads(None)
    kernels.set_deterministic(False)


def on_every_number_of_threads(work):
    """Return what `work` gives on each number of threads; every list of tensors is that of a fresh start."""
    results = []
    for n in THREADS:
        kernels.set_num_threads(n)
        results.append([part.clone() for part in work()])
    return results


def alike(results):
    return all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def product(batch, dtype):
    layers = SparseLinear(23, 41, density=0.3, seed=0), torch.nn.ReLU(), SparseLinear(41, 17, density=0.3, seed=1)
    model = SparseSequential(*layers).to(dtype)
    x = torch.randn(batch, 23, generator=torch.Generator().manual_seed(batch), dtype=dtype, requires_grad=True)
    y = model(x)
    y.square().sum().backward()
    return [y.detach(), x.grad, *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [1, 2, 31, 64, 65, 100, 128, 129, 200, 511, 512, 640, 1000, 2049])
def test_products_and_gradients_have_the_same_bits(batch, dtype):
    with kernels.deterministic():
        assert alike(on_every_number_of_threads(lambda: product(batch, dtype)))


def test_without_the_mode_large_batches_differ_and_small_ones_do_not():
    assert alike(on_every_number_of_threads(lambda: product(64, torch.float32)))
    assert not alike(on_every_number_of_threads(lambda: product(2049, torch.float32)))


def task(seed=0, n=600):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, 20, generator=draw), torch.randint(5, (n,), generator=draw)


def network(seed=0):
    torch.manual_seed(seed)
    model = MLP(20, (40, 30), 5, density=0.3, seed=seed)
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-3)


@pytest.mark.parametrize("batch", [33, 100, 300, 600])
def test_compiled_steps_have_the_same_bits(batch):
    x, y = task()

    def work():
        model, optimizer = network()
        CompiledSteps.of(model, optimizer).run(x, y, torch.arange(600), batch, [0.1] * -(-600 // batch))
        return list(model.parameters())

    with kernels.deterministic():
        assert alike(on_every_number_of_threads(work))


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("method", ["chts", "set", "rigl", "chtss"])
def test_a_run_with_evolution_has_the_same_bits(method, compiled):
    x, y = task()
    data = SimpleNamespace(train_x=x.numpy(), train_y=y.numpy(), test_x=x.numpy(), test_y=y.numpy(), valid_x=None,
                           valid_y=None)  # fmt: skip
    links = []

    def work():
        model, optimizer = network()
        density = {"density": 0.2} if method == "chtss" else {}
        evolution = sc.methods.get(method, model=model, optimizer=optimizer, every=3, steps=36, seed=1, **density)
        settings = Settings(epochs=6, batch_size=150, compiled=compiled)
        trainer = Trainer(model, optimizer, data, settings, lr=Constant(0.05), evolution=evolution)
        trainer.run()
        links.append(evolution.topologies)
        losses = torch.tensor([record.train_loss for record in trainer.records])
        return [losses, *model.parameters(), *(optimizer.state[p]["momentum_buffer"] for p in model.parameters())]

    with kernels.deterministic():
        assert alike(on_every_number_of_threads(work))
    assert all(found == links[0] for found in links)


def test_the_mode_ends_with_its_block_also_after_an_error():
    with pytest.raises(RuntimeError), kernels.deterministic():
        assert kernels.is_deterministic()
        with kernels.deterministic(False):
            assert not kernels.is_deterministic()
        assert kernels.is_deterministic()
        raise RuntimeError
    assert not kernels.is_deterministic()
