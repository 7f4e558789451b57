"""ER: every set of links is equally likely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsecore._typing import Shape
from sparsecore.generators.protocol import check_request, register
from sparsecore.generators.sampling import distinct
from sparsecore.storage import Topology

__all__ = ["ER"]


@register("er", paper="Erdős & Rényi 1959; SET, Mocanu et al. 2018", equation="uniform over all sets of n_links links")
@dataclass(frozen=True)
class ER:
    """Erdős-Rényi: every set of `n_links` links is equally likely.

    Degrees are therefore hypergeometric on both sides, without being drawn.

    Examples
    --------
    >>> ER()((1_000, 2_000), n_links=20_000, seed=0)
    Topology(1000 x 2000, 20000 links, density 0.01)
    """

    def __call__(self, shape: Shape, n_links: int, seed: int) -> Topology:
        """Build a topology of exactly `n_links` links; see `Generator`."""
        n_out, n_in, n_links = check_request(shape, n_links, seed)
        keys = distinct(np.random.default_rng(seed), n_out * n_in, n_links)
        cols, rows = np.divmod(keys, max(n_out, 1))
        return Topology.from_coo(rows, cols, shape=(n_out, n_in))
