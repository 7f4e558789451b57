"""Communities and how well they divide a network."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sparsecore._typing import Int64Array
from sparsecore.errors import ShapeError, TopologyError, UnknownNameError
from sparsecore.metrics.network import Layers, Network, library

__all__ = ["Communities", "find_communities", "modularity"]

_METHODS = ("leiden", "louvain")


@dataclass(frozen=True, eq=False)
class Communities:
    """A division of the neurons.

    Attributes
    ----------
    labels : array, int64, (n_nodes,)
        Community of every neuron, numbered as in `Network`; one without links is a community by itself.
    modularity : float
        Modularity of the division.
    """

    labels: Int64Array
    modularity: float


def modularity(layers: Layers, labels: ArrayLike) -> float:
    """Return the modularity of a division of the neurons.

    Parameters
    ----------
    layers : Topology or sequence of Topology
        One layer, or the layers of a chain, read as an undirected graph.
    labels : array, integer, (n_nodes,)
        Community of every neuron, the inputs first, then layer by layer.

    Returns
    -------
    float
        ``Q = Σ_c (L_c / L - (d_c / 2L)²)``, in [-1/2, 1): L_c links inside community c, d_c the sum of its degrees.

    Raises
    ------
    ShapeError
        If there is not one label per neuron.
    TopologyError
        If there is no link.

    Notes
    -----
    Source: Newman and Girvan, "Finding and evaluating community structure in networks" (Phys. Rev. E 69, 2004). The
    null model is that of any graph, as in the studies of trained networks, not the bipartite one of Barber (2007).

    Examples
    --------
    >>> from sparsecore.storage import Topology
    >>> modularity(Topology.from_coo([0, 1], [0, 1], shape=(2, 2)), [0, 1, 0, 1])
    0.5
    """
    network = Network.of(layers)
    given = np.asarray(labels)
    if given.shape != (network.n_nodes,):
        raise ShapeError(f"Expected one label for each of {network.n_nodes} neurons. Got shape {given.shape}.")
    if network.n_links == 0:
        raise TopologyError("Expected a network with links. Got none.")
    _, group = np.unique(given, return_inverse=True)
    below, above = network.links
    inside = np.count_nonzero(group[below] == group[above]) / network.n_links
    weight = np.bincount(group, weights=network.degrees) / (2 * network.n_links)
    return float(inside - np.sum(weight**2))


def find_communities(layers: Layers, *, method: str = "leiden", seed: int = 0) -> Communities:
    """Return the communities of largest modularity that a heuristic finds.

    Parameters
    ----------
    layers : Topology or sequence of Topology
        One layer, or the layers of a chain, read as an undirected graph.
    method : str
        ``"leiden"``, until nothing improves, or ``"louvain"``.
    seed : int
        Both visit neurons in random order; the same seed gives the same communities.

    Returns
    -------
    Communities
        Its modularity is a lower bound of the largest possible one.

    Raises
    ------
    UnknownNameError
        If there is no such method.
    TopologyError
        If there is no link.
    ConfigError
        If igraph is not installed.

    Notes
    -----
    Sources: Traag, Waltman and van Eck, "From Louvain to Leiden" (Scientific Reports 9, 2019); Blondel et al., "Fast
    unfolding of communities in large networks" (2008). A random sparse network has a modularity well above 0 too:
    compare with a network of the same degrees. igraph has one random generator for all and does not say which: after
    the call it is Python's `random`, igraph's own choice.
    """
    if method not in _METHODS:
        raise UnknownNameError("method", method, _METHODS)
    network = Network.of(layers)
    if network.n_links == 0:
        raise TopologyError("Expected a network with links. Got none.")
    igraph = library("igraph")
    graph = network.graph()
    igraph.set_random_number_generator(random.Random(seed))
    try:
        if method == "leiden":
            found = graph.community_leiden(objective_function="modularity", n_iterations=-1)
        else:
            found = graph.community_multilevel()
    finally:
        igraph.set_random_number_generator(random)
    labels = np.asarray(found.membership, np.int64)
    return Communities(labels, modularity(layers, labels))
