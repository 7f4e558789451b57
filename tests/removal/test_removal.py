"""Laws of every registered removal rule, and the formula of each."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import random_topology, topologies

from sparsecore import removal
from sparsecore.errors import ConfigError, ShapeError, SignalError
from sparsecore.removal import Links
from sparsecore.selection import Top
from sparsecore.storage import Topology

NAMES = removal.names()


def links_of(topology, seed=0):
    draw = np.random.default_rng(seed)
    values, gradient = draw.standard_normal((2, topology.n_links)).astype(np.float32)
    return Links(topology, values, gradient, draw.choice(np.array([-1, 1], np.int8), topology.n_links))


@pytest.mark.parametrize("name", NAMES)
@given(topology=topologies(), seed=st.integers(0, 2**32))
def test_importance_is_finite_and_not_negative(name, topology, seed):
    links = links_of(topology, seed)
    importance = removal.get(name).importance(links, seed=seed)
    assert importance.shape == (topology.n_links,)
    assert importance.dtype == np.float64
    assert np.all(np.isfinite(importance) & (importance >= 0))
    assert np.array_equal(importance, removal.get(name).importance(links, seed=seed))


@pytest.mark.parametrize("name", NAMES)
def test_zeros_do_not_break_a_rule(name):
    topology = random_topology(4, 5, 0.5)
    zeros = np.zeros(topology.n_links, np.float32)
    assert np.isfinite(removal.get(name).importance(Links(topology, zeros, zeros, zeros))).all()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("random", "set_signed")])
@given(topology=topologies(min_links=1), data=st.data())
def test_relabelling_neurons_moves_the_importance_with_its_link(name, topology, data):
    new_row = np.array(data.draw(st.permutations(range(topology.n_out))))
    renamed = Topology.from_coo(new_row[topology.rows], topology.cols, shape=topology.shape)
    links = links_of(topology)
    at = renamed.find(new_row[topology.rows].astype(np.int64) * topology.n_in + topology.cols)
    parts = [links.values, links.gradient, links.signs]
    moved = [np.empty_like(part) for part in parts]
    for new, old in zip(moved, parts, strict=True):
        new[at] = old
    rule = removal.get(name)
    np.testing.assert_allclose(rule.importance(Links(renamed, *moved))[at], rule.importance(links), rtol=1e-12)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("random", "set_signed")])
@given(topology=topologies(min_links=1))
def test_exchanging_inputs_and_outputs_keeps_the_importance_of_every_link(name, topology):
    links, turned = links_of(topology), topology.transpose()
    at = turned.find(topology.cols.astype(np.int64) * topology.n_out + topology.rows)
    moved = [np.empty_like(part) for part in (links.values, links.gradient, links.signs)]
    for new, old in zip(moved, (links.values, links.gradient, links.signs), strict=True):
        new[at] = old
    rule = removal.get(name)
    np.testing.assert_allclose(rule.importance(Links(turned, *moved))[at], rule.importance(links), rtol=1e-12)


GROWS_WITH_SIZE = ("magnitude", "mest", "snip", "relative_importance", "set_signed", "reciprocal_sensitivity")


@pytest.mark.parametrize("name", GROWS_WITH_SIZE)
@given(topology=topologies(min_links=1), data=st.data())
def test_a_larger_value_never_makes_its_own_link_less_important(name, topology, data):
    links, rule = links_of(topology), removal.get(name)
    pick = data.draw(st.integers(0, topology.n_links - 1))
    values = links.values.copy()
    values[pick] *= 1.5
    larger = rule.importance(Links(topology, values, links.gradient, links.signs))
    assert larger[pick] >= rule.importance(links)[pick] * (1 - 1e-12)


def test_a_link_of_the_wrong_sign_is_worth_nothing_and_zero_is_of_both():
    topology = Topology.from_ids([0, 1, 2, 3, 4], (1, 5))
    links = Links(topology, np.float32([1, -1, 0, 0, 2]), None, np.int8([1, 1, 1, -1, -1]))
    assert removal.get("sign_kept").importance(links).tolist() == [1, 0, 1, 1, 0]
    broken = Links(topology, np.float32([np.nan, 1, 1, 1, 1]), None, np.int8([1] * 5))
    assert np.isnan(removal.get("sign_kept").importance(broken)[0])  # so that selection refuses it


FORMULAS = {
    "magnitude": lambda w, g: np.abs(w),
    "mest": lambda w, g: np.abs(w) + 0.01 * np.abs(g),
    "snip": lambda w, g: np.abs(w * g),
    "sensitivity": lambda w, g: np.abs(g) / np.abs(w),
    "reciprocal_sensitivity": lambda w, g: np.abs(w) / np.abs(g),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_elementwise_rules_follow_their_formula(name):
    links = links_of(random_topology(6, 7, 0.4))
    expected = FORMULAS[name](links.values.astype(float), links.gradient.astype(float))
    np.testing.assert_allclose(removal.get(name).importance(links), expected, rtol=1e-12)


@pytest.mark.parametrize("epsilon", [0.0, 0.01])
def test_relative_importance_is_the_share_in_both_neurons(epsilon):
    topology = random_topology(6, 7, 0.4)
    links = links_of(topology)
    dense = np.zeros(topology.shape)
    dense[topology.rows, topology.cols] = np.abs(links.values)
    sums = dense + epsilon
    with np.errstate(invalid="ignore"):
        expected = dense / sums.sum(1, keepdims=True) + dense / sums.sum(0, keepdims=True)
    found = removal.registry.build(f"relative_importance:epsilon={epsilon}").importance(links)
    np.testing.assert_allclose(found, expected[topology.rows, topology.cols], rtol=1e-6)


def test_relative_importance_gives_up_neurons_of_small_weight_under_an_epsilon():
    topology = Topology.from_ids([0, 1, 7, 8], (2, 5))
    links = Links(topology, np.float32([1, 1, 1e-4, 1e-4]), None)
    plain, shrunk = (removal.RelativeImportance(epsilon).importance(links) for epsilon in (0.0, 1e-3))
    assert plain[2] > 0.5 * plain[0]
    assert shrunk[2] < 0.1 * shrunk[0]


@given(topologies(min_links=1), st.floats(0, 1), st.integers(0, 99))
def test_set_removes_the_same_share_of_both_signs(topology, zeta, seed):
    links = links_of(topology, seed)
    n_keep = topology.n_links - int(zeta * topology.n_links)
    kept = Top().keep(removal.get("set_signed").importance(links), n_keep, 0)
    gone = np.setdiff1d(np.arange(topology.n_links), kept)
    for sign in (links.values >= 0, links.values < 0):
        removed = np.abs(links.values[gone][sign[gone]])
        stayed = np.abs(links.values[kept][sign[kept]])
        assert removed.size == 0 or stayed.size == 0 or removed.max() <= stayed.min()
        assert abs(removed.size - zeta * sign.sum()) <= 2


def test_random_importance_follows_its_seed():
    links = links_of(random_topology(20, 20, 0.5))
    rule = removal.get("random")
    assert not np.array_equal(rule.importance(links, seed=1), rule.importance(links, seed=2))


@pytest.mark.parametrize("name", [name for name in NAMES if removal.get(name).needs])
def test_rules_that_read_more_than_values_say_so(name):
    topology = random_topology(4, 5, 0.5)
    message = {"gradient": "gradient of the links", "signs": "sign of every link"}
    (need,) = removal.get(name).needs
    with pytest.raises(SignalError, match=message[need]):
        removal.get(name).importance(Links(topology, np.ones(topology.n_links)))


def test_bad_views_and_options_are_refused():
    topology = random_topology(4, 5, 0.5)
    with pytest.raises(ShapeError, match=r"values of shape \(10,\)"):
        Links(topology, np.ones(3))
    with pytest.raises(ShapeError, match=r"gradient of shape \(10,\)"):
        Links(topology, np.ones(10), np.ones(3))
    with pytest.raises(ShapeError, match=r"signs of shape \(10,\)"):
        Links(topology, np.ones(10), None, np.ones(3))
    with pytest.raises(ConfigError, match="weight > 0"):
        removal.Mest(weight=0)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "random"])
def test_a_value_that_is_no_number_has_no_importance(name):
    links = links_of(random_topology(4, 5, 0.5))
    links.values[3] = np.nan
    assert np.isnan(removal.get(name).importance(links)[3])
    with pytest.raises(ConfigError, match="Expected finite importance"):
        Top().keep(removal.get(name).importance(links), 2, 0)
