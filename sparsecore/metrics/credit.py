"""Credit-assignment paths: the chains of links from inputs to outputs, counted without listing them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, softmax

from sparsecore._typing import Float64Array, Int32Array, Int64Array
from sparsecore.errors import check_fraction
from sparsecore.metrics.network import Layers, as_layers
from sparsecore.storage import Topology

__all__ = ["CreditPaths", "credit_paths", "hub_share"]


@dataclass(frozen=True, eq=False)
class CreditPaths:
    """Chains of links from an input neuron of a chain to an output neuron.

    Attributes
    ----------
    log10_count : float
        Decimal logarithm of their number; ``-inf`` where there is none.
    shares : tuple of array, float64, (n,)
        For every neuron layer, the inputs first: share of the chains that pass each neuron. Every chain passes one
        neuron of each layer, so each array adds up to 1 (or is 0 where there is no chain).
    """

    log10_count: float
    shares: tuple[Float64Array, ...]

    @property
    def count(self) -> float:
        """Number of chains; ``inf`` where a float cannot hold it."""
        return 10.0**self.log10_count if self.log10_count < 308 else math.inf


def credit_paths(layers: Layers) -> CreditPaths:
    """Return the number of input-to-output chains of links, and the share of them that passes each neuron.

    Parameters
    ----------
    layers : Topology or sequence of Topology
        One layer, or the layers of a chain.

    Returns
    -------
    CreditPaths

    Raises
    ------
    ShapeError
        If neighbouring layers do not share their neurons.

    Notes
    -----
    One pass over the links of each layer forwards, one backwards, with logarithms of counts, so that nothing overflows
    and no neuron is lost beside others with many more chains. O(links + neurons). Source:
    Schmidhuber, "Deep learning in neural networks: an overview" (Neural Networks 61, 2015), for the term.

    Examples
    --------
    >>> round(credit_paths([Topology.full((4, 3)), Topology.full((2, 4))]).count)
    24
    """
    chain = as_layers(layers)
    ahead = _log_counts(chain[0].n_in, [(t.row_ptr, t.row_cols) for t in chain])
    back = _log_counts(chain[-1].n_out, [(t.col_ptr, t.rows) for t in reversed(chain)])
    through = [first + second for first, second in zip(ahead, reversed(back), strict=True)]
    total = float(logsumexp(ahead[-1]))
    shares = [softmax(logs) if total > -math.inf else np.zeros(logs.size) for logs in through]
    return CreditPaths(total / math.log(10), tuple(shares))


def hub_share(layers: Layers, fraction: float = 0.1) -> list[float]:
    """Return for every neuron layer the share of credit-assignment paths that pass its hubs.

    Parameters
    ----------
    layers : Topology or sequence of Topology
        One layer, or the layers of a chain.
    fraction : float
        Hubs are this fraction of the neurons of a layer, rounded up: those with most links on both sides; among equal
        degrees those that more paths pass.

    Returns
    -------
    list of float
        Shares in [0, 1], the inputs first. Where all neurons are alike, the share is the fraction itself.

    Raises
    ------
    ConfigError
        If `fraction` is not in (0, 1].

    Examples
    --------
    >>> star = Topology.from_coo([0, 0, 0, 1], [0, 1, 2, 3], shape=(2, 4))
    >>> [round(share, 6) for share in hub_share(star, fraction=0.5)]
    [0.5, 0.75]
    """
    check_fraction("fraction", fraction, "the fraction of neurons of a layer that are hubs", open_low=True)
    chain = as_layers(layers)
    degrees = [chain[0].in_degrees, *(below.out_degrees + above.in_degrees for below, above in _pairs(chain))]
    degrees.append(chain[-1].out_degrees)
    result = []
    for degree, share in zip(degrees, credit_paths(chain).shares, strict=True):
        hubs = np.lexsort((-share, -degree))[: math.ceil(fraction * degree.size)]
        result.append(min(1.0, float(share[hubs].sum())))
    return result


def _pairs(chain: Sequence[Topology]) -> list[tuple[Topology, Topology]]:
    return list(zip(chain[:-1], chain[1:], strict=True))


def _log_counts(n: int, layers: Sequence[tuple[Int64Array, Int32Array]]) -> list[Float64Array]:
    """Return the logarithm of the chains that end at each neuron, layer by layer; `layers` lists its neighbours."""
    counts = [np.zeros(n)]
    for ptr, near in layers:
        found = np.full(ptr.size - 1, -np.inf)
        linked = np.flatnonzero(np.diff(ptr))
        if linked.size:
            found[linked] = np.logaddexp.reduceat(counts[-1][near], ptr[linked])
        counts.append(found)
    return counts
