"""Kernels in the workers of a data loader, in processes side by side, and under threads that train."""

import subprocess
import sys
import threading
import time

import pytest
import torch
from strategies import random_topology
from torch.utils.data import DataLoader, Dataset

from sparsecore import kernels
from sparsecore.kernels.cpu import launch as numba_launch
from sparsecore.nn import SparseLinear, SparseSequential
from sparsecore.ops import sparse_linear


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.setattr(numba_launch, "WORK_PER_THREAD", 1)
    kernels.set_num_threads(2)
    yield
    kernels.set_num_threads(None)


class Projected(Dataset):
    """Samples that a worker sends through a sparse layer before it hands them out."""

    def __init__(self):
        self.topology = random_topology(30, 40, 0.2)
        self.values = torch.ones(self.topology.n_links)

    def __len__(self):
        return 24

    def __getitem__(self, index):
        kernels.set_num_threads(2)
        x = torch.randn(200, 40, generator=torch.Generator().manual_seed(index))
        return sparse_linear(x, self.values, self.topology)


def network(seed=0):
    return SparseSequential(
        SparseLinear(30, 50, density=0.2, seed=seed), torch.nn.ReLU(), SparseLinear(50, 30, density=0.2, seed=seed + 1)
    )


def train(model, steps, seed=0):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(torch.randn(100, 30, generator=draw)) - 1).square().mean().backward()
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_workers_of_a_loader_use_the_kernels_while_the_parent_trains(two_threads, method):
    data, model = Projected(), network()
    expected = [data[index] for index in range(len(data))]
    train(model, 3)  # the parent's threads exist before the workers do
    loader = DataLoader(data, batch_size=None, num_workers=2, multiprocessing_context=method, timeout=120)
    for got, wanted in zip(loader, expected, strict=True):
        train(model, 1)
        torch.testing.assert_close(got, wanted)


def test_threads_that_train_do_not_disturb_each_other(two_threads):
    alone = [train(network(seed), 30, seed) for seed in range(4)]
    together = [None] * 4

    def work(seed):
        together[seed] = train(network(seed), 30, seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_threads_share_one_model_for_inference(two_threads):
    model = network().requires_grad_(False)
    inputs = [torch.randn(batch, 30) for batch in (1, 17, 64, 300)]
    expected = [model(x) for x in inputs]
    wrong = []

    def work(index):
        for _ in range(50):
            if not torch.equal(model(inputs[index]), expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index % 4,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


WORK = """
import time, torch
import sparsecore as sc
from sparsecore import kernels
kernels.set_num_threads(2)
layers = [sc.SparseLinear(1000, 1000, density=0.02, relu=True, seed=seed) for seed in (0, 1)]
model = sc.SparseSequential(*layers)
x = torch.randn(128, 1000)
model(x).sum().backward()
print("ready", flush=True)
input()
started = time.perf_counter()
for _ in range(60):
    model(x).sum().backward()
print(time.perf_counter() - started, flush=True)
"""


def seconds(n_processes):
    """Start processes, let them work at the same moment, and return what each took."""
    command = [sys.executable, "-c", WORK]
    pipe = subprocess.PIPE
    running = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(n_processes)]
    try:
        for process in running:
            assert process.stdout.readline() == "ready\n"
        for process in running:
            process.stdin.write("go\n")
            process.stdin.flush()
        return [float(process.stdout.readline()) for process in running]
    finally:
        for process in running:
            process.kill()
            process.communicate()


def test_two_processes_side_by_side_do_not_collapse():
    # Sharing the cores costs a factor of two; threads that spin or wait for each other cost hundreds.
    attempts = 3
    for attempt in range(attempts):
        alone = max(seconds(1))
        together = max(seconds(2))
        if together <= 10 * alone + 1.0:
            return
        time.sleep(1 + attempt)
    pytest.fail(f"one process took {alone:.2f} s, each of two {together:.2f} s")
