import copy

import numpy as np
import pytest
import torch
from strategies import assert_canonical
from torch import nn

import sparsecore as sc
from sparsecore.errors import CheckpointError, ConfigError, SignalError
from sparsecore.models import MLP
from sparsecore.predictors import Random
from sparsecore.removal import Snip
from sparsecore.schedules import Constant, Linear
from sparsecore.selection import Soft, Top

METHODS = [entry.name for entry in sc.methods]


def problem(density=0.1, optimizer="Adam", seed=0):
    model = MLP(30, (40, 40), 4, density=density, seed=seed)
    return model, getattr(torch.optim, optimizer)(model.parameters(), lr=1e-2)


def batch(step, n=16):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(n, 30, generator=generator), torch.randint(4, (n,), generator=generator)


def train(model, optimizer, evolution, steps, start=0):
    losses = []
    for step in range(start, start + steps):
        x, y = batch(step)
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        evolution.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def links_of(model):
    return {name: layer.topology for name, layer in sc.sparse_layers(model).items()}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_keeps_its_link_counts_and_canonical_form(name):
    model, optimizer = problem()
    evolution = sc.methods.get(name, model=model, optimizer=optimizer, every=5, steps=40)
    for start in range(0, 40, 5):
        train(model, optimizer, evolution, 5, start)
        for row, layer in zip(evolution.report().layers, sc.sparse_layers(model).values(), strict=True):
            assert_canonical(layer.topology)
            assert layer.values.shape == (layer.topology.n_links,)
            assert row.n_links == layer.topology.n_links
    counts = [t.n_links for t in links_of(model).values()]
    if evolution.rule is None or (evolution.rule.density is None and evolution.rule.redistribution is None):
        assert counts == [120, 160]
    elif evolution.rule.redistribution is not None:
        assert sum(counts) == 280


@pytest.mark.parametrize("name", METHODS)
def test_links_loaded_after_the_evolution_was_built_are_its_first_ones(name, caplog):
    counts = []
    for built_first in (True, False):
        model, optimizer = problem()
        options = {"model": model, "optimizer": optimizer, "every": 5, "steps": 40}
        evolution = sc.methods.get(name, **options) if built_first else None
        model.load_state_dict(problem(density=0.2, seed=1)[0].state_dict())
        evolution = evolution or sc.methods.get(name, **options)
        per_update = []
        for start in range(0, 40, 5):
            train(model, optimizer, evolution, 5, start)
            per_update.append([row.n_links for row in evolution.report().layers])
        counts.append(per_update)
    if evolution.rule is None or evolution.rule.redistribution is None:
        assert counts[0] == counts[1]
    assert [sum(links) for links in counts[0]] == [sum(links) for links in counts[1]]
    assert not caplog.text


@pytest.mark.parametrize("wrong", ["", "9", 4.5, [9], -1, True], ids=repr)
@pytest.mark.parametrize("option", ["every", "steps"])
@pytest.mark.parametrize("name", METHODS)
def test_steps_of_any_other_kind_are_refused_by_every_method(name, option, wrong):
    model, optimizer = problem()
    with pytest.raises(ConfigError, match="Got"):
        sc.methods.get(name, model=model, optimizer=optimizer, **{"every": 3, "steps": 9, option: wrong})


def test_a_schedule_of_ones_own_stays_and_says_that_the_model_has_moved(caplog):
    model, optimizer = problem()
    own = sc.Rule(density=Linear(0.1, 0.05, 20), density_start=0.1)
    evolution = sc.Evolution(model, optimizer, own, every=5, steps=40)
    model.load_state_dict(problem(density=0.2)[0].state_dict())
    train(model, optimizer, evolution, 25)
    assert "was built on density 0.1" in caplog.text
    assert evolution.report().density == pytest.approx(0.1, rel=0.02), "in proportion: twice what the schedule says"


def test_a_state_below_the_density_to_end_with_is_refused_at_the_first_step():
    model, optimizer = problem(density=0.2)
    evolution = sc.CHTss(model, optimizer, every=5, steps=40, density=0.1)
    model.load_state_dict(problem(density=0.05)[0].state_dict())
    with pytest.raises(ConfigError, match=r"Expected density at most that of the model, 0.05.* Got 0.1"):
        train(model, optimizer, evolution, 1)
    other, other_optimizer = problem(density=0.05)
    state = sc.CHTss(other, other_optimizer, every=5, steps=40, density=0.05).state_dict()
    rule = evolution.rule
    with pytest.raises(ConfigError, match=r"Expected density at most that of the model, 0.05"):
        evolution.load_state_dict(state)
    assert evolution.rule is rule


@pytest.mark.parametrize("built_first", [True, False], ids=["built-first", "loaded-first"])
@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_continues_bit_by_bit(name, built_first):
    model, optimizer = problem()
    evolution = sc.methods.get(name, model=model, optimizer=optimizer, every=4, steps=40, seed=3)
    train(model, optimizer, evolution, 14)
    state = copy.deepcopy([part.state_dict() for part in (model, optimizer, evolution)])
    straight = train(model, optimizer, evolution, 14, 14)

    other, other_optimizer = problem(seed=9)
    options = {"model": other, "optimizer": other_optimizer, "every": 4, "steps": 40}
    resumed = sc.methods.get(name, **options) if built_first else None
    other.load_state_dict(state[0])
    other_optimizer.load_state_dict(state[1])
    resumed = resumed or sc.methods.get(name, **options)  # as in a Trainer, whose callbacks begin later
    resumed.load_state_dict(state[2])
    assert train(other, other_optimizer, resumed, 14, 14) == straight
    assert links_of(other) == links_of(model)
    assert str(resumed).splitlines()[1:] == str(evolution).splitlines()[1:]


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "NAdam", "Adadelta"])
def test_optimizer_state_follows_its_link_and_starts_at_zero_for_new_ones(optimizer):
    model = MLP(30, (40, 40), 4, density=0.1, seed=0)
    options = {"momentum": 0.9} if optimizer in ("SGD", "RMSprop") else {}
    optimizer = getattr(torch.optim, optimizer)(model.parameters(), lr=1e-2, **options)
    evolution = sc.CHTs(model, optimizer, every=1000, zeta=0.4)
    train(model, optimizer, evolution, 3)
    layers = list(sc.sparse_layers(model).values())
    before = [
        (layer.topology.link_ids, layer.values.detach().clone(), copy.deepcopy(dict(optimizer.state[layer.values])))
        for layer in layers
    ]
    plans = evolution.update()
    for layer, plan, (old_ids, old_values, old_state) in zip(layers, plans, before, strict=True):
        assert plan.edit.fresh.size > 0
        state = optimizer.state[layer.values]
        moved = {key for key, entry in old_state.items() if torch.is_tensor(entry) and entry.shape == old_values.shape}
        assert moved
        for key in moved:
            expected = dict(zip(old_ids.tolist(), old_state[key].tolist(), strict=True))
            now = dict(zip(layer.topology.link_ids.tolist(), state[key].tolist(), strict=True))
            assert all(now[link] == expected.get(link, 0.0) for link in now)
        values = dict(zip(old_ids.tolist(), old_values.tolist(), strict=True))
        now = dict(zip(layer.topology.link_ids.tolist(), layer.values.tolist(), strict=True))
        assert all(now[link] == values.get(link, 0.0) for link in now)
    train(model, optimizer, evolution, 2, 3)


def test_updates_happen_every_so_many_steps_and_end_before_the_last():
    model, optimizer = problem()
    evolution = sc.SET(model, optimizer, every=5, steps=20)
    updated = [evolution.step() for _ in range(25)]
    assert [step + 1 for step, done in enumerate(updated) if done] == [5, 10, 15]
    assert evolution.report().updates == 3


def test_same_seed_and_weights_give_the_same_links_for_any_number_of_threads(parts_of_work):
    results = []
    for seed, threads in ((1, 1), (1, 4), (2, 1)):
        model, optimizer = problem()
        evolution = sc.CHTs(model, optimizer, every=1, seed=seed)
        sc.kernels.set_num_threads(threads)
        evolution.update()
        sc.kernels.set_num_threads(None)
        results.append(links_of(model))
    assert results[0] == results[1] != results[2]
    assert max(parts_of_work) == 4


def test_hidden_neurons_without_a_signal_lose_their_links():
    model, optimizer = problem(density=0.05)
    evolution = sc.CHTs(model, optimizer, every=1, zeta=0.5)
    below, above = (plan.edit.old.subset(plan.kept) for plan in evolution.update())
    assert set(below.rows) == set(above.cols), "what is kept leads on"
    active = sc.evolution.active_neurons([layer.topology for layer in sc.sparse_layers(model).values()])
    report = evolution.report()
    assert report.anp == pytest.approx(np.concatenate(active).mean())
    assert report.layers[0].active_out == pytest.approx(active[1].mean())
    assert 0 < report.itop <= 1
    assert "hidden.0" in str(evolution)


def test_a_gradient_rule_without_gradient_changes_nothing():
    model, optimizer = problem()
    evolution = sc.Evolution(model, optimizer, sc.Rule(removal=Snip()), every=1)
    before = links_of(model)
    with pytest.raises(SignalError, match="gradient"):
        evolution.update()
    assert links_of(model) == before


@pytest.mark.parametrize("fresh", ["zero", "swi", "history"])
def test_new_links_start_as_asked(fresh):
    model, optimizer = problem(density=0.3)
    rule = sc.Rule(predictor=Random(), keep=Top(), grow=Soft(), zeta=Constant(0.5), percolate=False, fresh=fresh)
    evolution = sc.Evolution(model, optimizer, rule, every=1)
    layer = next(iter(sc.sparse_layers(model).values()))
    retired = {}
    for _ in range(4):
        ids, values = layer.topology.link_ids, layer.values.detach().numpy().copy()
        plan = evolution.update()[0]
        retired |= {int(ids[k]): float(values[k]) for k in plan.edit.retired}
        new = layer.values.detach().numpy()[plan.edit.fresh]
        if fresh == "zero":
            assert not new.any()
        elif fresh == "swi":
            assert new.std() == pytest.approx((2 / (0.3 * 30)) ** 0.5, rel=0.3)
        else:
            assert new.tolist() == [retired.get(int(i), 0.0) for i in layer.topology.link_ids[plan.edit.fresh]]


def test_a_falling_density_is_followed_exactly():
    model, optimizer = problem(density=0.5)
    rule = sc.Rule(density=Linear(0.5, 0.1, 20))
    evolution = sc.Evolution(model, optimizer, rule, every=5)
    counts = []
    for start in range(0, 25, 5):
        train(model, optimizer, evolution, 5, start)
        counts.append([t.n_links for t in links_of(model).values()])
    assert counts == [[480, 640], [360, 480], [240, 320], [120, 160], [120, 160]]


def test_models_and_optimizers_that_do_not_fit_are_refused():
    model, optimizer = problem()
    with pytest.raises(ConfigError, match="SparseLinear layers. Got none"):
        sc.SET(nn.Linear(2, 2), optimizer, every=1)
    with pytest.raises(ConfigError, match="optimizer that holds the values"):
        sc.SET(model, torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1), every=1)
    with pytest.raises(ConfigError, match="every to be an integer >= 1"):
        sc.SET(model, optimizer, every=0)
    evolution = sc.SET(model, optimizer, every=1)
    with pytest.raises(CheckpointError, match="evolution state of layers"):
        evolution.load_state_dict({"step": 1, "updates": 0, "seed": 0, "layers": {}})


@pytest.mark.parametrize("method", [sc.SET, sc.CHTs])
def test_a_layer_that_stands_twice_is_updated_once(method):
    layer = sc.SparseLinear(16, 16, density=0.3, seed=0)
    model = nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(16, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    evolution = method(model, optimizer, every=1)
    before = dict(zip(layer.topology.link_ids.tolist(), layer.values.tolist(), strict=True))
    evolution.update()
    after = dict(zip(layer.topology.link_ids.tolist(), layer.values.tolist(), strict=True))
    assert len(after) == len(before)
    assert all(after[link] == before[link] for link in after.keys() & before.keys())
    assert [found.n_links for found in evolution.report().layers] == [len(before)]
