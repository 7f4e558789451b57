"""The layers of a chain as one undirected graph: what the measures of network science look at."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse
from scipy.sparse import csgraph

from sparsecore._typing import Int64Array
from sparsecore.errors import ConfigError, ShapeError, TopologyError
from sparsecore.storage import Topology

__all__ = ["Layers", "Network", "as_layers", "library"]

#: One layer, or the layers of a chain: the outputs of each are the inputs of the next.
Layers: TypeAlias = "Topology | Sequence[Topology]"


@dataclass(frozen=True, eq=False)
class Network:
    """An undirected graph of all neurons of a chain; neurons are numbered layer by layer, the inputs first.

    Attributes
    ----------
    topologies : tuple of Topology
        The layers of links.

    Examples
    --------
    >>> net = Network.of([Topology.full((2, 3)), Topology.full((1, 2))])
    >>> net.n_nodes, net.n_links, net.degrees.tolist()
    (6, 8, [2, 2, 2, 4, 4, 2])
    """

    topologies: tuple[Topology, ...]

    @classmethod
    def of(cls, layers: Layers) -> Network:
        """Return the graph of one layer or of a chain.

        Raises
        ------
        ShapeError
            If neighbouring layers do not share their neurons, or there are none.
        """
        return cls(as_layers(layers))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Neurons of every neuron layer, the inputs first."""
        return (self.topologies[0].n_in, *(topology.n_out for topology in self.topologies))

    @cached_property
    def starts(self) -> Int64Array:
        """First node of every neuron layer and the number of nodes, int64, (n_layers + 2,)."""
        return np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)

    @property
    def n_nodes(self) -> int:
        """Neurons of all layers."""
        return sum(self.sizes)

    @property
    def n_links(self) -> int:
        """Links of all layers."""
        return sum(topology.n_links for topology in self.topologies)

    @cached_property
    def links(self) -> tuple[Int64Array, Int64Array]:
        """Nodes at the input and at the output end of every link, int64, (n_links,) each."""
        ends = enumerate(self.topologies)
        below, above = zip(*((t.cols + self.starts[i], t.rows + self.starts[i + 1]) for i, t in ends), strict=True)
        return np.concatenate(below).astype(np.int64), np.concatenate(above).astype(np.int64)

    @cached_property
    def adjacency(self) -> Any:
        """Symmetric adjacency, ``scipy.sparse.csr_array`` of float64 ones, (n_nodes, n_nodes); 2 entries per link."""
        return self.weighted(np.ones(self.n_links))

    def weighted(self, weights: Any) -> Any:
        """Return the symmetric adjacency with a weight per link, (n_links,), as ``scipy.sparse.csr_array``."""
        below, above = self.links
        ends = np.concatenate([below, above]), np.concatenate([above, below])
        data = np.concatenate([weights, weights]).astype(np.float64)
        return scipy.sparse.coo_array((data, ends), shape=(self.n_nodes, self.n_nodes)).tocsr()

    @cached_property
    def degrees(self) -> Int64Array:
        """Links of every node, both sides of a hidden neuron counted, int64, (n_nodes,)."""
        below, above = self.links
        n = self.n_nodes
        return (np.bincount(below, minlength=n) + np.bincount(above, minlength=n)).astype(np.int64)

    @cached_property
    def giant(self) -> Int64Array:
        """Nodes of the largest connected component, int64, increasing; of the first of equals.

        Raises
        ------
        TopologyError
            If there is no link.
        """
        if self.n_links == 0:
            raise TopologyError("Expected a network with links. Got none.")
        _, labels = csgraph.connected_components(self.adjacency, directed=False)
        return np.flatnonzero(labels == np.argmax(np.bincount(labels))).astype(np.int64)

    def graph(self) -> Any:
        """Return the network as ``igraph.Graph``.

        Raises
        ------
        ConfigError
            If igraph is not installed.
        """
        igraph = library("igraph")
        return igraph.Graph(n=self.n_nodes, edges=np.stack(self.links, axis=1))


def as_layers(layers: Layers) -> tuple[Topology, ...]:
    """Return one layer or a chain as a tuple, or raise `ShapeError` if neighbours do not share their neurons."""
    chain = (layers,) if isinstance(layers, Topology) else tuple(layers)
    if not chain:
        raise ShapeError("Expected at least one layer. Got none.")
    for below, above in zip(chain[:-1], chain[1:], strict=True):
        if below.n_out != above.n_in:
            raise ShapeError(f"Expected a chain of fitting layers. Got {below.n_out} outputs into {above.n_in} inputs.")
    return chain


def library(name: str) -> Any:
    """Return a library of the extra ``metrics``, or raise `ConfigError` that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"Expected the package {name}. Got no such package. "
            "Install it with: pip install 'sparsecore-engine[metrics]'"
        ) from error
