"""Mistakes that would cost a training are found before it begins, or at the update that would spoil it."""

import logging

import numpy as np
import pytest
import torch
from test_evolution import batch, problem
from torch import nn

import sparsecore as sc
from sparsecore.errors import ConfigError, ShapeError
from sparsecore.predictors import ScoreBlock
from sparsecore.schedules import Linear


@pytest.mark.parametrize("method", [sc.GMP, sc.GraNet, sc.CHTss])
def test_a_density_that_falls_needs_a_length_and_falls(method):
    model, optimizer = problem(density=0.2)
    with pytest.raises(ConfigError, match="Expected the length of the training, over which the density falls"):
        method(model, optimizer, every=5, density=0.1)
    with pytest.raises(ConfigError, match=r"Expected density at most that of the model, 0.2\S*,.* Got 0.5"):
        method(model, optimizer, every=5, steps=20, density=0.5)
    stated = method(model, optimizer, every=5, density_schedule=Linear(0.2, 0.1, 20))
    assert stated.rule.density(10) == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"predictor": sc.predictors.CH3L3p}, r"Expected predictor .* Got a class. Write CH3L3p\(\)"),
        ({"removal": sc.removal.RelativeImportance}, r"Expected removal .* Write RelativeImportance\(\)"),
        ({"grow": sc.selection.Soft}, r"Expected grow .* Write Soft\(\)"),
    ],
    ids=["predictor", "removal", "grow"],
)
def test_a_class_in_place_of_a_part_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        sc.CHTs(*problem(), every=5, **options)


def test_optimizers_that_cannot_follow_links_are_refused():
    model, _ = problem()
    with pytest.raises(ConfigError, match="Got LBFGS, whose curvature pairs"):
        sc.SET(model, torch.optim.LBFGS(model.parameters()), every=5)
    for wrong in ([torch.optim.Adam(model.parameters())], None):
        with pytest.raises(ConfigError, match="Expected an optimizer that trains the model. Got (list|NoneType)"):
            sc.SET(model, wrong, every=5)
    for without in (torch.optim.SGD, torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.Adadelta):
        with pytest.raises(ConfigError, match="Expected an optimizer with momentum"):
            sc.SNFS(model, without(model.parameters(), lr=0.1), every=5)
    sc.SNFS(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), every=5)
    sc.SNFS(model, torch.optim.Adam(model.parameters()), every=5)


def test_a_layer_that_is_thawed_without_its_optimizer_is_found_at_the_next_update():
    model, _ = problem()
    first, *others = sc.sparse_layers(model).values()
    first.requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
    evolution = sc.SET(model, optimizer, every=1)
    assert evolution.step()
    first.requires_grad_(True)
    before = [layer.topology for layer in (first, *others)]
    with pytest.raises(ConfigError, match="Expected an optimizer that holds the values of 'hidden.0'"):
        evolution.step()
    assert [layer.topology for layer in (first, *others)] == before
    optimizer.add_param_group({"params": list(first.parameters())})
    assert evolution.step()


@pytest.mark.parametrize(
    ("every", "method", "told"),
    [
        (100, sc.SET, "no update falls into the 50 steps, one comes every 100. Train for more steps, or lower every."),
        (20, sc.CHTss, "the last update is at step 40 of 50; the density ends at"),
        (10, sc.SET, None),
    ],
)
def test_a_training_that_leaves_something_undone_says_so_once(every, method, told, caplog):
    caplog.set_level(logging.WARNING, "sparsecore")
    model, optimizer = problem(density=0.2)
    options = {"density": 0.1, "density_schedule": Linear(0.2, 0.1, 50)} if method is sc.CHTss else {}
    evolution = method(model, optimizer, every=every, steps=50, **options)
    assert not caplog.messages
    for step in range(5):
        x, y = batch(step)
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        evolution.step()
    assert [told in message for message in caplog.messages] == ([] if told is None else [True])


def test_a_removal_rule_that_forgets_links_is_refused():
    class Forgetful:
        needs = frozenset()

        def importance(self, links, *, seed=0):
            return np.ones(3)

    model, optimizer = problem()
    evolution = sc.SET(model, optimizer, every=1, removal=Forgetful())
    before = [layer.topology for layer in sc.sparse_layers(model).values()]
    with pytest.raises(ShapeError, match=r"Expected the importance of \d+ links from .*Forgetful.* Got shape \(3,\)"):
        evolution.step()
    assert [layer.topology for layer in sc.sparse_layers(model).values()] == before


def test_scores_that_cannot_be_ranked_are_refused():
    with pytest.raises(ShapeError, match=r"Expected a score for every id. Got \(2,\) ids, \(3,\) scores"):
        ScoreBlock(np.arange(2), np.ones(3))
    for bad in (np.nan, -1.0):
        with pytest.raises(ConfigError, match="Expected scores of at least 0. Got"):
            ScoreBlock(np.arange(2), np.array([1.0, bad]))


def test_a_generator_that_draws_something_else_is_refused():
    def fewer(shape, n_links, seed):
        return sc.generators.ER()(shape, n_links - 1, seed)

    def turned(shape, n_links, seed):
        return sc.generators.ER()(shape[::-1], n_links, seed)

    for wrong in (fewer, turned):
        with pytest.raises(ConfigError, match=r"to return 40 links of shape \(10, 20\). Got Topology"):
            sc.SparseLinear(20, 10, density=0.2, topology=wrong)


def test_a_sequence_with_a_forward_of_its_own_is_left_unpercolated(caplog):
    class Residual(nn.Sequential):
        def forward(self, input):
            for layer in self:
                input = input + torch.relu(layer(input))
            return input

    model = Residual(*(sc.SparseLinear(16, 16, density=0.1, seed=seed) for seed in range(3)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    evolution = sc.CHTs(model, optimizer, every=1, zeta=0.0, predictor=None)
    assert "left unpercolated" in caplog.messages[0]
    x = torch.randn(4, 16)
    before = model(x)
    evolution.step()
    assert torch.equal(model(x), before)


@pytest.mark.parametrize(("shared", "told"), [(False, True), (True, False)])
def test_processes_that_update_by_themselves_are_told_of_sharing(shared, told, caplog, monkeypatch):
    model, optimizer = problem()
    evolution = sc.SET(model, optimizer, every=5)
    if shared:
        evolution.plan_by(lambda own: own.plan())
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    for _ in range(3):
        evolution.step()
    assert [text.partition(",")[0] for text in caplog.messages] == ["2 processes train"] * told
