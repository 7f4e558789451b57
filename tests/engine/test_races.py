"""Threads: one evaluates while another trains and updates links; models that train side by side."""

import threading
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import sparsecore as sc
from sparsecore.engine import Settings, Trainer
from sparsecore.models import MLP
from sparsecore.schedules import Constant


def task(seed=0, n=60):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, 12, generator=draw), torch.randint(3, (n,), generator=draw)


#: Heads draw from torch's one generator, so models are built one at a time.
BUILDING = threading.Lock()


def parts(method="chtss", seed=0):
    with BUILDING:
        torch.manual_seed(seed)
        model = MLP(12, (30, 24), 3, density=0.5, seed=seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    falling = {"density": 0.1} if method == "chtss" else {}
    evolution = sc.methods.get(method, model=model, optimizer=optimizer, every=2, steps=300, seed=seed, **falling)
    return model, optimizer, evolution


def train(model, optimizer, evolution, steps=300):
    x, y = task()
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        evolution.step()
    return [p.detach().clone() for p in model.parameters()]


def run_threads(*works):
    errors = []

    def guarded(work):
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("method", ["chtss", "chts", "rigl"])
def test_a_thread_may_evaluate_while_another_trains_and_updates_links(method):
    expected = train(*parts(method))
    model, optimizer, evolution = parts(method)
    found, passes, done = [], [0], threading.Event()

    def training():
        try:
            found.extend(train(model, optimizer, evolution))
        finally:
            done.set()

    def evaluation():
        x, _ = task(1, 40)
        while not done.is_set():
            with evolution.hold(), torch.no_grad():
                assert model(x).isfinite().all()
                assert all(la.values.numel() == la.topology.n_links for la in sc.sparse_layers(model).values())
            passes[0] += 1

    run_threads(training, evaluation)
    assert passes[0] > 0
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_an_update_waits_for_those_who_hold_it():
    model, optimizer, evolution = parts("set")
    train(model, optimizer, evolution, steps=1)
    links, updated = evolution.topologies, threading.Event()
    thread = threading.Thread(target=lambda: (evolution.update(), updated.set()))
    with evolution.hold(), evolution.hold():
        thread.start()
        assert not updated.wait(0.2)
        assert evolution.topologies == links
    thread.join()
    assert updated.is_set()
    assert evolution.topologies != links


@pytest.mark.parametrize("compiled", [True, False])
def test_two_models_trained_in_two_threads_give_the_bits_of_each_alone(compiled):
    def trained(seed):
        x, y = task(seed, 600)
        data = SimpleNamespace(train_x=x.numpy(), train_y=y.numpy(), test_x=x.numpy(), test_y=y.numpy(), valid_x=None,
                               valid_y=None)  # fmt: skip
        model, optimizer, evolution = parts("chts", seed)
        settings = Settings(epochs=8, batch_size=100, seed=seed, compiled=compiled)
        Trainer(model, optimizer, data, settings, lr=Constant(0.05), evolution=evolution).run()
        return [
            *(p.detach() for p in model.parameters()),
            *(torch.from_numpy(t.rows.copy()) for t in evolution.topologies),
        ]

    def keep(seed):
        kept[seed] = trained(seed)

    kept, alone = {}, [trained(seed) for seed in (0, 1)]
    run_threads(lambda: keep(0), lambda: keep(1))
    for seed in (0, 1):
        assert all(torch.equal(a, b) for a, b in zip(alone[seed], kept[seed], strict=True))
