import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from oracles import missing_links
from scipy.stats import chi2_contingency
from strategies import random_topology, topologies

from sparsecore import kernels, predictors, selection
from sparsecore.errors import ConfigError, ShapeError
from sparsecore.predictors import Signals
from sparsecore.selection import Soft, Top
from sparsecore.storage import Topology

SELECTIONS = [selection.get(name) for name in selection.names()] + [Soft(0.5), Soft(9.0)]
importances = st.integers(0, 30).flatmap(lambda n: arrays(np.float32, n, elements=st.floats(0, 2.0**100, width=32)))


@pytest.mark.parametrize("rule", SELECTIONS, ids=str)
@given(importance=importances, data=st.data())
def test_exactly_the_wanted_number_is_kept(rule, importance, data):
    n_keep = data.draw(st.integers(0, importance.size))
    seed = data.draw(st.integers(0, 2**64 - 1))
    kept = rule.keep(importance, n_keep, seed)
    assert kept.size == n_keep
    assert np.all(np.diff(kept) > 0)
    assert np.all((kept >= 0) & (kept < importance.size))
    assert np.array_equal(kept, rule.keep(importance, n_keep, seed))


@pytest.mark.parametrize("rule", SELECTIONS, ids=str)
@given(importance=importances, data=st.data())
def test_links_of_no_importance_go_first(rule, importance, data):
    importance = np.where(np.arange(importance.size) % 3 == 0, 0, importance + 1)
    positive = int((importance > 0).sum())
    n_keep = data.draw(st.integers(0, importance.size))
    kept = rule.keep(importance, n_keep, data.draw(st.integers(0, 99)))
    assert (importance[kept] > 0).sum() == min(n_keep, positive)


@given(importances, st.data())
def test_the_rigid_rule_keeps_the_largest_and_breaks_ties_by_position(importance, data):
    n_keep = data.draw(st.integers(0, importance.size))
    order = np.lexsort((np.arange(importance.size), -importance.astype(np.float64)))
    assert np.array_equal(Top().keep(importance, n_keep, 0), np.sort(order[:n_keep]))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_soft_keeping_has_the_law_of_multinomial(temperature):
    importance = np.array([0.2, 1.0, 0.5, 2.0, 0.1, 0.7])
    n, keep = 20_000, 3
    mine = np.zeros(64, int)
    for seed in range(n):
        mine[(1 << Soft(temperature).keep(importance, keep, seed)).sum()] += 1
    weights = torch.from_numpy(importance**temperature).expand(n, -1)
    drawn = torch.multinomial(weights, keep, replacement=False, generator=torch.Generator().manual_seed(0))
    other = np.bincount((1 << drawn.numpy()).sum(1), minlength=64)
    seen = mine + other >= 10
    assert chi2_contingency([mine[seen], other[seen]]).pvalue > 1e-4


def test_soft_keeping_does_not_underflow():
    importance = np.full(1000, 1e-30)
    importance[:10] = 1e-10
    kept = Soft(9.0).keep(importance, 10, 0)
    assert kept.tolist() == list(range(10))


@pytest.mark.parametrize("rule", SELECTIONS, ids=str)
@pytest.mark.parametrize("name", predictors.names())
@settings(deadline=None, max_examples=30)
@given(topology=topologies(high=9), n=st.integers(0, 90), seed=st.integers(0, 2**64 - 1))
def test_growing_gives_exactly_as_many_distinct_missing_links(rule, name, topology, n, seed):
    signals = Signals(
        np.ones((2, topology.n_in), np.float32),
        np.ones((2, topology.n_out), np.float32),
        retired_ids=np.arange(topology.n_possible)[::2],
        retired_values=np.arange(topology.n_possible)[::2].astype(np.float32),
    )
    predictor = predictors.get(name)
    grown = rule.grow(predictor, topology, n, seed, signals=signals)
    assert grown.size == min(n, topology.n_possible - topology.n_links)
    assert np.unique(grown).size == grown.size
    assert np.all(topology.find(grown) < 0)
    assert np.array_equal(grown, rule.grow(predictor, topology, n, seed, signals=signals))


@pytest.mark.parametrize("rule", [*SELECTIONS, Top(subrank="spcorr")], ids=str)
def test_the_number_of_threads_does_not_change_what_is_grown_or_kept(rule, parts_of_work):
    topology, results = random_topology(40, 50, 0.1), []
    for threads in (1, 3):
        kernels.set_num_threads(threads)
        kept = rule.keep(np.arange(1.0, 500.0), 200, 7)
        results.append((rule.grow(predictors.get("ch3_l3p"), topology, 150, 7), kept))
    kernels.set_num_threads(None)
    assert all(np.array_equal(one, other) for one, other in zip(*results, strict=True))
    assert max(parts_of_work) == 3


@pytest.mark.parametrize("rule", SELECTIONS, ids=str)
@given(importance=importances, data=st.data())
def test_keeping_more_keeps_the_same_and_more(rule, importance, data):
    few, many = sorted((data.draw(st.integers(0, importance.size)), data.draw(st.integers(0, importance.size))))
    assert set(rule.keep(importance, few, 3)) <= set(rule.keep(importance, many, 3))


@pytest.mark.parametrize("name", selection.names())
def test_every_selection_says_where_it_comes_from(name):
    entry = selection.registry.entry(name)
    assert isinstance(selection.get(name), selection.Selection)
    assert entry.summary.endswith(".") and entry.paper and entry.equation


@pytest.mark.parametrize("rule", [Top(), Soft(), Soft(2.0)], ids=str)
def test_links_of_positive_score_come_before_all_others(rule):
    topology = random_topology(12, 14, 0.1, 5)
    predictor = predictors.get("ch2_l3n")
    scores = predictor.score_links(topology, *missing_links(topology))
    n_positive = int((scores > 0).sum())
    for n in (n_positive // 2, n_positive, n_positive + 7):
        grown = rule.grow(predictor, topology, n, 3)
        reached = predictor.score_links(topology, *np.divmod(grown, topology.n_in))
        assert (reached > 0).sum() == min(n, n_positive)


def test_the_rigid_rule_grows_the_highest_scores():
    topology = random_topology(12, 14, 0.3, 5)
    predictor = predictors.get("ch3_l3p")
    rows, cols = missing_links(topology)
    scores = predictor.score_links(topology, rows, cols)
    order = np.lexsort((rows * 14 + cols, -scores))
    assert np.array_equal(Top().grow(predictor, topology, 20, 0), (rows * 14 + cols)[order[:20]])


@pytest.mark.parametrize("rule", SELECTIONS, ids=str)
def test_bad_importance_is_refused(rule):
    for bad in ([0.5, np.nan], [0.0, np.inf], [1.0, -1.0]):
        with pytest.raises(ConfigError, match="finite importance >= 0 of every link. Got .* at position 1"):
            rule.keep(np.array(bad), 1, 0)
    with pytest.raises(ConfigError, match=r"n_keep to be an integer in \[0, 2\]. Got 3"):
        rule.keep(np.ones(2), 3, 0)
    with pytest.raises(ShapeError, match="importance of shape"):
        rule.keep(np.ones((2, 2)), 1, 0)


def test_a_temperature_that_is_not_positive_is_refused():
    with pytest.raises(ConfigError, match="temperature > 0. Got 0"):
        Soft(0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_a_sampler_draws_at_temperature_one_alone(temperature):
    predictor, asked = predictors.get("ch2_l3n"), []

    class Watched:
        stream = predictor.stream

        def sample(self, *arguments):
            asked.append(arguments)
            return predictor.sample(*arguments)

    Soft(temperature).grow(Watched(), random_topology(20, 20, 0.2), 5, 0)
    assert len(asked) == (temperature == 1.0)


def test_a_layer_without_missing_links_grows_nothing():
    assert Soft().grow(predictors.get("ch2_l3n"), Topology.full((3, 3)), 5, 0).size == 0
