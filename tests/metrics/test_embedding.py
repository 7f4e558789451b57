from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csgraph

from sparsecore import metrics
from sparsecore.errors import ConfigError, ShapeError, TopologyError, UnknownNameError
from sparsecore.metrics import Network
from sparsecore.metrics.embedding import repulsion_attraction
from sparsecore.storage import Topology
from tests.metrics.networks import chains, large_chain, relabelled, ring, two_blocks
from tests.strategies import random_topology

REDUCTIONS = ("isomap", "laplacian", "ncmce")


def cyclic(angles):
    """Return the circular order, read from node 0, in the direction in which node 1 comes first."""
    order = np.argsort(angles, kind="stable")
    order = np.roll(order, -int(np.flatnonzero(order == 0)[0]))
    mirrored = np.roll(order[::-1], 1)
    return min(order.tolist(), mirrored.tolist())


@given(chains(min_links=1))
def test_links_are_weighted_by_repulsion_and_attraction(chain) -> None:
    network = Network.of(chain)
    degree = network.degrees
    common = (network.adjacency @ network.adjacency).toarray()
    for a, b, weight in zip(*network.links, repulsion_attraction(chain), strict=True):
        assert weight == (degree[a] + degree[b] + degree[a] * degree[b]) / (1 + common[a, b])


@pytest.mark.parametrize("reduction", ["isomap", "laplacian"])
def test_a_ring_is_laid_out_as_a_ring(reduction: str) -> None:
    n = 12
    placed = metrics.coalescent_angles(ring(n, 2), reduction=reduction, equidistant=False)
    # Around the ring: input 0, output 0, input 1, output 1, ... where output i has inputs i and i + 1.
    around = np.column_stack([np.arange(n), n + np.arange(n)]).ravel()
    steps = np.diff(placed.angles[around], append=placed.angles[around][0])
    steps = np.mod(steps + np.pi, 2 * np.pi) - np.pi
    assert np.abs(steps) == pytest.approx(np.full(2 * n, np.pi / n), abs=1e-6)
    assert abs(steps.sum()) == pytest.approx(2 * np.pi)


def test_isomap_is_classical_scaling_of_shortest_paths() -> None:
    from sklearn.manifold import ClassicalMDS

    layer = random_topology(15, 15, 0.3, seed=4)
    network = Network.of(layer)
    weighted = network.weighted(repulsion_attraction(layer))[network.giant][:, network.giant]
    distances = csgraph.dijkstra(weighted, directed=False)
    plane = ClassicalMDS(n_components=2, metric="precomputed").fit_transform(distances)
    expected = np.mod(np.arctan2(plane[:, 1], plane[:, 0]), 2 * np.pi)
    placed = metrics.coalescent_angles(layer)
    assert placed.exact
    assert cyclic(placed.angles) == cyclic(expected)


def test_ncmce_is_the_singular_value_decomposition_of_tree_distances() -> None:
    layer = random_topology(15, 15, 0.3, seed=4)
    network = Network.of(layer)
    weighted = network.weighted(repulsion_attraction(layer))[network.giant][:, network.giant]
    tree = csgraph.minimum_spanning_tree(weighted)
    distances = csgraph.dijkstra(tree, directed=False)
    second = np.linalg.svd(distances)[2][1]
    expected = (second - second.min()) / np.ptp(second) * 2 * np.pi * (1 - 1 / second.size)
    angles = metrics.coalescent_angles(layer, reduction="ncmce", equidistant=False).angles
    mirrored = expected.max() - expected
    assert min(abs(angles - expected).max(), abs(angles - mirrored).max()) < 1e-6


def test_laplacian_solves_the_generalised_eigenvalue_problem() -> None:
    import scipy.linalg

    layer = random_topology(15, 15, 0.3, seed=4)
    network = Network.of(layer)
    weights = network.weighted(repulsion_attraction(layer))[network.giant][:, network.giant].toarray()
    kernel = np.where(weights > 0, np.exp(-((weights / weights[weights > 0].mean()) ** 2)), 0)
    degree = np.diag(kernel.sum(1))
    vectors = scipy.linalg.eigh(degree - kernel, degree)[1][:, 1:3]
    expected = np.mod(np.arctan2(vectors[:, 1], vectors[:, 0]), 2 * np.pi)
    assert cyclic(metrics.coalescent_angles(layer, reduction="laplacian").angles) == cyclic(expected)


def test_adjusted_angles_are_equidistant_and_keep_the_order() -> None:
    layer = random_topology(20, 20, 0.2)
    raw, even = (metrics.coalescent_angles(layer, equidistant=flag).angles for flag in (False, True))
    assert np.array_equal(np.argsort(raw, kind="stable"), np.argsort(even, kind="stable"))
    assert np.sort(even) == pytest.approx(np.arange(even.size) * 2 * np.pi / even.size)


def test_landmarks_place_communities_as_all_distances_do() -> None:
    layer = two_blocks(40, bridge=True)
    labels = np.repeat([0, 1, 0, 1], 40)
    for max_landmarks in (160, 30):
        placed = metrics.coalescent_angles(layer, max_landmarks=max_landmarks)
        assert placed.exact == (max_landmarks == 160)
        assert metrics.separability_of(placed.angles, labels[placed.nodes]).index > 0.9


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_bridged_blocks_separate_whatever_the_labels(reduction: str) -> None:
    layer = two_blocks(10, bridge=True)
    labels = np.repeat([0, 1, 0, 1], 10)
    assert metrics.angular_separability(layer, labels, reduction=reduction).index > 0.9
    (other,), moved = relabelled([layer], 3)
    same = np.empty_like(labels)
    same[moved] = labels
    assert metrics.angular_separability(other, same, reduction=reduction).index > 0.9


def test_a_random_network_does_not_separate_random_groups() -> None:
    labels = np.random.default_rng(0).integers(0, 4, 400)
    found = metrics.angular_separability(random_topology(200, 200, 0.05), labels)
    assert found.index < 0.1
    assert found.p_value > 0.001


@given(st.lists(st.integers(0, 3), min_size=4, max_size=12), st.integers(0, 999))
def test_mistakes_are_those_of_the_shortest_reach_around_the_circle(labels, seed) -> None:
    sizes = np.bincount(labels)
    if np.count_nonzero(sizes) < 2 or sizes.max() < 2:
        return
    n = len(labels)
    angles = np.random.default_rng(seed).permutation(n) * 2 * np.pi / n
    around = np.asarray(labels)[np.argsort(angles)]
    mistakes = 0
    for label in set(labels):
        reaches = []
        for first in np.flatnonzero(around == label):
            turned = np.roll(around, -first)
            last = np.flatnonzero(turned == label)[-1]
            reaches.append(np.count_nonzero(turned[: last + 1] != label))
        mistakes += min(reaches)
    found = metrics.separability_of(angles, labels, shuffles=20)
    assert found.mistakes == mistakes
    assert 0 <= found.index <= 1
    turned = metrics.separability_of(np.mod(angles + 2.0, 2 * np.pi), labels, shuffles=20)
    assert turned.mistakes == mistakes
    assert metrics.separability_of(-angles, labels, shuffles=20).mistakes == mistakes


def test_radii_put_hubs_at_the_centre() -> None:
    graph = nx.star_graph(5)
    layer = Topology.full((1, 5))
    assert Network.of(layer).degrees.max() == max(dict(graph.degree()).values())
    radii = metrics.hyperbolic_radii(layer, 3.0)
    assert radii.argmin() == 5
    assert radii[5] == pytest.approx(np.log(6))
    assert radii.max() == pytest.approx(2 * np.log(6))


def test_stars_are_embedded_whose_kernel_has_one_eigenvalue_many_times() -> None:
    stars = [Topology.full((1, n)) for n in (*range(4, 70), 128, 256)]
    for star in [*stars, Topology.full((2, 60)), Topology.full((90, 1))]:
        assert np.isfinite(metrics.coalescent_angles(star, reduction="isomap").angles).all()


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_large_network_is_embedded(reduction: str) -> None:
    placed = metrics.coalescent_angles(large_chain(), reduction=reduction)
    assert placed.exact == (reduction != "isomap")
    assert np.isfinite(placed.angles).all()


def test_bad_input_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="isomap"):
        metrics.coalescent_angles(Topology.full((3, 3)), reduction="isomop")
    with pytest.raises(TopologyError, match="at least 4 neurons"):
        metrics.coalescent_angles(Topology.full((1, 2)))
    with pytest.raises(ConfigError, match="max_landmarks"):
        metrics.coalescent_angles(Topology.full((3, 3)), max_landmarks=2)
    with pytest.raises(ConfigError, match="gamma"):
        metrics.hyperbolic_radii(Topology.full((3, 3)), 1.0)
    for n in (3, 9):
        with pytest.raises(ShapeError, match=rf"one label per neuron, 6. Got an array of shape \({n},\)"):
            metrics.angular_separability(Topology.full((3, 3)), labels=np.zeros(n))
    with pytest.raises(ShapeError, match="one label"):
        metrics.separability_of([0.0, 1.0], [0, 1, 2])
    with pytest.raises(TopologyError, match="at least 2 groups"):
        metrics.separability_of([0.0, 1.0, 2.0, 3.0], [0, 0, 0, 0])
