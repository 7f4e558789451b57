"""Laws that every registered predictor keeps; a new one is tested by being registered."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import missing_links, path_score
from strategies import random_topology, topologies

from sparsecore import predictors
from sparsecore.errors import ConfigError, ShapeError, SignalError, TopologyError, UnknownNameError
from sparsecore.predictors import Sampler, Signals
from sparsecore.storage import Topology

NAMES = predictors.names()
PATH_NAMES = [name for name in NAMES if "_l3" in name]
SYMMETRIC = [name for name in NAMES if name != "gradient"]


def signals_for(topology, seed=0):
    draw = np.random.default_rng(seed)
    return Signals(
        draw.standard_normal((7, topology.n_in)).astype(np.float32),
        draw.standard_normal((7, topology.n_out)).astype(np.float32),
    )


def all_scores(name, topology, signals=None):
    rows, cols = missing_links(topology)
    return predictors.get(name).score_links(topology, rows, cols, signals=signals or signals_for(topology))


@pytest.mark.parametrize("name", PATH_NAMES)
@settings(deadline=None, max_examples=60)
@given(topology=topologies(high=7))
def test_scores_equal_brute_force_path_enumeration(name, topology):
    rows, cols = missing_links(topology)
    expected = [path_score(name, topology, row, col) for row, col in zip(rows.tolist(), cols.tolist(), strict=True)]
    np.testing.assert_allclose(all_scores(name, topology), expected, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(topology=topologies())
def test_the_stream_holds_every_positive_score_once_in_order(name, topology):
    signals = signals_for(topology)
    predictor = predictors.get(name)
    blocks = list(predictor.stream(topology, signals=signals))
    ids = np.concatenate([block.ids for block in blocks]) if blocks else np.zeros(0, np.int64)
    scores = np.concatenate([block.scores for block in blocks]) if blocks else np.zeros(0)
    rows, cols = missing_links(topology)
    expected = predictor.score_links(topology, rows, cols, signals=signals)
    assert np.all(np.diff(ids) > 0)
    assert np.array_equal(ids, (rows * topology.n_in + cols)[expected > 0])
    np.testing.assert_allclose(scores, expected[expected > 0], rtol=1e-12)


@pytest.mark.parametrize("name", SYMMETRIC)
@settings(deadline=None)
@given(topology=topologies(), data=st.data())
def test_relabelling_neurons_relabels_the_scores(name, topology, data):
    new_row = np.array(data.draw(st.permutations(range(topology.n_out))))
    new_col = np.array(data.draw(st.permutations(range(topology.n_in))))
    renamed = Topology.from_coo(new_row[topology.rows], new_col[topology.cols], shape=topology.shape)
    rows, cols = missing_links(topology)
    predictor = predictors.get(name)
    np.testing.assert_allclose(
        predictor.score_links(renamed, new_row[rows], new_col[cols]),
        predictor.score_links(topology, rows, cols),
        rtol=1e-12,
    )


@pytest.mark.parametrize("name", SYMMETRIC)
@settings(deadline=None)
@given(topology=topologies())
def test_exchanging_inputs_and_outputs_exchanges_the_scores(name, topology):
    rows, cols = missing_links(topology)
    predictor = predictors.get(name)
    np.testing.assert_allclose(
        predictor.score_links(topology.transpose(), cols, rows),
        predictor.score_links(topology, rows, cols),
        rtol=1e-12,
    )


@pytest.mark.parametrize("name", ["cn_l3"])
@settings(deadline=None)
@given(topology=topologies(min_links=1), data=st.data())
def test_more_links_never_mean_fewer_paths(name, topology, data):
    rows, cols = missing_links(topology)
    if rows.size < 2:
        return
    pick = data.draw(st.integers(0, rows.size - 1))
    grown = Topology.from_ids(np.append(topology.link_ids, rows[pick] * topology.n_in + cols[pick]), topology.shape)
    rest = np.arange(rows.size) != pick
    predictor = predictors.get(name)
    before = predictor.score_links(topology, rows[rest], cols[rest])
    assert np.all(predictor.score_links(grown, rows[rest], cols[rest]) >= before)


def test_the_gradient_predictor_gives_the_gradient_of_a_dense_layer():
    topology = random_topology(9, 11, 0.3)
    signals = signals_for(topology)
    dense = np.abs(signals.grad_outputs.T.astype(float) @ signals.inputs)
    rows, cols = missing_links(topology)
    np.testing.assert_allclose(all_scores("gradient", topology, signals), dense[rows, cols], rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("topology", [Topology.from_ids([], (3, 4)), Topology.full((3, 4)), Topology.full((1, 1))])
def test_empty_and_full_layers_have_no_surprises(name, topology):
    scores = all_scores(name, topology)
    assert scores.size == topology.n_possible - topology.n_links
    assert name in ("random", "gradient") or not scores.any()


@pytest.mark.parametrize("name", NAMES)
def test_existing_links_and_wrong_pairs_are_refused(name):
    topology = Topology.from_coo([0, 1], [1, 0], shape=(2, 3))
    predictor, signals = predictors.get(name), signals_for(topology)
    with pytest.raises(TopologyError, match=r"missing links. Got \(row 1, col 0\)"):
        predictor.score_links(topology, [0, 1], [0, 0], signals=signals)
    with pytest.raises(TopologyError, match=r"cols in \[0, 3\)"):
        predictor.score_links(topology, [0], [3], signals=signals)
    with pytest.raises(TopologyError, match="equal length"):
        predictor.score_links(topology, [0, 0], [0], signals=signals)


@pytest.mark.parametrize("name", NAMES)
def test_every_part_says_where_it_comes_from(name):
    entry = predictors.registry.entry(name)
    assert entry.summary.endswith(".")
    assert entry.paper
    assert entry.equation


@pytest.mark.parametrize("name", [name for name in NAMES if isinstance(predictors.get(name), Sampler)])
@settings(deadline=None)
@given(topology=topologies(), n=st.integers(0, 60), seed=st.integers(0, 2**64 - 1))
def test_samples_are_distinct_missing_links_of_positive_score(name, topology, n, seed):
    predictor = predictors.get(name)
    drawn = predictor.sample(topology, n, seed)
    assert drawn.size <= n
    assert np.unique(drawn).size == drawn.size
    assert np.all(predictor.score_links(topology, *np.divmod(drawn, topology.n_in)) > 0)
    assert np.array_equal(drawn, predictor.sample(topology, n, seed))
    fewer = predictor.sample(topology, n // 2, seed)
    assert name == "random" or np.array_equal(fewer, drawn[: fewer.size])


def test_gradient_without_signals_or_with_foreign_ones_is_refused():
    topology = random_topology(4, 5, 0.3)
    with pytest.raises(SignalError, match="signals=Signals"):
        list(predictors.get("gradient").stream(topology))
    with pytest.raises(ShapeError, match=r"layer of shape \(4, 5\)"):
        list(predictors.get("gradient").stream(topology, signals=signals_for(random_topology(3, 5, 0.3))))
    with pytest.raises(ShapeError, match="inputs"):
        Signals(np.zeros((2, 3), np.float32), np.zeros((3, 3), np.float32))


def test_wrong_names_and_options_are_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'ch2_l3n'"):
        predictors.get("ch2l3n")
    with pytest.raises(ConfigError, match="options of predictor 'ch2_l3n' among: proposals_per_link. Got 'budget'"):
        predictors.get("ch2_l3n", budget=3)
    with pytest.raises(ConfigError, match="proposals_per_link to be an integer >= 0"):
        predictors.get("ch2_l3n", proposals_per_link=-1)
