from __future__ import annotations

import doctest
import importlib
import pkgutil
import time

import networkx as nx
import numpy as np
import pytest
from hypothesis import given

from sparsecore import metrics
from sparsecore.errors import ConfigError, ShapeError, TopologyError
from sparsecore.metrics import Network
from sparsecore.metrics.network import library
from sparsecore.storage import Topology
from tests.metrics.networks import chains, large_chain
from tests.strategies import random_topology


def as_networkx(network: Network) -> nx.Graph:
    graph = nx.Graph()
    graph.add_nodes_from(range(network.n_nodes))
    graph.add_edges_from(zip(*(ends.tolist() for ends in network.links), strict=True))
    return graph


@given(chains())
def test_a_chain_is_one_graph_whose_layers_share_their_neurons(chain) -> None:
    network = Network.of(chain)
    graph = as_networkx(network)
    assert graph.number_of_edges() == network.n_links == sum(topology.n_links for topology in chain)
    assert network.degrees.tolist() == [degree for _, degree in graph.degree()]
    assert np.array_equal(network.adjacency.toarray(), nx.to_numpy_array(graph))
    for index, topology in enumerate(chain):
        part = network.adjacency.toarray()
        block = part[network.starts[index + 1] : network.starts[index + 2], network.starts[index] :][:, : topology.n_in]
        assert np.array_equal(block > 0, topology.to_dense())


@given(chains(min_links=1))
def test_the_giant_component_is_a_largest_connected_set(chain) -> None:
    network = Network.of(chain)
    parts = list(nx.connected_components(as_networkx(network)))
    giant = set(network.giant.tolist())
    assert giant in parts
    assert len(giant) == max(map(len, parts))


@given(chains())
def test_igraph_gets_the_same_graph(chain) -> None:
    network = Network.of(chain)
    assert network.graph().degree() == network.degrees.tolist()


def test_layers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="4 outputs into 5 inputs"):
        Network.of([random_topology(4, 3, 0.5), random_topology(2, 5, 0.5)])
    with pytest.raises(ShapeError, match="at least one layer"):
        Network.of([])


def test_a_network_without_links_has_no_giant_component() -> None:
    with pytest.raises(TopologyError, match="with links"):
        _ = Network.of(Topology.from_ids([], (2, 2))).giant


def test_a_missing_library_says_how_to_install_it() -> None:
    with pytest.raises(ConfigError, match=r"sparsecore-engine\[metrics\]"):
        library("no_such_package")


def test_layers_are_grouped_into_chains_by_number_and_size() -> None:
    layers = {
        "hidden.0": Topology.full((4, 3)),
        "hidden.2": Topology.full((2, 4)),
        "hidden.4": Topology.full((5, 3)),
        "block.q": Topology.full((5, 5)),
        "block.k": Topology.full((5, 5)),
    }
    grouped = [list(chain) for chain in metrics.chains_of(layers)]
    assert grouped == [["hidden.0", "hidden.2"], ["hidden.4"], ["block.q"], ["block.k"]]


def test_all_measures_of_a_large_network_come_within_a_minute_and_what_is_not_defined_says_why() -> None:
    started = time.perf_counter()
    rows = metrics.measure_network(large_chain())
    assert time.perf_counter() - started < 60
    assert all(row.value is not None for row in rows)
    assert {row.name for row in rows} >= {"modularity", "structural consistency", "angular separability"}
    empty = metrics.measure_network(Topology.from_ids([], (3, 3)))
    assert [row.name for row in empty] == [row.name for row in rows]
    assert [row.value for row in empty[:2]] == [0.0, 0.0]
    assert all(row.value is None and "Expected" in row.note for row in empty[3:])


def test_neuron_layers_have_size_active_fraction_and_hub_share() -> None:
    rows = metrics.measure_layers([Topology.full((10, 4)), Topology.full((2, 10))])
    assert [size for size, _, _ in rows] == [4, 10, 2]
    assert [active for _, active, _ in rows] == [1, 1, 1]
    assert [share for *_, share in rows] == pytest.approx([0.25, 0.1, 0.5])


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(metrics.__path__)])
def test_examples_in_docstrings_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"sparsecore.metrics.{name}")).failed == 0
