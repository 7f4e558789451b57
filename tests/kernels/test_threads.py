import multiprocessing
import threading

import pytest
import torch
from strategies import random_topology

from sparsecore import kernels
from sparsecore.errors import ConfigError
from sparsecore.kernels.cpu import launch as numba_launch
from sparsecore.kernels.cpu.threads import run_parts
from sparsecore.ops import sparse_linear


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.setattr(numba_launch, "WORK_PER_THREAD", 1)
    kernels.set_num_threads(2)
    yield
    kernels.set_num_threads(None)


def product(seed=0):
    topology = random_topology(30, 40, 0.2)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(200, 40, generator=generator)
    return sparse_linear(x, torch.ones(topology.n_links), topology)


def test_an_error_in_any_part_reaches_the_caller():
    def fail():
        raise ZeroDivisionError

    for parts in ([fail, int], [int, fail], [fail]):
        with pytest.raises(ZeroDivisionError):
            run_parts(parts)
    run_parts([int, int])


def test_concurrent_callers_do_not_disturb_each_other(two_threads):
    expected = {seed: product(seed) for seed in range(4)}
    wrong = []

    def work(seed):
        for _ in range(50):
            if not torch.equal(product(seed), expected[seed]):
                wrong.append(seed)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in expected]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def _child(queue):
    queue.put(product().sum().item())


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_child_process_can_use_the_kernels(two_threads, method):
    expected = product().sum().item()
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue,))
    child.start()
    got = queue.get(timeout=60)
    child.join(timeout=60)
    assert child.exitcode == 0
    assert got == pytest.approx(expected, rel=1e-6)


def test_a_bad_number_of_threads_is_refused():
    with pytest.raises(ConfigError, match="Expected n to be an integer >= 1"):
        kernels.set_num_threads(0)
