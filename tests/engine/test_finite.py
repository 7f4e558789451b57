"""Losses, gradients and values that are not finite: raise, skip and clip, in a plain loop, a trainer and an update."""

import logging
import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import sparsecore as sc
from sparsecore.engine import POLICIES, FiniteSteps, Settings, Trainer
from sparsecore.errors import ConfigError, NonFiniteError
from sparsecore.models import MLP
from sparsecore.schedules import Constant

BAD = (math.nan, math.inf, -math.inf)


def network(seed=0):
    torch.manual_seed(seed)
    model = MLP(12, (20, 16), 3, density=0.3, seed=seed)
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def snapshot(model, optimizer):
    buffers = [entry.clone() for state in optimizer.state.values() for entry in state.values()]
    return [p.detach().clone() for p in model.parameters()] + buffers


def equal(one, other):
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def backward(model, seed=0):
    x = torch.randn(8, 12, generator=torch.Generator().manual_seed(seed))
    loss = model(x).square().mean()
    loss.backward()
    return loss


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("place", [0, 3, -1])
def test_raise_and_skip_leave_values_and_optimizer_state_as_they_were(bad, place):
    model, optimizer = network()
    backward(model)
    optimizer.step()
    before = snapshot(model, optimizer)
    loss = backward(model)
    list(model.parameters())[place].grad.view(-1)[1] = bad
    with pytest.raises(NonFiniteError, match="no step was taken"):
        FiniteSteps(optimizer).step(loss)
    assert equal(snapshot(model, optimizer), before)
    steps = FiniteSteps(optimizer, "skip")
    assert not steps.step(loss)
    assert equal(snapshot(model, optimizer), before)
    assert (steps.skipped, steps.clipped) == (1, 0)


@pytest.mark.parametrize("loss", [math.nan, torch.tensor(math.inf)])
def test_a_loss_alone_is_reason_enough(loss):
    model, optimizer = network()
    backward(model)
    with pytest.raises(NonFiniteError, match="the loss"):
        FiniteSteps(optimizer).step(loss)
    assert not FiniteSteps(optimizer, "skip").step(loss)


def test_clip_steps_on_what_is_finite():
    weight = nn.Parameter(torch.zeros(5))
    steps = FiniteSteps(torch.optim.SGD([weight], lr=1.0), "clip")
    weight.grad = torch.tensor([1.0, math.nan, math.inf, -math.inf, -3.0])
    assert steps.step(1.0)
    assert weight.tolist() == [-1.0, 0.0, -3.0, 3.0, 3.0]
    weight.grad = torch.full((5,), math.nan)
    assert steps.step(math.nan)
    assert weight.tolist() == [-1.0, 0.0, -3.0, 3.0, 3.0]
    assert steps.clipped == 2


@pytest.mark.parametrize("policy", POLICIES)
def test_finite_steps_are_those_of_the_optimizer(policy):
    model, optimizer = network()
    twin, twin_optimizer = network()
    steps = FiniteSteps(optimizer, policy)
    for seed in range(5):
        assert steps.step(backward(model, seed))
        backward(twin, seed)
        twin_optimizer.step()
    assert equal(snapshot(model, optimizer), snapshot(twin, twin_optimizer))
    assert (steps.skipped, steps.clipped) == (0, 0)


def test_huge_finite_gradients_whose_sum_overflows_are_finite():
    weight = nn.Parameter(torch.zeros(4))
    weight.grad = torch.full((4,), 3e38)
    assert FiniteSteps(torch.optim.SGD([weight], lr=1e-38)).step(1.0)


@pytest.mark.parametrize("policy", POLICIES)
def test_values_that_are_spoiled_are_beyond_every_policy(policy):
    model, optimizer = network()
    with torch.no_grad():
        model.head.weight[0, 0] = math.nan
    with pytest.raises(NonFiniteError, match="Expected finite values.*last checkpoint"):
        FiniteSteps(optimizer, policy).step(backward(model))


def test_the_log_says_so_but_not_every_time(caplog):
    steps = FiniteSteps(network()[1], "skip")
    with caplog.at_level(logging.WARNING, "sparsecore.engine"):
        for _ in range(9):
            steps.step(math.nan)
    assert [record.args[1] for record in caplog.records] == [1, 2, 4, 8]
    assert "left out a step: NaN or infinity in the loss (8 so far)" in caplog.text


def test_parameters_are_named_where_the_optimizer_knows_their_names():
    model, _ = network()
    optimizer = torch.optim.SGD(model.named_parameters(), lr=0.1)
    loss = backward(model)
    model.head.weight.grad[0] = math.nan
    with pytest.raises(NonFiniteError, match=r"gradient of head\.weight"):
        FiniteSteps(optimizer).step(loss)


def test_an_unknown_policy_is_refused():
    with pytest.raises(ConfigError, match="raise, skip, clip. Got 'ignore'"):
        Settings(non_finite="ignore")
    with pytest.raises(ConfigError, match="Expected a policy"):
        FiniteSteps(network()[1], "Raise")


METHODS = ("set", "rigl", "chts", "snfs", "mest", "gmp", "deepr")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bad", BAD)
def test_an_update_refuses_values_that_are_not_finite_and_changes_nothing(method, bad):
    model, optimizer = network()
    density = {"density": 0.1} if method == "gmp" else {}
    evolution = sc.methods.get(method, model=model, optimizer=optimizer, every=2, steps=10, **density)
    backward(model)
    optimizer.step()
    evolution.step()
    optimizer.zero_grad()
    backward(model)
    optimizer.step()
    list(sc.sparse_layers(model).values())[1].values.data[7] = bad
    links, numbers, report = evolution.topologies, snapshot(model, optimizer), evolution.report()
    with pytest.raises(NonFiniteError, match="Expected finite values of 'hidden.2'.*as they were"):
        evolution.update()
    assert evolution.topologies == links
    assert all(
        torch.equal(a, b) or bool((a != a).any()) for a, b in zip(snapshot(model, optimizer), numbers, strict=True)
    )
    assert evolution.report() == report


@pytest.mark.parametrize("what", ["gradient", "input"])
def test_an_update_refuses_gradients_and_inputs_that_its_rule_reads(what):
    model, optimizer = network()
    kind = sc.MEST if what == "gradient" else sc.RigL
    evolution = kind(model, optimizer, every=1, steps=10)
    x = torch.randn(8, 12)
    if what == "input":
        x[0, 0] = math.nan
    model(x).sum().backward()
    if what == "gradient":
        next(iter(sc.sparse_layers(model).values())).values.grad[0] = math.nan
    links = evolution.topologies
    with pytest.raises(NonFiniteError):
        evolution.step()
    assert evolution.topologies == links


def task(bad_samples=(), n=120):
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(n, 12, generator=draw), torch.arange(n) % 3
    x += 2 * y[:, None]
    clean = x.clone()
    for at in bad_samples:
        x[at, 0] = math.nan
    x, y, clean = x.numpy(), y.numpy(), clean.numpy()
    return SimpleNamespace(train_x=x, train_y=y, test_x=clean, test_y=y, valid_x=None, valid_y=None)


def trainer(data, *, method="set", lr=0.05, **settings):
    model, optimizer = network()
    evolution = sc.methods.get(method, model=model, optimizer=optimizer, every=4, steps=100)
    chosen = Settings(epochs=4, batch_size=20, **settings)
    return Trainer(model, optimizer, data, chosen, lr=Constant(lr), evolution=evolution)


@pytest.mark.parametrize("compiled", [True, False])
def test_by_default_a_trainer_raises_before_anything_is_recorded(compiled):
    run = trainer(task([5]), compiled=compiled)
    links = run.evolution.topologies
    with pytest.raises(NonFiniteError, match="Expected a finite loss"):
        run.run()
    assert run.records == []
    assert run.evolution.topologies == links
    if compiled:  # steps that went wrong in one call are undone as a whole
        assert all(bool(torch.isfinite(p).all()) for p in run.model.parameters())


@pytest.mark.parametrize("method", ["set", "rigl", "mest"])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("policy", ["skip", "clip"])
def test_a_trainer_gets_past_a_few_spoiled_samples(policy, compiled, method, caplog):
    run = trainer(task([5, 77]), method=method, compiled=compiled, non_finite=policy)
    with caplog.at_level(logging.WARNING, "sparsecore.engine"):
        summary = run.run()
    assert all(bool(torch.isfinite(p).all()) for p in run.model.parameters())
    assert all(math.isfinite(record.train_loss) for record in run.records)
    assert summary.accuracy_last > 0.5
    assert run.evolution.report().updates >= 3
    assert "NaN or infinity in the loss" in caplog.text


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("compiled", [True, False])
def test_a_diverging_run_ends_with_the_same_error_under_every_policy(policy, compiled):
    with pytest.raises(NonFiniteError):
        trainer(task(), lr=1e30, compiled=compiled, non_finite=policy).run()


@pytest.mark.parametrize("policy", ["skip", "clip"])
@pytest.mark.parametrize("compiled", [True, False])
def test_policies_change_nothing_as_long_as_all_is_finite(policy, compiled):
    one, other = trainer(task(), compiled=compiled), trainer(task(), compiled=compiled, non_finite=policy)
    one.run()
    other.run()
    assert equal(snapshot(one.model, one.optimizer), snapshot(other.model, other.optimizer))


@pytest.mark.parametrize("policy", ["skip", "clip"])
def test_a_run_that_skips_resumes_to_the_bit(policy):
    whole = trainer(task([5, 77]), non_finite=policy)
    whole.run()
    first = trainer(task([5, 77]), non_finite=policy)
    first.run(until=2)
    second = trainer(task([5, 77]), non_finite=policy)
    second.load_state_dict(first.state_dict())
    second.run()
    assert equal(snapshot(whole.model, whole.optimizer), snapshot(second.model, second.optimizer))


def test_a_state_written_before_there_was_a_policy_is_that_of_raise():
    run = trainer(task())
    run.run(until=1)
    state = run.state_dict()
    del state["settings"]["non_finite"]
    trainer(task()).load_state_dict(state)


@given(
    st.lists(st.floats(width=32), min_size=1, max_size=6),
    st.lists(st.floats(width=32), min_size=1, max_size=6),
    st.sampled_from(POLICIES),
    st.floats(),
)
def test_whatever_the_gradients_values_stay_finite_or_the_error_says_so(first, second, policy, loss):
    params = [nn.Parameter(torch.zeros(len(part))) for part in (first, second)]
    for parameter, grad in zip(params, (first, second), strict=True):
        parameter.grad = torch.tensor(grad)
    try:
        FiniteSteps(torch.optim.SGD(params, lr=1e-3), policy).step(loss)
    except NonFiniteError:
        assert policy == "raise"
    assert all(bool(torch.isfinite(p).all()) for p in params)
