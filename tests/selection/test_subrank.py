import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from oracles import bipartite_graph, missing_links, path_score
from scipy.stats import spearmanr
from strategies import random_topology, topologies

from sparsecore import predictors
from sparsecore.errors import ConfigError, UnknownNameError
from sparsecore.predictors import CNL3, CH3L3p
from sparsecore.selection import Top, subrank
from sparsecore.selection.subrank import ShortestPathCorrelation
from sparsecore.storage import Topology

SCORES_EXISTING = [name for name in predictors.names() if isinstance(predictors.get(name), subrank.ScoresExisting)]


def correlation_by_brute_force(name, topology, rows, cols):
    """All shortest paths with networkx, on links scored by walking the graph without them; ranks by scipy."""
    graph = bipartite_graph(topology)
    for (_, row), (_, col) in ((u, v) if u[0] == "u" else (v, u) for u, v in list(graph.edges)):
        without = Topology.from_ids(np.setdiff1d(topology.link_ids, row * topology.n_in + col), topology.shape)
        graph[("u", row)][("v", col)]["length"] = 1 / (1 + path_score(name, without, row, col))
    nodes = list(graph)
    far = {node: nx.single_source_dijkstra_path_length(graph, node, weight="length") for node in nodes}

    def seen(node):
        return [round(far[node].get(other, 1e9), 9) for other in nodes]

    return [spearmanr(seen(("u", row)), seen(("v", col))).statistic for row, col in zip(rows, cols, strict=True)]


@pytest.mark.parametrize("name", ["ch3_l3p", "cn_l3", "ra_l3", "ch2_l3n"])
@settings(deadline=None, max_examples=25)
@given(topology=topologies(low=2, high=6, min_links=1))
def test_the_correlation_is_that_of_all_shortest_paths(name, topology):
    rows, cols = missing_links(topology)
    found = ShortestPathCorrelation(topology, predictors.get(name)).of(rows, cols)
    expected = correlation_by_brute_force(name, topology, rows.tolist(), cols.tolist())
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("tile", [1, 50, 10**6])
def test_tiles_of_any_size_give_the_same(tile, monkeypatch):
    topology = random_topology(14, 11, 0.2, 3)
    rows, cols = missing_links(topology)
    whole = ShortestPathCorrelation(topology, CH3L3p()).of(rows, cols)
    monkeypatch.setattr(subrank, "_TILE", tile)
    shuffled = np.random.default_rng(0).permutation(rows.size)
    parts = ShortestPathCorrelation(topology, CH3L3p()).of(rows[shuffled], cols[shuffled])
    assert np.array_equal(parts, whole[shuffled])


@settings(deadline=None, max_examples=40)
@given(topology=topologies(low=3, high=8, min_links=4))
def test_only_links_tied_at_the_threshold_are_chosen_by_correlation(topology):
    rows, cols = missing_links(topology)
    ids = rows * topology.n_in + cols
    scores = CNL3().score_links(topology, rows, cols)
    paths = ShortestPathCorrelation(topology, CNL3()).of(rows, cols)
    order = np.lexsort((ids, -paths, -scores))
    for n in range(1, int((scores > 0).sum()) + 1):
        grown = Top(subrank="spcorr").grow(CNL3(), topology, n, 0)
        assert set(grown) == set(ids[order[:n]])


def test_dijkstra_starts_only_at_the_ends_of_tied_links(monkeypatch):
    topology = random_topology(30, 30, 0.08, 1)
    scores = CNL3().score_links(topology, *missing_links(topology))
    n = 20
    threshold = np.sort(scores)[-n]
    ids = np.ravel_multi_index(missing_links(topology), topology.shape)[scores == threshold]
    asked = []
    exact = subrank.dijkstra
    monkeypatch.setattr(subrank, "dijkstra", lambda *a, **k: asked.extend(k["indices"].tolist()) or exact(*a, **k))
    Top(subrank="spcorr").grow(CNL3(), topology, n, 0)
    assert set(asked) == set((ids // 30).tolist()) | set((ids % 30 + 30).tolist())
    assert len(set(asked)) < 60


def test_numbers_that_differ_by_rounding_alone_are_equal_and_others_are_not():
    near = 1.0 + np.array([-(2.0**-48), 0.0, 2.0**-48, 2.0**-38])
    rounded = subrank.to_forty_bits(near)
    assert rounded[0] == rounded[1] == rounded[2] == 1.0 < rounded[3]
    assert subrank.to_forty_bits(np.array([np.inf]))[0] == np.inf


def test_nothing_is_subranked_where_scores_run_out():
    topology = Topology.from_ids([0], (3, 3))
    assert Top(subrank="spcorr").grow(CNL3(), topology, 3, 5).size == 3


def test_predictors_that_cannot_score_stored_links_and_wrong_names_are_refused():
    assert {"ch3_l3p", "ch2_l3n"} <= set(SCORES_EXISTING) and "gradient" not in SCORES_EXISTING
    with pytest.raises(ConfigError, match="scores stored links"):
        Top(subrank="spcorr").grow(predictors.Random(), random_topology(4, 4, 0.5), 2, 0)
    with pytest.raises(UnknownNameError, match="Did you mean 'spcorr'"):
        Top(subrank="spcor")
