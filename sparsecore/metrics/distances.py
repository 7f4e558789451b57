"""How many steps neurons are apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csgraph

from sparsecore.errors import check_count
from sparsecore.metrics.network import Layers, Network

__all__ = ["PathLength", "characteristic_path_length"]

#: Most distances held at a time: 8 MiB, unless the network has more nodes.
_BLOCK = 2**20


@dataclass(frozen=True)
class PathLength:
    """Mean distance between neurons.

    Attributes
    ----------
    mean : float
        Links on a shortest path, on average over pairs of the giant component.
    standard_error : float
        Of `mean`, from the choice of sources; 0 where all were taken.
    n_sources, n_nodes : int
        Neurons that distances were measured from, and neurons of the giant component.
    """

    mean: float
    standard_error: float
    n_sources: int
    n_nodes: int

    @property
    def exact(self) -> bool:
        """Whether all pairs were counted."""
        return self.n_sources == self.n_nodes


def characteristic_path_length(layers: Layers, *, max_sources: int = 1024, seed: int = 0) -> PathLength:
    """Return the mean shortest path length of the giant component.

    Parameters
    ----------
    layers : Topology or sequence of Topology
        One layer, or the layers of a chain, read as an undirected graph.
    max_sources : int
        Distances are measured from all nodes if they are at most as many, else from as many drawn uniformly: an
        unbiased estimate with its standard error.
    seed : int
        Draws the sources.

    Returns
    -------
    PathLength

    Raises
    ------
    TopologyError
        If there is no link.
    ConfigError
        If `max_sources` is below 2.

    Notes
    -----
    Source: Watts and Strogatz, "Collective dynamics of small-world networks" (Nature 393, 1998). Time
    O(sources · links · log nodes), memory O(links + nodes) and a block of distances.

    Examples
    --------
    >>> from sparsecore.storage import Topology
    >>> characteristic_path_length(Topology.full((1, 3))).mean  # a star: 3 links and 3 pairs of leaves
    1.5
    """
    check_count("max_sources", max_sources, "the number of neurons that distances are measured from", low=2)
    network = Network.of(layers)
    giant = network.giant
    adjacency = network.adjacency[giant][:, giant]
    n = giant.size
    sources = np.arange(n)
    if n > max_sources:
        sources = np.sort(np.random.default_rng(seed).choice(n, max_sources, replace=False))
    height = max(1, _BLOCK // n)
    blocks = (sources[low : low + height] for low in range(0, sources.size, height))
    sums = [csgraph.dijkstra(adjacency, directed=False, unweighted=True, indices=block).sum(axis=1) for block in blocks]
    means = np.concatenate(sums) / (n - 1)
    left_out = 1 - sources.size / n
    error = float(np.std(means, ddof=1) * np.sqrt(left_out / sources.size)) if sources.size > 1 else 0.0
    return PathLength(float(means.mean()), error, int(sources.size), int(n))
