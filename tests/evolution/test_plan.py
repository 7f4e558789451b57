import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import assert_canonical, random_topology, topologies

from sparsecore.errors import ConfigError, SignalError
from sparsecore.evolution import LayerView, Rule, percolate, plan_chain
from sparsecore.predictors import CH2L3n, Random
from sparsecore.removal import Magnitude, SetSigned, Snip
from sparsecore.schedules import Constant, Linear
from sparsecore.selection import Soft, Top
from sparsecore.storage import Topology


def view(topology, *, values=None, gradient=None, name="layer", frozen=False, n_start=None, seed=0):
    if values is None:
        values = np.random.default_rng(seed).standard_normal(topology.n_links).astype(np.float32)
    n_start = topology.n_links if n_start is None else n_start
    return LayerView(name, topology, values, gradient, None, n_start, frozen)


@st.composite
def rules(draw):
    return Rule(
        removal=draw(st.sampled_from([Magnitude(), SetSigned()])),
        keep=draw(st.sampled_from([Top(), Soft(), Soft(3.0)])),
        predictor=draw(st.sampled_from([Random(), CH2L3n()])),
        grow=draw(st.sampled_from([Soft(), Top(), Soft(2.0)])),
        zeta=Constant(draw(st.floats(0, 1))),
        density=draw(st.none() | st.floats(0.05, 1.0).map(Constant)),
        percolate=draw(st.booleans()),
    )


@st.composite
def chains(draw):
    sizes = draw(st.lists(st.integers(2, 9), min_size=2, max_size=4))
    return [view(draw(topologies((b, a), min_links=1))) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]


@settings(deadline=None)
@given(chains(), rules(), st.integers(0, 2**63))
def test_every_update_keeps_its_laws(views, rule, seed):
    plans = plan_chain(views, rule, 10, seed)
    again = plan_chain(views, rule, 10, seed)
    for before, plan, twin in zip(views, plans, again, strict=True):
        old, edit = before.topology, plan.edit
        kept_ids = old.link_ids[plan.kept]
        assert set(plan.kept) <= set(range(old.n_links))
        assert not set(kept_ids) & set(plan.grown)
        assert set(edit.new.link_ids) == set(kept_ids) | set(plan.grown)
        assert edit.new.n_links == rule.links_at(10, before.n_start, old.n_possible)
        assert_canonical(edit.new)
        assert 0.0 <= plan.overlap <= 1.0
        assert edit.new == twin.edit.new


@settings(deadline=None)
@given(topologies(min_links=1), st.floats(0, 1))
def test_zeta_is_the_fraction_removed(topology, zeta):
    rule = Rule(zeta=Constant(zeta), percolate=False)
    (plan,) = plan_chain([view(topology)], rule, 1, 0)
    assert plan.kept.size == topology.n_links - int(np.floor(zeta * topology.n_links))


def test_the_smallest_weights_go_under_a_hard_rule():
    full = 20
    values = np.arange(1, full + 1, dtype=np.float32)
    topology = Topology.from_ids(np.arange(0, 2 * full, 2), (full, 2))
    rule = Rule(keep=Top(), zeta=Constant(0.5), percolate=False)
    (plan,) = plan_chain([view(topology, values=values)], rule, 1, 0)
    assert plan.kept.tolist() == list(range(full // 2, full))


def test_density_falls_and_rises_with_its_schedule():
    start = view(random_topology(40, 30, 0.5))
    rule = Rule(density=Linear(0.5, 0.1, 100), zeta=Constant(0.3))
    sizes = [plan_chain([start], rule, step, 0)[0].edit.new.n_links for step in (0, 50, 100, 200)]
    assert sizes == [600, 360, 120, 120]
    (plan,) = plan_chain([start], Rule(density=Constant(0.8)), 1, 0)
    assert plan.edit.new.n_links == 960


def test_without_a_predictor_links_are_only_pruned():
    start = view(random_topology(40, 30, 0.5))
    (plan,) = plan_chain([start], Rule(predictor=None, density=Constant(0.2)), 1, 0)
    assert plan.edit.new.n_links == 240
    assert plan.grown.size == 0
    assert set(plan.edit.new.link_ids) <= set(start.topology.link_ids)


def test_a_frozen_layer_keeps_its_links():
    (plan,) = plan_chain([view(random_topology(20, 20, 0.3), frozen=True)], Rule(), 1, 0)
    assert plan.edit.is_identity


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_a_frozen_layer_keeps_its_links_where_neighbours_percolate(frozen):
    views = [view(random_topology(20, 20, 0.06, seed), frozen=seed == frozen, seed=seed) for seed in range(3)]
    plans = plan_chain(views, Rule(zeta=Constant(0.5)), 1, 0)
    assert [plan.edit.is_identity for plan in plans] == [seed == frozen for seed in range(3)]


@pytest.mark.parametrize("seed", range(3))
def test_what_removal_leaves_is_percolated_before_new_links_grow(seed):
    views = [view(random_topology(20, 20, 0.1, seed + place), seed=seed + place) for place in range(3)]
    left = [plan.kept for plan in plan_chain(views, Rule(zeta=Constant(0.5), percolate=False), 1, seed)]
    plans = plan_chain(views, Rule(zeta=Constant(0.5)), 1, seed)
    expected = percolate([layer.topology for layer in views], left)
    assert [plan.kept.tolist() for plan in plans] == [positions.tolist() for positions in expected]
    assert sum(map(len, expected)) < sum(map(len, left))


def test_a_missing_gradient_is_named():
    with pytest.raises(SignalError, match="gradient of the links of 'fc1'.*before zero_grad"):
        plan_chain([view(random_topology(4, 4, 0.5), name="fc1")], Rule(removal=Snip()), 1, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fresh": "magic"}, "fresh to be"),
        ({"keep": Top(), "temperature": Constant(2.0)}, "Soft keep"),
        ({"early_stop": 2.0}, r"early_stop in \[0, 1\]. Got 2.0"),
    ],
)
def test_rules_that_cannot_work_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Rule(**options)


def test_zeta_outside_its_range_is_refused_when_it_is_read():
    with pytest.raises(ConfigError, match="zeta is the fraction of links replaced"):
        Rule(zeta=lambda step: 1.3).zeta_at(0)
