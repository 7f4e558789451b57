"""Angular separability: whether groups lie apart on the circle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sparsecore._typing import Float64Array, Int64Array
from sparsecore.errors import ShapeError, TopologyError, check_count
from sparsecore.metrics.communities import find_communities
from sparsecore.metrics.embedding import coalescent_angles
from sparsecore.metrics.network import Layers, Network

__all__ = ["Separability", "angular_separability", "separability_of"]


@dataclass(frozen=True)
class Separability:
    """How well groups are separated over the circle.

    Attributes
    ----------
    index : float
        Angular separability index (ASI), in [0, 1]: 1 where no member of another group lies inside any group, 0 where
        the mixing is that of the worst shuffle, or worse.
    p_value : float
        Share of shuffles that separate at least as well, the observation counted in.
    mistakes : int
        Points that lie inside a group they do not belong to, over all groups.
    n_groups : int
        Groups, those of one member included.
    """

    index: float
    p_value: float
    mistakes: int
    n_groups: int


def separability_of(angles: ArrayLike, labels: ArrayLike, *, shuffles: int = 1000, seed: int = 0) -> Separability:
    """Return the angular separability index of groups on a circle.

    A group reaches over the circle but for its largest gap, counted in points of other groups; all others inside its
    reach are mistakes. The index compares their number with the largest one under random shuffles of the labels.

    Parameters
    ----------
    angles : array, float, (n,)
        Radians. Only their order counts.
    labels : array, integer, (n,)
        Group of every point; a group of one makes no mistakes.
    shuffles : int
        Random shuffles, for the worst case and the p-value.
    seed : int
        Of the shuffles.

    Returns
    -------
    Separability

    Raises
    ------
    ShapeError
        If there is not one label per angle.
    TopologyError
        If there are fewer than 4 points, or fewer than 2 groups, or all groups have one member.

    Notes
    -----
    Source: Muscoloni and Cannistraci, "Angular separability of data clusters or network communities in geometrical
    space and its relevance to hyperbolic embedding" (arXiv:1907.00025, 2019), two dimensions, worst case by shuffles.
    The index grows with the number of shuffles, since the worst of more is worse: compare at equal numbers.

    Examples
    --------
    >>> separability_of([0.1, 0.2, 0.3, 3.0, 3.1, 3.2], [7, 7, 7, 5, 5, 5]).index
    1.0
    """
    theta = np.asarray(angles, np.float64)
    _, group = np.unique(np.asarray(labels), return_inverse=True)
    if theta.ndim != 1 or theta.shape != group.shape:
        raise ShapeError(f"Expected one label per angle. Got {theta.shape} and {group.shape}.")
    sizes = np.bincount(group)
    if theta.size < 4 or sizes.size < 2 or sizes.max() < 2:
        raise TopologyError(
            f"Expected at least 4 points in at least 2 groups that are not all single. "
            f"Got {theta.size} points in {sizes.size} groups."
        )
    check_count("shuffles", shuffles, "the number of random shuffles", low=1)
    around = group[np.argsort(theta, kind="stable")]
    ends = np.cumsum(sizes)
    found = _mistakes(around, sizes, ends)
    random = np.random.default_rng(seed)
    null = np.array([_mistakes(random.permutation(around), sizes, ends) for _ in range(shuffles)])
    worst = max(1, int(null.max()))
    better = int(np.count_nonzero(null <= found))
    return Separability(max(0.0, 1 - found / worst), (better + 1) / (shuffles + 1), found, int(sizes.size))


def angular_separability(
    layers: Layers,
    labels: ArrayLike | None = None,
    *,
    reduction: str = "isomap",
    max_landmarks: int = 512,
    shuffles: int = 1000,
    seed: int = 0,
) -> Separability:
    """Return how well the communities of a network separate in its coalescent embedding.

    Parameters
    ----------
    layers : Topology or sequence of Topology
        One layer, or the layers of a chain. The giant component counts.
    labels : array, integer, (n_nodes,), optional
        Group of every neuron, numbered as in `Network`; those of `find_communities` when missing.
    reduction, max_landmarks
        As in `coalescent_angles`.
    shuffles, seed
        As in `separability_of`; the seed also draws communities and landmarks.

    Returns
    -------
    Separability

    Raises
    ------
    TopologyError
        If there are too few neurons or groups.
    ConfigError
        If a library is missing.

    Notes
    -----
    Source: Muscoloni and Cannistraci (2019); Zhang et al. (ICLR 2024) report it for trained networks.
    """
    groups = find_communities(layers, seed=seed).labels if labels is None else np.asarray(labels)
    n_nodes = Network.of(layers).n_nodes
    if groups.shape != (n_nodes,):
        raise ShapeError(f"Expected one label per neuron, {n_nodes}. Got an array of shape {groups.shape}.")
    placed = coalescent_angles(layers, reduction=reduction, max_landmarks=max_landmarks, seed=seed)
    return separability_of(placed.angles, groups[placed.nodes], shuffles=shuffles, seed=seed)


def _mistakes(around: Int64Array, sizes: Int64Array, ends: Int64Array) -> int:
    """Return the points inside the reach of another group, over all groups; `around` is in circle order."""
    place = np.argsort(around, kind="stable")
    starts = ends - sizes
    gaps: Float64Array = np.empty(place.size)
    gaps[:-1] = place[1:] - place[:-1] - 1
    gaps[ends - 1] = around.size - place[ends - 1] + place[starts] - 1
    return int(gaps.sum() - np.maximum.reduceat(gaps, starts).sum())
