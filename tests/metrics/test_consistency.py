from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsecore import metrics
from sparsecore.errors import ConfigError, ShapeError, TopologyError
from sparsecore.metrics import Network, consistency
from sparsecore.storage import Topology
from tests.metrics.networks import chains, large_chain, relabelled, two_blocks
from tests.strategies import random_topology


def by_eigenvectors(chain, removed):
    """Return the expected hits by the definition: eigenvectors of the whole adjacency, all scores in one matrix."""
    network = Network.of(chain)
    n = network.n_nodes
    below, above = network.links
    kept, gone, candidate = np.zeros((n, n)), np.zeros((n, n)), np.zeros((n, n), bool)
    for matrix, flags in ((kept, ~removed), (gone, removed)):
        matrix[above[flags], below[flags]] = matrix[below[flags], above[flags]] = 1
    edges = network.starts
    for layer in range(len(chain)):
        candidate[edges[layer + 1] : edges[layer + 2], edges[layer] : edges[layer + 1]] = 1
    values, vectors = np.linalg.eigh(kept)
    rebuilt = np.zeros((n, n))
    for value in np.unique(values.round(8)):
        if abs(value) < 1e-6:
            continue
        space = vectors[:, abs(values - value) < 1e-6]
        rebuilt += space @ (value * np.eye(space.shape[1]) + space.T @ gone @ space) @ space.T
    scores = rebuilt[candidate & (kept == 0)]
    hit = gone[candidate & (kept == 0)] > 0
    limit = np.sort(scores)[-removed.sum()]
    over, tied = scores > limit + 1e-7, abs(scores - limit) <= 1e-7
    return (hit[over].sum() + hit[tied].sum() * (removed.sum() - over.sum()) / tied.sum()) / removed.sum()


@given(chains(min_links=3), st.integers(0, 999))
def test_singular_vectors_give_what_eigenvectors_of_the_whole_adjacency_give(chain, seed) -> None:
    n_links = sum(topology.n_links for topology in chain)
    removed = np.random.default_rng(seed).random(n_links) < 0.3
    if 0 < removed.sum() < n_links:
        found = consistency.consistency_of(chain, removed)
        assert found == pytest.approx(by_eigenvectors(chain, removed))
        flags = Topologies(chain, removed)
        other, moved = flags.relabelled(seed)
        assert consistency.consistency_of(other, moved) == pytest.approx(found)


class Topologies:
    """A chain with a flag per link that follows the link when neurons are renumbered."""

    def __init__(self, chain, flags):
        self.chain, self.flags = chain, flags

    def relabelled(self, seed):
        other, number = relabelled(self.chain, seed)
        below, above = (number[ends] for ends in Network.of(self.chain).links)
        flagged = {(a, b) for a, b, flag in zip(below, above, self.flags, strict=True) if flag}
        ends = zip(*Network.of(other).links, strict=True)
        return other, np.array([pair in flagged for pair in ends])


def test_blocks_are_consistent_and_random_networks_are_not() -> None:
    blocks = metrics.structural_consistency(two_blocks(12), fraction=0.1, repeats=10)
    random = metrics.structural_consistency(random_topology(24, 24, 0.5), fraction=0.1, repeats=10)
    assert blocks.mean > 0.99
    assert random.mean < 0.6
    assert blocks.rank is None
    assert blocks.chance == pytest.approx(29 / (576 - 288 + 29))


def test_truncation_keeps_what_a_planted_structure_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = two_blocks(12)
    monkeypatch.setattr(consistency, "DENSE_LIMIT", 100)
    found = metrics.structural_consistency(layer, rank=4)
    assert found.rank == 4
    assert found.mean > 0.99


def test_tiles_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = [random_topology(30, 20, 0.2, 1), random_topology(10, 30, 0.3, 2)]
    whole = metrics.structural_consistency(chain)
    monkeypatch.setattr(consistency, "_TILE", 64)
    assert metrics.structural_consistency(chain) == whole


def test_a_large_random_network_is_no_more_consistent_than_chance() -> None:
    found = metrics.structural_consistency(large_chain(), repeats=2)
    assert found.rank == 32
    assert found.mean < 10 * found.chance


def test_bad_options_are_refused() -> None:
    layer = Topology.full((3, 3))
    with pytest.raises(TopologyError, match="take out some links"):
        metrics.structural_consistency(layer, fraction=0.01)
    with pytest.raises(ConfigError, match="fraction"):
        metrics.structural_consistency(layer, fraction=2)
    with pytest.raises(ConfigError, match="repeats"):
        metrics.structural_consistency(layer, repeats=0)
    with pytest.raises(ShapeError, match="one flag"):
        consistency.consistency_of(layer, np.zeros(3, bool))
