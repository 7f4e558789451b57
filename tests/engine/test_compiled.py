from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

import sparsecore as sc
from sparsecore.engine import Settings, Trainer
from sparsecore.engine.compiled import CompiledSteps
from sparsecore.errors import ConfigError, ShapeError
from sparsecore.models import MLP
from sparsecore.models.augment import CropFlip
from sparsecore.schedules import Constant


def problem(batch, n=100, seed=0, density=0.2):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(n, 20, generator=generator), torch.randint(5, (n,), generator=generator)
    order = torch.randperm(n, generator=generator)
    model = MLP(20, (40, 30), 5, density=density, seed=seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-3)
    rates = [0.1 - 0.001 * step for step in range(-(-n // batch))]
    return model, optimizer, x, y, order, rates


def plain(model, optimizer, x, y, order, batch, rates):
    total = 0.0
    for rate, chosen in zip(rates, order.split(batch), strict=True):
        optimizer.param_groups[0]["lr"] = rate
        loss = nn.functional.cross_entropy(model(x[chosen]), y[chosen])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        total += loss.item() * len(chosen)
    return total


@pytest.mark.parametrize("density", [0.2, 1.0])
@pytest.mark.parametrize("batch", [1, 7, 16, 32, 33, 64, 100])
def test_compiled_steps_equal_the_loop_over_autograd(batch, density):
    model, optimizer, x, y, order, rates = problem(batch, density=density)
    twin, twin_optimizer, *_ = problem(batch, density=density)
    for _ in range(2):
        expected = plain(model, optimizer, x, y, order, batch, rates)
        got = CompiledSteps.of(twin, twin_optimizer).run(x, y, order, batch, rates)
        assert got == pytest.approx(expected, rel=1e-4)
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
        buffers = optimizer.state[one]["momentum_buffer"], twin_optimizer.state[other]["momentum_buffer"]
        torch.testing.assert_close(*buffers, rtol=1e-3, atol=1e-4)


def test_both_ways_can_take_turns_with_evolution_between():
    results = []
    for compiled_first in (True, False):
        model, optimizer, x, y, order, rates = problem(32)
        evolution = sc.CHTs(model, optimizer, every=1, seed=4)
        steps = CompiledSteps.of(model, optimizer)
        for turn in range(4):
            if (turn % 2 == 0) == compiled_first:
                loss = steps.run(x, y, order, 32, rates)
            else:
                loss = plain(model, optimizer, x, y, order, 32, rates)
            if turn == 1:
                evolution.update()
        results.append(loss)
    assert results[0] == pytest.approx(results[1], rel=1e-3)


def test_models_of_another_form_are_left_to_autograd():
    model, optimizer, *_ = problem(32)
    assert CompiledSteps.of(model, optimizer) is not None

    class Changed(MLP):
        def forward(self, x):
            return super().forward(x) * 2

    changed = Changed(20, (40,), 5, density=0.2)
    dense = MLP(520, (520,), 5, density=1.0)
    sgd = torch.optim.SGD
    assert CompiledSteps.of(changed, sgd(changed.parameters(), lr=0.1, momentum=0.9)) is None
    assert CompiledSteps.of(dense, sgd(dense.parameters(), lr=0.1, momentum=0.9)) is None
    assert CompiledSteps.of(model, torch.optim.Adam(model.parameters())) is None
    assert CompiledSteps.of(model, sgd(model.parameters(), lr=0.1)) is None
    assert CompiledSteps.of(model, sgd(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)) is None
    assert CompiledSteps.of(model.double(), sgd(model.parameters(), lr=0.1, momentum=0.9)) is None
    assert CompiledSteps.of(nn.Linear(2, 2), optimizer) is None
    twice = MLP(20, (30, 30, 30), 5, density=0.2)
    twice.hidden[4] = twice.hidden[2]
    assert CompiledSteps.of(twice, sgd(twice.parameters(), lr=0.1, momentum=0.9)) is None


class Silent(sc.SparseLinear):
    def forward(self, input):
        return 0 * super().forward(input)


def watch_step(model, optimizer):
    optimizer.register_step_post_hook(lambda *_: None)


def watch_layer(model, optimizer):
    model.hidden[0].register_forward_hook(lambda *_: None)


def watch_gradient(model, optimizer):
    model.hidden[0].values.register_hook(torch.zeros_like)


def watch_accumulation(model, optimizer):
    model.hidden[0].values.register_post_accumulate_grad_hook(lambda _: None)


def freeze(model, optimizer):
    model.hidden[0].requires_grad_(False)


def override(model, optimizer):
    model.hidden[0].__class__ = Silent


@pytest.mark.parametrize("change", [watch_step, watch_layer, watch_gradient, watch_accumulation, freeze, override])
def test_what_is_watched_or_frozen_after_the_trainer_was_built_goes_through_autograd(change):
    found = []
    for compiled in (True, False):
        model, optimizer, x, y, *_ = problem(20, density=0.3)
        data = SimpleNamespace(train_x=x.numpy(), train_y=y.numpy(), test_x=x.numpy(), test_y=y.numpy(), valid_x=None,
                               valid_y=None)  # fmt: skip
        trainer = Trainer(
            model, optimizer, data, Settings(epochs=1, batch_size=20, compiled=compiled), lr=Constant(0.1)
        )
        change(model, optimizer)
        trainer.run()
        found.append(model.hidden[0].values.detach().clone())
    assert torch.equal(*found)


def test_hooks_of_all_optimizers_are_waited_for():
    model, optimizer, *_ = problem(20)
    handle = register_optimizer_step_post_hook(lambda *_: None)
    try:
        assert CompiledSteps.of(model, optimizer) is None
    finally:
        handle.remove()
    assert CompiledSteps.of(model, optimizer) is not None


@pytest.mark.parametrize("wrong", [-100, -1, 5, 2000])
def test_classes_that_the_head_does_not_have_are_refused(wrong):
    model, optimizer, x, y, order, rates = problem(20)
    y[7] = wrong
    before = {name: part.clone() for name, part in model.state_dict().items()}
    with pytest.raises(ConfigError, match="Expected classes from 0 to 4"):
        CompiledSteps.of(model, optimizer).run(x, y, order, 20, rates)
    assert all(torch.equal(part, before[name]) for name, part in model.state_dict().items())


def test_momentum_of_other_links_is_refused():
    model, optimizer, x, y, order, rates = problem(20)
    CompiledSteps.of(model, optimizer).run(x, y, order, 20, rates)
    model.load_state_dict(problem(20, density=0.9)[0].state_dict())
    with pytest.raises(ShapeError, match="new optimizer"):
        CompiledSteps.of(model, optimizer).run(x, y, order, 20, rates)


@pytest.mark.parametrize(
    ("method", "in_python"), [("set", 0), ("rigl", 5), ("mest", 5), ("snfs", 15), ("top_kast", 25)]
)
def test_only_steps_whose_gradients_the_rule_reads_go_through_autograd(method, in_python, monkeypatch):
    found, apply = [], MLP.forward
    for compiled in (True, False):
        model, optimizer, x, y, *_ = problem(20, density=0.3)
        data = SimpleNamespace(train_x=x.numpy(), train_y=y.numpy(), test_x=x.numpy(), test_y=y.numpy(), valid_x=None,
                               valid_y=None)  # fmt: skip
        options = {"window_steps": 3} if method == "snfs" else {}
        evolution = sc.methods.get(method, model=model, optimizer=optimizer, every=5, seed=1, **options)
        settings = Settings(epochs=5, batch_size=20, compiled=compiled)
        trainer = Trainer(model, optimizer, data, settings, lr=Constant(0.01), evolution=evolution)
        passes = []

        def forward(module, x, passes=passes):
            passes.append(module.training)
            return apply(module, x)

        monkeypatch.setattr(MLP, "forward", forward)
        trainer.run()
        monkeypatch.setattr(MLP, "forward", apply)
        found.append((passes.count(True), evolution.topologies, [record.train_loss for record in trainer.records]))
    (taken, links, losses), (all_steps, other_links, other_losses) = found
    assert (taken, all_steps) == (in_python, 25)
    assert links == other_links
    assert losses == pytest.approx(other_losses, rel=1e-4)


@pytest.mark.parametrize("method", ["set", "rigl"])
def test_augmented_samples_change_every_epoch_alike_on_both_ways_and_after_a_resume(method):
    def build(compiled):
        model, optimizer, x, y, *_ = problem(8, density=0.3)
        data = SimpleNamespace(train_x=x.numpy(), train_y=y.numpy(), test_x=x.numpy(), test_y=y.numpy(), valid_x=None,
                               valid_y=None)  # fmt: skip
        evolution = sc.methods.get(method, model=model, optimizer=optimizer, every=5, seed=1)
        settings = Settings(epochs=4, batch_size=8, compiled=compiled)
        augment = CropFlip((1, 4, 5), (0.0,), padding=1)
        return Trainer(model, optimizer, data, settings, lr=Constant(0.01), evolution=evolution, augment=augment)

    def losses(trainer):
        return [record.train_loss for record in trainer.records]

    whole, plain, begun, resumed = (build(compiled) for compiled in (True, False, True, True))
    whole.run()
    plain.run()
    assert losses(whole) == pytest.approx(losses(plain), rel=1e-4)
    begun.run(until=2)
    resumed.load_state_dict(begun.state_dict())
    resumed.run()
    assert losses(resumed) == losses(whole)
    unchanged = build(True)
    unchanged._augment = None
    unchanged.run()
    assert losses(unchanged) != losses(whole)


def test_counting_steps_ahead_stops_before_an_update():
    model, optimizer, *_ = problem(32)
    evolution = sc.SET(model, optimizer, every=5, steps=12)
    assert evolution.steps_to_update == 5
    evolution.advance(4)
    with pytest.raises(sc.errors.ConfigError, match="fewer than 1 steps"):
        evolution.advance(1)
    assert evolution.step()
    evolution.advance(4)
    assert evolution.step()
    assert evolution.steps_to_update is None
    evolution.advance(100)
