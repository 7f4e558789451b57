"""Structural consistency: how far the spectrum of a network foretells links that were taken out of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from sparsecore._typing import BoolArray, Float64Array, Int64Array
from sparsecore.errors import ShapeError, TopologyError, check_count, check_fraction
from sparsecore.metrics.network import Layers, Network

__all__ = ["StructuralConsistency", "consistency_of", "structural_consistency"]

#: Most entries of a matrix that is decomposed as a whole: 1 MiB. Larger ones keep their largest singular values.
DENSE_LIMIT = 2**17

#: Scores of a tile: 4 MiB, unless a single output has more.
_TILE = 2**19

#: Difference below which singular values, or scores, count as equal, over the (largest) singular value.
_EQUAL = 1e-9


@dataclass(frozen=True)
class StructuralConsistency:
    """Share of removed links that the perturbed spectrum ranks first.

    Attributes
    ----------
    mean : float
        σ_c, in [0, 1].
    standard_error : float
        Of `mean`, over draws of removed links; ``nan`` for a single one.
    values : tuple of float
        One per draw.
    chance : float
        What a random ranking would reach.
    rank : int, optional
        Singular values that were kept; ``None`` where all were.
    """

    mean: float
    standard_error: float
    values: tuple[float, ...]
    chance: float
    rank: int | None


class _Spectrum(NamedTuple):
    """Singular values above 0 and their vectors; ``left`` belongs to odd neuron layers, ``right`` to even ones."""

    left: Float64Array
    values: Float64Array
    right: Float64Array


def structural_consistency(
    layers: Layers, *, fraction: float = 0.1, repeats: int = 5, rank: int = 32, seed: int = 0
) -> StructuralConsistency:
    """Return the structural consistency σ_c of a layer or a chain.

    A fraction of the links is taken out. The spectrum of the rest is corrected to first order for the missing part
    while its vectors stay as they are; if taking links out hardly changes the structure, the network rebuilt in this
    way ranks the missing links above all pairs that were never linked.

    Parameters
    ----------
    layers : Topology or sequence of Topology
        One layer, or the layers of a chain. Candidates are pairs of neurons of neighbouring layers.
    fraction : float
        Fraction of the links to take out, in (0, 1); the paper's is 0.1.
    repeats : int
        Draws of links to take out.
    rank : int
        Largest singular values to keep of networks that are too large for all: with more than 2^17 pairs of an even and
        an odd neuron layer. It never grows beyond what is there.
    seed : int
        Draws the links.

    Returns
    -------
    StructuralConsistency

    Raises
    ------
    TopologyError
        If no link would be taken out, or all.
    ConfigError
        If an option is out of range.

    Notes
    -----
    Source: Lü, Pan, Zhou, Zhang and Stanley, "Toward link predictability of complex networks" (PNAS 112, 2015),
    equations 2 to 5. A chain is bipartite (even against odd neuron layers), so its eigenvectors are pairs of singular
    vectors of the matrix B between both, and ``Δσ_k = u_k · ΔB v_k``. Where singular values are equal, ΔB is applied to
    the space that they share, so that the result does not depend on a choice of basis. Eigenvalues of 0 stay 0 (the
    paper's code corrects them too, which hands back removed links between neurons that lost all of theirs). Ties at the
    end of the ranking count with the probability to be in. The correction has seen what was taken out, so small
    networks of random links have a σ_c well above `chance`: compare with such. Approximated in large networks: the
    singular values beyond `rank` are taken as 0.

    Memory O(links + rank · neurons) and a tile of scores; time O(rank · pairs) per draw, since all pairs are ranked.
    """
    check_fraction("fraction", fraction, "the fraction of links to take out", open_low=True)
    check_count("repeats", repeats, "the number of draws of links to take out", low=1)
    check_count("rank", rank, "the number of singular values to keep", low=1)
    network = Network.of(layers)
    n_removed = round(fraction * network.n_links)
    if not 0 < n_removed < network.n_links:
        raise TopologyError(
            f"Expected to take out some links and keep others. Got {n_removed} of {network.n_links}. Change fraction."
        )
    random = np.random.default_rng(seed)
    values = []
    for _ in range(repeats):
        removed = np.zeros(network.n_links, np.bool_)
        removed[random.choice(network.n_links, n_removed, replace=False)] = True
        values.append(consistency_of(layers, removed, rank=rank))
    pairs = sum(topology.n_possible for topology in network.topologies)
    error = float(np.std(values, ddof=1) / np.sqrt(repeats)) if repeats > 1 else float("nan")
    chance = n_removed / (pairs - network.n_links + n_removed)
    return StructuralConsistency(float(np.mean(values)), error, tuple(values), chance, _kept_rank(network, rank))


def consistency_of(layers: Layers, removed: BoolArray, *, rank: int = 32) -> float:
    """Return the share of `removed` links that the perturbed spectrum of the others ranks first, in [0, 1].

    Parameters
    ----------
    layers : Topology or sequence of Topology
        One layer, or the layers of a chain.
    removed : array, bool, (n_links,)
        Which links are taken out, layer by layer, in the order of each topology.
    rank : int
        As in `structural_consistency`.

    Raises
    ------
    ShapeError
        If there is not one flag per link.
    """
    network = Network.of(layers)
    if np.shape(removed) != (network.n_links,):
        raise ShapeError(f"Expected one flag for each of {network.n_links} links. Got shape {np.shape(removed)}.")
    kept = _between(network, ~removed)
    spectrum = _decomposed(kept, _kept_rank(network, rank))
    gone = _between(network, removed)
    left = spectrum.left @ _perturbed(spectrum, gone)
    return _Tiles(network, removed, left, spectrum.right).hits(_EQUAL * float(spectrum.values.max(initial=0.0)))


def _sides(network: Network) -> tuple[Int64Array, tuple[int, int]]:
    """Return the number of every node among the nodes of its own side, and the nodes of the odd and the even side."""
    number = np.empty(network.n_nodes, np.int64)
    counts = [0, 0]
    for layer, size in enumerate(network.sizes):
        number[network.starts[layer] : network.starts[layer + 1]] = np.arange(size) + counts[layer % 2]
        counts[layer % 2] += size
    return number, (counts[1], counts[0])


def _between(network: Network, which: BoolArray) -> Any:
    """Return the matrix from even to odd neuron layers of the chosen links, CSR float64, (n_odd, n_even)."""
    number, shape = _sides(network)
    below, above = (ends[which] for ends in network.links)
    layer = np.searchsorted(network.starts, below, side="right") - 1
    even, odd = (np.where(layer % 2 == parity, below, above) for parity in (0, 1))
    return scipy.sparse.coo_array((np.ones(below.size), (number[odd], number[even])), shape=shape).tocsr()


def _kept_rank(network: Network, rank: int) -> int | None:
    """Return how many singular values to keep, or ``None`` for all."""
    n_odd, n_even = _sides(network)[1]
    return None if n_odd * n_even <= DENSE_LIMIT else min(rank, n_odd - 1, n_even - 1) or None


def _decomposed(matrix: Any, rank: int | None) -> _Spectrum:
    if rank is None:
        left, values, right = np.linalg.svd(matrix.toarray(), full_matrices=False)
    else:
        start = np.random.default_rng(0).standard_normal(min(matrix.shape))
        left, values, right = scipy.sparse.linalg.svds(matrix, k=rank, v0=start)
        order = np.argsort(-values)
        left, values, right = left[:, order], values[order], right[order]
    present = values > max(matrix.shape) * np.finfo(np.float64).eps * values.max(initial=0.0)
    return _Spectrum(left[:, present], values[present], right[present].T)


def _perturbed(spectrum: _Spectrum, change: Any) -> Float64Array:
    """Return the corrected singular values, float64, (k, k): a diagonal, but for blocks of equal values."""
    values = spectrum.values
    core: Float64Array = np.diag(values)
    moved = change @ spectrum.right
    edges = np.flatnonzero(values[:-1] - values[1:] > _EQUAL * values[:-1]) + 1 if values.size else np.zeros(0, int)
    for low, high in zip([0, *edges], [*edges, values.size], strict=True):
        block = spectrum.left[:, low:high].T @ moved[:, low:high]
        core[low:high, low:high] += (block + block.T) / 2
    return core


class _Tiles:
    """Scores of all pairs of neighbouring layers that are not kept links, a tile of outputs at a time."""

    def __init__(self, network: Network, removed: BoolArray, left: Float64Array, right: Float64Array) -> None:
        self._network, self._removed = network, removed
        number, _ = _sides(network)
        # Rows of nodes of odd layers come from `left`, those of even layers from `right`.
        parts = []
        for layer in range(len(network.sizes)):
            nodes = number[network.starts[layer] : network.starts[layer + 1]]
            parts.append((left if layer % 2 else right)[nodes])
        self._parts = parts

    def _all(self) -> Iterator[tuple[Float64Array, Float64Array]]:
        """Yield the scores of all candidates of a tile, the removed links among them, and those of the latter alone."""
        first = 0
        for layer, topology in enumerate(self._network.topologies):
            removed = self._removed[first : first + topology.n_links][topology.row_order]
            first += topology.n_links
            height = max(1, _TILE // max(1, topology.n_in))
            for low in range(0, topology.n_out, height):
                high = min(low + height, topology.n_out)
                scores = self._parts[layer + 1][low:high] @ self._parts[layer].T
                at = slice(topology.row_ptr[low], topology.row_ptr[high])
                rows = np.repeat(np.arange(high - low), np.diff(topology.row_ptr[low : high + 1]))
                cols, gone = topology.row_cols[at], removed[at]
                wanted = scores[rows[gone], cols[gone]]
                free = np.ones(scores.shape, np.bool_)
                free[rows[~gone], cols[~gone]] = False
                yield scores[free], wanted

    def hits(self, slack: float) -> float:
        """Return the share of removed links among the candidates of highest score; equal are those within `slack`."""
        n = int(np.count_nonzero(self._removed))
        if n == 0:
            return 0.0
        best = np.zeros(0)
        for scores, _ in self._all():
            best = np.concatenate([best, scores])
            if best.size > n:
                best = np.partition(best, best.size - n)[best.size - n :]
        limit = best.min()
        above = tied = hit_above = hit_tied = 0
        for scores, wanted in self._all():
            above += int(np.count_nonzero(scores > limit + slack))
            tied += int(np.count_nonzero(np.abs(scores - limit) <= slack))
            hit_above += int(np.count_nonzero(wanted > limit + slack))
            hit_tied += int(np.count_nonzero(np.abs(wanted - limit) <= slack))
        return (hit_above + hit_tied * (n - above) / max(1, tied)) / n
