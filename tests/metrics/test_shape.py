"""Degrees, communities, distances and paths against closed forms, networkx and brute force."""

from __future__ import annotations

import itertools
import math
import time

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsecore import metrics
from sparsecore.errors import ConfigError, ShapeError, TopologyError, UnknownNameError
from sparsecore.metrics import Network
from sparsecore.storage import Topology
from tests.metrics.networks import chains, large_chain, relabelled, ring, two_blocks
from tests.metrics.test_network import as_networkx
from tests.strategies import random_topology


@pytest.mark.parametrize("gamma", [2.2, 2.7, 3.5])
def test_the_exponent_of_drawn_power_laws_is_found_within_four_standard_errors(gamma: float) -> None:
    random = np.random.default_rng(0)
    support = np.arange(1, 200_000)
    weights = support**-gamma
    law = metrics.power_law(random.choice(support, 20_000, p=weights / weights.sum()))
    assert abs(law.gamma - gamma) < 4 * law.standard_error + 0.02
    assert law.ks_distance < 0.02
    assert law.n_tail >= 100


def test_barabasi_albert_degrees_have_an_exponent_of_about_three() -> None:
    graph = nx.barabasi_albert_graph(20_000, 4, seed=1)
    assert 2.6 < metrics.power_law([degree for _, degree in graph.degree()]).gamma < 3.3


def test_exponents_above_three_are_not_cut_off() -> None:
    assert metrics.degree_power_law(random_topology(1000, 1000, 0.03)).gamma > 5


def test_equal_degrees_have_no_exponent() -> None:
    with pytest.raises(TopologyError, match="two different positive degrees"):
        metrics.degree_power_law(ring(6, 2))


@given(chains(min_links=1), st.integers(0, 99))
def test_modularity_is_that_of_networkx_and_does_not_depend_on_labels(chain, seed) -> None:
    network = Network.of(chain)
    labels = np.random.default_rng(seed).integers(0, 3, network.n_nodes)
    groups = [set(np.flatnonzero(labels == label).tolist()) for label in range(3)]
    value = metrics.modularity(chain, labels)
    assert value == pytest.approx(nx.community.modularity(as_networkx(network), groups))
    other, moved = relabelled(chain, seed)
    same = np.empty_like(labels)
    same[moved] = labels
    assert metrics.modularity(other, same) == pytest.approx(value)


@pytest.mark.parametrize("method", ["leiden", "louvain"])
def test_separate_blocks_are_found(method: str) -> None:
    blocks = two_blocks()
    found = metrics.find_communities(blocks, method=method)
    assert found.modularity == pytest.approx(0.5)
    assert found.labels.tolist() in ([0] * 4 + [1] * 4 + [0] * 4 + [1] * 4, [1] * 4 + [0] * 4 + [1] * 4 + [0] * 4)
    assert metrics.find_communities(Topology.full((4, 4)), method=method).modularity == pytest.approx(0, abs=1e-12)


def test_the_same_seed_finds_the_same_communities_and_leaves_random_alone() -> None:
    import random

    layer = random_topology(60, 60, 0.05)
    random.seed(3)
    first = metrics.find_communities(layer, seed=5)
    after = random.random()
    random.seed(3)
    assert random.random() == after
    assert np.array_equal(metrics.find_communities(layer, seed=5).labels, first.labels)


def test_wrong_divisions_are_refused() -> None:
    with pytest.raises(ShapeError, match="one label"):
        metrics.modularity(Topology.full((2, 2)), [0, 1])
    with pytest.raises(UnknownNameError, match="leiden"):
        metrics.find_communities(Topology.full((2, 2)), method="lieden")
    for call in (metrics.find_communities, lambda layer: metrics.modularity(layer, [0] * 4)):
        with pytest.raises(TopologyError, match="with links"):
            call(Topology.from_ids([], (2, 2)))


@given(chains(min_links=1), st.integers(0, 99))
def test_the_path_length_is_that_of_networkx_and_does_not_depend_on_labels(chain, seed) -> None:
    network = Network.of(chain)
    found = metrics.characteristic_path_length(chain)
    largest = as_networkx(network).subgraph(network.giant.tolist())
    assert found.mean == pytest.approx(nx.average_shortest_path_length(largest))
    assert found.exact
    if sum(len(part) == found.n_nodes for part in nx.connected_components(as_networkx(network))) == 1:
        assert metrics.characteristic_path_length(relabelled(chain, seed)[0]).mean == pytest.approx(found.mean)


def test_path_lengths_of_stars_and_rings_are_those_of_their_formulas() -> None:
    n = 50
    assert metrics.characteristic_path_length(Topology.full((1, n))).mean == pytest.approx(2 * n / (n + 1))
    # Reach 2 is one cycle of 2n nodes: distances 1, 1, 2, 2, ..., n.
    assert metrics.characteristic_path_length(ring(n, 2)).mean == pytest.approx(n * n / (2 * n - 1))


def test_sampled_path_lengths_lie_within_four_standard_errors_of_the_exact_one() -> None:
    layer = random_topology(300, 300, 0.01, seed=2)
    exact = metrics.characteristic_path_length(layer)
    for seed in range(5):
        sampled = metrics.characteristic_path_length(layer, max_sources=60, seed=seed)
        assert not sampled.exact
        assert abs(sampled.mean - exact.mean) < 4 * sampled.standard_error


@given(chains())
def test_credit_paths_are_those_of_enumeration(chain) -> None:
    found = metrics.credit_paths(chain)
    sizes = [chain[0].n_in, *(topology.n_out for topology in chain)]
    dense = [topology.to_dense() for topology in chain]
    walks = [
        walk
        for walk in itertools.product(*map(range, sizes))
        if all(dense[i][b, a] for i, (a, b) in enumerate(itertools.pairwise(walk)))
    ]
    assert found.count == pytest.approx(len(walks))
    for layer, share in enumerate(found.shares):
        expected = np.bincount([walk[layer] for walk in walks], minlength=sizes[layer]) / max(1, len(walks))
        assert share == pytest.approx(expected)


@given(chains(), st.floats(0.01, 1), st.integers(0, 99))
def test_hub_shares_do_not_depend_on_labels_and_grow_with_the_fraction(chain, fraction, seed) -> None:
    shares = metrics.hub_share(chain, fraction)
    assert metrics.hub_share(relabelled(chain, seed)[0], fraction) == pytest.approx(shares)
    assert all(0 <= share <= 1 for share in shares)
    assert all(more >= share - 1e-12 for share, more in zip(shares, metrics.hub_share(chain, 1), strict=True))


def test_hubs_of_equal_neurons_carry_their_fraction() -> None:
    assert metrics.hub_share([Topology.full((10, 10))] * 3, 0.3) == pytest.approx([0.3] * 4)


def test_deep_networks_have_more_paths_than_a_float_holds_without_overflow() -> None:
    found = metrics.credit_paths([Topology.full((100, 100))] * 300)
    assert found.log10_count == pytest.approx(2 * 301)
    assert found.count == math.inf
    assert all(share == pytest.approx(np.full(100, 0.01)) for share in found.shares)
    assert metrics.credit_paths(Topology.from_ids([], (2, 2))).log10_count == -math.inf


def test_a_single_path_is_found_beside_a_block_that_leads_nowhere() -> None:
    """Ten neurons of each layer are joined to all ten of the next and to no output; the eleventh has a path."""
    ids = [*(row * 11 + col for row in range(10) for col in range(10)), 120]
    block, last = Topology.from_ids(ids, (11, 11)), Topology.from_ids([120], (11, 11))
    found = metrics.credit_paths([block] * 400 + [last])
    assert found.log10_count == pytest.approx(0.0)
    assert all(share[10] == 1.0 for share in found.shares)
    both = metrics.credit_paths([block] * 400 + [last, *[block.transpose()] * 400])
    assert all(share.sum() == pytest.approx(1.0) for share in both.shares)


def test_fractions_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="fraction"):
        metrics.hub_share(Topology.full((2, 2)), 0.0)
    with pytest.raises(ConfigError, match="max_sources"):
        metrics.characteristic_path_length(Topology.full((2, 2)), max_sources=1)


@pytest.mark.parametrize(
    "measure",
    [
        metrics.anp,
        metrics.credit_paths,
        metrics.hub_share,
        metrics.degree_power_law,
        metrics.find_communities,
        metrics.characteristic_path_length,
        metrics.structural_consistency,
        metrics.angular_separability,
    ],
    ids=lambda measure: measure.__name__,
)
def test_sixty_thousand_links_take_seconds(measure) -> None:
    chain = large_chain()
    started = time.perf_counter()
    measure(chain)
    assert time.perf_counter() - started < 30
