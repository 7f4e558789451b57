"""The largest communities of a network, and the links within and between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsecore._typing import Int64Array
from sparsecore.metrics import Communities, Network
from sparsecore.storage import Topology

__all__ = ["Groups", "groups_of"]

#: Communities with a colour of their own.
NAMED = 7


@dataclass(frozen=True, eq=False)
class Groups:
    """Communities in order of falling number of link ends; behind them all others as one.

    Attributes
    ----------
    member : array, int64, (n_nodes,)
        Group of every neuron; -1 for one without links.
    sizes : array, int64, (n_groups,)
        Neurons.
    links : array, int64, (n_groups, n_groups)
        Links between two groups, symmetric; within a group on the diagonal.
    n_communities : int
        How many there are, of two or more neurons.
    others : bool
        Whether the last group stands for all communities without a colour.
    """

    member: Int64Array
    sizes: Int64Array
    links: Int64Array
    n_communities: int
    others: bool

    def label(self, group: int) -> str:
        """Return the name of a group."""
        return "others" if self.others and group == len(self.sizes) - 1 else f"{group + 1}"


def groups_of(layers: tuple[Topology, ...], found: Communities) -> Groups:
    """Return the largest communities of a chain, at most `NAMED` and one group of the others."""
    network = Network.of(layers)
    linked = network.degrees > 0
    weight = np.bincount(found.labels, weights=network.degrees)
    order = np.argsort(-weight, kind="stable")
    n_communities = int(np.count_nonzero(np.bincount(found.labels[linked]) > 1))
    place = np.full(order.size, NAMED, np.int64)
    place[order[:NAMED]] = np.arange(min(NAMED, order.size))
    member = np.where(linked, place[found.labels], -1)
    sizes = np.bincount(member[linked], minlength=1)
    below, above = network.links
    pairs = np.bincount(member[below] * sizes.size + member[above], minlength=sizes.size**2)
    between = pairs.reshape(sizes.size, sizes.size)
    links = between + between.T - np.diag(np.diag(between))
    return Groups(member, sizes, links, n_communities, others=sizes.size > NAMED)
