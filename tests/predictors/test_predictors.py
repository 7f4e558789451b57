"""Laws that every registered predictor keeps; a new one is tested by being registered."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import missing_links, path_score
from strategies import random_topology, topologies

from sparsecore import kernels, predictors
from sparsecore.errors import ConfigError, NonFiniteError, ShapeError, SignalError, TopologyError, UnknownNameError
from sparsecore.predictors import Sampler, Signals
from sparsecore.selection import Top
from sparsecore.storage import Topology

NAMES = predictors.names()
PATH_NAMES = [name for name in NAMES if "_l3" in name]
READ_SIGNALS = [name for name in NAMES if "signals" in predictors.get(name).needs]


def signals_for(topology, seed=0):
    """Signals of seven samples of the last three steps, and a history of a third of all links."""
    draw = np.random.default_rng(seed)
    retired = np.flatnonzero(draw.random(topology.n_possible) < 1 / 3)
    return Signals(
        draw.standard_normal((7, topology.n_in)).astype(np.float32),
        draw.standard_normal((7, topology.n_out)).astype(np.float32),
        np.array([2, 2, 1, 1, 1, 0, 0]),
        retired,
        draw.standard_normal(retired.size).astype(np.float32),
    )


def moved(signals, new_ids):
    """Signals whose retired links are called by their new ids."""
    ids = new_ids(signals.retired_ids)
    order = np.argsort(ids)
    return dataclasses.replace(signals, retired_ids=ids[order], retired_values=signals.retired_values[order])


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


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(topology=topologies(), data=st.data())
def test_relabelling_neurons_relabels_the_scores(name, topology, data):
    new_row = np.array(data.draw(st.permutations(range(topology.n_out))))
    new_col = np.array(data.draw(st.permutations(range(topology.n_in))))
    renamed = Topology.from_coo(new_row[topology.rows], new_col[topology.cols], shape=topology.shape)
    signals = signals_for(topology)
    n_in = topology.n_in
    there = moved(signals, lambda ids: new_row[ids // n_in] * n_in + new_col[ids % n_in])
    there = dataclasses.replace(
        there, inputs=signals.inputs[:, np.argsort(new_col)], grad_outputs=signals.grad_outputs[:, np.argsort(new_row)]
    )
    rows, cols = missing_links(topology)
    predictor = predictors.get(name)
    np.testing.assert_allclose(
        predictor.score_links(renamed, new_row[rows], new_col[cols], signals=there),
        predictor.score_links(topology, rows, cols, signals=signals),
        rtol=1e-9,
    )


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(topology=topologies())
def test_exchanging_inputs_and_outputs_exchanges_the_scores(name, topology):
    signals = signals_for(topology)
    there = moved(signals, lambda ids: ids % topology.n_in * topology.n_out + ids // topology.n_in)
    there = dataclasses.replace(there, inputs=signals.grad_outputs, grad_outputs=signals.inputs)
    rows, cols = missing_links(topology)
    predictor = predictors.get(name)
    np.testing.assert_allclose(
        predictor.score_links(topology.transpose(), cols, rows, signals=there),
        predictor.score_links(topology, rows, cols, signals=signals),
        rtol=1e-9,
    )


@pytest.mark.parametrize("name", NAMES)
def test_streams_and_scores_do_not_depend_on_the_number_of_threads(name, parts_of_work):
    topology = random_topology(61, 70, 0.1)
    signals, predictor, results = signals_for(topology), predictors.get(name), []
    for threads in (1, 3):
        kernels.set_num_threads(threads)
        blocks = list(predictor.stream(topology, signals=signals))
        pairs = predictor.score_links(topology, *missing_links(topology), signals=signals)
        results.append((np.concatenate([b.ids for b in blocks]), np.concatenate([b.scores for b in blocks]), pairs))
    kernels.set_num_threads(None)
    assert all(np.array_equal(one, other) for one, other in zip(*results, strict=True))
    assert name not in PATH_NAMES or max(parts_of_work) == 3


@pytest.mark.parametrize("name", [name for name in NAMES if isinstance(predictors.get(name), Sampler)])
def test_samples_do_not_depend_on_the_number_of_threads(name, parts_of_work):
    topology, results = random_topology(60, 70, 0.1), []
    for threads in (1, 2, 3):
        kernels.set_num_threads(threads)
        results.append(predictors.get(name).sample(topology, 300, 5))
    kernels.set_num_threads(None)
    assert all(np.array_equal(results[0], result) for result in results)
    assert name == "random" or max(parts_of_work) == 3


@pytest.mark.parametrize("name", READ_SIGNALS)
def test_signals_that_are_no_numbers_rank_no_link(name):
    topology = random_topology(6, 7, 0.2)
    signals = signals_for(topology)
    signals.inputs[0, 2] = np.nan
    with pytest.raises(NonFiniteError, match="Expected finite inputs and gradients"):
        Top().grow(predictors.get(name), topology, 3, 0, signals=signals)


@pytest.mark.parametrize("name", NAMES)
def test_wide_layers_have_link_ids_beyond_32_bits(name):
    shape = (70_000, 90_000)
    corner = Topology.from_coo([69_999, 69_999, 0, 1, 69_998], [89_999, 0, 0, 89_999, 89_999], shape=shape)
    far = np.array([0, 69_998 * 90_000], np.int64)
    signals = Signals(
        np.zeros((1, 90_000), np.float32),
        np.zeros((1, 70_000), np.float32),
        retired_ids=far,
        retired_values=np.ones(2, np.float32),
    )
    signals.inputs[0, 0] = signals.grad_outputs[0, 69_998] = 2.0
    predictor = predictors.get(name)
    if name == "random":
        ids = predictor.sample(corner, 50, 0)
        assert ids.max() > 2**32
    elif name in READ_SIGNALS:
        ids = far[1:]  # their streams visit all pairs
    else:
        # Every other predictor links the last output but one to the first input: over the last output, or because this
        # link was once there.
        ids = np.concatenate([block.ids for block in predictor.stream(corner, signals=signals)])
        assert far[1] in ids
    assert np.all(predictor.score_links(corner, *np.divmod(ids, 90_000), signals=signals) > 0)


@pytest.mark.parametrize("name", PATH_NAMES)
@pytest.mark.parametrize("density", [0.05, 0.4])
def test_inputs_without_links_change_no_scores(name, density):
    small, wide = random_topology(40, 300, density, seed=3), 2**16 + 5
    places = np.sort(np.random.default_rng(0).choice(wide, small.n_in, replace=False))
    spread = Topology.from_coo(small.rows, places[small.cols], shape=(40, wide))
    predictor = predictors.get(name)
    expected, found = ([*predictor.stream(topology)] for topology in (small, spread))
    ids = np.concatenate([block.ids for block in expected])
    rows, cols = np.divmod(ids, small.n_in)
    np.testing.assert_array_equal(np.concatenate([block.ids for block in found]), rows * wide + places[cols])
    scores = [np.concatenate([block.scores for block in blocks]) for blocks in (found, expected)]
    np.testing.assert_allclose(*scores, rtol=1e-12)


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


@pytest.mark.parametrize("name", READ_SIGNALS)
def test_larger_signals_mean_larger_scores(name):
    topology = random_topology(6, 5, 0.3)
    signals = signals_for(topology)
    double = dataclasses.replace(signals, inputs=2 * signals.inputs)
    np.testing.assert_allclose(all_scores(name, topology, double), 2 * all_scores(name, topology, signals), rtol=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_the_momentum_predictor_gives_the_momentum_of_sgd_but_for_what_lies_before_the_window(beta):
    """The oracle is torch's own optimizer on a dense weight, fed the same gradients."""
    draw, topology, steps, window = np.random.default_rng(1), random_topology(5, 6, 0.3), 12, 8
    inputs, grads = draw.standard_normal((steps, 4, 6)), draw.standard_normal((steps, 4, 5))
    weight = torch.nn.Parameter(torch.zeros(5, 6, dtype=torch.float64))
    optimizer = torch.optim.SGD([weight], lr=0.0, momentum=beta)
    buffers = [np.zeros((5, 6))]
    for x, g in zip(inputs, grads, strict=True):
        weight.grad = torch.from_numpy(g.T @ x)
        optimizer.step()
        buffers.append(optimizer.state[weight]["momentum_buffer"].numpy().copy() if beta else g.T @ x)
    ages = np.repeat(np.arange(steps)[::-1], 4)
    signals = Signals(inputs.reshape(-1, 6).astype(np.float32), grads.reshape(-1, 5).astype(np.float32), ages)
    rows, cols = missing_links(topology)
    whole = predictors.Momentum(beta, steps).signed(topology, rows, cols, signals=signals)
    np.testing.assert_allclose(whole, buffers[-1][rows, cols], atol=1e-5)
    recent = predictors.Momentum(beta, window).signed(topology, rows, cols, signals=signals)
    lost = beta**window * buffers[steps - window][rows, cols]
    np.testing.assert_allclose(recent + lost, buffers[-1][rows, cols], atol=1e-5)
    assert beta**44 <= 0.01


def test_the_gradient_of_missing_links_is_never_there_as_a_whole():
    n = 6_000
    topology = random_topology(n, n, 20 / n)
    draw = np.random.default_rng(0)
    signals = Signals(*draw.standard_normal((2, 8, n)).astype(np.float32))
    for predictor in (predictors.Gradient(), predictors.Momentum()):
        topology.row_cols  # noqa: B018 - what is cached does not count
        tracemalloc.start()
        grown = Top().grow(predictor, topology, 1_000, 0, signals=signals)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert grown.size == 1_000
        assert peak < n * n  # one byte per possible link; the gradient itself would take four


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
    assert not name.endswith(("l3", "l3n", "l3p")) or not scores.any()


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


@pytest.mark.parametrize("name", READ_SIGNALS)
def test_predictors_that_read_signals_refuse_none_and_foreign_ones(name):
    topology = random_topology(4, 5, 0.3)
    for nothing in (None, Signals()):
        with pytest.raises(SignalError, match="signals=Signals"):
            list(predictors.get(name).stream(topology, signals=nothing))
    with pytest.raises(ShapeError, match=r"layer of shape \(4, 5\)"):
        list(predictors.get(name).stream(topology, signals=signals_for(random_topology(3, 5, 0.3))))


def test_signals_that_do_not_fit_each_other_are_refused():
    x = np.zeros((3, 3), np.float32)
    with pytest.raises(ShapeError, match="inputs"):
        Signals(np.zeros((2, 3), np.float32), x)
    with pytest.raises(ShapeError, match="one age per sample"):
        Signals(x, x, np.zeros(2, np.int64))
    with pytest.raises(ShapeError, match="retired ids and values"):
        Signals(x, x, retired_ids=np.zeros(2, np.int64))


def test_retired_links_score_what_they_were_and_others_nothing():
    topology = Topology.from_ids([3], (2, 3))
    signals = Signals(retired_ids=np.array([1, 3, 4, 5]), retired_values=np.float32([-2, 9, 0, 1]))
    predictor = predictors.get("retired")
    assert predictor.score_links(topology, [0, 0, 1, 1], [0, 1, 1, 2], signals=signals).tolist() == [0, 2, 0, 1]
    (block,) = predictor.stream(topology, signals=signals)
    assert (block.ids.tolist(), block.scores.tolist()) == ([1, 5], [2, 1])
    assert not list(predictor.stream(topology))


def test_wrong_names_and_options_are_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'ch2_l3n'"):
        predictors.get("ch2l3n")
    with pytest.raises(ConfigError, match="options of predictor 'ch2_l3n' among: proposals_per_link. Got 'budget'"):
        predictors.get("ch2_l3n", budget=3)
    with pytest.raises(ConfigError, match="proposals_per_link to be an integer >= 0"):
        predictors.get("ch2_l3n", proposals_per_link=-1)
    with pytest.raises(ConfigError, match=r"beta in \[0, 1\)"):
        predictors.get("momentum", beta=1.0)
    with pytest.raises(ConfigError, match="window_steps to be an integer >= 1"):
        predictors.get("momentum", window_steps=0)
    built = predictors.registry.build("momentum:beta=0.5,window_steps=3")
    assert built == predictors.Momentum(0.5, 3)
    with pytest.raises(ConfigError, match="predictor options as momentum:option=value"):
        predictors.registry.build("momentum:beta")
