"""BSW: a bipartite ring lattice with some links rewired."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsecore._typing import Shape
from sparsecore.errors import check_fraction
from sparsecore.generators.protocol import check_request, register
from sparsecore.generators.sampling import missing, nearest_inputs, spread
from sparsecore.storage import Topology

__all__ = ["BSW"]


@register(
    "bsw",
    paper="Watts & Strogatz 1998; CHTs, Zhang et al. 2025",
    equation="nearest inputs on the ring, each link rewired with probability beta",
)
@dataclass(frozen=True)
class BSW:
    """Bipartite small world: a ring lattice whose links are rewired with probability `beta`.

    Both sides lie on one ring. Every output starts with its nearest inputs (their numbers differ by at most one between
    outputs). Each link is then taken away with probability `beta`, and as many links as were taken are put at
    positions drawn uniformly from all that are empty at that moment, the ones just emptied included. So ``beta=0`` is
    the lattice, whatever the seed, and ``beta=1`` is Erdős-Rényi.

    Parameters
    ----------
    beta : float
        Probability that a link is rewired.

    Examples
    --------
    >>> BSW(beta=0.0)((3, 6), n_links=6, seed=0).to_dense().astype(int)
    array([[1, 1, 0, 0, 0, 0],
           [0, 0, 1, 1, 0, 0],
           [0, 0, 0, 0, 1, 1]])
    """

    beta: float = 0.1

    def __post_init__(self) -> None:
        """Refuse options that cannot work."""
        check_fraction("beta", self.beta, "the probability that a link of the lattice is rewired")

    def __call__(self, shape: Shape, n_links: int, seed: int) -> Topology:
        """Build a topology of exactly `n_links` links; see `Generator`."""
        n_out, n_in, n_links = check_request(shape, n_links, seed)
        rng = np.random.default_rng(seed)
        rows, cols = nearest_inputs(spread(n_out, n_links), n_in)
        keys = np.sort(rows * n_in + cols)
        keys = keys[rng.random(n_links) >= self.beta]
        moved = missing(rng, keys, n_out * n_in, n_links - keys.size)
        return Topology.from_ids(np.concatenate([keys, moved]), (n_out, n_in))
