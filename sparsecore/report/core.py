"""The busiest part of a network, small enough to be drawn and divided."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsecore._typing import Int64Array
from sparsecore.metrics import Network
from sparsecore.metrics.network import Layers
from sparsecore.storage import Topology

__all__ = ["Core", "core_of"]


@dataclass(frozen=True, eq=False)
class Core:
    """A network, or its busiest part.

    Attributes
    ----------
    layers : tuple of Topology
        The links, a chain again.
    share : float
        Fraction of the neurons of every neuron layer that are left, those with most links; 1 for the whole.
    """

    layers: tuple[Topology, ...]
    share: float

    @property
    def note(self) -> str:
        """What was left out, in words; empty for the whole."""
        if self.share == 1.0:
            return ""
        n_links = sum(layer.n_links for layer in self.layers)
        return (
            f"Too large to be taken whole: seen are the {n_links:,} links among the {self.share:.1%} of each neuron "
            "layer that have most links."
        )


def core_of(layers: Layers, most_links: int) -> Core:
    """Return a chain, or where it has too many links, those among the neurons with most links.

    Parameters
    ----------
    layers : Topology or sequence of Topology
        One layer, or the layers of a chain.
    most_links : int
        Of more links, the largest share of each neuron layer is taken, in order of falling degree, that has no more
        links among its neurons.

    Notes
    -----
    A link is among the busiest share p of both layers that it joins if the larger of the ranks of its ends, as a
    fraction of their layers, is below p; one partition of these finds p. O(links + neurons · log neurons).
    """
    network = Network.of(layers)
    if network.n_links <= most_links:
        return Core(network.topologies, 1.0)
    ranks = np.empty(network.n_nodes)
    orders = []
    for start, end in zip(network.starts[:-1], network.starts[1:], strict=True):
        order = np.argsort(-network.degrees[start:end], kind="stable")
        ranks[start + order] = (np.arange(order.size) + 1) / max(1, order.size)
        orders.append(order)
    below, above = network.links
    needed = np.maximum(ranks[below], ranks[above])
    share = float(np.partition(needed, most_links)[most_links])
    inside = [np.flatnonzero(ranks[a:b] < share) for a, b in zip(network.starts[:-1], network.starts[1:], strict=True)]
    pairs = zip(network.topologies, inside[:-1], inside[1:], strict=True)
    return Core(tuple(_among(layer, first, second) for layer, first, second in pairs), share)


def _among(layer: Topology, inputs: Int64Array, outputs: Int64Array) -> Topology:
    """Return the links among some inputs and outputs, which get new numbers in their order."""
    places = []
    for n, kept in ((layer.n_in, inputs), (layer.n_out, outputs)):
        place = np.full(n, -1, np.int64)
        place[kept] = np.arange(kept.size)
        places.append(place)
    cols, rows = places[0][layer.cols], places[1][layer.rows]
    both = (cols >= 0) & (rows >= 0)
    return Topology.from_coo(rows[both], cols[both], shape=(max(1, outputs.size), max(1, inputs.size)))
