"""Coalescent embedding of a network in the hyperbolic disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg
from scipy.sparse import csgraph

from sparsecore._typing import Float64Array, Int64Array
from sparsecore.errors import ConfigError, TopologyError, UnknownNameError, check_count
from sparsecore.metrics.network import Layers, Network

__all__ = ["Angles", "coalescent_angles", "hyperbolic_radii", "repulsion_attraction"]

_REDUCTIONS = ("isomap", "laplacian", "ncmce")


@dataclass(frozen=True, eq=False)
class Angles:
    """Angular coordinates of the giant component.

    Attributes
    ----------
    nodes : array, int64, (n,)
        Neurons of the giant component, numbered as in `Network`.
    angles : array, float64, (n,)
        Radians in [0, 2π).
    exact : bool
        Whether the dimension reduction saw all distances, and not those to landmarks alone.
    """

    nodes: Int64Array
    angles: Float64Array
    exact: bool


def repulsion_attraction(layers: Layers) -> Float64Array:
    """Return the RA1 weight of every link, float64, (n_links,): how far apart its ends should lie.

    ``(d_i + d_j + d_i d_j) / (1 + CN_ij)`` with degrees d and CN common neighbours. Between the neuron layers of a
    chain there are no triangles, so CN is 0 for every link.

    Notes
    -----
    Source: Muscoloni, Thomas, Ciucci, Bianconi and Cannistraci, "Machine learning meets complex networks via coalescent
    embedding in the hyperbolic space" (Nature Communications 8, 2017), equation 1.
    """
    network = Network.of(layers)
    first, second = (network.degrees[ends].astype(np.float64) for ends in network.links)
    return first + second + first * second


def coalescent_angles(
    layers: Layers, *, reduction: str = "isomap", equidistant: bool = True, max_landmarks: int = 512, seed: int = 0
) -> Angles:
    """Return the angular coordinates of a layer or a chain in the hyperbolic disk.

    Links get repulsion-attraction weights, a dimension reduction arranges the neurons around a centre or along a line,
    and the circular order becomes the angle.

    Parameters
    ----------
    layers : Topology or sequence of Topology
        One layer, or the layers of a chain, read as an undirected graph. Its giant component is embedded.
    reduction : str
        ``"isomap"``: first two dimensions of classical scaling of shortest paths. ``"laplacian"``: second and third
        eigenvector of the normalised Laplacian under a heat kernel. ``"ncmce"``: second dimension of the distances over
        the minimum spanning tree, not centred.
    equidistant : bool
        Equidistant adjustment: neighbours on the circle get equal distances (the order stays). Without it, isomap and
        laplacian keep their angles and ncmce scales its line to the circle.
    max_landmarks : int
        Isomap of more nodes than this measures distances to so many nodes drawn uniformly and places the others by them
        (landmark isomap): O(landmarks · nodes) memory where all distances would take O(nodes²).
    seed : int
        Draws landmarks and start vectors.

    Returns
    -------
    Angles

    Raises
    ------
    UnknownNameError
        If there is no such reduction.
    TopologyError
        If the giant component has fewer than 4 nodes.
    ConfigError
        If `max_landmarks` is below 3.

    Notes
    -----
    Source: Muscoloni et al. (2017), figure 1 and methods (ISO, LE, ncMCE, RA1, EA). Landmarks: de Silva and Tenenbaum,
    "Sparse multidimensional scaling using landmark points" (2004); with all nodes as landmarks it is exact. Distances
    over the spanning tree enter through products with vectors (two sparse triangular solves), never as a matrix.
    """
    if reduction not in _REDUCTIONS:
        raise UnknownNameError("reduction", reduction, _REDUCTIONS)
    check_count("max_landmarks", max_landmarks, "the number of nodes that distances are measured to", low=3)
    network = Network.of(layers)
    giant = network.giant
    if giant.size < 4:
        raise TopologyError(f"Expected a giant component of at least 4 neurons. Got {giant.size}.")
    weighted = network.weighted(repulsion_attraction(layers))[giant][:, giant]
    random = np.random.default_rng(seed)
    exact = True
    if reduction == "ncmce":
        line = _tree_line(weighted, random)
        angles = (line - line.min()) * (2 * np.pi * (1 - 1 / line.size) / max(np.ptp(line), 1e-300))
    else:
        exact = reduction != "isomap" or giant.size <= max_landmarks
        plane = _isomap(weighted, max_landmarks, random) if reduction == "isomap" else _laplacian(weighted, random)
        angles = np.mod(np.arctan2(plane[:, 1], plane[:, 0]), 2 * np.pi)
        angles[angles == 2 * np.pi] = 0.0  # the remainder of a tiny negative angle, rounded up
    if equidistant:
        order = np.argsort(angles, kind="stable")
        angles[order] = np.arange(order.size) * (2 * np.pi / order.size)
    return Angles(giant, angles, exact)


def hyperbolic_radii(layers: Layers, gamma: float) -> Float64Array:
    """Return radial coordinates of all neurons in the hyperbolic disk, float64, (n_nodes,): hubs at the centre.

    ``r_i = 2 (β ln i + (1 - β) ln N)``, at least 0, for the i-th neuron in order of falling degree, ``β = 1/(γ - 1)``;
    equal degrees in order of their number. Neurons without links come last.

    Parameters
    ----------
    layers : Topology or sequence of Topology
        One layer, or the layers of a chain.
    gamma : float
        Exponent of the degrees, above 1; see `degree_power_law`.

    Raises
    ------
    ConfigError
        If `gamma` is not above 1.

    Notes
    -----
    Source: Muscoloni et al. (2017), equation 3, for curvature -1; Papadopoulos et al., "Popularity versus similarity in
    growing networks" (Nature 489, 2012).
    """
    if not gamma > 1:
        raise ConfigError(f"Expected gamma > 1. Got {gamma!r}. gamma is the exponent of the degree distribution.")
    degrees = Network.of(layers).degrees
    beta, n = 1 / (gamma - 1), degrees.size
    radii = np.empty(n)
    radii[np.argsort(-degrees, kind="stable")] = 2 * (beta * np.log(np.arange(1, n + 1)) + (1 - beta) * np.log(n))
    return np.maximum(radii, 0.0)


def _isomap(weighted: Any, max_landmarks: int, random: np.random.Generator) -> Float64Array:
    """Return the plane of classical scaling from shortest paths to landmarks, float64, (n, 2)."""
    n = weighted.shape[0]
    landmarks = np.arange(n)
    if n > max_landmarks:
        landmarks = np.sort(random.choice(n, max_landmarks, replace=False))
    squares = csgraph.dijkstra(weighted, directed=False, indices=landmarks) ** 2
    inner = squares[:, landmarks]
    mean = inner.mean(axis=0)
    kernel = -(inner - mean - mean[:, None] + mean.mean()) / 2
    # A star has one eigenvalue many times over, where drivers that look for some of them alone may return none.
    values, vectors = scipy.linalg.eigh(kernel, driver="evd")
    scaled = vectors[:, :-3:-1] / np.sqrt(np.maximum(values[:-3:-1], 1e-300))
    plane: Float64Array = -(squares - mean[:, None]).T @ scaled / 2
    return plane


def _laplacian(weighted: Any, random: np.random.Generator) -> Float64Array:
    """Return the second and third eigenvector of the Laplacian under a heat kernel, float64, (n, 2)."""
    kernel = weighted.copy()
    kernel.data = np.exp(-((kernel.data / kernel.data.mean()) ** 2))
    sums = np.maximum(kernel.sum(axis=1), 1e-300)  # a node whose links are all very long has a kernel of 0
    scale = scipy.sparse.dia_array((1 / np.sqrt(sums)[None], [0]), shape=kernel.shape)
    # L f = λ D f has the eigenvectors of the scaled kernel, whose largest eigenvalues are 1 - λ.
    values, vectors = scipy.sparse.linalg.eigsh(
        scale @ kernel @ scale, k=3, which="LA", v0=random.standard_normal(kernel.shape[0])
    )
    plane: Float64Array = scale @ vectors[:, np.argsort(-values)[1:]]
    return plane


def _tree_line(weighted: Any, random: np.random.Generator) -> Float64Array:
    """Return the second singular direction of all distances over the minimum spanning tree, float64, (n,)."""
    n = weighted.shape[0]
    tree = csgraph.minimum_spanning_tree(weighted)
    order, parents = csgraph.breadth_first_order(tree, 0, directed=False)
    up = parents[order[1:]]
    both = tree + tree.T
    lengths = np.zeros(n)
    lengths[order[1:]] = np.asarray(both[order[1:], up]).ravel()
    # Column i of the matrix holds -1 at the parent of i: one solve adds up subtrees, the transposed one adds up paths.
    ones = np.concatenate([np.ones(n), -np.ones(n - 1)])
    place = np.concatenate([np.arange(n), up]), np.concatenate([np.arange(n), order[1:]])
    solver = scipy.sparse.linalg.splu(scipy.sparse.csc_matrix((ones, place), shape=(n, n)))

    def distances(x: Float64Array) -> Float64Array:
        below = solver.solve(np.ravel(x))
        total = np.sum(x)
        # From parent to child, the distance grows to all but the subtree of the child, and shrinks to that.
        steps = lengths * (total - 2 * below)
        steps[0] = lengths @ below
        result: Float64Array = solver.solve(steps, trans="T")
        return result

    operator = scipy.sparse.linalg.LinearOperator((n, n), matvec=distances, dtype=np.float64)
    values, vectors = scipy.sparse.linalg.eigsh(operator, k=2, which="LM", v0=random.standard_normal(n))
    second: Float64Array = vectors[:, np.argsort(-np.abs(values))[1]]
    return second
